package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 5 * time.Second // for what has to happen

// received is one message as Receive got it.
type received struct {
	msg  sip.Message
	flow Flow
}

// lost is one end of a flow.
type lost struct {
	flow Flow
	err  error
}

// side is a Layer under test and what it was told.
type side struct {
	*Layer
	got   chan received
	lost  chan lost
	drops *Drops
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// open makes a Layer with one listener on 127.0.0.1; change may alter its
// configuration. It is closed at the end of the test.
func open(t testing.TB, network string, change func(*Config)) *side {
	t.Helper()
	s := &side{got: make(chan received, 1000), lost: make(chan lost, 1000), drops: &Drops{}, log: &lockedBuffer{}}
	cfg := Config{
		Side:    "test",
		Listen:  []Listener{{Network: network, Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
		Receive: func(msg sip.Message, f Flow) { s.got <- received{msg, f} },
		Lost:    func(f Flow, err error) { s.lost <- lost{f, err} },
		Log:     slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Drops:   s.drops,
	}
	if change != nil {
		change(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Layer = l
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	l.Serve()
	return s
}

func (s *side) addr() netip.AddrPort { return s.Layer.bound[0].Addr }

func (s *side) next(t testing.TB) received {
	t.Helper()
	select {
	case r := <-s.got:
		return r
	case <-time.After(patience):
		t.Fatalf("nothing was received; log:\n%s", s.log)
		panic("unreachable")
	}
}

func (s *side) end(t testing.TB) lost {
	t.Helper()
	select {
	case e := <-s.lost:
		return e
	case <-time.After(patience):
		t.Fatalf("no end was reported; log:\n%s", s.log)
		panic("unreachable")
	}
}

// counted waits until a drop was counted n times.
func (s *side) counted(t testing.TB, reason Drop, n uint64) {
	t.Helper()
	eventually(t, func() bool { return s.drops.Count(reason) == n }, func() string {
		return fmt.Sprintf("%s counted %d times, want %d; log:\n%s", reason, s.drops.Count(reason), n, s.log)
	})
}

func eventually(t testing.TB, done func() bool, what func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
	}
}

// dialFrom connects to a side from an address of 127.0.0.0/8.
func dialFrom(t testing.TB, network, local string, to netip.AddrPort) net.Conn {
	t.Helper()
	var addr net.Addr = &net.TCPAddr{IP: net.ParseIP(local)}
	if network == "udp" {
		addr = &net.UDPAddr{IP: net.ParseIP(local)}
	}
	conn, err := (&net.Dialer{LocalAddr: addr, Timeout: patience}).Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// options is an OPTIONS request that is valid on any network.
func options(i int, extra ...string) string {
	return message(append([]string{
		"OPTIONS sip:x@127.0.0.1 SIP/2.0", fmt.Sprintf("Via: SIP/2.0/TCP 192.0.2.9:5099;rport;branch=z9hG4bK%d", i),
		"From: <sip:a@192.0.2.9>;tag=f", "To: <sip:x@127.0.0.1>", fmt.Sprintf("Call-ID: c%d", i), fmt.Sprintf("CSeq: %d OPTIONS", i+1),
		"Max-Forwards: 70",
	}, extra...)...)
}

// message joins lines, with a Content-Length of 0 at the end.
func message(lines ...string) string {
	return strings.Join(append(lines, "Content-Length: 0"), "\r\n") + "\r\n\r\n"
}

func write(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// want reads until the text came.
func want(t testing.TB, conn net.Conn, text string) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte(text)) {
		n, err := conn.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			t.Fatalf("got %q and %v, want %q", all, err, text)
		}
	}
	return string(all)
}

// wantEnd reads until the other end closed, and returns what came before.
func wantEnd(t testing.TB, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	all, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection stays open; got %q", all)
	}
	conn.Close()
	return string(all)
}

func TestSendAndReceive(t *testing.T) {
	for _, c := range []struct{ network, at string }{
		{"udp", "127.0.0.1:0"}, {"tcp", "127.0.0.1:0"}, {"udp", "[::1]:0"}, {"tcp", "[::1]:0"},
	} {
		network := c.network
		t.Run(network+" "+c.at, func(t *testing.T) {
			if probe, err := net.ListenPacket("udp", c.at); err != nil {
				t.Skip(err)
			} else {
				probe.Close()
			}
			at := func(cfg *Config) { cfg.Listen[0].Addr = netip.MustParseAddrPort(c.at) }
			a, b := open(t, network, at), open(t, network, at)
			f, err := a.Dial(t.Context(), network, b.addr(), "")
			if err != nil {
				t.Fatal(err)
			}
			if f.Local.Addr() != a.addr().Addr() || network == "udp" && f.Local != a.addr() {
				t.Errorf("dialled from %s, the listener is %s", f.Local, a.addr())
			}
			if err := a.Send(f, []byte(options(1))); err != nil {
				t.Fatal(err)
			}
			r := b.next(t)
			if r.msg.CallID().Value() != "c1" || r.flow.Remote != f.Local || r.flow.Network != network {
				t.Errorf("got %v on %v", r.msg, r.flow)
			}
			if r.msg.Source() != f.Local.String() || r.msg.Transport() != strings.ToUpper(network) {
				t.Errorf("source %s, transport %s", r.msg.Source(), r.msg.Transport())
			}
			if received, _ := r.msg.Via().Params.Get("received"); received != f.Local.Addr().String() {
				t.Errorf("received=%s", received)
			}
			if err := b.Send(r.flow, []byte(options(2))); err != nil {
				t.Fatal(err)
			}
			if r := a.next(t); r.msg.CallID().Value() != "c2" || r.flow != f {
				t.Errorf("got %v on %v, dialled %v", r.msg, r.flow, f)
			}
			if !a.Live(f) || !b.Live(r.flow) {
				t.Error("a flow in use is not live")
			}
			if again, err := a.Dial(t.Context(), network, b.addr(), ""); err != nil || again != f {
				t.Errorf("dialled again: %v, %v", again, err)
			}
		})
	}
}

// TestFlowsAreNotMistaken: two connections from one address and port, one
// after the other, are two flows, and each ends once.
func TestFlowsAreNotMistaken(t *testing.T) {
	s := open(t, "tcp", nil)
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}
	var first Flow
	for i := range 2 {
		conn, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", s.addr().String())
		if err != nil {
			t.Fatal(err)
		}
		from = conn.LocalAddr().(*net.TCPAddr) // the same port again
		write(t, conn, options(i))
		f := s.next(t).flow
		if i == 0 {
			first = f
		} else if f.Remote != first.Remote || f == first {
			t.Errorf("first %v, then %v", first, f)
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT on this end
		conn.Close()
		if e := s.lost; (<-e).flow != f {
			t.Error("another flow was lost")
		}
		if s.Live(f) || !errors.Is(s.Send(f, []byte("x")), ErrGone) {
			t.Error("a flow that ended is live")
		}
		if _, ok := s.Find("tcp", f.Remote); ok {
			t.Error("a flow that ended is found")
		}
	}
	select {
	case e := <-s.lost:
		t.Errorf("%v was lost twice", e)
	case <-time.After(20 * time.Millisecond):
	}
}
