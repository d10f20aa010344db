package turn

import (
	"net/netip"
	"testing"
	"time"

	"causeway/relay/auth"
)

// TestLifetimesAreClamped: RFC 8656 sections 7.2 and 8.2: never less than the default, never more than the maximum.
func TestLifetimesAreClamped(t *testing.T) {
	tests := []struct {
		asked []with
		want  int
	}{
		{nil, 600},
		{[]with{lifetime(1)}, 600},
		{[]with{lifetime(599)}, 600},
		{[]with{lifetime(600)}, 600},
		{[]with{lifetime(601)}, 601},
		{[]with{lifetime(3599)}, 3599},
		{[]with{lifetime(3600)}, 3600},
		{[]with{lifetime(3601)}, 3600},
		{[]with{lifetime(0xFFFFFFFF)}, 3600},
	}
	for _, test := range tests {
		r := newRig(t)
		c := r.alice(home)
		if got := c.allocate(test.asked...).lifetime(); got != test.want {
			t.Errorf("Allocate: %d, want %d", got, test.want)
		}
		if got := c.must(0, MethodRefresh, test.asked...).lifetime(); got != test.want {
			t.Errorf("Refresh: %d, want %d", got, test.want)
		}
		r.advance(time.Duration(test.want)*time.Second - 1)
		if r.session(home) == nil {
			t.Errorf("lifetime %d: gone a nanosecond before its end", test.want)
		}
		r.advance(1)
		if r.session(home) != nil {
			t.Errorf("lifetime %d: alive at its end", test.want)
		}
	}
	// Zero is no lifetime for an allocation to begin with.
	if got := newRig(t).alice(home).allocate(lifetime(0)).lifetime(); got != 600 {
		t.Errorf("Allocate with lifetime 0: %d", got)
	}
}

// TestExpiryOfAllocation: at the end everything is closed, and the next request gets 437. One refreshed in time lives
// on; for hours, if need be.
func TestExpiryOfAllocation(t *testing.T) {
	r := newRig(t, func(s *setup) { s.quota = auth.QuotaOptions{AllocationsPerUser: 1} })
	c := r.alice(home)
	c.allocate()
	for range 12 {
		r.advance(10*time.Minute - tick)
		c.must(0, MethodRefresh)
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	}
	r.advance(10*time.Minute - tick)
	c.must(0, MethodCreatePermission, to(peer4)) // which does not prolong it
	r.advance(tick - 1)
	if r.session(home) == nil {
		t.Fatal("gone a nanosecond before its end")
	}
	r.advance(1)
	if r.session(home) != nil || r.m.Len() != 0 {
		t.Fatal("alive at its end")
	}
	c.must(437, MethodRefresh)
	if at, ok := r.m.Next(); ok {
		t.Errorf("a timer is left, at %v", at)
	}
	if got := r.m.Stats().Expired; got != 1 {
		t.Errorf("%d counted as expired", got)
	}
	c.allocate() // the quota was given back
}

// TestExpirySeenByRequests: timers are coarse, but a request at the nanosecond of the end finds nothing, whenever the
// allocation was made.
func TestExpirySeenByRequests(t *testing.T) {
	for _, offset := range []time.Duration{0, 1, tick / 2, tick - 1, 123456789} {
		r := newRig(t)
		r.advance(offset)
		c := r.alice(home)
		c.allocate()
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		r.now = r.now.Add(10*time.Minute - 1)
		c.must(0, MethodCreatePermission, to(other4))
		r.now = r.now.Add(1)
		if got := c.ask(MethodCreatePermission, to(other4)); got.code != 437 {
			t.Errorf("offset %v: %v at the end, before any timer", offset, got)
		}
		if r.session(home) != nil {
			t.Errorf("offset %v: not closed", offset)
		}
		c.allocate() // at once, on the same five-tuple
		r.advance(time.Hour)
		if r.m.Len() != 0 {
			t.Errorf("offset %v: %d allocations are left", offset, r.m.Len())
		}
	}
}

