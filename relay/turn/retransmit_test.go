package turn

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// TestRetransmittedAllocate: the same answer to the byte, and one allocation (RFC 8656 section 7.2 leaves it to the
// server to remember).
func TestRetransmittedAllocate(t *testing.T) {
	tests := []struct {
		name  string
		at    Source
		parts []with
	}{
		{"plain", home, []with{udp()}},
		{"everything", home, []with{udp(), lifetime(1234), evenPort(0x80), ticket(nil)}},
		{"dual", home, []with{udp(), additionalFamily(2)}},
		{"TCP", stream, []with{tcp()}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			c := r.alice(test.at)
			c.ask(MethodRefresh) // for a nonce
			b := c.build(MethodAllocate, c.id(), test.parts...)
			first := c.send(b)
			if first.code != 0 {
				t.Fatalf("got %v", first)
			}
			r.advance(2 * time.Second)
			if again := c.send(b); !bytes.Equal(again.raw, first.raw) {
				t.Errorf("the second answer is another:\n%x\n%x", first.raw, again.raw)
			}
			if r.m.Len() != 1 || len(r.held) > 1 {
				t.Errorf("%d allocations and %d ports held", r.m.Len(), len(r.held))
			}
			if a := c.send(c.build(MethodAllocate, c.id(), test.parts...)); a.code != 437 {
				t.Errorf("another transaction got %v", a)
			}
			r.advance(590 * time.Second)
			c.must(0, MethodRefresh, lifetime(0))
			if a := c.send(b); a.code != 0 {
				t.Errorf("after the allocation was deleted, the same bytes got %v", a)
			}
		})
	}
	t.Run("part of a dual", func(t *testing.T) {
		r := newRig(t)
		r.shut[IPv6] = true
		c := r.alice(home)
		c.ask(MethodRefresh)
		b := c.build(MethodAllocate, c.id(), udp(), additionalFamily(2))
		if first, again := c.send(b), c.send(b); !bytes.Equal(again.raw, first.raw) {
			t.Errorf("the second answer is another:\n%x\n%x", first.raw, again.raw)
		}
	})
}

// TestRetransmittedDelete: Refresh with lifetime 0, sent again, gets the same answer and not 437, for as long as a
// client sends again; whether it deleted all of an allocation or one family.
func TestRetransmittedDelete(t *testing.T) {
	for _, family := range []byte{0, familyIPv4, familyIPv6} {
		r := newRig(t)
		c := r.alice(home)
		c.allocate(additionalFamily(2))
		parts := []with{lifetime(0)}
		if family != 0 {
			parts = append(parts, requestedFamily(family))
		}
		b := c.build(MethodRefresh, c.id(), parts...)
		first := c.send(b)
		if first.code != 0 || first.lifetime() != 0 {
			t.Fatalf("family %d: got %v with lifetime %d", family, first, first.lifetime())
		}
		left := r.m.Len()
		elsewhere := r.alice(Source{Client: other4})
		elsewhere.ask(MethodRefresh) // for a nonce
		if a := elsewhere.send(elsewhere.build(MethodRefresh, TransactionID(first.id), parts...)); a.code != 437 {
			t.Errorf("family %d: the same transaction from elsewhere got %v", family, a)
		}
		r.advance(39500 * time.Millisecond)
		if again := c.send(b); !bytes.Equal(again.raw, first.raw) {
			t.Errorf("family %d: the second answer is %v", family, again)
		}
		if r.m.Len() != left {
			t.Errorf("family %d: the second one deleted more", family)
		}
		r.advance(time.Second)
		want := 437
		if family != 0 {
			want = 443
		}
		if a := c.send(b); a.code != want {
			t.Errorf("family %d: long after, %v", family, a)
		}
	}
}

// TestLateDeleteSparesTheNextAllocation: a copy of a Refresh that the network kept does not delete what its client has
// made since.
func TestLateDeleteSparesTheNextAllocation(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	b := c.build(MethodRefresh, c.id(), lifetime(0))
	c.send(b)
	c.allocate()
	if a := c.send(b); a.code != 0 || a.lifetime() != 0 {
		t.Errorf("got %v", a)
	}
	if r.session(home) == nil {
		t.Error("the new allocation is gone")
	}
}

// TestDeletesRememberedAreBounded: however many allocations come and go, what is remembered of them does not grow.
func TestDeletesRememberedAreBounded(t *testing.T) {
	r := newRig(t)
	var clients []*client
	var requests [][]byte
	for n := range 3*gravesKept + 7 {
		c := r.alice(Source{Client: netip.AddrPortFrom(home.Client.Addr(), uint16(1+n))})
		c.allocate()
		b := c.build(MethodRefresh, c.id(), lifetime(0))
		c.send(b)
		clients, requests = append(clients, c), append(requests, b)
		if n%64 == 0 {
			r.advance(time.Second)
		}
	}
	if n := len(r.m.deleted.ring); n != gravesKept {
		t.Errorf("%d are remembered", n)
	}
	for i, c := range clients {
		want := 0
		if i < len(clients)-gravesKept {
			want = 437
		}
		if a := c.send(requests[i]); a.code != want {
			t.Errorf("number %d of %d: %v", i, len(clients), a)
		}
	}
}

// TestRetransmittedMobilityRefresh: the same answer to the byte, from the new five-tuple, before and after the client
// was heard there.
func TestRetransmittedMobilityRefresh(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	first := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	moved := r.alice(Source{Client: other4})
	moved.ask(MethodRefresh) // for a nonce
	b := moved.build(MethodRefresh, moved.id(), ticket(first), lifetime(1000))
	a := moved.send(b)
	if a.code != 0 || a.lifetime() != 1000 || bytes.Equal(a.value(AttrMobilityTicket), first) {
		t.Fatalf("got %v with lifetime %d", a, a.lifetime())
	}
	for range 2 {
		r.advance(time.Second)
		if again := moved.send(b); !bytes.Equal(again.raw, a.raw) {
			t.Errorf("the second answer is %v:\n%x\n%x", again, a.raw, again.raw)
		}
		moved.must(0, MethodCreatePermission, to(peer4)) // it is heard
	}
	// What was sent before it moved is no more than an old ticket, from wherever it comes.
	third := r.alice(Source{Client: peer4})
	third.must(400, MethodRefresh, ticket(first))
	c.must(437, MethodRefresh)
}

// TestRetransmittedOthers: what installs or refreshes can be said twice.
func TestRetransmittedOthers(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	for _, b := range [][]byte{
		c.build(MethodCreatePermission, c.id(), to(peer4), to(other4)),
		c.build(MethodChannelBind, c.id(), to(peer4), channelNumber(0x4000)),
		c.build(MethodRefresh, c.id(), lifetime(700)),
		c.build(MethodBinding, c.id()),
	} {
		first, again := c.send(b), c.send(b)
		if first.code != 0 || !bytes.Equal(first.raw, again.raw) {
			t.Errorf("method %d: %v, then %v", first.method, first, again)
		}
	}
	s := r.alice(stream)
	s.must(0, MethodAllocate, tcp())
	b := s.build(MethodConnect, s.id(), to(peer4))
	if a, again := s.send(b), s.send(b); a.oracle != nil || again.oracle != nil || len(r.dials) != 1 {
		t.Errorf("Connect sent twice: %v, %v, %d dials", a, again, len(r.dials))
	}
	connected(t, r, s, 3, nil)
}
