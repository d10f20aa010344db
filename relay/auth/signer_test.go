package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func signer(t testing.TB, der []byte) *Signer {
	t.Helper()
	s, err := NewSigner(der)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ed25519Signer makes a signer of a key that is the same in every run.
func ed25519Signer(t testing.TB, n byte) *Signer {
	t.Helper()
	return signer(t, pkcs8(t, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))))
}

// What is pinned here is spoken between the servers of an array, which may run different versions.
func TestSignerIsTheSameInEveryVersion(t *testing.T) {
	s := ed25519Signer(t, 1)
	got, err := s.Issue(start, "alice", 8*time.Hour)
	want := Credential{
		Username: "v1.oityOs_b.1800028800.YWxpY2U.jbVyVgpIVQdkhq-BXn4XjA",
		Password: "d7zAGQ_gjLG4tK9ZWCFWuWtUA_Mjn3CU",
		Expires:  start.Add(8 * time.Hour),
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if !strings.HasPrefix(got.Username, "v1."+s.KeyID()+".1800028800.YWxpY2U.") {
		t.Errorf("name %q", got.Username)
	}
}

func TestSignersOfOneKeyAgree(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Another tool may write the primes the other way round.
	swapped := rsa.PrivateKey{PublicKey: rsaKey.PublicKey, D: rsaKey.D, Primes: []*big.Int{rsaKey.Primes[1], rsaKey.Primes[0]}}
	swapped.Precompute()
	ids := map[string]string{}
	for _, tt := range []struct {
		kind       string
		one, other []byte
	}{
		{"RSA", pkcs8(t, rsaKey), x509.MarshalPKCS1PrivateKey(rsaKey)},
		{"RSA, primes swapped", pkcs8(t, &swapped), x509.MarshalPKCS1PrivateKey(rsaKey)},
		{"ECDSA", pkcs8(t, ecKey), sec1},
		{"Ed25519", pkcs8(t, edKey), pkcs8(t, edKey)},
	} {
		issuer, relay := signer(t, tt.one), signer(t, tt.other)
		if issuer.KeyID() != relay.KeyID() {
			t.Errorf("%s: key ids %s and %s", tt.kind, issuer.KeyID(), relay.KeyID())
		}
		made, err := issuer.Issue(start, "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c := credentials(t, Options{Signers: []*Signer{relay}})
		for _, alg := range algorithms {
			id, err := client{made.Username, made.Password}.verify(c, start, alg, nil)
			if err != nil || id.User != "alice" || id.Name != made.Username || !id.Expires.Equal(made.Expires) {
				t.Errorf("%s: %+v, %v", tt.kind, id, err)
			}
		}
		ids[issuer.KeyID()] = tt.kind
	}
	if len(ids) != 3 {
		t.Errorf("three keys have the ids %v", ids)
	}
}

func TestSignersRotate(t *testing.T) {
	previous, current, next := ed25519Signer(t, 1), ed25519Signer(t, 2), ed25519Signer(t, 3)
	c := credentials(t, Options{Signers: []*Signer{current, previous}})
	for _, tt := range []struct {
		by   *Signer
		want error
	}{{current, nil}, {previous, nil}, {next, ErrUnknownUser}} {
		made, err := tt.by.Issue(start, "alice", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		if _, err := (client{made.Username, made.Password}).verify(c, start, SHA256, &calls); !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.by, err, tt.want)
		}
		if tt.want != nil && calls != 0 {
			t.Errorf("%v: the name of another key led to %d checks", tt.by, calls)
		}
	}
}

func TestSignedCredentialWithABitFlipped(t *testing.T) {
	s := ed25519Signer(t, 1)
	made, err := s.Issue(start, "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	flipBits(t, credentials(t, Options{Signers: []*Signer{s}}), made)
}

// A forged name is refused before any key is made or any message checked.
func TestForgedNamesCostNoPasswordWork(t *testing.T) {
	s := ed25519Signer(t, 1)
	c := credentials(t, Options{Signers: []*Signer{s}, RestSecrets: []string{"north"}})
	made, err := s.Issue(start, "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(made.Username, ".")
	with := func(i int, text string) string {
		changed := append([]string{}, fields...)
		changed[i] = text
		return strings.Join(changed, ".")
	}
	for _, name := range []string{
		with(1, "AAAAAAAA"),
		with(2, "9999999999"),
		with(2, "-1"),
		with(3, "Ym9i"),
		with(3, ""),
		with(4, strings.Repeat("A", len(fields[4]))),
		with(4, ""),
		with(4, fields[4]+"A"),
		made.Username + ".x",
		made.Username + "\n",
		"v1.",
		"v1....",
		"v1." + strings.Repeat(".", 400),
	} {
		calls := 0
		if _, err := (client{name, made.Password}).verify(c, start, SHA256, &calls); !errors.Is(err, ErrUnknownUser) || calls != 0 {
			t.Errorf("%.60q: %v after %d checks", name, err, calls)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	s := ed25519Signer(t, 1)
	for _, tt := range []struct {
		user     string
		lifetime time.Duration
	}{
		{"", time.Hour},
		{"al\x00ice", time.Hour},
		{"\xff", time.Hour},
		{strings.Repeat("a", 256), time.Hour},
		{"alice", 0},
		{"alice", -time.Hour},
		{"alice", time.Second - 1},
	} {
		if got, err := s.Issue(start, tt.user, tt.lifetime); err == nil {
			t.Errorf("%.20q for %v: %+v", tt.user, tt.lifetime, got)
		}
	}
	longest, err := s.Issue(start, strings.Repeat("a", 255), time.Hour)
	if err != nil || len(longest.Username) > MaxName {
		t.Errorf("the longest user: a name of %d bytes, %v", len(longest.Username), err)
	}
	c := credentials(t, Options{Signers: []*Signer{s}})
	if _, err := (client{longest.Username, longest.Password}).verify(c, start, MD5, nil); err != nil {
		t.Errorf("the longest user: %v", err)
	}
}

func TestNewSignerRefuses(t *testing.T) {
	x25519 := unhex(t, "302e020100300506032b656e04220420"+strings.Repeat("07", 32))
	for name, der := range map[string][]byte{
		"nothing": nil, "text": []byte("-----BEGIN PRIVATE KEY-----"), "a key agreement's key": x25519,
	} {
		if s, err := NewSigner(der); err == nil {
			t.Errorf("%s made %v", name, s)
		}
	}
}

func TestSignerPrintsNoSecret(t *testing.T) {
	s := ed25519Signer(t, 1)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, s); got != "signer "+s.KeyID() {
			t.Errorf("%s prints %q", format, got)
		}
	}
}
