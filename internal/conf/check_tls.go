package conf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// certificates checks the TLS sections: that those in need of a certificate have one, and that every file named can
// be used.
func (c checker) certificates() {
	sections := c.cfg.tlsSections()
	for _, u := range c.tlsUsers() {
		if t := sections[u.section]; c.sound(u.section) && t.Certificate == "" && t.Key == "" {
			c.errorf(u.path, "uses %s, and %s names no certificate; add %s: {certificate: FILE, key: FILE}, or %s", u.protocol, u.section, u.section, u.otherwise)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(sections)) {
		if c.sound(path) {
			c.tlsSection(path, sections[path])
		}
	}
}

// tlsUser is a key that makes a certificate necessary.
type tlsUser struct {
	path      string
	section   string // where the certificate has to stand
	protocol  string
	otherwise string // what can be done without one
}

func (c checker) tlsUsers() []tlsUser {
	var users []tlsUser
	for _, e := range c.endpoints() {
		side, _, _ := strings.Cut(e.path, ".listen")
		section := strings.TrimSuffix(side, ".internal") + ".tls" // the relay has one certificate for both sides
		switch {
		case e.path == "relay.credentials.listen":
			users = append(users, tlsUser{e.path, section, "TLS", "remove listen"})
		case e.network == "tls":
			users = append(users, tlsUser{e.path, section, "TLS", "use tcp"})
		case e.network == "dtls":
			users = append(users, tlsUser{e.path, section, "DTLS", "use udp"})
		}
	}
	if m := c.cfg.Mediation; m != nil {
		if m.Pool.NextHop.Transport == "tls" && c.sound("mediation.pool.next_hop") {
			users = append(users, tlsUser{"mediation.pool.next_hop", "mediation.pool.tls", "TLS", "use tcp"})
		}
		if m.Gateway.Peer.Transport == "tls" && c.sound("mediation.gateway.peer") {
			users = append(users, tlsUser{"mediation.gateway.peer", "mediation.gateway.tls", "TLS", "use tcp"})
		}
	}
	return users
}

func (c checker) tlsSection(path string, t *TLS) {
	switch {
	case t.Certificate == "" && t.Key == "" && t.CA == "" && t.CRL == "":
		return
	case t.Certificate == "" && t.Key == "":
		alone := path + ".ca"
		if t.CA == "" {
			alone = path + ".crl"
		}
		c.errorf(alone, "stands without a certificate of our own; add %s.certificate and %s.key, or remove it", path, path)
	case t.Key == "":
		c.errorf(path+".certificate", "stands without its key; add %s.key", path)
	case t.Certificate == "":
		c.errorf(path+".key", "stands without its certificate; add %s.certificate", path)
	default:
		c.keyPair(path, t)
	}
	if t.CA != "" && c.sound(path+".ca") {
		c.authorities(path+".ca", t.CA)
	}
	if t.CRL != "" && c.sound(path+".crl") {
		c.revocation(path, t)
	}
}

// keyPair checks a certificate, its dates and its key.
func (c checker) keyPair(path string, t *TLS) {
	certPEM, ok := c.readPEM(path+".certificate", t.Certificate)
	keyPEM, ok2 := c.readPEM(path+".key", t.Key)
	if !ok || !ok2 {
		return
	}
	chain := parseCertificates(certPEM)
	if len(chain) == 0 {
		c.errorf(path+".certificate", "%s holds no certificate; name a PEM file with a CERTIFICATE block", t.Certificate)
		return
	}
	c.inDate(path+".certificate", t.Certificate, chain[0])
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		c.errorf(path+".key", "%s is no key for %s: %v; name the unencrypted PEM key that the certificate was made with", t.Key, t.Certificate, err)
	}
	if mode, err := c.host.mode(t.Key); err == nil && mode&0o007 != 0 {
		c.warnf(path+".key", "%s can be read by every user of the host; run: chmod 640 %s", t.Key, t.Key)
	}
}

// inDate reports a certificate outside its dates.
func (c checker) inDate(path, file string, cert *x509.Certificate) {
	switch now := c.host.now(); {
	case now.After(cert.NotAfter):
		c.errorf(path, "%s expired on %s; replace it", file, cert.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(cert.NotBefore):
		c.errorf(path, "%s is not valid before %s; check the clock of this host, or replace it", file, cert.NotBefore.UTC().Format(time.DateTime))
	}
}

// authorities checks a CA file. Of several certificates some may have expired; one has to be good.
func (c checker) authorities(path, file string) {
	text, ok := c.readPEM(path, file)
	if !ok {
		return
	}
	certs := parseCertificates(text)
	now := c.host.now()
	good := func(cert *x509.Certificate) bool { return now.Before(cert.NotAfter) && !now.Before(cert.NotBefore) }
	switch {
	case len(certs) == 0:
		c.errorf(path, "%s holds no certificate; name a PEM file with the certificates of the authorities", file)
	case !slices.ContainsFunc(certs, good):
		c.inDate(path, file, certs[0])
	}
}

func (c checker) readPEM(path, file string) ([]byte, bool) { return c.read(path, file, "a PEM file") }

// read returns a file, or reports that it should have been what can be read.
func (c checker) read(path, file, what string) ([]byte, bool) {
	text, err := c.host.readFile(file)
	if err != nil {
		cause := err
		if pathError, ok := errors.AsType[*os.PathError](err); ok {
			cause = pathError.Err
		}
		c.errorf(path, "%s cannot be read: %v; name %s that this user may read", file, cause, what)
		return nil, false
	}
	return text, true
}

// parseCertificates returns the certificates of a PEM text and skips what is none.
func parseCertificates(text []byte) []*x509.Certificate {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, cert)
		}
	}
	return certs
}