// TestExpiryOfPermission: 300 seconds (RFC 8656 section 9), begun anew by CreatePermission and by ChannelBind, by
// nothing else.
func TestExpiryOfPermission(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate(lifetime(3600))
	permitted := func(want bool, when string) {
		t.Helper()
		if got := r.session(home).permissions[peer4.Addr()]; got != want {
			t.Errorf("%s: permitted %v", when, got)
		}
	}
	c.must(0, MethodCreatePermission, to(peer4), to(other4))
	r.advance(300*time.Second - tick)
	c.must(0, MethodCreatePermission, to(netip.AddrPortFrom(peer4.Addr(), 1))) // the port does not matter
	r.advance(tick - 1)
	if !r.session(home).permissions[other4.Addr()] {
		t.Error("the other one went a nanosecond before its end")
	}
	r.advance(1)
	permitted(true, "after a refresh")
	if r.session(home).permissions[other4.Addr()] {
		t.Error("the other one was refreshed with it")
	}
	r.advance(300*time.Second - 2*tick)
	c.must(0, MethodRefresh, lifetime(3600))
	r.advance(tick - 1)
	permitted(true, "a nanosecond before its end")
	r.advance(1)
	permitted(false, "at its end")

	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	r.advance(300*time.Second - tick)
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	r.advance(300*time.Second - 1)
	permitted(true, "refreshed by ChannelBind")
	r.advance(1)
	permitted(false, "at its end")
}

// TestExpiryOfChannel: 600 seconds (RFC 8656 section 12). The permission goes before it, and comes back without it.
func TestExpiryOfChannel(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate(lifetime(3600))
	relays := func(channel uint16, permitted bool, when string) {
		t.Helper()
		if gotChannel, gotPermitted := r.session(home).relays(peer4); gotChannel != channel || gotPermitted != permitted {
			t.Errorf("%s: channel %#x, permitted %v", when, gotChannel, gotPermitted)
		}
	}
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4ABC))
	relays(0x4ABC, true, "bound")
	r.advance(300 * time.Second)
	relays(0x4ABC, false, "after 300 s")
	c.must(0, MethodCreatePermission, to(peer4))
	relays(0x4ABC, true, "permitted again")
	r.advance(300*time.Second - 1)
	relays(0x4ABC, true, "a nanosecond before its end")
	r.advance(1)
	relays(0, false, "at its end")

	c.must(0, MethodChannelBind, to(other4), channelNumber(0x4ABC)) // the number can be bound to another peer
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4ABD))  // and the peer to another number
	r.advance(599 * time.Second)
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4ABD))
	r.advance(600*time.Second - 1)
	relays(0x4ABD, false, "a nanosecond before its second end")
	if len(r.session(home).channels) != 1 {
		t.Error("the one that was not refreshed is still bound")
	}
	r.advance(1)
	relays(0, false, "at its second end")
}

// TestExpiryOfAllAtOnce: what is due at the same moment goes in one call, and a refresh right before saves it all.
func TestExpiryOfAllAtOnce(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	r.advance(600*time.Second - tick)
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	c.must(0, MethodRefresh)
	r.advance(tick)
	if n, ok := r.session(home).relays(peer4); n != 0x4000 || !ok {
		t.Errorf("channel %#x, permitted %v", n, ok)
	}
	r.advance(600*time.Second - tick - 1)
	if n, _ := r.session(home).relays(peer4); n != 0x4000 {
		t.Error("the channel was lost too early")
	}
	r.advance(1)
	if r.m.Len() != 0 {
		t.Error("alive at its end")
	}
}

// TestExpiryOfReservation: a port is held for 30 seconds (RFC 8656 section 7.2), also beyond the allocation that asked
// for it, and each on its own time.
func TestExpiryOfReservation(t *testing.T) {
	r := newRig(t)
	at := func(n uint16) Source { return Source{Client: netip.AddrPortFrom(home.Client.Addr(), n)} }
	first := r.alice(at(1))
	early := first.allocate(evenPort(0x80)).value(AttrReservationToken)
	first.must(0, MethodRefresh, lifetime(0))
	r.advance(10 * time.Second)
	late := r.alice(at(2)).allocate(evenPort(0x80)).value(AttrReservationToken)
	r.advance(10 * time.Second)
	r.alice(at(5)).allocate(evenPort(0x80))
	r.advance(10*time.Second - 1)
	if len(r.held) != 3 {
		t.Fatalf("%d ports are held a nanosecond before the end of the first", len(r.held))
	}
	r.advance(1)
	if len(r.held) != 2 {
		t.Fatalf("%d ports are held after the first", len(r.held))
	}
	r.alice(at(3)).must(508, MethodAllocate, udp(), reservationToken(early))
	r.advance(10*time.Second - 1)
	r.alice(at(3)).allocate(reservationToken(late))
	r.advance(time.Second)
	r.alice(at(4)).must(508, MethodAllocate, udp(), reservationToken(late)) // a token is good once
	if r.session(at(3)) == nil {
		t.Error("the end of the reservation took the port from who had claimed it")
	}
	r.advance(9 * time.Second)
	if len(r.held) != 1 {
		t.Fatalf("%d ports are held a nanosecond before the end of the last", len(r.held))
	}
	r.advance(1)
	if len(r.held) != 0 {
		t.Error("the last one is still held")
	}
}

