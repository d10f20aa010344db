package signalling

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/test/rig/sipp"
)

// seconds is the number that a header begins with.
func seconds(value string) int {
	digits, _, _ := strings.Cut(value, ";")
	n, err := strconv.Atoi(strings.TrimSpace(digits))
	if err != nil {
		return -1
	}
	return n
}

const withTimer = "Supported: timer"

// RFC 4028 9, 6: an interval below our minimum has 422 with Min-SE, when the caller understands; with a longer one the call
// is made, and what was agreed stands in the 200.
func TestSessionIntervalTooSmall(t *testing.T) {
	t.Parallel()
	both(t, setting{more: []string{"session_timer: {expires: 20m, min: 100s}"}}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 95")
		if res := a.refused(422); seconds(res.header("Min-SE")) != 100 {
			t.Errorf("422 has Min-SE %q, want 100", res.header("Min-SE"))
		}
		a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 100;refresher=uac", "Min-SE: 100")
		b := p.callee.incoming(number)
		if got := seconds(b.invite.header("Session-Expires")); got != 1200 || !b.invite.names("Supported", "timer") {
			t.Errorf("the callee was asked for %q, want 1200 s:\n%s", b.invite.header("Session-Expires"), b.invite.raw)
		}
		if got := b.invite.header("Min-SE"); got != "" && seconds(got) < 90 {
			t.Errorf("the callee was told Min-SE %s", got)
		}
		b.answer()
		res := a.answered()
		if got := res.header("Session-Expires"); seconds(got) != 100 || parameter(got, "refresher") != "uac" {
			t.Errorf("200 has Session-Expires %q, want 100;refresher=uac", got)
		}
		if !res.names("Require", "timer") {
			t.Error("200 does not require timer, and the caller is the refresher (RFC 4028 9)")
		}
		// Within the session too.
		req := a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 91")
		refusal := a.expect("422 INVITE")
		a.invite = req
		a.ackFailure(refusal)
		p.hangUp(a, b)
	})
}

// RFC 4028 7.1: a callee's minimum above our interval: the INVITE comes again, same Call-ID and tag, next number, with it.
func TestSessionIntervalTooSmallForTheCallee(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		first := b.invite
		b.refuse("422 Session Interval Too Small", "Min-SE: 3600")
		b.invite = b.expect("INVITE")
		before, _ := first.seq()
		now, _ := b.invite.seq()
		if now != before+1 || b.invite.header("From") != first.header("From") {
			t.Errorf("CSeq %d after %d, From %s after %s", now, before, b.invite.header("From"), first.header("From"))
		}
		if seconds(b.invite.header("Session-Expires")) < 3600 || seconds(b.invite.header("Min-SE")) != 3600 {
			t.Errorf("Session-Expires %q, Min-SE %q, want 3600", b.invite.header("Session-Expires"), b.invite.header("Min-SE"))
		}
		b.local = b.invite.header("To") + ";tag=" + newTag()
		b.answer("Session-Expires: 3600;refresher=uas", "Require: timer")
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 4028 9: a caller that knows nothing of timers: nothing is required of it, and it is not the one to refresh.
func TestPeersWithoutSessionTimers(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Session-Expires: 60") // a proxy's, as the caller does not support it
		b := p.callee.incoming(number)
		b.answer()
		res := a.answered()
		if res.names("Require", "timer") {
			t.Errorf("200 requires timer of a caller that does not support it:\n%s", res.raw)
		}
		if got := res.header("Session-Expires"); got != "" && parameter(got, "refresher") != "uas" {
			t.Errorf("200 has Session-Expires %q: the caller cannot be the refresher", got)
		}
		p.hangUp(b, a)
	})
}

