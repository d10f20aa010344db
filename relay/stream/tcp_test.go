package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"causeway/relay/turn"
)

func TestFramesOfAStream(t *testing.T) {
	all := [][]byte{
		bindingRequest(1), channelData(1), channelData(160), channelData(0), message(3, 2, 1000),
		channelData(1999), channelData(2), bindingRequest(3),
	}
	for _, piece := range []int{1, 3, 7, 1000, 1 << 20} {
		t.Run(fmt.Sprintf("pieces of %d", piece), func(t *testing.T) {
			k := newKeeper(t)
			l := serve(t, Options{Network: TCP}, k)
			c := dial(t, l)
			for b := bytes.Join(all, nil); len(b) > 0; b = b[min(piece, len(b)):] {
				write(t, c, b[:min(piece, len(b))])
			}
			for i, want := range all {
				if got := next(t, "frame", k.frames); !bytes.Equal(got, want) {
					t.Fatalf("frame %d is %x, want %x", i, head(got), head(want))
				}
			}
			conn := next(t, "connection", k.accepted)
			if got, want := conn.Client().String(), c.LocalAddr().String(); got != want {
				t.Errorf("client %s, want %s", got, want)
			}
			if conn.Server() != l.Addr() || conn.Transport() != turn.TCP {
				t.Errorf("server %v by %v, want %v by tcp", conn.Server(), conn.Transport(), l.Addr())
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if next(t, "end", k.closed) != conn {
				t.Error("Closed for another connection")
			}
			expectEnded(t, l, ClientClosed, 1)
			if n := l.Counters(); n.Accepted != 1 || n.FramesIn != uint64(len(all)) {
				t.Errorf("counted %d connections and %d frames", n.Accepted, n.FramesIn)
			}
		})
	}
}

func TestLongFrames(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, _ []byte) { c.SetAllocated(true) }
	l := serve(t, Options{Network: TCP}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	next(t, "frame", k.frames)
	for _, want := range [][]byte{
		channelData(2045), channelData(4092), channelData(4093), channelData(9001), channelData(65535), message(6, 1, 65532),
	} {
		write(t, c, append(bytes.Clone(want), bindingRequest(7)...))
		if got := next(t, "long frame", k.frames); !bytes.Equal(got, want) {
			t.Fatalf("long frame of %d bytes: got %d: %x", len(want), len(got), head(got))
		}
		if got := next(t, "frame behind it", k.frames); !bytes.Equal(got, bindingRequest(7)) {
			t.Fatalf("behind a frame of %d bytes: %x", len(want), head(got))
		}
	}
}

func TestIPv6(t *testing.T) {
	local := netip.MustParseAddrPort("[::1]:0")
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) { c.Send(frame, Control) }
	l := serve(t, Options{Network: TCP, Local: local}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	expect(t, c, bindingRequest(1))
	if got := next(t, "connection", k.accepted); got.Client().String() != c.LocalAddr().String() || got.Server() != l.Addr() {
		t.Errorf("from %v to %v", got.Client(), got.Server())
	}
}

func TestSendFramesAndPads(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) {
		c.Send(frame, Control)
		c.Send(channelData(5)[:9], Media) // as over UDP: no padding
		c.Send(channelData(4), Media)
	}
	c := dial(t, serve(t, Options{Network: TCP}, k))
	for id := range byte(3) {
		write(t, c, bindingRequest(id))
		expect(t, c, bindingRequest(id))
		expect(t, c, channelData(5))
		expect(t, c, channelData(4))
	}
}

func TestTCPAndTLSOnOnePort(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) { c.Send(frame, Control) }
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, k)
	plain, secure := net.Conn(dial(t, l)), dialTLS(t, l, nil)
	for range 2 {
		for _, c := range []net.Conn{plain, secure} {
			write(t, c, bindingRequest(9))
			expect(t, c, bindingRequest(9))
		}
	}
	for _, want := range []turn.Transport{turn.TCP, turn.TLS} {
		if got := next(t, "connection", k.accepted).Transport(); got != want {
			t.Errorf("transport %v, want %v", got, want)
		}
	}
}

