package media

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/netio"
)

// failing is an engine whose ports cannot be opened.
type failing struct{ *wire }

func (f failing) NewWorker() netio.Worker { return f }
func (failing) Listen(netip.AddrPort, netio.Options) (netio.Port, error) {
	return nil, syscall.EMFILE
}

func TestSystemErrorsAreReturned(t *testing.T) {
	p, err := NewPlane(Config{First: 60000, Last: 60009, PoolAddr: poolAddr, GatewayAddr: gatewayAddr, Workers: 1, Engine: failing{&wire{}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open("call"); !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "call") {
		t.Errorf("%v", err)
	}
	if p.PortsFree(Pool) != 5 || p.workers[0].load != 0 {
		t.Error("something was kept")
	}
}

func TestConfigErrors(t *testing.T) {
	good := Config{First: 60000, Last: 64000, PoolAddr: poolAddr, GatewayAddr: gatewayAddr}
	for want, change := range map[string]func(c *Config){
		"hold no pair":            func(c *Config) { c.First, c.Last = 60001, 60002 },
		"ports 0 to 9":            func(c *Config) { c.First, c.Last = 0, 9 },
		"workers":                 func(c *Config) { c.Workers = -1 },
		"quarantine":              func(c *Config) { c.Quarantine = -1 },
		"CNAME":                   func(c *Config) { c.CNAME = strings.Repeat("x", 256) },
		"DSCP 64":                 func(c *Config) { c.Marks.Audio = 64 },
		"address 0.0.0.0":         func(c *Config) { c.PoolAddr = netip.IPv4Unspecified() },
		"address invalid IP":      func(c *Config) { c.GatewayAddr = netip.Addr{} },
		"address fe80::1%eth0":    func(c *Config) { c.GatewayAddr = netip.MustParseAddr("fe80::1%eth0") },
		"address 224.0.0.1":       func(c *Config) { c.PoolAddr = netip.MustParseAddr("224.0.0.1") },
		"address ::ffff:10.0.0.1": func(c *Config) { c.PoolAddr = netip.MustParseAddr("::ffff:10.0.0.1") },
	} {
		c := good
		change(&c)
		if _, err := NewPlane(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want something with %q", err, want)
		}
	}
	p, err := NewPlane(good)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.workers) != runtime.GOMAXPROCS(0) || len(p.cname) != 16 || p.PortsTotal(Gateway) != 2000 {
		t.Errorf("%d workers, name %q, %d pairs", len(p.workers), p.cname, p.PortsTotal(Gateway))
	}
}

func TestSetErrors(t *testing.T) {
	r := newRig(t)
	for want, change := range map[error]func(l *Leg){
		ErrRemote:  func(l *Leg) { l.Remote = netip.MustParseAddrPort("[2001:db8::1]:4000") },
		ErrPayload: func(l *Leg) { l.Send = []Payload{{128, PCMU}} },
		ErrKey:     func(l *Leg) { l.SRTP = &SRTP{} },
	} {
		leg := plainLeg(Pool)
		change(&leg)
		if err := r.b.Set(Pool, leg); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	for name, change := range map[string]func(l *Leg){
		"no port":   func(l *Leg) { l.Remote = addrPort(poolPeer.Addr(), 0) },
		"multicast": func(l *Leg) { l.Remote = netip.MustParseAddrPort("224.0.0.1:4000") },
		"RTCP":      func(l *Leg) { l.RemoteRTCP = netip.MustParseAddrPort("[2001:db8::1]:4000") },
		"twice":     func(l *Leg) { l.Receive = []Payload{{0, PCMU}, {0, PCMA}} },
		"no kind":   func(l *Leg) { l.Receive = []Payload{{Type: 3}} },
		"bad kind":  func(l *Leg) { l.Receive = []Payload{{3, 77}} },
	} {
		leg := plainLeg(Pool)
		change(&leg)
		if err := r.b.Set(Pool, leg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	r.b.Close()
	if err := r.b.Set(Pool, plainLeg(Pool)); !errors.Is(err, ErrClosed) {
		t.Errorf("setting a closed bridge: %v", err)
	}
}

// A mistake in handling one bridge's packets ends that bridge, says so, and
// leaves the others alone.
func TestPanicEndsOneBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]error{}
		var plane *Plane
		l := newLab(t, func(c *Config) {
			c.Workers = 1
			c.OnBridgeError = func(id string, err error) {
				mu.Lock()
				defer mu.Unlock()
				told[id] = err
				go closeByID(plane, id) // as the owner of the call would
			}
		})
		plane = l.plane
		healthy := l.open()
		l.set(healthy)
		l.talkFor(healthy, time.Second, 0)
		for i, damage := range []func(b *Bridge){
			func(b *Bridge) { b.halves[Pool].secure = AES128_GCM },    // RTP: nothing to open with
			func(b *Bridge) { b.halves[Gateway].secure = AES128_GCM }, // RTP: nothing to protect with
			func(b *Bridge) { // the timer: nothing to protect a report with
				b.halves[Pool].secure = AES128_GCM
				b.halves[Pool].set, b.halves[Gateway].set = false, false
			},
		} {
			id := string(rune('a' + i))
			b, err := l.plane.Open(id)
			if err != nil {
				t.Fatal(err)
			}
			l.set(b)
			b.worker.call(func(time.Time) { damage(b) })
			l.talkFor(b, 10*time.Second, 0)
			synctest.Wait()
			mu.Lock()
			if err := told[id]; err == nil || len(told) != i+1 {
				t.Errorf("bridge %s: told %v", id, told)
			}
			mu.Unlock()
			if err := b.Set(Pool, plainLeg(Pool)); err == nil {
				t.Errorf("bridge %s can be set after it failed", id)
			}
			b.worker.call(func(time.Time) {
				if n := b.worker.wheel.Len(); n != 2 {
					t.Errorf("%d timers are set after bridge %s failed, want those of the other bridge", n, id)
				}
			})
			b.Close()
		}
		l.pool.Received()
		l.talkFor(healthy, time.Second, 100)
		synctest.Wait()
		if n := len(l.pool.Received()); n < 50 {
			t.Errorf("the other bridge passed %d packets", n)
		}
		if got := counter(l.plane, "bridges_failed_total"); got != 3 {
			t.Errorf("%d failures counted", got)
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
		time.Sleep(Quarantine)
		if l.plane.PortsFree(Pool) != 5 {
			t.Errorf("%d pairs free", l.plane.PortsFree(Pool))
		}
	})
}

func closeByID(p *Plane, id string) {
	p.mu.Lock()
	var found *Bridge
	for b := range p.bridges {
		if b.id == id {
			found = b
		}
	}
	p.mu.Unlock()
	if found != nil {
		found.Close()
	}
}
