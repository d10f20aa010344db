package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// PKI names the PEM files of a throw-away authority and of one certificate. Pair holds certificate and key in one file,
// as baresip wants them.
type PKI struct{ CA, Cert, Key, Pair string }

// NewPKI makes an authority and a certificate for addresses and localhost, good for a day, and writes them into dir.
func NewPKI(dir string, addresses ...string) (PKI, error) {
	files := PKI{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "cert.pem"),
		Key:  filepath.Join(dir, "key.pem"),
		Pair: filepath.Join(dir, "pair.pem"),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "causeway test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, authorityDER, err := issue(authority, authority, nil)
	if err != nil {
		return files, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "causeway test"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		DNSNames:    []string{"localhost"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, a := range addresses {
		leaf.IPAddresses = append(leaf.IPAddresses, net.ParseIP(a))
	}
	leafKey, leafDER, err := issue(leaf, authority, authorityKey)
	if err != nil {
		return files, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return files, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, data := range map[string][]byte{
		files.CA:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER}),
		files.Cert: certPEM,
		files.Key:  keyPEM,
		files.Pair: append(append([]byte{}, certPEM...), keyPEM...),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
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
