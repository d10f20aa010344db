package sip

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestUsageTimerStartsWithTheAnswer: there is no session to time before the 2xx
// to INVITE (RFC 4028 9), whatever an UPDATE of the early dialog asks for.
func TestUsageTimerStartsWithTheAnswer(t *testing.T) {
	l := newLine(t, "udp")
	l.call("offer", "Supported: 100rel, timer")
	l.b.do(func(u *usage) { u.provisional(183, "", []byte("answer"), nil) })
	l.run(time.Second)
	l.a.want(Progress)
	l.a.do(func(u *usage) {
		req := u.request(u.d, "UPDATE", 0)
		req.AppendHeader(sip.NewHeader("Supported", "timer"))
		req.AppendHeader(sip.NewHeader("Session-Expires", "90"))
		u.send(u.d, req, forInfo, u.wayOf(u.d), 0)
	})
	l.run(2 * time.Minute) // and time passes
	if at := l.b.u.refresh.next(); l.b.u.refresh.interval != 90*time.Second || !at.IsZero() {
		t.Errorf("while it rings: every %v, next %v", l.b.u.refresh.interval, at)
	}
	if l.b.u.state != Early {
		t.Errorf("%s", l.b.u.state)
	}
	l.a.do(func(u *usage) { u.cancel("", nil) })
	l.over()
}

// TestUsageRefreshOfALateOffer: the refresh of a session whose offer went out in
// a reliable 183 has that description (RFC 4028 7.4), for a re-INVITE without
// one would ask the peer for an offer that nobody answers.
func TestUsageRefreshOfALateOffer(t *testing.T) {
	l := newLine(t, "udp")
	l.b.u.env.timer = SessionTimer{Expires: 90 * time.Second}
	l.call("", "Supported: 100rel, timer")
	l.b.do(func(u *usage) { u.provisional(183, "", []byte("offer"), nil) })
	l.run(time.Second)
	l.a.want(Progress)
	l.b.do(func(u *usage) { _ = u.accept([]byte("offer"), nil) })
	l.run(time.Second)
	l.a.want(Answered)
	l.a.do(func(u *usage) { u.ackAnswer(nil) })
	l.run(time.Second)
	l.b.u.peerAllow = map[string]bool{"INVITE": true} // without UPDATE
	l.a.quiet()
	l.run(50 * time.Second)
	if ev := l.a.want(Offered); string(ev.SDP) != "offer" {
		t.Errorf("the refresh has %q", ev.SDP)
	}
	l.a.do(func(u *usage) { _ = u.answerOffer([]byte("answer")) })
	l.run(time.Second)
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}

// TestUsageNoRefreshStorm: a peer that grants a second gets the least that an
// interval may be, 90 s (RFC 4028 5).
func TestUsageNoRefreshStorm(t *testing.T) {
	l := newLine(t, "tcp")
	l.lose = func(g *agent, msg sip.Message) bool {
		if res, ok := msg.(*sip.Response); ok && g == l.b && res.StatusCode == 200 && res.CSeq().MethodName != sip.BYE {
			res.RemoveHeader("Session-Expires")
			res.AppendHeader(sip.NewHeader("Session-Expires", "1;refresher=uac"))
			l.flights = append(l.flights, flight{l.now.Add(l.delay), l.a, res.String()})
			return true
		}
		return false
	}
	l.answered()
	l.run(60 * time.Second)
	if n := count(l.a.sent, "UPDATE"); n != 1 || l.a.u.state != Established {
		t.Errorf("%d refreshes in a minute, want 1; %s", n, l.a.u.state)
	}
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}
