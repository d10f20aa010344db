package auth

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	caller  = netip.MustParseAddrPort("192.0.2.1:40000")
	another = netip.MustParseAddrPort("192.0.2.1:40001")
)

func newNonces(lifetime time.Duration) *Nonces {
	return NewNonces([]byte("0123456789abcdef"), lifetime, true, true)
}

func TestNonceForm(t *testing.T) {
	for _, tt := range []struct {
		algorithms, userhash bool
		prefix               string
	}{
		{true, true, "obMatJos2AAAD"},
		{true, false, "obMatJos2AAAB"},
		{false, true, "obMatJos2AAAC"},
		{false, false, "obMatJos2AAAA"},
	} {
		n := NewNonces([]byte("secret"), time.Minute, tt.algorithms, tt.userhash)
		got := string(n.Append([]byte("in front "), start, caller))
		nonce, ok := strings.CutPrefix(got, "in front ")
		if !ok || !strings.HasPrefix(nonce, tt.prefix) || len(nonce) != NonceSize || NonceSize != 32 {
			t.Errorf("nonce %q, want one of 32 bytes that begins with %q", got, tt.prefix)
		}
		if n.Algorithms([]byte(nonce)) != tt.algorithms {
			t.Errorf("%q: Algorithms = %v", nonce, !tt.algorithms)
		}
		if got := n.Check([]byte(nonce), start, caller); got != Fresh {
			t.Errorf("%q is %v", nonce, got)
		}
	}
}

// Three hours of seconds: a nonce is fresh for its lifetime, to the second, and stale for ever after.
func TestNonceExpiresToTheSecond(t *testing.T) {
	const lifetime = time.Hour
	n := newNonces(lifetime)
	for _, origin := range []time.Time{start, time.Unix(1<<32-1800, 0)} { // the second's low 32 bits wrap in 2106
		nonce := n.Append(nil, origin.Add(700*time.Millisecond), caller)
		for at := -time.Hour; at < 2*lifetime; at += time.Second {
			want := Fresh
			if at < -nonceSkew*time.Second || at >= lifetime {
				want = Stale
			}
			if got := n.Check(nonce, origin.Add(at), caller); got != want {
				t.Fatalf("%v after %v: %v, want %v", at, origin, got, want)
			}
		}
		if got := n.Check(nonce, origin.Add(lifetime-1), caller); got != Fresh {
			t.Errorf("a nanosecond before the end: %v", got)
		}
	}
}

func TestNonceIsBoundToTheAddress(t *testing.T) {
	n := newNonces(time.Hour)
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:192.0.2.1"), caller.Port())
	noPort := netip.AddrPortFrom(caller.Addr(), 0)
	nonce := n.Append(nil, start, caller)
	for _, tt := range []struct {
		from netip.AddrPort
		want Freshness
	}{
		{caller, Fresh},
		{mapped, Fresh}, // the same client, as a socket for both families names it
		{another, Stale},
		{noPort, Stale},
		{netip.MustParseAddrPort("192.0.2.2:40000"), Stale},
		{netip.MustParseAddrPort("[2001:db8::1]:40000"), Stale},
	} {
		if got := n.Check(nonce, start, tt.from); got != tt.want {
			t.Errorf("from %v: %v, want %v", tt.from, got, tt.want)
		}
	}
}

// All 64 bits that prove the address depend on it.
func TestNonceProofIsWhole(t *testing.T) {
	n := newNonces(time.Hour)
	var seen [sealedBytes]map[byte]bool
	for port := range uint16(200) {
		nonce := n.Append(nil, start, netip.AddrPortFrom(caller.Addr(), port+1))
		sealed, err := base64.RawStdEncoding.DecodeString(string(nonce[sealedAt:]))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range sealed {
			if seen[i] == nil {
				seen[i] = map[byte]bool{}
			}
			seen[i][b] = true
		}
	}
	for i, values := range seen {
		if proof := timeBytes <= i && i < markAt; proof != (len(values) > 50) {
			t.Errorf("byte %d has %d values for 200 clients", i, len(values))
		}
	}
}

func TestNoncesOfAnArray(t *testing.T) {
	one, other := newNonces(time.Hour), newNonces(time.Hour)
	plain := NewNonces([]byte("0123456789abcdef"), time.Hour, false, false) // a server that is set up differently
	stranger := NewNonces([]byte("0123456789abcdeg"), time.Hour, true, true)
	nonce := one.Append(nil, start, caller)
	for _, tt := range []struct {
		name string
		by   *Nonces
		want Freshness
	}{{"its own", one, Fresh}, {"same secret", other, Fresh}, {"same secret, other features", plain, Fresh}, {"other secret", stranger, Forged}} {
		if got := tt.by.Check(nonce, start, caller); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if !plain.Algorithms(nonce) {
		t.Error("what a nonce announced must be read from the nonce")
	}
}

// Whatever bit is changed, the nonce is not accepted: neither the time nor the features can be moved.
func TestNonceWithABitFlipped(t *testing.T) {
	n := newNonces(time.Hour)
	nonce := n.Append(nil, start, caller)
	for bit := range len(nonce) * 8 {
		flipped := append([]byte{}, nonce...)
		flipped[bit/8] ^= 1 << (bit % 8)
		if got := n.Check(flipped, start, caller); got == Fresh {
			t.Errorf("bit %d flipped (%q): fresh", bit, flipped)
		}
	}
	for i := range nonce {
		for _, short := range [][]byte{nonce[:i], nonce[i+1:]} {
			if got := n.Check(short, start, caller); got != Forged {
				t.Errorf("%q: %v", short, got)
			}
		}
		// Decoders of base64 may skip these.
		for _, c := range []byte("\r\n=") {
			changed := append([]byte{}, nonce...)
			changed[i] = c
			if got := n.Check(changed, start, caller); got != Forged {
				t.Errorf("%q: %v", changed, got)
			}
		}
	}
	if got := n.Check(append(nonce, 'A'), start, caller); got != Forged {
		t.Errorf("a byte more: %v", got)
	}
	if n.Algorithms([]byte("obMatJos2AAAD")) || n.Algorithms(nil) {
		t.Error("Algorithms of what is no nonce")
	}
}

// FuzzNonce: what nobody made is not fresh. The seeds stand in testdata/fuzz.
func FuzzNonce(f *testing.F) {
	n := newNonces(time.Hour)
	ours := string(n.Append(nil, start, caller))
	f.Fuzz(func(t *testing.T, nonce []byte) {
		if got := n.Check(nonce, start, caller); got == Fresh && string(nonce) != ours {
			// Another time's would be fresh as well, but nobody finds one.
			t.Errorf("%q is fresh", nonce)
		}
		if n.Algorithms(nonce) && len(nonce) != NonceSize {
			t.Errorf("%q announces algorithms", nonce)
		}
	})
}

func TestFreshnessNames(t *testing.T) {
	for f, want := range map[Freshness]string{Fresh: "fresh", Stale: "stale", Forged: "forged", 9: "unknown"} {
		if got := f.String(); got != want {
			t.Errorf("%d is %q, want %q", f, got, want)
		}
	}
}
