package netio

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"causeway/internal/pkt"
)

func TestEcho(t *testing.T) {
	for _, bed := range beds() {
		for _, local := range []netip.Addr{v4, v6} {
			t.Run(bed.name+"/"+local.String(), func(t *testing.T) {
				needs(t, local)
				w := bed.engine.NewWorker()
				p := open(t, w, netip.AddrPortFrom(local, 0), Options{})
				attach(t, w, p, echo{p})
				start(t, w, never{})
				f := bed.far(t, local)
				// More than a batch, more than an outbox, and in order.
				for round := range 3 {
					for i := range 50 {
						f.send(t, string(rune('a'+round))+string(rune('0'+i)), p.Local())
					}
					for i := range 50 {
						data, from := f.receive(t)
						if want := "re: " + string(rune('a'+round)) + string(rune('0'+i)); data != want || from != p.Local() {
							t.Fatalf("got %q from %v, want %q from %v", data, from, want, p.Local())
						}
					}
				}
			})
		}
	}
}

func TestReceivedPacket(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			got := make(chan Packet, 10)
			sizes := make(chan int, 10)
			attach(t, w, p, receiverFunc(func(now time.Time, batch []Packet) {
				for _, pk := range batch {
					sizes <- pk.Buf.Len()
					pk.Buf = nil
					got <- pk
				}
			}))
			start(t, w, never{})
			f := bed.far(t, v4)
			for _, size := range []int{0, 1, pkt.MaxDatagram, pkt.MaxDatagram + 1, 9000} {
				before := time.Now()
				f.send(t, string(make([]byte, size)), p.Local())
				pk, n := <-got, <-sizes
				if cut := size > pkt.MaxDatagram; pk.Cut != cut || n != min(size, pkt.MaxDatagram) {
					t.Errorf("a datagram of %d bytes came as %d, cut %v", size, n, pk.Cut)
				}
				if pk.From != f.addr() {
					t.Errorf("from %v, want %v", pk.From, f.addr())
				}
				if at := time.Unix(0, pk.At); at.Before(before.Add(-time.Millisecond)) || at.After(time.Now().Add(time.Millisecond)) {
					t.Errorf("arrived at %v, sent at %v", at, before)
				}
			}
		})
	}
}

// What comes between Listen and Attach must wait in the port: media may arrive
// as soon as the port is known.
func TestEarlyDatagramsAreDelivered(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			start(t, w, never{})
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			f := bed.far(t, v4)
			f.send(t, "early", p.Local())
			attach(t, w, p, echo{p})
			if data, _ := f.receive(t); data != "re: early" {
				t.Errorf("got %q", data)
			}
		})
	}
}

func TestListenErrors(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			if _, err := w.Listen(p.Local(), Options{}); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("second listen: %v, want EADDRINUSE", err)
			}
			for _, bad := range []netip.AddrPort{
				{},
				netip.MustParseAddrPort("[fe80::1%lo]:4000"),
				netip.MustParseAddrPort("[::ffff:127.0.0.1]:4000"),
			} {
				if p, err := w.Listen(bad, Options{}); err == nil || p != nil {
					t.Errorf("listening on %v: %v, %v", bad, p, err)
				}
			}
			call(w, p.Close)
			again, err := w.Listen(p.Local(), Options{})
			if err != nil {
				t.Fatalf("a closed port's address is not free: %v", err)
			}
			again.Close()
		})
	}
}

func TestAttachErrors(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			attach(t, w, p, echo{p})
			if err := p.Attach(echo{p}); err == nil {
				t.Error("a port was attached twice")
			}
			p.Close()
			p.Close()
			closed := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			closed.Close()
			if err := closed.Attach(echo{closed}); !errors.Is(err, os.ErrClosed) {
				t.Errorf("attaching a closed port: %v", err)
			}
		})
	}
}

// Close sends what is queued, drops what comes after, and counts that.
func TestCloseFlushes(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			start(t, w, never{})
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			f := bed.far(t, v4)
			attach(t, w, p, echo{p})
			message := func(text string) {
				pk := Packet{Buf: w.Buffer()}
				pk.Buf.Use(0, copy(pk.Buf.Room(), text))
				p.Send(&pk, f.addr())
				if pk.Buf != nil {
					t.Error("Send left the buffer with its caller")
				}
			}
			call(w, func() {
				message("bye")
				p.Close()
				message("ghost")
				if got := p.Counters().Unsent; got != 1 {
					t.Errorf("%d packets unsent, want the one after Close", got)
				}
			})
			if data, _ := f.receive(t); data != "bye" {
				t.Errorf("got %q", data)
			}
		})
	}
}

