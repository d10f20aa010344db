package srtp

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/test/rig"
)

// Who is where in the network of a test: the last byte of the address, and the ports.
const (
	poolUs, gateUs     = 1, 2
	poolPeer, gatePeer = 3, 4

	sipPort, adminPort = 15060, 15080
)

const (
	pool, gateway = "pool", "gateway"

	patience = 20 * time.Second
)

// What the ends play: tones that are not multiples of each other.
const (
	poolTone    = 440.0  // Hz
	gatewayTone = 1020.0 // Hz
	toneLevel   = -15.0  // dBFS
)

// stage is one causeway on a network of its own.
type stage struct {
	*rig.Causeway
	t   *testing.T
	net rig.Network
	dir string
}

// newStage serves with a policy for each side, whose peers are the network's, or 127.0.0.1 where baresip lives.
func newStage(t *testing.T, poolSRTP, gatewaySRTP string) *stage {
	t.Helper()
	s := &stage{t: t, net: rig.NewNetwork(t), dir: t.TempDir()}
	return s.serve(poolSRTP, gatewaySRTP, s.at(gatePeer))
}

func (s *stage) serve(poolSRTP, gatewaySRTP string, gatewayAt netip.AddrPort) *stage {
	s.t.Helper()
	admin := netip.AddrPortFrom(s.net.Addr(poolUs), adminPort).String()
	s.Causeway = rig.Serve(s.t, binaries.Checked, s.dir, fmt.Sprintf(`state_dir: %s/state
admin: {listen: %q}
log: {level: info, format: json}
mediation:
  ports: 16000-16039
  max_calls: 10
  pool:
    listen: ["udp://%s"]
    media_address: %s
    srtp: %s
    heartbeat: {interval: 0s}
    peers: [%s, 127.0.0.1]
    next_hop: "sip:%s;transport=udp"
  gateway:
    listen: "udp://%s"
    media_address: %s
    srtp: %s
    heartbeat: {interval: 0s}
    peer: "sip:%s;transport=udp"
`, s.dir, admin, s.at(poolUs), s.net.Addr(poolUs), poolSRTP, s.net.Addr(poolPeer), s.at(poolPeer),
		s.at(gateUs), s.net.Addr(gateUs), gatewaySRTP, gatewayAt), admin)
	return s
}

// at is where a host of the network has SIP.
func (s *stage) at(host byte) netip.AddrPort { return netip.AddrPortFrom(s.net.Addr(host), sipPort) }

// recorded waits for the record of the only call.
func (s *stage) recorded() rig.Record {
	s.t.Helper()
	return rig.Recorded(s.t, filepath.Join(s.dir, "state"), 1, patience)[0]
}

// telephone runs an in-process telephone with plain RTP that answers at once and says which call it received.
func (s *stage) telephone(host byte, hz float64) (*ua.UA, chan *ua.Call) {
	s.t.Helper()
	calls := make(chan *ua.Call, 4)
	u, err := ua.New(ua.Config{
		Name: "telephone", Listen: "udp://" + s.at(host).String(), MediaPorts: [2]uint16{17000, 17099},
		Codecs: []string{ua.PCMU}, ReportEvery: time.Second, Record: time.Minute,
		Audio:    func() tone.Source { return tone.Sine(hz, toneLevel) },
		OnInvite: func(c *ua.Call) ua.Reply { calls <- c; return ua.Reply{} },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := u.Run(ctx); err != nil {
			s.t.Errorf("telephone: %v", err)
		}
	})
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return u, calls
}

// received waits for the call.
func received(t *testing.T, calls chan *ua.Call) *ua.Call {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(patience):
		t.Fatal("the call does not arrive")
		return nil
	}
}

// isTone checks that the loudest of the last half second is a tone, about as loud as it was played.
func isTone(t *testing.T, who string, pcm []int16, hz float64) {
	t.Helper()
	n := tone.Samples(500 * time.Millisecond)
	if len(pcm) < n {
		t.Errorf("%s heard %v", who, tone.Duration(len(pcm)))
		return
	}
	loudest, level := tone.Dominant(pcm[len(pcm)-n:])
	if math.Abs(loudest-hz) > 12 || math.Abs(level-toneLevel) > 6 {
		t.Errorf("%s heard %.0f Hz at %.1f dBFS, want %g at %.1f", who, loudest, level, hz, toneLevel)
	}
}
