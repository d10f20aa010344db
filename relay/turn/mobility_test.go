package turn

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Where a client of these tests goes.
var (
	away    = Source{Client: netip.MustParseAddrPort("192.0.2.50:50050")}
	further = Source{Client: netip.MustParseAddrPort("[2001:db8:1::7]:7"), Listener: 2}
)

// movedTo makes the same client at another address, with a nonce for it.
func (c *client) movedTo(at Source) *client {
	next := *c
	next.source, next.nonce, next.last = at, nil, 1000
	next.ask(MethodRefresh)
	return &next
}

// TestMobility: RFC 8016 section 3.2: the allocation follows its client with everything that it has; both five-tuples
// work until the client is heard from the new one.
func TestMobility(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	first := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	s := r.session(home)
	moved := c.movedTo(away)
	a := moved.must(0, MethodRefresh, ticket(first), lifetime(1200))
	second := a.value(AttrMobilityTicket)
	if a.lifetime() != 1200 || bytes.Equal(first, second) {
		t.Errorf("lifetime %d, ticket %q after %q", a.lifetime(), second, first)
	}
	if s.source != home || s.next != away {
		t.Errorf("it is at %v and next at %v", s.source, s.next)
	}
	c.must(0, MethodCreatePermission, to(other4)) // what was on its way is not lost
	if s.source != home || s.next != away {
		t.Error("hearing the old five-tuple settled it")
	}
	moved.must(0, MethodCreatePermission, to(other4))
	if s.source != away || s.next != (Source{}) || r.session(home) != nil {
		t.Errorf("heard from the new five-tuple, it is at %v and next at %v", s.source, s.next)
	}
	c.must(437, MethodRefresh, lifetime(0))
	if n, ok := s.relays(peer4); n != 0x4000 || !ok {
		t.Error("the channel got lost")
	}
	c.allocate() // the old five-tuple is free

	third := moved.movedTo(further)
	third.must(400, MethodRefresh, ticket(first)) // a ticket is good once
	third.must(0, MethodRefresh, ticket(second))
	r.do(r.m.Heard(s.id, home)) // which is not its five-tuple any more
	if s.source != away {
		t.Error("settled by another's five-tuple")
	}
	r.do(r.m.Heard(s.id, further)) // by data, which the machine does not see
	if s.source != further || r.session(away) != nil {
		t.Errorf("heard by data, it is at %v", s.source)
	}
	r.advance(10 * time.Minute)
	if r.m.Len() != 0 || len(r.m.sources) != 0 {
		t.Errorf("%d allocations and %d five-tuples are left", r.m.Len(), len(r.m.sources))
	}
}

// TestMobilityTicketIsText: coturn's client keeps a ticket as a C string of at most 32 characters.
func TestMobilityTicketIsText(t *testing.T) {
	r := newRig(t, func(s *setup) { s.Worker = 3 })
	for range 50 {
		r.m.serial += 977
		value := r.alice(Source{Client: netip.AddrPortFrom(home.Client.Addr(), uint16(r.m.serial))}).allocate(ticket(nil)).value(AttrMobilityTicket)
		if len(value) == 0 || len(value) > 32 || slices.ContainsFunc(value, func(b byte) bool { return b <= ' ' || b > '~' }) {
			t.Fatalf("ticket %q", value)
		}
	}
}