// TestStrictExpiry: with strict_expiry an allocation ends with its credential, to the second, however long its
// lifetime; LIFETIME does not promise more.
func TestStrictExpiry(t *testing.T) {
	r := newRig(t, func(s *setup) { s.StrictExpiry, s.secrets = true, []string{"rest"} })
	made := auth.RestCredential("rest", "alice", began.Add(15*time.Minute))
	c := r.client(home, made.Username, made.Password)
	if got := c.allocate().lifetime(); got != 600 {
		t.Errorf("LIFETIME is %d", got)
	}
	r.advance(8 * time.Minute)
	if got := c.must(0, MethodRefresh).lifetime(); got != 7*60 {
		t.Errorf("LIFETIME is %d with 7 minutes left", got)
	}
	r.advance(7*time.Minute - 1)
	if got := c.must(0, MethodRefresh).lifetime(); got != 1 {
		t.Errorf("LIFETIME is %d with a nanosecond left", got)
	}
	r.advance(1)
	if r.session(home) != nil {
		t.Error("alive after its credential")
	}
	if a := c.ask(MethodRefresh); a.code != 401 {
		t.Errorf("got %v", a)
	}
}

// TestExpiredCredentialDoesNotCutACall: without strict_expiry what runs goes on, with the key that it was made with;
// what is new is refused.
func TestExpiredCredentialDoesNotCutACall(t *testing.T) {
	made := auth.RestCredential("previous", "alice", began.Add(time.Minute))
	for _, modern := range []bool{false, true} {
		r := newRig(t, func(s *setup) { s.secrets = []string{"newest", "previous"} })
		c := r.client(home, made.Username, made.Password)
		c.modern, c.alg = modern, auth.SHA256
		c.allocate(ticket(nil))
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		r.advance(time.Minute)
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		c.must(0, MethodCreatePermission, to(other4))
		for range 20 {
			r.advance(8 * time.Minute)
			if got := c.must(0, MethodRefresh).lifetime(); got != 600 {
				t.Errorf("LIFETIME is %d", got)
			}
		}
		fresh := r.client(Source{Client: other4}, made.Username, made.Password)
		fresh.modern, fresh.alg = modern, auth.SHA256
		if a := fresh.ask(MethodAllocate, udp()); a.code != 401 {
			t.Errorf("a new allocation got %v", a)
		}
		wrong := *c
		wrong.password = "wrong"
		if a := wrong.ask(MethodRefresh, lifetime(0)); a.code != 401 {
			t.Errorf("a wrong password got %v", a)
		}
		c.must(0, MethodRefresh, lifetime(0))
		if r.m.Len() != 0 {
			t.Error("it could not be deleted")
		}
	}
}

// TestExpiredCredentialIsCounted: 401 with its own reason, exactly from the second that the name says.
func TestExpiredCredentialIsCounted(t *testing.T) {
	r := newRig(t, func(s *setup) { s.secrets = []string{"rest"} })
	made := auth.RestCredential("rest", "alice", began.Add(time.Minute))
	r.advance(time.Minute - 1)
	r.client(home, made.Username, made.Password).allocate()
	r.advance(1)
	c := r.client(Source{Client: other4}, made.Username, made.Password)
	if a := c.ask(MethodAllocate, udp()); a.code != 401 {
		t.Errorf("got %v", a)
	}
	if got := r.m.Stats().Refused; got != [refusals]uint64{RefusedExpired: 1} {
		t.Errorf("refused: %v", got)
	}
}

// TestTimersAreOnTime: whenever something was made, its timer comes within a tick of its end and never before it.
func TestTimersAreOnTime(t *testing.T) {
	for _, offset := range []time.Duration{1, tick / 3, tick - 1, 123456789} {
		r := newRig(t)
		r.advance(offset)
		c := r.alice(home)
		c.allocate()
		c.must(0, MethodCreatePermission, to(peer4))
		r.advance(300*time.Second - 1)
		if len(r.session(home).permissions) != 1 {
			t.Errorf("offset %v: the permission went before its end", offset)
		}
		r.advance(tick)
		if len(r.session(home).permissions) != 0 {
			t.Errorf("offset %v: the permission outlived its end by a tick", offset)
		}
		r.advance(300*time.Second - tick)
		if r.session(home) == nil {
			t.Errorf("offset %v: the allocation went before its end", offset)
		}
		r.advance(tick)
		if r.session(home) != nil {
			t.Errorf("offset %v: the allocation outlived its end by a tick", offset)
		}
	}
}
