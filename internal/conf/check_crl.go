package conf

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

// renewBefore is how long before its end a list of revoked certificates is warned of.
const renewBefore = 7 * 24 * time.Hour

// revocation checks the file of revoked certificates of a TLS section: that it holds lists, that authorities which are
// named signed them, and that the newest of each is in date. One that has expired would refuse everybody.
func (c checker) revocation(section string, t *TLS) {
	path := section + ".crl"
	text, ok := c.read(path, t.CRL, "a file")
	if !ok {
		return
	}
	lists, err := parseRevocationLists(text)
	switch {
	case err != nil:
		c.errorf(path, "%s has a list that cannot be read: %v; name a file as the authority gives it out", t.CRL, err)
		return
	case len(lists) == 0:
		c.errorf(path, "%s holds no list of revoked certificates; name a DER file, or a PEM file with X509 CRL blocks", t.CRL)
		return
	}
	authorities, known := c.namedAuthorities(section, t)
	for _, list := range newestLists(lists) {
		if known && !slices.ContainsFunc(authorities, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil }) {
			c.errorf(path, "%s has a list of %q that no authority in %s signed, so it would revoke nothing; name the list of that authority", t.CRL, list.Issuer, t.CA)
			continue
		}
		c.listInDate(path, t.CRL, list)
	}
}

// namedAuthorities reads tls.ca; known is false where it names none, or was found at fault.
func (c checker) namedAuthorities(section string, t *TLS) (authorities []*x509.Certificate, known bool) {
	if t.CA == "" || !c.sound(section+".ca") {
		return nil, false
	}
	text, err := c.host.readFile(t.CA)
	if err != nil {
		return nil, false
	}
	return parseCertificates(text), true
}

func (c checker) listInDate(path, file string, list *x509.RevocationList) {
	switch now := c.host.now(); {
	case now.Before(list.ThisUpdate):
		c.errorf(path, "%s is not valid before %s; check the clock of this host, or replace it", file, list.ThisUpdate.UTC().Format(time.DateTime))
	case list.NextUpdate.IsZero():
	case now.After(list.NextUpdate):
		c.errorf(path, "%s expired on %s, so that every certificate of %q would be refused; replace it", file, list.NextUpdate.UTC().Format(time.DateOnly), list.Issuer)
	case now.Add(renewBefore).After(list.NextUpdate):
		c.warnf(path, "%s expires on %s, and every certificate of %q would be refused from then on; replace it before", file, list.NextUpdate.UTC().Format(time.DateOnly), list.Issuer)
	}
}

// newestLists keeps of several lists of one issuer the newest, in the order of the file.
func newestLists(lists []*x509.RevocationList) []*x509.RevocationList {
	var newest []*x509.RevocationList
	for _, list := range lists {
		i := slices.IndexFunc(newest, func(l *x509.RevocationList) bool { return string(l.RawIssuer) == string(list.RawIssuer) })
		switch {
		case i < 0:
			newest = append(newest, list)
		case list.ThisUpdate.After(newest[i].ThisUpdate):
			newest[i] = list
		}
	}
	return newest
}

// parseRevocationLists reads the lists of a PEM text, or the one of a DER file.
func parseRevocationLists(text []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	isPEM := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		isPEM = true
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if list, err := x509.ParseRevocationList(text); !isPEM && err == nil {
		lists = append(lists, list)
	}
	return lists, nil
}
