package transport

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// piped is a Layer without sockets and one connection of it over net.Pipe, for
// tests in which the clock is ours.
func piped(t *testing.T, limits Limits, dialled bool) (s *side, f Flow, far net.Conn) {
	t.Helper()
	s = &side{got: make(chan received, 100), lost: make(chan lost, 100), drops: &Drops{}, log: &lockedBuffer{}}
	l, err := Open(Config{
		Side: "test", Limits: limits, Drops: s.drops, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Receive: func(msg sip.Message, f Flow) { s.got <- received{msg, f} },
		Lost:    func(f Flow, err error) { s.lost <- lost{f, err} },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Layer = l
	near, far := net.Pipe()
	c := newConn(l, near, Flow{Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:40000")})
	c.dialled = dialled
	c.proven.Store(dialled)
	l.mu.Lock()
	if !dialled {
		l.pool.unproven = append(l.pool.unproven, c)
	}
	l.establish(c)
	l.wg.Go(c.serve)
	l.mu.Unlock()
	t.Cleanup(func() {
		far.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c.flow, far
}

// endedAfter waits for the end of the flow and compares the time with want.
func endedAfter(t *testing.T, s *side, start time.Time, want time.Duration, cause error, reason Drop, n uint64) {
	t.Helper()
	e := <-s.lost
	if took := time.Since(start); took != want || !errors.Is(e.err, cause) {
		t.Errorf("ended after %v by %v, want after %v by %v", took, e.err, want, cause)
	}
	if got := s.drops.Count(reason); got != n {
		t.Errorf("%s counted %d times, want %d", reason, got, n)
	}
	if st := s.Stats(); st.Connections != 0 || st.Unproven != 0 {
		t.Errorf("left: %+v", st)
	}
}

var timeLimits = Limits{ProveWithin: 30 * time.Second, Idle: 20 * time.Minute}

func TestSilentConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := piped(t, timeLimits, false)
		endedAfter(t, s, time.Now(), 30*time.Second, errUnproven, DropUnprovenTimeout, 1)
	})
}

// TestPingsProveNothing: nor does a message that nobody called valid.
func TestPingsProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, far := piped(t, timeLimits, false)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		start := time.Now()
		for range 5 {
			time.Sleep(5 * time.Second)
			write(t, far, "\r\n\r\n"+options(1))
		}
		endedAfter(t, s, start, 30*time.Second, errUnproven, DropUnprovenTimeout, 1)
	})
}

// TestSlowMessageEnds: one octet a second makes a message on no connection,
// proven or not.
func TestSlowMessageEnds(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, f, far := piped(t, timeLimits, dialled)
			start := time.Now()
			write(t, far, options(1)) // a whole one is no beginning
			<-s.got
			s.Prove(f)
			time.Sleep(time.Minute)
			if !s.Live(f) {
				t.Fatal("a proven connection ended")
			}
			begun := time.Now()
			var writer sync.WaitGroup
			defer writer.Wait()
			writer.Go(func() {
				for i := range 1000 {
					if _, err := far.Write([]byte(options(2)[i : i+1])); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			endedAfter(t, s, start, begun.Sub(start)+30*time.Second, errSlow, DropSlowMessage, 1)
		})
	}
}

// TestManyMessagesAreNotOneSlowOne: the time of a message counts from its own
// beginning, though the stream is never at rest between two.
func TestManyMessagesAreNotOneSlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, far := piped(t, timeLimits, true)
		m := options(1)
		half := len(m) / 2
		write(t, far, m[:half])
		for range 20 {
			time.Sleep(20 * time.Second)
			write(t, far, m[half:]+m[:half])
			<-s.got
		}
		if !s.Live(f) {
			t.Error("a busy connection ended")
		}
	})
}

// TestIdleConnectionEnds: what we send is use, too.
func TestIdleConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, far := piped(t, timeLimits, true)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		start := time.Now()
		time.Sleep(15 * time.Minute)
		if err := s.Send(f, []byte(options(1))); err != nil {
			t.Fatal(err)
		}
		endedAfter(t, s, start, 35*time.Minute, errIdle, DropUnprovenTimeout, 0)
	})
}