func TestTLS(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TLS, Certificate: certificate(t)}, k)
	t.Run("application protocol", func(t *testing.T) {
		for _, want := range []string{"stun.turn", "stun.nat-discovery", ""} {
			o := new(tls.Config)
			if want != "" {
				o.NextProtos = []string{"h2", want}
			}
			if got := dialTLS(t, l, o).ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("negotiated %q, want %q", got, want)
			}
		}
	})
	t.Run("versions", func(t *testing.T) {
		for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			c := tls.Client(dial(t, l), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version})
			if err := c.Handshake(); (err == nil) != want {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
		}
		expectEnded(t, l, HandshakeFailed, 1)
	})
	t.Run("plain", func(t *testing.T) {
		c := dial(t, l)
		write(t, c, bindingRequest(1))
		expectEnd(t, c)
		expectEnded(t, l, HandshakeFailed, 2)
	})
}

func TestTLSHandshakeBytesAreBounded(t *testing.T) {
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, newKeeper(t))
	c := dial(t, l)
	first := []byte{22, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff} // a hello of 64 KiB in records of 4
	_, _ = c.Write(append(first, make([]byte, 4<<10-4)...))
	for range 4 {
		_, _ = c.Write(append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 4<<10)...))
	}
	expectEnd(t, c)
	expectEnded(t, l, HandshakeFailed, 1)
}

func TestWithoutCertificate(t *testing.T) {
	for _, n := range []Network{TLS, DTLS} {
		if _, err := Listen(Options{Network: n, Local: loopback}, newKeeper(t)); !errors.Is(err, errNoCertificate) {
			t.Errorf("%s: %v", n, err)
		}
	}
	if _, err := Listen(Options{Network: "sctp", Local: loopback}, newKeeper(t)); err == nil {
		t.Error("an unknown network was listened on")
	}
	l := serve(t, Options{Network: TCP}, newKeeper(t))
	c := tls.Client(dial(t, l), &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err == nil {
		t.Error("TLS without a certificate")
	}
	expectEnded(t, l, BadFrame, 1)
}

// The times that a client may take: what it does, and what it ends for.
func TestTimeLimits(t *testing.T) {
	const short = 100 * time.Millisecond
	record := []byte{22, 3, 1, 2, 0, 1, 0, 1} // the beginning of a ClientHello
	drip := func(b []byte) func(*testing.T, net.Conn) {
		return func(t *testing.T, c net.Conn) {
			for _, x := range b {
				if _, err := c.Write([]byte{x}); err != nil {
					return
				}
				time.Sleep(short / 8)
			}
		}
	}
	one := bindingRequest(1)
	for _, c := range []struct {
		name   string
		limits Limits
		do     func(t *testing.T, c net.Conn)
		want   Reason
	}{
		{"nothing", Limits{FirstByte: short}, func(*testing.T, net.Conn) {}, NoFirstByte},
		{"half a hello", Limits{Handshake: short}, func(t *testing.T, c net.Conn) { write(t, c, record) }, HandshakeTimeout},
		{"a hello byte by byte", Limits{Handshake: short}, drip(append(record, make([]byte, 32)...)), HandshakeTimeout},
		{"one byte", Limits{FirstFrame: short}, func(t *testing.T, c net.Conn) { write(t, c, one[:1]) }, NoFirstFrame},
		{"all but one", Limits{FirstFrame: short}, func(t *testing.T, c net.Conn) { write(t, c, one[:19]) }, NoFirstFrame},
		{"first frame byte by byte", Limits{FirstFrame: short}, drip(one), NoFirstFrame},
		{"second frame byte by byte", Limits{Frame: short}, func(t *testing.T, c net.Conn) {
			write(t, c, one)
			drip(one)(t, c)
		}, SlowFrame},
		{"second frame begun with the first", Limits{Frame: short}, func(t *testing.T, c net.Conn) {
			write(t, c, append(bytes.Clone(one), one[:7]...))
		}, SlowFrame},
		{"silent after a frame", Limits{Idle: short}, func(t *testing.T, c net.Conn) { write(t, c, one) }, IdleTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, Options{Network: TCP, Certificate: certificate(t), Limits: c.limits}, newKeeper(t))
			began := time.Now()
			client := dial(t, l)
			c.do(t, client)
			expectEnd(t, client)
			if d := time.Since(began); d < short*9/10 || d > patience {
				t.Errorf("ended after %v, the limit is %v", d, short)
			}
			expectEnded(t, l, c.want, 1)
		})
	}
}

