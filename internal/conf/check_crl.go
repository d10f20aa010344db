package conf

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// renewBefore is how long before its end a list of revoked certificates is warned of.
const renewBefore = 7 * 24 * time.Hour

// revocation checks the file of revoked certificates of a TLS section: that it holds lists, that the newest of each
// issuer is in date, and whose they are. Certificates whose issuer has no good list are refused.
func (c checker) revocation(section string, t *TLS) {
	path := section + ".crl"
	text, ok := c.read(path, t.CRL, "a file")
	if !ok {
		return
	}
	lists, err := parseRevocationLists(text)
	switch {
	case err != nil:
		c.errorf(path, "%s is no file of revocation lists: %v; name a DER file, or a PEM file with X509 CRL blocks", t.CRL, err)
		return
	case len(lists) == 0:
		c.errorf(path, "%s holds no list of revoked certificates; name a DER file, or a PEM file with X509 CRL blocks", t.CRL)
		return
	}
	for _, list := range lists {
		if fault := unusable(list); fault != "" {
			c.errorf(path, "%s has a list of %q %s; name the whole list of that authority", t.CRL, list.Issuer, fault)
		}
	}
	if !c.sound(path) {
		return
	}
	lists = newestLists(lists)
	for _, list := range lists {
		c.listInDate(path, t.CRL, list)
	}
	if c.sound(path) && t.CA != "" && c.sound(section+".ca") {
		c.issuers(path, t, lists)
	}
}

// unusable says why the transport would not take a list; "" when it would.
func unusable(list *x509.RevocationList) string {
	if list.NextUpdate.IsZero() {
		return "that does not say when it expires (RFC 5280 section 5.1.2.5)"
	}
	for _, e := range list.Extensions {
		if e.Critical {
			return fmt.Sprintf("that is only a part, by its critical extension %s (RFC 5280 section 5.2)", e.Id)
		}
	}
	return ""
}

// issuers compares the lists with the authorities of tls.ca. Either may be right without the other, since a peer may
// bring the certificate of an authority between; but it is rarely meant.
func (c checker) issuers(path string, t *TLS, lists []*x509.RevocationList) {
	text, err := c.host.readFile(t.CA)
	if err != nil {
		return // reported already
	}
	authorities := parseCertificates(text)
	for _, list := range lists {
		signed := slices.ContainsFunc(authorities, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil })
		named := slices.ContainsFunc(authorities, func(ca *x509.Certificate) bool { return bytes.Equal(ca.RawSubject, list.RawIssuer) })
		switch {
		case signed:
		case named:
			c.errorf(path, "%s has a list of %q that the authority of that name in %s did not sign; name the list that it gives out now", t.CRL, list.Issuer, t.CA)
		default:
			c.warnf(path, "%s has a list of %q that no authority in %s signed: it revokes nothing unless peers bring that authority's certificate along; name the list of the authority that issues them", t.CRL, list.Issuer, t.CA)
		}
	}
	if !c.sound(path) {
		return
	}
	for _, ca := range authorities {
		listed := slices.ContainsFunc(lists, func(l *x509.RevocationList) bool { return l.CheckSignatureFrom(ca) == nil })
		above := slices.ContainsFunc(authorities, func(sub *x509.Certificate) bool { return sub != ca && sub.CheckSignatureFrom(ca) == nil })
		if !listed && !above {
			c.warnf(path, "%s has no list of %q, an authority in %s: certificates that it issued itself would all be refused; add its list", t.CRL, ca.Subject, t.CA)
		}
	}
}

func (c checker) listInDate(path, file string, list *x509.RevocationList) {
	switch now := c.host.now(); {
	case now.Before(list.ThisUpdate):
		c.errorf(path, "%s is not valid before %s; check the clock of this host, or replace it", file, list.ThisUpdate.UTC().Format(time.DateTime))
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

// parseRevocationLists reads the lists of a PEM text, or of a file of DER; none when it is neither.
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
	for rest := text; !isPEM && len(rest) > 0; {
		var whole asn1.RawValue
		var notDER error
		if rest, notDER = asn1.Unmarshal(rest, &whole); notDER != nil {
			return nil, notDER
		}
		list, err := x509.ParseRevocationList(whole.FullBytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}
