package conf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs lists of revoked certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority { return authority{}.below(t, name) }

// below is an authority whose certificate a issued; that of the zero authority issues its own.
func (a authority) below(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: today.Add(-time.Hour), NotAfter: today.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}
	if a.cert == nil {
		a = authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// list is a list in DER that is good from begin to end.
func (a authority) list(t *testing.T, begin, end time.Time, extra ...pkix.Extension) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: begin, NextUpdate: end, ExtraExtensions: extra}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// timeless is a list without an end, which crypto/x509 does not write. Nobody checks its signature.
func (a authority) timeless(t *testing.T) []byte {
	t.Helper()
	algorithm := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}
	der, err := asn1.Marshal(struct {
		List struct {
			Version    int
			Algorithm  pkix.AlgorithmIdentifier
			Issuer     pkix.RDNSequence
			ThisUpdate time.Time
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		List: struct {
			Version    int
			Algorithm  pkix.AlgorithmIdentifier
			Issuer     pkix.RDNSequence
			ThisUpdate time.Time
		}{1, algorithm, a.cert.Subject.ToRDNSequence(), today},
		Algorithm: algorithm, Signature: asn1.BitString{Bytes: []byte{0}, BitLength: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func listPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestRevocationLists(t *testing.T) {
	folder := certificateFolder(t)
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	below := ours.below(t, "below")
	write := func(name string, parts ...[]byte) {
		t.Helper()
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		if err := os.WriteFile(filepath.Join(folder, name), all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ours.pem", ours.pem())
	write("two.pem", ours.pem(), others.pem())
	write("tiers.pem", ours.pem(), below.pem())
	const day = 24 * time.Hour
	begin := today.Add(-time.Hour)
	good, old, soon := ours.list(t, begin, today.Add(30*day)), ours.list(t, begin.Add(-day), today.Add(-time.Minute)), ours.list(t, begin, today.Add(6*day))
	write("good.crl", good)
	write("good.pem", listPEM(good))
	write("several.pem", listPEM(old), listPEM(good), []byte("and text between\n"))
	write("expired.pem", listPEM(old))
	write("soon.crl", soon)
	write("endless.crl", ours.list(t, begin, today.Add(7*day+time.Second)))
	write("future.crl", ours.list(t, today.Add(time.Hour), today.Add(30*day)))
	write("others.pem", listPEM(good), listPEM(others.list(t, begin, today.Add(30*day))))
	write("pair.crl", good, others.list(t, begin, today.Add(30*day)))
	write("renamed.crl", newAuthority(t, "ours").list(t, begin, today.Add(30*day)))
	write("part.crl", ours.list(t, begin, today.Add(30*day), pkix.Extension{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{5, 0}}))
	write("timeless.crl", ours.timeless(t))
	write("damaged.pem", listPEM(good[:len(good)/2]))
	write("below.crl", below.list(t, begin, today.Add(30*day)))
	write("tail.crl", good, []byte("no list"))
	write("text.crl", []byte("no list"))
	for _, tt := range []struct{ file, ca, fault, warning string }{
		{"good.crl", "ours.pem", "", ""},
		{"good.pem", "ours.pem", "", ""},
		{"several.pem", "ours.pem", "", ""},
		{"endless.crl", "ours.pem", "", ""},
		{"expired.pem", "ours.pem", `expired.pem expired on 2026-03-01, so that every certificate of "CN=ours" would be refused; replace it`, ""},
		{"soon.crl", "ours.pem", "", `soon.crl expires on 2026-03-07, and every certificate of "CN=ours" would be refused from then on; replace it before`},
		{"future.crl", "ours.pem", "future.crl is not valid before 2026-03-01 13:00:00; check the clock of this host, or replace it", ""},
		{"others.pem", "two.pem", "", ""},
		{"others.pem", "ours.pem", "", `others.pem has a list of "CN=others" that no authority in ours.pem signed: it revokes nothing unless peers bring that authority's certificate along; name the list of the authority that issues them`},
		{"good.crl", "two.pem", "", `good.crl has no list of "CN=others", an authority in two.pem: certificates that it issued itself would all be refused; add its list`},
		{"good.crl", "tiers.pem", "", `good.crl has no list of "CN=below", an authority in tiers.pem: certificates that it issued itself would all be refused; add its list`},
		{"below.crl", "tiers.pem", "", ""},
		{"pair.crl", "two.pem", "", ""},
		{"renamed.crl", "ours.pem", `renamed.crl has a list of "CN=ours" that the authority of that name in ours.pem did not sign; name the list that it gives out now`, ""},
		{"part.crl", "ours.pem", `part.crl has a list of "CN=ours" that is only a part, by its critical extension 2.5.29.28 (RFC 5280 section 5.2); name the whole list of that authority`, ""},
		{"timeless.crl", "ours.pem", `timeless.crl has a list of "CN=ours" that does not say when it expires (RFC 5280 section 5.1.2.5); name the whole list of that authority`, ""},
		{"damaged.pem", "ours.pem", "damaged.pem is no file of revocation lists: x509: malformed crl; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"text.crl", "ours.pem", "text.crl is no file of revocation lists: asn1: syntax error: data truncated; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"tail.crl", "ours.pem", "tail.crl is no file of revocation lists: asn1: syntax error: data truncated; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"ca.pem", "ours.pem", "ca.pem holds no list of revoked certificates; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"none.crl", "ours.pem", "none.crl cannot be read: no such file or directory; name a file that this user may read", ""},
	} {
		t.Run(tt.file+" of "+tt.ca, func(t *testing.T) {
			text := replace(t, poolTLS, "      ca: "+tt.ca+"\n      crl: "+tt.file+"\n")
			_, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
			const at = "c.yaml:24:12: mediation.pool.tls.crl "
			got := "nil"
			if err != nil {
				got = strings.ReplaceAll(err.Error(), folder+"/", "")
			}
			if want := at + tt.fault; tt.fault == "" && err != nil || tt.fault != "" && got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			got = ""
			for _, w := range warnings {
				got += strings.ReplaceAll(w.String(), folder+"/", "")
			}
			if want := at + tt.warning; tt.warning == "" && got != "" || tt.warning != "" && got != want {
				t.Errorf("warned of %q, want %q", got, want)
			}
		})
	}
}

// TestListsOfTheHostsAuthorities: without ca nobody here knows who may sign.
func TestListsOfTheHostsAuthorities(t *testing.T) {
	folder := certificateFolder(t)
	ours := newAuthority(t, "ours")
	if err := os.WriteFile(filepath.Join(folder, "a.crl"), ours.list(t, today, today.AddDate(0, 1, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := replace(t, poolTLS, "      crl: a.crl\n")
	if _, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil); err != nil || len(warnings) != 0 {
		t.Errorf("%v %v", err, warnings)
	}
}

func TestListAlone(t *testing.T) {
	checkFaults(t, []faultTest{
		fault("list alone", gatewayPeer, gatewayPeer+"\n    tls: {crl: «a.crl}",
			"mediation.gateway.tls.crl stands without a certificate of our own; add mediation.gateway.tls.certificate and mediation.gateway.tls.key, or remove it"),
	})
}
