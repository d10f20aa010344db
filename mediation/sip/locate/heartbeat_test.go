package locate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errSilent = errors.New("no answer")

// middle is the draw that leaves an interval as it is.
func middle() float64 { return 0.5 }

// prober answers probes as it is told, and notes when they came.
type prober struct {
	start time.Time

	mu       sync.Mutex
	dead     map[netip.Addr]bool
	asked    map[netip.Addr][]time.Duration // since start
	underWay int
	most     int
	takes    time.Duration
}

func newProber() *prober {
	return &prober{start: time.Now(), dead: map[netip.Addr]bool{}, asked: map[netip.Addr][]time.Duration{}}
}

func (p *prober) kill(addr string, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[netip.MustParseAddr(addr)] = dead
}

func (p *prober) times(addr string) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked[netip.MustParseAddr(addr)])
}

func (p *prober) probe(ctx context.Context, t Target) error {
	p.mu.Lock()
	p.asked[t.Addr.Addr()] = append(p.asked[t.Addr.Addr()], time.Since(p.start))
	p.underWay++
	p.most = max(p.most, p.underWay)
	takes := p.takes
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.underWay--
		p.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead[t.Addr.Addr()] {
		return errSilent
	}
	return nil
}

// run runs a peer until the test's bubble is done with it.
func run(t *testing.T, p *Peer, probe func(context.Context, Target) error) {
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { p.Run(ctx, probe) })
	t.Cleanup(func() { cancel(); ended.Wait() })
}

func beating(t *testing.T, dns DNS, beat Heartbeat) *Peer {
	t.Helper()
	return peer(t, Config{Host: "gw.example.test", Port: 5060, Network: "udp", Resolver: dns, Heartbeat: beat, Rand: middle})
}

func seconds(n ...int) []time.Duration {
	var out []time.Duration
	for _, s := range n {
		out = append(out, time.Duration(s)*time.Second)
	}
	return out
}

func TestFailuresToDownSuccessesToUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peer(t, Config{Host: "192.0.2.1", Network: "udp", Heartbeat: Heartbeat{30 * time.Second, 3, 2}, Rand: middle})
		probes := newProber()
		probes.kill("192.0.2.1", true)
		run(t, p, probes.probe)
		at := func(second int, up bool) {
			t.Helper()
			time.Sleep(time.Until(probes.start.Add(time.Duration(second) * time.Second)))
			synctest.Wait()
			if p.Up() != up || p.IsUp(p.Targets()[0]) != up || p.Status()[0].Up != up {
				t.Errorf("after %d s up is %v, want %v", second, p.Up(), up)
			}
		}
		at(0, true)
		at(59, true)
		at(60, false) // the third failure
		if s := p.Status()[0]; s.Failures != 3 || !errors.Is(s.Err, errSilent) || !s.Since.Equal(probes.start.Add(time.Minute)) {
			t.Errorf("status %+v", s)
		}
		if got := p.Targets(); len(got) != 1 {
			t.Errorf("a peer that is down has targets %v", got)
		}
		probes.kill("192.0.2.1", false)
		at(119, false) // one success, at 90
		at(120, true)
		probes.kill("192.0.2.1", true)
		at(180, true)
		probes.kill("192.0.2.1", false)
		at(210, true) // two failures were forgotten
		probes.kill("192.0.2.1", true)
		at(299, true)
		at(300, false)
		if got, want := probes.times("192.0.2.1"), seconds(0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300); !slices.Equal(got, want) {
			t.Errorf("probes at %v, want %v", got, want)
		}
	})
}

func TestTheHeartbeatStraysByATenth(t *testing.T) {
	for draw, want := range map[float64]time.Duration{0: 27 * time.Second, 0.5: 30 * time.Second, 1: 33 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := peer(t, Config{Host: "192.0.2.1", Network: "udp", Heartbeat: Heartbeat{Interval: 30 * time.Second}, Rand: func() float64 { return draw }})
			probes := newProber()
			run(t, p, probes.probe)
			time.Sleep(40 * time.Second)
			if got := probes.times("192.0.2.1"); len(got) != 2 || got[1].Round(time.Millisecond) != want {
				t.Errorf("draw %v: probes at %v, want the second at %v", draw, got, want)
			}
		})
	}
}

