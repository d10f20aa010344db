package turn

import (
	"bytes"
	"net/netip"
	"testing"

	"causeway/relay/auth"
)

// One test for each error code, by the clause that defines it. docs/ quotes their names.

// TestError300TryAlternate: RFC 8489 section 10, RFC 8656 section 7.2. Only for a client that has proven itself, and
// sealed, and with a server of the client's own family.
func TestError300TryAlternate(t *testing.T) {
	alternate4, alternate6 := netip.MustParseAddrPort("192.0.2.9:3478"), netip.MustParseAddrPort("[2001:db8::9]:3478")
	full := false
	make := func(alternates ...netip.AddrPort) *rig {
		return newRig(t, func(s *setup) {
			s.Alternates = alternates
			s.Draining = func() bool { return full }
			s.quota = auth.QuotaOptions{Allocations: 1}
		})
	}
	r := make(alternate6, alternate4)
	check := func(a answer, want netip.AddrPort) {
		t.Helper()
		got, err := parseAddr(a.value(AttrAlternateServer))
		if err != nil || got != want {
			t.Errorf("ALTERNATE-SERVER is %v (%v), want %v", got, err, want)
		}
	}
	first := r.alice(home)
	first.allocate()
	second := r.alice(Source{Client: netip.MustParseAddrPort("198.51.100.8:1")})
	check(second.must(300, MethodAllocate, udp()), alternate4)
	if a := r.alice(Source{Client: netip.MustParseAddrPort("198.51.100.9:1")}).send((&client{rig: r}).build(MethodAllocate, TransactionID{1})); a.code != 401 {
		t.Errorf("an unproven client got %v", a)
	}
	over6 := r.alice(Source{Client: netip.MustParseAddrPort("[2001:db8:1::1]:1")})
	check(over6.must(300, MethodAllocate, udp()), alternate6)

	r = make(alternate6)
	full = true
	r.alice(home).must(508, MethodAllocate, udp()) // there is none of its family
	full = false
	c := r.alice(home)
	c.allocate()
	full = true
	c.must(0, MethodRefresh) // who is here stays
}

