package conf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
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

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: today.Add(-time.Hour), NotAfter: today.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
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
func (a authority) list(t *testing.T, begin, end time.Time) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: begin, NextUpdate: end}, a.cert, a.key)
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
	lab, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
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
	write("bundle.pem", lab, ours.pem())
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
	write("damaged.pem", listPEM(good[:len(good)/2]))
	write("text.crl", []byte("no list"))
	for _, tt := range []struct{ file, ca, fault, warning string }{
		{"good.crl", "bundle.pem", "", ""},
		{"good.pem", "bundle.pem", "", ""},
		{"several.pem", "bundle.pem", "", ""},
		{"endless.crl", "bundle.pem", "", ""},
		{"expired.pem", "bundle.pem", `expired.pem expired on 2026-03-01, so that every certificate of "CN=ours" would be refused; replace it`, ""},
		{"soon.crl", "bundle.pem", "", `soon.crl expires on 2026-03-07, and every certificate of "CN=ours" would be refused from then on; replace it before`},
		{"future.crl", "bundle.pem", "future.crl is not valid before 2026-03-01 13:00:00; check the clock of this host, or replace it", ""},
		{"others.pem", "bundle.pem", `others.pem has a list of "CN=others" that no authority in bundle.pem signed, so it would revoke nothing; name the list of that authority`, ""},
		{"good.crl", "ca.pem", `good.crl has a list of "CN=ours" that no authority in ca.pem signed, so it would revoke nothing; name the list of that authority`, ""},
		{"damaged.pem", "bundle.pem", "damaged.pem has a list that cannot be read: x509: malformed crl; name a file as the authority gives it out", ""},
		{"text.crl", "bundle.pem", "text.crl holds no list of revoked certificates; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"ca.pem", "bundle.pem", "ca.pem holds no list of revoked certificates; name a DER file, or a PEM file with X509 CRL blocks", ""},
		{"none.crl", "bundle.pem", "none.crl cannot be read: no such file or directory; name a file that this user may read", ""},
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
