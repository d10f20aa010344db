package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// stalledTLS is a listener that leaves every connection it gets to the test:
// nobody shakes hands on it.
func stalledTLS(t *testing.T) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// TestDialIsOneFlight: many callers at once make one connection.
func TestDialIsOneFlight(t *testing.T) {
	a, b := open(t, "tcp", nil), open(t, "tcp", nil)
	var wg sync.WaitGroup
	flows := make([]Flow, 50)
	for i := range flows {
		wg.Go(func() {
			f, err := a.Dial(t.Context(), "tcp", b.addr(), "")
			if err != nil {
				t.Error(err)
			}
			flows[i] = f
		})
	}
	wg.Wait()
	for _, f := range flows {
		if f != flows[0] {
			t.Errorf("flows %v and %v", f, flows[0])
		}
	}
	eventually(t, func() bool { return b.Stats().Connections == 1 }, func() string { return fmt.Sprint(b.Stats()) })
}

// TestOneCallerGivesUp: the attempt goes on for the others, and ends with the
// last of them.
func TestOneCallerGivesUp(t *testing.T) {
	pki := newAuthority(t, "a")
	_, client := identity(t, pki.issue(t, certificate{cn: "client.example.org"}), IdentityOptions{CA: pki.file})
	a := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = client })
	listener, to := stalledTLS(t) // accepts, and is slow to shake hands
	serverTLS, _ := identity(t, pki.issue(t, certificate{cn: "gw.example.org"}), IdentityOptions{CA: pki.file})

	first, cancelFirst := context.WithCancelCause(t.Context())
	second, cancelSecond := context.WithCancel(t.Context())
	defer cancelSecond()
	type result struct {
		f   Flow
		err error
	}
	dial := func(ctx context.Context) chan result {
		done := make(chan result, 1)
		go func() {
			f, err := a.Dial(ctx, "tls", to, "gw.example.org")
			done <- result{f, err}
		}()
		return done
	}
	waiters := func(n int) {
		t.Helper()
		eventually(t, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			all := 0
			for _, f := range a.flights {
				all += f.waiters
			}
			return all == n
		}, func() string { return fmt.Sprintf("not %d waiters", n) })
	}
	r1 := dial(first)
	waiters(1)
	r2 := dial(second)
	waiters(2)
	why := errors.New("the caller hung up")
	cancelFirst(why)
	if r := <-r1; !errors.Is(r.err, why) {
		t.Errorf("the first got %v", r.err)
	}
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go func() { _, _ = tlsServer(raw, serverTLS).Read(make([]byte, 1)) }()
	r := <-r2
	if r.err != nil || !a.Live(r.f) {
		t.Errorf("the second got %v, %v", r.f, r.err)
	}
	a.End(r.f, why)
	a.end(t)

	// Nobody is left to wait: the attempt ends, and a new one begins.
	third, cancelThird := context.WithCancel(t.Context())
	r3 := dial(third)
	waiters(1)
	stuck, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	cancelThird()
	if r := <-r3; !errors.Is(r.err, context.Canceled) {
		t.Errorf("the third got %v", r.err)
	}
	r2 = dial(second) // which has nothing to do with the one that is being given up
	_ = wantEnd(t, stuck)
	raw, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go func() { _, _ = tlsServer(raw, serverTLS).Read(make([]byte, 1)) }()
	if r := <-r2; r.err != nil {
		t.Errorf("the fourth got %v", r.err)
	}
}

// TestDialFails for everybody at once, and again when it is tried again.
func TestDialFails(t *testing.T) {
	a := open(t, "tcp", nil)
	free, to := stalledTLS(t)
	free.Close()
	for range 2 {
		if _, err := a.Dial(t.Context(), "tcp", to, ""); err == nil {
			t.Error("connected to nobody")
		}
	}
	for _, c := range []struct {
		network string
		to      netip.AddrPort
		want    error
	}{
		{"udp", netip.MustParseAddrPort("127.0.0.1:9"), ErrNoListener},
		{"tls", to, nil},
		{"ws", to, nil},
	} {
		if _, err := a.Dial(t.Context(), c.network, c.to, ""); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.network, err)
		}
	}
	u := open(t, "udp", nil)
	if _, err := u.Dial(t.Context(), "udp", netip.MustParseAddrPort("[::1]:9"), ""); !errors.Is(err, ErrNoListener) {
		t.Errorf("IPv6 from an IPv4 listener: %v", err)
	}
	if _, ok := u.Find("udp", netip.MustParseAddrPort("[::1]:9")); ok {
		t.Error("found IPv6 at an IPv4 listener")
	}
}

// TestCloseEndsAttempts: Close does not wait for a peer that does not answer.
func TestCloseEndsAttempts(t *testing.T) {
	pki := newAuthority(t, "a")
	_, client := identity(t, pki.issue(t, certificate{cn: "client.example.org"}), IdentityOptions{CA: pki.file})
	a := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = client })
	listener, to := stalledTLS(t)
	done := make(chan error)
	go func() {
		_, err := a.Dial(t.Context(), "tls", to, "gw.example.org")
		done <- err
	}()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	start := time.Now()
	_ = a.Close()
	if err := <-done; err == nil {
		t.Error("connected")
	}
	if took := time.Since(start); took > flushTimeout {
		t.Errorf("Close took %v", took)
	}
}

// sequence checks that the messages of each flow come up with rising CSeq.
type sequence struct {
	mu   sync.Mutex
	last map[Flow]uint32
	all  int
}

func (q *sequence) receive(t *testing.T, gaps bool) func(sip.Message, Flow) {
	return func(msg sip.Message, f Flow) {
		n := msg.CSeq().SeqNo
		q.mu.Lock()
		defer q.mu.Unlock()
		if last := q.last[f]; n <= last || !gaps && n != last+1 {
			t.Errorf("%v: message %d after %d", f, n, last)
		}
		q.last[f] = n
		q.all++
	}
}

func (q *sequence) received() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all
}

// TestOrderOnManyConnections: messages of one connection come up in order,
// however many there are and whatever segments they come in.
func TestOrderOnManyConnections(t *testing.T) {
	const connections, messages = 20, 200
	q := &sequence{last: map[Flow]uint32{}}
	s := open(t, "tcp", func(cfg *Config) { cfg.Receive = q.receive(t, false) })
	var wg sync.WaitGroup
	for i := range connections {
		conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
		var all string
		for n := range messages {
			all += options(n)
		}
		wg.Go(func() {
			for size := 1 + i*37; len(all) > 0; size = size%1400 + 97 {
				n := min(size, len(all))
				if _, err := conn.Write([]byte(all[:n])); err != nil {
					t.Error(err)
					return
				}
				all = all[n:]
			}
		})
	}
	wg.Wait()
	eventually(t, func() bool { return q.received() == connections*messages }, func() string {
		return fmt.Sprintf("%d messages received, want %d", q.received(), connections*messages)
	})
}

// TestOrderOfDatagrams: what the kernel does not lose of one sender's comes up
// in order.
func TestOrderOfDatagrams(t *testing.T) {
	const senders, messages = 10, 50
	q := &sequence{last: map[Flow]uint32{}}
	s := open(t, "udp", func(cfg *Config) { cfg.Receive = q.receive(t, true) })
	var wg sync.WaitGroup
	for range senders {
		conn := dialFrom(t, "udp", "127.0.0.3", s.addr())
		wg.Go(func() {
			for n := range messages {
				if _, err := conn.Write([]byte(options(n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, func() bool { return q.received() >= senders*messages/2 }, func() string {
		return fmt.Sprintf("%d datagrams received of %d", q.received(), senders*messages)
	})
}
