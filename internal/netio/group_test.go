package netio

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tally counts datagrams by where they came from.
type tally struct {
	mu   sync.Mutex
	from map[netip.AddrPort]int
}

func (c *tally) Receive(_ time.Time, batch []Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from == nil {
		c.from = map[netip.AddrPort]int{}
	}
	for i := range batch {
		c.from[batch[i].From]++
	}
}

func (c *tally) of(from netip.AddrPort) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from[from]
}

func (c *tally) sources() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.from)
}

// eventually waits for what happens on other goroutines.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// group opens ports with one address on workers of their own.
func group(t *testing.T, bed bed, local netip.Addr, n int) (tallies []*tally, at netip.AddrPort) {
	t.Helper()
	at = netip.AddrPortFrom(local, 0)
	for range n {
		w := bed.engine.NewWorker()
		p := open(t, w, at, Options{ReusePort: true})
		at = p.Local()
		tallies = append(tallies, new(tally))
		attach(t, w, p, tallies[len(tallies)-1])
		start(t, w, never{})
	}
	return tallies, at
}

// Ports that share an address share the remote addresses among them: each comes to
// one and stays there.
func TestReusePort(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		tallies, at := group(t, bed, local, 3)
		const each = 7
		fars := make([]far, 40)
		for i := range fars {
			fars[i] = bed.far(t, local)
		}
		for range each {
			for _, f := range fars {
				f.send(t, "x", at)
			}
		}
		for _, f := range fars {
			eventually(t, "a remote address is split between ports, or lost", func() bool {
				for _, c := range tallies {
					if c.of(f.addr()) == each {
						return true
					}
				}
				return false
			})
		}
		for i, c := range tallies { // 1 in 10 million by chance
			if c.sources() == 0 {
				t.Errorf("port %d of 3 got nothing of 40 remote addresses", i)
			}
		}
		w := bed.engine.NewWorker()
		if _, err := w.Listen(at, Options{}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("an address was taken by one that doesn't share it: %v", err)
		}
		alone := open(t, w, netip.AddrPortFrom(local, 0), Options{})
		if _, err := w.Listen(alone.Local(), Options{ReusePort: true}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("an address was taken that isn't shared: %v", err)
		}
	})
}

// A connected port takes its peer's packets from the group, and gives them back
// when it is closed.
func TestConnect(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		tallies, at := group(t, bed, local, 2)
		sum := func(from netip.AddrPort) int { return tallies[0].of(from) + tallies[1].of(from) }
		mine, other := bed.far(t, local), bed.far(t, local)

		w := bed.engine.NewWorker()
		p := open(t, w, at, Options{Connect: mine.addr()})
		attach(t, w, p, echo{p})
		start(t, w, never{})
		for range 20 {
			mine.send(t, "x", at)
			if data, from := mine.receive(t); data != "re: x" || from != at {
				t.Fatalf("got %q from %v", data, from)
			}
			other.send(t, "y", at)
		}
		eventually(t, "others' packets did not reach the group", func() bool { return sum(other.addr()) == 20 })
		if got := sum(mine.addr()); got != 0 {
			t.Errorf("the group got %d packets of the connected port's peer", got)
		}
		call(w, p.Close)
		mine.send(t, "x", at)
		eventually(t, "the peer's packets did not go back to the group", func() bool { return sum(mine.addr()) == 1 })

		wrong := netip.AddrPortFrom(v6, 9)
		if local.Is6() {
			wrong = netip.AddrPortFrom(v4, 9)
		}
		if p, err := w.Listen(at, Options{Connect: wrong}); err == nil || p != nil {
			t.Errorf("connected to the other family: %v, %v", p, err)
		}
	})
}

// A port that one worker opened can become another's, with what came meanwhile.
func TestAdopt(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		a, b := bed.engine.NewWorker(), bed.engine.NewWorker()
		start(t, b, never{}) // and a never moves anything
		p, err := a.Listen(netip.AddrPortFrom(local, 0), Options{})
		if err != nil {
			t.Fatal(err)
		}
		f := bed.far(t, local)
		f.send(t, "early", p.Local())
		if err := b.Adopt(p); err != nil {
			t.Fatal(err)
		}
		attach(t, b, p, echo{p})
		if data, _ := f.receive(t); data != "re: early" {
			t.Errorf("got %q", data)
		}
		if err := a.Adopt(p); err == nil {
			t.Error("an attached port was adopted")
		}
		call(b, p.Close)
		closed := open(t, a, netip.AddrPortFrom(local, 0), Options{})
		closed.Close()
		if err := b.Adopt(closed); !errors.Is(err, os.ErrClosed) {
			t.Errorf("adopting a closed port: %v", err)
		}
		for _, other := range beds() { // a new Memory is another network
			if other.name == "sockets" && bed.name == "sockets" {
				continue
			}
			foreign := open(t, other.engine.NewWorker(), netip.AddrPortFrom(local, 0), Options{})
			if err := b.Adopt(foreign); err == nil {
				t.Errorf("a port of another engine (%s) was adopted", other.name)
			}
		}
	})
}
