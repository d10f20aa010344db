package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
	"causeway/test/rig/sipp"
)

// slack is how far a timer that was set at a time may be off by now: more on a machine that made this process wait.
func slack(since time.Time) time.Duration { return 250*time.Millisecond + 5*lag.worst(since) }

// T1 and T2 of RFC 3261 table 4.
const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second
)

// doubling are the moments after the first at which something is sent again: after T1, twice as long each time, up to
// limit (0: no limit), before 64*T1 have passed.
func doubling(limit time.Duration) []time.Duration {
	var all []time.Duration
	for at, step := t1, t1; at < 64*t1; {
		all = append(all, at)
		if step *= 2; limit > 0 && step > limit {
			step = limit
		}
		at += step
	}
	return all
}

// paced checks when something was heard again against when it should have been.
func paced(t *testing.T, what string, heard []time.Time, want []time.Duration) {
	t.Helper()
	if len(heard) == 0 {
		t.Errorf("%s was never heard", what)
		return
	}
	var got []time.Duration
	for _, at := range heard[1:] {
		got = append(got, at.Sub(heard[0]).Round(10*time.Millisecond))
	}
	// On a machine that is late all along the last repetition may fall behind the end.
	allowed := slack(heard[0])
	missing := len(want) - len(got)
	bad := missing < 0 || missing > 1 || missing == 1 && 64*t1-want[len(want)-1] > allowed+t1
	for i := range min(len(got), len(want)) {
		bad = bad || (got[i]-want[i]).Abs() > allowed
	}
	if bad {
		t.Errorf("%s was heard again after %v, want %v, give or take %v", what, got, want, allowed)
	}
}

// noMore checks that nothing was heard after what should have ended it, but for what was under way.
func noMore(t *testing.T, what string, heard []time.Time, end time.Time) {
	t.Helper()
	for _, at := range heard {
		if late := at.Sub(end); late > slack(end) {
			t.Errorf("%s was heard again %v after its end", what, late)
		}
	}
}

// of picks the messages of a call by name.
func (c *call) of(what string) func(*message) bool {
	return func(m *message) bool { return c.is(m, what) }
}

// The timers that take 64*T1, each in a causeway of its own, over UDP and TCP: what is repeated, at which moments, what
// happens when nobody answers to the end, and that nothing is left afterwards.
func TestTimers(t *testing.T) {
	t.Parallel()
	for name, timer := range map[string]func(t *testing.T, p parties) func(){
		"RFC 3261 13.3.1.4 200 without ACK":          answerWithoutAck,
		"RFC 3261 17.1.1.2 INVITE without response":  inviteWithoutAnswer,
		"RFC 3261 17.2.1 failure without ACK":        failureWithoutAck,
		"RFC 3261 17.1.2.2 BYE without response":     byeWithoutAnswer,
		"RFC 3261 9.1 CANCEL without end":            cancelWithoutEnd,
		"RFC 3262 3 reliable response without PRACK": reliableWithoutPrack,
		"RFC 3261 15 callee hangs up before the ACK": byeWithoutAck,
		"RFC 3261 14.2 200 to re-INVITE without ACK": reinviteWithoutAck,
		"RFC 5057 5.1 re-INVITE without response":    reofferWithoutResponse,
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+", "+network, func(t *testing.T) {
				t.Parallel()
				both(t, setting{patient: true, pool: network, gateway: network, more: []string{"ring_timeout: 100s"}}, func(t *testing.T, p parties) {
					began := time.Now()
					check := timer(t, p)
					time.Sleep(time.Until(began.Add(64*t1 + 2*time.Second)))
					check()
					rig.Eventually(t, patience, "nothing is left", func() string {
						sessions, calls := p.Sum("causeway_mediation_sip_sessions"), p.Sum("causeway_mediation_calls")
						if sessions != 0 || calls != 0 {
							return fmt.Sprintf("%v sessions and %v calls", sessions, calls)
						}
						return ""
					})
				})
			})
		}
	}
}

// reliably says whether retransmissions of a transaction are not to be seen (RFC 3261 17: timers A, E and G).
func (a *agent) reliably() bool { return a.network == "tcp" }

