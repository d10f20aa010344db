package turnload

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

func open(t *testing.T, f *faulty, sessions, peers int) *Load {
	t.Helper()
	host := netip.MustParseAddr("127.0.0.1")
	l, err := Open(Options{
		Server: f.addr(), Client: host, Peer: host, Sessions: sessions, Peers: peers, InFlight: 3,
		Credentials: OneUser(testUser, testPassword),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// opened opens clients and sets them up.
func opened(t *testing.T, f *faulty, sessions, peers int) *Load {
	t.Helper()
	l := open(t, f, sessions, peers)
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if done, err := l.SetUp(t.Context()); err != nil || done.Count != sessions || done.Latency.Count() != uint64(sessions) {
		t.Fatalf("%d of %d were set up, %d with a latency: %v", done.Count, sessions, done.Latency.Count(), err)
	}
	return l
}

func TestTraffic(t *testing.T) {
	for _, c := range []struct {
		name     string
		sessions int
		peers    int
		tick     time.Duration
	}{
		{"one", 1, 0, 0},
		{"a peer for each", 10, 0, 0},
		{"shared peers", 10, 3, 0},
		{"bursts", 10, 3, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := opened(t, startFaulty(t), c.sessions, c.peers)
			for range 2 { // packets of the first run are nothing to the second
				r, err := l.Run(t.Context(), Traffic{Rate: 50, Duration: 200 * time.Millisecond, Tick: c.tick})
				if err != nil {
					t.Fatal(err)
				}
				want := uint64(c.sessions * 10)
				for _, d := range []*Direction{&r.ToPeer, &r.ToClient} {
					if d.Sent != want || d.Received != want || d.Loss() != 0 || d.Latency.Count() != want {
						t.Errorf("sent %d, received %d, %d with a latency, want %d", d.Sent, d.Received, d.Latency.Count(), want)
					}
				}
				if r.Strange != 0 || r.Delivered() != 2*want {
					t.Errorf("%d strange, %d delivered", r.Strange, r.Delivered())
				}
				if r.Took < 150*time.Millisecond {
					t.Errorf("took %v", r.Took)
				}
			}
		})
	}
}

func TestLossIsSeenOnItsWay(t *testing.T) {
	l := opened(t, startFaulty(t, func(f *faulty) {
		f.toPeer = func(n int, b []byte) []byte {
			if n%4 == 0 {
				return nil
			}
			return b
		}
	}), 4, 0)
	r, err := l.Run(t.Context(), Traffic{Rate: 100, Duration: 200 * time.Millisecond, Payload: 300})
	if err != nil {
		t.Fatal(err)
	}
	if r.ToPeer.Sent != 80 || r.ToPeer.Received != 60 || r.ToPeer.Loss() != 0.25 || r.ToClient.Loss() != 0 {
		t.Errorf("to the peer %d of %d, to the client %d of %d", r.ToPeer.Received, r.ToPeer.Sent, r.ToClient.Received, r.ToClient.Sent)
	}
}

func TestDelayIsSeen(t *testing.T) {
	f := startFaulty(t, func(f *faulty) {
		f.toClient = func(_ int, b []byte) []byte {
			time.Sleep(3 * time.Millisecond)
			return b
		}
	})
	r, err := opened(t, f, 1, 0).Run(t.Context(), Traffic{Rate: 50, Duration: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if d := r.ToClient.Latency.Quantile(0.01); d < 3*time.Millisecond {
		t.Errorf("the least delay is %v", d)
	}
}

func TestWhatWasNotSentIsStrange(t *testing.T) {
	for name, fault := range map[string]func(n int, b []byte) []byte{
		"shorter": func(_ int, b []byte) []byte { return b[:len(b)-1] },
		"empty":   func(_ int, b []byte) []byte { return b[:1] },
		"another client's": func(_ int, b []byte) []byte {
			b[11] ^= 2
			return b
		},
		"nobody's": func(_ int, b []byte) []byte {
			b[8] ^= 0x80
			return b
		},
		"of the other direction": func(_ int, b []byte) []byte {
			b[11] ^= 1
			return b
		},
		"damaged": func(_ int, b []byte) []byte {
			b[24] ^= 1
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFaulty(t, func(f *faulty) { f.toPeer, f.toClient = fault, fault })
			r, err := opened(t, f, 2, 1).Run(t.Context(), Traffic{Rate: 50, Duration: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if r.Delivered() != 0 || r.Strange != 20 {
				t.Errorf("%d delivered, %d strange, want 0 and 20", r.Delivered(), r.Strange)
			}
		})
	}
}

func TestRequestsAreRepeated(t *testing.T) {
	f := startFaulty(t, func(f *faulty) { f.ignored = 1 })
	l := open(t, f, 2, 0)
	done, err := l.SetUp(t.Context())
	if err != nil || done.Retransmissions != 2*4 {
		t.Errorf("%d retransmissions: %v", done.Retransmissions, err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStaleNonce(t *testing.T) {
	f := startFaulty(t)
	l := opened(t, f, 2, 0)
	f.mu.Lock()
	f.nonce = "second" // Close, at the end of the test, has to take it
	f.mu.Unlock()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.sessions, l.peers, l.poll = nil, nil, must(newPoller())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRefusalsEndTheSetUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(f *faulty)
		want  string
	}{
		{"forbidden", func(f *faulty) { f.code[turn.MethodCreatePermission] = turn.CodeForbidden }, "error 403"},
		{"wrong credentials", func(f *faulty) { f.code[turn.MethodAllocate] = turn.CodeUnauthenticated }, "error 401"},
		{"always stale", func(f *faulty) { f.code[turn.MethodChannelBind] = turn.CodeStaleNonce }, "error 438"},
		{"forged", func(f *faulty) { f.forged = true }, "not authentic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startFaulty(t, c.fault)
			l := open(t, f, 3, 0)
			if _, err := l.SetUp(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := l.Run(t.Context(), Traffic{Rate: 1, Duration: time.Second}); err == nil {
				t.Error("traffic without a channel")
			}
			if err := l.release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSilenceEndsWithTheContext(t *testing.T) {
	f := startFaulty(t, func(f *faulty) { f.ignored = 100 })
	l := open(t, f, 1, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := l.SetUp(ctx); err == nil {
		t.Error("set up by a server that says nothing")
	}
	if err := l.release(); err != nil {
		t.Error(err)
	}
}

func TestOverdue(t *testing.T) {
	s := session{sends: 1}
	for _, c := range []struct {
		sends int
		after time.Duration
		again bool
		fails bool
	}{
		{1, 499 * time.Millisecond, false, false},
		{1, 500 * time.Millisecond, true, false},
		{2, 999 * time.Millisecond, false, false},
		{2, time.Second, true, false},
		{sendsLimit, 15 * time.Second, false, false},
		{sendsLimit, 16 * time.Second, false, true},
	} {
		s.sends = c.sends
		if again, err := s.overdue(c.after); again != c.again || (err != nil) != c.fails {
			t.Errorf("%v after send %d: %v, %v", c.after, c.sends, again, err)
		}
	}
}

func TestOptionsAndTrafficAreChecked(t *testing.T) {
	f := startFaulty(t)
	host := netip.MustParseAddr("127.0.0.1")
	for _, o := range []Options{
		{Server: f.addr(), Client: host, Peer: host, Sessions: 1},
		{Server: f.addr(), Client: host, Peer: host, Credentials: OneUser("", "")},
		{Server: f.addr(), Client: netip.MustParseAddr("192.0.2.1"), Peer: host, Sessions: 1, Credentials: OneUser("", "")},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	l := opened(t, f, 1, 0)
	for _, traffic := range []Traffic{
		{Duration: time.Second},
		{Rate: 1, Payload: minPayload - 1},
		{Rate: 1, Payload: maxPayload + 1},
	} {
		if _, err := l.Run(t.Context(), traffic); err == nil {
			t.Errorf("%+v is taken", traffic)
		}
	}
}

func TestRestUsers(t *testing.T) {
	credentials := RestUsers("newest", time.Unix(1_700_000_000, 0))
	a, first := credentials(0)
	b, second := credentials(17)
	if a != "1700000000:client0" || b != "1700000000:client17" || first == second || first == "" {
		t.Errorf("%s %s, %s %s", a, first, b, second)
	}
}

func TestProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 30*time.Millisecond; {
	}
	if after, err := CPU(os.Getpid()); err != nil || after <= before {
		t.Errorf("%v of processor time, then %v: %v", before, after, err)
	}
	if m, err := Resident(os.Getpid()); err != nil || m.Resident < 1<<20 || m.Anonymous < 1<<18 || m.Anonymous > m.Resident {
		t.Errorf("%+v: %v", m, err)
	}
	if n, err := Switches(os.Getpid()); err != nil || n == 0 {
		t.Errorf("%d switches: %v", n, err)
	}
	const nobody = 1 << 30
	if _, err := CPU(nobody); err == nil {
		t.Error("a process that doesn't exist has used processor time")
	}
	if _, err := Resident(nobody); err == nil {
		t.Error("a process that doesn't exist is in memory")
	}
	if _, err := Switches(nobody); err == nil {
		t.Error("a process that doesn't exist was switched")
	}
}
