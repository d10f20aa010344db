package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

func TestCloseSendsWhatIsQueued(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			k := newKeeper(t)
			k.on = func(c *Conn, frame []byte) {
				c.Send(frame, Control)
				c.Close(ServerClosed)
				if c.Send(frame, Control) {
					t.Error("Send after Close")
				}
			}
			l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, k)
			var c net.Conn = dial(t, l)
			if secure {
				c = dialTLS(t, l, nil)
			}
			write(t, c, bindingRequest(4))
			if got := expectEnd(t, c); !bytes.Equal(got, bindingRequest(4)) {
				t.Errorf("got %x before the end", got)
			}
			next(t, "end", k.closed)
		})
	}
}

func TestCloseWithoutAnythingSent(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	next(t, "connection", k.accepted).Close(ServerClosed)
	expectEnd(t, c)
	next(t, "end", k.closed)
	expectEnded(t, l, ServerClosed, 1)
}

func TestResetByTheClient(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	next(t, "connection", k.accepted)
	_ = c.SetLinger(0)
	_ = c.Close()
	next(t, "end", k.closed)
	expectEnded(t, l, ConnectionLost, 1)
}

// A panic in what is done for one connection ends that one.
func TestPanicEndsOneConnection(t *testing.T) {
	for where, h := range map[string]func(*keeper) Handler{
		"Accepted": func(k *keeper) Handler { return &panicky{keeper: k, accepted: true} },
		"Frames":   func(k *keeper) Handler { return &panicky{keeper: k, frames: true} },
		"Closed":   func(k *keeper) Handler { return &panicky{keeper: k, closed: true} },
	} {
		t.Run(where, func(t *testing.T) {
			k := newKeeper(t)
			log, text := newLog()
			l := serve(t, Options{Network: TCP, Log: log}, h(k))
			c := dial(t, l)
			write(t, c, message(1, 0xff, 0))
			if where == "Closed" {
				_ = c.Close()
				expectEnded(t, l, ClientClosed, 1)
			} else {
				expectEnd(t, c)
				expectEnded(t, l, Panicked, 1)
			}
			if !bytes.Contains([]byte(text.String()), []byte("panic in a connection")) {
				t.Errorf("logged %q", text)
			}
		})
	}
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP}, &panicky{keeper: k, frames: true, spared: 1})
	good := dial(t, l)
	write(t, good, bindingRequest(1))
	next(t, "frame", k.frames)
	write(t, dial(t, l), message(1, 0xff, 0))
	expectEnded(t, l, Panicked, 1)
	write(t, good, bindingRequest(2))
	next(t, "frame", k.frames)
}

// panicky is a handler with a bug.
type panicky struct {
	*keeper
	accepted, frames, closed bool
	spared                   int // so many connections are handled well
}

func (p *panicky) Accepted(c *Conn) {
	p.keeper.Accepted(c)
	p.spared--
	c.Tag = p.spared >= 0
	if p.accepted {
		panic("a bug in Accepted")
	}
}

func (p *panicky) Frames(c *Conn) {
	if p.frames && !c.Tag.(bool) {
		panic("a bug in Frames")
	}
	p.keeper.Frames(c)
}

func (p *panicky) Closed(c *Conn) {
	p.keeper.Closed(c)
	if p.closed {
		panic("a bug in Closed")
	}
}

func TestRunEndsConnectionsInEveryState(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, k)
	dial(t, l)
	write(t, dial(t, l), []byte{22})
	write(t, dial(t, l), []byte{0})
	write(t, dial(t, l), bindingRequest(1))
	write(t, dialTLS(t, l, nil), bindingRequest(1))
	next(t, "frame", k.frames)
	next(t, "frame", k.frames)
	flood(t, next(t, "connection", k.accepted))
	// The clean-up of serve checks that all of it ends.
	eventually(t, func() bool { return l.Counters().Open == 5 }, func() { t.Error("not all came") })
}

func TestListenerThatIsNotRun(t *testing.T) {
	l, err := Listen(Options{Network: TCP, Local: loopback}, newKeeper(t))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if c, err := net.DialTimeout("tcp", l.Addr().String(), patience); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// brokenListener fails before it accepts.
type brokenListener struct {
	net.Listener
	fail []error
	at   []time.Time
}

func (b *brokenListener) Accept() (net.Conn, error) {
	b.at = append(b.at, time.Now())
	if len(b.fail) > 0 {
		err := b.fail[0]
		b.fail = b.fail[1:]
		return nil, err
	}
	return b.Listener.Accept()
}

func TestAcceptOutlastsFailures(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log, text := newLog()
	b := &brokenListener{Listener: inner, fail: []error{errTooManyFiles, errTooManyFiles, errTooManyFiles}}
	failed, took := 0, 0
	client, err := net.DialTimeout("tcp", inner.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	err = acceptAll(t.Context(), b, func() { failed++ }, log, func(c net.Conn) {
		took++
		_ = c.Close()
		_ = inner.Close()
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended by %v", err)
	}
	if failed != 3 || took != 1 {
		t.Errorf("%d failures and %d connections, want 3 and 1", failed, took)
	}
	if n := bytes.Count([]byte(text.String()), []byte("accept failed")); n != 1 {
		t.Errorf("logged %d times: %s", n, text)
	}
	for i, least := 1, acceptPause; i <= 3; i, least = i+1, 2*least {
		if d := b.at[i].Sub(b.at[i-1]); d < least {
			t.Errorf("try %d came after %v, want %v", i, d, least)
		}
	}
}

var errTooManyFiles = &net.OpError{Op: "accept", Net: "tcp", Err: io.ErrNoProgress}