// TestError400BadRequest: RFC 8489 sections 6.3 and 9.2.4, and the checks of RFC 8656 and RFC 6062.
func TestError400BadRequest(t *testing.T) {
	other := channelNumber(0x4001)
	tests := []struct {
		name   string
		at     Source
		method Method
		tcp    bool // the client has a TCP allocation
		none   bool // the client has no allocation
		parts  []with
	}{
		{name: "allocate without transport", method: MethodAllocate, none: true},
		{name: "allocate with a long transport", method: MethodAllocate, none: true, parts: []with{raw(AttrRequestedTransport, 17, 0, 0, 0, 0)}},
		{name: "allocate with a short lifetime", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrLifetime, 1)}},
		{name: "allocate with a value in DONT-FRAGMENT", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrDontFragment, 1)}},
		{name: "allocate with a long EVEN-PORT", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrEvenPort, 0, 0)}},
		{name: "allocate with a short token", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrReservationToken, 1)}},
		{name: "token and even port", method: MethodAllocate, none: true, parts: []with{udp(), reservationToken(make([]byte, 8)), evenPort(0)}},
		{name: "token and family", method: MethodAllocate, none: true, parts: []with{udp(), reservationToken(make([]byte, 8)), requestedFamily(1)}},
		{name: "token and additional family", method: MethodAllocate, none: true, parts: []with{udp(), reservationToken(make([]byte, 8)), additionalFamily(2)}},
		{name: "both family attributes", method: MethodAllocate, none: true, parts: []with{udp(), requestedFamily(1), additionalFamily(2)}},
		{name: "additional IPv4", method: MethodAllocate, none: true, parts: []with{udp(), additionalFamily(1)}},
		{name: "additional unknown family", method: MethodAllocate, none: true, parts: []with{udp(), additionalFamily(3)}},
		{name: "pair and additional family", method: MethodAllocate, none: true, parts: []with{udp(), evenPort(0x80), additionalFamily(2)}},
		{name: "short family", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrRequestedAddressFamily, 1)}},
		{name: "short additional family", method: MethodAllocate, none: true, parts: []with{udp(), raw(AttrAdditionalAddressFamily, 2)}},
		{name: "allocate with a ticket", method: MethodAllocate, none: true, parts: []with{udp(), ticket([]byte("a ticket that is not mine at all"))}},
		{name: "TCP over UDP", method: MethodAllocate, none: true, parts: []with{tcp()}},
		{name: "TCP with DONT-FRAGMENT", at: stream, method: MethodAllocate, none: true, parts: []with{tcp(), raw(AttrDontFragment)}},
		{name: "TCP with EVEN-PORT", at: stream, method: MethodAllocate, none: true, parts: []with{tcp(), evenPort(0)}},
		{name: "TCP with a token", at: stream, method: MethodAllocate, none: true, parts: []with{tcp(), reservationToken(make([]byte, 8))}},
		{name: "refresh with a short lifetime", method: MethodRefresh, parts: []with{raw(AttrLifetime, 0, 0)}},
		{name: "refresh with a short family", method: MethodRefresh, parts: []with{raw(AttrRequestedAddressFamily)}},
		{name: "permission for nobody", method: MethodCreatePermission},
		{name: "permission for a malformed address", method: MethodCreatePermission, parts: []with{to(peer4), raw(AttrXORPeerAddress, 0, 1, 0, 0)}},
		{name: "permission for an unknown family", method: MethodCreatePermission, parts: []with{raw(AttrXORPeerAddress, 0, 3, 0, 0, 0, 0, 0, 0)}},
		{name: "channel without number", method: MethodChannelBind, parts: []with{to(peer4)}},
		{name: "channel without peer", method: MethodChannelBind, parts: []with{other}},
		{name: "short channel number", method: MethodChannelBind, parts: []with{to(peer4), raw(AttrChannelNumber, 0x40, 1)}},
		{name: "channel of a TCP allocation", at: stream, tcp: true, method: MethodChannelBind, parts: []with{to(peer4), other}},
		{name: "channel bound to another peer", method: MethodChannelBind, parts: []with{to(other4), channelNumber(0x4000)}},
		{name: "channel bound to a peer of another family", method: MethodChannelBind, parts: []with{to(peer6), channelNumber(0x4000)}},
		{name: "peer bound to another channel", method: MethodChannelBind, parts: []with{to(peer4), other}},
		{name: "connect of a UDP allocation", method: MethodConnect, parts: []with{to(peer4)}},
		{name: "connect to nobody", at: stream, tcp: true, method: MethodConnect},
		{name: "connection bind over UDP", method: MethodConnectionBind, none: true, parts: []with{connectionID(1)}},
		{name: "connection bind without number", at: stream, method: MethodConnectionBind, none: true},
		{name: "connection bind with a long number", at: stream, method: MethodConnectionBind, none: true, parts: []with{raw(AttrConnectionID, 0, 0, 0, 1, 1)}},
		{name: "connection bind by the control connection", at: stream, tcp: true, method: MethodConnectionBind, parts: []with{connectionID(1)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			at := home
			if test.at != (Source{}) {
				at = test.at
			}
			c := r.alice(at)
			switch {
			case test.tcp:
				c.must(0, MethodAllocate, tcp())
			case !test.none:
				c.allocate()
				c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
			}
			c.must(400, test.method, test.parts...)
			if s := r.session(at); s != nil && len(s.channels) > 1 {
				t.Error("a channel was bound all the same")
			}
		})
	}
	t.Run("connection that does not wait", func(t *testing.T) {
		r := newRig(t)
		r.attach = func(Action) bool { return false }
		r.alice(stream).must(400, MethodConnectionBind, connectionID(1))
	})
}

