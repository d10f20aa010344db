package turn

import (
	"net/netip"
	"testing"
	"time"

	"causeway/relay/auth"
)

// TestRepliesToTheUnprovenAreSmall: at most 100 bytes with a realm of 12 characters, whatever is asked.
func TestRepliesToTheUnprovenAreSmall(t *testing.T) {
	const limit = 100
	for _, client6 := range []bool{false, true} {
		for _, fingerprint := range []bool{false, true} {
			r := newRig(t, func(s *setup) { s.Realm = "edge.example" })
			at := home
			if client6 {
				at.Client = netip.MustParseAddrPort("[2001:db8:1::7]:40000")
			}
			c := r.alice(at)
			c.fingerprint = fingerprint
			largest := 0
			check := func(what string, code int, a answer) {
				t.Helper()
				if a.oracle == nil || a.code != code {
					t.Errorf("%s: got %v, want code %d", what, a, code)
					return
				}
				largest = max(largest, len(a.raw))
				if len(a.raw) > limit {
					t.Errorf("%s: %d bytes, fingerprint %v", what, len(a.raw), fingerprint)
				}
			}
			challenge := c.send(c.build(MethodAllocate, c.id(), udp()))
			check("no credentials", 401, challenge)
			check("Binding", 0, c.send(c.build(MethodBinding, c.id())))
			var unknown []with
			for n := range 30 {
				unknown = append(unknown, raw(Attr(0x4000+n)))
			}
			check("Binding with unknown attributes", 420, c.send(c.build(MethodBinding, c.id(), unknown...)))
			c.learn(challenge)
			check("a wrong password", 401, func() answer {
				wrong := *c
				wrong.password = "wrong"
				return wrong.send(wrong.build(MethodAllocate, c.id(), udp()))
			}())
			check("half the credentials", 400, func() answer {
				var out Composer
				out.Begin(MethodAllocate, ClassRequest, c.id())
				out.AddString(AttrUsername, c.user)
				return c.send(out.Seal([]byte("key"), true, true, fingerprint))
			}())
			c.nonce = []byte("an old nonce")
			check("an old nonce", 438, c.send(c.build(MethodAllocate, c.id(), udp())))
			if fingerprint && largest != limit {
				t.Errorf("the largest is %d bytes: the documented figure is %d", largest, limit)
			}
		}
	}
}

// TestBudget: replies to who has proven nothing are drawn from the budget of that network, whatever they say; over it,
// requests are dropped and counted. Who has proven himself is answered.
func TestBudget(t *testing.T) {
	const burst = 10
	at := func(s string) Source { return Source{Client: netip.MustParseAddrPort(s)} }
	unproven := map[string]func(c *client) []byte{
		"no credentials": func(c *client) []byte { return (&client{rig: c.rig}).build(MethodAllocate, c.id(), udp()) },
		"Binding":        func(c *client) []byte { return (&client{rig: c.rig}).build(MethodBinding, c.id()) },
		"Binding with an unknown attribute": func(c *client) []byte {
			return (&client{rig: c.rig}).build(MethodBinding, c.id(), raw(0x7777))
		},
		"a wrong password": func(c *client) []byte {
			wrong := *c
			wrong.password = "wrong"
			return wrong.build(MethodAllocate, c.id(), udp())
		},
		"an old nonce": func(c *client) []byte {
			old := *c
			old.nonce = []byte("old")
			return old.build(MethodRefresh, c.id())
		},
		"half the credentials": func(c *client) []byte {
			var out Composer
			out.Begin(MethodAllocate, ClassRequest, c.id())
			return out.Seal([]byte("key"), true, false, false)
		},
	}
	for what, build := range unproven {
		r := newRig(t, func(s *setup) { s.rate, s.burst = 1, burst })
		c := r.alice(home) // has its nonce, and the burst less one
		c.ask(MethodRefresh)
		answered := 0
		for range 3 * burst {
			answered += len(r.handle(home, build(c)))
		}
		if answered != burst-1 {
			t.Errorf("%s: %d answers of a burst of %d", what, answered, burst-1)
		}
		if got := r.m.Stats().Drops[DropBudget]; got != 3*burst-uint64(answered) {
			t.Errorf("%s: %d counted as dropped", what, got)
		}
		neighbour := at("198.51.100.200:1") // in the same /24
		if n := len(r.handle(neighbour, message(0x0001))); n != 0 {
			t.Errorf("%s: the neighbour was answered", what)
		}
		if n := len(r.handle(at("198.51.101.7:1"), message(0x0001))); n != 1 {
			t.Errorf("%s: another network was not answered", what)
		}
		c.must(0, MethodAllocate, udp())
		for range 3 * burst {
			c.must(0, MethodCreatePermission, to(peer4))
			c.must(403, MethodCreatePermission, to(forbidden))
		}
		for _, other := range []Transport{TCP, TLS, DTLS} { // their handshake has proven the address
			source := Source{Client: home.Client, Listener: 1, Transport: other}
			if n := len(r.handle(source, message(0x0003))); n != 1 {
				t.Errorf("%s: a client of %v was not answered", what, other)
			}
		}
		r.advance(5 * time.Second)
		answered = 0
		for range burst {
			answered += len(r.handle(home, build(c)))
		}
		if what == "an old nonce" {
			// By now it is that of an allocation's client, whose request is good but for that.
			if answered != burst {
				t.Errorf("%s: %d answers to the client of an allocation", what, answered)
			}
			continue
		}
		if answered < 5 || answered > 6 { // one was given back by the allocation
			t.Errorf("%s: %d answers after 5 s at 1/s", what, answered)
		}
	}
}

