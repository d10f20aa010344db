package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// rig is a data connection that is ready: the two ends that the relay joins.
type rig struct {
	peers    *Connections
	listener *Listener
	handler  *keeper
	client   net.Conn
	peer     *net.TCPConn
}

// join makes a data connection by Connect.
func join(t *testing.T, limits DataLimits, o Owner, secure bool) rig {
	t.Helper()
	peers := table(t, limits)
	k := binder(t, peers, o.User)
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, k)
	local, _ := open(t, peers, o)
	to, conns := peer(t)
	d := next(t, "connection", dialPeer(peers, o, local, to))
	if d.err != nil {
		t.Fatal(d.err)
	}
	r := rig{peers: peers, listener: l, handler: k, peer: accepted(t, conns)}
	if got := addrPort(r.peer.RemoteAddr()); got != local {
		t.Errorf("the peer sees %v, want the relayed address %v", got, local)
	}
	r.client = dial(t, l)
	if secure {
		r.client = dialTLS(t, l, nil)
	}
	write(t, r.client, connectionBindFor(d.id))
	expect(t, r.client, success)
	return r
}

func TestConnectAndBind(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			r := join(t, DataLimits{}, owner, secure)
			big := bytes.Repeat([]byte("not a frame at all: \xff\x16\x40"), 20000)
			go func() { _, _ = r.client.Write(big) }()
			expect(t, r.peer, big)
			go func() { _, _ = r.peer.Write(big) }()
			expect(t, r.client, big)
			eventually(t, func() bool {
				up, down := r.peers.Traffic(owner.ID)
				c := r.peers.Counters()
				return up == uint64(len(big)) && down == uint64(len(big)) && c.BytesUp == up && c.BytesDown == down
			}, func() { t.Errorf("counted %+v, want %d each way", r.peers.Counters(), len(big)) })
			c := r.peers.Counters()
			if c.Dialed != 1 || c.Bound != 1 || c.Active != 1 || c.Pending != 0 {
				t.Errorf("counted %+v", c)
			}
			conn := next(t, "connection", r.handler.accepted)
			if conn.Send(success, Control) || conn.Send(channelData(4), Media) {
				t.Error("a message was queued into a data connection")
			}
		})
	}
}

// What either side sends too early is not lost, and comes first.
func TestEarlyBytes(t *testing.T) {
	peers := table(t, DataLimits{})
	l := serve(t, Options{Network: TCP}, binder(t, peers, "alice"))
	local, _ := open(t, peers, owner)
	to, conns := peer(t)
	d := next(t, "connection", dialPeer(peers, owner, local, to))
	p := accepted(t, conns)
	write(t, p, []byte("early from the peer, "))
	c := dial(t, l)
	early := bytes.Repeat([]byte{0xfe}, 6000) // more than is read at once
	write(t, c, append(connectionBindFor(d.id), early...))
	write(t, c, []byte("late"))
	expect(t, p, append(early, "late"...))
	write(t, p, []byte("late"))
	expect(t, c, append(bytes.Clone(success), "early from the peer, late"...))
}

func TestHalfClose(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			r := join(t, DataLimits{}, owner, secure)
			write(t, r.client, []byte("question"))
			if err := r.client.(halfCloser).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := expectEnd(t, r.peer); string(got) != "question" {
				t.Errorf("the peer got %q", got)
			}
			write(t, r.peer, []byte("answer"))
			expect(t, r.client, []byte("answer"))
			_ = r.peer.Close()
			if got := expectEnd(t, r.client); len(got) != 0 {
				t.Errorf("%q at the end", got)
			}
			expectEnded(t, r.listener, DataEnded, 1)
			next(t, "end", r.handler.closed)
			if c := r.peers.Counters(); c.Active != 0 {
				t.Errorf("%d connections are active", c.Active)
			}
		})
	}
	t.Run("by the peer", func(t *testing.T) {
		r := join(t, DataLimits{}, owner, false)
		_ = r.peer.CloseWrite()
		expectEnd(t, r.client)
		write(t, r.client, []byte("still"))
		_ = r.client.Close()
		if got := expectEnd(t, r.peer); string(got) != "still" {
			t.Errorf("the peer got %q", got)
		}
	})
}

func TestResetIsPassedOn(t *testing.T) {
	r := join(t, DataLimits{}, owner, false)
	_ = r.peer.SetLinger(0)
	_ = r.peer.Close()
	if _, err := r.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	expectEnded(t, r.listener, DataEnded, 1)
}

func TestDataConnectionIdles(t *testing.T) {
	const short = 200 * time.Millisecond
	r := join(t, DataLimits{Idle: short}, owner, true)
	for range 5 { // one direction keeps the other one open
		time.Sleep(short / 2)
		write(t, r.peer, []byte("x"))
		expect(t, r.client, []byte("x"))
	}
	began := time.Now()
	expectEnd(t, r.client)
	expectEnd(t, r.peer)
	if d := time.Since(began); d < short/2 {
		t.Errorf("ended after %v, want %v", d, short)
	}
	if n := r.peers.Counters().Idle; n == 0 {
		t.Error("not counted")
	}
}

func TestPace(t *testing.T) {
	var told, asked atomic.Int64
	o := owner
	o.Pace = func(n int) time.Duration { // the first bytes are worth two pauses
		if told.Add(int64(n)) == 4 && asked.Add(1) <= 2 {
			return 50 * time.Millisecond
		}
		return 0
	}
	r := join(t, DataLimits{}, o, false)
	began := time.Now()
	write(t, r.client, []byte("1234"))
	expect(t, r.peer, []byte("1234"))
	write(t, r.client, []byte("5678"))
	expect(t, r.peer, []byte("5678"))
	if d := time.Since(began); d < 90*time.Millisecond {
		t.Errorf("no pause: %v", d)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times about the first bytes, want 3", n)
	}
	eventually(t, func() bool { return told.Load() == 8 }, func() { t.Errorf("told of %d bytes", told.Load()) })
}

// A data connection is read by its two ends only: TLS records keep coming in both directions at once.
func TestBothDirectionsAtOnce(t *testing.T) {
	r := join(t, DataLimits{}, owner, true)
	const total = 4 << 20
	block := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 10000)
	pump := func(c io.Writer) <-chan error {
		done := make(chan error, 1)
		go func() {
			for sent := 0; sent < total; sent += len(block) {
				if _, err := c.Write(block); err != nil {
					done <- err
					return
				}
			}
			done <- c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		return done
	}
	up, down := pump(r.client.(*tls.Conn)), pump(r.peer)
	read := func(c io.Reader) <-chan int {
		n := make(chan int, 1)
		go func() {
			m, _ := io.Copy(io.Discard, c)
			n <- int(m)
		}()
		return n
	}
	want := (total + len(block) - 1) / len(block) * len(block)
	atPeer, atClient := read(r.peer), read(r.client)
	for name, n := range map[string]<-chan int{"peer": atPeer, "client": atClient} {
		if got := next(t, name, n); got != want {
			t.Errorf("the %s got %d bytes, want %d", name, got, want)
		}
	}
	if err := errors.Join(next(t, "client's end", up), next(t, "peer's end", down)); err != nil {
		t.Error(err)
	}
}
