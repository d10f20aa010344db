package turn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"testing"
)

// RFC 8489 appendix B.1 as its verified erratum 6268 has it: the printed one has a wrong length, and no algorithm.
const rfc8489B1 = `
	00010090 2112a442 78ad3433 c6ad72c0 29da412e
	001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
	00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473 41000000
	0014000b 6578616d 706c652e 6f726700
	001d0004 00020000
	001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65`

// These three were made from the text of RFC 8489 with the hmac, hashlib and zlib of Python.
const (
	// sha256Allocate is a request of alice, whose password is secret, at example.org, with all of the SHA-256 set.
	sha256Allocate = `
		000300a0 2112a442 10111213 14151617 18191a1b
		00190004 11000000
		001e0020 435b7933 096a304d 3c734cfb 833ec907 5bd47ab1 c0160321 aed31c06 a8c7009e
		0014000b 6578616d 706c652e 6f726700
		0015001d 6f624d61 744a6f73 32774141 41303132 33343536 37383961 62636465 66000000
		80020008 00020000 00010000
		001d0004 00020000
		001c0020 1ce00889 5a84f7fa 878b7c0e 89283917 63e290e5 afdcfc01 266c8bd2 ead6bf79
		80280004 f6d2304c`
	// bothSuccess is the answer of a server that seals in both ways.
	bothSuccess = `
		0103007c 2112a442 10111213 14151617 18191a1b
		00160008 0001e242 ea12d54b
		00160014 0002e243 0113a9fa 10111213 14151617 18191a12
		000d0004 00000258
		00200008 0001bd52 e721c045
		00080014 8a94880b fecbd23a e5e3b2f7 19edaebb 1dcb1127
		001c0020 1652b75a 871cea44 fb02e65e a2fa690b 22152118 d4dcb075 a102d35b f682e7bb
		80280004 81a5a1a3`
	// longKey was made with a key of 100 times k, longer than a block of the hashes.
	longKey = `
		00010044 2112a442 10111213 14151617 18191a1b
		00060003 613a6200
		00080014 9f967cb9 5cce4708 646cab9c 3152cca3 c032ac38
		001c0020 80203bce 68b62be6 e4d97715 8e876f61 8aafcf2e 71a079b9 920e5945 d69231fc`
	// truncatedSHA256 is sha256Allocate with 16 bytes of HMAC, computed as for that length, and no fingerprint.
	truncatedSHA256 = `
		00030088 2112a442 10111213 14151617 18191a1b
		00190004 11000000
		001e0020 435b7933 096a304d 3c734cfb 833ec907 5bd47ab1 c0160321 aed31c06 a8c7009e
		0014000b 6578616d 706c652e 6f726700
		0015001d 6f624d61 744a6f73 32774141 41303132 33343536 37383961 62636465 66000000
		80020008 00020000 00010000
		001d0004 00020000
		001c0010 246af8fd 3a71401b ae4d7171 dc9b744c`
)

// keySHA256 is the key of RFC 8489 section 18.5.1.2.
func keySHA256(user, realm, password string) []byte {
	key := sha256.Sum256([]byte(user + ":" + realm + ":" + password))
	return key[:]
}

