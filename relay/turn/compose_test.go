package turn

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestCompose(t *testing.T) {
	id := TransactionID([]byte("transactions"))
	for _, c := range []struct {
		name string
		add  func(*Composer)
		want []byte
	}{
		{"nothing", func(*Composer) {}, nil},
		{"empty", func(c *Composer) { c.AddEmpty(AttrDontFragment) }, []byte{0, 0x1A, 0, 0}},
		{"text", func(c *Composer) { c.AddString(AttrRealm, "ab") }, []byte{0, 0x14, 0, 2, 'a', 'b', 0, 0}},
		{"bytes", func(c *Composer) { c.Add(AttrNonce, []byte("abcde")) }, []byte{0, 0x15, 0, 5, 'a', 'b', 'c', 'd', 'e', 0, 0, 0}},
		{"number", func(c *Composer) { c.AddUint32(AttrLifetime, 600) }, []byte{0, 0x0D, 0, 4, 0, 0, 2, 88}},
		{"error", func(c *Composer) { c.AddError(438) }, []byte{0, 9, 0, 4, 0, 0, 4, 38}},
		{"unknown", func(c *Composer) { c.AddUnknown([]Attr{0x7FFF, 2, 3}) }, []byte{0, 0x0A, 0, 6, 0x7F, 0xFF, 0, 2, 0, 3, 0, 0}},
		{
			"XOR'ed", func(c *Composer) { c.AddAddr(AttrXORMappedAddress, netip.MustParseAddrPort("192.0.2.1:32853")) },
			[]byte{0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43},
		},
		{
			"XOR'ed, mapped", func(c *Composer) { c.AddAddr(AttrXORPeerAddress, netip.MustParseAddrPort("[::ffff:192.0.2.1]:32853")) },
			[]byte{0, 0x12, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43},
		},
		{
			"plain", func(c *Composer) { c.AddAddr(AttrAlternateServer, netip.MustParseAddrPort("192.0.2.1:80")) },
			[]byte{0x80, 0x23, 0, 8, 0, 1, 0, 80, 192, 0, 2, 1},
		},
		{
			"plain IPv6", func(c *Composer) { c.AddAddr(AttrMappedAddress, netip.MustParseAddrPort("[2001:db8::1]:80")) },
			[]byte{0, 1, 0, 20, 0, 2, 0, 80, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		},
		{
			// Port unreachable over IPv4: 16 bits, then seven of type, nine of code.
			"ICMP", func(c *Composer) { c.AddICMP(3, 3, 0) }, []byte{0x80, 4, 0, 8, 0, 0, 6, 3, 0, 0, 0, 0},
		},
		{
			"ICMP with MTU", func(c *Composer) { c.AddICMP(2, 0, 1280) }, []byte{0x80, 4, 0, 8, 0, 0, 4, 0, 0, 0, 5, 0},
		},
		{
			"ICMP code 255", func(c *Composer) { c.AddICMP(127, 255, 0) }, []byte{0x80, 4, 0, 8, 0, 0, 0xFE, 0xFF, 0, 0, 0, 0},
		},
		{
			"ICMP type of eight bits", func(c *Composer) { c.AddICMP(255, 0, 0) }, []byte{0x80, 4, 0, 8, 0, 0, 0xFE, 0, 0, 0, 0, 0},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out Composer
			// What a longer message left in the buffer must not show.
			out.Begin(MethodBinding, ClassError, TransactionID{})
			out.Add(AttrSoftware, bytes.Repeat([]byte{0xFF}, 100))
			out.Seal(nil, false, false, false)
			out.Begin(MethodAllocate, ClassSuccess, id)
			c.add(&out)
			if got, want := out.Seal(nil, false, false, false), message(0x0103, c.want); !bytes.Equal(got, want) {
				t.Errorf("%x\nwant %x", got, want)
			}
		})
	}
}

// The answer to somebody who has not authenticated, at its smallest: what it costs to be flooded through this server.
func TestChallengeSize(t *testing.T) {
	var c Composer
	c.Begin(MethodAllocate, ClassError, TransactionID{})
	c.AddError(CodeUnauthenticated)
	c.AddString(AttrRealm, "example.org.")                 // 12 characters
	c.AddString(AttrNonce, "obMatJos2AAAA0123456789abcde") // 9 + 4 + 16, less one
	c.Add(AttrPasswordAlgorithms, make([]byte, 8))
	if n := len(c.Seal(nil, false, false, true)); n > 100 {
		t.Errorf("%d bytes", n)
	}
}

func TestComposeTooLong(t *testing.T) {
	var c Composer
	c.Begin(MethodBinding, ClassSuccess, TransactionID{})
	c.Add(AttrData, make([]byte, 0xFFFC-4))
	if b := c.Seal(nil, false, false, false); len(b) != MaxMessageSize || new(Message).Parse(b) != nil {
		t.Errorf("the longest message has %d bytes", len(b))
	}
	for _, n := range []int{0xFFFC - 3, 0xFFFF, 0x10000, 0x20000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes fit", n)
				}
			}()
			c.Begin(MethodBinding, ClassSuccess, TransactionID{})
			c.Add(AttrData, make([]byte, n))
		}()
	}
}
