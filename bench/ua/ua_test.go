package ua

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/bench/tone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate makes a TLS configuration in which both ends present and demand one self-signed certificate.
var certificate = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "endpoint"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 3)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
})

// start runs an endpoint until the test ends.
func start(t *testing.T, config Config) *UA {
	t.Helper()
	u, _ := startStop(t, config)
	return u
}

// startStop runs an endpoint until the test ends or stop is called, which waits for it.
func startStop(t *testing.T, config Config) (u *UA, stop func()) {
	t.Helper()
	if strings.HasPrefix(config.Listen, "tls:") {
		config.TLS = certificate()
	}
	u, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return u, stop
}

// sines gives every call of an endpoint the same tone at -10 dBFS.
func sines(hz float64) func() tone.Source { return func() tone.Source { return tone.Sine(hz, -10) } }

// collect is an OnInvite that hands the calls to the test.
func collect(reply Reply) (chan *Call, func(*Call) Reply) {
	calls := make(chan *Call, 100)
	return calls, func(c *Call) Reply { calls <- c; return reply }
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func next(t *testing.T, calls <-chan *Call) *Call {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(5 * time.Second):
		t.Fatal("no call came")
		return nil
	}
}

func waitDone(t *testing.T, c *Call) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the call does not end")
	}
}

// hears wants a recording to be a clean tone at the level it was sent at.
func hears(t *testing.T, who string, c *Call, hz float64) {
	t.Helper()
	pcm := c.Recording()
	if len(pcm) < tone.Rate/2 {
		t.Errorf("%s recorded %v", who, tone.Duration(len(pcm)))
		return
	}
	got, level := tone.Dominant(pcm)
	if math.Abs(got-hz) > 1 || math.Abs(level+10) > 0.2 {
		t.Errorf("%s hears %.1f Hz at %.2f dBFS, want %.0f Hz at -10", who, got, level, hz)
	}
	if gaps := tone.Gaps(pcm, -40, 10*time.Millisecond); len(gaps) > 0 {
		t.Errorf("%s hears gaps: %v", who, gaps)
	}
}

// clean wants the measurements of a call on which nothing went wrong.
// late is by how much the endpoints' own pacing was off: that much jitter is theirs.
func clean(t *testing.T, who string, near, far Stats, late time.Duration) {
	t.Helper()
	if near.Received < 25 || near.Lost != 0 || near.Duplicates != 0 || near.Reordered != 0 || near.SSRCs != 1 {
		t.Errorf("%s received %+v", who, near)
	}
	if near.Rejected != 0 || near.Strays != 0 || near.Unexpected != 0 || near.SendFailed != 0 {
		t.Errorf("%s refused packets: %+v", who, near)
	}
	if near.Received+near.Early < far.Sent || near.Received > far.Sent {
		t.Errorf("%s received %d and %d early of %d", who, near.Received, near.Early, far.Sent)
	}
	limit := 20 + 2*late.Seconds()*1000
	if near.JitterMS == nil || *near.JitterMS > limit || *near.JitterMaxMS < *near.JitterMS {
		t.Errorf("%s measured no jitter, or too much: %+v", who, near)
	}
}

func TestCall(t *testing.T) {
	tests := []struct {
		name           string
		listen         string
		srtp           string
		caller, callee []string // codecs
		codec          string
	}{
		{"tls, srtp", "tls", AES80, nil, nil, PCMU},
		{"tls, srtp with a short tag", "tls", AES32, nil, []string{PCMA}, PCMA},
		{"tls, srtp with gcm", "tls", GCM, nil, nil, PCMU},
		{"tcp, rtp", "tcp", "", []string{PCMA, PCMU}, nil, PCMU},
		{"udp, rtp", "udp", "", []string{PCMA}, nil, PCMA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls, onInvite := collect(Reply{Ring: 20 * time.Millisecond, Answer: 60 * time.Millisecond})
			delays := NewDelays()
			callee := start(t, Config{
				Name: "callee", Listen: tt.listen + "://127.0.0.1:0", SRTP: tt.srtp, Codecs: tt.callee,
				Audio: sines(620), Delays: delays, ReportEvery: 300 * time.Millisecond, OnInvite: onInvite,
			})
			caller := start(t, Config{
				Name: "caller", Listen: tt.listen + "://127.0.0.3:0", SRTP: tt.srtp, Codecs: tt.caller,
				Audio: sines(440), Delays: delays, ReportEvery: 300 * time.Millisecond,
			})
			ctx := timeout(t, 10*time.Second)
			out, err := caller.Call(ctx, callee.URI("+14255550123"), Options{From: "+14255550100", DisplayName: "A. Caller"})
			if err != nil {
				t.Fatal(err)
			}
			in := next(t, calls)
			time.Sleep(1200 * time.Millisecond)
			if err := out.Hangup(ctx); err != nil {
				t.Error(err)
			}
			waitDone(t, in)
			hears(t, "the callee", in, 440)
			hears(t, "the caller", out, 620)
			checkMeasurements(t, out.Stats(), in.Stats(), tt.codec, tt.srtp, caller.PacingLate()+callee.PacingLate())
			checkSignalling(t, out, in, callee)
		})
	}
}

