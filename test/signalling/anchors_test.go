package signalling

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"causeway/test/rig"
)

// What other products got wrong in public and RFC 3261 has right; the numbers are those of their issues.

// RFC 3264 5.1, 8.4: a call that begins on hold, with a=inactive, is answered so, and nothing is offered before the ACK
// (FreeSWITCH 778); it can be resumed.
func TestCallThatBeginsOnHold(t *testing.T) {
	t.Parallel()
	for _, d := range []string{"inactive", "sendonly", "recvonly"} {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sdp.direction = d
				a.sendInvite(a.sdp.String())
				b := p.callee.incoming(number)
				if got := direction(b.invite.body); got != d {
					t.Errorf("the callee was offered %s, want %s", got, d)
				}
				b.sdp.direction = mirror(d)
				b.answer()
				res := a.expect("200 INVITE")
				if got := direction(res.body); got != mirror(d) && got != "inactive" {
					t.Errorf("the answer is %s, want %s", got, mirror(d))
				}
				a.establish(res)
				time.Sleep(300 * time.Millisecond)
				a.none("INVITE", "before its ACK")
				b.none("UPDATE", "before the caller's ACK")
				a.ack(res, "")
				b.sdp.direction = "sendrecv"
				p.hold(a, b, "sendrecv")
				began := time.Now()
				hear(t, a, b, p.given(a), 0, 0, began)
				hear(t, b, a, p.given(b), 0, 0, began)
				p.hangUp(a, b)
			})
		})
	}
}

// RFC 3261 14.1, 13.3.1.4: the callee changes the session right after its answer, when the caller has not acknowledged it yet: the
// caller hears of it after its ACK (FreeSWITCH 123).
func TestCalleeHoldsBeforeTheCallersAck(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		res := a.expect("200 INVITE")
		b.sdp.direction = "sendonly"
		b.sdp.version++
		b.sendInvite(b.sdp.String())
		time.Sleep(300 * time.Millisecond)
		a.none("INVITE", "before its ACK")
		a.establish(res)
		a.ack(res, "")
		// It may have been put off until now.
		answer := b.a.await(patience, "answer", func(m *message) bool { return b.is(m, "200 INVITE") || b.is(m, "491 INVITE") || b.is(m, "500 INVITE") })
		if answer.code() != 200 {
			b.ackFailure(answer)
			b.change("INVITE")
		} else {
			b.ack(answer, "")
		}
		offer := a.reoffered("INVITE")
		if got := direction(offer.body); got != "sendonly" {
			t.Errorf("the caller was offered %s, want sendonly", got)
		}
		a.answerReoffer(offer)
		p.hangUp(a, b)
	})
}

// RFC 3261 12.2.2, 15.1.2: a request for a call that is over has 481 at once: a BYE that crossed another long ago (siphon-sip 134).
func TestRequestAfterTheCall(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		p.hangUp(a, b)
		time.Sleep(300 * time.Millisecond)
		for _, c := range []*call{a, b} {
			for _, method := range []string{"BYE", "UPDATE", "INFO", "OPTIONS"} {
				began := time.Now()
				c.send(c.request(method, ""))
				if res := c.expect("481 " + method); res.at.Sub(began) > time.Second+5*lag.worst(began) {
					t.Errorf("481 to %s took %v", method, res.at.Sub(began))
				}
			}
			c.sendInvite(c.sdp.String())
			c.ackFailure(c.expect("481 INVITE"))
		}
	})
}

// RFC 3261 9.2: a CANCEL that comes again is absorbed: its 200 comes again, and neither 481 nor a second 487 (siphon-sip 243).
func TestRepeatedCancel(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		cancel := a.cancel()
		for range 3 {
			a.send(cancel)
		}
		a.expect("200 CANCEL")
		a.refused(487)
		a.send(cancel)
		rig.Eventually(t, patience, "each CANCEL is answered", func() string {
			if n := len(a.a.times(a.of("200 CANCEL"))); n != 4 {
				return fmt.Sprintf("%d answers to 4", n)
			}
			return ""
		})
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// RFC 5626 5.3, RFC 3261 18: two phones behind one address, each on a connection of its own and with the same Contact: what
// belongs to one never comes to the other (siphon-sip 450).
func TestTwoPhonesBehindOneAddress(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		var legs [][2]*call
		for i := range 4 {
			a := p.caller.dial(fmt.Sprintf("+1425555300%d", i))
			a.over = p.caller.connect()
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(fmt.Sprintf("+1425555300%d", i))
			b.answer()
			if res := a.answered(); res.over != a.over {
				t.Errorf("the 200 came on another connection")
			}
			legs = append(legs, [2]*call{a, b})
		}
		for _, l := range legs {
			a, b := l[0], l[1]
			b.bye()
			if bye := a.byes(); bye.over != a.over {
				t.Errorf("BYE came on the connection of another phone")
			}
		}
	})
}

