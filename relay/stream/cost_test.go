package stream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"causeway/internal/netio"
)

// held returns what is allocated now, the heap and the stacks, once that has stopped changing.
func held() int {
	for last, tries := -1, 0; ; time.Sleep(20 * time.Millisecond) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := int(m.HeapAlloc + m.StackInuse)
		if d := now - last; d > -64<<10 && d < 64<<10 || tries > 20 {
			return now
		}
		last = now
		tries++
	}
}

// What doc.go says that a client without an allocation holds, measured over many. The clients' own ends count too, so
// the figures are on the safe side.
func TestWhatNewcomersHold(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own memory is counted")
	}
	const clients = 500
	needDescriptors(t, 2*clients+64)
	cert := certificate(t)
	hello := append([]byte{22, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff}, make([]byte, 4<<10-4)...) // a record of a hello of 64 KiB
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, client net.Conn)
		limit int
		few   bool // handshakes take their time
	}{
		{"before a byte", func(*testing.T, net.Conn) {}, 8 << 10, false},
		{"TCP with frames that nobody drains", func(t *testing.T, client net.Conn) {
			for id := range byte(newcomerFrames + 2) {
				write(t, client, message(1, id, 2000))
			}
			write(t, client, message(1, 9, 2000)[:1900])
		}, 32 << 10, false},
		{"TLS with a hello that goes on and on", func(t *testing.T, client net.Conn) {
			write(t, client, hello)
			for range 2 {
				write(t, client, append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 4<<10)...))
			}
		}, 64 << 10, false},
		{"TLS with frames that nobody drains, and the client's end of it", func(t *testing.T, client net.Conn) {
			secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
			if err := secure.Handshake(); err != nil {
				t.Fatal(err)
			}
			for id := range byte(newcomerFrames + 8) {
				write(t, secure, message(1, id, 2000))
			}
		}, 64 << 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKeeper(t)
			k.held.Lock()
			defer k.held.Unlock()
			l := serve(t, Options{
				Network: TCP, Certificate: cert,
				Limits: Limits{PerPrefix: clients, FirstByte: time.Minute, Handshake: time.Minute, FirstFrame: time.Minute},
			}, k)
			before := held()
			clients := clients
			if c.few {
				clients = 100
			}
			for range clients {
				c.do(t, dial(t, l))
			}
			eventually(t, func() bool { return l.Counters().Open == clients }, func() { t.Fatalf("counted %+v", l.Counters()) })
			time.Sleep(200 * time.Millisecond)
			each := (held() - before) / clients
			t.Logf("%d bytes each", each)
			if each > c.limit {
				t.Errorf("a client holds %d bytes, want at most %d", each, c.limit)
			}
		})
	}
}

func TestWhatDTLSClientsHold(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own memory is counted")
	}
	const clients = 50
	k := newKeeper(t)
	k.held.Lock()
	defer k.held.Unlock()
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, k)
	before := held()
	for range clients {
		c := dialDTLS(t, l)
		for id := range byte(64) {
			write(t, c, message(1, id, 2000))
		}
	}
	time.Sleep(100 * time.Millisecond)
	if n := l.Counters(); n.Open != clients {
		t.Fatalf("counted %+v", n)
	}
	each := (held() - before) / clients
	t.Logf("%d bytes each, and the client's end of it", each)
	if limit := (128 + 48) << 10; each > limit { // 48 KiB for the other end
		t.Errorf("a client and its end hold %d bytes, want at most %d", each, limit)
	}
}

func TestWhatDTLSNewcomersHold(t *testing.T) {
	if underRace {
		t.Skip("the race detector's own memory is counted")
	}
	const clients = 200
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, client net.Conn)
		limit int
	}{
		{"without the cookie", func(t *testing.T, client net.Conn) {
			write(t, client, clientHelloDatagram(0, nil))
			cookieFrom(t, client)
		}, 64 << 10},
		{"with fragments", func(t *testing.T, client net.Conn) {
			write(t, client, clientHelloDatagram(0, nil))
			write(t, client, clientHelloDatagram(1, cookieFrom(t, client)))
			for sequence := range uint16(handshakeBytes/1000 - 2) {
				body := handshakeRecord(16, 5+sequence, 1000, make([]byte, 1000-recordHeader-handshakeHeader))
				body[14], body[15], body[16] = 0, 0xff, 0xff // of a message of 64 KiB
				body[23] = byte((len(body) - recordHeader - handshakeHeader) >> 8)
				write(t, client, body)
				time.Sleep(20 * time.Microsecond)
			}
		}, 128 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := serve(t, Options{
				Network: DTLS, Certificate: certificate(t),
				Limits: Limits{PerPrefix: clients, Handshakes: clients, FirstByte: time.Minute, Handshake: time.Minute},
			}, newKeeper(t))
			before := held()
			for range clients {
				c.do(t, udp(t, l))
			}
			time.Sleep(100 * time.Millisecond)
			if n := l.Counters(); n.Open != clients {
				t.Fatalf("counted %+v", n)
			}
			each := (held() - before) / clients
			t.Logf("%d bytes each", each)
			if each > c.limit {
				t.Errorf("a client holds %d bytes, want at most %d", each, c.limit)
			}
		})
	}
}

// needDescriptors skips a test that the process may not open enough sockets for.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < n {
		t.Skipf("needs %d descriptors, has %d", n, limit.Cur)
	}
}

// A connection that has warmed up relays without allocating, in either direction.
func TestFramesAllocateNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	h := &syncHandler{frames: make(chan int, 1)}
	l := serve(t, Options{Network: TCP}, h)
	c := dial(t, l)
	in, out, echo := channelData(160), channelData(160), make([]byte, 164)
	h.out = out
	round := func() {
		if _, err := c.Write(in); err != nil {
			t.Fatal(err)
		}
		<-h.frames
		if _, err := io.ReadFull(c, echo); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if n := testing.AllocsPerRun(200, round); n > 0 {
		t.Errorf("a frame in and a frame out allocate %v times", n)
	}
}

// syncHandler drains where it is told, and answers each frame.
type syncHandler struct {
	out    []byte
	frames chan int
	conn   *Conn
}

func (h *syncHandler) Accepted(c *Conn) { h.conn = c }
func (h *syncHandler) Frames(c *Conn)   { c.Drain(h.take) }
func (h *syncHandler) Closed(*Conn)     {}

func (h *syncHandler) take(p *netio.Packet) {
	h.conn.Send(h.out, Media)
	h.frames <- p.Buf.Len()
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{160, 1200} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := &syncHandler{frames: make(chan int, 1), out: channelData(size)}
			l, err := Listen(Options{Network: TCP, Local: loopback}, h)
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			echo := make([]byte, len(h.out))
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := c.Write(h.out); err != nil {
					b.Fatal(err)
				}
				<-h.frames
				if _, err := io.ReadFull(c, echo); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close()
			stop()
			<-done
		})
	}
}
