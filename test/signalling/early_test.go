package signalling

import (
	"strings"
	"testing"
	"time"
)

// RFC 3261 13.2.1, RFC 3960: 180 passes as it is; 183 with a description opens the media before the answer, both ways.
func TestEarlyMedia(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{{"183"}, {"180", "183"}, {"183", "180"}} {
		t.Run(strings.Join(order, " then "), func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sendInvite(a.sdp.String())
				b := p.callee.incoming(number)
				began := time.Now()
				early := ""
				for _, code := range order {
					if code == "180" {
						b.ring()
						a.expect("180 INVITE")
						continue
					}
					b.respond(b.invite, "183 Session Progress", b.sdp.String())
					early = a.expect("183 INVITE").body
				}
				if early == "" {
					t.Fatal("183 came without the description")
				}
				hear(t, b, a, b.invite.body, 0, 0, began)
				hear(t, a, b, early, 0, 0, began)
				b.answer()
				res := a.answered()
				if res.body != "" && res.body != early {
					t.Errorf("the answer in the 200 differs from the one in the 183 (RFC 3261 13.2.1):\n%s\n%s", early, res.body)
				}
				p.hangUp(a, b)
			})
		})
	}
}

// RFC 3261 8.1.3.2, 13.2.2.1: any number of provisional responses (mediation-anchors 5.3 number 2: the twelfth response
// ended the wait).
func TestManyProvisionalResponses(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		for i := range 30 {
			switch i % 3 {
			case 0:
				b.ring()
			case 1:
				b.respond(b.invite, "183 Session Progress", b.sdp.String())
			case 2:
				b.respond(b.invite, "182 Queued", "")
			}
			time.Sleep(20 * time.Millisecond)
		}
		b.answer()
		a.answered()
		p.caller.quiet(func(m *message) bool { return m.code() > 100 && m.code() < 200 })
		p.hangUp(a, b)
	})
}

// The same by SIPp: early media, then the answer; fourteen provisional responses.
func TestSIPpProvisionalResponses(t *testing.T) {
	t.Parallel()
	caller := script{invites(usual()), mayHear("100"), mayHear("180"), mayHear("183"), hears("200"), acks(""), waits(100 * time.Millisecond),
		sends("BYE", ""), hears("200")}
	callee := script{hears("INVITE"), answers("100 Trying", "")}
	for range 7 {
		callee = append(callee, answers("180 Ringing", ""), waits(30*time.Millisecond), answers("183 Session Progress", usual()), waits(30*time.Millisecond))
	}
	callee = append(callee, answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", ""))
	play(t, "fourteen", setting{}, caller, callee, nil)
	play(t, "183 with media", setting{},
		script{invites(usual()), mayHear("100"), hears("183", check{"", "m=audio [1-9]"}), hears("200"), acks(""), waits(100 * time.Millisecond),
			sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("183 Session Progress", usual()), waits(200 * time.Millisecond), answers("200 OK", usual()), hears("ACK"),
			hears("BYE"), answers("200 OK", "")}, nil)
	play(t, "180", setting{},
		script{invites(usual()), mayHear("100"), hears("180"), hears("200"), acks(""), waits(100 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("180 Ringing", ""), waits(200 * time.Millisecond), answers("200 OK", usual()), hears("ACK"),
			hears("BYE"), answers("200 OK", "")}, nil)
}
