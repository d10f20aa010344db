package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates and revocation lists for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

// certificate is what the tests vary of one.
type certificate struct {
	cn        string
	dns       []string
	ips       []string
	uris      []string
	notBefore time.Time
	notAfter  time.Time
	usages    []x509.ExtKeyUsage // nil: both roles
	ca        bool
}

var serial atomic.Int64

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	a.cert = a.sign(t, certificate{cn: name, ca: true}, a.key, nil)
	a.file = writePEM(t, "CERTIFICATE", a.cert.Raw)
	return a
}

// below makes an authority whose certificate a issued.
func (a *authority) below(t testing.TB, name string) *authority {
	t.Helper()
	b := &authority{key: newKey(t)}
	b.cert = a.sign(t, certificate{cn: name, ca: true}, b.key, a.cert)
	return b
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign issues a certificate; by nil: the key's own.
func (a *authority) sign(t testing.TB, c certificate, key *ecdsa.PrivateKey, by *x509.Certificate) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: c.cn}, DNSNames: c.dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: c.ca,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.ca {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	if c.usages != nil {
		template.ExtKeyUsage = c.usages
	}
	if !c.notBefore.IsZero() {
		template.NotBefore = c.notBefore
	}
	if !c.notAfter.IsZero() {
		template.NotAfter = c.notAfter
	}
	for _, ip := range c.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	for _, uri := range c.uris {
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	if by == nil {
		by = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate with a key; more follow it in what is shown.
func (a *authority) issue(t testing.TB, c certificate, more ...*x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	leaf := a.sign(t, c, key, a.cert)
	shown := [][]byte{leaf.Raw}
	for _, cert := range more {
		shown = append(shown, cert.Raw)
	}
	return tls.Certificate{Certificate: shown, PrivateKey: key, Leaf: leaf}
}

// list is a revocation list in DER.
func (a *authority) list(t testing.TB, expires time.Time, revoked ...tls.Certificate) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(serial.Add(1)), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: expires}
	for _, cert := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writePEM(t testing.TB, kind string, ders ...[]byte) string {
	t.Helper()
	var all []byte
	for _, der := range ders {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return writeFile(t, all)
}

// identity is Identity with the files of a certificate.
func identity(t testing.TB, cert tls.Certificate, opts IdentityOptions) (server, client *tls.Config) {
	t.Helper()
	if cert.PrivateKey != nil {
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		opts.Certificate, opts.Key = writePEM(t, "CERTIFICATE", cert.Certificate...), writePEM(t, "PRIVATE KEY", key)
	}
	server, client, err := Identity(opts)
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}
