package attack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"causeway/relay/turn"
)

// TestAnothersAllocation: bob, who has a password of his own, can do nothing to what is alice's, though he sits behind
// the same NAT and sends from her very address (RFC 8656 sections 5 and 19).
func TestAnothersAllocation(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		c := r.udpClient(t, elsewhere).meet()
		p := netip.AddrPortFrom(friend, 9)
		c.allocate()
		c.must(turn.MethodChannelBind, channel(0x4000), peer(p))

		for _, x := range []struct {
			name   string
			method turn.Method
			attrs  []attr
			code   int
		}{
			{"Refresh", turn.MethodRefresh, []attr{lifetime(3600)}, 441},
			{"Refresh that deletes", turn.MethodRefresh, []attr{lifetime(0)}, 441},
			{"CreatePermission", turn.MethodCreatePermission, []attr{peer(netip.MustParseAddrPort("127.8.0.66:1"))}, 441},
			{"ChannelBind", turn.MethodChannelBind, []attr{channel(0x4001), peer(p)}, 441},
			{"Connect", turn.MethodConnect, []attr{peer(p)}, 441},
			{"ConnectionBind", turn.MethodConnectionBind, []attr{number(turn.AttrConnectionID, 1)}, 441},
			{"Allocate", turn.MethodAllocate, []attr{relayUDP}, 437},
		} {
			t.Run(x.name, func(t *testing.T) {
				c.t = t
				r.counting(t, counts{answered(x.code): 1}, func() {
					if a := c.as(bob).ask(x.method, x.attrs...); a.code != x.code {
						t.Errorf("answered with %d, want %d", a.code, x.code)
					}
				})
			})
		}
		a := r.allocation(t, c.local())
		if a.Channels != 1 || !slices.Equal(a.Permissions, []string{friend.String()}) {
			t.Errorf("alice has %d channels and permissions for %v", a.Channels, a.Permissions)
		}

		t.Run("mobility ticket", func(t *testing.T) { r.stolenTicket(t) })
		t.Run("reservation token", func(t *testing.T) { r.stolenToken(t) })
		t.Run("connection", func(t *testing.T) { r.stolenConnection(t) })
	})
}

// stolenTicket: alice's ticket is no good to bob, and an old one not even to her (RFC 8016 section 3.2).
func (r *relay) stolenTicket(t *testing.T) {
	c := r.udpClient(t, elsewhere).meet()
	a := c.must(turn.MethodAllocate, relayUDP, raw(turn.AttrMobilityTicket))
	ticket, ok := a.msg.Get(turn.AttrMobilityTicket)
	if !ok {
		t.Fatal("no ticket")
	}
	// The relay has two workers. A ticket is looked up by the one that its allocation belongs to.
	for range 8 {
		thief := r.udpClient(t, elsewhere).meet().as(bob)
		if a := thief.ask(turn.MethodRefresh, raw(turn.AttrMobilityTicket, ticket...)); a.code != 441 {
			t.Errorf("bob with alice's ticket: %d, want 441", a.code)
		}
		forged := slices.Clone(ticket)
		forged[len(forged)-1] ^= 1
		if a := thief.as(alice).ask(turn.MethodRefresh, raw(turn.AttrMobilityTicket, forged...)); a.code != 400 {
			t.Errorf("alice with a ticket that nobody made: %d, want 400", a.code)
		}
	}
	moved := r.udpClient(t, elsewhere).meet()
	moved.must(turn.MethodRefresh, raw(turn.AttrMobilityTicket, ticket...))
	again := r.udpClient(t, elsewhere).meet()
	if a := again.ask(turn.MethodRefresh, raw(turn.AttrMobilityTicket, ticket...)); a.code != 400 {
		t.Errorf("a ticket that was used: %d, want 400", a.code)
	}
}

