package media

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"pgregory.net/rapid"
)

// vectors reads one of the files in testdata/vectors: lines of a name and bytes.
func vectors(t *testing.T, file string) func(name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, digits, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || line[0] == '#' {
			continue
		}
		if all[name], err = hex.DecodeString(digits); err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
	}
	return func(name string) []byte {
		b, ok := all[name]
		if !ok {
			t.Fatalf("%s has no %q", file, name)
		}
		return b
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%x, want\n%x", what, got, want)
	}
}

// TestKeyStreamVectors: RFC 3711 appendix B.2 and RFC 6188 section 7.1.
func TestKeyStreamVectors(t *testing.T) {
	for _, file := range []string{"rfc3711-b2.txt", "rfc6188-7.txt"} {
		v := vectors(t, file)
		stream := keyStream(v("session key"), new(big.Int).SetBytes(v("counter 0")), 0xff02*16)
		for _, n := range []int{0, 1, 2, 0xfeff, 0xff00, 0xff01} {
			same(t, fmt.Sprintf("%s: block %04X", file, n), stream[16*n:16*n+16], v(fmt.Sprintf("block %04X", n)))
		}
	}
}

// TestKeyDerivationVectors: RFC 3711 appendix B.3 and RFC 6188 section 7.2; and our
// contexts have those session keys, since they make of a packet what those keys do.
func TestKeyDerivationVectors(t *testing.T) {
	for file, p := range map[string]Profile{"rfc3711-b3.txt": AES128_CM_80, "rfc6188-7.txt": AES256_CM_80} {
		v := vectors(t, file)
		master := concat(v("master key"), v("master salt"))
		k := derive(p, master, 0)
		same(t, file+": cipher key", k.cipher, v("cipher key"))
		same(t, file+": cipher salt", k.salt, v("cipher salt"))
		same(t, file+": auth key", pseudoRandom(v("master key"), v("master salt"), 1, len(v("auth key"))), v("auth key"))

		given := sessionKeys{cipher: v("cipher key"), salt: v("cipher salt"), auth: v("auth key")[:20]}
		plain := talk(0xffff, 0xcafebabe).bytes()
		protected := given.protectRTP(p, plain, fixedHeader, 0xffff, nil, false)
		same(t, file+": a packet", seal(t, p, master, plain), protected)
		same(t, file+": opened", unseal(t, p, master, protected), plain)
	}
}

// TestGaloisVectors: RFC 7714 sections 16 and 17. They are given by session keys, which
// no master key of ours leads to, and so hold for the slow twin; the contexts are held
// to the twin by [TestContextsAgainstTwin].
func TestGaloisVectors(t *testing.T) {
	v := vectors(t, "rfc7714-16-17.txt")
	for bits, p := range map[string]Profile{"128": AES128_GCM, "256": AES256_GCM} {
		k := sessionKeys{cipher: v("key " + bits), salt: v("salt")}
		for tagOnly, more := range map[bool]string{false: "", true: " tag only"} {
			same(t, "rtp "+bits+more, k.protectRTP(p, v("rtp"), fixedHeader, 0xf17b, nil, tagOnly), v("rtp "+bits+more))
			same(t, "rtcp "+bits+more, k.protectRTCP(p, v("rtcp"), 0x5d4, nil, tagOnly), v("rtcp "+bits+more))
		}
	}
}