// RFC 3261 13.3.1.4 (mediation-anchors 5.3 number 3): a 2xx is repeated after T1, doubling up to T2, over any transport,
// until its ACK; without one within 64*T1 the call ends with BYE.
func answerWithoutAck(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	b.answer()
	first := a.expect("200 INVITE")
	a.establish(first)
	return func() {
		paced(t, "200 to INVITE without ACK, "+p.caller.network, p.caller.times(a.of("200 INVITE")), doubling(t2))
		bye := a.byes()
		if at := bye.at.Sub(first.at); (at - 64*t1).Abs() > 2*slack(first.at) {
			t.Errorf("BYE came %v after the 200, want 32 s", at)
		}
		b.byes()
	}
}

// RFC 3261 17.1.1.2, timers A and B: an INVITE is repeated over UDP, doubling without limit; after 64*T1 the caller hears 408.
func inviteWithoutAnswer(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	return func() {
		want := doubling(0)
		if p.callee.reliably() {
			want = nil
		}
		paced(t, "INVITE without any response, "+p.callee.network, p.callee.times(b.of("INVITE")), want)
		res := a.refused(408)
		if at := res.at.Sub(b.invite.at); (at - 64*t1).Abs() > 2*slack(b.invite.at) {
			t.Errorf("408 came %v after the INVITE, want 32 s", at)
		}
	}
}

// RFC 3261 17.2.1, timers G and H: a failure is repeated over UDP, doubling up to T2, until its ACK or 64*T1.
func failureWithoutAck(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	b.refuse("486 Busy Here")
	a.expect("486 INVITE")
	return func() {
		want := doubling(t2)
		if p.caller.reliably() {
			want = nil
		}
		paced(t, "486 without ACK, "+p.caller.network, p.caller.times(a.of("486 INVITE")), want)
	}
}

// RFC 3261 17.1.2.2, timers E and F: BYE is repeated over UDP, doubling up to T2, until 64*T1. The side that hung up has its
// answer at once.
func byeWithoutAnswer(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	b.answer()
	a.answered()
	a.bye()
	b.expect("BYE")
	return func() {
		want := doubling(t2)
		if p.callee.reliably() {
			want = nil
		}
		paced(t, "BYE without answer, "+p.callee.network, p.callee.times(b.of("BYE")), want)
	}
}

// RFC 3261 9.1: a callee that takes CANCEL and never ends the INVITE is given up after 64*T1.
func cancelWithoutEnd(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	b.ring()
	a.expect("180 INVITE")
	a.send(a.cancel())
	a.expect("200 CANCEL")
	a.refused(487)
	b.respond(b.expect("CANCEL"), "200 OK", "")
	done := time.Now()
	return func() {
		for _, at := range p.callee.times(b.of("CANCEL")) {
			if at.After(done.Add(t2)) {
				t.Errorf("CANCEL came again %v after its answer", at.Sub(done))
			}
		}
	}
}

// RFC 3261 15: the callee hangs up before the caller has acknowledged its answer: the caller hears BYE after its ACK, or
// when none comes within 64*T1.
func byeWithoutAck(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String())
	b := p.callee.incoming(number)
	b.answer()
	b.bye()
	first := a.expect("200 INVITE")
	a.establish(first)
	return func() {
		bye := a.byes()
		if at := bye.at.Sub(first.at); (at - 64*t1).Abs() > 2*slack(first.at) {
			t.Errorf("BYE came %v after the 200, want 32 s", at)
		}
	}
}

// RFC 3262 3: a reliable provisional response is repeated after T1, doubling, over any transport, until its PRACK;
// without one within 64*T1 the INVITE ends with 5xx.
func reliableWithoutPrack(t *testing.T, p parties) func() {
	a := p.caller.dial(number)
	a.sendInvite(a.sdp.String(), "Require: 100rel")
	b := p.callee.incoming(number)
	b.ring()
	first := a.expect("180 INVITE")
	return func() {
		if first.header("RSeq") == "" || !first.names("Require", "100rel") {
			t.Errorf("180 is not reliable, and the caller requires it:\n%s", first.raw)
		}
		paced(t, "reliable 180 without PRACK, "+p.caller.network, p.caller.times(a.of("180 INVITE")), doubling(0))
		res := a.expect("5xx INVITE")
		a.ackFailure(res)
		if at := res.at.Sub(first.at); (at - 64*t1).Abs() > 2*slack(first.at) {
			t.Errorf("%s came %v after the 180, want 32 s", res.first, at)
		}
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	}
}

