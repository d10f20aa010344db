package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// pipelined is a setting with connections, on which several messages can be sent in one segment.
var pipelined = setting{pool: "tcp", gateway: "tcp"}

// RFC 3261 12.2.2, 13.2.2.4 (mediation-anchors 5.3 number 7): ACK and a re-INVITE right behind it in one segment are taken in
// their order. So are a re-INVITE, its ACK and the BYE behind it.
func TestAckAndReinviteInOneSegment(t *testing.T) {
	t.Parallel()
	both(t, pipelined, func(t *testing.T, p parties) {
		for range 10 {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.respond(b.invite, "200 OK", b.sdp.String())
			res := a.expect("200 INVITE")
			a.establish(res)
			seq, _ := res.seq()
			a.sdp.direction = "sendonly"
			a.sdp.version++
			ack := a.write("ACK", seq, "z9hG4bK"+newTag(), "")
			reinvite := a.request("INVITE", a.sdp.String())
			a.a.send(ack+reinvite, a.over)
			b.expect("ACK")
			offer := b.reoffered("INVITE")
			if direction(offer.body) != "sendonly" {
				t.Errorf("the callee was offered %s", direction(offer.body))
			}
			b.answerReoffer(offer)
			res = a.expect("200 INVITE")
			seq, _ = res.seq()
			ack = a.write("ACK", seq, "z9hG4bK"+newTag(), "")
			a.a.send(ack+a.request("BYE", ""), a.over)
			a.expect("200 BYE")
			b.byes()
		}
	})
}

// RFC 3261 9.1: INVITE and CANCEL in one segment.
func TestInviteAndCancelInOneSegment(t *testing.T) {
	t.Parallel()
	both(t, pipelined, func(t *testing.T, p parties) {
		for range 10 {
			a := p.caller.dial(number)
			text := a.request("INVITE", a.sdp.String())
			invite, err := parseMessage(text)
			if err != nil {
				t.Fatal(err)
			}
			a.invite = invite
			a.a.send(text+a.cancel(), a.over)
			a.expect("200 CANCEL")
			a.refused(487)
			// The callee may have been asked already.
			if m := p.callee.awaitOr(300*time.Millisecond, func(m *message) bool { return m.code() == 0 && m.method() == "INVITE" }); m != nil {
				b := p.callee.newCall()
				b.id, b.invite, b.over, b.local, b.remote = m.callID(), m, m.over, m.header("To")+";tag="+newTag(), m.header("From")
				b.respond(m, "100 Trying", "")
				b.respond(b.expect("CANCEL"), "200 OK", "")
				b.refuse("487 Request Terminated")
			}
		}
	})
}

// RFC 3261 13.2.2, 12.2.2: what a callee sends in one segment: provisional responses and the answer; the answer and a
// re-INVITE; the answer and BYE.
func TestResponsesAndRequestsInOneSegment(t *testing.T) {
	t.Parallel()
	both(t, pipelined, func(t *testing.T, p parties) {
		for range 5 {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			text := b.response(b.invite, "180 Ringing", "") + b.response(b.invite, "183 Session Progress", b.sdp.String()) +
				b.response(b.invite, "200 OK", b.sdp.String()) + b.request("OPTIONS", "")
			b.a.respond(b.invite, text)
			b.expect("ACK")
			b.expect("200 OPTIONS")
			a.expect("180 INVITE")
			a.expect("183 INVITE")
			a.answered()
			b.a.send(b.request("OPTIONS", "")+b.request("BYE", ""), b.over)
			b.expect("200 OPTIONS")
			b.expect("200 BYE")
			a.byes()

			a = p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b = p.callee.incoming(number)
			b.a.respond(b.invite, b.response(b.invite, "200 OK", b.sdp.String())+b.request("BYE", ""))
			b.expect("ACK")
			b.expect("200 BYE")
			a.answered()
			a.byes()
		}
	})
}

// RFC 3261 18.3: a message that arrives in pieces, with keep-alives between messages (RFC 5626 3.5.1), is one message.
func TestSegmentsOfAMessage(t *testing.T) {
	t.Parallel()
	both(t, pipelined, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		l := p.caller.connect()
		a.over = l
		text := "\r\n\r\n" + a.request("INVITE", a.sdp.String())
		a.invite, _ = parseMessage(strings.TrimPrefix(text, "\r\n\r\n"))
		for i := 0; i < len(text); i += 97 {
			_, _ = l.Write([]byte(text[i:min(i+97, len(text))]))
			time.Sleep(5 * time.Millisecond)
		}
		b := p.callee.incoming(number)
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// Many calls on one connection: one that does nothing holds up no other, and the order within each is kept.
func TestManyCallsOnOneConnection(t *testing.T) {
	t.Parallel()
	both(t, pipelined, func(t *testing.T, p parties) {
		const n = 20
		stuck, silent := p.ringing() // is never answered
		var text strings.Builder
		var calls []*call
		for i := range n {
			a := p.caller.dial(fmt.Sprintf("+1425555%04d", i))
			invite := a.request("INVITE", a.sdp.String())
			a.invite, _ = parseMessage(invite)
			text.WriteString(invite)
			calls = append(calls, a)
		}
		p.caller.send(text.String(), nil)
		for i, a := range calls {
			b := p.callee.incoming(fmt.Sprintf("+1425555%04d", i))
			b.answer()
			a.answered()
			defer p.hangUp(a, b)
		}
		stuck.send(stuck.cancel())
		stuck.expect("200 CANCEL")
		stuck.refused(487)
		silent.respond(silent.expect("CANCEL"), "200 OK", "")
		silent.refuse("487 Request Terminated")
	})
}

// RFC 3261 17.1.3, 18.1.2: a response is known by its branch, whatever connection it comes on.
func TestResponseOnAnotherConnection(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		other := p.callee.connect()
		// A request first, so that the connection is a known one.
		b.a.send(b.response(b.invite, "180 Ringing", ""), other)
		a.expect("180 INVITE")
		b.a.send(b.response(b.invite, "200 OK", b.sdp.String()), other)
		b.expect("ACK")
		a.answered()
		p.hangUp(a, b)
	})
}
