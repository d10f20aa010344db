package conf

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// relayCredentials checks A/V authentication: its certificate and keys, and where credentials are asked for.
func (c checker) relayCredentials(k *RelayCredentials) {
	const section = "relay.credentials"
	if !c.sound(section) {
		return
	}
	if k.Lifetime > k.MaxLifetime {
		path, fix := section+".lifetime", "raise max_lifetime or lower it"
		if !c.given(path) {
			path, fix = section+".max_lifetime", "raise it or set lifetime"
		}
		c.errorf(path, "leads to a lifetime of %s and a longest one of %s; %s", k.Lifetime, k.MaxLifetime, fix)
	}
	switch {
	case k.Certificate == "" && k.Key == "":
		c.errorf(section, "names no A/V authentication certificate; add certificate: FILE and key: FILE")
	case k.Key == "":
		c.errorf(section+".certificate", "stands without its key; add %s.key", section)
	case k.Certificate == "":
		c.errorf(section+".key", "stands without its certificate; add %s.certificate", section)
	default:
		c.keyPair(section, &TLS{Certificate: k.Certificate, Key: k.Key})
	}
	c.previousKey(section, k)
	c.sharedCertificate(section, k)
	c.issuer(section, k)
}

// previousKey checks the key that credentials made before a change are still good for.
func (c checker) previousKey(section string, k *RelayCredentials) {
	if k.PreviousKey == "" {
		return
	}
	path := section + ".previous_key"
	text, ok := c.readPEM(path, k.PreviousKey)
	if !ok {
		return
	}
	previous, err := parsePrivateKey(text)
	if err != nil {
		c.errorf(path, "%s is no key: %v; name an unencrypted PEM key", k.PreviousKey, err)
		return
	}
	if mode, err := c.host.mode(k.PreviousKey); err == nil && mode&0o007 != 0 {
		c.warnf(path, "%s can be read by every user of the host; run: chmod 640 %s", k.PreviousKey, k.PreviousKey)
	}
	text, err = c.host.readFile(k.Key)
	if err != nil {
		return // reported already
	}
	if current, err := parsePrivateKey(text); err == nil && samePublicKey(current, previous) {
		c.warnf(path, "%s is the key of the certificate itself: the one before it is accepted no longer; name that one, or remove previous_key", k.PreviousKey)
	}
}

// sharedCertificate warns when the A/V authentication certificate, or its key in another one, does other work too. What
// leaks there makes credentials here, and the two could not be replaced apart.
func (c checker) sharedCertificate(section string, k *RelayCredentials) {
	own, ok := c.publicKey(k.Certificate)
	if !ok {
		return
	}
	sections := c.cfg.tlsSections()
	for _, path := range slices.Sorted(maps.Keys(sections)) {
		other, ok := c.publicKey(sections[path].Certificate)
		if ok && c.sound(path) && own.Equal(other) {
			c.warnf(section+".certificate", "%s serves %s as well: whoever gets at the key there can make credentials for every user, and neither can be replaced without the other; give A/V authentication a certificate of its own", k.Certificate, path)
		}
	}
}

// issuer checks the endpoint that issues credentials.
func (c checker) issuer(section string, k *RelayCredentials) {
	path := section + ".listen"
	if !k.Listen.IsValid() || !c.sound(path) {
		return
	}
	switch {
	case k.Listen.Addr().IsUnspecified():
		c.errorf(path, "%s is every address of the host; write the one of the internal side that servers ask for credentials at", k.Listen)
		return
	case k.Listen.Port() == 0:
		c.errorf(path, "%s has no port; write one, such as %s:5063", k.Listen, k.Listen.Addr())
		return
	}
	if c.sound(section+".tls") && k.TLS.CA == "" {
		c.errorf(path, "asks for client certificates, and nothing says whose; add %s.tls.ca: the authority of the servers that may ask for credentials", section)
	}
	for i, l := range c.cfg.Relay.Listen {
		if l.Addr.Addr() == k.Listen.Addr() && !l.Addr.Addr().IsLoopback() {
			c.warnf(path, "is on %s, the address of relay.listen[%d], where the internet comes in; choose an address of the internal side", k.Listen.Addr(), i)
			return
		}
	}
}

// publicKey reads the key of the first certificate in a PEM file; ok is false when there is none.
func (c checker) publicKey(file string) (key interface{ Equal(crypto.PublicKey) bool }, ok bool) {
	if file == "" {
		return nil, false
	}
	text, err := c.host.readFile(file)
	if err != nil {
		return nil, false
	}
	chain := parseCertificates(text)
	if len(chain) == 0 {
		return nil, false
	}
	key, ok = chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return key, ok
}

func samePublicKey(a, b crypto.Signer) bool {
	key, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.Public())
}

// parsePrivateKey reads the first private key of a PEM text, in any form that crypto/x509 knows.
func parsePrivateKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("a key of type %T does not sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("no private key in it")
}