// Each target has its own beat: one that does not answer takes all its time,
// and the others none of it.
func TestASilentTargetDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		dns.set(nil, "192.0.2.1", "192.0.2.2")
		p := beating(t, dns, Heartbeat{10 * time.Second, 2, 1})
		silent := netip.MustParseAddr("192.0.2.1")
		probes := newProber()
		run(t, p, func(ctx context.Context, to Target) error {
			if err := probes.probe(ctx, to); to.Addr.Addr() != silent {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(29 * time.Second)
		if got, want := probes.times("192.0.2.2"), seconds(0, 10, 20); !slices.Equal(got, want) {
			t.Errorf("probes of the living at %v, want %v", got, want)
		}
		if got, want := probes.times("192.0.2.1"), seconds(0, 10, 20); !slices.Equal(got, want) {
			t.Errorf("probes of the silent at %v, want %v: each is given up after the interval", got, want)
		}
		want(t, p, "192.0.2.2:5060", "192.0.2.1:5060")
	})
}

func TestProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		var addrs []string
		for i := range maxAddresses + 4 {
			addrs = append(addrs, fmt.Sprintf("192.0.2.%d", i))
		}
		dns.set(nil, addrs...)
		p := beating(t, dns, Heartbeat{Interval: 30 * time.Second})
		if got := len(p.Targets()); got != maxAddresses {
			t.Fatalf("%d targets of %d addresses, want %d", got, len(addrs), maxAddresses)
		}
		probes := newProber()
		probes.takes = 2 * time.Second
		run(t, p, probes.probe)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if probes.most != maxProbes {
			t.Errorf("%d probes at a time, want %d", probes.most, maxProbes)
		}
		for i, want := range map[int]int{0: 0, maxProbes - 1: 0, maxProbes: 2, maxAddresses - 1: 2} {
			if got := probes.times(addrs[i]); !slices.Equal(got, seconds(want)) {
				t.Errorf("target %d was probed at %v, want %d s", i, got, want)
			}
		}
	})
}

// Run ends when what it started has ended, however slow a probe is to notice.
func TestRunWaitsForItsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peer(t, Config{Host: "192.0.2.1", Network: "udp", Heartbeat: Heartbeat{Interval: 30 * time.Second, Failures: 1}})
		ctx, cancel := context.WithCancel(t.Context())
		start, ended := time.Now(), false
		time.AfterFunc(time.Second, cancel)
		p.Run(ctx, func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			ended = true
			return ctx.Err()
		})
		if took := time.Since(start); !ended || took != 6*time.Second {
			t.Errorf("Run returned after %v, its probe ended: %v", took, ended)
		}
		if !p.Up() {
			t.Error("a probe that was given up with Run counts")
		}
	})
}

// The name is looked up every minute: what is new is probed at once, what has
// gone no more, and a failure changes nothing and is said once.
func TestLookUpsWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		dns.set(nil, "192.0.2.1")
		var log bytes.Buffer
		p := peer(t, Config{
			Host: "gw.example.test", Port: 5060, Network: "udp", Resolver: dns, Rand: middle,
			Heartbeat: Heartbeat{Interval: 40 * time.Second}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		probes := newProber()
		run(t, p, probes.probe)
		time.Sleep(59 * time.Second)
		dns.set(nil, "192.0.2.2", "::ffff:192.0.2.3")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(t, p, "192.0.2.2:5060", "192.0.2.3:5060")
		dns.set(&net.DNSError{Err: "server misbehaving", IsTemporary: true})
		time.Sleep(5 * time.Minute)
		want(t, p, "192.0.2.2:5060", "192.0.2.3:5060")
		if !p.Allowed(netip.MustParseAddr("192.0.2.2")) || p.Allowed(netip.MustParseAddr("192.0.2.1")) {
			t.Error("Allowed does not follow")
		}
		dns.set(nil, "192.0.2.2")
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, p, "192.0.2.2:5060")
		if got := probes.times("192.0.2.3"); len(got) < 2 || got[0] != time.Minute || got[1] != 100*time.Second || got[len(got)-1] > 7*time.Minute {
			t.Errorf("probes of the new address at %v", got)
		}
		if got := probes.times("192.0.2.1"); len(got) != 2 {
			t.Errorf("probes of the address that went at %v", got)
		}
		for text, times := range map[string]int{
			"does not resolve": 1, "resolves again": 1, "server misbehaving": 1, "kept=2": 1,
			"new address": 3, "no more": 2, "peer=gw.example.test": 7,
		} {
			if got := strings.Count(log.String(), text); got != times {
				t.Errorf("the log says %q %d times, want %d:\n%s", text, got, times, &log)
			}
		}
	})
}

