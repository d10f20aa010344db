package netio

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// On the memory network a worker's sleep is exact, and nothing wakes it for
// nothing.
func TestMemoryTimerIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewMemory().NewWorker()
		ctx, cancel := context.WithCancel(t.Context())
		a := &alarm{at: time.Now().Add(600 * time.Second), fired: make(chan time.Time, 1)}
		due := a.at
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.Run(ctx, a); err != nil {
				t.Error(err)
			}
		})
		if now := <-a.fired; !now.Equal(due) {
			t.Errorf("fired at %v, want %v", now, due)
		}
		cancel()
		wg.Wait()
		if n := a.asked.Load(); n > 4 {
			t.Errorf("asked %d times for one timer", n)
		}
	})
}

func TestMemoryDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		a, err := m.Socket(netip.MustParseAddrPort("192.0.2.1:4000"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.Socket(netip.MustParseAddrPort("192.0.2.2:4000"))
		if err != nil {
			t.Fatal(err)
		}
		m.SetDelay(40 * time.Millisecond)
		sent := time.Now()
		a.Send([]byte("x"), b.Local())
		time.Sleep(39 * time.Millisecond)
		synctest.Wait()
		if got := b.Received(); got != nil {
			t.Fatalf("arrived early: %v", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		got := b.Received()
		if len(got) != 1 || got[0].At.Sub(sent) != 40*time.Millisecond || got[0].From != a.Local() {
			t.Fatalf("received %v", got)
		}
		a.Close()
		if _, err := m.Socket(a.Local()); err != nil {
			t.Errorf("a closed socket's address is not free: %v", err)
		}
	})
}

// What a port was told to mark shows on what the twin delivers, so that tests
// without sockets can check it.
func TestMemoryMarks(t *testing.T) {
	m := NewMemory()
	f, err := m.Socket(netip.MustParseAddrPort("192.0.2.9:9"))
	if err != nil {
		t.Fatal(err)
	}
	w := m.NewWorker()
	p := open(t, w, netip.MustParseAddrPort("192.0.2.1:60000"), Options{DSCP: 46})
	pk := Packet{Buf: w.Buffer()}
	pk.Buf.Use(0, 5)
	p.Send(&pk, f.Local())
	if got := f.Received(); len(got) != 1 || got[0].DSCP() != 46 {
		t.Errorf("received %+v", got)
	}
}
