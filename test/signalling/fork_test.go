package signalling

import (
	"testing"
	"time"
)

// fork is another branch of the same INVITE: a tag, a Contact and a description of its own.
func (c *call) fork(name string) *call {
	c.t.Helper()
	f := c.a.newCall()
	f.id, f.invite, f.over, f.remote, f.target, f.routes, f.number = c.id, c.invite, c.over, c.remote, c.target, c.routes, c.number
	f.local = c.invite.header("To") + ";tag=" + name + newTag()
	f.contact = "sip:" + name + "@" + c.a.local.String() + ";transport=" + c.a.network
	return f
}

// hears waits for a request to this fork, told by its tag.
func (c *call) hears(method string) *message {
	c.t.Helper()
	return c.a.await(patience, method+" to fork "+tag(c.local), func(m *message) bool {
		return m.callID() == c.id && m.code() == 0 && m.method() == method && m.tag("To") == tag(c.local)
	})
}

// RFC 3261 12.1, 13.2.2.4 (mediation-anchors 5.3 number 1): several early dialogs of one INVITE, each with media of its
// own. The first 2xx wins: media and requests are that fork's. A later 2xx gets ACK and BYE.
func TestSeveralEarlyDialogs(t *testing.T) {
	t.Parallel()
	for _, winner := range []string{"the first", "the second"} {
		t.Run(winner+" wins", func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sendInvite(a.sdp.String())
				one := p.callee.incoming(number).fork("one")
				two := one.fork("two")
				one.respond(one.invite, "183 Session Progress", one.sdp.String())
				early := a.expect("183 INVITE")
				began := time.Now()
				hear(t, a, one, early.body, 0, 0, began)
				two.respond(two.invite, "183 Session Progress", two.sdp.String())
				// The caller need not hear of it: to the caller there is one callee.
				p.caller.awaitOr(300*time.Millisecond, func(m *message) bool { return a.is(m, "183 INVITE") })

				wins, loses := one, two
				if winner == "the second" {
					wins, loses = two, one
				}
				wins.respond(wins.invite, "200 OK", wins.sdp.String())
				if ack := wins.hears("ACK"); ack.uri() != wins.contact {
					t.Errorf("ACK went to %s, the fork's Contact is %s", ack.uri(), wins.contact)
				}
				res := a.answered()
				given := res.body
				if given == "" {
					given = early.body
				}
				loses.respond(loses.invite, "200 OK", loses.sdp.String())
				loses.hears("ACK")
				bye := loses.hears("BYE")
				loses.respond(bye, "200 OK", "")
				if bye.uri() != loses.contact {
					t.Errorf("BYE to the fork that lost went to %s, its Contact is %s", bye.uri(), loses.contact)
				}
				began = time.Now()
				hear(t, a, wins, given, 0, 0, began)
				if n := loses.audio.count(0, began.Add(100*time.Millisecond)); n != 0 {
					t.Errorf("the fork that lost still heard %d packets", n)
				}
				hear(t, wins, a, wins.invite.body, 0, 0, began)
				p.hangUp(a, wins)
			})
		})
	}
}

// RFC 3261 13.2.2.4: a 2xx of another fork long after the first, and again and again, since each of its 2xx is repeated
// until its ACK.
func TestLateAnswerOfAnotherFork(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		one := p.callee.incoming(number).fork("one")
		two := one.fork("two")
		one.ring()
		two.ring()
		one.answer()
		a.answered()
		time.Sleep(700 * time.Millisecond)
		for range 3 {
			two.respond(two.invite, "200 OK", two.sdp.String())
		}
		two.hears("ACK")
		two.respond(two.hears("BYE"), "200 OK", "")
		p.callee.quiet(two.of("ACK"))
		p.caller.quiet(func(m *message) bool { return a.is(m, "18x INVITE") })
		p.hangUp(one, a)
	})
}

// RFC 3261 9.1, 13.2.2.4: one fork answers while the CANCEL is under way, the other obeys it.
func TestForkAnswersAfterCancel(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		one := p.callee.incoming(number).fork("one")
		two := one.fork("two")
		one.ring()
		two.ring()
		a.expect("180 INVITE")
		p.caller.awaitOr(200*time.Millisecond, func(m *message) bool { return a.is(m, "180 INVITE") })
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		cancel := one.expect("CANCEL")
		one.respond(cancel, "200 OK", "")
		two.respond(two.invite, "200 OK", two.sdp.String())
		two.hears("ACK")
		two.respond(two.hears("BYE"), "200 OK", "")
	})
}

// The same by SIPp: two early dialogs, the second answers first, the first afterwards.
func TestSIPpForks(t *testing.T) {
	t.Parallel()
	play(t, "two forks", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), mayHear("183"), hears("200"), acks(""), waits(time.Second), sends("BYE", ""), hears("200")},
		script{
			hears("INVITE"), answersAs("one", "183 Session Progress", usual()), answersAs("two", "183 Session Progress", usual()),
			answersAs("one", "180 Ringing", ""),
			answersAs("two", "200 OK", usual()), hears("ACK", check{"To", "tag=two"}),
			answersAs("one", "200 OK", usual()), hears("ACK", check{"To", "tag=one"}), hears("BYE", check{"To", "tag=one"}), answersInDialog("200 OK"),
			hears("BYE", check{"To", "tag=two"}), answersInDialog("200 OK"),
		}, nil)
}

// answersInDialog answers a request that has our tag already.
func answersInDialog(status string) step {
	return func(w *scenario) {
		settled := w.settled
		w.settled = true
		answers(status, "")(w)
		w.settled = settled
	}
}
