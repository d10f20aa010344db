package srtpv2

import (
	"context"
	"crypto/rand"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	srtp3 "github.com/pion/srtp/v3"
	"go.uber.org/goleak"

	"causeway/bench/tone"
	"causeway/bench/ua"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var lengths = map[string]int{ua.AES80: 30, ua.AES32: 30, ua.GCM: 28}

func keys(suite string) (a, b []byte) {
	a, b = make([]byte, lengths[suite]), make([]byte, lengths[suite])
	rand.Read(a)
	rand.Read(b)
	return a, b
}

// TestAgainstV3 sends packets both ways between the two majors, over the wrap of the sequence number, where the
// rollover counter that is not on the wire must count along (RFC 3711 section 3.3.1).
func TestAgainstV3(t *testing.T) {
	profile := map[string]srtp3.ProtectionProfile{
		ua.AES80: srtp3.ProtectionProfileAes128CmHmacSha1_80, ua.AES32: srtp3.ProtectionProfileAes128CmHmacSha1_32,
		ua.GCM: srtp3.ProtectionProfileAeadAes128Gcm,
	}
	for suite := range lengths {
		a, b := keys(suite)
		v2, err := New(suite, a, b)
		if err != nil {
			t.Fatal(err)
		}
		send, err := srtp3.CreateContext(b[:16], b[16:], profile[suite])
		if err != nil {
			t.Fatal(err)
		}
		receive, err := srtp3.CreateContext(a[:16], a[16:], profile[suite])
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(65530 + i), SSRC: 7}, Payload: make([]byte, 160)}
			packet, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			wire, err := v2.ProtectRTP(nil, packet)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := receive.DecryptRTP(nil, wire, nil); err != nil || !slices.Equal(got, packet) {
				t.Errorf("%s: v3 does not take packet %d of v2: %v", suite, i, err)
			}
			if wire, err = send.EncryptRTP(nil, packet, nil); err != nil {
				t.Fatal(err)
			}
			got, err := v2.UnprotectRTP(nil, wire)
			if err != nil || !slices.Equal(got, packet) {
				t.Errorf("%s: v2 does not take packet %d of v3: %v", suite, i, err)
			}
			if _, err := v2.UnprotectRTP(nil, wire); err == nil {
				t.Errorf("%s: v2 took packet %d twice", suite, i)
			}
			wire[20] ^= 1
			if _, err := v2.UnprotectRTP(nil, wire); err == nil {
				t.Errorf("%s: v2 took forged packet %d", suite, i)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	a, b := keys(ua.AES80)
	for _, tt := range []struct {
		suite         string
		local, remote []byte
	}{{"NULL", a, b}, {ua.AES80, a[:15], b}, {ua.AES80, a, nil}, {ua.AES80, a[:29], b}, {ua.GCM, a, b}} {
		if _, err := New(tt.suite, tt.local, tt.remote); err == nil {
			t.Errorf("took keys of %d and %d bytes for %s", len(tt.local), len(tt.remote), tt.suite)
		}
	}
}

func start(t *testing.T, config ua.Config) *ua.UA {
	t.Helper()
	config.Listen = "tcp://127.0.0.1:0"
	config.ReportEvery = 200 * time.Millisecond
	u, err := ua.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return u
}

// TestCallsV3 has an endpoint of each major call the other.
func TestCallsV3(t *testing.T) {
	for _, suite := range []string{ua.AES80, ua.AES32, ua.GCM} {
		for _, who := range []string{"caller", "callee"} {
			t.Run(suite+" "+who, func(t *testing.T) {
				t.Parallel()
				calls := make(chan *ua.Call, 1)
				caller := ua.Config{SRTP: suite, Audio: func() tone.Source { return tone.Sine(440, -10) }}
				callee := ua.Config{SRTP: suite, Audio: func() tone.Source { return tone.Sine(620, -10) }}
				callee.OnInvite = func(c *ua.Call) ua.Reply { calls <- c; return ua.Reply{} }
				if who == "caller" {
					caller.Protection = New
				} else {
					callee.Protection = New
				}
				out := call(t, start(t, caller), start(t, callee))
				in := <-calls
				<-in.Done()
				hears(t, "the callee", in, 440)
				hears(t, "the caller", out, 620)
			})
		}
	}
}

// call places a call and hangs up after a second.
func call(t *testing.T, from, to *ua.UA) *ua.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := from.Call(ctx, to.URI("100"), ua.Options{HangupAfter: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	return c
}

func hears(t *testing.T, who string, c *ua.Call, hz float64) {
	t.Helper()
	if got, level := tone.Dominant(c.Recording()); math.Abs(got-hz) > 1 || math.Abs(level+10) > 0.2 {
		t.Errorf("%s hears %.1f Hz at %.2f dBFS, want %.0f Hz at -10", who, got, level, hz)
	}
	s := c.Stats()
	if s.Received < 40 || s.Lost != 0 || s.Rejected != 0 || s.SendFailed != 0 || s.RoundTripMS == nil {
		t.Errorf("%s measured %+v", who, s)
	}
}
