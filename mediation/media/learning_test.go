package media

import (
	"net/netip"
	"testing"
	"time"
)

// Where packets come from in the tables below.
var (
	home       = poolPeer                                    // what signalling says
	otherPort  = addrPort(poolPeer.Addr(), 20_100)           // the peer behind a NAT that maps ports
	thirdPort  = addrPort(poolPeer.Addr(), 20_200)           // and once more
	outer      = netip.MustParseAddrPort("203.0.113.9:4444") // the peer behind a NAT of another address
	attacker   = netip.MustParseAddrPort("203.0.113.66:666")
	attacker2  = netip.MustParseAddrPort("203.0.113.66:667")
	secondHome = netip.MustParseAddrPort("192.0.2.99:9000")
)

// stage is a bridge whose pool leg is under test.
type stage struct {
	*rig
	leg   Leg
	phone *phone // nil: plain
	seq   map[uint32]int
	out   int
}

func newStage(t *testing.T, way Learning, secure bool) *stage {
	s := &stage{rig: newRig(t), leg: plainLeg(Pool), seq: map[uint32]int{}}
	s.set(Gateway, plainLeg(Gateway))
	if secure {
		s.leg = secureLeg(Pool, AES128_CM_80)
		s.phone = newPhone(t, s.leg.SRTP)
	}
	s.leg.Learning = way
	return s
}

func (s *stage) answer() { s.set(Pool, s.leg) }

// from sends the next n packets of a source's stream, and returns how many were
// heard.
func (s *stage) from(addr netip.AddrPort, ssrc uint32, n int) (heard int) {
	for range n {
		s.seq[ssrc]++
		b := talk(s.seq[ssrc], ssrc).bytes()
		if s.phone != nil {
			b = s.phone.protect(b)
		}
		heard += s.raw(addr, b)
	}
	return heard
}

func (s *stage) raw(addr netip.AddrPort, b []byte) int {
	s.now = s.now.Add(20 * time.Millisecond)
	s.deliver(s.port(Pool), b, addr)
	return len(s.rig.out(Gateway))
}

// sent is where a packet from the other side goes now; the zero address is
// nowhere.
func (s *stage) sent() netip.AddrPort {
	s.rig.out(Pool)
	s.out++
	s.in(Gateway, talk(s.out, 8).bytes())
	if s.rig.out(Pool) == nil {
		return netip.AddrPort{}
	}
	return s.port(Pool).to
}

// reported is where a report goes now.
func (s *stage) reported() netip.AddrPort {
	port := s.rtcpPort(Pool)
	if s.b.halves[Pool].mux {
		port = s.port(Pool)
	}
	before := port.n
	s.b.halves[Pool].sendReport(s.now, false)
	if port.n == before {
		return netip.AddrPort{}
	}
	return port.to
}

