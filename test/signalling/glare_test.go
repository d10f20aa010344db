package signalling

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// RFC 3261 14.1 (mediation-anchors 5.3 number 4): causeway's re-INVITE and the peer's cross: each has 491, and causeway asks
// again after 2.1 to 4 s where the Call-ID is its own, toward a callee, and after 0 to 2 s where it is the peer's.
func TestGlare(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a, b := p.talking("Allow: INVITE, ACK, CANCEL, BYE, " + method)
				for _, side := range sides(a, b) {
					from, peer := side.from, side.peer
					from.sdp.direction = "sendonly"
					from.change("INVITE")
					offer := peer.reoffered(method)
					// The peer offers something at the same time.
					peer.sdp.version++
					crossed := peer.send(peer.request(offer.method(), peer.sdp.String()))
					res := peer.expect("491 " + offer.method())
					refused := time.Now()
					if offer.method() == "INVITE" {
						peer.invite = crossed
						peer.ackFailure(res)
						peer.invite = offer
						peer.refuse("491 Request Pending")
					} else {
						peer.respond(offer, "491 Request Pending", "")
					}
					again := peer.expectWithin(6*time.Second, offer.method())
					// The Call-ID toward a callee is causeway's own.
					least, most := time.Duration(0), 2*time.Second
					if side.name == "caller" {
						least, most = 2100*time.Millisecond, 4*time.Second
					}
					late := slack(refused)
					if waited := again.at.Sub(refused); waited < least-50*time.Millisecond || waited > most+late {
						t.Errorf("the offer to the other side of the %s came again after %v, want %v to %v", side.name, waited, least, most)
					}
					peer.answerReoffer(again)
					from.sdp.direction = "sendrecv"
					from.change("INVITE")
					peer.answerReoffer(peer.reoffered(method))
				}
				p.hangUp(a, b)
			})
		})
	}
}

// RFC 3261 14.1: the side that asked has changed its mind by the time of the retry: what is offered then is what it wants then.
func TestGlareAndAnotherMind(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sdp.direction = "inactive"
		a.change("INVITE")
		b.invite = b.reoffered("INVITE")
		b.refuse("491 Request Pending")
		a.sdp.direction = "sendrecv"
		a.change("INVITE")
		// It wants what there was: either nothing is offered again, or just that.
		if again := b.a.awaitOr(5*time.Second, b.of("INVITE")); again != nil {
			if got := direction(again.body); got != "sendrecv" {
				t.Errorf("offered %s, and the other side wants sendrecv", got)
			}
			b.answerReoffer(again)
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		hear(t, b, a, p.given(b), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 14.1: the peer's own retry, after both had 491, is served, and so is causeway's after it.
func TestGlareWhereThePeerIsFaster(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sdp.direction = "sendonly"
		a.change("INVITE")
		offer := b.reoffered("INVITE")
		mine := b.sendInvite(b.sdp.String())
		b.ackFailure(b.expect("491 INVITE"))
		b.invite = offer
		b.refuse("491 Request Pending")
		b.invite = mine
		b.sdp.direction = "recvonly" // a hold of its own
		b.sdp.version++
		b.change("INVITE")
		// Both hold now: each hears so in the end.
		if again := b.a.awaitOr(5*time.Second, b.of("INVITE")); again != nil {
			b.answerReoffer(again)
		}
		if toldA := a.a.awaitOr(time.Second, a.of("INVITE")); toldA != nil {
			a.answerReoffer(toldA)
		}
		p.hangUp(b, a)
	})
}

// retryAfter checks a Retry-After of 0 to 10 s (RFC 3261 14.2, RFC 3311 5.2).
func retryAfter(t *testing.T, res *message) {
	t.Helper()
	n, err := strconv.Atoi(res.header("Retry-After"))
	if err != nil || n < 0 || n > 10 {
		t.Errorf("Retry-After: %q, want 0 to 10:\n%s", res.header("Retry-After"), res.raw)
	}
}

// RFC 3261 14.2: a second INVITE of the dialog while the first has no final response: 500 with Retry-After.
func TestInviteDuringInvite(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		first := a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.ring()
		a.establish(a.expect("180 INVITE"))
		second := a.sendInvite(a.sdp.String())
		res := a.expect("500 INVITE")
		retryAfter(t, res)
		a.invite = second
		a.ackFailure(res)
		a.invite = first
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3311 5.2: an UPDATE with an offer while the INVITE's offer has no answer: from the caller, whose offer it is, 500 with
// Retry-After; from the callee, to whom it was made, 491.
func TestUpdateDuringInvite(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK", "Supported: 100rel")
		b := p.callee.incoming(number)
		b.respond(b.invite, "180 Ringing", "", "Require: 100rel", "RSeq: 1", "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK")
		b.respond(b.expect("PRACK"), "200 OK", "")
		ringing := a.expect("180 INVITE")
		a.establish(ringing)
		if n := ringing.header("RSeq"); n != "" {
			seq, _ := a.invite.seq()
			a.send(a.request("PRACK", "", fmt.Sprintf("RAck: %s %d INVITE", n, seq)))
			a.expect("200 PRACK")
		}
		a.send(a.request("UPDATE", a.sdp.String()))
		retryAfter(t, a.expect("500 UPDATE"))
		b.send(b.request("UPDATE", b.sdp.String()))
		b.expect("491 UPDATE")
		b.answer()
		number, _ := a.invite.seq()
		res := a.expect("200 INVITE")
		a.establish(res)
		a.send(a.write("ACK", number, "z9hG4bK"+newTag(), ""))
		p.hangUp(a, b)
	})
}

