package turn

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
)

// Method is what a message is about.
type Method uint16

// The methods of STUN (RFC 8489 section 18.2), TURN (RFC 8656 section 17) and RFC 6062 section 6.1.
const (
	MethodBinding           Method = 0x001
	MethodAllocate          Method = 0x003
	MethodRefresh           Method = 0x004
	MethodSend              Method = 0x006
	MethodData              Method = 0x007
	MethodCreatePermission  Method = 0x008
	MethodChannelBind       Method = 0x009
	MethodConnect           Method = 0x00A
	MethodConnectionBind    Method = 0x00B
	MethodConnectionAttempt Method = 0x00C
)

// Class is the role of a message in its transaction.
type Class uint8

// The classes (RFC 8489 section 5).
const (
	ClassRequest    Class = 0
	ClassIndication Class = 1
	ClassSuccess    Class = 2
	ClassError      Class = 3
)

// TransactionID tells a client's transactions apart.
type TransactionID [12]byte

// Sizes and values of the message format (RFC 8489 sections 5, 14 and 14.7).
const (
	magicCookie      = 0x2112A442
	headerSize       = 20
	attrHeaderSize   = 4
	fingerprintSize  = 4
	fingerprintValue = 0x5354554E

	// MaxMessageSize is the length of the longest STUN message, in bytes: its length field counts multiples of four,
	// without the header.
	MaxMessageSize = headerSize + 0xFFFC
)

// What [Message.Parse] and the other parsers say of bytes that they refuse. All of it is to be dropped and counted, not
// answered.
var (
	// ErrNotSTUN: the bytes don't begin as a STUN message does.
	ErrNotSTUN = errors.New("no STUN message")
	// ErrTruncated: there are fewer bytes than the header says.
	ErrTruncated = errors.New("message shorter than its length says")
	// ErrTrailing: there are more bytes than the header says.
	ErrTrailing = errors.New("message longer than its length says")
	// ErrMalformed: an attribute reaches beyond the end of the message.
	ErrMalformed = errors.New("attribute beyond the message's end")
	// ErrBadFingerprint: FINGERPRINT is wrong or not the last attribute.
	ErrBadFingerprint = errors.New("wrong FINGERPRINT")
)

// What typed reading of attributes says. It's up to the method whether these are errors.
var (
	// ErrNoAttribute: the message has no such attribute.
	ErrNoAttribute = errors.New("attribute missing")
	// ErrBadAttribute: the value has a wrong length or an unknown address family.
	ErrBadAttribute = errors.New("malformed attribute")
)

// Message is a parsed STUN message. It refers to the bytes that it was parsed from, which have to stay as they are for
// as long as it is used. The zero value is ready for [Message.Parse]; reuse it, because it is large and keeps the hash
// states that checking integrity needs. It is not safe for concurrent use.
type Message struct {
	Method Method
	Class  Class
	ID     TransactionID

	raw []byte
	// end is where the attributes end that count without conditions: at the first integrity attribute, or at the end of
	// the message.
	end int
	// first holds where the first attribute of a type begins, in units of four bytes; 0: none that counts.
	first [slots]uint16
	mac   mac
}

// Parse reads a whole message: a datagram, or a frame of a stream. It allocates nothing and keeps b. After an error
// the message is not to be used.
//
// What is wrong with a single attribute's value is not said here, but by whatever reads it. A FINGERPRINT is verified
// if there is one (RFC 8489 section 14.7).
func (m *Message) Parse(b []byte) error {
	if err := checkHeader(b); err != nil {
		return err
	}
	typ := binary.BigEndian.Uint16(b)
	m.Method, m.Class = splitType(typ)
	m.ID = TransactionID(b[8:headerSize])
	m.raw = b
	m.end = 0
	m.first = [slots]uint16{}
	return m.index()
}

// checkHeader verifies what makes bytes a STUN message, and its length.
func checkHeader(b []byte) error {
	if len(b) < headerSize {
		if len(b) == 0 || b[0] >= 0x40 {
			return ErrNotSTUN
		}
		return ErrTruncated
	}
	if b[0] >= 0x40 || binary.BigEndian.Uint32(b[4:]) != magicCookie {
		return ErrNotSTUN
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case n%4 != 0:
		return ErrNotSTUN
	case len(b) < headerSize+n:
		return ErrTruncated
	case len(b) > headerSize+n:
		return ErrTrailing
	}
	return nil
}

