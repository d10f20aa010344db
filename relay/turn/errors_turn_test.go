package turn

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"causeway/relay/auth"
)

// The codes that TURN and its extensions define, as in errors_test.go.

// TestError437AllocationMismatch: RFC 8656 sections 5, 7.2 and 8.2.
func TestError437AllocationMismatch(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.must(437, MethodRefresh)
	c.must(437, MethodRefresh, lifetime(0))
	c.must(437, MethodCreatePermission, to(peer4))
	c.must(437, MethodChannelBind, to(peer4), channelNumber(0x4000))
	r.alice(stream).must(437, MethodConnect, to(peer4))
	c.allocate()
	c.must(437, MethodAllocate, udp())
	// RFC 8656 section 19 keeps 441 for the other requests; and nobody learns what another user's allocation is.
	made := c.build(MethodAllocate, c.id(), udp())
	bob := r.client(home, "bob", "hunter2")
	bob.must(437, MethodAllocate, udp())
	c.must(0, MethodRefresh, lifetime(0))
	c.repeat(made, MethodAllocate, udp())
	if a := bob.send(bob.build(MethodAllocate, parsed(t, made).ID, udp())); a.code != 437 {
		t.Errorf("another user who repeats the transaction got %v", a)
	}
	c.must(0, MethodRefresh, lifetime(0))
	c.must(437, MethodRefresh)
}

// TestError438StaleNonce: RFC 8489 section 9.2.4, with a new nonce that works.
func TestError438StaleNonce(t *testing.T) {
	elsewhere := Source{Client: netip.MustParseAddrPort("198.51.100.7:40001")} // another port is another client
	tests := []struct {
		name   string
		change func(r *rig, c *client)
	}{
		{"too old", func(r *rig, _ *client) { r.advance(10 * time.Minute) }},
		{"made up", func(_ *rig, c *client) { c.nonce = []byte("obMatJos2AAAAabcdefghijklmnopqr") }},
		{"empty", func(_ *rig, c *client) { c.nonce = []byte{} }},
		{"of RFC 5389's form", func(_ *rig, c *client) { c.nonce = []byte("f//499k954d6OL34oL9FSTvy64sA") }},
		{"another client's", func(r *rig, c *client) {
			other := r.alice(elsewhere)
			other.allocate()
			c.nonce = other.nonce
		}},
		{"with other features", func(_ *rig, c *client) { c.nonce[12] = 'A' }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(s *setup) { s.nonceLifetime = 10 * time.Minute })
			c := r.alice(home)
			c.allocate(lifetime(3600))
			test.change(r, c)
			b := c.build(MethodRefresh, c.id(), lifetime(0))
			a := c.send(b)
			if a.oracle == nil || a.code != 438 || r.session(home) == nil {
				t.Fatalf("got %v", a)
			}
			c.learn(a)
			if a := c.send(c.build(MethodRefresh, c.id())); a.code != 0 {
				t.Errorf("with the new nonce: %v", a)
			}
		})
	}
	t.Run("one nanosecond before", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.nonceLifetime = 10 * time.Minute })
		c := r.alice(home)
		c.allocate(lifetime(3600))
		r.advance(10*time.Minute - 1)
		if a := c.send(c.build(MethodRefresh, c.id())); a.code != 0 {
			t.Errorf("got %v", a)
		}
		r.advance(1)
		if a := c.send(c.build(MethodRefresh, c.id())); a.code != 438 {
			t.Errorf("at its end: %v", a)
		}
	})
}

// TestError440AddressFamilyNotSupported: RFC 8656 section 7.2.
func TestError440AddressFamilyNotSupported(t *testing.T) {
	only4 := newRig(t, func(s *setup) { s.Families = [families]bool{IPv4: true} })
	only4.alice(home).must(440, MethodAllocate, udp(), requestedFamily(2))
	only4.alice(home).must(440, MethodAllocate, udp(), requestedFamily(3))
	only4.alice(home).allocate(requestedFamily(1))
	only6 := newRig(t, func(s *setup) { s.Families = [families]bool{IPv6: true} })
	only6.alice(home).must(440, MethodAllocate, udp()) // without the attribute it is IPv4 that is asked for
	only6.alice(home).must(440, MethodAllocate, udp(), requestedFamily(1))
	only6.alice(home).allocate(requestedFamily(2))
}

