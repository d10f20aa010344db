package signalling

import (
	"testing"
	"time"
)

// RFC 3261 15.1: whoever hangs up, the other side hears BYE.
func TestHangUp(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		p.hangUp(a, b)
		a, b = p.talking()
		p.hangUp(b, a)
	})
}

// The same by SIPp.
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
}
