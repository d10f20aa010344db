package turn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// patched returns a copy of b with bytes at an offset replaced.
func patched(b []byte, at int, with ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], with)
	return b
}

func TestParseRefuses(t *testing.T) {
	bare := message(0x0001)
	named := message(0x0001, attr(AttrUsername, 'a', 'b', 'c', 'd', 'e'))
	marked := fingerprinting(named)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrNotSTUN},
		{"one zero", []byte{0}, ErrTruncated},
		{"half a header", bare[:10], ErrTruncated},
		{"a header less one", bare[:19], ErrTruncated},
		{"short and no STUN", []byte{0x40, 0, 0, 0}, ErrNotSTUN},
		{"ChannelData", patched(bare, 0, 0x40, 0x00), ErrNotSTUN},
		{"first bit set", patched(bare, 0, 0x80), ErrNotSTUN},
		{"cookie of RFC 3489", patched(bare, 4, 0, 0, 0, 0), ErrNotSTUN},
		{"one bit of the cookie", patched(bare, 7, 0x43), ErrNotSTUN},
		{"length not a multiple of 4", append(patched(bare, 3, 2), 0, 0), ErrNotSTUN},
		{"length too long", patched(bare, 3, 4), ErrTruncated},
		{"longest length", patched(bare, 2, 0xFF, 0xFC), ErrTruncated},
		{"length too short", patched(named, 3, 8), ErrTrailing},
		{"no length", patched(named, 3, 0), ErrTrailing},
		{"a byte more", append(slices.Clone(bare), 0), ErrTrailing},
		{"a message more", append(slices.Clone(bare), bare...), ErrTrailing},
		{"attribute longer than the message", patched(named, 23, 9), ErrMalformed},
		{"attribute of 65,535 bytes", patched(named, 22, 0xFF, 0xFF), ErrMalformed},
		{"attribute of 65,532 bytes", patched(named, 22, 0xFF, 0xFC), ErrMalformed},
		{"padding missing", patched(extended(named, []byte{0, 8, 0, 1}), 35, 1), ErrMalformed},
		{"attribute shorter than it is", patched(message(1, attr(AttrUsername, 0, 0, 0, 0, 0, 1, 0, 9)), 23, 4), ErrMalformed},
		{"fingerprint wrong", patched(marked, 39, marked[39]^1), ErrBadFingerprint},
		{"fingerprint of something else", patched(marked, 8, 'T'), ErrBadFingerprint},
		{"fingerprint not last", extended(marked, attr(AttrSoftware)), ErrBadFingerprint},
		{"fingerprint right but not last", fingerprintingEarly(named), ErrBadFingerprint},
		{"fingerprint twice", fingerprinting(marked), ErrBadFingerprint},
		{"fingerprint empty", extended(named, attr(AttrFingerprint)), ErrBadFingerprint},
		{"fingerprint of 3 bytes", extended(named, attr(AttrFingerprint, 1, 2, 3)), ErrBadFingerprint},
		{"fingerprint of 8 bytes", extended(named, attr(AttrFingerprint, make([]byte, 8)...)), ErrBadFingerprint},
		{
			"wrong fingerprint behind integrity",
			extended(named, attr(AttrMessageIntegritySHA256, make([]byte, 32)...), attr(AttrFingerprint, 0, 0, 0, 0)),
			ErrBadFingerprint,
		},
		{
			"lying length behind integrity",
			extended(named, attr(AttrMessageIntegritySHA256, make([]byte, 32)...), []byte{0x80, 0x22, 0, 1}),
			ErrMalformed,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := new(Message).Parse(c.in); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := readOracle(c.in); err == nil {
				t.Error("the oracle takes it")
			}
		})
	}
}

// A message that was refused leaves nothing behind for the next one.
func TestParseAgain(t *testing.T) {
	m := parsed(t, message(0x0003, attr(AttrLifetime, 0, 0, 0, 9), attr(AttrMessageIntegrity, make([]byte, 20)...)))
	if err := m.Parse(message(0x0001, attr(AttrUsername, 'x'), []byte{0, 1, 0, 9})); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if err := m.Parse(message(0x0101, attr(AttrRealm, 'r'), attr(0x7FFF))); err != nil {
		t.Fatal(err)
	}
	for _, a := range []Attr{AttrLifetime, AttrMessageIntegrity, AttrUsername} {
		if _, ok := m.Get(a); ok {
			t.Errorf("%#04x is of another message", uint16(a))
		}
	}
	if list := m.Unknown(nil, func(Attr) bool { return false }); !slices.Equal(list, []Attr{AttrRealm, 0x7FFF}) {
		t.Errorf("attributes %x", list)
	}
}