// RFC 3261 12.2.2: a request whose number is lower than one before has 500, without Retry-After, and does nothing. One
// whose number is equal and whose branch is new is a replay and does nothing either (mediation-anchors 5.3 number 5).
func TestStaleAndReplayedRequests(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, c := range []*call{a, b} {
			c.number += 10
			c.change("INVITE")
			at := c.number
			c.send(c.write("BYE", at-1, "z9hG4bK"+newTag(), ""))
			if res := c.expect("500 BYE"); res.header("Retry-After") != "" {
				t.Errorf("500 to a stale BYE has Retry-After: %s", res.header("Retry-After"))
			}
			c.send(c.write("UPDATE", at-5, "z9hG4bK"+newTag(), c.sdp.String()))
			c.expect("500 UPDATE")
			c.send(c.write("BYE", at, "z9hG4bK"+newTag(), ""))
			res := c.a.await(patience, "refusal of a replay", func(m *message) bool { return c.is(m, "500 BYE") || c.is(m, "482 BYE") })
			if res.header("Retry-After") != "" {
				t.Errorf("%s to a replay has Retry-After", res.first)
			}
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 14.1, by SIPp: the caller holds, and the callee asks for something at the same time.
func TestSIPpGlare(t *testing.T) {
	t.Parallel()
	play(t, "491 both ways", setting{},
		script{
			invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(100 * time.Millisecond),
			sends("INVITE", sippAudio(2, "0 8 101", "sendonly")), mayHear("100"), hears("200"), acks(""), hears("BYE"), answers("200 OK", ""),
		},
		script{
			hears("INVITE"), answers("200 OK", usual()), hears("ACK"),
			hears("INVITE", check{"", "a=sendonly"}), sends("INVITE", sippAudio(2, "0 8 101", "sendrecv")), mayHear("100"), hears("491"), acksFailure(),
			answersTo("INVITE", "491 Request Pending", ""), hears("ACK"),
			hears("INVITE", check{"", "a=sendonly"}), answers("200 OK", sippAudio(3, "0 8 101", "recvonly")), hears("ACK"),
			waits(100 * time.Millisecond), sends("BYE", ""), hears("200"),
		}, nil)
}

// RFC 3261 14.1, 21.5.1, RFC 3311 5.2: the peer puts causeway's offer off with 500 and Retry-After: it comes again when it
// should.
func TestOfferThatIsPutOff(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sdp.direction = "sendonly"
		a.change("INVITE")
		b.invite = b.reoffered("INVITE")
		refused := time.Now()
		b.refuse("500 Server Internal Error", "Retry-After: 2")
		again := b.expectWithin(6*time.Second, "INVITE")
		if waited := again.at.Sub(refused); waited < 1900*time.Millisecond || waited > 2*time.Second+time.Second+slack(refused) {
			t.Errorf("the offer came again after %v, want 2 s", waited)
		}
		if got := direction(again.body); got != "sendonly" {
			t.Errorf("offered %s", got)
		}
		b.answerReoffer(again)
		p.hangUp(b, a)
	})
}
