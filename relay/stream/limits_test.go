package stream

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

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

// An allocation ends the idle time, not the time of a frame that has begun.
func TestAllocationLeavesTheFramesTime(t *testing.T) {
	const short = 200 * time.Millisecond
	k := newKeeper(t)
	l := serve(t, Options{Network: TCP, Limits: Limits{Frame: short}}, k)
	c := dial(t, l)
	write(t, c, append(bindingRequest(1), bindingRequest(2)[:5]...))
	conn := next(t, "connection", k.accepted)
	time.Sleep(short / 4)
	conn.SetAllocated(true)
	expectEnded(t, l, SlowFrame, 1)
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

// What the writer has taken still waits.
func TestBytesBeingWrittenCount(t *testing.T) {
	var o outbound
	o.init(4000, true)
	media := channelData(1400)
	for n, want := range []bool{true, true, false} {
		if ok, full, start := o.push(media, Media); ok != want || full == want || start != (n == 0) {
			t.Errorf("message %d: taken %v, full %v, start %v", n, ok, full, start)
		}
		if n == 0 {
			if batch, _, more := o.take(); len(batch) != len(media) || !more {
				t.Fatalf("took %d bytes", len(batch))
			}
		}
	}
	o.written(nil, nil)
	if ok, _, _ := o.push(media, Media); !ok {
		t.Error("no room after everything was written")
	}
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
