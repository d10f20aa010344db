package sip

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// The PRACKs that cross something else (RFC 3262).

func isPrack(_ *agent, msg sip.Message) bool {
	req, ok := msg.(*sip.Request)
	return ok && req.Method == "PRACK"
}

// prackWith sends the PRACK of the latest reliable response once more, as a
// request of its own, with an offer in it.
func (u *usage) prackWith(offer string) {
	f := u.forks[0]
	req := u.request(f.d, "PRACK", 0)
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%d 1 INVITE", f.rseq)))
	setSDP(req, []byte(offer))
	u.send(f.d, req, forPrack, u.wayOf(f.d), 0)
}

// reliably answers the re-INVITE that is with the owner by a reliable 183.
func (g *agent) reliably(sdp []byte) {
	g.do(func(u *usage) {
		res := u.inviteResponseOf(u.offer.from.req, 183, "", sdp, nil)
		res.AppendHeader(sip.NewHeader("Require", "100rel"))
		res.AppendHeader(sip.NewHeader("RSeq", "77"))
		u.reply(u.offer.from, res)
	})
}

// TestUsagePrackAfterThe200: a UAS has to serve the PRACK of a response that
// was out when it sent the 2xx (RFC 3262 3).
func TestUsagePrackAfterThe200(t *testing.T) {
	onBoth(t, func(t *testing.T, l *line) {
		l.call("offer", "Supported: 100rel", "Require: 100rel")
		l.b.do(func(u *usage) {
			u.provisional(180, "", nil, nil)
			_ = u.accept([]byte("answer"), nil)
		})
		l.run(15 * time.Millisecond)
		l.a.want(Progress)
		l.a.want(Answered)
		l.a.do(func(u *usage) { u.ackAnswer(nil) })
		l.run(time.Second)
		l.b.want(Confirmed)
		if n := count(l.b.sent, "SIP/2.0 481"); n > 0 || count(l.a.sent, "PRACK") != 1 {
			t.Errorf("%d of %d PRACK refused", n, count(l.a.sent, "PRACK"))
		}
		if n := count(l.b.sent, "SIP/2.0 180"); n != 1 {
			t.Errorf("180 went out %d times, and the 200 ends its repetition", n)
		}
		l.a.quiet()
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.over()
	})
}

// TestUsagePrackRefusedEndsNothing: 481 to PRACK says nothing of the dialog
// (RFC 5057 5.1), and whatever ends an answered call acknowledges the 2xx first
// (RFC 3261 13.2.2.4).
func TestUsagePrackRefusedEndsNothing(t *testing.T) {
	l := newLine(t, "udp")
	l.call("offer", "Supported: 100rel", "Require: 100rel")
	l.b.do(func(u *usage) {
		u.provisional(180, "", nil, nil)
		_ = u.accept([]byte("answer"), nil)
		u.reliable.out = nil // it has forgotten
	})
	l.run(100 * time.Millisecond)
	l.a.want(Progress)
	l.a.want(Answered)
	if count(l.b.sent, "SIP/2.0 481") != 1 {
		t.Fatal(l.b.sent)
	}
	l.a.quiet()
	l.a.do(func(u *usage) { u.lose(&Failure{Code: 408}) })
	l.a.want(Ended)
	n := len(l.a.sent)
	if n < 2 || count(l.a.sent[n-2:n-1], "ACK") != 1 || count(l.a.sent[n-1:], "BYE") != 1 {
		t.Errorf("sent %v, want ACK and BYE at the end", l.a.sent)
	}
	l.over()
}

// TestUsageOfferInPrackHoldsThe200: the 2xx does not overtake the answer to the
// PRACK's offer (RFC 3262 5, RFC 3264 4).
func TestUsageOfferInPrackHoldsThe200(t *testing.T) {
	l := newLine(t, "tcp")
	l.call("offer", "Supported: 100rel", "Require: 100rel")
	l.lose = isPrack
	l.b.do(func(u *usage) { u.provisional(183, "", []byte("answer"), nil); _ = u.accept([]byte("answer"), nil) })
	l.run(time.Second)
	l.lose = nil
	l.a.do(func(u *usage) { u.prackWith("second offer") })
	l.run(100 * time.Millisecond)
	if ev := l.b.want(Offered); string(ev.SDP) != "second offer" {
		t.Errorf("offer %q", ev.SDP)
	}
	if l.b.u.state != Early || count(l.b.sent, "SIP/2.0 200") != 0 {
		t.Errorf("%s, sent %v", l.b.u.state, l.b.sent)
	}
	l.b.do(func(u *usage) { _ = u.answerOffer([]byte("second answer")) })
	l.run(100 * time.Millisecond)
	if n := count(l.b.sent, "SIP/2.0 200"); n != 2 {
		t.Errorf("%d 200, want those of PRACK and INVITE", n)
	}
	l.a.want(Progress)
	l.a.want(Answered)
	l.a.do(func(u *usage) { u.ackAnswer(nil); u.bye("", nil) })
	l.over()
}