// TestMobilityRefused: what is no reason to move.
func TestMobilityRefused(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	plain := r.alice(further)
	plain.allocate()
	moved := c.movedTo(away)

	c.must(400, MethodRefresh, ticket(own)) // RFC 8016 section 3.2.1: not from where it is
	moved.must(400, MethodRefresh, ticket(own), lifetime(0))
	moved.must(400, MethodRefresh, ticket(own), raw(AttrLifetime, 1))
	moved.must(400, MethodRefresh, ticket(nil))
	moved.must(400, MethodRefresh, ticket(own[:31]))
	moved.must(400, MethodRefresh, ticket(append(slices.Clone(own), 'A')))
	plain.must(437, MethodRefresh, ticket(own)) // this five-tuple has another allocation
	for bit := range len(own) * 8 {
		forged := slices.Clone(own)
		forged[bit/8] ^= 1 << (bit % 8)
		moved.must(400, MethodRefresh, ticket(forged))
	}
	// A transaction ID of zeros is no retransmission of a move that never was.
	if a := c.send(c.build(MethodRefresh, TransactionID{}, ticket(own))); a.code != 400 {
		t.Errorf("transaction zero: %v", a)
	}
	if s := r.session(home); s == nil || s.next != (Source{}) || len(r.forwards) != 0 {
		t.Fatal("it moved all the same")
	}
	moved.must(0, MethodRefresh, ticket(own))
	c.must(0, MethodRefresh, lifetime(0))
	late := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	r.now = r.now.Add(10 * time.Minute) // with no timer
	moved.must(437, MethodRefresh, ticket(late))
	r.alice(Source{Client: peer4}).must(437, MethodRefresh, ticket(own)) // there is nothing left to move
	moved.must(437, MethodRefresh)
}

// TestMobilityTwice: who moves on before being heard is at the last place.
func TestMobilityTwice(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	s := r.session(home)
	second := c.movedTo(away).must(0, MethodRefresh, ticket(own)).value(AttrMobilityTicket)
	last := c.movedTo(further)
	last.must(0, MethodRefresh, ticket(second))
	if s.source != home || s.next != further || r.session(away) != nil {
		t.Errorf("it is at %v and next at %v", s.source, s.next)
	}
	c.movedTo(away).must(437, MethodRefresh)
	last.must(0, MethodRefresh)
	if s.source != further || len(r.m.sources) != 1 {
		t.Errorf("it is at %v, of %d five-tuples", s.source, len(r.m.sources))
	}
}

// TestMobilityDeletesBothFiveTuples: from either one.
func TestMobilityDeletesBothFiveTuples(t *testing.T) {
	for _, fromNew := range []bool{false, true} {
		r := newRig(t)
		c := r.alice(home)
		own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
		moved := c.movedTo(away)
		moved.must(0, MethodRefresh, ticket(own))
		by := c
		if fromNew {
			by = moved
		}
		by.must(0, MethodRefresh, lifetime(0))
		if r.m.Len() != 0 || len(r.m.sources) != 0 || len(r.clients) != 0 {
			t.Errorf("by the new one %v: %d allocations, %d five-tuples", fromNew, r.m.Len(), len(r.m.sources))
		}
		c.must(437, MethodRefresh)
		moved.must(437, MethodRefresh)
	}
}

// TestMobilityAcrossWorkers: the kernel gives a client's new address to any worker; that one hands the request on.
func TestMobilityAcrossWorkers(t *testing.T) {
	owner := newRig(t, func(s *setup) { s.Worker = 1 })
	other := newRig(t, func(s *setup) { s.Worker = 2 })
	c := owner.alice(home)
	own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
	b := c.movedTo(away).build(MethodRefresh, TransactionID{5}, ticket(own))
	for range 2 { // also when it is sent again
		if replies := other.handle(away, b); len(replies) != 0 || len(other.forwards) != 1 {
			t.Fatalf("%d replies, %d handed on", len(replies), len(other.forwards))
		}
		f := other.forwards[0]
		other.forwards = nil
		if f.ID.Worker() != 1 || f.To != away {
			t.Errorf("handed to worker %d for %v", f.ID.Worker(), f.To)
		}
		moved := *c
		moved.source = away
		if a := moved.send(b); a.code != 0 {
			t.Errorf("the owner says %v", a)
		}
	}
	stale := c.movedTo(away)
	stale.nonce = []byte("an old nonce") // which costs a hash, and the other worker nothing
	if a := other.handle(away, stale.build(MethodRefresh, TransactionID{7}, ticket(own))); len(a) != 1 || len(other.forwards) != 0 {
		t.Error("a request with an old nonce was handed on")
	}
	forged := slices.Clone(own)
	forged[31] ^= 1
	if n := len(other.handle(away, c.movedTo(away).build(MethodRefresh, TransactionID{6}, ticket(forged)))); n != 1 || len(other.forwards) != 0 {
		t.Error("a forged ticket was handed on")
	}
}

