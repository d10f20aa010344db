package signalling

import (
	"strings"
	"testing"
	"time"

	"causeway/test/rig/sipp"
)

// RFC 3261 13.2.1, RFC 3264 5: an INVITE without an offer gets one with the 200, and its answer comes with the ACK.
func TestLateOffer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite("")
		b := p.callee.incoming(number)
		b.ring()
		a.expect("180 INVITE")
		toA, toB := lateOffer(t, a, b)
		flows(t, a, b, toA, toB)
		p.hangUp(a, b)
	})
}

// lateOffer answers a call whose caller made no offer, until both sides are settled, and returns where each side is to
// send its media. Causeway may have made the callee an offer of its own, or have asked for one.
func lateOffer(t *testing.T, a, b *call) (fromA, fromB string) {
	t.Helper()
	b.respond(b.invite, "200 OK", b.sdp.String())
	res := a.expect("200 INVITE")
	if res.body == "" {
		t.Fatalf("200 to an INVITE without an offer has none:\n%s", res.raw)
	}
	a.establish(res)
	a.sdp.formats = strings.Join(formats(res.body), " ")
	a.ack(res, a.sdp.String())
	ack := b.expect("ACK")
	if b.invite.body != "" {
		if ack.body != "" {
			t.Errorf("the callee, who had an offer, got an ACK with a description:\n%s", ack.raw)
		}
		return res.body, b.invite.body
	}
	if ack.body == "" {
		t.Fatalf("the callee, who made the offer, got no answer in the ACK:\n%s", ack.raw)
	}
	return res.body, ack.body
}

// flows sends audio both ways, each side to where the description that it was given says.
func flows(t *testing.T, a, b *call, givenA, givenB string) {
	t.Helper()
	began := time.Now()
	hear(t, a, b, givenA, 0, 0, began)
	hear(t, b, a, givenB, 0, 0, began)
}

// RFC 3261 13.3.1.4, RFC 3264 6: an answer in the ACK that cannot be used ends the call, by BYE on both sides.
func TestLateOfferWithoutUsableAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(a *call) string{
		"no answer":            func(*call) string { return "" },
		"no SDP":               func(*call) string { return "v=0\r\nthis is none\r\n" },
		"audio refused":        func(a *call) string { a.sdp.port = 0; return a.sdp.String() },
		"a codec not offered":  func(a *call) string { a.sdp.formats = "18"; return a.sdp.String() },
		"an address of no use": func(a *call) string { return strings.Replace(a.sdp.String(), "c=IN IP4 ", "c=IN IP4 999.", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sendInvite("")
				b := p.callee.incoming(number)
				b.respond(b.invite, "200 OK", b.sdp.String())
				res := a.expect("200 INVITE")
				a.establish(res)
				a.ack(res, answer(a))
				b.expect("ACK")
				a.byes()
				b.byes()
			})
		})
	}
}

// RFC 3261 13.2.1: the same by SIPp.
func TestSIPpLateOffer(t *testing.T) {
	t.Parallel()
	play(t, "late", setting{},
		script{invites(""), mayHear("100"), mayHear("180"), hears("200", check{"", "m=audio [1-9]"}), acks(usual()),
			waits(300 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("180 Ringing", ""), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		nil)
	play(t, "late, refused by the ACK", setting{},
		script{invites(""), mayHear("100"), mayHear("180"), hears("200"), acks(""), hears("BYE"), answers("200 OK", "")},
		script{hears("INVITE"), answers("180 Ringing", ""), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		func(t *testing.T, l *lab, _, _ *sipp.Peer) {
			if r := l.recorded(1)[0]; r.EndedBy != "causeway" {
				t.Errorf("the record says that %s ended the call", r.EndedBy)
			}
		})
}
