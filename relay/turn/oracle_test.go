package turn

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// oracle is a STUN message read the slow and obvious way: all attributes first, then the rules one after the other.
type oracle struct {
	method, class int
	id            []byte
	attrs         []oracleAttr // those that count
	open          []oracleAttr // of these, the ones in front of integrity and fingerprint
	raw           []byte
}

type oracleAttr struct {
	typ   Attr
	value []byte
	at    int // where its header begins
}

var errOracle = errors.New("refused")

func readOracle(b []byte) (*oracle, error) {
	if len(b) < 20 || b[0]>>6 != 0 || string(b[4:8]) != "\x21\x12\xa4\x42" {
		return nil, errOracle
	}
	length := int(b[2])*256 + int(b[3])
	if length%4 != 0 || length != len(b)-20 {
		return nil, errOracle
	}
	o := &oracle{id: b[8:20], raw: b}
	// The bits of a type, most significant first: 00 mmmmm c mmm c mmmm.
	for i, c := range "00mmmmmcmmmcmmmm" {
		bit := int(b[i/8]>>(7-i%8)) & 1
		switch c {
		case 'm':
			o.method = o.method*2 + bit
		case 'c':
			o.class = o.class*2 + bit
		}
	}
	var all []oracleAttr
	for rest := b[20:]; len(rest) > 0; {
		n := int(rest[2])*256 + int(rest[3])
		padded := n
		for padded%4 != 0 {
			padded++
		}
		if 4+padded > len(rest) {
			return nil, errOracle
		}
		all = append(all, oracleAttr{Attr(rest[0])<<8 | Attr(rest[1]), rest[4 : 4+n], len(b) - len(rest)})
		rest = rest[4+padded:]
	}
	var sha1, sha256, fingerprint bool
	for i, a := range all {
		if a.typ == AttrFingerprint {
			crc := crc32.Checksum(b[:a.at], crc32.MakeTable(crc32.IEEE)) ^ 0x5354554e
			if i != len(all)-1 || len(a.value) != 4 || binary.BigEndian.Uint32(a.value) != crc {
				return nil, errOracle
			}
			fingerprint = true
		}
		switch {
		case sha256 && a.typ != AttrFingerprint:
			continue
		case sha1 && a.typ != AttrFingerprint && a.typ != AttrMessageIntegritySHA256:
			continue
		}
		sha1 = sha1 || a.typ == AttrMessageIntegrity
		sha256 = sha256 || a.typ == AttrMessageIntegritySHA256
		o.attrs = append(o.attrs, a)
		if !sha1 && !sha256 && !fingerprint {
			o.open = append(o.open, a)
		}
	}
	return o, nil
}

// get returns the first attribute of a type.
func (o *oracle) get(typ Attr) (oracleAttr, bool) {
	for _, a := range o.attrs {
		if a.typ == typ {
			return a, true
		}
	}
	return oracleAttr{}, false
}

// verify recomputes an integrity attribute of exactly the hash's length over a patched copy.
func (o *oracle) verify(typ Attr, h func() hash.Hash, key []byte) bool {
	a, ok := o.get(typ)
	if !ok || len(a.value) != h().Size() {
		return false
	}
	text := append([]byte(nil), o.raw[:a.at]...)
	binary.BigEndian.PutUint16(text[2:], uint16(a.at+4+len(a.value)-20))
	mac := hmac.New(h, key)
	mac.Write(text)
	return hmac.Equal(a.value, mac.Sum(nil))
}

// address decodes an XOR'ed address by its definition.
func (o *oracle) address(value []byte) (netip.AddrPort, bool) {
	if len(value) < 4 || !(value[1] == 1 && len(value) == 8 || value[1] == 2 && len(value) == 20) {
		return netip.AddrPort{}, false
	}
	mask := append([]byte{0x21, 0x12, 0xa4, 0x42}, o.id...)
	ip := append([]byte(nil), value[4:]...)
	for i := range ip {
		ip[i] ^= mask[i]
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr, (uint16(value[2])<<8|uint16(value[3]))^0x2112), true
}

// unhex reads bytes written as hex digits, with white space wherever it helps.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parsed returns a message that has to be one.
func parsed(t testing.TB, b []byte) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse(b); err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	return m
}

// attr returns an attribute's bytes, padding included.
func attr(a Attr, value ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(a))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// message returns a message's bytes, with a header that says what there is.
func message(typ uint16, attrs ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, typ)
	b = append(b, 0, 0, 0x21, 0x12, 0xa4, 0x42)
	b = append(b, "transactions"...)
	return extended(b, attrs...)
}

// extended returns a copy of a message with attributes behind it.
func extended(b []byte, attrs ...[]byte) []byte {
	b = append([]byte(nil), b...)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

// fingerprintingEarly returns a copy of a message with FINGERPRINT and another attribute behind it, where the fingerprint
// is right for the header that the message has.
func fingerprintingEarly(b []byte) []byte {
	at := len(b)
	b = extended(b, attr(AttrFingerprint, 0, 0, 0, 0), attr(AttrSoftware, 'x'))
	binary.BigEndian.PutUint32(b[at+4:], crc32.ChecksumIEEE(b[:at])^0x5354554e)
	return b
}

// fingerprinting returns a copy of a message with FINGERPRINT behind it.
func fingerprinting(b []byte) []byte {
	b = extended(b, attr(AttrFingerprint, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-8])^0x5354554e)
	return b
}