func TestSHA256Vectors(t *testing.T) {
	alice := keySHA256("alice", "example.org", "secret")
	for _, c := range []struct {
		name         string
		hex          string
		key          []byte
		sha1, sha256 bool
		userhash     string
	}{
		{"RFC 8489 B.1", rfc8489B1, keySHA256(rfc5769User, "example.org", "TheMatrIX"), false, true, rfc5769User},
		{"allocate", sha256Allocate, alice, false, true, "alice"},
		{"both", bothSuccess, alice, true, true, ""},
		{"long key", longKey, bytes.Repeat([]byte("k"), 100), true, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := unhex(t, c.hex)
			m := parsed(t, raw)
			if sha1, sha256 := m.HasIntegrity(); sha1 != c.sha1 || sha256 != c.sha256 {
				t.Errorf("integrity %v, %v, want %v, %v", sha1, sha256, c.sha1, c.sha256)
			}
			if m.CheckIntegrity(c.key) != c.sha1 || m.CheckIntegritySHA256(c.key) != c.sha256 {
				t.Error("right key refused")
			}
			wrong := append([]byte(nil), c.key...)
			wrong[0] ^= 1
			if m.CheckIntegrity(wrong) || m.CheckIntegritySHA256(wrong) {
				t.Error("wrong key accepted")
			}
			o, err := readOracle(raw)
			if err != nil || o.verify(AttrMessageIntegrity, sha1.New, c.key) != c.sha1 ||
				o.verify(AttrMessageIntegritySHA256, sha256.New, c.key) != c.sha256 {
				t.Errorf("the oracle disagrees: %v", err)
			}
			if c.userhash != "" {
				want := sha256.Sum256([]byte(c.userhash + ":example.org")) // RFC 8489 section 14.4
				if got, _ := m.Get(AttrUserhash); !bytes.Equal(got, want[:]) {
					t.Errorf("USERHASH %x, want %x", got, want)
				}
			}
		})
	}
}

func TestComposeVectors(t *testing.T) {
	var c Composer
	alice := keySHA256("alice", "example.org", "secret")
	userhash := sha256.Sum256([]byte("alice:example.org"))

	want := unhex(t, sha256Allocate)
	c.Begin(MethodAllocate, ClassRequest, TransactionID(want[8:20]))
	c.Add(AttrRequestedTransport, []byte{17, 0, 0, 0})
	c.Add(AttrUserhash, userhash[:])
	c.AddString(AttrRealm, "example.org")
	c.AddString(AttrNonce, "obMatJos2wAAA0123456789abcdef")
	c.Add(AttrPasswordAlgorithms, []byte{0, 2, 0, 0, 0, 1, 0, 0})
	c.AddUint32(AttrPasswordAlgorithm, 0x00020000)
	if got := c.Seal(alice, false, true, true); !bytes.Equal(got, want) {
		t.Errorf("allocate: composed %x\nwant %x", got, want)
	}

	want = unhex(t, bothSuccess)
	c.Begin(MethodAllocate, ClassSuccess, TransactionID(want[8:20]))
	c.AddAddr(AttrXORRelayedAddress, netip.MustParseAddrPort("203.0.113.9:50000"))
	c.AddAddr(AttrXORRelayedAddress, netip.MustParseAddrPort("[2001:db8::9]:50001"))
	c.AddUint32(AttrLifetime, 600)
	c.AddAddr(AttrXORMappedAddress, netip.MustParseAddrPort("198.51.100.7:40000"))
	if got := c.Seal(alice, true, true, true); !bytes.Equal(got, want) {
		t.Errorf("success: composed %x\nwant %x", got, want)
	}
}

// RFC 8489 section 14.6 leaves truncation to usages that allow it by name. RFC 8656 does not.
func TestTruncatedIntegrityIsWrong(t *testing.T) {
	alice := keySHA256("alice", "example.org", "secret")
	m := parsed(t, unhex(t, truncatedSHA256))
	if _, has := m.HasIntegrity(); !has {
		t.Error("a truncated attribute is taken for none")
	}
	if m.CheckIntegritySHA256(alice) {
		t.Error("16 bytes of HMAC-SHA256 accepted")
	}
	front := message(0x0001, attr(AttrUsername, 'a'))
	for _, c := range []struct {
		attr Attr
		full int
		sum  func(key, front []byte) []byte
	}{
		{AttrMessageIntegrity, sha1.Size, new(mac).sum1}, {AttrMessageIntegritySHA256, sha256.Size, new(mac).sum256},
	} {
		for n := range 65 {
			// The HMAC is right for the length, as far as it goes.
			b := extended(front, attr(c.attr, make([]byte, n)...))
			text := extended(front)
			binary.BigEndian.PutUint16(text[2:], uint16(len(b)-20))
			h := hmac.New(sha1.New, alice)
			if c.attr == AttrMessageIntegritySHA256 {
				h = hmac.New(sha256.New, alice)
			}
			h.Write(text)
			copy(b[len(front)+4:len(front)+4+n], h.Sum(nil))
			m := parsed(t, b)
			if got := m.CheckIntegrity(alice) || m.CheckIntegritySHA256(alice); got != (n == c.full) {
				t.Errorf("%#04x with %d bytes: %v", uint16(c.attr), n, got)
			}
		}
	}
}

