package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/test/rig"
	"causeway/test/srtpv2"
)

// endpointTLS is the identity of an endpoint of the pool.
func endpointTLS(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certs.Cert, certs.Key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(certs.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// endpoint runs a test telephone until stop, at the end of the test at the
// latest. Calls that it receives arrive in incoming.
func endpoint(t *testing.T, c ua.Config) (phone *ua.UA, incoming chan *ua.Call, stop func()) {
	t.Helper()
	incoming = make(chan *ua.Call, 4)
	c.OnInvite = func(call *ua.Call) ua.Reply {
		incoming <- call
		return ua.Reply{Answer: 100 * time.Millisecond}
	}
	c.ReportEvery = time.Second
	phone, err := ua.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- phone.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", c.Name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", c.Name)
		}
	})
	t.Cleanup(stop)
	return phone, incoming, stop
}

// An endpoint whose SRTP is pion/srtp v2, the major that this project's users
// are pinned to, exchanges audio and keys with a gateway in plain RTP: every
// suite, both directions, marked as the setting says.
func TestEndpointOnSRTPv2(t *testing.T) {
	for i, suite := range []string{ua.AES80, ua.AES32, ua.GCM} {
		for _, fromGateway := range []bool{false, true} {
			name, qos := suite+" calls", i == 0
			if fromGateway {
				name = suite + " is called"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				callWithSRTPv2(t, suite, fromGateway, qos)
			})
		}
	}
}

func callWithSRTPv2(t *testing.T, suite string, fromGateway, qos bool) {
	poolPort, gatewayPort := rig.Port(t), rig.Port(t)
	s := start(t, lab{
		NextHop:     fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", poolPort),
		GatewayPeer: fmt.Sprintf("sip:127.0.0.3:%d", gatewayPort),
		More:        indent([]string{fmt.Sprintf("qos_enabled: %v", qos)}),
	})
	before := s.holdings()
	pool, poolIn, stopPool := endpoint(t, ua.Config{
		Name: "endpoint", Listen: fmt.Sprintf("tls://127.0.0.1:%d", poolPort), TLS: endpointTLS(t),
		SRTP: suite, Protection: srtpv2.New, Codecs: []string{ua.PCMU},
		Audio: func() tone.Source { return tone.Sine(softphoneTone, toneLevel) },
	})
	gateway, gatewayIn, stopGateway := endpoint(t, ua.Config{
		Name: "gateway", Listen: fmt.Sprintf("tcp://127.0.0.3:%d", gatewayPort), Codecs: []string{ua.PCMA},
		Audio: func() tone.Source { return tone.Sine(gatewayTone, toneLevel) },
	})

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	caller, answered, target := pool, gatewayIn, "sip:+14255550123@"+s.pool()+";transport=tls"
	if fromGateway {
		caller, answered, target = gateway, poolIn, "sip:+14255550100@"+s.gateway()+";transport=tcp"
	}
	placed, err := caller.Call(ctx, target, ua.Options{From: "+14255550199"})
	if err != nil {
		t.Fatal(err)
	}
	taken := <-answered
	atPool, atGateway := placed, taken
	if fromGateway {
		atPool, atGateway = taken, placed
	}
	time.Sleep(2500 * time.Millisecond) // of tones
	if err := atPool.SendDigits("42#"); err != nil {
		t.Errorf("digits from the pool: %v", err)
	}
	if err := atGateway.SendDigits("19*"); err != nil {
		t.Errorf("digits from the gateway: %v", err)
	}
	time.Sleep(2 * time.Second)
	if err := placed.Hangup(ctx); err != nil {
		t.Errorf("hang up: %v", err)
	}
	for _, c := range []*ua.Call{atPool, atGateway} {
		select {
		case <-c.Done():
		case <-ctx.Done():
			t.Fatal("a call does not end")
		}
	}

	sounds(t, "endpoint", atPool, gatewayTone, "19*", qos)
	sounds(t, "gateway", atGateway, softphoneTone, "42#", qos)
	if got := atPool.Stats().SRTP; got != suite {
		t.Errorf("the endpoint used %q, want %s", got, suite)
	}
	r := s.recorded(1, 5*time.Second)[0]
	talked(t, r, map[string]string{"pool": "PCMU", "gateway": "PCMA"})
	for _, leg := range r.Legs {
		if leg.Side == "pool" && (leg.SRTP == nil || *leg.SRTP != suite) {
			t.Errorf("record: pool leg has srtp %v, want %s", value(leg.SRTP), suite)
		}
		if leg.Send.RoundTrip == nil && leg.Receive.RoundTrip == nil {
			t.Errorf("record: %s leg has no round trip, though both ends send reports", leg.Side)
		}
	}
	stopPool() // and with them their connections
	stopGateway()
	s.settled(before, 20*time.Second)
}

// sounds checks what one end of a call measured of about 4.5 s.
func sounds(t *testing.T, name string, c *ua.Call, hz float64, digits string, marked bool) {
	t.Helper()
	st := c.Stats()
	if st.Received < 150 || st.Lost != 0 || st.Rejected != 0 || st.Duplicates != 0 || st.SSRCs != 1 {
		t.Errorf("%s received %d packets in %d streams, %d lost, %d rejected, %d twice",
			name, st.Received, st.SSRCs, st.Lost, st.Rejected, st.Duplicates)
	}
	if st.ReportsReceived == 0 || !st.Bye {
		t.Errorf("%s received %d RTCP packets, BYE %v", name, st.ReportsReceived, st.Bye)
	}
	if st.Digits != digits {
		t.Errorf("%s received digits %q, want %q", name, st.Digits, digits)
	}
	mark := uint8(0)
	if marked {
		mark = 46 // EF
	}
	if st.Marks[mark] != st.Received+st.Duplicates {
		t.Errorf("%s received %d packets, by DSCP %v, want all with %d", name, st.Received, st.Marks, mark)
	}
	pcm := c.Recording()
	if len(pcm) < tone.Samples(2*time.Second) {
		t.Errorf("%s recorded %v", name, tone.Duration(len(pcm)))
		return
	}
	steady := pcm[tone.Samples(200*time.Millisecond):tone.Samples(2*time.Second)]
	if got := tone.ToneLevel(steady, hz); math.Abs(got-toneLevel) > 1 {
		t.Errorf("%s heard %g Hz at %.1f dBFS, want %.1f", name, hz, got, toneLevel)
	}
	if gaps := tone.Gaps(steady, -40, 15*time.Millisecond); len(gaps) > 0 {
		t.Errorf("%s heard gaps: %v", name, gaps)
	}
}