func TestMessageType(t *testing.T) {
	for typ, want := range map[uint16]struct {
		method Method
		class  Class
	}{
		0x0001: {MethodBinding, ClassRequest},
		0x0011: {MethodBinding, ClassIndication},
		0x0101: {MethodBinding, ClassSuccess},
		0x0111: {MethodBinding, ClassError},
		0x0003: {MethodAllocate, ClassRequest},
		0x0113: {MethodAllocate, ClassError},
		0x0016: {MethodSend, ClassIndication},
		0x0017: {MethodData, ClassIndication},
		0x0008: {MethodCreatePermission, ClassRequest},
		0x0109: {MethodChannelBind, ClassSuccess},
		0x001C: {MethodConnectionAttempt, ClassIndication},
		0x3EEF: {0xFFF, ClassRequest},
		0x3FFF: {0xFFF, ClassError},
	} {
		m := parsed(t, message(typ))
		if m.Method != want.method || m.Class != want.class {
			t.Errorf("%#04x: method %#x, class %d, want %#x, %d", typ, m.Method, m.Class, want.method, want.class)
		}
	}
	for typ := range uint16(0x4000) {
		if got := joinType(splitType(typ)); got != typ {
			t.Fatalf("%#04x comes back as %#04x", typ, got)
		}
	}
}

func TestFirstAttributeCounts(t *testing.T) {
	m := parsed(t, message(0x0003,
		attr(AttrLifetime, 0, 0, 0, 1), attr(AttrLifetime, 0, 0, 0, 2),
		attr(AttrUsername), attr(AttrUsername, 'x'),
		attr(0x7F00, 'a'), attr(0x7F00, 'b'), // has no slot
		attr(0x8033, 'c'), attr(0x8033, 'd'), // the last of its half with a slot is 0x803F
		attr(0x0033, 'e'), attr(0x8034, 'f'), attr(0xC034, 'g'),
	))
	for a, want := range map[Attr]string{
		AttrLifetime: "\x00\x00\x00\x01", AttrUsername: "", 0x7F00: "a", 0x8033: "c", 0x0033: "e", 0x8034: "f", 0xC034: "g",
	} {
		if got, ok := m.Get(a); !ok || string(got) != want {
			t.Errorf("%#04x: %q, %v, want %q", uint16(a), got, ok, want)
		}
	}
	for _, a := range []Attr{0x0034, 0xC033, 0x0000, AttrRealm, AttrFingerprint} {
		if got, ok := m.Get(a); ok {
			t.Errorf("%#04x is %q", uint16(a), got)
		}
	}
	var values []string
	m.Each(AttrUsername, func(value []byte) { values = append(values, string(value)) })
	if !slices.Equal(values, []string{"", "x"}) {
		t.Errorf("user names %q", values)
	}
}

// The values of a message can't be grown into what follows them.
func TestValuesAreClipped(t *testing.T) {
	m := parsed(t, message(0x0001, attr(AttrUsername, 'a'), attr(AttrRealm, 'b')))
	name, _ := m.Get(AttrUsername)
	if cap(name) != 1 {
		t.Errorf("a value of 1 byte has room for %d", cap(name))
	}
}

func TestPaddingIsIgnored(t *testing.T) {
	m := parsed(t, patched(message(0x0001, attr(AttrUsername, 'a'), attr(AttrRealm, 'r')), 25, 0xFF, 0xFF, 0xFF))
	if name, _ := m.Get(AttrUsername); string(name) != "a" {
		t.Errorf("name %q", name)
	}
	if realm, _ := m.Get(AttrRealm); string(realm) != "r" {
		t.Errorf("realm %q", realm)
	}
}

func TestUnknown(t *testing.T) {
	known := func(a Attr) bool { return a == AttrUsername }
	for _, c := range []struct {
		name  string
		attrs [][]byte
		want  []Attr
	}{
		{"none", nil, nil},
		{"known", [][]byte{attr(AttrUsername)}, nil},
		{"optional", [][]byte{attr(0x8000), attr(0xFFFF)}, nil},
		{"required", [][]byte{attr(0x0000), attr(0x7FFF, 1, 2, 3)}, []Attr{0x0000, 0x7FFF}},
		{"repeated", [][]byte{attr(0x7000), attr(0x7001), attr(0x7000)}, []Attr{0x7000, 0x7001}},
		{
			"more than eight",
			[][]byte{
				attr(1), attr(2), attr(3), attr(4), attr(5), attr(7), attr(9), attr(10), attr(11), attr(12),
			},
			[]Attr{1, 2, 3, 4, 5, 7, 9, 10},
		},
		{
			"behind integrity",
			[][]byte{attr(0x7000), attr(AttrMessageIntegrity, make([]byte, 20)...), attr(0x7001)}, []Attr{0x7000},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := parsed(t, message(0x0001, c.attrs...))
			if got := m.Unknown(nil, known); !slices.Equal(got, c.want) {
				t.Errorf("%x, want %x", got, c.want)
			}
		})
	}
}