// Every bit that integrity covers, and every bit of the integrity itself, counts.
func TestFlippedBitFailsIntegrity(t *testing.T) {
	alice := keySHA256("alice", "example.org", "secret")
	var c Composer
	compose := func(sha1, sha256 bool) []byte {
		c.Begin(MethodChannelBind, ClassRequest, TransactionID([]byte("abcdefghijkl")))
		c.AddUint32(AttrChannelNumber, 0x40000000)
		c.AddAddr(AttrXORPeerAddress, netip.MustParseAddrPort("[2001:db8::1]:1234"))
		c.AddString(AttrUsername, "alice") // with padding, which is covered too
		c.AddEmpty(AttrDontFragment)
		return append([]byte(nil), c.Seal(alice, sha1, sha256, false)...)
	}
	m := new(Message)
	for _, test := range []struct {
		name         string
		sha1, sha256 bool
		valid        func() bool
	}{
		{"SHA-1", true, false, func() bool { return m.CheckIntegrity(alice) }},
		{"SHA-256", false, true, func() bool { return m.CheckIntegritySHA256(alice) }},
		{"both", true, true, func() bool { return m.CheckIntegrity(alice) && m.CheckIntegritySHA256(alice) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := compose(test.sha1, test.sha256)
			if m.Parse(b) != nil || !test.valid() {
				t.Fatal("refused as it was made")
			}
			for bit := range len(b) * 8 {
				b[bit/8] ^= 1 << (bit % 8)
				if m.Parse(b) == nil && test.valid() {
					t.Errorf("accepted with bit %d of byte %d flipped", bit%8, bit/8)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

// No message with a flipped bit has a right fingerprint. It may have none: FINGERPRINT can turn into another attribute,
// or into the value of the one before.
func TestFlippedBitFailsFingerprint(t *testing.T) {
	m := new(Message)
	for name, hex := range map[string]string{
		"request": rfc5769Request, "response": rfc5769IPv6Response, "allocate": sha256Allocate, "both": bothSuccess,
	} {
		b := unhex(t, hex)
		hidden := 0
		for bit := range len(b) * 8 {
			b[bit/8] ^= 1 << (bit % 8)
			if m.Parse(b) == nil {
				hidden++
				if _, ok := m.Get(AttrFingerprint); ok {
					t.Errorf("%s: accepted with bit %d of byte %d flipped", name, bit%8, bit/8)
				}
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if hidden > 20 { // the 16 bits of the type, and a few lengths
			t.Errorf("%s: %d flipped bits hide the fingerprint", name, hidden)
		}
	}
}

// What was appended to a message that somebody else sealed has no effect, whatever it is.
func TestAttributesBehindIntegrity(t *testing.T) {
	alice := keySHA256("alice", "example.org", "secret")
	appended := [][]byte{
		attr(AttrLifetime, 0, 0, 0, 0), attr(AttrXORPeerAddress, 0, 1, 0, 0, 0, 0, 0, 0), attr(AttrUsername, 'b', 'o', 'b'),
		attr(0x7FFE), attr(AttrDontFragment), attr(AttrMobilityTicket, 1), attr(AttrMessageIntegrity, make([]byte, 20)...),
	}
	known := func(Attr) bool { return false }
	var c Composer
	for _, test := range []struct {
		name         string
		sha1, sha256 bool
	}{{"SHA-1", true, false}, {"SHA-256", false, true}, {"both", true, true}} {
		for _, marked := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				c.Begin(MethodCreatePermission, ClassRequest, TransactionID{})
				c.AddAddr(AttrXORPeerAddress, netip.MustParseAddrPort("192.0.2.1:1"))
				b := extended(c.Seal(alice, test.sha1, test.sha256, false), appended...)
				if marked {
					b = fingerprinting(b)
				}
				m := parsed(t, b)
				if m.CheckIntegrity(alice) != test.sha1 || m.CheckIntegritySHA256(alice) != test.sha256 {
					t.Error("right integrity refused")
				}
				for _, a := range []Attr{AttrLifetime, AttrUsername, AttrDontFragment, AttrMobilityTicket, 0x7FFE} {
					if _, ok := m.Get(a); ok {
						t.Errorf("%#04x taken from behind the integrity", uint16(a))
					}
				}
				if got, err := m.Addr(AttrXORPeerAddress); err != nil || got.Port() != 1 {
					t.Errorf("peer %v, %v", got, err)
				}
				peers := 0
				m.Each(AttrXORPeerAddress, func([]byte) { peers++ })
				if peers != 1 {
					t.Errorf("%d peers", peers)
				}
				if list := m.Unknown(nil, known); len(list) != 1 || list[0] != AttrXORPeerAddress {
					t.Errorf("unknown attributes %x", list)
				}
				if _, ok := m.Get(AttrFingerprint); ok != marked {
					t.Errorf("fingerprint %v, want %v", ok, marked)
				}
			})
		}
	}
}

// MESSAGE-INTEGRITY-SHA256 counts behind MESSAGE-INTEGRITY, not the other way round.
func TestIntegrityOrder(t *testing.T) {
	sha1Attr := attr(AttrMessageIntegrity, make([]byte, 20)...)
	sha256Attr := attr(AttrMessageIntegritySHA256, make([]byte, 32)...)
	for _, c := range []struct {
		name         string
		attrs        [][]byte
		sha1, sha256 bool
	}{
		{"none", nil, false, false},
		{"SHA-1 first", [][]byte{sha1Attr, sha256Attr}, true, true},
		{"something between", [][]byte{sha1Attr, attr(AttrLifetime), sha256Attr}, true, true},
		{"SHA-256 first", [][]byte{sha256Attr, sha1Attr}, false, true},
	} {
		if sha1, sha256 := parsed(t, message(0x0001, c.attrs...)).HasIntegrity(); sha1 != c.sha1 || sha256 != c.sha256 {
			t.Errorf("%s: %v, %v", c.name, sha1, sha256)
		}
	}
}

// Of two integrity attributes of one kind, the first counts: one that was appended can't stand in for it.
func TestFirstIntegrityCounts(t *testing.T) {
	key := []byte("key")
	var c Composer
	c.Begin(MethodRefresh, ClassRequest, TransactionID{})
	c.Add(AttrMessageIntegrity, make([]byte, 20))
	b := append([]byte(nil), c.Seal(key, true, false, false)...)
	if m := parsed(t, b); m.CheckIntegrity(key) {
		t.Error("the second MESSAGE-INTEGRITY was checked")
	}
}

// The HMAC is the one of the standard library, for keys of every length around a block.
func TestHMAC(t *testing.T) {
	front := message(0x0001, attr(AttrUsername, 'a', 'b'))
	for n := range 200 {
		key := bytes.Repeat([]byte{byte(n)}, n)
		c := new(mac)
		for range 2 { // used again
			text := extended(front, attr(AttrMessageIntegrity, make([]byte, 20)...))
			h := hmac.New(sha1.New, key)
			h.Write(text[:len(front)])
			if got := c.sum1(key, front); !bytes.Equal(got, h.Sum(nil)) {
				t.Fatalf("SHA-1, key of %d bytes", n)
			}
			text = extended(front, attr(AttrMessageIntegritySHA256, make([]byte, 32)...))
			h = hmac.New(sha256.New, key)
			h.Write(text[:len(front)])
			if got := c.sum256(key, front); !bytes.Equal(got, h.Sum(nil)) {
				t.Fatalf("SHA-256, key of %d bytes", n)
			}
		}
	}
}
