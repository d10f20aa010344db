package turn

import (
	"bytes"
	"crypto/md5"
	"net/netip"
	"testing"
)

// The sample messages of RFC 5769 section 2, an attribute a line.
const (
	rfc5769Request = `
		00010058 2112a442 b7e7a701 bc34d686 fa87dfae
		80220010 5354554e 20746573 7420636c 69656e74
		00240004 6e0001ff
		80290008 932ff9b1 51263b36
		00060009 6576746a 3a683676 59202020
		00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
		80280004 e57a3bcf`
	rfc5769IPv4Response = `
		0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220
		00200008 0001a147 e112a643
		00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
		80280004 c07d4c96`
	rfc5769IPv6Response = `
		01010048 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220
		00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
		00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
		80280004 c8fb0b4c`
	rfc5769LongTerm = `
		00010060 2112a442 78ad3433 c6ad72c0 29da412e
		00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
		0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
		0014000b 6578616d 706c652e 6f726700
		00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666`

	rfc5769Password = "VOkJxbRl1RmTxUk/WvJxBt"
	rfc5769User     = "\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9"
)

func rfc5769LongTermKey() []byte {
	key := md5.Sum([]byte(rfc5769User + ":example.org:TheMatrIX"))
	return key[:]
}

func TestRFC5769(t *testing.T) {
	shortTerm := []byte(rfc5769Password)
	for _, c := range []struct {
		name   string
		hex    string
		class  Class
		key    []byte
		mapped string
		text   map[Attr]string
		marked bool
	}{
		{
			"request", rfc5769Request, ClassRequest, shortTerm, "",
			map[Attr]string{
				AttrSoftware: "STUN test client", AttrUsername: "evtj:h6vY", AttrPriority: "\x6e\x00\x01\xff",
				AttrICEControlled: "\x93\x2f\xf9\xb1\x51\x26\x3b\x36",
			}, true,
		},
		{
			"IPv4 response", rfc5769IPv4Response, ClassSuccess, shortTerm, "192.0.2.1:32853",
			map[Attr]string{AttrSoftware: "test vector"}, true,
		},
		{
			"IPv6 response", rfc5769IPv6Response, ClassSuccess, shortTerm,
			"[2001:db8:1234:5678:11:2233:4455:6677]:32853",
			map[Attr]string{AttrSoftware: "test vector"}, true,
		},
		{
			"long-term authentication", rfc5769LongTerm, ClassRequest, rfc5769LongTermKey(), "",
			map[Attr]string{
				AttrUsername: rfc5769User, AttrRealm: "example.org", AttrNonce: "f//499k954d6OL34oL9FSTvy64sA",
			}, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.hex)
			m := parsed(t, raw)
			if m.Method != MethodBinding || m.Class != c.class || !bytes.Equal(m.ID[:], raw[8:20]) {
				t.Errorf("method %d, class %d, transaction %x", m.Method, m.Class, m.ID)
			}
			for a, want := range c.text {
				if got, ok := m.Get(a); !ok || string(got) != want {
					t.Errorf("%#04x: %q, want %q", uint16(a), got, want)
				}
			}
			if c.mapped != "" {
				if got, err := m.Addr(AttrXORMappedAddress); err != nil || got != netip.MustParseAddrPort(c.mapped) {
					t.Errorf("mapped address %v, %v, want %s", got, err, c.mapped)
				}
			}
			if _, ok := m.Get(AttrFingerprint); ok != c.marked {
				t.Errorf("FINGERPRINT %v, want %v", ok, c.marked)
			}
			if sha1, sha256 := m.HasIntegrity(); !sha1 || sha256 {
				t.Errorf("integrity %v, %v, want SHA-1 alone", sha1, sha256)
			}
			if !m.CheckIntegrity(c.key) {
				t.Error("right key refused")
			}
			if m.CheckIntegrity(append([]byte(nil), c.key[1:]...)) || m.CheckIntegritySHA256(c.key) {
				t.Error("wrong key or wrong hash accepted")
			}
			if !bytes.Equal(raw, unhex(t, c.hex)) {
				t.Error("the bytes were changed")
			}
		})
	}
}

// The samples but the long-term one are padded with spaces, which nobody writes today; that one comes out as printed.
func TestComposeRFC5769(t *testing.T) {
	var c Composer
	want := unhex(t, rfc5769LongTerm)
	c.Begin(MethodBinding, ClassRequest, TransactionID(want[8:20]))
	c.AddString(AttrUsername, rfc5769User)
	c.AddString(AttrNonce, "f//499k954d6OL34oL9FSTvy64sA")
	c.AddString(AttrRealm, "example.org")
	if got := c.Seal(rfc5769LongTermKey(), true, false, false); !bytes.Equal(got, want) {
		t.Errorf("composed %x\nwant     %x", got, want)
	}
}