// TestReferencePackets: what libsrtp makes of a packet is what we make of it, and is
// opened by us.
func TestReferencePackets(t *testing.T) {
	v := vectors(t, "libsrtp.txt")
	for _, p := range []Profile{AES128_CM_80, AES128_GCM, AES256_CM_80} {
		key := v(p.String() + " key")
		same(t, p.String()+" rtp", seal(t, p, key, v("rtp")), v(p.String()+" rtp"))
		same(t, p.String()+" rtp, opened", unseal(t, p, key, v(p.String()+" rtp")), v("rtp"))
		if p == AES256_CM_80 {
			continue // its driver has no RTCP for it
		}
		s, err := newSealer(p, key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.rtcp(roomy(v("rtcp")))
		if err != nil {
			t.Fatal(err)
		}
		same(t, p.String()+" rtcp", got, v(p.String()+" rtcp"))
		o, err := newOpener(p, key)
		if err != nil {
			t.Fatal(err)
		}
		got, drop := o.now.rtcp(bytes.Clone(v(p.String()+" rtcp")), 0xcafebabe)
		if drop != passed {
			t.Errorf("%s: dropped as %s", p, drop)
		}
		same(t, p.String()+" rtcp, opened", got, v("rtcp"))
	}
}

// roomy is a copy with room behind it.
func roomy(b []byte) []byte { return append(make([]byte, 0, len(b)+200), b...) }

func seal(t testing.TB, p Profile, key, plain []byte) []byte {
	t.Helper()
	s, err := newSealer(p, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.rtp(roomy(plain), new(rtp.Header))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unseal(t testing.TB, p Profile, key, protected []byte) []byte {
	t.Helper()
	o, err := newOpener(p, key)
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(protected)
	h, drop := parseHeader(b)
	if drop != passed {
		t.Fatal(drop)
	}
	out, drop := o.now.rtp(b, &h, new(rtp.Header))
	if drop != passed {
		t.Fatalf("dropped as %s", drop)
	}
	return out
}

// TestContextsAgainstTwin: every suite's contexts make and open what the slow twin
// does, of any packet, under any key, with any identifier, at any index.
func TestContextsAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(profiles).Draw(t, "profile")
		master := rapid.SliceOfN(rapid.Byte(), p.KeyLen(), p.KeyLen()).Draw(t, "master key")
		var mki []byte
		if n := rapid.SampledFrom([]int{0, 0, 1, 4, MaxMKI}).Draw(t, "MKI length"); n > 0 {
			mki = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "MKI")
		}
		s, err := newSealer(p, master)
		if err != nil {
			t.Fatal(err)
		}
		o, err := newOpener(p, master)
		if err != nil {
			t.Fatal(err)
		}
		s.mki, o.now.mki = mki, mki

		plain, length := drawHeader(t)
		plain = append(plain, rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "payload")...)
		h, drop := parseHeader(plain)
		if drop != passed || h.length != length {
			t.Fatalf("dropped as %s, header of %d bytes and not %d", drop, h.length, length)
		}
		rollover := rapid.SampledFrom([]uint32{0, 0, 1, 77, 1<<32 - 1}).Draw(t, "rollover counter")
		s.ctx.SetROC(h.ssrc, rollover)
		o.now.ctx.SetROC(h.ssrc, rollover)
		keys := derive(p, master, 0)
		want := keys.protectRTP(p, plain, length, uint64(rollover)<<16|uint64(h.sequence), mki, false)
		got, err := s.rtp(roomy(plain), new(rtp.Header))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("protected as\n%x, %v; want\n%x", got, err, want)
		}
		if got, drop := o.now.rtp(want, &h, new(rtp.Header)); drop != passed || !bytes.Equal(got, plain) {
			t.Fatalf("opened as\n%x, %s; want\n%x", got, drop, plain)
		}

		report := appendCNAME(appendReport(nil, h.ssrc, nil, nil), h.ssrc, rapid.StringN(0, 60, 60).Draw(t, "name"))
		index := uint32(rapid.IntRange(1, 1<<31-1).Draw(t, "SRTCP index"))
		s.ctx.SetIndex(h.ssrc, index-1)
		keys = derive(p, master, 3)
		want = keys.protectRTCP(p, report, index, mki, false)
		got, err = s.rtcp(roomy(report))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("report protected as\n%x, %v; want\n%x", got, err, want)
		}
		if got, drop := o.now.rtcp(want, h.ssrc); drop != passed || !bytes.Equal(got, report) {
			t.Fatalf("report opened as\n%x, %s; want\n%x", got, drop, report)
		}
	})
}

// drawHeader makes an RTP header with any number of contributors and with or without
// an extension.
func drawHeader(t *rapid.T) (b []byte, length int) {
	contributors := rapid.IntRange(0, 15).Draw(t, "contributors")
	b = rapid.SliceOfN(rapid.Byte(), fixedHeader+4*contributors, fixedHeader+4*contributors).Draw(t, "header")
	b[0] = 2<<6 | byte(contributors)
	if rapid.Bool().Draw(t, "extended") {
		words := rapid.IntRange(0, 5).Draw(t, "extension")
		b[0] |= 1 << 4
		b = append(b, 0x12, 0x34, 0, byte(words)) // of a kind that the library doesn't look into
		b = append(b, rapid.SliceOfN(rapid.Byte(), 4*words, 4*words).Draw(t, "extension's data")...)
	}
	return b, len(b)
}