// TestError441WrongCredentials: RFC 8656 section 5: an allocation is its user's.
func TestError441WrongCredentials(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	bob := r.client(home, "bob", "hunter2")
	bob.must(441, MethodRefresh, lifetime(0))
	bob.must(441, MethodRefresh)
	bob.must(441, MethodCreatePermission, to(peer4))
	bob.must(441, MethodChannelBind, to(peer4), channelNumber(0x4000))
	bob.hashed = true
	bob.must(441, MethodRefresh, lifetime(0))
	s := r.alice(stream)
	s.must(0, MethodAllocate, tcp())
	r.client(stream, "bob", "hunter2").must(441, MethodConnect, to(peer4))
	r.client(stream, "bob", "hunter2").must(441, MethodConnectionBind, connectionID(1))
	if got := r.session(home); got == nil || len(got.permissions) != 0 || len(r.dials) != 0 {
		t.Error("another user changed the allocation")
	}
	moved := r.client(Source{Client: other4}, "bob", "hunter2")
	mobile := r.alice(Source{Client: peer4})
	a := mobile.allocate(ticket(nil))
	moved.must(441, MethodRefresh, ticket(a.value(AttrMobilityTicket)))
}

// TestError442UnsupportedTransport: RFC 8656 section 7.2.
func TestError442UnsupportedTransport(t *testing.T) {
	r := newRig(t)
	for _, protocol := range []byte{0, 1, 33, 132, 255} {
		r.alice(home).must(442, MethodAllocate, transport(protocol))
	}
}

// TestError443PeerAddressFamilyMismatch: RFC 8656 sections 8.2, 10.2 and 12.2, RFC 6062 with RFC 6156.
func TestError443PeerAddressFamilyMismatch(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:8.8.8.8"), 1000)
	c.must(443, MethodCreatePermission, to(peer6))
	c.must(443, MethodCreatePermission, to(peer4), to(peer6))
	c.must(443, MethodChannelBind, to(peer6), channelNumber(0x4000))
	c.must(443, MethodRefresh, requestedFamily(2))
	c.must(443, MethodRefresh, requestedFamily(2), lifetime(0))
	c.must(443, MethodRefresh, requestedFamily(9))
	six := func(c *Composer) {
		value := make([]byte, addressIPv6Size)
		raw := mapped.Addr().As16()
		value[1] = addressIPv6
		binary.BigEndian.PutUint16(value[2:], mapped.Port())
		copy(value[4:], raw[:])
		xorAddr(value, &c.id)
		c.Add(AttrXORPeerAddress, value)
	}
	c.must(443, MethodCreatePermission, six)
	if len(r.session(home).permissions) != 0 {
		t.Error("a permission was installed all the same")
	}
	s := r.alice(stream)
	s.must(0, MethodAllocate, tcp())
	s.must(443, MethodConnect, to(peer6))
}

// TestError446ConnectionAlreadyExists: RFC 6062 section 5.2.
func TestError446ConnectionAlreadyExists(t *testing.T) {
	r := newRig(t)
	c := r.alice(stream)
	c.must(0, MethodAllocate, tcp())
	if a := c.ask(MethodConnect, to(peer4)); a.oracle != nil {
		t.Fatalf("Connect was answered at once: %v", a)
	}
	c.must(446, MethodConnect, to(peer4)) // it is being made
	connected(t, r, c, 7, nil)
	c.ask(MethodConnect, to(peer4))
	if a := connected(t, r, c, 0, ErrConnectionExists); a.code != 446 {
		t.Errorf("while there is one: %v", a)
	}
}

// TestError447ConnectionTimeoutOrFailure: RFC 6062 section 5.2.
func TestError447ConnectionTimeoutOrFailure(t *testing.T) {
	r := newRig(t)
	c := r.alice(stream)
	c.must(0, MethodAllocate, tcp())
	c.ask(MethodConnect, to(peer4))
	if a := connected(t, r, c, 0, errOracle); a.code != 447 {
		t.Errorf("got %v", a)
	}
	c.ask(MethodConnect, to(peer4)) // it can be tried again
	if a := connected(t, r, c, 9, nil); a.code != 0 || binary.BigEndian.Uint32(a.value(AttrConnectionID)) != 9 {
		t.Errorf("the second time: %v", a)
	}
}

