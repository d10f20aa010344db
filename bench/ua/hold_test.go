package ua

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// pair is a call between two endpoints.
func pair(t *testing.T, network, srtp string, unchanging bool) (out, in *Call) {
	t.Helper()
	calls, onInvite := collect(Reply{})
	callee := start(t, Config{
		Name: "callee", Listen: network + "://127.0.0.1:0", SRTP: srtp, Audio: sines(620), OnInvite: onInvite, Unchanging: unchanging,
	})
	caller := start(t, Config{Name: "caller", Listen: network + "://127.0.0.3:0", SRTP: srtp, Audio: sines(440)})
	out, err := caller.Call(timeout(t, 10*time.Second), callee.URI("100"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out, next(t, calls)
}

// flows counts what each end receives in 300 ms.
func flows(from, to *Call) (forth, back uint64) {
	time.Sleep(100 * time.Millisecond) // what was under way
	a, b := to.Stats().Received, from.Stats().Received
	time.Sleep(300 * time.Millisecond)
	return to.Stats().Received - a, from.Stats().Received - b
}

func TestHoldAndResume(t *testing.T) {
	for _, network := range []string{"tls", "udp"} {
		for _, byCallee := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by the callee %v", network, byCallee), func(t *testing.T) {
				t.Parallel()
				srtp := map[string]string{"tls": AES80}[network]
				out, in := pair(t, network, srtp, false)
				by, other := out, in
				if byCallee {
					by, other = in, out
				}
				ctx := timeout(t, 20*time.Second)
				for i, c := range []struct {
					direction Direction
					forth     bool // audio goes from the one that offers
					back      bool
				}{{SendOnly, true, false}, {Inactive, false, false}, {RecvOnly, false, true}, {SendRecv, true, true}} {
					if err := by.Reoffer(ctx, c.direction); err != nil {
						t.Fatal(err)
					}
					offers := other.Offers()
					if len(offers) != i+1 || offers[i].Direction != c.direction {
						t.Errorf("the other end was offered %+v, want %s last", offers, c.direction)
					}
					forth, back := flows(by, other)
					if (forth > 5) != c.forth || (back > 5) != c.back || !c.forth && forth > 0 || !c.back && back > 0 {
						t.Errorf("%s: %d packets forth and %d back", c.direction, forth, back)
					}
				}
				// Held by both, and resumed by one: what the other wants stays.
				if err := by.Reoffer(ctx, SendOnly); err != nil {
					t.Fatal(err)
				}
				if err := other.Reoffer(ctx, SendRecv); err != nil {
					t.Fatal(err)
				}
				if forth, back := flows(by, other); forth <= 5 || back > 0 {
					t.Errorf("still held: %d packets forth and %d back", forth, back)
				}
				if err := by.Hangup(ctx); err != nil {
					t.Error(err)
				}
				waitDone(t, other)
				for who, c := range map[string]*Call{"by": by, "other": other} {
					if st := c.Stats(); st.Lost != 0 || st.Rejected != 0 || st.SSRCs != 1 {
						t.Errorf("%s: %+v", who, st)
					}
				}
			})
		}
	}
}

// Both ends change the call at once: one of them at least is told to wait (RFC 3261 section 14.2), and the call goes on.
func TestRekey(t *testing.T) {
	for _, byCallee := range []bool{false, true} {
		t.Run(fmt.Sprintf("by the callee %v", byCallee), func(t *testing.T) {
			t.Parallel()
			out, in := pair(t, "udp", GCM, false)
			by, other := out, in
			if byCallee {
				by, other = in, out
			}
			before := other.Invite().SDP
			if byCallee {
				before = by.Invite().SDP
			}
			if err := by.Rekey(timeout(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
			offers := other.Offers()
			if len(offers) != 1 || offers[0].Direction != SendRecv || cryptoLine(offers[0].SDP) == cryptoLine(before) {
				t.Errorf("offered %+v after\n%s", offers, before)
			}
			if forth, back := flows(by, other); forth <= 5 || back <= 5 {
				t.Errorf("%d packets forth and %d back", forth, back)
			}
		})
	}
}

// cryptoLine is the a=crypto line of a description, or "".
func cryptoLine(body string) string {
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "a=crypto:") {
			return line
		}
	}
	return ""
}

func TestReoffersCross(t *testing.T) {
	t.Parallel()
	out, in := pair(t, "tcp", "", false)
	ctx := timeout(t, 20*time.Second)
	for range 10 {
		first := make(chan error, 1)
		go func() { first <- out.Reoffer(ctx, Inactive) }()
		second := in.Reoffer(ctx, SendRecv)
		for _, err := range []error{<-first, second} {
			var refused *ResponseError
			if err != nil && (!errors.As(err, &refused) || refused.Code != 491) {
				t.Errorf("want 491 or none, got %v", err)
			}
		}
	}
	if err := out.Reoffer(ctx, SendRecv); err != nil {
		t.Error(err)
	}
	if forth, back := flows(out, in); forth <= 5 || back <= 5 {
		t.Errorf("afterwards %d packets forth and %d back", forth, back)
	}
}

func TestReofferRefused(t *testing.T) {
	t.Parallel()
	out, in := pair(t, "tcp", "", true)
	ctx := timeout(t, 10*time.Second)
	var refused *ResponseError
	if err := out.Reoffer(ctx, SendOnly); !errors.As(err, &refused) || refused.Code != 488 {
		t.Errorf("error %v, want 488", err)
	}
	if forth, back := flows(out, in); forth <= 5 || back <= 5 {
		t.Errorf("afterwards %d packets forth and %d back", forth, back)
	}
	if err := out.Hangup(ctx); err != nil {
		t.Error(err)
	}
	waitDone(t, in)
	if err := out.Reoffer(ctx, SendOnly); err == nil {
		t.Error("a call that is over was changed")
	}
}