// TestError400Credentials: RFC 8489 section 9.2.4, what is missing beside an integrity attribute. There is no key, so
// the answer has no integrity; and no hint either.
func TestError400Credentials(t *testing.T) {
	for _, missing := range []string{"user name", "realm", "nonce"} {
		t.Run(missing, func(t *testing.T) {
			r := newRig(t)
			c := r.alice(home)
			c.allocate()
			var out Composer
			out.Begin(MethodRefresh, ClassRequest, c.id())
			if missing != "user name" {
				out.AddString(AttrUsername, c.user)
			}
			if missing != "realm" {
				out.AddString(AttrRealm, c.realm)
			}
			if missing != "nonce" {
				out.Add(AttrNonce, c.nonce)
			}
			a := c.send(bytes.Clone(out.Seal(c.key(), true, false, false)))
			if a.oracle == nil || a.code != 400 || len(a.attrs) != 1 {
				t.Errorf("got %v with %d attributes, want ERROR-CODE 400 alone", a, len(a.attrs))
			}
		})
	}
}

// TestError401Unauthenticated: RFC 8489 section 9.2.4.
func TestError401Unauthenticated(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	good := c.build(MethodRefresh, c.id())

	tests := []struct {
		name   string
		change func(*client)
	}{
		{"no credentials", func(c *client) { c.nonce = nil }},
		{"unknown user", func(c *client) { c.user = "mallory" }},
		{"empty user", func(c *client) { c.user = "" }},
		{"wrong password", func(c *client) { c.password = "Secret" }},
		{"another user's password", func(c *client) { c.password = "hunter2" }},
		{"another realm", func(c *client) { c.realm = "example.com" }},
		{"unknown user's hash", func(c *client) { c.hashed, c.user = true, "mallory" }},
		{"SHA-256 key with a wrong password", func(c *client) { c.modern, c.alg, c.password = true, auth.SHA256, "Secret" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := *c
			test.change(&changed)
			before := r.m.Stats()
			a := changed.send(changed.build(MethodRefresh, c.id(), lifetime(0)))
			if a.oracle == nil || a.code != 401 {
				t.Fatalf("got %v", a)
			}
			if string(a.value(AttrRealm)) != "example.org" || len(a.value(AttrNonce)) != auth.NonceSize {
				t.Error("the challenge lacks realm or nonce")
			}
			if !bytes.Equal(a.value(AttrPasswordAlgorithms), []byte{0, 2, 0, 0, 0, 1, 0, 0}) {
				t.Errorf("PASSWORD-ALGORITHMS is %x", a.value(AttrPasswordAlgorithms))
			}
			for _, v := range a.attrs {
				if v.typ == AttrMessageIntegrity || v.typ == AttrUsername || v.typ == AttrUserhash {
					t.Errorf("the challenge has attribute %#x", uint16(v.typ))
				}
			}
			if r.session(home) == nil {
				t.Fatal("the allocation is gone")
			}
			after := r.m.Stats()
			if after.Errors[2] != before.Errors[2]+1 || after.Successes != before.Successes {
				t.Error("it was not counted as 401")
			}
		})
	}
	for _, pretend := range []struct{ user, realm string }{{"bob", "example.org"}, {"alice", "example.com"}, {"", ""}} {
		var out Composer
		out.Begin(MethodRefresh, ClassRequest, c.id())
		out.AddString(AttrUsername, pretend.user)
		out.AddString(AttrRealm, pretend.realm)
		out.Add(AttrNonce, c.nonce)
		if a := c.send(bytes.Clone(out.Seal(c.key(), true, false, false))); a.code != 401 {
			t.Errorf("the owner's key under name %q and realm %q got %v", pretend.user, pretend.realm, a)
		}
	}
	if a := c.send(good); a.code != 0 {
		t.Errorf("the owner got %v after that", a)
	}
}