func TestIdleTimeDependsOnTheAllocation(t *testing.T) {
	const short = 150 * time.Millisecond
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Limits: Limits{Idle: short}}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	conn := next(t, "connection", k.accepted)
	conn.SetAllocated(true)
	select {
	case <-k.closed:
		t.Fatal("closed although it has an allocation")
	case <-time.After(3 * short):
	}
	began := time.Now()
	conn.SetAllocated(false)
	next(t, "end", k.closed)
	if d := time.Since(began); d < short*9/10 {
		t.Errorf("ended %v after its allocation, want %v", d, short)
	}
	expectEnded(t, l, IdleTimeout, 1)

	// Frames keep it open.
	c = dial(t, l)
	for id := range byte(8) {
		write(t, c, bindingRequest(id))
		time.Sleep(short / 3)
	}
	if n := l.Counters().Ended[IdleTimeout]; n != 1 {
		t.Error("closed although it was not idle")
	}
}

func TestFrameLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  Reason
	}{
		{"a long request", message(1, 1, 2048), FrameTooLong},
		{"long data", channelData(2048), FrameTooLong},
		{"the header of it", channelData(65535)[:4], FrameTooLong},
		{"neither", []byte{0x80, 0, 0, 4, 0, 0, 0, 0}, BadFrame},
		{"unaligned", []byte{0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42}, BadFrame},
		{"a good frame first", append(bindingRequest(1), 0xff, 0xff, 0xff, 0xff), BadFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := serve(t, Options{Network: TCP}, newKeeper(t))
			client := dial(t, l)
			write(t, client, c.bytes)
			expectEnd(t, client)
			expectEnded(t, l, c.want, 1)
		})
	}
	k := newKeeper(t)
	c := dial(t, serve(t, Options{Network: TCP}, k))
	longest := message(1, 1, 2048-20)
	write(t, c, longest)
	if got := next(t, "longest request", k.frames); !bytes.Equal(got, longest) {
		t.Error("the longest request without an allocation came otherwise than it was sent")
	}
}

func TestClientsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		want   Reason
	}{
		{"in all", Limits{Clients: 3}, TooManyClients},
		{"by prefix", Limits{PerPrefix: 3}, TooManyFromPrefix},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKeeper(t)
			l := serve(t, Options{Network: TCP, Limits: c.limits}, k)
			var clients []net.Conn
			for id := range byte(3) {
				clients = append(clients, dial(t, l))
				write(t, clients[id], bindingRequest(id))
				next(t, "frame", k.frames)
			}
			expectRefused(t, l)
			expectEnded(t, l, c.want, 1)
			// One that leaves makes room.
			_ = clients[0].Close()
			expectEnded(t, l, ClientClosed, 1)
			write(t, dial(t, l), bindingRequest(5))
			next(t, "frame", k.frames)
		})
	}
}

func TestGateCountsByPrefix(t *testing.T) {
	g := NewGate(6, 2)
	for _, c := range []struct {
		client string
		want   Reason
	}{
		{"192.0.2.1", none}, {"192.0.2.255", none}, {"192.0.2.7", TooManyFromPrefix}, {"192.0.3.1", none},
		{"2001:db8:0:100::1", none}, {"2001:db8:0:1ff::1", none}, {"2001:db8:0:1aa::1", TooManyFromPrefix},
		{"2001:db8:0:200::1", none}, {"198.51.100.1", TooManyClients},
	} {
		if got := g.enter(netip.MustParseAddr(c.client)); got != c.want {
			t.Errorf("%s: %s, want %s", c.client, got, c.want)
		}
	}
	for _, a := range []string{"192.0.2.1", "192.0.2.255", "192.0.3.1", "2001:db8:0:100::1", "2001:db8:0:1ff::1", "2001:db8:0:200::1"} {
		g.leave(netip.MustParseAddr(a))
	}
	if g.Open() != 0 || len(g.prefix) != 0 {
		t.Errorf("%d clients and %d prefixes are left", g.Open(), len(g.prefix))
	}
	if g := NewGate(0, 0); g.clients != defaultClients || g.perPrefix != defaultPerPrefix {
		t.Error("no defaults")
	}
}