// TestPeerThatDoesNotRead loses the connection, whoever made it, and holds
// nobody meanwhile.
func TestPeerThatDoesNotRead(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, f, _ := piped(t, timeLimits, dialled)
			start := time.Now()
			for range 100 {
				if err := s.Send(f, []byte(options(1))); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("Send took %v", took)
			}
			endedAfter(t, s, start, writeTimeout, errNoReader, DropWriteTimeout, 1)
			if err := s.Send(f, []byte("x")); !errors.Is(err, ErrGone) {
				t.Errorf("Send: %v", err)
			}
		})
	}
}

// TestQueueIsBounded: a peer that does not read has no megabytes of us.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, _ := piped(t, timeLimits, true)
		start := time.Now()
		b, sent := make([]byte, 60000), 0
		for s.Send(f, b) == nil {
			sent += len(b)
		}
		if sent > 2*maxQueued {
			t.Errorf("%d bytes were taken", sent)
		}
		endedAfter(t, s, start, 0, errNoReader, DropWriteTimeout, 1)
	})
}

// TestCloseIsBounded: what waits is sent, but a peer that does not read does
// not hold Close for longer than flushTimeout.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, far := piped(t, timeLimits, true)
		_ = s.Send(f, []byte(options(1)))
		got := make(chan string)
		go func() {
			b, _ := io.ReadAll(far)
			got <- string(b)
		}()
		_ = s.Close()
		if b := <-got; b != options(1) {
			t.Errorf("the peer got %q", b)
		}
		if e := <-s.lost; e.flow != f || !errors.Is(e.err, ErrClosed) {
			t.Errorf("lost %v", e)
		}
		s, f, _ = piped(t, timeLimits, true)
		_ = s.Send(f, []byte(options(1)))
		start := time.Now()
		_ = s.Close()
		if took := time.Since(start); took != flushTimeout {
			t.Errorf("Close took %v", took)
		}
		if _, err := s.Dial(t.Context(), "tcp", netip.MustParseAddrPort("127.0.0.1:9"), ""); !errors.Is(err, ErrClosed) {
			t.Errorf("dialled after Close: %v", err)
		}
	})
}

// TestEndTellsLostOnce, whoever else ends the connection as well.
func TestEndTellsLostOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, far := piped(t, timeLimits, true)
		why := errors.New("no answer on it")
		for range 3 {
			s.End(f, why)
		}
		far.Close()
		if e := <-s.lost; e.flow != f || !errors.Is(e.err, why) {
			t.Errorf("lost %v", e)
		}
		_ = s.Close()
		if n := len(s.lost); n != 0 {
			t.Errorf("%d more", n)
		}
	})
}

// TestOneHostDoesNotShutOthersOut: with every place of unproven connections
// taken by one host, another one is heard, and the host loses its oldest.
func TestOneHostDoesNotShutOthersOut(t *testing.T) {
	s := open(t, "tcp", func(cfg *Config) { cfg.Limits = Limits{Unproven: 4} })
	quiet := dialFrom(t, "tcp", "127.0.0.5", s.addr()) // older than all, and alone
	var greedy []net.Conn
	for i := range 10 {
		greedy = append(greedy, dialFrom(t, "tcp", "127.0.0.66", s.addr()))
		s.counted(t, DropUnproven, uint64(max(0, i-2)))
	}
	other := dialFrom(t, "tcp", "127.0.0.4", s.addr())
	s.counted(t, DropUnproven, 8)
	for i, conn := range []net.Conn{quiet, other} {
		write(t, conn, options(i))
		s.Prove(s.next(t).flow)
	}
	for _, conn := range greedy[:8] {
		_ = wantEnd(t, conn)
	}
	for i, conn := range greedy[8:] {
		write(t, conn, options(i))
		s.next(t)
	}
	if st := s.Stats(); st.Connections != 4 || st.Unproven != 2 || st.Networks["tcp"] != 4 {
		t.Errorf("%+v", st)
	}
}

