package signalling

import (
	"testing"
	"time"
)

// RFC 3264 8.4: both sides hold, and let go one after the other: a side that still holds is told apart from one that is held.
func TestBothSidesHold(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		p.hold(a, b, "sendonly")
		// b is held; now it holds too, for its own reason: it wants to hear nothing either.
		b.sdp.direction = "inactive"
		b.sdp.version++
		b.sendInvite(b.sdp.String())
		told := a.a.awaitOr(500*time.Millisecond, a.of("INVITE"))
		if told != nil {
			a.respond(told, "200 OK", func() string { a.sdp.version++; a.sdp.direction = mirror(direction(told.body)); return a.sdp.String() }())
			a.invite = told
			a.expect("ACK")
		}
		b.ack(b.expect("200 INVITE"), "")

		// a lets go, b does not: nothing is to be sent to b, and a must not hear of a resumption.
		a.sdp.direction = "sendrecv"
		a.sdp.version++
		a.sendInvite(a.sdp.String())
		if again := b.a.awaitOr(500*time.Millisecond, b.of("INVITE")); again != nil {
			b.sdp.version++
			b.respond(again, "200 OK", b.sdp.String()) // still inactive
			b.invite = again
			b.expect("ACK")
		}
		res := a.expect("200 INVITE")
		a.ack(res, "")
		if got := direction(res.body); got == "sendrecv" || got == "recvonly" {
			t.Errorf("the other side wants to hear nothing, and the answer was %s", got)
		}
		began := time.Now()
		a.audio.send(mediaAt(t, res.body), 0, 10)
		if n := b.audio.count(0, began.Add(60*time.Millisecond)); n != 0 {
			t.Errorf("the side that holds heard %d packets", n)
		}

		// b lets go as well.
		b.sdp.direction = "sendrecv"
		b.sdp.version++
		b.sendInvite(b.sdp.String())
		offer := a.reoffered("INVITE")
		if got := direction(offer.body); got != "sendrecv" {
			t.Errorf("both let go, and %s was offered", got)
		}
		a.answerReoffer(offer)
		b.ack(b.expect("200 INVITE"), "")
		began = time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		hear(t, b, a, p.given(b), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 14.1: one side changes its mind while the other has not answered what it was told first. In the end it is told what is
// wanted now.
func TestChangeDuringChange(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			from.sdp.direction = "inactive"
			from.change("INVITE")
			first := peer.reoffered("INVITE")
			for _, d := range []string{"sendrecv", "sendonly", "sendrecv"} {
				from.sdp.direction = d
				from.change("INVITE")
			}
			time.Sleep(200 * time.Millisecond)
			peer.answerReoffer(first)
			if direction(first.body) != "sendrecv" {
				now := peer.reoffered("INVITE")
				if got := direction(now.body); got != "sendrecv" {
					t.Errorf("the %s wants sendrecv, and the other side was told %s", side.name, got)
				}
				peer.answerReoffer(now)
			}
			began := time.Now()
			hear(t, from, peer, p.given(from), 0, 0, began)
			hear(t, peer, from, p.given(peer), 0, 0, began)
		}
		p.hangUp(a, b)
	})
}

// RFC 3261 15, 14.1: BYE while causeway's re-INVITE waits for its answer, from either side.
func TestByeDuringReoffer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for _, who := range []string{"the side that asked", "the side that was asked"} {
			a, b := p.talking()
			a.sdp.direction = "sendonly"
			a.change("INVITE")
			b.invite = b.reoffered("INVITE")
			if who == "the side that asked" {
				a.send(a.request("BYE", ""))
				a.expect("200 BYE")
				bye := b.expect("BYE")
				b.respond(bye, "200 OK", "")
				b.refuse("487 Request Terminated") // RFC 3261 15.1.2
				continue
			}
			b.send(b.request("BYE", ""))
			b.expect("200 BYE")
			b.refuse("487 Request Terminated")
			a.byes()
		}
	})
}

// RFC 3261 14.1: the peer answers causeway's re-INVITE provisionally and then not at all: the call can still be ended, and
// is not ended by that.
func TestReofferThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sdp.direction = "sendonly"
		a.change("INVITE")
		b.invite = b.reoffered("INVITE")
		b.respond(b.invite, "100 Trying", "")
		time.Sleep(time.Second)
		a.sdp.direction = "sendrecv"
		a.change("INVITE")
		a.send(a.request("BYE", ""))
		a.expect("200 BYE")
		b.byes()
		b.refuse("487 Request Terminated")
	})
}

// RFC 3261 13.2.2.4, 14.1: what the peer answers late or twice: a second 200 to causeway's re-INVITE has its ACK again; a
// provisional response to it changes nothing.
func TestReofferAnsweredTwice(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sdp.direction = "sendonly"
		a.change("INVITE")
		b.invite = b.reoffered("INVITE")
		b.respond(b.invite, "183 Session Progress", "")
		b.sdp.direction = "recvonly"
		b.sdp.version++
		ok := b.response(b.invite, "200 OK", b.sdp.String())
		for range 3 {
			b.a.respond(b.invite, ok)
		}
		b.expect("ACK")
		time.Sleep(300 * time.Millisecond)
		acks := 0
		for _, m := range b.a.everything() {
			if b.is(m, "ACK") {
				acks++
			}
		}
		if acks != 4 { // the first INVITE's among them
			t.Errorf("3 answers to the re-INVITE had %d ACKs", acks-1)
		}
		b.a.quiet(b.of("ACK"))
		p.hangUp(b, a)
	})
}