// RFC 3261 12.2.1.2, 12.2.2: the route set is made once: no Record-Route in a later request or response changes it
// (SIP.js 506, siphon-ai 387).
func TestRouteSetStays(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		near := func(a *agent) string { return fmt.Sprintf("<sip:%s;lr>", a.local) }
		a := p.caller.dial(number)
		a.contact = "sip:hidden@10.1.2.3:5099"
		a.sendInvite(a.sdp.String(), "Record-Route: "+near(p.caller))
		b := p.callee.incoming(number)
		b.contact = "sip:hidden@10.3.2.1:5099"
		b.respond(b.invite, "200 OK", b.sdp.String(), "Record-Route: "+near(p.callee))
		b.expect("ACK")
		a.answered()
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			from.sdp.direction = "sendonly"
			from.sdp.version++
			req := from.sendInvite(from.sdp.String(), "Record-Route: <sip:elsewhere."+from.a.domain()+";lr>")
			offer := peer.reoffered("INVITE")
			peer.sdp.direction = "recvonly"
			peer.sdp.version++
			peer.respond(offer, "200 OK", peer.sdp.String(), "Record-Route: <sip:elsewhere."+peer.a.domain()+";lr>")
			routed(t, peer.expect("ACK"), peer.contact, near(peer.a))
			from.invite = req
			from.ack(from.expect("200 INVITE"), "")
			from.sdp.direction = "sendrecv"
			from.sdp.version++
			req = from.sendInvite(from.sdp.String())
			offer = peer.reoffered("INVITE")
			routed(t, offer, peer.contact, near(peer.a))
			peer.answerReoffer(offer)
			from.invite = req
			from.ack(from.expect("200 INVITE"), "")
		}
		b.bye()
		routed(t, a.byes(), a.contact, near(p.caller))
	})
}

// RFC 3261 12.2.1.1: a strict router in the route set takes the place of the Request-URI, and the target comes last.
func TestStrictRouter(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		strict := func(a *agent) string { return fmt.Sprintf("sip:%s", a.local) }
		a := p.caller.dial(number)
		a.contact = "sip:hidden@10.1.2.3:5099"
		a.sendInvite(a.sdp.String(), "Record-Route: <"+strict(p.caller)+">")
		b := p.callee.incoming(number)
		b.contact = "sip:hidden@10.3.2.1:5099"
		b.respond(b.invite, "200 OK", b.sdp.String(), "Record-Route: <"+strict(p.callee)+">")
		routed(t, b.expect("ACK"), strict(p.callee), "<"+b.contact+">")
		a.answered()
		b.bye()
		routed(t, a.byes(), strict(p.caller), "<"+a.contact+">")
	})
}

// RFC 3261 13.2.2.4, 12.1.2: the ACK and BYE of an answer that lost against CANCEL go through the proxies too (drachtio 255).
func TestRouteOfAnAnswerAfterCancel(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		cancel := b.expect("CANCEL")
		b.contact = "sip:hidden@10.3.2.1:5099"
		route := fmt.Sprintf("<sip:%s;lr>", p.callee.local)
		b.respond(b.invite, "200 OK", b.sdp.String(), "Record-Route: "+route)
		b.respond(cancel, "200 OK", "")
		routed(t, b.expect("ACK"), b.contact, route)
		routed(t, b.byes(), b.contact, route)
	})
}