// The session timers themselves, with the shortest interval that there may be: 90 s. Refreshes are due after half of it, and
// a session that nobody refreshes ends a third of it, or 32 s, before its end. All at once, each a call of its own.
func TestSessionTimers(t *testing.T) {
	t.Parallel()
	const interval, half = 90 * time.Second, 45 * time.Second
	for name, play := range map[string]func(t *testing.T, p parties){
		// RFC 4028 7.4, 9: the callee leaves it to us: toward it an UPDATE, since it allows that, without a description.
		"refresh to the callee": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.answer("Session-Expires: 90;refresher=uac", "Require: timer", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE")
			a.answered()
			refreshed(t, b, time.Now(), half, "UPDATE")
			a.none("INVITE", "and the refresh was the other side's")
			a.none("UPDATE", "and the refresh was the other side's")
			p.hangUp(a, b)
		},
		// RFC 4028 9: the caller leaves it to us: toward it a re-INVITE, since it does not allow UPDATE, and nothing in it has changed.
		"refresh to the caller": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 90;refresher=uas", "Allow: INVITE, ACK, CANCEL, BYE")
			b := p.callee.incoming(number)
			b.answer()
			res := a.answered()
			if got := res.header("Session-Expires"); seconds(got) != 90 || parameter(got, "refresher") != "uas" {
				t.Errorf("200 has Session-Expires %q, want 90;refresher=uas", got)
			}
			req := refreshed(t, a, time.Now(), half, "INVITE")
			wasID, was := origin(res.body)
			if id, version := origin(req.body); id != wasID || version != was {
				t.Errorf("the refresh has o= %s %s, before %s %s, and nothing changed (RFC 4028 7.4)", id, version, wasID, was)
			}
			p.hangUp(b, a)
		},
		// RFC 4028 10: the caller promised to refresh and does not.
		"expiry of the caller": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 90;refresher=uac")
			b := p.callee.incoming(number)
			b.answer()
			a.answered()
			expired(t, a, b, time.Now(), interval)
		},
		// RFC 4028 10: the callee promised to refresh and does not.
		"expiry of the callee": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.answer("Session-Expires: 90;refresher=uas", "Require: timer")
			a.answered()
			expired(t, b, a, time.Now(), interval)
		},
		// RFC 4028 10: the peer refreshes in time and the session lives on, past the moment at which it would have ended.
		"refreshed by both": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String(), withTimer, "Session-Expires: 90;refresher=uac")
			b := p.callee.incoming(number)
			b.answer("Session-Expires: 90;refresher=uas", "Require: timer")
			a.answered()
			began := time.Now()
			time.Sleep(20 * time.Second)
			res := a.change("INVITE", withTimer, "Session-Expires: 90;refresher=uac")
			if got := res.header("Session-Expires"); seconds(got) != 90 {
				t.Errorf("200 to the refresh has Session-Expires %q", got)
			}
			b.send(b.request("UPDATE", "", withTimer, "Session-Expires: 90;refresher=uac"))
			if got := b.expect("200 UPDATE").header("Session-Expires"); seconds(got) != 90 {
				t.Errorf("200 to the refresh has Session-Expires %q", got)
			}
			time.Sleep(time.Until(began.Add(interval - 28*time.Second)))
			p.hangUp(a, b)
		},
		// RFC 4028 10, RFC 5057 5.1: the refresh meets a peer that knows the call no more.
		"refresh to a peer that has forgotten": func(t *testing.T, p parties) {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.answer("Session-Expires: 90;refresher=uac", "Require: timer", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE")
			a.answered()
			req := b.expectWithin(half+5*time.Second, "UPDATE")
			b.respond(req, "481 Call/Transaction Does Not Exist", "")
			a.byes()
			if bye := b.a.awaitOr(time.Second, b.of("BYE")); bye != nil {
				b.respond(bye, "481 Call/Transaction Does Not Exist", "")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, setting{patient: true}, play)
		})
	}
}

// refreshed waits for causeway's refresh of a session that was agreed at a time, and agrees to it.
func refreshed(t *testing.T, c *call, since time.Time, after time.Duration, method string) *message {
	t.Helper()
	req := c.expectWithin(after+5*time.Second, method)
	if at := req.at.Sub(since); (at - after).Abs() > 5*time.Second { // it may be early, and is meant to be before the half
		t.Errorf("the refresh came after %v, want %v", at, after)
	}
	if got := req.header("Session-Expires"); seconds(got) != 90 || parameter(got, "refresher") == "uas" {
		t.Errorf("the refresh has Session-Expires %q, want 90 with us as the refresher", got)
	}
	if !req.names("Supported", "timer") {
		t.Error("the refresh does not support timer")
	}
	if method == "INVITE" {
		c.respond(req, "200 OK", c.sdp.String(), "Session-Expires: 90;refresher=uac", "Require: timer")
		c.expect("ACK")
		return req
	}
	c.respond(req, "200 OK", "", "Session-Expires: 90;refresher=uac", "Require: timer")
	return req
}

// expired waits for the end of a session that was agreed at a time and that its refresher let go.
func expired(t *testing.T, refresher, other *call, since time.Time, interval time.Duration) {
	t.Helper()
	within := interval - min(32*time.Second, interval/3) // RFC 4028 10
	bye := refresher.expectWithin(within+5*time.Second, "BYE")
	refresher.respond(bye, "200 OK", "")
	if at := bye.at.Sub(since); (at - within).Abs() > 2*time.Second {
		t.Errorf("BYE came %v after the agreement, want %v", at, within)
	}
	other.byes()
}

