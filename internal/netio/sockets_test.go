package netio

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMarks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		local netip.Addr
		dscp  uint8
		tos   byte
	}{
		{"IPv4 expedited", v4, 46, 0xb8},
		{"IPv4 unmarked", v4, 0, 0},
		{"IPv6 expedited", v6, 46, 0xb8},
		{"IPv6 unmarked", v6, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needs(t, tt.local)
			w := Sockets().NewWorker()
			p := open(t, w, netip.AddrPortFrom(tt.local, 0), Options{DSCP: tt.dscp})
			attach(t, w, p, echo{p})
			start(t, w, never{})
			f := listenUDP(t, tt.local)
			f.wantFields(t)
			f.send(t, "x", p.Local())
			if _, got, _ := f.receiveFields(t); got != tt.tos {
				t.Errorf("TOS %#02x, want %#02x", got, tt.tos)
			}
		})
	}
}

// alarm fires once at a time and counts how often it was asked.
type alarm struct {
	at    time.Time
	asked atomic.Int32
	fired chan time.Time
}

func (a *alarm) Next() (time.Time, bool) {
	a.asked.Add(1)
	return a.at, !a.at.IsZero()
}

func (a *alarm) Expire(now time.Time) {
	a.fired <- now
	a.at = time.Time{}
}

// The worker sleeps until the timer is due and no longer than that: it is asked
// once before it sleeps and once after, for each wake-up, and nothing wakes it
// but the start and the timer.
func TestSleepsUntilTimer(t *testing.T) {
	w := Sockets().NewWorker()
	a := &alarm{at: time.Now().Add(30 * time.Millisecond), fired: make(chan time.Time, 1)}
	due := a.at
	start(t, w, a)
	if now := <-a.fired; now.Before(due) {
		t.Errorf("fired %v early", due.Sub(now))
	}
	if n := a.asked.Load(); n > 6 {
		t.Errorf("woken up too often: asked %d times", n)
	}
}

func TestTimeout(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		at   time.Time
		want int
	}{
		{time.Time{}, -1},
		{now, 0},
		{now.Add(-time.Hour), 0},
		{now.Add(1), 1},
		{now.Add(time.Millisecond), 1},
		{now.Add(time.Millisecond + 1), 2},
		{now.Add(1000 * time.Hour), 3_600_000},
	} {
		if got := timeout(&alarm{at: tt.at}, now); got != tt.want {
			t.Errorf("%v ahead: %d ms, want %d", tt.at.Sub(now), got, tt.want)
		}
	}
}

func TestRunTwicePanics(t *testing.T) {
	var c commands
	c.begin(func() {})
	defer func() {
		if recover() == nil {
			t.Error("a worker was taken over twice")
		}
	}()
	c.begin(func() {})
}

// Out of descriptors is an error of Listen and nothing worse.
func TestOutOfDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	w := Sockets().NewWorker()
	_, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{})
	running := w.Run(context.Background(), never{})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EMFILE) || !errors.Is(running, syscall.EMFILE) {
		t.Errorf("listen: %v, run: %v; want EMFILE from both", err, running)
	}
}

// rawFar is a far end that sends without memory, to measure the worker alone.
type rawFar struct{ fd int }

func newRawFar(t testing.TB, to netip.AddrPort) *rawFar {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return &rawFar{fd: fd}
}

func (f *rawFar) send(data []byte) {
	if _, err := unix.Write(f.fd, data); err != nil {
		panic(err)
	}
}

func (f *rawFar) receive(into []byte) int {
	n, err := unix.Read(f.fd, into)
	if err != nil {
		panic(err)
	}
	return n
}

// The kernel may report an earlier packet's ICMP error instead of sending the next
// packet; that one has to go all the same.
func TestPendingErrorDoesNotCostAPacket(t *testing.T) {
	w := newSocketWorker()
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := listenUDP(t, v4)
	gone := listenUDP(t, v4)
	goneAt := gone.addr()
	gone.Close()
	for i := range 10 {
		for _, to := range []netip.AddrPort{goneAt, f.addr()} {
			pk := Packet{Buf: w.Buffer()}
			pk.Buf.Use(0, copy(pk.Buf.Room(), "x"))
			p.Send(&pk, to)
			w.out.flush() // on loopback the error is there when this returns
		}
		if data, _ := f.receive(t); data != "x" {
			t.Fatalf("round %d: got %q", i, data)
		}
	}
	if got := p.Counters().Unsent; got != 0 {
		t.Errorf("%d packets unsent", got)
	}
}

