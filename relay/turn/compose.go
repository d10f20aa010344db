package turn

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Composer writes one message at a time into a buffer of its own. The zero value is ready for [Composer.Begin]. Reuse
// it: once its buffer has grown to the longest message, it allocates nothing. It is not safe for concurrent use.
//
// It is for messages that this program decides about: one that outgrows the 16-bit length of its header is a mistake
// here, and panics.
type Composer struct {
	buf []byte
	id  TransactionID
	mac mac
}

// Begin starts a message and gives up the one before.
func (c *Composer) Begin(method Method, class Class, id TransactionID) {
	c.id = id
	c.buf = binary.BigEndian.AppendUint16(c.buf[:0], joinType(method, class))
	c.buf = binary.BigEndian.AppendUint16(c.buf, 0) // the length, set by Seal
	c.buf = binary.BigEndian.AppendUint32(c.buf, magicCookie)
	c.buf = append(c.buf, id[:]...)
}

// Add appends an attribute. The value is copied.
func (c *Composer) Add(a Attr, value []byte) {
	copy(c.extend(a, len(value)), value)
}

// AddString appends an attribute whose value is text.
func (c *Composer) AddString(a Attr, value string) {
	copy(c.extend(a, len(value)), value)
}

// AddEmpty appends an attribute that has no value.
func (c *Composer) AddEmpty(a Attr) { c.extend(a, 0) }

// AddUint32 appends an attribute whose value is one number of four bytes.
func (c *Composer) AddUint32(a Attr, value uint32) {
	binary.BigEndian.PutUint32(c.extend(a, 4), value)
}

// AddAddr appends a transport address, which has to be valid: XOR'ed in the attributes that have it so, plain in all
// others (RFC 8489 sections 14.1 and 14.2). An IPv4 address in IPv6 form is written as IPv4.
func (c *Composer) AddAddr(a Attr, addr netip.AddrPort) {
	value := c.extend(a, addrSize(addr.Addr()))
	if a.xored() {
		putXORAddr(value, addr, &c.id)
	} else {
		putAddr(value, addr)
	}
}

// AddError appends ERROR-CODE with a code between 300 and 699, and no reason phrase: it would be for a person who reads
// packets, and makes the reply to somebody unproven longer.
func (c *Composer) AddError(code int) {
	value := c.extend(AttrErrorCode, 4)
	value[0], value[1] = 0, 0
	value[2], value[3] = byte(code/100), byte(code%100) // RFC 8489 section 14.8
}

// AddUnknown appends UNKNOWN-ATTRIBUTES (RFC 8489 section 14.13).
func (c *Composer) AddUnknown(list []Attr) {
	value := c.extend(AttrUnknownAttributes, 2*len(list))
	for i, a := range list {
		binary.BigEndian.PutUint16(value[2*i:], uint16(a))
	}
}

// AddICMP appends ICMP: the type, code and, of what was too long, the path's MTU in bytes of an ICMP error that a
// datagram to the peer met (RFC 8656 section 18.13). The type has seven bits on the wire, which all error types fit.
func (c *Composer) AddICMP(typ, code uint8, mtu uint32) {
	value := c.extend(AttrICMP, 8)
	binary.BigEndian.PutUint32(value, uint32(typ&0x7F)<<9|uint32(code))
	binary.BigEndian.PutUint32(value[4:], mtu)
}

// Seal ends the message, which is to be begun anew after that: it appends MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256
// and FINGERPRINT as asked for, the first two made with key, and returns the message. The bytes are the composer's until
// the next Begin.
func (c *Composer) Seal(key []byte, sha1, sha256, fingerprint bool) []byte {
	if sha1 {
		c.addIntegrity(key)
	}
	if sha256 {
		c.addIntegritySHA256(key)
	}
	if fingerprint {
		c.setLength(attrHeaderSize + fingerprintSize)
		c.AddUint32(AttrFingerprint, crc32.ChecksumIEEE(c.buf)^fingerprintValue)
	}
	c.setLength(0)
	return c.buf
}

func (c *Composer) addIntegrity(key []byte) {
	sum := c.mac.sum1(key, c.buf)
	copy(c.extend(AttrMessageIntegrity, sha1.Size), sum)
}

func (c *Composer) addIntegritySHA256(key []byte) {
	sum := c.mac.sum256(key, c.buf)
	copy(c.extend(AttrMessageIntegritySHA256, sha256.Size), sum)
}

// setLength writes the header's length: what there is, and more bytes to come.
func (c *Composer) setLength(more int) {
	binary.BigEndian.PutUint16(c.buf[2:], uint16(len(c.buf)-headerSize+more))
}

// extend appends an attribute of n bytes and its padding, and returns where the value goes. The padding is zeroed: what
// was in the buffer before belongs to another client.
func (c *Composer) extend(a Attr, n int) []byte {
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(a))
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(n))
	at, padded := len(c.buf), PaddedLen(n)
	if at+padded > MaxMessageSize {
		panic(fmt.Sprintf("turn: attribute %#04x of %d bytes does not fit a message", uint16(a), n))
	}
	for range padded / 4 {
		c.buf = append(c.buf, 0, 0, 0, 0)
	}
	return c.buf[at : at+n]
}