func TestSendRefusals(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			start(t, w, never{})
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			f := bed.far(t, v4)
			attach(t, w, p, echo{p})
			send := func(text string, to netip.AddrPort) {
				pk := Packet{Buf: w.Buffer()}
				pk.Buf.Use(0, copy(pk.Buf.Room(), text))
				p.Send(&pk, to)
			}
			call(w, func() {
				send("other family", netip.AddrPortFrom(v6, 4000))
				send("no address", netip.AddrPort{})
				send("", f.addr())
				send("mapped", netip.AddrPortFrom(netip.AddrFrom16(f.addr().Addr().As16()), f.addr().Port()))
			})
			for _, want := range []string{"", "mapped"} { // an empty datagram is one
				if data, _ := f.receive(t); data != want {
					t.Errorf("got %q, want %q", data, want)
				}
			}
			call(w, func() {
				if got := p.Counters().Unsent; got != 2 {
					t.Errorf("%d unsent, want 2", got)
				}
			})
		})
	}
}

// Whatever comes back for a packet to a port that nobody has, packets to others
// must go on.
func TestUnreachableIsCounted(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			attach(t, w, p, echo{p})
			start(t, w, never{})
			f := bed.far(t, v4)
			gone := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			gone.Close()
			for range 20 {
				call(w, func() {
					for _, to := range []netip.AddrPort{gone.Local(), f.addr()} {
						pk := Packet{Buf: w.Buffer()}
						pk.Buf.Use(0, copy(pk.Buf.Room(), "x"))
						p.Send(&pk, to)
					}
				})
				if data, _ := f.receive(t); data != "x" {
					t.Fatalf("got %q", data)
				}
			}
			f.send(t, "still there", p.Local())
			if data, _ := f.receive(t); data != "re: still there" {
				t.Errorf("got %q", data)
			}
			call(w, func() {
				if c := p.Counters(); c.Unreachable == 0 || c.Unsent != 0 {
					t.Errorf("counters %+v", c)
				}
			})
		})
	}
}

func TestOverflowIsCounted(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			p := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
			f := bed.far(t, v4)
			sent := 2000
			for range sent {
				f.send(t, string(make([]byte, 172)), p.Local())
			}
			received := 0
			attach(t, w, p, receiverFunc(func(_ time.Time, batch []Packet) { received += len(batch) }))
			start(t, w, never{})
			overflowed := func() (n uint64) {
				call(w, func() { n = p.Counters().Overflowed })
				return n
			}
			// The kernel knows at once; nothing has to be received for it.
			lost := overflowed()
			if lost == 0 || lost >= uint64(sent) {
				t.Fatalf("%d of %d datagrams overflowed", lost, sent)
			}
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				var got int
				call(w, func() { got = received })
				if got == sent-int(lost) {
					break
				}
			}
			call(w, func() {
				if received != sent-int(lost) {
					t.Errorf("%d received of %d that did not overflow", received, sent-int(lost))
				}
				p.Close()
				if got := p.Counters().Overflowed; got != lost {
					t.Errorf("%d overflowed after closing, want %d", got, lost)
				}
			})
		})
	}
}

// Do runs in place before and after Run, and on the worker in between.
func TestDo(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			ran := false
			w.Do(func(time.Time) { ran = true })
			if !ran {
				t.Fatal("Do before Run did not run in place")
			}
			running := &begun{ch: make(chan struct{})}
			stop := start(t, w, running)
			<-running.ch
			var order []int
			for i := range 100 {
				w.Do(func(time.Time) { order = append(order, i) })
			}
			call(w, func() {})
			if !slices.IsSorted(order) || len(order) != 100 {
				t.Errorf("commands ran as %v", order)
			}
			stop()
			ran = false
			w.Do(func(time.Time) { ran = true })
			if !ran {
				t.Error("Do after Run did not run in place")
			}
		})
	}
}

// What is queued when the worker ends is run all the same.
func TestDoAtTheEnd(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			running := &begun{ch: make(chan struct{})}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := w.Run(ctx, running); err != nil {
					t.Error(err)
				}
			})
			<-running.ch
			entered, held := make(chan struct{}), make(chan struct{})
			w.Do(func(time.Time) { close(entered); <-held })
			<-entered
			ran := false
			w.Do(func(time.Time) { ran = true })
			cancel()
			close(held)
			wg.Wait()
			if !ran {
				t.Error("a queued command was forgotten")
			}
		})
	}
}

// A receiver may close another port of its worker, whose packets may have been
// announced already; and commands come from everywhere at once.
func TestPortsComeAndGo(t *testing.T) {
	for _, bed := range beds() {
		t.Run(bed.name, func(t *testing.T) {
			w := bed.engine.NewWorker()
			start(t, w, never{})
			var wg sync.WaitGroup
			for i := range byte(4) {
				own := netip.AddrFrom4([4]byte{127, 0, 1, i}) // a closed port's number is soon another's
				wg.Go(func() {
					for range 25 {
						a := open(t, w, netip.AddrPortFrom(own, 0), Options{})
						b := open(t, w, netip.AddrPortFrom(own, 0), Options{})
						closing := make(chan struct{})
						attach(t, w, a, receiverFunc(func(time.Time, []Packet) { b.Close(); a.Close(); close(closing) }))
						attach(t, w, b, receiverFunc(func(time.Time, []Packet) { a.Close(); b.Close(); close(closing) }))
						f := bed.far(t, own)
						f.send(t, "x", a.Local())
						f.send(t, "y", b.Local())
						<-closing
					}
				})
			}
			wg.Wait()
		})
	}
}