// One packet that the kernel refuses doesn't hold up those behind it.
func TestRefusedPacketIsLeftOut(t *testing.T) {
	w := newSocketWorker()
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := listenUDP(t, v4)
	broadcast := netip.MustParseAddrPort("255.255.255.255:9") // not without SO_BROADCAST
	for i, to := range []netip.AddrPort{f.addr(), broadcast, f.addr(), broadcast, f.addr()} {
		pk := Packet{Buf: w.Buffer()}
		pk.Buf.Use(0, copy(pk.Buf.Room(), string(rune('0'+i))))
		p.Send(&pk, to)
	}
	w.out.flush()
	for _, want := range []string{"0", "2", "4"} {
		if data, _ := f.receive(t); data != want {
			t.Errorf("got %q, want %q", data, want)
		}
	}
	if got := p.Counters().Unsent; got != 2 {
		t.Errorf("%d packets unsent, want 2", got)
	}
}

// bounce sends a packet back as it came.
type bounce struct{ port Port }

func (e bounce) Receive(_ time.Time, batch []Packet) {
	for i := range batch {
		e.port.Send(&batch[i], batch[i].From)
	}
}

// The options of the ports that media and relays open.
var optionSets = []struct {
	name string
	Options
}{
	{"media", Options{DSCP: 46}},
	{"relay", Options{Fields: true, Errors: true, Large: true, ReusePort: true}},
}

// turning sets up a worker that the caller turns by hand.
func turning(t testing.TB, o Options) (*socketWorker, *rawFar) {
	w := newSocketWorker()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Attach(bounce{p}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); w.end(w.close) })
	return w, newRawFar(t, p.Local())
}

func TestReceiveAndSendDontAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	for _, o := range optionSets {
		w, f := turning(t, o.Options)
		data := make([]byte, 172)
		allocs := testing.AllocsPerRun(200, func() {
			for range 5 {
				f.send(data)
			}
			if err := w.turn(never{}); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				f.receive(data)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations for a batch received and sent", o.name, allocs)
		}
	}
}

// Packets that must not be fragmented, ICMP errors and a look at the counters cost
// no memory either.
func TestErrorsDontAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	w := newSocketWorker()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{Fields: true, Errors: true})
	if err != nil {
		t.Fatal(err)
	}
	told := &counting{}
	if err := p.Attach(told); err != nil {
		t.Fatal(err)
	}
	defer func() { p.Close(); w.end(w.close) }()
	closed := listenUDP(t, v4)
	nobody := closed.addr()
	closed.Close()
	var pk Packet
	allocs := testing.AllocsPerRun(200, func() {
		for _, whole := range []bool{false, true} {
			pk = Packet{Buf: w.Buffer(), TOS: 1, TTL: 2, DontFragment: whole}
			pk.Buf.Use(0, 100)
			p.Send(&pk, nobody)
		}
		w.out.flush()
		if err := w.turn(never{}); err != nil {
			t.Fatal(err)
		}
		p.Counters()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if told.errors < 200 || p.Counters().Unreachable < 200 {
		t.Errorf("%d errors told, %d counted", told.errors, p.Counters().Unreachable)
	}
}

// counting is told of errors and counts them.
type counting struct{ errors int }

func (c *counting) Receive(time.Time, []Packet)       {}
func (c *counting) Unreachable(now time.Time, e ICMP) { c.errors++ }

// BenchmarkLoop is everything: a far end sends a burst, the worker sends it back, the
// far end receives it.
func BenchmarkLoop(b *testing.B) {
	for _, o := range optionSets {
		for _, burst := range []int{1, Batch} {
			b.Run(fmt.Sprintf("%s/%d", o.name, burst), func(b *testing.B) {
				w, f := turning(b, o.Options)
				data := make([]byte, 172)
				b.ReportAllocs()
				for b.Loop() {
					for range burst {
						f.send(data)
					}
					if err := w.turn(never{}); err != nil {
						b.Fatal(err)
					}
					for range burst {
						f.receive(data)
					}
				}
			})
		}
	}
}

// BenchmarkLarge is one long datagram there and back.
func BenchmarkLarge(b *testing.B) {
	w, f := turning(b, Options{Large: true})
	data := make([]byte, 9000)
	b.ReportAllocs()
	for b.Loop() {
		f.send(data)
		if err := w.turn(never{}); err != nil {
			b.Fatal(err)
		}
		f.receive(data)
	}
}

// Several workers at once must not meet in anything.
func TestWorkersAreIndependent(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			w := Sockets().NewWorker()
			start(t, w, never{})
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			attach(t, w, p, echo{p})
			f := listenUDP(t, v4)
			for range 100 {
				f.send(t, "ping", p.Local())
				if data, _ := f.receive(t); data != "re: ping" {
					t.Errorf("got %q", data)
				}
			}
		})
	}
	wg.Wait()
}