// RFC 3261 9.1, 15: causeway stops: calls that ring are cancelled and their callers told 503, calls that are up have BYE, and
// nobody is left ringing (LiveKit 567).
func TestStopDuringCalls(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		c, d := p.ringing()
		e := p.caller.dial("+14255550177") // whose callee has said nothing yet
		e.sendInvite(e.sdp.String())
		f := p.callee.incoming("+14255550177")
		ended := make(chan error, 1)
		go func() { ended <- p.Quit() }()
		if got := a.byes().header("Reason"); got == "" {
			t.Log("BYE at the end has no Reason")
		}
		b.byes()
		if res := c.refused(503); res.header("Retry-After") == "" {
			t.Errorf("503 at the end has no Retry-After:\n%s", res.raw)
		}
		e.refused(503)
		d.respond(d.expect("CANCEL"), "200 OK", "")
		d.refuse("487 Request Terminated")
		f.respond(f.invite, "100 Trying", "")
		if m := f.a.awaitOr(time.Second, f.of("CANCEL")); m != nil {
			f.respond(m, "200 OK", "")
			f.respond(f.invite, "487 Request Terminated", "")
		}
		p.callee.quiet(f.of("ACK"))
		if err := <-ended; err != nil {
			t.Errorf("causeway on SIGTERM: %v", err)
		}
	})
}

// RFC 3261 18.1.1: calls that begin at the same moment share one connection to the callee (sipgo 270: there were two).
func TestOneConnectionToTheCallee(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		var all strings.Builder
		var calls []*call
		for i := range 10 {
			a := p.caller.dial(fmt.Sprintf("+1425555400%d", i))
			text := a.request("INVITE", a.sdp.String())
			a.invite, _ = parseMessage(text)
			all.WriteString(text)
			calls = append(calls, a)
		}
		p.caller.send(all.String(), nil)
		for i, a := range calls {
			p.callee.incoming(fmt.Sprintf("+1425555400%d", i)).refuse("486 Busy Here")
			a.ackFailure(a.expect("486 INVITE"))
		}
		p.callee.mu.Lock()
		n := len(p.callee.links)
		p.callee.mu.Unlock()
		if n != 1 {
			t.Errorf("causeway made %d connections", n)
		}
	})
}

// Nothing that one peer sends ends another's call: in one causeway a call with audio stands while everything that this file and its
// neighbours know to send wrong is sent beside it, with its Call-ID and tags where they can be known.
func TestBystander(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		a, b := p.talking()
		began := time.Now()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			to := mediaAt(t, p.given(a))
			for {
				select {
				case <-stop:
					return
				default:
					a.audio.send(to, 0, 5)
				}
			}
		}()
		for _, wrong := range []string{
			"\r\n\r\n\r\n", "garbage\r\n\r\n", "INVITE\r\n\r\n", "BYE sip:x SIP/2.0\r\nContent-Length: 99999999999\r\n\r\n",
			"INVITE sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n", "OPTIONS sip:x SIP/2.0\r\nVia: x\r\nContent-Length: 0\r\n\r\n",
			"SIP/2.0 200 OK\r\nCall-ID: " + a.id + "\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", strings.Repeat("A", 70000),
		} {
			l := p.caller.connect()
			_, _ = l.Write([]byte(wrong))
			time.Sleep(10 * time.Millisecond)
			l.Close()
		}
		for _, c := range []*call{a, b} {
			local, remote, over := c.local, c.remote, c.over
			for _, method := range []string{"BYE", "CANCEL", "INVITE", "UPDATE", "INFO", "ACK", "PRACK"} {
				for _, tags := range [][2]string{{newTag(), tag(remote)}, {tag(local), newTag()}, {tag(remote), tag(local)}} {
					c.over = c.a.connect()
					c.local, c.remote = strings.Split(local, ";tag=")[0]+";tag="+tags[0], strings.Split(remote, ";tag=")[0]+";tag="+tags[1]
					c.send(c.write(method, c.number+5, "z9hG4bK"+newTag(), ""))
				}
			}
			c.local, c.remote, c.over = local, remote, over
			c.a.quiet(func(m *message) bool { return m.code() >= 400 })
		}
		time.Sleep(300 * time.Millisecond)
		for _, c := range []*call{a, b} {
			c.none("BYE", "and nobody of the call hung up")
		}
		close(stop)
		<-done
		rig.Eventually(t, patience, "what was said is heard", func() string {
			if sent, heard := int(a.audio.seq), b.audio.count(0, began); heard < sent*9/10 {
				return fmt.Sprintf("of %d packets %d", sent, heard)
			}
			return ""
		})
		p.hangUp(a, b)
		if !p.Running() || p.Process.Stop(syscall.Signal(0), 0) == nil {
			t.Error("causeway is gone")
		}
	})
}
