package sip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
)

// What comes, or goes on, after a call is over.

func twoTargets() []locate.Target {
	return []locate.Target{
		{Network: "udp", Addr: netip.MustParseAddrPort("127.0.0.2:5060")},
		{Network: "udp", Addr: netip.MustParseAddrPort("127.0.0.2:5070")},
	}
}

// TestUsageByeEndsThe200s: a caller that hangs up has had the 200, though its
// ACK was lost (RFC 3261 13.3.1.4).
func TestUsageByeEndsThe200s(t *testing.T) {
	l := newLine(t, "udp")
	l.lose = func(_ *agent, msg sip.Message) bool {
		req, ok := msg.(*sip.Request)
		return ok && req.Method == sip.ACK
	}
	l.call("offer")
	l.b.do(func(u *usage) { _ = u.accept([]byte("answer"), nil) })
	l.run(100 * time.Millisecond)
	l.a.do(func(u *usage) { u.ackAnswer(nil); u.bye("", nil) })
	l.run(100 * time.Millisecond)
	l.b.want(Ended)
	n := count(l.b.sent, "SIP/2.0 200")
	l.run(40 * time.Second)
	if m := count(l.b.sent, "SIP/2.0 200"); m != n {
		t.Errorf("%d more 200 after the BYE", m-n)
	}
	l.over()
}

// TestUsageForkAnswersAfterBye: another fork's 2xx gets its ACK and BYE though
// the call has ended already (RFC 3261 13.2.2.4, RFC 6026 8.4).
func TestUsageForkAnswersAfterBye(t *testing.T) {
	l := newLine(t, "udp")
	l.answered()
	res := sip.NewResponseFromRequest(l.a.u.calling.tx.req, 200, "OK", nil)
	res.To().Params.Remove("tag")
	res.To().Params.Add("tag", "otherfork")
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.run(100 * time.Millisecond)
	n := len(l.a.sent)
	l.a.arrive(res.String())
	if sent := l.a.sent[n:]; len(sent) != 2 || count(sent, "ACK") != 1 || count(sent, "BYE") != 1 {
		t.Errorf("sent %v, want ACK and BYE", sent)
	}
	l.over()
}

// TestUsageInviteAgainAfterBye: a copy of the INVITE that the network delivers
// after a short call begins no other (Timer L, RFC 6026 7.1).
func TestUsageInviteAgainAfterBye(t *testing.T) {
	l := newLine(t, "udp")
	var invite string
	l.lose = func(g *agent, msg sip.Message) bool {
		if invite == "" && g == l.a {
			invite = msg.String()
		}
		return false
	}
	l.answered()
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.run(100 * time.Millisecond)
	l.b.want(Ended)
	n := len(l.b.sent)
	l.b.arrive(invite)
	l.run(time.Second)
	if sent := l.b.sent[n:]; len(sent) != 0 || l.b.u.state != Terminated {
		t.Errorf("answered %v, %s", sent, l.b.u.state)
	}
	l.over()
}

// TestUsageLateAnswerOfAnotherTarget: a target given up by Timer B that answers
// while the next one is asked gets ACK and BYE, so that nobody talks to
// silence (RFC 3261 13.2.2.4; 17.1.1.2 and RFC 3263 4.3 for the next target).
func TestUsageLateAnswerOfAnotherTarget(t *testing.T) {
	l := newLine(t, "udp")
	l.a.u.env.targets = twoTargets
	var first *sip.Request
	l.lose = func(_ *agent, msg sip.Message) bool {
		if first == nil {
			first = msg.(*sip.Request).Clone()
		}
		return true
	}
	l.call("offer")
	l.run(33 * time.Second)
	l.a.quiet()
	if at := l.a.u.calling.target.Addr.Port(); at != 5070 {
		t.Fatalf("the INVITE is at port %d", at)
	}
	res := sip.NewResponseFromRequest(first, 200, "OK", nil)
	res.To().Params.Add("tag", "late")
	n := len(l.a.sent)
	l.a.arrive(res.String())
	l.a.arrive(res.String())
	sent := l.a.sent[n:]
	if len(sent) != 3 || count(sent, "ACK") != 2 || count(sent, "BYE") != 1 {
		t.Errorf("sent %v, want an ACK each and one BYE", sent)
	}
	l.a.quiet()
	if l.a.u.state != Early {
		t.Errorf("the call is %s, want it with the second target", l.a.u.state)
	}
	l.run(3 * time.Minute)
	l.a.want(Failed)
	if !l.a.u.finished() {
		t.Errorf("%d clients are left", len(l.a.u.clients))
	}
}

// TestUsageShutDownTriesNoOther: when all connections end, the owner hears of
// its call's failure, and no other target of it.
func TestUsageShutDownTriesNoOther(t *testing.T) {
	l := newLine(t, "tcp")
	l.a.u.env.targets = twoTargets
	l.call("offer")
	l.a.do(func(u *usage) { u.cutOff() })
	l.a.want(Failed)
	if n := count(l.a.sent, "INVITE"); n != 1 || !l.a.u.finished() {
		t.Errorf("%d INVITE, want 1; finished %t", n, l.a.u.finished())
	}
}