// TestBudgetIsGivenBack: a client that allocates has proven that the reply it cost came to whom it was for: a NAT full
// of clients is not a victim.
func TestBudgetIsGivenBack(t *testing.T) {
	r := newRig(t, func(s *setup) { s.rate, s.burst = 1, 2 })
	for n := range uint16(100) {
		r.alice(Source{Client: netip.AddrPortFrom(home.Client.Addr(), n+1)}).allocate()
	}
	if got := r.m.Stats().Drops[DropBudget]; got != 0 {
		t.Errorf("%d dropped", got)
	}
	for len(r.handle(home, message(0x0001))) == 1 { // until it is used up
	}
	r.alice(stream).allocate() // which took nothing from it
	if len(r.handle(home, message(0x0001))) != 0 {
		t.Error("a stream's client gave back what it had not taken")
	}
}

// TestBudgetDoesNotEndCalls: however much others in its network ask for, the client of an allocation is told its next
// nonce; nobody else at its address is.
func TestBudgetDoesNotEndCalls(t *testing.T) {
	for _, kind := range []struct{ modern, hashed bool }{{false, false}, {true, false}, {true, true}} {
		r := newRig(t, func(s *setup) {
			s.rate, s.burst, s.nonceLifetime = 1, 5, 5*time.Minute
		})
		c := r.alice(home)
		c.modern, c.alg, c.hashed = kind.modern, auth.SHA256, kind.hashed
		c.allocate()
		r.advance(5 * time.Minute)
		for len(r.handle(home, message(0x0001))) == 1 { // until the budget is used up
		}
		wrong := *c
		wrong.password = "wrong"
		if a := wrong.send(wrong.build(MethodRefresh, c.id())); a.oracle != nil {
			t.Errorf("%+v: somebody else got %v", kind, a)
		}
		if a := c.send(c.build(MethodRefresh, c.id())); a.oracle == nil || a.code != 438 || len(a.raw) > 100 {
			t.Errorf("%+v: got %v", kind, a)
		} else {
			c.learn(a)
		}
		c.must(0, MethodRefresh)
	}
}

// TestBinding: RFC 8489 section 6.3.1, to anybody, also to an ICE agent that checks this address.
func TestBinding(t *testing.T) {
	r := newRig(t)
	for _, at := range []Source{home, stream, {Client: netip.MustParseAddrPort("[2001:db8:1::7]:1")}} {
		for _, fingerprint := range []bool{false, true} {
			c := &client{rig: r, source: at, fingerprint: fingerprint}
			for _, parts := range [][]with{
				nil,
				{raw(AttrUsername, []byte("a:b")...), raw(AttrPriority, 1, 2, 3, 4), raw(AttrUseCandidate), raw(AttrICEControlling, 1, 2, 3, 4, 5, 6, 7, 8)},
			} {
				a := c.send(c.build(MethodBinding, c.id(), parts...))
				mapped, ok := a.address(a.value(AttrXORMappedAddress))
				if a.oracle == nil || a.code != 0 || !ok || mapped != at.Client {
					t.Errorf("%v: %v, mapped %v", at, a, mapped)
				}
			}
		}
	}
	if r.m.Len() != 0 {
		t.Error("an allocation came of it")
	}
}