// TestError403Forbidden: RFC 8656 sections 10.2 and 12.2, RFC 6062 section 5.2.
func TestError403Forbidden(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate(additionalFamily(2))
	for _, denied := range []string{
		"10.0.0.1:1000", "127.0.0.1:1000", "0.0.0.0:1000", "169.254.169.254:80", "224.0.0.1:1000", "255.255.255.255:1",
		"[::1]:1000", "[::]:1000", "[fe80::1]:1000", "[fd00::1]:1000", "[ff02::1]:1000", "[2002:a00:1::1]:1000",
	} {
		peer := netip.MustParseAddrPort(denied)
		c.must(403, MethodCreatePermission, to(peer))
		c.must(403, MethodChannelBind, to(peer), channelNumber(0x4000))
		c.must(403, MethodCreatePermission, to(peer4), to(peer)) // all or nothing
	}
	own := netip.AddrPortFrom(relay4, 50002)
	c.must(0, MethodChannelBind, to(own), channelNumber(0x4001))
	c.must(403, MethodChannelBind, to(netip.AddrPortFrom(relay4, 22)), channelNumber(0x4002))
	c.must(403, MethodChannelBind, to(netip.AddrPortFrom(peer4.Addr(), 0)), channelNumber(0x4002))
	if got := r.session(home).permitted(); len(got) != 1 || got[0] != relay4 {
		t.Errorf("permissions: %v", got)
	}
	s := r.alice(stream)
	s.must(0, MethodAllocate, tcp())
	s.must(403, MethodConnect, to(forbidden))
	if len(r.dials) != 0 {
		t.Error("it was dialled all the same")
	}
}

// TestError403ByFederation: what a permission or a channel could do depends on the transport of the allocation; the
// relay's own clients can always be reached.
func TestError403ByFederation(t *testing.T) {
	for _, test := range []struct {
		federation       auth.Federation
		udp, tcp, accept int // CreatePermission, and Connect
	}{{auth.Closed, 403, 403, 403}, {auth.R2, 403, 0, 0}, {auth.Legacy, 0, 0, 0}} {
		r := newRig(t, func(s *setup) { s.federation = test.federation })
		c := r.alice(home)
		c.allocate()
		c.must(test.udp, MethodCreatePermission, to(peer4))
		c.must(test.udp, MethodChannelBind, to(peer4), channelNumber(0x4000))
		c.must(0, MethodChannelBind, to(netip.AddrPortFrom(relay4, 50002)), channelNumber(0x4001))
		s := r.alice(stream)
		s.must(0, MethodAllocate, tcp())
		s.must(test.tcp, MethodCreatePermission, to(peer4))
		if a := s.ask(MethodConnect, to(peer4)); a.code != test.accept || (len(r.dials) == 1) != (test.accept == 0) {
			t.Errorf("federation %v: Connect got %v", test.federation, a)
		}
		if got := r.m.MayAccept(r.session(stream).id, peer4); got != (test.federation == auth.Legacy) {
			t.Errorf("federation %v: a peer may connect: %v", test.federation, got)
		}
	}
}

// TestError405MobilityForbidden: RFC 8016 section 3.
func TestError405MobilityForbidden(t *testing.T) {
	r := newRig(t, func(s *setup) { s.Mobility = false })
	c := r.alice(home)
	c.must(405, MethodAllocate, udp(), ticket(nil))
	c.allocate()
	c.must(405, MethodRefresh, ticket([]byte("somebody's ticket")))
	r.alice(Source{Client: other4}).must(405, MethodRefresh, ticket([]byte("somebody's ticket")))
}

// TestError420UnknownAttribute: RFC 8489 section 6.3.1, with UNKNOWN-ATTRIBUTES.
func TestError420UnknownAttribute(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	a := c.must(420, MethodAllocate, udp(), raw(0x7777, 1), raw(0x7776), raw(0x7777), raw(0xFFFF, 1))
	if got := a.value(AttrUnknownAttributes); !bytes.Equal(got, []byte{0x77, 0x77, 0x77, 0x76}) {
		t.Errorf("UNKNOWN-ATTRIBUTES is %x", got)
	}
	c.allocate(raw(0xFFFF, 1)) // nobody has to know that one
	for _, method := range []Method{MethodRefresh, MethodCreatePermission, MethodChannelBind} {
		c.must(420, method, to(peer4), channelNumber(0x4000), raw(AttrUseCandidate))
	}
	if s := r.session(home); len(s.permissions) != 0 {
		t.Error("a request with an unknown attribute was carried out")
	}
	b := (&client{rig: r, source: Source{Client: other4}})
	if a := b.send(b.build(MethodBinding, TransactionID{9}, raw(0x7777))); a.code != 420 {
		t.Errorf("a Binding request got %v", a)
	}
}