// TestUsageOfferInPrackDuringUpdate: one offer at a time (RFC 3264 4); the
// UPDATE that was first keeps its answer (RFC 3311 5.2).
func TestUsageOfferInPrackDuringUpdate(t *testing.T) {
	l := newLine(t, "tcp")
	l.call("offer", "Supported: 100rel", "Require: 100rel")
	l.b.do(func(u *usage) { u.provisional(183, "", []byte("answer"), nil) })
	l.run(100 * time.Millisecond)
	l.lose = func(g *agent, msg sip.Message) bool { return isPrack(g, msg) && len(msg.Body()) == 0 }
	l.b.do(func(u *usage) { u.provisional(180, "", nil, nil) })
	l.run(100 * time.Millisecond)
	l.a.do(func(u *usage) {
		f := u.forks[0]
		req := u.request(f.d, "UPDATE", 0)
		setSDP(req, []byte("update"))
		u.send(f.d, req, forInfo, u.wayOf(f.d), 0)
		u.prackWith("second offer")
	})
	l.run(100 * time.Millisecond)
	if ev := l.b.want(Offered); string(ev.SDP) != "update" {
		t.Errorf("offer %q", ev.SDP)
	}
	l.b.quiet()
	if n := count(l.b.sent, "SIP/2.0 488") + count(l.b.sent, "SIP/2.0 500"); n != 1 {
		t.Errorf("PRACK was refused %d times, want once", n)
	}
	before := count(l.b.sent, "SIP/2.0 200")
	l.b.do(func(u *usage) {
		if err := u.answerOffer([]byte("updated")); err != nil {
			t.Error(err)
		}
		if err := u.answerOffer([]byte("again")); !errors.Is(err, ErrSessionOver) {
			t.Errorf("a second answer: %v", err)
		}
	})
	if n := count(l.b.sent, "SIP/2.0 200") - before; n != 1 {
		t.Errorf("%d 200, want the UPDATE's", n)
	}
	l.b.do(func(u *usage) { u.reject(&Failure{Code: 486}) })
	l.over()
}

// TestUsageReliableAnswerToReinvite: the answer may come in a reliable 18x, and
// the 2xx has none then (RFC 3262 5, RFC 6337 3.1).
func TestUsageReliableAnswerToReinvite(t *testing.T) {
	l := newLine(t, "tcp")
	l.answered()
	l.a.do(func(u *usage) { _ = u.reoffer([]byte("hold")) })
	l.run(50 * time.Millisecond)
	l.b.want(Offered)
	l.lose = isPrack // how we serve one has no part in it
	l.b.reliably([]byte("held"))
	l.run(50 * time.Millisecond)
	if n := count(l.a.sent, "PRACK"); n != 1 {
		t.Errorf("%d PRACK, want 1", n)
	}
	l.a.quiet()
	l.b.do(func(u *usage) { _ = u.answerOffer(nil) })
	l.run(50 * time.Millisecond)
	if ev := l.a.want(OfferAnswered); string(ev.SDP) != "held" {
		t.Errorf("answer %q", ev.SDP)
	}
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}

// TestUsageReinviteKeepsTheRoutes: a target refresh never changes the route set
// (RFC 3261 12.2), and the responses in it have no Record-Route.
func TestUsageReinviteKeepsTheRoutes(t *testing.T) {
	l := newLine(t, "tcp")
	l.answered()
	proxy := sip.Uri{Scheme: "sip", Host: "127.0.0.2", Port: 5062}
	proxy.UriParams.Add("lr", "")
	l.a.u.d.routes = []sip.Uri{proxy} // as by Record-Route in the 200
	l.a.do(func(u *usage) { _ = u.reoffer([]byte("hold")) })
	l.run(50 * time.Millisecond)
	l.b.want(Offered)
	var prack string
	l.lose = func(g *agent, msg sip.Message) bool {
		if isPrack(g, msg) {
			prack = headerValue(msg, "Route")
		}
		return isPrack(g, msg)
	}
	l.b.reliably(nil)
	l.run(50 * time.Millisecond)
	if len(l.a.u.d.routes) != 1 || prack != "<sip:127.0.0.2:5062;lr>" {
		t.Errorf("route set %v, PRACK by %q, want the dialog's", l.a.u.d.routes, prack)
	}
	l.b.do(func(u *usage) { _ = u.answerOffer([]byte("held")) })
	l.run(50 * time.Millisecond)
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}