// RFC 3261 14.2, 12.2.2: a re-INVITE comes before the ACK that should have come first, as datagrams may.
func TestReinviteOvertakesAck(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		first := a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		res := a.expect("200 INVITE")
		a.establish(res)
		seq, _ := first.seq()
		second := a.sendInvite(a.sdp.String())
		a.send(a.write("ACK", seq, "z9hG4bK"+newTag(), ""))
		// It may be served or put off (RFC 5407 3.1.4 has both), and the first 200 may come again meanwhile.
		again := a.a.await(patience, "answer to the re-INVITE", func(m *message) bool {
			n, method := m.seq()
			want, _ := second.seq()
			return m.callID() == a.id && method == "INVITE" && n == want && m.code() >= 200
		})
		if again.code() >= 300 {
			a.ackFailure(again)
			if again.code() != 491 && again.code() != 500 {
				t.Errorf("the re-INVITE that overtook the ACK had %s", again.first)
			}
		} else {
			a.ack(again, "")
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 13.3.1.4, 14.2: the 200 to a re-INVITE has no ACK: it is repeated, and the call ends after 64*T1. Counted with the timers.
func reinviteWithoutAck(t *testing.T, p parties) func() {
	a, b := p.talking()
	req := a.sendInvite(a.sdp.String())
	seq, _ := req.seq()
	answer := func(m *message) bool { n, _ := m.seq(); return a.is(m, "200 INVITE") && n == seq }
	first := a.a.await(patience, "200 to the re-INVITE", answer)
	return func() {
		paced(t, "200 to a re-INVITE without ACK, "+p.caller.network, p.caller.times(answer), doubling(t2))
		bye := a.byes()
		if at := bye.at.Sub(first.at); (at - 64*t1).Abs() > 2*slack(first.at) {
			t.Errorf("BYE came %v after the 200, want 32 s", at)
		}
		b.byes()
	}
}

// RFC 3261 12.2.1.2, RFC 5057 5.1: causeway's re-INVITE has no response at all: 408 by timer B ends the call.
func reofferWithoutResponse(t *testing.T, p parties) func() {
	a, b := p.talking()
	a.sdp.direction = "sendonly"
	a.change("INVITE")
	offer := b.reoffered("INVITE")
	return func() {
		bye := a.byes()
		if at := bye.at.Sub(offer.at); (at - 64*t1).Abs() > 2*slack(offer.at) {
			t.Errorf("BYE came %v after the re-INVITE, want 32 s", at)
		}
		b.a.quiet(b.of("BYE"))
		if bye := b.a.awaitOr(time.Second, b.of("BYE")); bye != nil {
			b.respond(bye, "200 OK", "")
		}
	}
}

// RFC 3264, RFC 3261 14.1: both sides hold at the same moment, again and again: in the end each knows of the other's, and when both
// let go media flows again.
func TestBothSidesHoldAtOnce(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, want := range []string{"inactive", "sendrecv"} {
			var mine [2]*message
			for i, c := range []*call{a, b} {
				c.sdp.direction = want
				c.sdp.version++
				mine[i] = c.send(c.request("INVITE", c.sdp.String()))
			}
			settle(t, []*call{a, b}, mine, want)
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		hear(t, b, a, p.given(b), 0, 0, began)
		p.hangUp(a, b)
	})
}

// settle plays two user agents that have each sent a re-INVITE, until nothing is said for a while: they agree to what they are
// offered as far as they want it, and ask again after 491.
func settle(t *testing.T, calls []*call, mine [2]*message, want string) {
	t.Helper()
	open := [2]bool{true, true} // its own INVITE has no final response
	// Longer than the wait of RFC 3261 14.1, since there may be one under way.
	const rest = 110
	for quiet := 0; quiet < rest || open[0] || open[1]; quiet++ {
		if quiet > 3*rest {
			t.Fatal("it does not come to rest")
		}
		for i, c := range calls {
			m := c.a.awaitOr(20*time.Millisecond, func(m *message) bool {
				return m.callID() == c.id && m.method() == "INVITE" && (m.code() == 0 || m.code() >= 200)
			})
			switch {
			case m == nil:
			case m.code() == 0 && open[i]:
				quiet = 0
				c.respond(m, "491 Request Pending", "")
			case m.code() == 0:
				quiet = 0
				c.sdp.version++
				agreed := c.sdp
				agreed.direction = common(mirror(direction(m.body)), want)
				c.respond(m, "200 OK", agreed.String())
			case m.code() == 200:
				quiet = 0
				open[i] = false
				c.ack(m, "")
			default:
				quiet = 0
				c.invite = mine[i]
				c.ackFailure(m)
				time.Sleep(time.Duration(100+150*i) * time.Millisecond)
				c.sdp.version++
				mine[i] = c.send(c.request("INVITE", c.sdp.String()))
			}
		}
	}
	for _, c := range calls {
		c.a.quiet(c.of("ACK"))
	}
}

// common is what two directions have in common.
func common(x, y string) string {
	send := (x == "sendrecv" || x == "sendonly") && (y == "sendrecv" || y == "sendonly")
	receive := (x == "sendrecv" || x == "recvonly") && (y == "sendrecv" || y == "recvonly")
	switch {
	case send && receive:
		return "sendrecv"
	case send:
		return "sendonly"
	case receive:
		return "recvonly"
	}
	return "inactive"
}
