package ua

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRefused(t *testing.T) {
	tests := []struct {
		reply  Reply
		reason string
	}{
		{Reply{Code: 486, Answer: 30 * time.Millisecond, Headers: []Header{{"Reason", "Q.850;cause=17"}}}, "Busy Here"},
		{Reply{Code: 404, Reason: "No Such Number", Ring: -1}, "No Such Number"},
		{Reply{Code: 603, Answer: 30 * time.Millisecond}, "Decline"},
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(network, tt.reply.Code), func(t *testing.T) {
				t.Parallel()
				calls, onInvite := collect(tt.reply)
				callee := start(t, Config{Listen: network + "://127.0.0.1:0", OnInvite: onInvite})
				caller := start(t, Config{Listen: network + "://127.0.0.1:0"})
				_, err := caller.Call(timeout(t, 5*time.Second), callee.URI("100"), Options{})
				var refused *ResponseError
				if !errors.As(err, &refused) || refused.Code != tt.reply.Code || refused.Reason != tt.reason {
					t.Fatalf("error %v, want %d %s", err, tt.reply.Code, tt.reason)
				}
				for _, h := range tt.reply.Headers {
					if got := refused.Final().Get(strings.ToLower(h.Name)); got != h.Value {
						t.Errorf("%s is %q, want %q", h.Name, got, h.Value)
					}
				}
				if rang := len(refused.Responses) > 1; rang != (tt.reply.Ring == 0) {
					t.Errorf("the responses are %+v", refused.Responses)
				}
				in := next(t, calls)
				waitDone(t, in)
				if in.Err() == nil || !in.Answered().IsZero() {
					t.Errorf("the callee has %v, answered %v", in.Err(), in.Answered())
				}
			})
		}
	}
}

func TestCancel(t *testing.T) {
	for _, network := range []string{"tcp", "udp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			calls, onInvite := collect(Reply{Answer: time.Minute})
			callee := start(t, Config{Listen: network + "://127.0.0.1:0", OnInvite: onInvite})
			caller := start(t, Config{Listen: network + "://127.0.0.1:0"})
			ctx, cancel := context.WithCancel(timeout(t, 5*time.Second))
			go func() {
				next(t, calls)
				time.Sleep(50 * time.Millisecond)
				cancel()
			}()
			_, err := caller.Call(ctx, callee.URI("100"), Options{})
			var refused *ResponseError
			if !errors.Is(err, context.Canceled) || !errors.As(err, &refused) || refused.Code != 487 {
				t.Errorf("error %v, want 487 and that it was cancelled", err)
			}
		})
	}
}

// TestCancelBeforeAnyResponse gives up a call to an endpoint that is slow to say anything: the CANCEL must wait.
func TestCancelBeforeAnyResponse(t *testing.T) {
	calls, onInvite := collect(Reply{Ring: -1, Answer: 10 * time.Second})
	callee := start(t, Config{Listen: "tcp://127.0.0.1:0", OnInvite: onInvite})
	caller := start(t, Config{Listen: "tcp://127.0.0.1:0"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := caller.Call(ctx, callee.URI("100"), Options{})
	var refused *ResponseError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &refused) || refused.Code != 487 {
		t.Fatalf("error %v, want 487 and that it was cancelled", err)
	}
	if len(refused.Responses) != 2 || refused.Responses[0].Code != 100 {
		t.Errorf("the responses are %+v, want a 100 first", refused.Responses)
	}
	in := next(t, calls)
	waitDone(t, in)
	if end, _ := in.EndedBy(); end != Remote || !errors.Is(in.Err(), errCancelled) {
		t.Errorf("the callee says %q, %v", end, in.Err())
	}
}

func TestHangupWhileRinging(t *testing.T) {
	calls, onInvite := collect(Reply{Answer: time.Minute})
	callee := start(t, Config{Listen: "udp://127.0.0.1:0", OnInvite: onInvite})
	caller := start(t, Config{Listen: "udp://127.0.0.1:0"})
	go func() {
		if err := next(t, calls).Hangup(context.Background()); !errors.Is(err, errGivenUp) {
			t.Errorf("hangup: %v", err)
		}
	}()
	_, err := caller.Call(timeout(t, 5*time.Second), callee.URI("100"), Options{})
	var refused *ResponseError
	if !errors.As(err, &refused) || refused.Code != 480 {
		t.Errorf("error %v, want 480", err)
	}
}

func TestEarlyMedia(t *testing.T) {
	calls, onInvite := collect(Reply{EarlyMedia: true, Answer: 800 * time.Millisecond, Code: 480})
	callee := start(t, Config{Listen: "tls://127.0.0.1:0", SRTP: AES80, Audio: sines(425), OnInvite: onInvite})
	caller := start(t, Config{Listen: "tls://127.0.0.1:0", SRTP: AES80, Audio: sines(300)})
	_, err := caller.Call(timeout(t, 5*time.Second), callee.URI("100"), Options{})
	var refused *ResponseError
	if !errors.As(err, &refused) || refused.Code != 480 || refused.Responses[0].Code != 183 {
		t.Fatalf("error %v, want 480 after 183", err)
	}
	in := next(t, calls)
	waitDone(t, in)
	hears(t, "the callee", in, 300)
}

func TestCalleeHangsUp(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		t.Run(fmt.Sprint("reuse ", reuse), func(t *testing.T) {
			t.Parallel()
			calls, onInvite := collect(Reply{HangupAfter: 300 * time.Millisecond})
			callee := start(t, Config{Listen: "tls://127.0.0.1:0", OnInvite: onInvite, ReuseConnection: reuse})
			caller := start(t, Config{Listen: "tls://127.0.0.3:0"})
			out, err := caller.Call(timeout(t, 5*time.Second), callee.URI("100"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			waitDone(t, out)
			in := next(t, calls)
			waitDone(t, in)
			if end, _ := out.EndedBy(); end != Remote || out.Err() != nil || in.Err() != nil {
				t.Errorf("ended by %q, %v, %v", end, out.Err(), in.Err())
			}
			if d := out.Ended().Sub(out.Answered()); d < 250*time.Millisecond {
				t.Errorf("hung up after %v", d)
			}
		})
	}
}

// TestMismatch calls between endpoints that cannot agree.
func TestMismatch(t *testing.T) {
	tests := []struct{ name, caller, callee string }{
		{"plain to secure", "", AES80},
		{"secure to plain", AES80, ""},
		{"two suites", AES80, GCM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls, onInvite := collect(Reply{})
			callee := start(t, Config{Listen: "tcp://127.0.0.1:0", SRTP: tt.callee, OnInvite: onInvite})
			caller := start(t, Config{Listen: "tcp://127.0.0.1:0", SRTP: tt.caller})
			_, err := caller.Call(timeout(t, 5*time.Second), callee.URI("100"), Options{})
			var refused *ResponseError
			if !errors.As(err, &refused) || refused.Code != 488 {
				t.Errorf("error %v, want 488", err)
			}
			in := next(t, calls)
			waitDone(t, in)
			if !errors.Is(in.Err(), ErrSDP) {
				t.Errorf("the callee says %v", in.Err())
			}
		})
	}
}
