package sip

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestUsageCancelledReinvite: an owner that could not offer because of the
// peer's re-INVITE is told when the peer takes that back (RFC 3261 9.2, 14.1).
func TestUsageCancelledReinvite(t *testing.T) {
	onBoth(t, func(t *testing.T, l *line) {
		l.answered()
		l.a.do(func(u *usage) { _ = u.reoffer([]byte("hold")) })
		l.run(50 * time.Millisecond)
		l.b.want(Offered)
		l.b.do(func(u *usage) {
			if err := u.reoffer([]byte("mine")); !errors.Is(err, ErrPending) {
				t.Error(err)
			}
		})
		l.a.do(func(u *usage) { l.a.transmit(cancelOf(u.offer.tx.req)) })
		l.run(5 * time.Second)
		if n := count(l.b.sent, "SIP/2.0 487"); n != 1 {
			t.Errorf("%d 487, want 1", n)
		}
		l.b.want(OfferAgain)
		l.b.do(func(u *usage) {
			if err := u.answerOffer([]byte("late")); err == nil {
				t.Error("an offer that was taken back was answered")
			}
			if err := u.reoffer([]byte("mine")); err != nil {
				t.Error(err)
			}
		})
		l.run(time.Second)
		l.a.want(OfferRefused)
		l.a.want(Offered)
		l.a.do(func(u *usage) { _ = u.answerOffer([]byte("ours")); u.bye("", nil) })
		l.over()
	})
}

// TestUsageRetryAfterZero: 500 with Retry-After asks for patience, and 0 is one
// of the values that a UAS may choose (RFC 3261 14.2).
func TestUsageRetryAfterZero(t *testing.T) {
	l := newLine(t, "tcp")
	l.answered()
	l.a.do(func(u *usage) { _ = u.reoffer([]byte("hold")) })
	l.run(50 * time.Millisecond)
	l.b.want(Offered)
	l.b.do(func(u *usage) {
		u.refuseOffer(&Failure{Code: 500, Local: true, Headers: []Header{{"Retry-After", "0"}}})
	})
	l.run(3 * time.Second)
	l.a.want(OfferAgain)
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}

// TestUsageNothingIsOfferedAfterBye: a challenge to the re-INVITE that our BYE
// overtook begins no other (RFC 3261 15.1.1).
func TestUsageNothingIsOfferedAfterBye(t *testing.T) {
	l := newLine(t, "tcp")
	l.a.u.auth = newAuthorizer(Credentials{Username: "u", Password: "p"}, nil)
	l.answered()
	l.a.do(func(u *usage) { _ = u.reoffer([]byte("hold")) })
	l.run(50 * time.Millisecond)
	l.b.want(Offered)
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.b.do(func(u *usage) {
		u.refuse(u.offer.from, &Failure{Code: 401, Headers: []Header{{"WWW-Authenticate", `Digest realm="r", nonce="n", qop="auth"`}}})
	})
	l.run(time.Second)
	if n := count(l.a.sent, "INVITE"); n != 2 {
		t.Errorf("%d INVITE, want the first and the re-INVITE", n)
	}
	l.over()
}

// TestUsageUpdateIsItsDialogs: the Contact of an UPDATE is the target of the
// early dialog it belongs to, not of the one heard last (RFC 3261 12.2.2, RFC
// 3311 5.2).
func TestUsageUpdateIsItsDialogs(t *testing.T) {
	l := newLine(t, "tcp")
	l.call("offer", "Supported: 100rel")
	for i, tag := range []string{"f1", "f2"} {
		res := sip.NewResponseFromRequest(l.a.u.calling.tx.req, 180, "Ringing", nil)
		res.To().Params.Remove("tag")
		res.To().Params.Add("tag", tag)
		res.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:127.0.0.2:700%d>", i+1)))
		l.a.arrive(res.String())
	}
	l.a.arrive("UPDATE sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.2:7001;branch=z9hG4bKup\r\n" +
		"From: <sip:b@127.0.0.2>;tag=f1\r\nTo: <sip:a@127.0.0.1>;tag=caller\r\nCall-ID: c1\r\nCSeq: 1 UPDATE\r\n" +
		"Contact: <sip:127.0.0.2:7777>\r\nContent-Length: 0\r\n\r\n")
	for i, port := range []int{7777, 7002} {
		if f := l.a.u.forks[i]; f.d.target.Port != port {
			t.Errorf("target of %s is %s, want port %d", f.tag, f.d.target.String(), port)
		}
	}
	l.b.do(func(u *usage) { u.reject(&Failure{Code: 486}) })
	l.over()
}