// TestDisconnected: an allocation ends with its client's stream (RFC 8656 section 3.1), unless the client holds a
// ticket to come back with.
func TestDisconnected(t *testing.T) {
	again := Source{Client: netip.MustParseAddrPort("198.51.100.7:40009"), Listener: 1, Transport: TLS}
	t.Run("without ticket", func(t *testing.T) {
		r := newRig(t)
		r.alice(stream).allocate()
		r.do(r.m.Disconnected(again)) // another one's
		if r.m.Len() != 1 {
			t.Fatal("another stream's end was its end")
		}
		r.do(r.m.Disconnected(stream))
		if r.m.Len() != 0 || r.session(stream) != nil {
			t.Error("it lives")
		}
		r.do(r.m.Disconnected(stream))
	})
	t.Run("with ticket", func(t *testing.T) {
		r := newRig(t)
		c := r.alice(stream)
		own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
		r.do(r.m.Disconnected(stream))
		if len(r.m.sources) != 0 || r.m.Len() != 1 {
			t.Fatal("its five-tuple is still its own, or it is gone")
		}
		c.must(437, MethodRefresh) // that five-tuple is nobody's
		bob := r.client(stream, "bob", "hunter2")
		bob.allocate()
		r.do(r.m.Disconnected(stream))
		r.advance(9 * time.Minute)
		back := c.movedTo(again)
		b := back.build(MethodRefresh, back.id(), ticket(own))
		first := back.send(b)
		if s := r.session(again); first.code != 0 || s == nil || s.source != again || s.next != (Source{}) || len(r.m.sources) != 1 {
			t.Error("it did not come back at once")
		}
		if second := back.send(b); !bytes.Equal(second.raw, first.raw) {
			t.Errorf("sent again: %v", second)
		}
		back.must(0, MethodCreatePermission, to(peer4))
		r.advance(10 * time.Minute)
		if r.m.Len() != 0 {
			t.Error("it lives beyond its lifetime")
		}
	})
	for _, lost := range []string{"old", "new"} {
		t.Run("the "+lost+" one of two", func(t *testing.T) {
			r := newRig(t)
			c := r.alice(stream)
			own := c.allocate(ticket(nil)).value(AttrMobilityTicket)
			s := r.session(stream)
			moved := c.movedTo(again)
			moved.must(0, MethodRefresh, ticket(own))
			gone, stays := stream, again
			if lost == "new" {
				gone, stays = again, stream
			}
			r.do(r.m.Disconnected(gone))
			if s.source != stays || s.next != (Source{}) || r.session(gone) != nil || len(r.m.sources) != 1 {
				t.Errorf("it is at %v and next at %v", s.source, s.next)
			}
			if lost == "old" {
				c = moved
			}
			c.must(0, MethodRefresh)
			c.must(0, MethodRefresh, lifetime(0))
		})
	}
}

// TestMobilityKeepsTheTransport: a TCP allocation is of no use to a client that has no streams.
func TestMobilityKeepsTheTransport(t *testing.T) {
	r := newRig(t)
	c := r.alice(stream)
	own := c.must(0, MethodAllocate, tcp(), ticket(nil)).value(AttrMobilityTicket)
	c.movedTo(away).must(400, MethodRefresh, ticket(own))
	c.movedTo(Source{Client: away.Client, Listener: 3, Transport: TLS}).must(0, MethodRefresh, ticket(own))

	u := r.alice(home)
	own = u.allocate(ticket(nil)).value(AttrMobilityTicket)
	u.movedTo(stream).must(437, MethodRefresh, ticket(own)) // that stream has an allocation of its own
	u.movedTo(Source{Client: other4, Listener: 1, Transport: TCP}).must(0, MethodRefresh, ticket(own))
}
