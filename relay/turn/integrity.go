package turn

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// HasIntegrity reports which integrity attributes the message has. Both is possible: a client that does not know yet
// what the server can do sends both (RFC 8489 section 9.1.2).
func (m *Message) HasIntegrity() (sha1, sha256 bool) {
	_, sha1 = m.Get(AttrMessageIntegrity)
	_, sha256 = m.Get(AttrMessageIntegritySHA256)
	return sha1, sha256
}

// CheckIntegrity reports whether the message has a MESSAGE-INTEGRITY that was made with key (RFC 8489 section 14.5).
// The comparison takes the same time wherever the first difference is.
func (m *Message) CheckIntegrity(key []byte) bool {
	value, ok := m.Get(AttrMessageIntegrity)
	return ok && subtle.ConstantTimeCompare(value, m.mac.sum1(key, m.covered(AttrMessageIntegrity))) == 1
}

// CheckIntegritySHA256 is CheckIntegrity for MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6). A truncated one is
// wrong: only a usage of STUN that says so may truncate it, and TURN does not.
func (m *Message) CheckIntegritySHA256(key []byte) bool {
	value, ok := m.Get(AttrMessageIntegritySHA256)
	return ok &&
		subtle.ConstantTimeCompare(value, m.mac.sum256(key, m.covered(AttrMessageIntegritySHA256))) == 1
}

// covered returns the bytes in front of an integrity attribute that the message has.
func (m *Message) covered(a Attr) []byte {
	slot, _ := a.slot()
	return m.raw[:int(m.first[slot])*4]
}

// mac computes the HMACs (RFC 2104) of messages. It is not crypto/hmac, which allocates hash states for each key: every
// client has a key of its own. The zero value is ready, and allocates its hash states when they are first needed.
type mac struct {
	sha1, sha256 hash.Hash
	head         [headerSize]byte
	block        [sha1.BlockSize]byte // the key; SHA-256 has blocks of the same length
	result       [sha256.Size]byte
}

// sum1 returns the value of MESSAGE-INTEGRITY behind the bytes in front of it. It is the mac's until its next use.
func (c *mac) sum1(key, front []byte) []byte {
	if c.sha1 == nil {
		c.sha1 = sha1.New()
	}
	return c.sum(c.sha1, key, front)
}

// sum256 is sum1 for MESSAGE-INTEGRITY-SHA256.
func (c *mac) sum256(key, front []byte) []byte {
	if c.sha256 == nil {
		c.sha256 = sha256.New()
	}
	return c.sum(c.sha256, key, front)
}

// Paddings of HMAC (RFC 2104 section 2).
const (
	innerPad = 0x36
	outerPad = 0x5C
)

// sum is the HMAC of front, with a length in its header that reaches to the end of the integrity attribute behind it.
func (c *mac) sum(h hash.Hash, key, front []byte) []byte {
	copy(c.head[:], front)
	binary.BigEndian.PutUint16(c.head[2:], uint16(len(front)-headerSize+attrHeaderSize+h.Size()))

	clear(c.block[:])
	if len(key) > len(c.block) {
		h.Reset()
		h.Write(key)
		h.Sum(c.block[:0])
	} else {
		copy(c.block[:], key)
	}
	c.pad(innerPad)
	h.Reset()
	h.Write(c.block[:])
	h.Write(c.head[:])
	h.Write(front[headerSize:])
	inner := h.Sum(c.result[:0])
	c.pad(innerPad ^ outerPad)
	h.Reset()
	h.Write(c.block[:])
	h.Write(inner)
	return h.Sum(c.result[:0])
}

func (c *mac) pad(x byte) {
	for i := range c.block {
		c.block[i] ^= x
	}
}
