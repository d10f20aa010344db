package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// digitBodies are the two ways in which a digit is written in INFO.
func digitBodies(digit string) map[string]string {
	return map[string]string{
		"application/dtmf-relay": "Signal=" + digit + "\r\nDuration=160\r\n",
		"application/dtmf":       digit,
	}
}

// RFC 6086, RFC 2976: a digit in INFO has 200 and is heard on the other side as an RFC 4733 event, from its beginning to an
// end that is told three times, each event once (mediation-anchors 4: events told apart by their timestamp).
func TestDigitsByInfo(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			for kind, body := range digitBodies("5") {
				began := time.Now()
				from.send(from.request("INFO", body, "Content-Type: "+kind))
				from.expect("200 INFO")
				time.Sleep(500 * time.Millisecond)
				one, ends := eventsOf(peer.audio.packets(began))
				if len(one) != 1 || one[0].digit != 5 {
					t.Errorf("INFO with %s from the %s was heard as %+v, want one event 5", kind, side.name, one)
					continue
				}
				if ends < 1 {
					t.Errorf("the event of %s has no end", kind)
				}
				if d := one[0].duration; d < 40*8 || d > 400*8 {
					t.Errorf("the event of %s lasted %d samples", kind, d)
				}
			}
		}
		p.hangUp(a, b)
	})
}

// event is an RFC 4733 telephone event as it was heard: its packets share a timestamp.
type event struct {
	digit    byte
	stamp    uint32
	duration int // samples
}

func eventsOf(packets []packet) (all []event, ends int) {
	for _, p := range packets {
		if p.kind != 101 || len(p.payload) < 4 {
			continue
		}
		e := event{digit: p.payload[0], stamp: p.stamp, duration: int(p.payload[2])<<8 | int(p.payload[3])}
		if p.payload[1]&0x80 != 0 {
			ends++
		}
		if n := len(all); n > 0 && all[n-1].stamp == e.stamp {
			all[n-1].duration = max(all[n-1].duration, e.duration)
			continue
		}
		all = append(all, e)
	}
	return all, ends
}

// RFC 6086: to a side that has not agreed to telephone events the INFO is passed on.
func TestDigitsWithoutTelephoneEvents(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.sdp.formats = "0 8"
		b.answer("Allow: INVITE, ACK, CANCEL, BYE, INFO")
		a.answered()
		a.send(a.request("INFO", "Signal=9\r\nDuration=120\r\n", "Content-Type: application/dtmf-relay"))
		a.expect("200 INFO")
		info := b.expect("INFO")
		if user := info.header("Content-Type"); user != "application/dtmf-relay" || !contains(info.body, "signal=9") {
			t.Errorf("passed on as\n%s", info.raw)
		}
		b.respond(info, "200 OK", "")
		p.hangUp(a, b)
	})
}

// RFC 6086 4.2.2: INFO without a body is a sign of life; every digit there is; what is no digit is answered and not played.
func TestInfoBodies(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.send(a.request("INFO", ""))
		a.expect("200 INFO")
		began := time.Now()
		for i, digit := range []string{"0", "9", "*", "#", "A", "D"} {
			a.send(a.request("INFO", "Signal="+digit+"\r\nDuration=60\r\n", "Content-Type: application/dtmf-relay"))
			a.expect("200 INFO")
			want := []byte{0, 9, 10, 11, 12, 15}[i]
			time.Sleep(350 * time.Millisecond)
			all, _ := eventsOf(b.audio.packets(began))
			if len(all) != i+1 || all[i].digit != want {
				t.Errorf("after %s: %+v, want event %d last", digit, all, want)
			}
		}
		for _, body := range []string{"Signal=\r\n", "Signal=77777777777777\r\n", "\x00\x01\x02", "Duration=5\r\n"} {
			a.send(a.request("INFO", body, "Content-Type: application/dtmf-relay"))
			a.a.await(patience, "answer to INFO", func(m *message) bool { return a.is(m, "2xx INFO") || a.is(m, "4xx INFO") })
		}
		p.hangUp(b, a)
	})
}

// The same by SIPp: a digit from either side has 200 and harms nothing.
func TestSIPpInfo(t *testing.T) {
	t.Parallel()
	digit := steps(sends("INFO", "Signal=5\nDuration=160\n", "Content-Type: application/dtmf-relay"), hears("200"), waits(300*time.Millisecond))
	play(t, "of the caller", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(100 * time.Millisecond), digit, sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")}, nil)
	play(t, "of the callee", setting{},
		script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), hears("BYE"), answers("200 OK", "")},
		script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), waits(100 * time.Millisecond), digit, sends("BYE", ""), hears("200")}, nil)
}

// RFC 6086, RFC 4733 2.5.1.3: digits that come in quick succession are heard one after the other, all of them, in their order.
func TestDigitsInSuccession(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		began := time.Now()
		const digits = "1234567890"
		for _, d := range digits {
			a.send(a.request("INFO", fmt.Sprintf("Signal=%c\r\nDuration=100\r\n", d), "Content-Type: application/dtmf-relay"))
			a.expect("200 INFO")
		}
		time.Sleep(3 * time.Second)
		all, _ := eventsOf(b.audio.packets(began))
		var heard strings.Builder
		for _, e := range all {
			fmt.Fprintf(&heard, "%d", e.digit)
		}
		if heard.String() != digits {
			t.Errorf("%s was dialled and %s heard", digits, heard.String())
		}
		p.hangUp(a, b)
	})
}