// Who is heard and where we send, for each way: the peer, and attackers at other
// ports and addresses before and after it was learned.
func TestLearning(t *testing.T) {
	type step struct {
		from  netip.AddrPort
		ssrc  uint32
		n     int            // packets
		heard int            // of them
		to    netip.AddrPort // where ours go afterwards
	}
	wait := step{n: -6} // seconds
	again := step{n: 0} // signalling sets the leg once more
	for name, tt := range map[string]struct {
		way    Learning
		secure bool
		steps  []step
	}{
		"strict": {Strict, false, []step{
			{home, 1, 3, 3, home}, {otherPort, 1, 5, 0, home}, {attacker, 6, 5, 0, home}, {home, 1, 1, 1, home}}},
		"strict, other port from the start": {Strict, false, []step{{otherPort, 1, 10, 0, home}}},

		"same_ip, other port from the start": {SameIP, false, []step{{otherPort, 1, 2, 2, home}, {otherPort, 1, 1, 1, otherPort}}},
		"same_ip, rebinding": {SameIP, false, []step{
			{home, 1, 5, 5, home}, {otherPort, 1, 2, 2, home}, {otherPort, 1, 1, 1, otherPort}, {thirdPort, 1, 3, 3, thirdPort}, {home, 1, 3, 3, home}}},
		"same_ip, one stray packet": {SameIP, false, []step{
			{home, 1, 5, 5, home}, {otherPort, 1, 1, 1, home}, {home, 1, 1, 1, home}, {otherPort, 1, 2, 2, home}, {home, 1, 1, 1, home}}},
		"same_ip, attacker at another address, before and after": {SameIP, false, []step{
			{attacker, 6, 50, 0, home}, {home, 1, 3, 3, home}, {attacker, 6, 50, 0, home}, {attacker, 1, 50, 0, home}}},
		"same_ip, first from another address and nobody else": {SameIP, false, []step{{outer, 1, 50, 0, home}}},

		"nat": {NAT, false, []step{{outer, 1, 2, 0, home}, {outer, 1, 1, 1, outer}, {outer, 1, 5, 5, outer}}},
		"nat, attacker after": {NAT, false, []step{
			{outer, 1, 3, 1, outer}, {attacker, 6, 50, 0, outer}, {home, 1, 5, 0, outer}, {outer, 1, 1, 1, outer}}},
		"nat, the port of an attacker's own host is not enough": {NAT, false, []step{
			{outer, 1, 3, 1, outer}, {addrPort(outer.Addr(), 5), 1, 50, 0, outer}}},
		"nat, attacker spraying single packets before": {NAT, false, []step{
			{attacker, 6, 1, 0, home}, {attacker2, 7, 1, 0, home}, {outer, 1, 3, 1, outer}}},
		"nat, two race": {NAT, false, []step{
			{outer, 1, 2, 0, home}, {attacker, 6, 2, 0, home}, {outer, 1, 1, 1, outer}, {attacker, 6, 10, 0, outer}}},
		"nat, too late":       {NAT, false, []step{wait, {outer, 1, 50, 0, home}}},
		"nat, begun too late": {NAT, false, []step{{outer, 1, 2, 0, home}, wait, {outer, 1, 50, 0, home}}},
		"nat, where signalling said": {NAT, false, []step{
			{home, 1, 2, 2, home}, {home, 1, 1, 1, home}, {outer, 6, 50, 0, home}}},
		"nat, another port of where signalling said": {NAT, false, []step{{otherPort, 1, 3, 3, otherPort}, {home, 1, 3, 0, otherPort}}},
		"nat, like same_ip when it is too late":      {NAT, false, []step{wait, {otherPort, 1, 3, 3, otherPort}, {home, 1, 3, 3, home}}},
		"nat, again after a re-offer": {NAT, false, []step{
			{outer, 1, 3, 1, outer}, {attacker, 6, 3, 0, outer}, again, {outer, 1, 1, 1, outer}, {outer, 1, 2, 2, outer}, {attacker, 6, 50, 0, outer}}},
		"nat, a new binding after a re-offer": {NAT, false, []step{
			{outer, 1, 3, 1, outer}, again, {attacker2, 1, 2, 0, outer}, {attacker2, 1, 1, 1, attacker2}, {outer, 1, 3, 0, attacker2}}},

		"SRTP, from the start": {SameIP, true, []step{{outer, 1, 2, 2, home}, {outer, 1, 1, 1, outer}}},
		"SRTP, rebinding, twice and back": {Strict, true, []step{
			{home, 1, 5, 5, home}, {outer, 1, 2, 2, home}, {outer, 1, 1, 1, outer}, {attacker, 1, 3, 3, attacker}, {home, 1, 3, 3, home}}},
		"SRTP, in a row": {NAT, true, []step{
			{home, 1, 5, 5, home}, {outer, 1, 2, 2, home}, {home, 1, 1, 1, home}, {outer, 1, 2, 2, home}, {home, 1, 1, 1, home}, {outer, 1, 3, 3, outer}}},
		"SRTP, another stream moves as well": {SameIP, true, []step{{home, 1, 5, 5, home}, {outer, 2, 3, 2, outer}}},
		"SRTP, any time":                     {NAT, true, []step{{home, 1, 1, 1, home}, wait, wait, {outer, 1, 3, 3, outer}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, tt.way, tt.secure)
			s.answer()
			for i, st := range tt.steps {
				switch {
				case st == again:
					s.answer()
					continue
				case st.n < 0:
					s.now = s.now.Add(time.Duration(-st.n) * time.Second)
					continue
				}
				if heard := s.from(st.from, st.ssrc, st.n); heard != st.heard {
					t.Errorf("step %d: %d of %d heard, want %d; drops %v", i, heard, st.n, st.heard, s.drops(Pool))
				}
				if to := s.sent(); to != st.to {
					t.Errorf("step %d: ours go to %v, want %v", i, to, st.to)
				}
			}
		})
	}
}

