package signalling

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// beating is a setting whose peers are asked often.
func beating() setting {
	lines := []string{"heartbeat: {interval: 1s, failures: 2, successes: 2}"}
	return setting{heartbeat: true, patient: true, poolMore: lines, gateMore: lines}
}

// ready waits until /readyz says so, or the opposite.
func (l *lab) ready(want bool, within time.Duration) (text string) {
	l.t.Helper()
	rig.Eventually(l.t, within, fmt.Sprintf("/readyz says %v", want), func() string {
		status, body, err := l.Get("/readyz")
		if err != nil {
			return err.Error()
		}
		text = body
		if (status == http.StatusOK) != want {
			return fmt.Sprintf("it says %d %s", status, body)
		}
		return ""
	})
	return text
}

// turnedAway is the caller's whole call when there is nobody to call: 503 with Retry-After, at once.
func turnedAway(t *testing.T, a *agent, with ...string) *message {
	t.Helper()
	c := a.dial(number)
	began := time.Now()
	c.sendInvite(c.sdp.String(), with...)
	res := c.refused(503)
	if n, err := strconv.Atoi(res.header("Retry-After")); err != nil || n < 1 {
		t.Errorf("503 has Retry-After %q", res.header("Retry-After"))
	}
	if took := res.at.Sub(began); took > time.Second+5*lag.worst(began) {
		t.Errorf("503 took %v", took)
	}
	return res
}

// RFC 3261 11, 21.5.4: a peer that stops answering OPTIONS is down: calls toward it have 503 with Retry-After at once,
// /readyz and a metric say so, calls that are up go on; when it answers again all is as before.
func TestPeerStopsAnsweringOptions(t *testing.T) {
	t.Parallel()
	both(t, beating(), func(t *testing.T, p parties) {
		rig.Eventually(t, patience, "OPTIONS comes again and again", func() string {
			p.callee.mu.Lock()
			defer p.callee.mu.Unlock()
			if p.callee.pings < 4 {
				return fmt.Sprintf("%d came", p.callee.pings)
			}
			return ""
		})
		p.ready(true, patience)
		a, b := p.talking()
		up := fmt.Sprintf("causeway_mediation_sip_peer_up{side=%q}", p.callee.side)
		if v, ok := p.Metrics()[up]; !ok || v != 1 {
			t.Errorf("%s is %v (there: %v), want 1", up, v, ok)
		}

		p.callee.setMute(true)
		text := p.ready(false, 40*time.Second) // timer F of OPTIONS may be part of it
		if !strings.Contains(text, p.callee.side) {
			t.Errorf("/readyz does not say which side: %s", text)
		}
		if v := p.Metrics()[up]; v != 0 {
			t.Errorf("%s is %v, want 0", up, v)
		}
		for range 3 {
			turnedAway(t, p.caller)
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		// The other direction is not the gateway's to refuse.
		c := p.callee.dial(number)
		c.sendInvite(c.sdp.String())
		d := p.caller.incoming(number)
		d.answer()
		c.answered()
		p.hangUp(c, d)

		p.callee.setMute(false)
		p.ready(true, 40*time.Second)
		if v := p.Metrics()[up]; v != 1 {
			t.Errorf("%s is %v, want 1", up, v)
		}
		c, d = p.talking()
		p.hangUp(c, d)
		p.hangUp(a, b)
	})
}

// RFC 3261 11.2: an answer is life, whatever it says, but for 408 and 503: a peer that refuses OPTIONS is up.
func TestPeerRefusesOptions(t *testing.T) {
	t.Parallel()
	both(t, beating(), func(t *testing.T, p parties) {
		p.callee.say("405 Method Not Allowed")
		time.Sleep(3 * time.Second)
		p.ready(true, time.Second)
		a, b := p.talking()
		p.hangUp(a, b)
		p.callee.say("503 Service Unavailable")
		p.ready(false, patience)
		turnedAway(t, p.caller)
		p.callee.say("200 OK")
		p.ready(true, patience)
	})
}

// The same by SIPp: it answers some OPTIONS and goes; another takes its place.
func TestSIPpHeartbeat(t *testing.T) {
	t.Parallel()
	for _, side := range []string{poolSide, gatewaySide} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			s := beating()
			s.pool = "tcp"
			// The other side's peer is not asked.
			if side == poolSide {
				s.gateMore = []string{"heartbeat: {interval: 0s}"}
			} else {
				s.poolMore = []string{"heartbeat: {interval: 0s}"}
			}
			l := newLab(t, s)
			alive := script{hearsOptions(), answersOptions()}
			first := l.sipp(t, side, alive, "-m", "5")
			l.start()
			l.ready(true, patience)
			first.Finished(20 * time.Second)
			l.ready(false, 40*time.Second)
			from := poolSide
			if side == poolSide {
				from = gatewaySide
			}
			l.sipp(t, from, script{invites(usual()), mayHear("100"), hears("503", check{"Retry-After", "[1-9]"}), acksFailure()}).Finished(20 * time.Second)
			second := l.sipp(t, side, alive, "-m", "500")
			l.ready(true, patience)
			second.Kill()
		})
	}
}

// hearsOptions and answersOptions are OPTIONS outside a dialog.
func hearsOptions() step {
	return func(w *scenario) {
		w.heard = "OPTIONS"
		w.WriteString(`<recv request="OPTIONS" crlf="true"/>` + "\n")
	}
}

func answersOptions() step {
	return func(w *scenario) {
		w.sent(false, "", "SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:];tag=[call_number]", "[last_Call-ID:]", "[last_CSeq:]")
		w.alone = true
	}
}