// stolenToken: a reserved port is for the user that reserved it.
func (r *relay) stolenToken(t *testing.T) {
	c := r.udpClient(t, elsewhere).meet()
	a := c.must(turn.MethodAllocate, relayUDP, raw(turn.AttrEvenPort, 0x80))
	token, ok := a.msg.Get(turn.AttrReservationToken)
	if !ok {
		t.Fatal("no token")
	}
	even, err := a.msg.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		t.Fatal(err)
	}
	thief := r.udpClient(t, elsewhere).meet().as(bob)
	if a := thief.ask(turn.MethodAllocate, relayUDP, raw(turn.AttrReservationToken, token...)); a.code != 508 {
		t.Errorf("bob with alice's token: %d, want 508", a.code)
	}
	owner := r.udpClient(t, elsewhere).meet()
	if odd := owner.allocate(raw(turn.AttrReservationToken, token...)); odd.Port() != even.Port()+1 {
		t.Errorf("alice's pair is %v and %v", even, odd)
	}
}

// stolenConnection: a peer's connection is for the user whose allocation it belongs to (RFC 6062 section 5.4), and
// nobody guesses its number.
func (r *relay) stolenConnection(t *testing.T) {
	c := r.tcpClient(t, elsewhere).meet()
	c.must(turn.MethodAllocate, relayTCP)
	p, accepted := listenTCP(t, netip.AddrPortFrom(friend, 0))
	a := c.must(turn.MethodConnect, peer(p))
	id, err := a.msg.Uint32(turn.AttrConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(c *client, id uint32) int {
		return c.ask(turn.MethodConnectionBind, number(turn.AttrConnectionID, id)).code
	}
	thief := r.tcpClient(t, elsewhere).meet().as(bob)
	if code := bind(thief, id); code != 400 {
		t.Errorf("bob binds alice's connection: %d, want 400", code)
	}
	owner := r.tcpClient(t, elsewhere).meet()
	for i := range uint32(64) {
		if code := bind(owner, id+1+i); code != 400 {
			t.Errorf("a number that was guessed: %d, want 400", code)
		}
	}
	if code := bind(owner, id); code != 0 {
		t.Fatalf("alice binds her connection: %d", code)
	}
	there := <-accepted
	owner.send([]byte("mine"))
	got := make([]byte, 4)
	_ = there.SetReadDeadline(time.Now().Add(patience))
	if _, err := there.Read(got); err != nil || string(got) != "mine" {
		t.Errorf("the peer got %q, %v", got, err)
	}
}

// TestAttributesBehindIntegrity: what somebody on the path appends to a request is not there (RFC 8489 section 14.5).
func TestAttributesBehindIntegrity(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	appended := func(c *client, b []byte, attrs ...attr) []byte {
		id := turn.TransactionID(b[8:20])
		for _, a := range attrs {
			c.out.Begin(turn.MethodBinding, turn.ClassRequest, id)
			a(&c.out, id)
			one := c.out.Seal(nil, false, false, false)
			b = append(slices.Clone(b), one[20:]...)
		}
		return measured(b)
	}
	friends, strangers := netip.AddrPortFrom(friend, 1), netip.MustParseAddrPort("127.8.0.66:1")
	r.whileServing(t, func(t *testing.T) {
		for _, modern := range []bool{false, true} {
			t.Run(map[bool]string{false: "SHA-1", true: "SHA-256"}[modern], func(t *testing.T) {
				c := r.udpClient(t, elsewhere).meet()
				c.modern = modern
				// ask makes a request with something appended, which has to be answered as if it were not.
				ask := func(m turn.Method, extra []attr, attrs ...attr) answer {
					return c.exchange(appended(c, c.request(m, attrs...), extra...))
				}
				a := ask(turn.MethodAllocate, []attr{lifetime(3600), raw(turn.AttrEvenPort, 0x80), onlyIPv6}, relayUDP)
				if seconds, _ := a.msg.Uint32(turn.AttrLifetime); a.code != 0 || seconds != 120 {
					t.Fatalf("Allocate: %d, lifetime %d, want 120", a.code, seconds)
				}
				if token, reserved := a.msg.Get(turn.AttrReservationToken); reserved {
					t.Errorf("EVEN-PORT was honoured: %x", token)
				}
				if at, _ := a.msg.Addr(turn.AttrXORRelayedAddress); !at.Addr().Is4() {
					t.Errorf("REQUESTED-ADDRESS-FAMILY was honoured: %v", at)
				}
				if a := ask(turn.MethodRefresh, []attr{lifetime(0)}, lifetime(600)); a.code != 0 {
					t.Errorf("Refresh: %d", a.code)
				}
				if a := ask(turn.MethodRefresh, []attr{lifetime(0)}); a.code != 0 {
					t.Errorf("Refresh that had no lifetime: %d", a.code)
				}
				if a := ask(turn.MethodCreatePermission, []attr{peer(strangers)}, peer(friends)); a.code != 0 {
					t.Errorf("CreatePermission: %d", a.code)
				}
				if a := ask(turn.MethodCreatePermission, []attr{peer(strangers)}); a.code != 400 {
					t.Errorf("CreatePermission that had no peer: %d, want 400", a.code)
				}
				if a := ask(turn.MethodChannelBind, []attr{peer(strangers), channel(0x4001)}, channel(0x4000), peer(friends)); a.code != 0 {
					t.Errorf("ChannelBind: %d", a.code)
				}
				if a := ask(turn.MethodChannelBind, []attr{peer(strangers)}, channel(0x4001)); a.code != 400 {
					t.Errorf("ChannelBind that had no peer: %d, want 400", a.code)
				}
				unknown := raw(0x7F00, 1, 2, 3, 4)
				if a := ask(turn.MethodRefresh, []attr{unknown}); a.code != 0 {
					t.Errorf("Refresh, and something that has to be understood: %d", a.code)
				}
				if a := c.ask(turn.MethodRefresh, unknown); a.code != 420 {
					t.Errorf("Refresh with something that has to be understood: %d, want 420", a.code)
				}
				got := r.allocation(t, c.local())
				if !slices.Equal(got.Permissions, []string{friends.Addr().String()}) || got.Channels != 1 {
					t.Errorf("permissions for %v and %d channels, want one of each", got.Permissions, got.Channels)
				}
			})
		}
	})
}

// TestSecondAttributes: of an attribute that is there twice the first counts (RFC 8489 section 14), so that nothing in
// front of the relay and the relay can read one message differently.
func TestSecondAttributes(t *testing.T) {
	t.Parallel()
	r := start(t, settings{})
	friends, strangers := netip.AddrPortFrom(friend, 1), netip.MustParseAddrPort("127.8.0.66:1")
	r.whileServing(t, func(t *testing.T) {
		c := r.udpClient(t, elsewhere).meet()
		a := c.must(turn.MethodAllocate, relayUDP, lifetime(600), relayTCP, lifetime(3600))
		if seconds, _ := a.msg.Uint32(turn.AttrLifetime); seconds != 600 {
			t.Errorf("lifetime %d, want 600", seconds)
		}
		c.must(turn.MethodRefresh, lifetime(600), lifetime(0))
		c.must(turn.MethodChannelBind, channel(0x4000), peer(friends), channel(0x4001), peer(strangers))
		got := r.allocation(t, c.local())
		if !slices.Equal(got.Permissions, []string{friends.Addr().String()}) || got.Channels != 1 {
			t.Errorf("permissions for %v and %d channels, want one of each", got.Permissions, got.Channels)
		}
		// A Send indication to two peers goes to the first, for which there is a permission, or nowhere.
		r.counting(t, counts{dropped(r.udp(), "no_permission"): 1}, func() {
			c.send(c.indication(peer(strangers), peer(friends), data([]byte("x"))))
			c.barrier()
		})
	})
}