// TestError486AllocationQuotaReached: RFC 8656 section 7.2: for one user, wherever it comes from, until it gives one
// back.
func TestError486AllocationQuotaReached(t *testing.T) {
	r := newRig(t, func(s *setup) {
		s.quota = auth.QuotaOptions{AllocationsPerUser: 2, Allocations: 3}
		s.Alternates = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:3478")}
	})
	at := func(n byte) Source {
		return Source{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 4000)}
	}
	first := r.alice(at(1))
	first.allocate()
	r.alice(at(2)).allocate()
	r.alice(at(3)).must(486, MethodAllocate, udp())
	r.client(at(4), "bob", "hunter2").allocate() // the others have theirs
	r.alice(at(3)).must(486, MethodAllocate, udp())
	first.must(0, MethodRefresh, lifetime(0))
	r.alice(at(3)).allocate()
}

// TestError508InsufficientCapacity: RFC 8656 sections 7.2, 10.2 and 12.2.
func TestError508InsufficientCapacity(t *testing.T) {
	at := func(n uint16) Source { return Source{Client: netip.AddrPortFrom(home.Client.Addr(), n)} }
	t.Run("allocations", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.quota = auth.QuotaOptions{Allocations: 1} })
		r.alice(at(1)).allocate()
		r.client(at(2), "bob", "hunter2").must(508, MethodAllocate, udp())
	})
	t.Run("draining", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.Draining = func() bool { return true } })
		r.alice(home).must(508, MethodAllocate, udp())
	})
	t.Run("ports", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.quota = auth.QuotaOptions{Allocations: 1} })
		r.shut = [families]bool{true, true}
		c := r.alice(home)
		c.must(508, MethodAllocate, udp())
		c.must(508, MethodAllocate, udp(), additionalFamily(2))
		if r.m.Len() != 0 || len(r.sessions) != 0 {
			t.Error("something of it was left")
		}
		r.shut = [families]bool{}
		c.allocate() // and the quota was given back
	})
	t.Run("token", func(t *testing.T) {
		// Not even another server could have it.
		r := newRig(t, func(s *setup) { s.Alternates = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:3478")} })
		r.alice(home).must(508, MethodAllocate, udp(), reservationToken([]byte("no token")))
	})
	t.Run("permissions", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.MaxPermissions = 2 })
		c := r.alice(home)
		c.allocate()
		third := netip.MustParseAddrPort("1.1.1.1:1")
		c.must(508, MethodCreatePermission, to(peer4), to(other4), to(third))
		if n := len(r.session(home).permissions); n != 0 {
			t.Errorf("%d of them were installed", n)
		}
		c.must(0, MethodCreatePermission, to(peer4), to(peer4), to(other4)) // one of them twice
		c.must(508, MethodCreatePermission, to(third))
		c.must(508, MethodChannelBind, to(third), channelNumber(0x4000))
		c.must(0, MethodCreatePermission, to(peer4))
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	})
	t.Run("channels", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.MaxChannels = 1 })
		c := r.alice(home)
		c.allocate()
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		c.must(508, MethodChannelBind, to(other4), channelNumber(0x4001))
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		if got := r.session(home).permitted(); len(got) != 1 {
			t.Errorf("permissions: %v", got)
		}
	})
	t.Run("a bound channel without permission", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.MaxPermissions = 1 })
		c := r.alice(home)
		c.allocate()
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		r.advance(300 * time.Second)
		c.must(0, MethodCreatePermission, to(other4))
		c.must(508, MethodChannelBind, to(peer4), channelNumber(0x4000)) // it would bring a second one back
	})
	t.Run("connections", func(t *testing.T) {
		r := newRig(t)
		c := r.alice(stream)
		c.must(0, MethodAllocate, tcp())
		c.ask(MethodConnect, to(peer4))
		if a := connected(t, r, c, 0, ErrCapacity); a.code != 508 {
			t.Errorf("got %v", a)
		}
	})
}

// TestErrorCodesAreCounted: each code has a counter of its own.
func TestErrorCodesAreCounted(t *testing.T) {
	if len(Codes()) != codesCounted {
		t.Fatalf("%d codes for %d counters", len(Codes()), codesCounted)
	}
	for i, code := range Codes() {
		var s Stats
		s.reply(code)
		for j, n := range s.Errors {
			if (n == 1) != (i == j) {
				t.Errorf("code %d has counter %d at %d", code, j, n)
			}
		}
	}
}