// index finds the first attribute of each type, as far as it counts: behind MESSAGE-INTEGRITY that is
// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT, and behind MESSAGE-INTEGRITY-SHA256 it is FINGERPRINT (RFC 8489 sections
// 14.5 and 14.6).
func (m *Message) index() error {
	sealed := false // by MESSAGE-INTEGRITY
	final := false  // by MESSAGE-INTEGRITY-SHA256
	for at := headerSize; at < len(m.raw); {
		a, n, next := attribute(m.raw, at)
		if next > len(m.raw) {
			return ErrMalformed
		}
		switch {
		case a == AttrFingerprint:
			if next != len(m.raw) || !fingerprinted(m.raw, at, n) {
				return ErrBadFingerprint
			}
			m.mark(a, at)
		case final:
		case a == AttrMessageIntegritySHA256:
			m.mark(a, at)
			m.close(at)
			final = true
		case sealed:
		case a == AttrMessageIntegrity:
			m.mark(a, at)
			m.close(at)
			sealed = true
		default:
			m.mark(a, at)
		}
		at = next
	}
	m.close(len(m.raw))
	return nil
}

// mark notes where an attribute begins, unless there was one of its type before.
func (m *Message) mark(a Attr, at int) {
	if slot, ok := a.slot(); ok && m.first[slot] == 0 {
		m.first[slot] = uint16(at / 4)
	}
}

// close notes where the attributes end that count without conditions.
func (m *Message) close(at int) {
	if m.end == 0 {
		m.end = at
	}
}

// attribute reads the header of the attribute that begins at b[at:]: its type, the length of its value, and where the
// next one begins, which may be beyond b. Messages are multiples of four bytes, so that a header is always whole.
func attribute(b []byte, at int) (a Attr, n, next int) {
	head := binary.BigEndian.Uint32(b[at:])
	n = int(head & 0xFFFF)
	return Attr(head >> 16), n, at + attrHeaderSize + PaddedLen(n)
}

// fingerprinted reports whether the FINGERPRINT at b[at:] with a value of n bytes is right.
func fingerprinted(b []byte, at, n int) bool {
	return n == fingerprintSize &&
		binary.BigEndian.Uint32(b[at+attrHeaderSize:]) == crc32.ChecksumIEEE(b[:at])^fingerprintValue
}

// Get returns the value of the first attribute a; ok is false if there is none that counts. The value lies in the bytes
// that were parsed.
func (m *Message) Get(a Attr) (value []byte, ok bool) {
	slot, ok := a.slot()
	if !ok {
		return m.search(a)
	}
	at := int(m.first[slot]) * 4
	if at == 0 {
		return nil, false
	}
	return m.value(at), true
}

// search is Get for the attributes that have no slot. Nothing that a server acts on is among them.
func (m *Message) search(a Attr) (value []byte, ok bool) {
	for at := headerSize; at < m.end; {
		b, _, next := attribute(m.raw, at)
		if b == a {
			return m.value(at), true
		}
		at = next
	}
	return nil, false
}

func (m *Message) value(at int) []byte {
	n := int(binary.BigEndian.Uint16(m.raw[at+2:]))
	at += attrHeaderSize
	return m.raw[at : at+n : at+n]
}

// Each calls f for the values of all attributes a in front of the integrity attributes, in their order. They lie in the
// bytes that were parsed.
func (m *Message) Each(a Attr, f func(value []byte)) {
	for at := headerSize; at < m.end; {
		b, _, next := attribute(m.raw, at)
		if b == a {
			f(m.value(at))
		}
		at = next
	}
}

// maxUnknown bounds how many attribute types a reply to a request lists.
const maxUnknown = 8

// Unknown appends to dst the types of those attributes that have to be understood and are not known, each once and at
// most eight of them: the list goes into a reply, which is not to grow with the request. Attributes behind an integrity
// attribute don't count.
func (m *Message) Unknown(dst []Attr, known func(Attr) bool) []Attr {
	limit := len(dst) + maxUnknown
	for at := headerSize; at < m.end && len(dst) < limit; {
		a, _, next := attribute(m.raw, at)
		if a.required() && !known(a) && !slices.Contains(dst, a) {
			dst = append(dst, a)
		}
		at = next
	}
	return dst
}

// PaddedLen returns n rounded up to a multiple of four: how many bytes a value of n bytes takes in a message, or
// ChannelData of n bytes on a stream.
func PaddedLen(n int) int { return (n + 3) &^ 3 }

// splitType takes a message's type apart (RFC 8489 section 5): the two bits of the class lie between those of the
// method.
func splitType(t uint16) (Method, Class) {
	return Method(t&0x000F | t>>1&0x0070 | t>>2&0x0F80), Class(t>>4&1 | t>>7&2)
}

func joinType(m Method, c Class) uint16 {
	return uint16(m)&0x000F | uint16(m)&0x0070<<1 | uint16(m)&0x0F80<<2 | uint16(c)&1<<4 | uint16(c)&2<<7
}