// What is not authentic is not learned from, whoever sends it, and neither is what
// was there before: packets that somebody kept prove nothing.
func TestNothingIsLearnedFromForgeries(t *testing.T) {
	s := newStage(t, SameIP, true)
	s.answer()
	forged := func(i int) []byte { return append(talk(i, 1).bytes(), make([]byte, 10)...) }
	for i := range 20 {
		s.raw(attacker, forged(i))
	}
	var kept, late [][]byte
	for i := range 40 {
		s.seq[1]++
		b := s.phone.protect(talk(s.seq[1], 1).bytes())
		if i%2 == 0 {
			kept = append(kept, b)
			s.raw(home, b)
		} else {
			late = append(late, b) // held back on the way
		}
	}
	for i := range 20 {
		s.raw(attacker, forged(s.seq[1]+i))
	}
	for _, b := range kept {
		if s.raw(attacker, b) != 0 {
			t.Fatal("a replay is heard")
		}
	}
	for _, b := range late {
		s.raw(attacker, b)
	}
	if to := s.sent(); to != home {
		t.Fatalf("ours go to %v", to)
	}
	if st := s.b.Stats()[Pool]; st.Moves != 0 || st.Remote != home || st.Receive.Drops["authentication"] != 40 || st.Receive.Drops["replay"] != 20 {
		t.Errorf("%d moves, drops %v", st.Moves, st.Receive.Drops)
	}
}

// RTCP alone never moves anything.
func TestNothingIsLearnedFromRTCP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, mux := range []bool{false, true} {
			for _, way := range []Learning{SameIP, Strict, NAT} {
				s := newStage(t, way, secure)
				s.leg.Mux = mux
				s.answer()
				port := s.rtcpPort(Pool)
				if mux {
					port = s.port(Pool)
				}
				s.from(home, 1, 1)
				wantRTCP := s.reported()
				for range 10 {
					b := appendCNAME(appendReport(nil, 1, nil, nil), 1, "x")
					if secure {
						b = s.phone.protectRTCP(b)
					}
					s.deliver(port, b, outer)
					s.deliver(port, b, otherPort)
				}
				if to, rtcp := s.sent(), s.reported(); to != home || rtcp != wantRTCP {
					t.Errorf("secure %t, mux %t, way %d: RTP goes to %v, RTCP to %v", secure, mux, way, to, rtcp)
				}
			}
		}
	}
}

// RTCP goes where signalling said; when RTP has moved to another address it
// follows, at first to the same port, and then to where the peer's reports come
// from.
func TestRTCPFollowsRTP(t *testing.T) {
	s := newStage(t, SameIP, true)
	report := func(from netip.AddrPort) {
		s.deliver(s.rtcpPort(Pool), s.phone.protectRTCP(appendCNAME(appendReport(nil, 1, nil, nil), 1, "x")), from)
	}
	want := func(to netip.AddrPort) {
		t.Helper()
		if got := s.reported(); got != to {
			t.Errorf("reports go to %v, want %v", got, to)
		}
	}
	s.answer()
	want(addrPort(home.Addr(), home.Port()+1))
	s.from(outer, 1, 3)
	want(addrPort(outer.Addr(), home.Port()+1))
	report(attacker)
	want(addrPort(outer.Addr(), home.Port()+1))
	report(addrPort(outer.Addr(), 5555))
	want(addrPort(outer.Addr(), 5555))
	s.answer() // the same again
	want(addrPort(outer.Addr(), 5555))
	s.from(attacker, 1, 3)
	want(addrPort(attacker.Addr(), home.Port()+1))
	s.leg.RemoteRTCP = secondHome
	s.answer()
	want(secondHome) // a place of its own stays
	s.leg.RemoteRTCP, s.leg.Mux = netip.AddrPort{}, true
	s.answer()
	want(attacker)
	s.from(outer, 1, 3)
	want(outer)
	s.leg.Remote = netip.AddrPort{}
	s.answer()
	want(netip.AddrPort{})
}

