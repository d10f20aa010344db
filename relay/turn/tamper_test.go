package turn

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"causeway/relay/auth"
)

// TestNoFlippedBitSucceeds: a request in which any one bit differs from what the client sealed is never carried out, of
// whatever method and with whatever integrity; nor is it answered with anything sealed.
func TestNoFlippedBitSucceeds(t *testing.T) {
	for _, kind := range []struct {
		name                string
		modern, fingerprint bool
		hashed              bool
	}{
		{name: "SHA-1"},
		{name: "SHA-1 and fingerprint", fingerprint: true},
		{name: "SHA-256", modern: true},
		{name: "SHA-256, hash and fingerprint", modern: true, hashed: true, fingerprint: true},
	} {
		t.Run(kind.name, func(t *testing.T) {
			r := newRig(t)
			c := r.alice(home)
			c.modern, c.alg, c.hashed, c.fingerprint = kind.modern, auth.SHA256, kind.hashed, kind.fingerprint
			own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
			moved, fresh, bound := c.movedTo(away), c.movedTo(further), c.movedTo(stream)
			requests := []struct {
				by *client
				b  []byte
			}{
				{c, c.build(MethodRefresh, c.id(), lifetime(0))},
				{c, c.build(MethodCreatePermission, c.id(), to(peer4), to(other4))},
				{c, c.build(MethodChannelBind, c.id(), to(peer4), channelNumber(0x4000))},
				{moved, moved.build(MethodRefresh, moved.id(), ticket(own))},
				{fresh, fresh.build(MethodAllocate, fresh.id(), udp(), evenPort(0x80))},
				{bound, bound.build(MethodConnectionBind, bound.id(), connectionID(1))},
			}
			sealed := func(b []byte) int { // a FINGERPRINT is behind the integrity attribute, and not sealed by it
				if kind.fingerprint {
					return len(b) - attrHeaderSize - fingerprintSize
				}
				return len(b)
			}
			for _, request := range requests {
				for bit := range sealed(request.b) * 8 {
					b := slices.Clone(request.b)
					b[bit/8] ^= 1 << (bit % 8)
					if kind.fingerprint { // whoever changes a message can make it anew
						putFingerprint(b)
					}
					for _, reply := range r.handle(request.by.source, b) {
						checkRefusal(t, reply, request.b, bit)
					}
				}
			}
			s := r.session(home)
			if r.m.Len() != 1 || s == nil || s.next != (Source{}) || len(s.permissions) != 0 || len(s.channels) != 0 ||
				len(r.attached) != 0 || len(r.forwards) != 0 || len(r.held) != 0 {
				t.Error("one of them was carried out")
			}
			for i, request := range requests {
				if a := request.by.send(request.b); i > 0 && a.oracle == nil {
					t.Errorf("request %d, whole: no answer", i)
				}
			}
		})
	}
}

// putFingerprint makes the FINGERPRINT at the end of a message right.
func putFingerprint(b []byte) {
	at := len(b) - fingerprintSize
	binary.BigEndian.PutUint32(b[at:], crc32.ChecksumIEEE(b[:at-attrHeaderSize])^fingerprintValue)
}

// checkRefusal fails the test unless a reply is one to somebody unproven.
func checkRefusal(t *testing.T, reply sent, request []byte, bit int) {
	t.Helper()
	o, err := readOracle(reply.b)
	if err != nil {
		t.Fatalf("bit %d of %x: the reply is no STUN message", bit, request)
	}
	_, sha1 := o.get(AttrMessageIntegrity)
	_, sha256 := o.get(AttrMessageIntegritySHA256)
	if sha1 || sha256 || o.class == int(ClassSuccess) && o.method != int(MethodBinding) {
		t.Errorf("bit %d of %x: answered with %x", bit, request, reply.b)
	}
	if len(reply.b) > 100 {
		t.Errorf("bit %d: %d bytes to somebody unproven", bit, len(reply.b))
	}
}

// TestTruncatedRequests: no prefix of a request is one.
func TestTruncatedRequests(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	b := c.build(MethodRefresh, c.id(), lifetime(0))
	for n := range b {
		if len(r.handle(home, b[:n])) != 0 {
			t.Errorf("%d bytes were answered", n)
		}
		if short := slices.Clone(b[:n]); n >= headerSize && n%4 == 0 { // with a length that fits
			short[2], short[3] = 0, byte(n-headerSize)
			for _, reply := range r.handle(home, short) {
				checkRefusal(t, reply, short, 0)
			}
		}
	}
	if got := len(r.handle(home, append(slices.Clone(b), 0, 0, 0, 0))); got != 0 {
		t.Error("a message with more behind it was answered")
	}
	if r.session(home) == nil {
		t.Error("one of them was carried out")
	}
}
