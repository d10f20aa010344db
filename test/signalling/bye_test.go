package signalling

import (
	"testing"
	"time"
)

// RFC 3261 15.1: whoever hangs up, the other side hears BYE, with the Reason.
func TestHangUp(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		p.hangUp(a, b)
		a, b = p.talking()
		p.hangUp(b, a)
		a, b = p.talking()
		b.bye(`Reason: Q.850;cause=16;text="Normal call clearing"`)
		if got := a.byes().header("Reason"); got != `Q.850;cause=16;text="Normal call clearing"` {
			t.Errorf("BYE has Reason %q", got)
		}
	})
}

// RFC 3261 15.1.2: both sides hang up at once: each BYE is answered.
func TestByeFromBothSides(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for range 5 {
			a, b := p.talking()
			a.send(a.request("BYE", ""))
			a.expect("200 BYE")
			theirs := b.expect("BYE")
			b.send(b.request("BYE", "")) // crosses the one that it has not answered yet
			b.expect("200 BYE")
			b.respond(theirs, "200 OK", "")
		}
		for range 10 {
			a, b := p.talking()
			a.send(a.request("BYE", ""))
			b.send(b.request("BYE", ""))
			for _, c := range []*call{a, b} {
				c.expect("200 BYE")
				if bye := c.a.awaitOr(200*time.Millisecond, c.of("BYE")); bye != nil {
					c.respond(bye, "200 OK", "")
				}
			}
		}
	})
}

// RFC 3261 15: the caller may hang up before it has acknowledged the answer.
func TestByeBeforeAck(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		a.establish(a.expect("200 INVITE"))
		a.bye()
		b.byes()
		over := time.Now()
		time.Sleep(4 * time.Second)
		for _, at := range p.caller.times(a.of("200 INVITE")) {
			if at.After(over.Add(200 * time.Millisecond)) {
				t.Errorf("the 200 was repeated %v after the BYE", at.Sub(over))
			}
		}
	})
}

// RFC 3261 15: a callee may not hang up before its 200 is acknowledged, and neither may causeway: the caller hears BYE after
// its own ACK. A callee that does so all the same is answered.
func TestCalleeHangsUpAtOnce(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.respond(b.invite, "200 OK", b.sdp.String())
		b.send(b.request("BYE", ""))
		b.expect("200 BYE")
		b.expect("ACK")
		res := a.expect("200 INVITE")
		time.Sleep(300 * time.Millisecond)
		a.none("BYE", "before it had acknowledged the answer")
		a.establish(res)
		a.ack(res, "")
		a.byes()
	})
}

// RFC 3261 12.2.1.1, 18: requests to a peer that came from an ephemeral port of its own go back on its connection, not to the
// port of its Contact (mediation-anchors 5.3 number 8). When it is gone they go to the Contact.
func TestByeOnTheAcceptedConnection(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(map[bool]string{false: "which is open", true: "which is gone"}[gone], func(t *testing.T) {
			t.Parallel()
			both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.over = p.caller.connect()
				a.sendInvite(a.sdp.String())
				b := p.callee.incoming(number)
				b.answer()
				a.answered()
				if gone {
					a.over.Close()
					time.Sleep(200 * time.Millisecond)
				}
				b.bye()
				bye := a.expect("BYE")
				a.respond(bye, "200 OK", "")
				if on := bye.over == a.over; on == gone {
					t.Errorf("BYE came from %v, on the caller's own connection: %v", bye.from, on)
				}
			})
		})
	}
}

// RFC 3261 12.2.1.1: the callee's side of it: requests to a callee use the connection that its INVITE went out on, and those
// of a callee that makes a connection of its own are taken from it.
func TestCalleeHasItsOwnConnection(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		a, b := p.talking()
		b.over = p.callee.connect()
		b.bye()
		a.byes()

		a, b = p.talking()
		on := b.invite.over
		a.bye()
		if bye := b.byes(); bye.over != on {
			t.Errorf("BYE came from %v, the INVITE on another connection", bye.from)
		}
	})
}

// RFC 3261 12.2.1.1: a connection that ends takes no answered call with it, and no other call.
func TestConnectionEndsDuringTheCall(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, c := range []*call{a, b} {
			for _, l := range c.a.links {
				l.Close()
			}
			c.over = nil
		}
		time.Sleep(300 * time.Millisecond)
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hangUp(a, b)
	})
}

// given is the last description that a leg's peer was sent.
func (p parties) given(c *call) string {
	last := ""
	for _, m := range c.a.everything() {
		if m.callID() == c.id && m.body != "" {
			last = m.body
		}
	}
	return last
}

// The same by SIPp: either side hangs up, the callee at once, the caller before its ACK.
func TestSIPpHangsUp(t *testing.T) {
	t.Parallel()
	play(t, "the caller", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(200 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("180 Ringing", ""), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		nil)
	play(t, "the callee", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), hears("BYE"), answers("200 OK", "")},
		script{hears("INVITE"), answers("180 Ringing", ""), answers("200 OK", usual()), hears("ACK"), waits(200 * time.Millisecond), sends("BYE", ""), hears("200")},
		nil)
	play(t, "the caller, before its ACK", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		nil)
	play(t, "both", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(200 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), sends("BYE", ""), hears("200"), answersTo("BYE", "200 OK", "")},
		nil)
}
