package signalling

import (
	"testing"
	"time"
)

// sameTransaction checks a CANCEL against the INVITE that it gives up (RFC 3261 9.1).
func sameTransaction(t *testing.T, invite, cancel *message) {
	t.Helper()
	for _, name := range []string{"Via", "From", "To", "Call-ID"} {
		if invite.header(name) != cancel.header(name) {
			t.Errorf("CANCEL has %s: %s, the INVITE %s", name, cancel.header(name), invite.header(name))
		}
	}
	ours, _ := invite.seq()
	if n, method := cancel.seq(); n != ours || method != "CANCEL" || cancel.uri() != invite.uri() {
		t.Errorf("CANCEL %s with CSeq %s, the INVITE has %s and %s", cancel.uri(), cancel.header("CSeq"), invite.uri(), invite.header("CSeq"))
	}
}

// RFC 3261 9.1: before the callee has answered anything, CANCEL waits for its first provisional response.
func TestCancelBeforeAnyResponse(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		time.Sleep(300 * time.Millisecond)
		b.none("CANCEL", "before it had answered anything")
		b.respond(b.invite, "100 Trying", "")
		cancel := b.expect("CANCEL")
		sameTransaction(t, b.invite, cancel)
		b.respond(cancel, "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// RFC 3261 9.1: the same, and the first response is the answer: it is acknowledged and ended.
func TestCancelBeforeTheOnlyResponse(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		b.answer()
		b.byes()
	})
}

// RFC 3261 9.1, 9.2, 15: CANCEL while it rings, with the Reason that says why.
func TestCancelWhileRinging(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		a.send(a.cancel(`Reason: SIP;cause=200;text="Call completed elsewhere"`))
		ok := a.expect("200 CANCEL")
		res := a.refused(487)
		if ok.tag("To") != res.tag("To") {
			t.Errorf("200 to CANCEL has the tag %s, 487 has %s (RFC 3261 9.2)", ok.tag("To"), res.tag("To"))
		}
		cancel := b.expect("CANCEL")
		sameTransaction(t, b.invite, cancel)
		if got := cancel.header("Reason"); got != `SIP;cause=200;text="Call completed elsewhere"` {
			t.Errorf("CANCEL has Reason %q", got)
		}
		b.respond(cancel, "200 OK", "")
		b.refuse("487 Request Terminated")
		if r := p.recorded(1)[0]; r.Code != 487 || r.EndedBy != p.caller.side {
			t.Errorf("the record says %d, by %s", r.Code, r.EndedBy)
		}
	})
}

// RFC 3261 9.1: the callee answers while CANCEL is on its way (mediation-anchors 4: ACK and BYE for a 200 that races CANCEL).
func TestAnswerCrossesCancel(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"200 before the answer to CANCEL", "200 after the answer to CANCEL", "481 to CANCEL"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a, b := p.ringing()
				a.send(a.cancel())
				a.expect("200 CANCEL")
				a.refused(487)
				cancel := b.expect("CANCEL")
				switch order {
				case "200 before the answer to CANCEL":
					b.answer()
					b.respond(cancel, "200 OK", "")
				case "200 after the answer to CANCEL":
					b.respond(cancel, "200 OK", "")
					b.answer()
				case "481 to CANCEL":
					b.respond(cancel, "481 Call/Transaction Does Not Exist", "")
					b.answer()
				}
				b.byes()
				a.none("200 INVITE", "after 487")
			})
		})
	}
}

// RFC 3261 9.2: a CANCEL that comes after the answer changes nothing; the call stands.
func TestCancelAfterTheAnswer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		res := a.expect("200 INVITE")
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.establish(res)
		a.ack(res, "")
		time.Sleep(300 * time.Millisecond)
		p.hangUp(b, a)
	})
}

// RFC 3261 9.2: CANCEL and the answer of the callee at the same moment, many times over: the caller hears either 487 or the
// 200, never both, and the callee is left in no call.
func TestCancelAndAnswerAtOnce(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for i := range 10 {
			a, b := p.ringing()
			cancel, ok := a.cancel(), b.response(b.invite, "200 OK", b.sdp.String())
			if i%2 == 0 {
				a.send(cancel)
				b.a.respond(b.invite, ok)
			} else {
				b.a.respond(b.invite, ok)
				a.send(cancel)
			}
			b.expect("ACK")
			a.expect("200 CANCEL")
			final := p.caller.await(patience, "final response", func(m *message) bool { return a.is(m, "200 INVITE") || a.is(m, "487 INVITE") })
			if final.code() == 200 {
				a.establish(final)
				a.ack(final, "")
				a.send(a.request("BYE", ""))
				a.expect("200 BYE")
				a.none("487 INVITE", "after the 200")
			} else {
				a.ackFailure(final)
				a.none("200 INVITE", "after 487")
			}
			b.byes()
			if c := p.callee.awaitOr(0, func(m *message) bool { return b.is(m, "CANCEL") }); c != nil {
				b.respond(c, "200 OK", "")
			}
		}
	})
}

// RFC 3261 9.2: CANCEL of nothing has 481. So has one with another's Call-ID and branch of one's own.
func TestCancelOfNothing(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		stranger := p.caller.dial(number)
		stranger.number = 1
		stranger.send(stranger.request("CANCEL", ""))
		stranger.expect("481 CANCEL")
		a.send(a.write("CANCEL", a.number, "z9hG4bK"+newTag(), "")) // right in all but the branch
		a.expect("481 CANCEL")
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3261 15.1.2: BYE in the early dialog ends the INVITE with 487.
func TestByeWhileRinging(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		early := p.caller.everything()
		for _, m := range early {
			if a.is(m, "180 INVITE") {
				a.establish(m)
			}
		}
		a.send(a.request("BYE", ""))
		a.expect("200 BYE")
		res := a.expect("487 INVITE")
		a.ackFailure(res)
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// RFC 3261 16.7 timer C, as the setting ring_timeout: nobody answers.
func TestRingTimeout(t *testing.T) {
	t.Parallel()
	both(t, setting{more: []string{"ring_timeout: 2s"}}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		a.refused(408)
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// The same by SIPp: after 180, before any response, and crossing the answer.
func TestSIPpCancels(t *testing.T) {
	t.Parallel()
	refused := steps(hears("200"), hears("487"), acksFailure())
	play(t, "while ringing", setting{},
		script{invites(usual()), mayHear("100"), hears("180"), waits(100 * time.Millisecond), cancels(), refused},
		script{hears("INVITE"), answers("180 Ringing", ""), hears("CANCEL"), answers("200 OK", ""), answersTo("INVITE", "487 Request Terminated", ""), hears("ACK")},
		nil)
	play(t, "before a response of the callee", setting{},
		script{invites(usual()), hears("100"), waits(100 * time.Millisecond), cancels(), refused},
		script{hears("INVITE"), waits(600 * time.Millisecond), answers("180 Ringing", ""), hears("CANCEL"), answers("200 OK", ""),
			answersTo("INVITE", "487 Request Terminated", ""), hears("ACK")},
		nil)
	play(t, "crossing the answer", setting{},
		script{invites(usual()), mayHear("100"), hears("180"), waits(100 * time.Millisecond), cancels(), refused},
		script{hears("INVITE"), answers("180 Ringing", ""), hears("CANCEL"), answersTo("INVITE", "200 OK", usual()), hears("ACK"),
			hears("BYE"), answers("200 OK", "")},
		nil)
}