// TestConnectionsAreBounded: above the limit they are closed at once, and room
// is made by those that end.
func TestConnectionsAreBounded(t *testing.T) {
	s := open(t, "tcp", func(cfg *Config) { cfg.Limits = Limits{Connections: 3} })
	var open []net.Conn
	for i := range 3 {
		conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
		write(t, conn, options(i))
		s.Prove(s.next(t).flow)
		open = append(open, conn)
	}
	_ = wantEnd(t, dialFrom(t, "tcp", "127.0.0.4", s.addr()))
	s.counted(t, DropConnections, 1)
	// Those that we make have a bound of their own.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	to := listener.Addr().(*net.TCPAddr).AddrPort()
	f, err := s.Dial(t.Context(), "tcp", to, "")
	if err != nil {
		t.Fatal(err)
	}
	s.End(f, io.EOF)
	open[0].Close()
	s.end(t)
	s.end(t)
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.addr().String())
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(options(9)))
		select {
		case <-s.got:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	}, func() string { return "no room was made" })
}

// TestDialledAreBounded: a peer that names ever new ports does not make us
// connect to all of them.
func TestDialledAreBounded(t *testing.T) {
	s := open(t, "tcp", func(cfg *Config) { cfg.Limits = Limits{Connections: 2} })
	for i := range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		_, err = s.Dial(t.Context(), "tcp", listener.Addr().(*net.TCPAddr).AddrPort(), "")
		if (i == 2) != errors.Is(err, ErrTooMany) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// TestManyCameAndWent leaves nothing: no connection, goroutine or buffer of
// those that were there.
func TestManyCameAndWent(t *testing.T) {
	s := open(t, "tcp", nil)
	before := runtime.NumGoroutine()
	const n = 500
	for i := range n {
		conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
		write(t, conn, options(i)+options(i)[:50*(i%3)])
		s.Prove(s.next(t).flow)
		conn.Close()
		s.end(t)
	}
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		p := &s.Layer.pool
		return len(p.byID)+len(p.byRemote)+len(p.unproven)+p.accepted+p.dialled == 0 && runtime.NumGoroutine() <= before
	}, func() string {
		return fmt.Sprintf("left: %+v, %d goroutines", s.Layer.pool, runtime.NumGoroutine()-before)
	})
}

// TestErrorsOfOnePeerStayThere: a udp socket goes on after ICMP errors and
// datagrams that are too long.
func TestErrorsOfOnePeerStayThere(t *testing.T) {
	s := open(t, "udp", nil)
	gone := dialFrom(t, "udp", "127.0.0.3", s.addr())
	write(t, gone, options(1))
	f := s.next(t).flow
	gone.Close()
	for range 10 {
		_ = s.Send(f, []byte(options(2))) // port unreachable
	}
	if err := s.Send(f, make([]byte, 70000)); err == nil {
		t.Error("70000 bytes were sent")
	}
	write(t, dialFrom(t, "udp", "127.0.0.4", s.addr()), options(3))
	if r := s.next(t); r.msg.CallID().Value() != "c3" {
		t.Errorf("received %v", r.msg)
	}
}

func TestOpenNamesTheListener(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().(*net.TCPAddr).AddrPort()
	for _, c := range []struct {
		l    Listener
		want string
	}{
		{Listener{"tcp", at}, "tcp://" + at.String()},
		{Listener{"udp", netip.MustParseAddrPort("192.0.2.1:5060")}, "udp://192.0.2.1:5060"},
		{Listener{"tls", netip.MustParseAddrPort("127.0.0.1:0")}, "no certificate"},
		{Listener{"ws", netip.MustParseAddrPort("127.0.0.1:0")}, "ws"},
	} {
		free := Listener{"udp", netip.MustParseAddrPort("127.0.0.1:0")} // must not stay open
		if _, err := Open(Config{Side: "pool", Listen: []Listener{free, c.l}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.l, err)
		}
	}
}