func checkMeasurements(t *testing.T, out, in Stats, codec, srtp string, late time.Duration) {
	t.Helper()
	clean(t, "the caller", out, in, late)
	clean(t, "the callee", in, out, late)
	for who, s := range map[string]Stats{"caller": out, "callee": in} {
		if s.Codec != codec || s.SRTP != srtp {
			t.Errorf("the %s used %q with %q", who, s.Codec, s.SRTP)
		}
		if s.Delay == nil || s.Delay.Frames < 5 || s.Delay.MinMS < 0 || s.Delay.MinMS > s.Delay.AvgMS || s.Delay.AvgMS > s.Delay.MaxMS || s.Delay.AvgMS > 100 {
			t.Errorf("the %s measured delay %+v", who, s.Delay)
		}
		if s.ReportsSent < 2 || s.ReportsReceived < 2 || s.RoundTripMS == nil || *s.RoundTripMS > 200 || s.FarLost == nil || *s.FarLost != 0 || s.FarJitterMS == nil {
			t.Errorf("the %s has by RTCP %+v", who, s)
		}
		if s.Marks[0] != s.Received {
			t.Errorf("the %s saw marks %v", who, s.Marks)
		}
	}
	if !in.Bye {
		t.Error("no RTCP BYE came to the callee")
	}
}

func checkSignalling(t *testing.T, out, in *Call, callee *UA) {
	t.Helper()
	i := in.Invite()
	for _, want := range []struct{ what, got, part string }{
		{"Request-URI", i.RequestURI, "sip:+14255550123@" + callee.Addr().String()},
		{"From", i.From, `"A. Caller" <sip:+14255550100@127.0.0.3>;tag=`},
		{"To", i.To, "<sip:+14255550123@127.0.0.1>"},
		{"Contact", i.Contact, "<sip:caller@127.0.0.3:"},
		{"peer", i.Peer, "127.0.0.3:"},
		{"SDP", i.SDP, "c=IN IP4 127.0.0.3\r\n"},
		{"Call-ID", i.CallID, out.Invite().CallID},
	} {
		if !strings.Contains(want.got, want.part) {
			t.Errorf("%s is %q, want %q in it", want.what, want.got, want.part)
		}
	}
	codes := []int{}
	for _, r := range out.Responses() {
		codes = append(codes, r.Code)
	}
	if !slices.Equal(codes, []int{180, 200}) {
		t.Errorf("the caller saw %v", codes)
	}
	if d := in.Answered().Sub(i.At); d < 60*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
	if end, _ := out.EndedBy(); end != Local {
		t.Errorf("the caller says the call was ended by %q", end)
	}
	if end, _ := in.EndedBy(); end != Remote || in.Err() != nil {
		t.Errorf("the callee says the call was ended by %q, %v", end, in.Err())
	}
	if in.Ended().IsZero() || out.Ended().Before(out.Answered()) {
		t.Errorf("ended at %v and %v", in.Ended(), out.Ended())
	}
}

// TestManyCalls has 50 calls begin together and every one carry its own tone both ways.
func TestManyCalls(t *testing.T) {
	const n = 50
	delays := NewDelays()
	calls, onInvite := collect(Reply{Answer: 50 * time.Millisecond})
	callee := start(t, Config{Listen: "tls://127.0.0.1:0", SRTP: AES80, OnInvite: onInvite, Audio: sines(1000), Delays: delays})
	caller := start(t, Config{Listen: "tls://127.0.0.3:0", SRTP: AES80, Delays: delays})
	ctx := timeout(t, 60*time.Second)
	hz := func(i int) float64 { return 300 + 40*float64(i) }
	out := make([]*Call, n)
	var placing sync.WaitGroup
	for i := range n {
		placing.Go(func() {
			c, err := caller.Call(ctx, callee.URI(fmt.Sprint(i)), Options{Audio: tone.Sine(hz(i), -10), HangupAfter: 2 * time.Second})
			if err != nil {
				t.Error(err)
			}
			out[i] = c
		})
	}
	placing.Wait()
	if t.Failed() {
		return
	}
	for i, c := range out {
		waitDone(t, c)
		hears(t, fmt.Sprint("caller ", i), c, 1000)
		if c.Err() != nil {
			t.Error(c.Err())
		}
	}
	for range n {
		c := next(t, calls)
		waitDone(t, c)
		var i int
		if _, err := fmt.Sscanf(c.Invite().RequestURI, "sip:%d@", &i); err != nil {
			t.Fatal(err)
		}
		hears(t, fmt.Sprint("callee ", i), c, hz(i))
		clean(t, fmt.Sprint("callee ", i), c.Stats(), out[i].Stats(), caller.PacingLate()+callee.PacingLate())
		if c.Stats().Delay == nil {
			t.Errorf("the delay of call %d is unknown", i)
		}
	}
	t.Logf("the pacer was late by up to %v", caller.PacingLate())
}