func TestAddr(t *testing.T) {
	m := parsed(t, message(0x0101,
		attr(AttrXORMappedAddress, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43),
		attr(AttrMappedAddress, 0xFF, 1, 0x80, 0x55, 192, 0, 2, 1), // the first byte is ignored
		attr(AttrAlternateServer, append([]byte{0, 2, 0, 80}, netip.MustParseAddr("2001:db8::1").AsSlice()...)...),
		attr(AttrXORPeerAddress, append([]byte{0, 2, 0x21, 0x12, 0x21, 0x12, 0xa4, 0x42}, "transactions"...)...),
		attr(AttrXORRelayedAddress, 0, 2, 0, 0, 0, 0, 0, 0),
	))
	for a, want := range map[Attr]string{
		AttrXORMappedAddress: "192.0.2.1:32853",
		AttrMappedAddress:    "192.0.2.1:32853",
		AttrAlternateServer:  "[2001:db8::1]:80",
		AttrXORPeerAddress:   "[::]:0",
	} {
		if got, err := m.Addr(a); err != nil || got.String() != want {
			t.Errorf("%#04x: %v, %v, want %s", uint16(a), got, err, want)
		}
	}
	if _, err := m.Addr(AttrXORRelayedAddress); !errors.Is(err, ErrBadAttribute) {
		t.Errorf("an IPv6 address of four bytes: %v", err)
	}
	if _, err := m.Addr(0x802C); !errors.Is(err, ErrNoAttribute) {
		t.Errorf("no address: %v", err)
	}
	for _, family := range []byte{0, 1, 2, 3, 255} {
		for n := range 40 {
			value := make([]byte, n)
			if n > 1 {
				value[1] = family
			}
			right := family == 1 && n == 8 || family == 2 && n == 20
			if _, err := m.DecodeXORAddr(value); (err == nil) != right {
				t.Errorf("family %d, %d bytes, XOR'ed: %v", family, n, err)
			}
			if _, err := parseAddr(value); (err == nil) != right {
				t.Errorf("family %d, %d bytes: %v", family, n, err)
			}
		}
	}
}

// An IPv4 address in IPv6 form is what the peer policy has to see as it was sent.
func TestAddrKeepsItsFamily(t *testing.T) {
	mapped := netip.MustParseAddrPort("[::ffff:127.0.0.1]:7")
	var c Composer
	c.Begin(MethodCreatePermission, ClassRequest, TransactionID{1, 2, 3})
	value := make([]byte, addressIPv6Size)
	value[1] = addressIPv6
	binary.BigEndian.PutUint16(value[2:], 7)
	raw := mapped.Addr().As16()
	copy(value[4:], raw[:])
	xorAddr(value, &TransactionID{1, 2, 3})
	c.Add(AttrXORPeerAddress, value)
	if got, err := parsed(t, c.Seal(nil, false, false, false)).Addr(AttrXORPeerAddress); err != nil || got != mapped {
		t.Errorf("%v, %v, want %v", got, err, mapped)
	}
}

func TestUint32(t *testing.T) {
	for n := range 10 {
		m := parsed(t, message(0x0004, attr(AttrLifetime, []byte{0, 0, 2, 88, 9, 9, 9, 9, 9}[:n]...)))
		got, err := m.Uint32(AttrLifetime)
		if n == 4 && (got != 600 || err != nil) || n != 4 && !errors.Is(err, ErrBadAttribute) {
			t.Errorf("%d bytes: %d, %v", n, got, err)
		}
	}
	if _, err := parsed(t, message(0x0004)).Uint32(AttrLifetime); !errors.Is(err, ErrNoAttribute) {
		t.Errorf("no bytes: %v", err)
	}
}

// The longest message that the length can say, made of as many attributes as fit.
func TestLongestMessage(t *testing.T) {
	b := message(0x0001, bytes.Repeat(attr(0x8055), 0xFFFC/4-3), attr(AttrUsername, 'z'), attr(AttrDontFragment))
	if len(b) != MaxMessageSize {
		t.Fatalf("%d bytes", len(b))
	}
	m := parsed(t, b)
	if name, _ := m.Get(AttrUsername); string(name) != "z" {
		t.Errorf("name %q", name)
	}
	if _, ok := m.Get(AttrDontFragment); !ok {
		t.Error("the last attribute is not found")
	}
	m = parsed(t, message(0x0001, attr(AttrData, make([]byte, 0xFFFC-4)...)))
	if data, _ := m.Get(AttrData); len(data) != 0xFFF8 {
		t.Errorf("data of %d bytes", len(data))
	}
}
