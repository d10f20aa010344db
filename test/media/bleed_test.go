package media

import (
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/bench/ua"
)

// Three strangers spray plausible RTP over every media port of both sides, from before the call until after its answer,
// each in sequence on every port: what relays learn addresses from (CVE-2025-53399, AST-2017-005, CVE-2017-14114). They
// get nothing and nobody hears them.
func TestBleed(t *testing.T) {
	for _, from := range []string{pool, gateway} {
		t.Run("call from the "+from, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, setting{reply: ua.Reply{Answer: 600 * time.Millisecond}})
			bleed(t, l, from)
		})
	}
}

func bleed(t *testing.T, l *lab, from string) {
	var hosts []*attacker
	for n := range byte(3) {
		hosts = append(hosts, l.newAttacker(n))
	}
	stop := make(chan struct{})
	var spraying sync.WaitGroup
	for i, a := range hosts {
		f := newFrames(uint32(0xbad0000+i), 1000, 0)
		spraying.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				packet := f.next()
				for port := uint16(firstPort); port <= lastPort; port++ {
					a.send(l.at(poolUs, port), packet)
					a.send(l.at(gateUs, port), packet)
				}
			}
		})
	}
	halt := sync.OnceFunc(func() { close(stop); spraying.Wait() })
	t.Cleanup(halt)
	time.Sleep(200 * time.Millisecond) // before anything listens
	c := l.talk(from)
	time.Sleep(1500 * time.Millisecond)
	halt()
	c.unharmed()
	for _, a := range hosts {
		a.deaf()
	}
	got := l.drops()
	// Some 75 packets of each of the three on each port while the call lasted; a machine that is busy elsewhere sends
	// fewer.
	for _, name := range []string{"pool authentication", "pool rtp_on_rtcp_port", "gateway wrong_source"} {
		if got[name] < 60 {
			t.Errorf("%d packets counted as %s: %v", got[name], name, got)
		}
	}
	known := []string{"pool authentication", "pool rtp_on_rtcp_port", "gateway wrong_source", "pool leg_not_set", "gateway leg_not_set"}
	for name := range got {
		if !slices.Contains(known, name) {
			t.Errorf("%d packets counted as %s", got[name], name)
		}
	}
}