// A name that does not resolve at start is found soon after it does.
func TestANameThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		dns.set(&net.DNSError{IsNotFound: true})
		p := beating(t, dns, Heartbeat{Interval: 30 * time.Second})
		if p.Up() || len(p.Targets()) > 0 || len(p.Status()) > 0 {
			t.Error("a peer without addresses has some")
		}
		probes := newProber()
		run(t, p, probes.probe)
		time.Sleep(11 * time.Second)
		dns.set(nil, "192.0.2.1")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := probes.times("192.0.2.1"); !slices.Equal(got, seconds(15)) || !p.Up() {
			t.Errorf("probes at %v", got)
		}
		if got := dns.count(); got != 4 { // at start, after 5, 10 and 15 s
			t.Errorf("%d look-ups", got)
		}
	})
}

func TestReportsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		dns.set(nil, "192.0.2.1", "192.0.2.2")
		p := beating(t, dns, Heartbeat{30 * time.Second, 2, 1})
		a := p.Targets()[0]
		p.Report(a, errSilent)
		p.Report(a, fmt.Errorf("call given up: %w", context.Canceled))
		want(t, p, "192.0.2.1:5060", "192.0.2.2:5060")
		p.Report(a, errSilent)
		want(t, p, "192.0.2.2:5060", "192.0.2.1:5060")
		if !p.Up() {
			t.Error("one address of two is down, and the peer with it")
		}
		b := p.Targets()[0]
		p.Report(b, errSilent)
		p.Report(b, errSilent)
		if p.Up() {
			t.Error("every address is down, and the peer is up")
		}
		want(t, p, "192.0.2.1:5060", "192.0.2.2:5060")
		p.Report(b, nil)
		want(t, p, "192.0.2.2:5060", "192.0.2.1:5060")
		p.Report(Target{Addr: netip.MustParseAddrPort("192.0.2.9:5060")}, errSilent) // gone
	})
}

// Nothing tells that a target is back where there is no heartbeat: it rests for
// a minute, and the peer is never taken for dead.
func TestWithoutAHeartbeatATargetRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &memory{}
		dns.set(nil, "192.0.2.1", "192.0.2.2")
		p := beating(t, dns, Heartbeat{})
		run(t, p, func(context.Context, Target) error { t.Error("a probe"); return nil })
		a := p.Targets()[0]
		p.Report(a, errSilent)
		if p.IsUp(a) || !p.Up() {
			t.Error("after a failure")
		}
		time.Sleep(restTime - time.Second)
		want(t, p, "192.0.2.2:5060", "192.0.2.1:5060")
		p.Report(a, errSilent) // the last resort failed too: rest again
		time.Sleep(restTime - time.Second)
		want(t, p, "192.0.2.2:5060", "192.0.2.1:5060")
		time.Sleep(time.Second)
		want(t, p, "192.0.2.1:5060", "192.0.2.2:5060")
		p.Report(p.Targets()[1], errSilent)
		if !p.Up() {
			t.Error("a peer without a heartbeat is down")
		}
	})
}
