package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// long are headers that make an INVITE more than one datagram should carry, in what causeway passes on.
func long() []string {
	headers := []string{"User-to-User: " + strings.Repeat("00112233", 60) + ";encoding=hex"}
	for i := range 8 {
		headers = append(headers, fmt.Sprintf("Diversion: <sip:+1425555%04d@proxy.invalid>;reason=unconditional;counter=%d;privacy=off", i, i+1))
	}
	return headers
}

// RFC 3261 18.1.1: a request of more than 1,300 bytes toward a UDP peer goes over TCP when the peer listens there, and what
// follows in its dialog finds its way.
func TestLargeRequestGoesOverTCP(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		p.callee.listen("tcp")
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), long()...)
		b := p.callee.incoming(number)
		if len(b.invite.raw) <= 1300 {
			t.Fatalf("the INVITE has %d bytes, which shows nothing", len(b.invite.raw))
		}
		if b.invite.over == nil || !strings.HasPrefix(b.invite.header("Via"), "SIP/2.0/TCP") {
			t.Errorf("an INVITE of %d bytes came over UDP or says so: Via: %s", len(b.invite.raw), b.invite.header("Via"))
		}
		b.ring()
		a.expect("180 INVITE")
		b.answer()
		a.answered()
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hold(a, b, "sendonly")
		p.hold(a, b, "sendrecv")
		p.hangUp(a, b)

		a = p.caller.dial(number)
		a.sendInvite(a.sdp.String(), long()...)
		b = p.callee.incoming(number)
		b.ring()
		a.expect("180 INVITE")
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// RFC 3261 18.1.1: without a TCP listener there the call fails with a reason that says so, or goes by UDP in the end, and
// the caller hears soon.
func TestLargeRequestWhereNobodyListens(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		began := time.Now()
		a.sendInvite(a.sdp.String(), long()...)
		res := a.a.await(patience, "an end or a beginning", func(m *message) bool { return a.is(m, "5xx INVITE") || a.is(m, "18x INVITE") })
		if res.code() < 500 {
			t.Fatalf("the caller heard %s", res.first)
		}
		a.ackFailure(res)
		if time.Since(began) > 6*time.Second {
			t.Errorf("the refusal took %v", time.Since(began))
		}
		said := res.header("Warning") + res.header("Reason") + res.first
		if !contains(said, "tcp") && !contains(said, "large") && !contains(said, "size") && !contains(said, "long") && !contains(said, "big") {
			t.Errorf("the refusal does not say what was wrong:\n%s", res.raw)
		}
	})
}

// RFC 3261 18.1.1: a response of any size goes by UDP to a UDP peer, and so does a request that is not large.
func TestLargeResponseStaysOnUDP(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer("User-to-User: "+strings.Repeat("00112233", 60)+";encoding=hex", "P-Asserted-Identity: <sip:+14255550123@"+b.a.domain()+">",
			"History-Info: <sip:+14255550123@"+strings.Repeat("y", 60)+".example>;index=1", "X-Large: "+strings.Repeat("z", 3000))
		res := a.answered()
		if !contains(res.header("User-to-User"), strings.Repeat("00112233", 60)) {
			t.Errorf("User-to-User did not arrive: %q", res.header("User-to-User"))
		}
		p.hangUp(a, b)
	})
}
