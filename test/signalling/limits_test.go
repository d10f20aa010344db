package signalling

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// dropped is how many of a side's messages and connections were dropped for a reason.
func (l *lab) dropped(side, reason string) float64 {
	l.t.Helper()
	return l.Metric(fmt.Sprintf("causeway_mediation_sip_dropped_total{reason=%q,side=%q}", reason, side))
}

// RFC 3261 21.5.4: above max_calls a call has 503 with Retry-After, the others go on, and one that ends makes room.
func TestMaxCalls(t *testing.T) {
	t.Parallel()
	both(t, setting{more: []string{"max_calls: 2"}}, func(t *testing.T, p parties) {
		a, b := p.talking()
		c, d := p.ringing()
		turnedAway(t, p.caller)
		turnedAway(t, p.callee)
		d.answer()
		c.answered()
		p.hangUp(a, b)
		p.idleTo(1)
		a, b = p.talking()
		turnedAway(t, p.caller)
		p.hangUp(c, d)
		p.hangUp(b, a)
	})
}

// idleTo waits until so many calls are left.
func (l *lab) idleTo(n float64) {
	l.t.Helper()
	rig.Eventually(l.t, patience, "calls end", func() string {
		if now := l.Sum("causeway_mediation_calls"); now != n {
			return fmt.Sprintf("%v are left, want %v", now, n)
		}
		return ""
	})
}

// RFC 3261 21.5.4: above max_call_rate the same, with a burst of one second's worth; what a call needs later is never refused.
func TestMaxCallRate(t *testing.T) {
	t.Parallel()
	both(t, setting{more: []string{"max_call_rate: 5"}}, func(t *testing.T, p parties) {
		const n = 30
		began := time.Now()
		var calls []*call
		for range n {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			calls = append(calls, a)
		}
		took := time.Since(began)
		refused := 0
		var served []*call
		for _, a := range calls {
			m := p.caller.await(patience, "100 or 503", func(m *message) bool { return a.is(m, "503 INVITE") || a.is(m, "100 INVITE") })
			if m.code() == 503 {
				if m.header("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				a.ackFailure(m)
				refused++
				continue
			}
			served = append(served, a)
			p.callee.incoming(number).refuse("486 Busy Here") // of some call that is served
		}
		for _, a := range served {
			a.refused(486)
		}
		most := 5 + int(5*took.Seconds()) + 1
		if len(served) < 5 || len(served) > most {
			t.Errorf("%d of %d calls in %v were served and %d refused, want 5 to %d served", len(served), n, took, refused, most)
		}
		time.Sleep(1200 * time.Millisecond)
		a, b := p.talking()
		p.hangUp(a, b)
	})
}

// Connections beyond the limit are closed, those that say nothing valid give their place up in time, and the peer that is known
// is served all along.
func TestConnections(t *testing.T) {
	t.Parallel()
	limits := "limits: {connections: 12, unproven_connections: 4, prove_within: 2s}"
	both(t, setting{pool: "tcp", gateway: "tcp", more: []string{limits}}, func(t *testing.T, p parties) {
		a, b := p.talking()
		var idle []net.Conn
		for range 20 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.caller.local.Addr().AsSlice()}, Timeout: 2 * time.Second}
			c, err := d.Dial("tcp", p.caller.peer.String())
			if err != nil {
				continue
			}
			defer c.Close()
			idle = append(idle, c)
		}
		open := func() (n int) {
			for _, c := range idle {
				_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					n++
				}
			}
			return n
		}
		rig.Eventually(t, patience, "no more than 4 silent connections stay", func() string {
			if n := open(); n > 4 {
				return fmt.Sprintf("%d are open", n)
			}
			return ""
		})
		if p.dropped(p.caller.side, "unproven") == 0 {
			t.Error("nothing is counted as unproven")
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		rig.Eventually(t, patience, "silent connections are closed in the end", func() string {
			if n := open(); n > 0 {
				return fmt.Sprintf("%d are open", n)
			}
			return ""
		})
		p.hangUp(a, b)
		a, b = p.talking()
		p.hangUp(b, a)
	})
}

// Beyond the limit of connections no peer, however proper, gets another one, and those that there are stay.
func TestConnectionsOfProperPeers(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp", more: []string{"limits: {connections: 8}"}}, func(t *testing.T, p parties) {
		a, b := p.talking()
		served := 0
		for range 15 {
			c := p.caller.dial(number)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: p.caller.local.Addr().AsSlice()}, Timeout: 2 * time.Second}
			conn, err := d.Dial("tcp", p.caller.peer.String())
			if err != nil {
				continue
			}
			l := &link{TCPConn: conn.(*net.TCPConn), dialled: true, done: make(chan struct{})}
			p.caller.follow(l)
			_, _ = l.Write([]byte(c.request("OPTIONS", "")))
			if p.caller.awaitOr(500*time.Millisecond, c.of("200 OPTIONS")) != nil {
				served++
			}
		}
		if served < 5 || served > 8 {
			t.Errorf("%d of 15 further connections were served, with a limit of 8", served)
		}
		if p.dropped(p.caller.side, "connections") == 0 {
			t.Error("nothing is counted as connections")
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 21.5.7: a message that is too large, or has too many headers, has 513 or another answer, or a named drop; the peer's next
// call is served.
func TestMessageSizeAndHeaderCount(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			both(t, setting{pool: network, gateway: network, more: []string{"limits: {message_size: 4096, headers: 50}"}}, func(t *testing.T, p parties) {
				for reason, headers := range map[string][]string{
					"message_size": {"X-Large: " + strings.Repeat("x", 5000)},
					"header_count": strings.Split(strings.Repeat("X: y\n", 60)+"X: y", "\n"),
				} {
					before := p.dropped(p.caller.side, reason)
					a := p.caller.dial(number)
					a.sendInvite(a.sdp.String(), headers...)
					res := p.caller.awaitOr(3*time.Second, func(m *message) bool { return m.callID() == a.id && m.code() >= 400 })
					if res != nil && res.code() != 513 && res.code() != 400 {
						t.Errorf("%s: %s", reason, res.first)
					}
					if now := p.dropped(p.caller.side, reason); now == before {
						t.Errorf("nothing is counted as %s", reason)
					}
					if network == "tcp" && res != nil {
						a.ackFailure(res)
					}
				}
				p.caller.quiet(func(m *message) bool { return m.code() == 513 || m.code() == 400 })
				a, b := p.talking()
				p.hangUp(a, b)
			})
		})
	}
}

// The same by SIPp: 503 above max_calls.
func TestSIPpMaxCalls(t *testing.T) {
	t.Parallel()
	for _, from := range []string{poolSide, gatewaySide} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, setting{pool: "tcp", more: []string{"max_calls: 1"}}).start()
			to := map[string]string{poolSide: gatewaySide, gatewaySide: poolSide}[from]
			callee := l.sipp(t, to, script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")})
			// Two calls of one SIPp: the second comes while the first is up.
			first := l.sipp(t, from, script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(3 * time.Second), sends("BYE", ""), hears("200")})
			l.idleTo(1)
			second := l.sippAt(t, from, 5070, script{invites(usual()), mayHear("100"), hears("503", check{"Retry-After", "[1-9]"}), acksFailure()})
			second.Finished(10 * time.Second)
			first.Finished(10 * time.Second)
			callee.Finished(10 * time.Second)
			l.idle()
		})
	}
}