// The same by SIPp: 422 both ways.
func TestSIPpSessionIntervals(t *testing.T) {
	t.Parallel()
	talk := steps(hears("200", check{"Session-Expires", "1800"}), acks(""), waits(100*time.Millisecond), sends("BYE", ""), hears("200"))
	play(t, "422 of ours", setting{},
		script{
			invites(usual(), "Supported: timer", "Session-Expires: 60"), mayHear("100"), hears("422", check{"Min-SE", "90"}), acksFailure(),
			invitesAgain(usual(), "Supported: timer", "Session-Expires: 1800;refresher=uac", "Min-SE: 90"), mayHear("100"), mayHear("180"), talk,
		},
		script{hears("INVITE", check{"Session-Expires", "1800"}), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")}, nil)
	play(t, "422 of the callee", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(100 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{
			hears("INVITE"), answers("422 Session Interval Too Small", "", "Min-SE: 7200"), hears("ACK"), unsettled(),
			hears("INVITE", check{"Min-SE", "7200"}), answers("200 OK", usual(), "Require: timer", "Session-Expires: 7200;refresher=uas"), hears("ACK"),
			hears("BYE"), answers("200 OK", ""),
		},
		func(t *testing.T, _ *lab, _, callee *sipp.Peer) {
			n := 0
			for _, m := range callee.Trace() {
				if m.Received && strings.HasPrefix(m.Text, "INVITE ") {
					n++
				}
			}
			if n != 2 {
				t.Errorf("%d INVITEs", n)
			}
		})
}

// invitesAgain sends the first INVITE anew after a refusal, with the next number.
func invitesAgain(body string, headers ...string) step {
	return func(w *scenario) {
		w.number++
		w.invite, w.settled = w.number, false
		w.sent(true, body, append([]string{
			"INVITE sip:" + number + "@[remote_ip]:[remote_port] SIP/2.0", sippVia, "Max-Forwards: 70",
			"From: " + w.me(), fmt.Sprintf("To: <sip:%s@%s.example>", number, w.side), "Call-ID: [call_id]", fmt.Sprintf("CSeq: %d INVITE", w.number),
			w.contact(),
		}, headers...)...)
	}
}

// unsettled forgets that the first INVITE had a final response: another one comes.
func unsettled() step { return func(w *scenario) { w.settled = false } }

// RFC 4028 7.3, 7.4, 10: what a peer may say to a refresh but 200: 422 has it come again with more, 405 to UPDATE as
// re-INVITE, 491 after a while. A peer that sends a refresh may make the refreshing ours.
func TestRefreshThatIsRefused(t *testing.T) {
	t.Parallel()
	const half = 45 * time.Second
	for name, refuse := range map[string]func(t *testing.T, b *call, req *message){
		"422": func(t *testing.T, b *call, req *message) {
			b.respond(req, "422 Session Interval Too Small", "", "Min-SE: 240")
			again := b.expect("UPDATE")
			if seconds(again.header("Session-Expires")) < 240 || seconds(again.header("Min-SE")) != 240 {
				t.Errorf("after 422: Session-Expires %q, Min-SE %q", again.header("Session-Expires"), again.header("Min-SE"))
			}
			b.respond(again, "200 OK", "", "Session-Expires: 240;refresher=uac", "Require: timer")
		},
		"405": func(t *testing.T, b *call, req *message) {
			b.respond(req, "405 Method Not Allowed", "", "Allow: INVITE, ACK, CANCEL, BYE")
			again := b.expect("INVITE")
			if direction(again.body) != "sendrecv" {
				t.Errorf("the re-INVITE offers %s", direction(again.body))
			}
			b.respond(again, "200 OK", b.sdp.String(), "Session-Expires: 90;refresher=uac", "Require: timer")
			b.expect("ACK")
		},
		"491": func(t *testing.T, b *call, req *message) {
			b.respond(req, "491 Request Pending", "")
			again := b.expectWithin(10*time.Second, "UPDATE")
			b.respond(again, "200 OK", "", "Session-Expires: 90;refresher=uac", "Require: timer")
		},
		"500": func(t *testing.T, b *call, req *message) {
			b.respond(req, "500 Server Internal Error", "")
			again := b.expectWithin(30*time.Second, "UPDATE") // before the end of the session
			b.respond(again, "200 OK", "", "Session-Expires: 90;refresher=uac", "Require: timer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, setting{patient: true}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sendInvite(a.sdp.String())
				b := p.callee.incoming(number)
				b.answer("Session-Expires: 90;refresher=uac", "Require: timer", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE")
				a.answered()
				refuse(t, b, b.expectWithin(half+5*time.Second, "UPDATE"))
				began := time.Now()
				hear(t, a, b, p.given(a), 0, 0, began)
				p.hangUp(a, b)
			})
		})
	}
}