func TestDigits(t *testing.T) {
	calls, onInvite := collect(Reply{})
	callee := start(t, Config{Listen: "tcp://127.0.0.1:0", OnInvite: onInvite, Audio: sines(500)})
	caller := start(t, Config{Listen: "tcp://127.0.0.1:0", Audio: sines(500)})
	ctx := timeout(t, 10*time.Second)
	out, err := caller.Call(ctx, callee.URI("100"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // some audio first
	if err := out.SendDigits("12x"); err == nil {
		t.Error("sent a key that no telephone has")
	}
	if err := errors.Join(out.SendDigits("55#"), out.SendDigits("A")); err != nil {
		t.Fatal(err)
	}
	in := next(t, calls)
	for in.Stats().Digits != "55#A" {
		select {
		case <-ctx.Done():
			t.Fatalf("received %q", in.Stats().Digits)
		case <-time.After(20 * time.Millisecond):
		}
	}
	time.Sleep(300 * time.Millisecond) // the last key, and audio behind it
	if err := out.Hangup(ctx); err != nil {
		t.Error(err)
	}
	waitDone(t, in)
	clean(t, "the callee", in.Stats(), out.Stats(), caller.PacingLate()+callee.PacingLate())
	if gaps := tone.Gaps(in.Recording(), -40, 200*time.Millisecond); len(gaps) != 4 {
		t.Errorf("the audio pauses at %v, want once for each of 4 digits", gaps)
	}
	if err := out.SendDigits("1"); err == nil {
		t.Error("sent a digit after the call")
	}
}

// TestShutdown stops an endpoint in the middle of a call and wants the other to be told.
func TestShutdown(t *testing.T) {
	calls, onInvite := collect(Reply{})
	callee, stop := startStop(t, Config{Listen: "tls://127.0.0.1:0", OnInvite: onInvite})
	caller := start(t, Config{Listen: "tls://127.0.0.1:0"})
	ctx := timeout(t, 10*time.Second)
	out, err := caller.Call(ctx, callee.URI("100"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	in := next(t, calls)
	select {
	case <-in.Done():
	default:
		t.Error("Run returned before its call was done")
	}
	waitDone(t, out)
	if end, _ := out.EndedBy(); end != Remote {
		t.Errorf("ended by %q", end)
	}
	if _, err := callee.Call(ctx, caller.URI("100"), Options{}); !errors.Is(err, errClosed) {
		t.Errorf("a closed endpoint called: %v", err)
	}
	if _, err := caller.Call(ctx, callee.URI("100"), Options{}); err == nil {
		t.Error("a closed endpoint was called")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{Listen: "ws://127.0.0.1:0"}, {Listen: "tcp://localhost:0"}, {Listen: "tls://127.0.0.1:0"}, {Listen: ""},
		{Listen: "udp://127.0.0.1:0", SRTP: "F8_128_HMAC_SHA1_80"}, {Listen: "udp://127.0.0.1:0", Codecs: []string{"opus"}},
		{Listen: "tcp://192.0.2.1:1"}, {Listen: "udp://192.0.2.1:1"},
	} {
		if u, err := New(c); err == nil {
			t.Errorf("took %+v", c)
			_ = u.unbind()
		}
	}
}

func TestPortsRunOut(t *testing.T) {
	u := start(t, Config{Listen: "tcp://127.0.0.1:0", MediaPorts: [2]uint16{29001, 29004}})
	first, err := u.openMedia(tone.Silence())
	if err != nil {
		t.Fatal(err)
	}
	defer first.stop()
	if first.local.Port() != 29002 {
		t.Errorf("took port %d, want the even one of two", first.local.Port())
	}
	if _, err := u.Call(t.Context(), u.URI("100"), Options{}); err == nil || !strings.Contains(err.Error(), "no two ports are free") {
		t.Errorf("error %v", err)
	}
}
