package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// PKI names the PEM files of a throw-away authority and of one certificate. Pair holds certificate and key in one file,
// as baresip wants them.
type PKI struct{ CA, Cert, Key, Pair string }

// NewPKI makes an authority and a certificate for addresses and localhost, good for a day, and writes them into dir.
func NewPKI(dir string, addresses ...string) (PKI, error) {
	authority, err := NewAuthority(dir, "causeway test authority")
	if err != nil {
		return PKI{}, err
	}
	return authority.Issue("", Identity{CommonName: "causeway test", Names: []string{"localhost"}, Addresses: addresses})
}

// Identity is what a certificate says of its holder.
type Identity struct {
	CommonName string
	Names      []string // DNS names among the alternative names
	Addresses  []string // IP addresses among them
	// Expired has the certificate end an hour ago.
	Expired bool
}

// Authority is a throw-away certificate authority that writes what it issues into one folder. Its methods may be called
// from several goroutines.
type Authority struct {
	CA string // its own certificate, PEM

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex // guards serial, that of the certificate or list made last
	serial int64
}

// NewAuthority makes an authority that is good for a day. Its certificate is ca.pem in dir.
func NewAuthority(dir, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, der, err := issue(cert, cert, nil)
	if err != nil {
		return nil, err
	}
	// Parsed again, it has the key identifier that lists of revoked certificates name.
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a := &Authority{CA: filepath.Join(dir, "ca.pem"), dir: dir, cert: cert, key: key, serial: 1}
	return a, writePEM(a.CA, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Issue makes a key and its certificate, which serves both ends of TLS. name begins the names of its files.
func (a *Authority) Issue(name string, id Identity) (PKI, error) {
	file := func(suffix string) string {
		if name != "" {
			suffix = name + "-" + suffix
		}
		return filepath.Join(a.dir, suffix)
	}
	files := PKI{CA: a.CA, Cert: file("cert.pem"), Key: file("key.pem"), Pair: file("pair.pem")}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(a.next()), Subject: pkix.Name{CommonName: id.CommonName},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		DNSNames:    id.Names,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, address := range id.Addresses {
		leaf.IPAddresses = append(leaf.IPAddresses, net.ParseIP(address))
	}
	if id.Expired {
		leaf.NotAfter = time.Now().Add(-time.Hour)
	}
	key, der, err := issue(leaf, a.cert, a.key)
	if err != nil {
		return files, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	cert, secret := &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}
	if err := writePEM(files.Cert, cert); err != nil {
		return files, err
	}
	if err := writePEM(files.Key, secret); err != nil {
		return files, err
	}
	return files, writePEM(files.Pair, cert, secret)
}

// Revoke writes a list of revoked certificates that is good for a day, and returns its file: name.pem.
func (a *Authority) Revoke(name string, certificates ...PKI) (string, error) {
	list := &x509.RevocationList{
		Number: big.NewInt(a.next()), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(24 * time.Hour),
	}
	for _, files := range certificates {
		data, err := os.ReadFile(files.Cert)
		if err != nil {
			return "", err
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return "", fmt.Errorf("%s holds no PEM", files.Cert)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return "", err
	}
	file := filepath.Join(a.dir, name+".pem")
	return file, writePEM(file, &pem.Block{Type: "X509 CRL", Bytes: der})
}

func (a *Authority) next() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	return a.serial
}

func writePEM(file string, blocks ...*pem.Block) error {
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	return os.WriteFile(file, data, 0o600)
}

// issue makes a key and signs its certificate; a nil signer signs itself.
func issue(cert, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	return key, der, err
}