// On hold by c=0.0.0.0 nothing is sent and nothing learned; what was learned
// before holds when the call is resumed, and a new address replaces it.
func TestHoldAndResume(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := newStage(t, SameIP, secure)
		s.answer()
		s.from(otherPort, 1, 3)
		if to := s.sent(); to != otherPort {
			t.Fatalf("ours go to %v", to)
		}
		s.leg.Remote = netip.AddrPort{}
		s.answer()
		if heard := s.from(thirdPort, 1, 10); heard != 10 {
			t.Errorf("secure %t: %d packets heard of music on hold", secure, heard)
		}
		if to := s.sent(); to.IsValid() {
			t.Errorf("secure %t: on hold ours go to %v", secure, to)
		}
		s.leg.Remote = home
		s.answer()
		if to := s.sent(); to != otherPort {
			t.Errorf("secure %t: after hold ours go to %v", secure, to)
		}
		s.leg.Remote = secondHome
		s.answer()
		if to := s.sent(); to != secondHome {
			t.Errorf("secure %t: after a re-INVITE ours go to %v", secure, to)
		}
		if heard := s.from(otherPort, 1, 10); heard != 0 != secure {
			t.Errorf("secure %t: %d packets heard from where the peer was", secure, heard)
		}
	}
}

// Another fork is where its own description says, whatever was learned of the one
// before it.
func TestLearningForgetsAnotherFork(t *testing.T) {
	s := newStage(t, NAT, false)
	s.answer()
	s.from(outer, 1, 3)
	s.leg.Anew = true
	s.answer()
	if to := s.sent(); to != home {
		t.Errorf("ours go to %v", to)
	}
	if s.from(outer, 1, 1) != 0 {
		t.Error("the earlier fork is heard")
	}
	s.leg.Remote = netip.AddrPort{} // a fork on hold
	s.answer()
	if s.from(home, 1, 1) != 0 {
		t.Error("the earlier fork is heard where it was")
	}
}

// A leg that turns from plain to protected, or back, believes nothing that the
// other kind of proof gave.
func TestLearningIsOfOneKind(t *testing.T) {
	s := newStage(t, NAT, false)
	s.answer()
	s.from(attacker, 6, 3)
	s.leg.SRTP = secureLeg(Pool, AES128_CM_80).SRTP
	s.answer()
	if to := s.sent(); to != home {
		t.Errorf("ours go to %v", to)
	}
}

// Streams of a racing source that took the leg are heard from the packet that
// proved it, though another stream was there before.
func TestTakenSourceIsHeardAtOnce(t *testing.T) {
	s := newStage(t, NAT, false)
	s.answer()
	s.from(home, 1, 2)
	if heard := s.from(outer, 2, 3); heard != 1 {
		t.Errorf("%d of 3 packets heard, want the third", heard)
	}
	if st := s.b.Stats()[Pool]; st.Moves != 1 || st.Source != outer || st.Remote != outer {
		t.Errorf("%+v", st)
	}
	if n := counter(s.plane, "destination_moves_total", "pool"); n != 1 {
		t.Errorf("%d moves counted", n)
	}
}

// In nat somebody who is not the peer has to send what the leg can take.
func TestOnlyRTPOfOursProves(t *testing.T) {
	s := newStage(t, NAT, false)
	s.answer()
	for i := range 10 {
		p := talk(i, 6)
		p.payload = 96
		s.raw(attacker, p.bytes())
		s.raw(attacker, talk(i, 6).bytes()[:11])
		p = talk(2*i, 6) // with gaps
		s.raw(attacker2, p.bytes())
		p = talk(i, uint32(100+i)) // of another stream each
		s.raw(outer, p.bytes())
	}
	for i := range 10 { // what we sent, thrown back
		s.raw(attacker, talk(i, s.b.halves[Pool].out.ssrc).bytes())
	}
	if to := s.sent(); to != home {
		t.Errorf("ours go to %v", to)
	}
}

func TestStreamRestartsAreCounted(t *testing.T) {
	s := newStage(t, SameIP, false)
	s.answer()
	s.from(home, 1, 10)
	for range 3 { // the phone starts over under its SSRC
		s.seq[1] = (s.seq[1] + 20_000) % 60_000
		s.from(home, 1, 5)
	}
	s.from(home, 2, 5) // another SSRC is another stream
	if st := s.b.Stats()[Pool]; st.Restarts != 3 {
		t.Errorf("%d restarts, want 3", st.Restarts)
	}
	if n := counter(s.plane, "stream_restarts_total", "pool"); n != 3 {
		t.Errorf("%d restarts counted", n)
	}
}
