package turn

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestAllocate: what the success response says (RFC 8656 section 7.2), by who asks how.
func TestAllocate(t *testing.T) {
	over6 := Source{Client: netip.MustParseAddrPort("[2001:db8:1::7]:40000")}
	for _, at := range []Source{
		home, over6, stream,
		{Client: home.Client, Listener: 2, Transport: TLS},
		{Client: home.Client, Listener: 3, Transport: DTLS},
	} {
		for _, family := range []byte{0, familyIPv4, familyIPv6} {
			r := newRig(t)
			c := r.alice(at)
			c.fingerprint = at != home
			parts := []with{raw(AttrDontFragment), raw(AttrSoftware, []byte("a client")...)}
			want := netip.AddrPortFrom(relay4, 50000)
			if family != 0 {
				parts = append(parts, requestedFamily(family))
			}
			if family == familyIPv6 {
				want = netip.AddrPortFrom(relay6, 50000)
			}
			a := c.allocate(parts...)
			if got := a.relayed(); len(got) != 1 || got[0] != want {
				t.Errorf("%v, family %d: relayed %v", at, family, got)
			}
			if mapped, ok := a.address(a.value(AttrXORMappedAddress)); !ok || mapped != at.Client {
				t.Errorf("%v: mapped %v", at, mapped)
			}
			if a.lifetime() != 600 || a.value(AttrReservationToken) != nil || a.value(AttrMobilityTicket) != nil ||
				a.value(AttrAddressErrorCode) != nil || a.value(AttrSoftware) != nil {
				t.Errorf("%v: the answer is %x", at, a.raw)
			}
		}
	}
}

// TestDualAllocation: ADDITIONAL-ADDRESS-FAMILY, and ADDRESS-ERROR-CODE for what could not be had (RFC 8656 sections
// 7.2 and 18.12).
func TestDualAllocation(t *testing.T) {
	tests := []struct {
		name string
		have [families]bool
		shut [families]bool
		want []netip.Addr
		why  []byte // ADDRESS-ERROR-CODE
	}{
		{name: "both", have: [families]bool{true, true}, want: []netip.Addr{relay4, relay6}},
		{name: "no IPv6 here", have: [families]bool{IPv4: true}, want: []netip.Addr{relay4}, why: []byte{2, 0, 4, 40}},
		{name: "no IPv4 here", have: [families]bool{IPv6: true}, want: []netip.Addr{relay6}, why: []byte{1, 0, 4, 40}},
		{name: "IPv6 full", have: [families]bool{true, true}, shut: [families]bool{IPv6: true}, want: []netip.Addr{relay4}, why: []byte{2, 0, 5, 8}},
		{name: "IPv4 full", have: [families]bool{true, true}, shut: [families]bool{IPv4: true}, want: []netip.Addr{relay6}, why: []byte{1, 0, 5, 8}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(s *setup) { s.Families = test.have })
			r.shut = test.shut
			a := r.alice(home).allocate(additionalFamily(2))
			var got []netip.Addr
			for _, relayed := range a.relayed() {
				got = append(got, relayed.Addr())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("relayed %v, want %v", got, test.want)
			}
			if why := a.value(AttrAddressErrorCode); !bytes.Equal(why, test.why) {
				t.Errorf("ADDRESS-ERROR-CODE is %x, want %x", why, test.why)
			}
		})
	}
}

// TestDualAllocationFamilies: each family has a lifetime of its own, and goes alone (RFC 8656 section 8.2).
func TestDualAllocationFamilies(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate(additionalFamily(2))
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4004))
	c.must(0, MethodChannelBind, to(peer6), channelNumber(0x4006))
	r.advance(time.Minute)
	c.must(0, MethodRefresh, requestedFamily(familyIPv6), lifetime(900))
	c.must(0, MethodChannelBind, to(peer6), channelNumber(0x4006))
	r.advance(9*time.Minute - 1)
	if s := r.session(home); !s.relayed[IPv4].IsValid() {
		t.Fatal("IPv4 went before its end")
	}
	r.advance(1)
	s := r.session(home)
	if s == nil || s.relayed[IPv4].IsValid() || !s.relayed[IPv6].IsValid() || len(s.channels) != 1 {
		t.Fatal("at the end of IPv4, not IPv4 alone went")
	}
	c.must(443, MethodCreatePermission, to(peer4))
	c.must(443, MethodRefresh, requestedFamily(familyIPv4))
	c.must(0, MethodRefresh, lifetime(900)) // all that is left
	r.advance(15*time.Minute - 1)
	if r.session(home) == nil {
		t.Fatal("IPv6 went before its end")
	}
	r.advance(1)
	if r.session(home) != nil || r.m.Len() != 0 {
		t.Fatal("IPv6 stayed")
	}

	c.allocate(additionalFamily(2))
	c.must(0, MethodCreatePermission, to(peer4), to(peer6))
	c.must(0, MethodRefresh, requestedFamily(familyIPv6), lifetime(0))
	if got := r.session(home).permitted(); len(got) != 1 || got[0] != peer4.Addr() {
		t.Errorf("permitted after IPv6 went: %v", got)
	}
	c.must(0, MethodRefresh, requestedFamily(familyIPv4), lifetime(0))
	c.must(437, MethodRefresh)
}

