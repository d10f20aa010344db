package conf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	labAuthorityLife   = 10 * 365 * 24 * time.Hour
	labCertificateLife = 365 * 24 * time.Hour
	// labRenewBefore is how long before its end a certificate is made anew: longer than any run of the lab.
	labRenewBefore = 30 * 24 * time.Hour
	// labBackdate lets certificates be used by peers whose clock is behind.
	labBackdate = time.Hour
)

// labAddresses are the loopback addresses of the lab: pool side, gateway side and the gateway itself.
var labAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3)}

// labFiles makes and keeps the certificates of the lab: ECDSA P-256, each as NAME.pem and NAME.key.
type labFiles struct {
	dir string
	now time.Time
}

func (l labFiles) path(name string) string { return filepath.Join(l.dir, name) }

// ensure makes what is missing, damaged or about to expire. A new authority brings new certificates with it, since the
// old ones do not verify under it.
func (l labFiles) ensure() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(l.dir, 0o700); err != nil {
		return err
	}
	ca, err := l.load("ca")
	if err != nil || !l.lasts(ca.Leaf) || !ca.Leaf.IsCA {
		if ca, err = l.makeAuthority(); err != nil {
			return err
		}
	}
	for _, name := range []string{"causeway", "endpoint", "av"} {
		if cert, err := l.load(name); err == nil && l.lasts(cert.Leaf) && serves(cert.Leaf, ca.Leaf, l.now) {
			continue
		}
		if err := l.makeCertificate(name, ca); err != nil {
			return err
		}
	}
	return nil
}

// load reads a certificate with its key, and closes files that others could read.
func (l labFiles) load(name string) (tls.Certificate, error) {
	for _, file := range []string{name + ".pem", name + ".key"} {
		if err := os.Chmod(l.path(file), 0o600); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.LoadX509KeyPair(l.path(name+".pem"), l.path(name+".key"))
}

func (l labFiles) lasts(cert *x509.Certificate) bool {
	return !l.now.Before(cert.NotBefore) && l.now.Add(labRenewBefore).Before(cert.NotAfter)
}

// serves reports whether cert was signed by ca, for all names of the lab and for both ends of a connection.
func serves(cert, ca *x509.Certificate, now time.Time) bool {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		options := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
		if _, err := cert.Verify(options); err != nil {
			return false
		}
	}
	for _, ip := range labAddresses {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return cert.VerifyHostname("localhost") == nil
}

func (l labFiles) makeAuthority() (tls.Certificate, error) {
	template := l.template("causeway lab authority", labAuthorityLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	return l.sign("ca", template, nil)
}

func (l labFiles) makeCertificate(name string, ca tls.Certificate) error {
	template := l.template("causeway lab "+name, labCertificateLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, labAddresses
	_, err := l.sign(name, template, &ca)
	return err
}

func (l labFiles) template(commonName string, life time.Duration) *x509.Certificate {
	return &x509.Certificate{ // the serial number is left to x509: 20 random bytes
		Subject:   pkix.Name{CommonName: commonName},
		NotBefore: l.now.Add(-labBackdate),
		NotAfter:  l.now.Add(life),
	}
}

// sign makes a key and its certificate, signed by ca or, without one, by itself, and writes both.
func (l labFiles) sign(name string, template *x509.Certificate, ca *tls.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	issuer, issuerKey := template, any(key)
	if ca != nil {
		issuer, issuerKey = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	err = errors.Join(
		l.write(name+".key", "PRIVATE KEY", keyDER),
		l.write(name+".pem", "CERTIFICATE", der),
	)
	if err != nil {
		return tls.Certificate{}, err
	}
	return l.load(name)
}

// write replaces a file as a whole, so that a reader finds the old one or the new one. A key and a certificate that do
// not belong together, after a crash between the two, are found by the next ensure.
func (l labFiles) write(name, blockType string, der []byte) error {
	temporary, err := os.CreateTemp(l.dir, name+".*") // 0600
	if err != nil {
		return err
	}
	err = errors.Join(
		pem.Encode(temporary, &pem.Block{Type: blockType, Bytes: der}),
		temporary.Close(),
	)
	if err == nil {
		err = os.Rename(temporary.Name(), l.path(name))
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the error that matters is the first one
	}
	return err
}
