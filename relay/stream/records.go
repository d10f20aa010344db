package stream

import (
	"bytes"
	"encoding/binary"
)

// The parts of DTLS 1.2 that are looked at (RFC 6347 sections 4.1 and 4.2.2).
const (
	recordHeader    = 13
	handshakeHeader = 12

	recordChangeCipher    = 20
	recordAlert           = 21
	recordHandshake       = 22
	recordApplicationData = 23

	clientHello        = 1
	helloVerifyRequest = 3
)

// record is one record of a datagram.
type record struct {
	kind  uint8
	epoch uint16
	body  []byte
}

// nextRecord cuts the first record off a datagram.
func nextRecord(b []byte) (r record, rest []byte, ok bool) {
	if len(b) < recordHeader || b[1] != 0xfe { // DTLS's versions count down from 254.255
		return record{}, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[11:]))
	if n > len(b)-recordHeader {
		return record{}, nil, false
	}
	return record{kind: b[0], epoch: binary.BigEndian.Uint16(b[3:]), body: b[recordHeader : recordHeader+n]},
		b[recordHeader+n:], true
}

// hello is a ClientHello, or a fragment of one.
type hello struct {
	sequence uint16 // of the message: 0 for the first hello, 1 for the one that returns the cookie
	offset   uint32 // of the fragment
	body     []byte
}

// parseHello reads the handshake message in a plain record.
func parseHello(r record) (hello, bool) {
	if r.kind != recordHandshake || r.epoch != 0 || len(r.body) < handshakeHeader || r.body[0] != clientHello {
		return hello{}, false
	}
	return hello{
		sequence: binary.BigEndian.Uint16(r.body[4:]),
		offset:   uint32(r.body[6])<<16 | uint32(r.body[7])<<8 | uint32(r.body[8]),
		body:     r.body[handshakeHeader:],
	}, true
}

// cookie returns a ClientHello's cookie: it follows the version, the random bytes and the session id.
func (h hello) cookie() ([]byte, bool) {
	const session = 2 + 32
	if len(h.body) <= session {
		return nil, false
	}
	at := session + 1 + int(h.body[session])
	if len(h.body) <= at {
		return nil, false
	}
	n := int(h.body[at])
	if len(h.body) < at+1+n {
		return nil, false
	}
	return h.body[at+1 : at+1+n], true
}

// beginsHandshake reports whether a datagram may make a client of its sender: it begins with the beginning of a first
// ClientHello.
func beginsHandshake(b []byte) bool {
	r, _, ok := nextRecord(b)
	if !ok {
		return false
	}
	h, ok := parseHello(r)
	return ok && h.sequence == 0 && h.offset == 0
}

// recordFilter decides which of a client's datagrams the DTLS library gets to see, by what is readable in them without
// keys. The library checks the cookie too, but gives the handshake up at a wrong one, which anybody can send in a
// client's name; and it keeps what comes early or in pieces, megabytes of it.
type recordFilter struct {
	cookie      []byte // of the HelloVerifyRequest that was sent
	proven      bool   // and has come back
	established bool   // the handshake is complete
	handshake   int    // bytes of the handshake that were let through
}

// sent looks at a datagram to the client for the cookie.
func (f *recordFilter) sent(b []byte) {
	r, _, ok := nextRecord(b)
	const cookieLength = handshakeHeader + 2
	if !ok || r.kind != recordHandshake || len(r.body) <= cookieLength || r.body[0] != helloVerifyRequest {
		return
	}
	if n := int(r.body[cookieLength]); len(r.body) >= cookieLength+1+n {
		f.cookie = bytes.Clone(r.body[cookieLength+1 : cookieLength+1+n])
	}
}

// pass decides about a datagram from the client.
func (f *recordFilter) pass(b []byte) (Drop, bool) {
	for rest := b; len(rest) > 0; {
		var r record
		var ok bool
		if r, rest, ok = nextRecord(rest); !ok {
			return NotDTLS, false
		}
		if drop, ok := f.record(r); !ok {
			return drop, false
		}
	}
	return 0, true
}

// maxAlert is more than an alert needs, in bytes: two of its own, and what protecting them adds.
const maxAlert = 64

func (f *recordFilter) record(r record) (Drop, bool) {
	if !f.proven {
		if drop, ok := f.prove(r); !ok {
			return drop, false
		}
	}
	if r.kind == recordApplicationData && r.epoch == 0 {
		return NotDTLS, false // nobody sends data without keys; the library would answer with an alert
	}
	if r.kind == recordChangeCipher && (r.epoch != 0 || len(r.body) != 1) {
		return NotDTLS, false // the library believes it without a key, and ends
	}
	if !f.established {
		f.handshake += recordHeader + len(r.body)
		return 0, true
	}
	if r.kind == recordApplicationData || r.kind == recordAlert && len(r.body) <= maxAlert {
		return 0, true
	}
	// What is left of a handshake may come again. More of it than a handshake has is somebody else's, which must not end
	// the client's connection.
	if f.handshake+recordHeader+len(r.body) > handshakeBytes {
		return NotDTLS, false
	}
	f.handshake += recordHeader + len(r.body)
	return 0, true
}

// prove lets nothing through but ClientHellos until one has the cookie.
func (f *recordFilter) prove(r record) (Drop, bool) {
	h, ok := parseHello(r)
	if !ok {
		return NotDTLS, false
	}
	if h.sequence == 0 {
		return 0, true
	}
	cookie, ok := h.cookie()
	if !ok || h.offset != 0 || len(f.cookie) == 0 || !bytes.Equal(cookie, f.cookie) {
		return BadCookie, false
	}
	f.proven = true
	return 0, true
}
