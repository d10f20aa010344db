package turn

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// peerAttr is XOR-PEER-ADDRESS of 192.0.2.1:32853.
var peerAttr = attr(AttrXORPeerAddress, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43)

func TestParseSend(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:32853")
	data := attr(AttrData, 'd', 'a', 't', 'a', '!')
	integrity := attr(AttrMessageIntegrity, make([]byte, 20)...)
	sha256 := attr(AttrMessageIntegritySHA256, make([]byte, 32)...)
	for _, c := range []struct {
		name string
		in   []byte
		data string
		df   bool
		want error
	}{
		{"peer and data", message(typeSend, peerAttr, data), "data!", false, nil},
		{"data and peer", message(typeSend, data, peerAttr), "data!", false, nil},
		{"no bytes", message(typeSend, peerAttr, attr(AttrData)), "", false, nil},
		{"no bytes, last first", message(typeSend, attr(AttrData), peerAttr), "", false, nil},
		{"whole", message(typeSend, peerAttr, data, attr(AttrDontFragment)), "data!", true, nil},
		{"fingerprint", fingerprinting(message(typeSend, peerAttr, data)), "data!", false, nil},
		{"the first counts", message(typeSend, peerAttr, data, attr(AttrData, 'x'), attr(AttrXORPeerAddress)), "data!", false, nil},
		{"the first counts, empty", message(typeSend, peerAttr, attr(AttrData), data), "", false, nil},
		{"optional", message(typeSend, attr(AttrSoftware, 'x'), peerAttr, attr(0xFFFF), data), "data!", false, nil},
		{"known", message(typeSend, attr(AttrUsername, 'x'), attr(AttrLifetime), peerAttr, data, integrity), "data!", false, nil},
		{"behind integrity", message(typeSend, peerAttr, data, integrity, attr(0x7FFF), attr(AttrDontFragment)), "data!", false, nil},
		{"behind both", message(typeSend, peerAttr, data, integrity, sha256, attr(0x0030)), "data!", false, nil},
		{"data behind integrity", message(typeSend, peerAttr, integrity, data), "", false, ErrNoAttribute},
		{"peer behind integrity", message(typeSend, data, sha256, peerAttr), "", false, ErrNoAttribute},
		{"no peer", message(typeSend, data), "", false, ErrNoAttribute},
		{"no data", message(typeSend, peerAttr), "", false, ErrNoAttribute},
		{"nothing", message(typeSend), "", false, ErrNoAttribute},
		{"unknown", message(typeSend, peerAttr, data, attr(0x7FFF)), "", false, ErrUnknownAttribute},
		{"unknown with low number", message(typeSend, attr(0x0010), peerAttr, data), "", false, ErrUnknownAttribute},
		{"unknown, 64 above a known one", message(typeSend, attr(AttrData+64), peerAttr, data), "", false, ErrUnknownAttribute},
		{"wrong peer first", message(typeSend, attr(AttrXORPeerAddress, 0, 1), peerAttr, data), "", false, ErrBadAttribute},
		{"empty peer", message(typeSend, attr(AttrXORPeerAddress), data), "", false, ErrBadAttribute},
		{"wrong fingerprint", extended(message(typeSend, peerAttr, data), attr(AttrFingerprint, 1, 2, 3, 4)), "", false, ErrBadFingerprint},
		{"fingerprint not last", fingerprintingEarly(message(typeSend, peerAttr, data)), "", false, ErrBadFingerprint},
		{"torn", message(typeSend, peerAttr, data)[:40], "", false, ErrTruncated},
		{"too long", append(message(typeSend, peerAttr, data), 0), "", false, ErrTrailing},
		{"lying data", message(typeSend, peerAttr, []byte{0, 0x13, 0, 5, 1, 2, 3, 4}), "", false, ErrMalformed},
		{"request", message(0x0006, peerAttr, data), "", false, ErrNotSend},
		{"Data", message(typeData, peerAttr, data), "", false, ErrNotSend},
		{"ChannelData", []byte{0x40, 0, 0, 0}, "", false, ErrNotSTUN},
	} {
		t.Run(c.name, func(t *testing.T) {
			to, data, df, err := ParseSend(c.in)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil {
				if to.IsValid() || data != nil || df {
					t.Errorf("%v, %q, %v beside an error", to, data, df)
				}
				return
			}
			if to != peer || string(data) != c.data || df != c.df {
				t.Errorf("%v, %q, %v", to, data, df)
			}
			// Where the data begins in the datagram is told by its capacity.
			if at := cap(c.in) - cap(data); at < headerSize+attrHeaderSize || !bytes.Equal(c.in[at:][:len(data)], data) {
				t.Errorf("%q is not at %d", data, at)
			}
		})
	}
}

func TestIsSend(t *testing.T) {
	for in, want := range map[string]bool{"": false, "\x00": false, "\x00\x16": true, "\x00\x17": false, "\x01\x16": false} {
		if IsSend([]byte(in)) != want {
			t.Errorf("%x: %v", in, !want)
		}
	}
}

func TestPutDataIndication(t *testing.T) {
	id := TransactionID([]byte("transactions"))
	for _, peer := range []string{"192.0.2.1:32853", "[2001:db8::1]:9", "[::ffff:192.0.2.1]:32853"} {
		addr := netip.MustParseAddrPort(peer)
		for _, data := range []string{"", "a", "abcd", "abcde"} {
			var c Composer
			c.Begin(MethodData, ClassIndication, id)
			c.AddAddr(AttrXORPeerAddress, addr)
			c.AddString(AttrData, data)
			want := c.Seal(nil, false, false, false)

			head := DataIndicationHeaderSize(addr.Addr())
			got := bytes.Repeat([]byte{0xFF}, head)
			if err := PutDataIndication(got, id, addr, len(data)); err != nil {
				t.Fatal(err)
			}
			got = append(append(got, data...), make([]byte, PaddedLen(len(data))-len(data))...)
			if !bytes.Equal(got, want) {
				t.Errorf("%s, %q: %x\nwant %x", peer, data, got, want)
			}
		}
	}
}

// The longest datagram that UDP can carry doesn't fit, and the longest that does comes out whole.
func TestDataIndicationLimit(t *testing.T) {
	for peer, longest := range map[string]int{"192.0.2.1:1": 0xFFFC - 16, "[2001:db8::1]:1": 0xFFFC - 28} {
		addr := netip.MustParseAddrPort(peer)
		head := make([]byte, DataIndicationHeaderSize(addr.Addr()))
		if err := PutDataIndication(head, TransactionID{}, addr, longest); err != nil {
			t.Errorf("%s: %d bytes: %v", peer, longest, err)
		}
		m := parsed(t, append(head, make([]byte, longest)...))
		if data, _ := m.Get(AttrData); len(data) != longest {
			t.Errorf("%s: %d bytes of %d", peer, len(data), longest)
		}
		for _, n := range []int{longest + 1, 0xFFFF, 0x10000} {
			head := make([]byte, len(head))
			if err := PutDataIndication(head, TransactionID{}, addr, n); !errors.Is(err, ErrOversize) {
				t.Errorf("%s: %d bytes: %v", peer, n, err)
			}
			if !bytes.Equal(head, make([]byte, len(head))) {
				t.Errorf("%s: written beside an error", peer)
			}
		}
	}
}