func TestSharedGate(t *testing.T) {
	gate := NewGate(1, 1)
	a := serve(t, Options{Network: TCP, Gate: gate}, newKeeper(t))
	b := serve(t, Options{Network: TCP, Gate: gate}, newKeeper(t))
	c := dial(t, a)
	eventually(t, func() bool { return gate.Open() == 1 }, func() { t.Fatal("not counted") })
	expectRefused(t, b)
	expectEnded(t, b, TooManyClients, 1)
	_ = c.Close()
	eventually(t, func() bool { return gate.Open() == 0 }, func() { t.Fatal("not given back") })
}

// A client whose frames nobody drains is not read any more; it loses nothing.
func TestInboundBackpressure(t *testing.T) {
	for _, allocated := range []bool{false, true} {
		t.Run(fmt.Sprintf("allocation %v", allocated), func(t *testing.T) {
			k := newKeeper(t)
			l := serve(t, Options{Network: TCP, Limits: Limits{QueueFrames: 10}}, k)
			c := dial(t, l)
			write(t, c, bindingRequest(0))
			next(t, "frame", k.frames)
			conn := next(t, "connection", k.accepted)
			conn.SetAllocated(allocated)
			k.held.Lock()
			const frames = 200
			for id := range byte(frames) {
				write(t, c, bindingRequest(id))
			}
			want := uint64(newcomerFrames)
			if allocated {
				want = 10
			}
			eventually(t, func() bool { return l.Counters().FramesIn >= want }, func() { t.Fatal("frames are not read") })
			time.Sleep(50 * time.Millisecond)
			if got := l.Counters().FramesIn; got > 1+want {
				t.Errorf("%d frames were queued, want %d", got-1, want)
			}
			k.held.Unlock()
			for id := range byte(frames) {
				if got := next(t, "frame", k.frames); got[19] != id {
					t.Fatalf("frame %d, want %d", got[19], id)
				}
			}
		})
	}
}

// flood sends media until neither the queue nor the kernel takes any more.
func flood(t *testing.T, c *Conn) (sent int) {
	t.Helper()
	end := time.Now().Add(patience)
	for refused := 0; refused < 10; {
		if c.Send(channelData(1000), Media) {
			refused, sent = 0, sent+1
			continue
		}
		refused++
		time.Sleep(5 * time.Millisecond)
		if time.Now().After(end) {
			t.Fatal("the queue takes everything")
		}
	}
	return sent
}

func TestOutboundQueueIsBounded(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Limits: Limits{QueueBytes: 64 << 10, Write: time.Minute}}, k)
	c := dial(t, l)
	_ = c.SetReadBuffer(4096)
	write(t, c, bindingRequest(1))
	conn := next(t, "connection", k.accepted)
	sent := flood(t, conn)
	if n := l.Counters().Dropped[OutboundFull]; n < 10 {
		t.Errorf("%d drops counted, want 10", n)
	}
	// There is room for control messages where there is none for media, but not for any number of them.
	if !conn.Send(message(1, 1, 1000), Control) {
		t.Fatal("no room for a control message beside media")
	}
	want := sent*len(channelData(1000)) + 1020
	for range 64 {
		if !conn.Send(message(1, 1, 1000), Control) {
			expectEnded(t, l, SlowReader, 1)
			return
		}
		want += 1020
	}
	t.Errorf("%d bytes of queue take %d bytes", 64<<10, want)
}

func TestMediaGoesOnAfterTheClientReads(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Limits: Limits{QueueBytes: 64 << 10}}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	conn := next(t, "connection", k.accepted)
	sent := flood(t, conn)
	for range sent {
		expect(t, c, channelData(1000))
	}
	conn.Send(channelData(3), Media)
	expect(t, c, channelData(3))
	if got := l.Counters().FramesOut; got != uint64(sent)+1 {
		t.Errorf("%d frames counted, want %d", got, sent+1)
	}
}

func TestWriteTimeout(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Limits: Limits{Write: 50 * time.Millisecond}}, k)
	write(t, dial(t, l), bindingRequest(1))
	c := next(t, "connection", k.accepted)
	for end := time.Now().Add(patience); c.ended() == none && time.Now().Before(end); {
		c.Send(channelData(1000), Media)
	}
	expectEnded(t, l, WriteTimeout, 1)
	next(t, "end", k.closed)
}

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