// RFC 3261 13.3.1.4: the ACK ends the repetition of the 2xx, however late, and a second ACK does no harm.
func TestAckEndsTheRepetition(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		res := a.expect("200 INVITE")
		a.establish(res)
		rig.Eventually(t, patience, "the 200 is repeated", func() string {
			if n := len(p.caller.times(a.of("200 INVITE"))); n < 3 {
				return fmt.Sprintf("heard %d times", n)
			}
			return ""
		})
		a.ack(res, "")
		a.ack(res, "")
		acked := time.Now()
		time.Sleep(3 * time.Second)
		noMore(t, "200", p.caller.times(a.of("200 INVITE")), acked)
		p.hangUp(a, b)
	})
}

// RFC 3261 13.2.2.4: every repetition of a 2xx that we receive is acknowledged, with the same ACK.
func TestEveryAnswerIsAcknowledged(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		ok := b.response(b.invite, "200 OK", b.sdp.String())
		for range 3 {
			b.a.respond(b.invite, ok)
		}
		rig.Eventually(t, patience, "each 200 is acknowledged", func() string {
			if n := len(p.callee.times(b.of("ACK"))); n != 4 {
				return fmt.Sprintf("%d ACKs, want 4", n)
			}
			return ""
		})
		p.callee.quiet(b.of("ACK"))
		p.hangUp(b, a)
	})
}

// RFC 3261 17.2.1, 17.2.2: a request that comes again is one request. An INVITE's repetition has the last response again, and
// so has a BYE's.
func TestRepeatedRequests(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		invite := a.request("INVITE", a.sdp.String())
		a.invite = a.send(invite)
		a.send(invite)
		b := p.callee.incoming(number)
		a.send(invite)
		b.ring()
		a.expect("180 INVITE")
		a.send(invite)
		rig.Eventually(t, patience, "the 180 comes again", func() string {
			if n := len(p.caller.times(a.of("180 INVITE"))); n < 2 {
				return fmt.Sprintf("%d of them", n)
			}
			return ""
		})
		b.answer()
		a.answered()
		bye := a.request("BYE", "")
		a.send(bye)
		a.expect("200 BYE")
		b.byes()
		a.send(bye)
		rig.Eventually(t, patience, "the 200 to BYE comes again", func() string {
			if n := len(p.caller.times(a.of("200 BYE"))); n != 2 {
				return fmt.Sprintf("%d of them", n)
			}
			return ""
		})
		for _, m := range p.callee.everything() {
			if b.is(m, "INVITE") && !m.again && m != b.invite {
				t.Errorf("the callee heard another INVITE:\n%s", m.raw)
			}
		}
	})
}

// RFC 3261 17.1.1.2: a provisional response ends the repetition of the INVITE.
func TestProvisionalEndsTheRepetition(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		// How soon it is repeated is another test's; here a busy machine may take its time.
		for end := time.Now().Add(10 * t1); !p.callee.reliably() && len(p.callee.times(b.of("INVITE"))) < 2; time.Sleep(t1 / 50) {
			if time.Now().After(end) {
				t.Fatal("the INVITE was not repeated before its first response")
			}
		}
		b.respond(b.invite, "100 Trying", "")
		trying := time.Now()
		time.Sleep(2 * time.Second)
		noMore(t, "INVITE", p.callee.times(b.of("INVITE")), trying)
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3261 13.3.1.4, by SIPp: a caller whose ACK is late, and one that has none to send.
func TestSIPpAck(t *testing.T) {
	t.Parallel()
	play(t, "late", setting{pool: "udp"},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), waits(2 * time.Second), acks(""), waits(100 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		func(t *testing.T, _ *lab, caller, _ *sipp.Peer) {
			n := 0
			for _, m := range caller.Trace() {
				if seq := m.Header("CSeq"); m.Received && m.First() == "SIP/2.0 200 OK" && strings.HasSuffix(seq, "INVITE") {
					n++
				}
			}
			if n < 3 {
				t.Errorf("in 2 s the 200 was heard %d times, want 3", n)
			}
		})
	play(t, "none", setting{pool: "udp", patient: true},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), hears("BYE"), answers("200 OK", "")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		func(t *testing.T, l *lab, _, _ *sipp.Peer) {
			if r := l.recorded(1)[0]; r.EndedBy != "causeway" || r.Code != 408 {
				t.Errorf("the record says %d, by %s", r.Code, r.EndedBy)
			}
		})
}