// TestEvenPort: RFC 8656 section 7.2, with and without a reservation.
func TestEvenPort(t *testing.T) {
	r := newRig(t)
	for bits, reserve := range map[byte]bool{0: false, 0x7F: false, 0x80: true, 0xFF: true} {
		var asked Action
		c := r.alice(Source{Client: netip.AddrPortFrom(home.Client.Addr(), uint16(bits)+1)})
		c.ask(MethodRefresh)
		for _, action := range r.m.Handle(r.now, c.source, c.build(MethodAllocate, c.id(), udp(), evenPort(bits))) {
			if action.Kind == Open {
				asked = action
			}
		}
		if want := (Ports{Families: [families]bool{IPv4: true}, Even: true, Reserve: reserve}); asked.Ports != want {
			t.Errorf("EVEN-PORT %#x asks for %+v", bits, asked.Ports)
		}
		r.open(asked)
		if held := len(r.held); held > 1 || (held == 1) != reserve {
			t.Errorf("EVEN-PORT %#x: %d ports are held", bits, held)
		}
		clear(r.held)
	}
}

// TestReservation: the port that was held comes to the user that it was held for, by another five-tuple, of any
// transport; once.
func TestReservation(t *testing.T) {
	r := newRig(t)
	first := r.alice(home)
	a := first.allocate(evenPort(0x80), requestedFamily(familyIPv6))
	token := a.value(AttrReservationToken)
	if len(token) != 8 || a.relayed()[0].Port()%2 != 0 {
		t.Fatalf("token %x for %v", token, a.relayed())
	}
	first.must(437, MethodAllocate, udp(), reservationToken(token)) // this five-tuple is in use
	r.client(Source{Client: other4}, "bob", "hunter2").must(508, MethodAllocate, udp(), reservationToken(token))
	second := r.alice(stream)
	b := second.allocate(reservationToken(token))
	if got, want := b.relayed(), netip.AddrPortFrom(relay6, a.relayed()[0].Port()+1); len(got) != 1 || got[0] != want {
		t.Errorf("the second one got %v, want %v", got, want)
	}
	if b.value(AttrReservationToken) != nil || b.value(AttrAddressErrorCode) != nil {
		t.Errorf("the second answer is %x", b.raw)
	}
	r.alice(Source{Client: peer4}).must(508, MethodAllocate, udp(), reservationToken(token))
	second.must(0, MethodCreatePermission, to(peer6))
	second.must(443, MethodCreatePermission, to(peer4))
	r.advance(599 * time.Second)
	second.must(0, MethodRefresh)
}

// TestChannelNumbers: 0x4000 to 0x4FFF (RFC 8656 section 12), or to 0x7FFF where old clients are served.
func TestChannelNumbers(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		for number, want := range map[uint16]int{
			0: 400, 1: 400, 0x3FFF: 400, 0x4000: 0, 0x4001: 0, 0x4FFF: 0, 0x5000: 400, 0x7FFF: 400, 0x8000: 400, 0xFFFF: 400,
		} {
			if legacy && number >= 0x5000 && number <= 0x7FFF {
				want = 0
			}
			r := newRig(t, func(s *setup) { s.LegacyChannels = legacy })
			c := r.alice(home)
			c.allocate()
			c.must(want, MethodChannelBind, to(peer4), channelNumber(number))
			if got, _ := r.session(home).relays(peer4); want == 0 && got != number || want != 0 && got != 0 {
				t.Errorf("channel %#x, legacy %v: bound %#x", number, legacy, got)
			}
			c.must(want, MethodChannelBind, to(peer4), raw(AttrChannelNumber, byte(number>>8), byte(number), 0xFF, 0xFF)) // RFFU is ignored
		}
	}
}

// TestExternalAddress: behind a one-to-one NAT clients see the address in front of it, and mean the bound one by it.
func TestExternalAddress(t *testing.T) {
	outside := netip.MustParseAddr("198.51.100.99")
	r := newRig(t, func(s *setup) { s.Advertise[IPv4] = Alias{Bound: relay4, External: outside} })
	c := r.alice(home)
	a := c.allocate(additionalFamily(2))
	want := []netip.AddrPort{netip.AddrPortFrom(outside, 50000), netip.AddrPortFrom(relay6, 50002)}
	if got := a.relayed(); !slices.Equal(got, want) {
		t.Errorf("relayed %v, want %v", got, want)
	}
	c.must(0, MethodChannelBind, to(netip.AddrPortFrom(outside, 50004)), channelNumber(0x4000))
	if n, ok := r.session(home).relays(netip.AddrPortFrom(relay4, 50004)); n != 0x4000 || !ok {
		t.Errorf("the bound address has channel %#x, permitted %v", n, ok)
	}
	c.must(400, MethodChannelBind, to(netip.AddrPortFrom(relay4, 50004)), channelNumber(0x4001)) // the same peer
	r.replies = nil
	r.do(r.m.Unreachable(r.session(home).id, netip.AddrPortFrom(relay4, 50004), 3, 3, 0))
	told, err := readOracle(r.replies[0].b)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := told.get(AttrXORPeerAddress)
	if peer, _ := told.address(v.value); peer != netip.AddrPortFrom(outside, 50004) {
		t.Errorf("the client is told of %v", peer)
	}
	r.m.Each(func(i Info) {
		if !slices.Equal(i.Relayed[:], want) || i.User != "alice" || i.Channels != 1 || !i.Ends.Equal(began.Add(10*time.Minute)) {
			t.Errorf("listed as %+v", i)
		}
	})
}

// TestKill: an allocation can be ended from outside; its client finds 437.
func TestKill(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	id := r.session(home).id
	if r.m.Account(id) == nil || r.m.Account(id).User() != "alice" {
		t.Error("it has no account")
	}
	actions, ok := r.m.Kill(id)
	r.do(actions)
	if !ok || r.session(home) != nil || r.m.Len() != 0 || r.m.Account(id) != nil {
		t.Error("it lives")
	}
	if _, ok := r.m.Kill(id); ok {
		t.Error("it was killed twice")
	}
	c.must(437, MethodRefresh)
	if _, ok := r.m.Next(); ok {
		t.Error("a timer is left")
	}
}
