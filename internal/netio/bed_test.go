package netio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	v4 = netip.MustParseAddr("127.0.0.1")
	v6 = netip.MustParseAddr("::1")
)

// far is the end of the network that a test plays.
type far interface {
	addr() netip.AddrPort
	send(t *testing.T, data string, to netip.AddrPort)
	receive(t *testing.T) (data string, from netip.AddrPort)
	// sendFields and receiveFields also say what is in the IP header.
	sendFields(t *testing.T, data string, to netip.AddrPort, tos, ttl uint8)
	receiveFields(t *testing.T) (data string, tos, ttl uint8)
	close()
}

// bed is an engine with a way to make far ends on the same network.
type bed struct {
	name   string
	engine Engine
	far    func(t *testing.T, local netip.Addr) far
}

func beds() []bed {
	memory := NewMemory()
	return []bed{
		{"sockets", Sockets(), func(t *testing.T, local netip.Addr) far {
			f := listenUDP(t, local)
			f.wantFields(t)
			return f
		}},
		{"memory", memory, func(t *testing.T, local netip.Addr) far {
			s, err := memory.Socket(netip.AddrPortFrom(local, 0))
			if err != nil {
				t.Fatal(err)
			}
			return memoryFar{s}
		}},
	}
}

type udpFar struct{ *net.UDPConn }

func (f udpFar) close() { f.Close() }

func listenUDP(t *testing.T, local netip.Addr) udpFar {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return udpFar{c}
}

func (f udpFar) addr() netip.AddrPort { return f.LocalAddr().(*net.UDPAddr).AddrPort() }

func (f udpFar) send(t *testing.T, data string, to netip.AddrPort) {
	t.Helper()
	if _, err := f.WriteToUDPAddrPort([]byte(data), to); err != nil {
		t.Fatal(err)
	}
}

func (f udpFar) receive(t *testing.T) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 1<<16)
	f.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := f.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

// set sets a socket option whose name depends on the family.
func (f udpFar) set(t *testing.T, v4, v6, value int) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, option := unix.IPPROTO_IP, v4
	if f.addr().Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, v6
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

func (f udpFar) sendFields(t *testing.T, data string, to netip.AddrPort, tos, ttl uint8) {
	t.Helper()
	f.set(t, unix.IP_TOS, unix.IPV6_TCLASS, int(tos))
	f.set(t, unix.IP_TTL, unix.IPV6_UNICAST_HOPS, int(ttl))
	f.send(t, data, to)
}

// receiveFields needs a socket that was told to want them by wantFields.
func (f udpFar) receiveFields(t *testing.T) (data string, tos, ttl uint8) {
	t.Helper()
	b, oob := make([]byte, 1<<16), make([]byte, 256)
	f.SetReadDeadline(time.Now().Add(10 * time.Second))
	size, n, _, _, err := f.ReadMsgUDPAddrPort(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		switch [2]int32{m.Header.Level, m.Header.Type} {
		case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			tos = m.Data[0] // a byte for IPv4; for IPv6 an int, whose low byte is first here
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			ttl = m.Data[0]
		}
	}
	return string(b[:size]), tos, ttl
}

func (f udpFar) wantFields(t *testing.T) {
	t.Helper()
	f.set(t, unix.IP_RECVTOS, unix.IPV6_RECVTCLASS, 1)
	f.set(t, unix.IP_RECVTTL, unix.IPV6_RECVHOPLIMIT, 1)
}

type memoryFar struct{ *MemorySocket }

func (f memoryFar) close() { f.Close() }

func (f memoryFar) sendFields(_ *testing.T, data string, to netip.AddrPort, tos, ttl uint8) {
	f.SendDatagram(Datagram{Data: []byte(data), TOS: tos, TTL: ttl}, to)
}

func (f memoryFar) receiveFields(t *testing.T) (string, uint8, uint8) {
	t.Helper()
	d := f.next(t)
	return string(d.Data), d.TOS, d.TTL
}

func (f memoryFar) addr() netip.AddrPort { return f.Local() }

func (f memoryFar) send(_ *testing.T, data string, to netip.AddrPort) { f.Send([]byte(data), to) }

func (f memoryFar) receive(t *testing.T) (string, netip.AddrPort) {
	t.Helper()
	d := f.next(t)
	return string(d.Data), d.From
}

func (f memoryFar) next(t *testing.T) Datagram {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		f.mu.Lock()
		if len(f.received) > 0 {
			d := f.received[0]
			f.received = f.received[1:]
			f.mu.Unlock()
			return d
		}
		f.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("nothing received")
		}
		time.Sleep(time.Millisecond)
	}
}

// never is a set of timers that is empty.
type never struct{}

func (never) Next() (time.Time, bool) { return time.Time{}, false }
func (never) Expire(time.Time)        {}

// begun is a set of timers that is empty, and tells when a worker first asks for
// them: then it runs, and commands go to its goroutine.
type begun struct {
	never
	once sync.Once
	ch   chan struct{}
}

func (b *begun) Next() (time.Time, bool) {
	b.once.Do(func() { close(b.ch) })
	return b.never.Next()
}

// start runs a worker until the test ends.
func start(t *testing.T, w Worker, timers Timers) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx, timers); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// needs skips the test where the loopback has no address of the family.
func needs(t *testing.T, local netip.Addr) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		t.Skipf("no %v here: %v", local, err)
	}
	c.Close()
}

// call runs f on a worker and waits for it.
func call(w Worker, f func()) {
	done := make(chan struct{})
	w.Do(func(time.Time) { defer close(done); f() })
	<-done
}

func open(t *testing.T, w Worker, local netip.AddrPort, o Options) Port {
	t.Helper()
	p, err := w.Listen(local, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { call(w, p.Close) })
	return p
}

func attach(t *testing.T, w Worker, p Port, r Receiver) {
	t.Helper()
	call(w, func() {
		if err := p.Attach(r); err != nil {
			t.Error(err)
		}
	})
}

// send makes a packet and sends it. Only on the worker's goroutine.
func send(w Worker, p Port, data string, to netip.AddrPort, fields Packet) {
	pk := fields
	pk.Buf = w.Buffer()
	if len(data) > len(pk.Buf.Room())-pkt.Headroom {
		pk.Buf = pkt.Long(len(data))
	}
	pk.Buf.Fill([]byte(data))
	p.Send(&pk, to)
}

// eachBed runs a test on both networks with both families.
func eachBed(t *testing.T, test func(t *testing.T, bed bed, local netip.Addr)) {
	t.Helper()
	for _, bed := range beds() {
		for _, local := range []netip.Addr{v4, v6} {
			t.Run(bed.name+"/"+local.String(), func(t *testing.T) {
				needs(t, local)
				test(t, bed, local)
			})
		}
	}
}

type receiverFunc func(now time.Time, batch []Packet)

func (f receiverFunc) Receive(now time.Time, batch []Packet) { f(now, batch) }

// echo sends everything back, with "re: " before it, in the buffer it came in.
type echo struct{ port Port }

func (e echo) Receive(_ time.Time, batch []Packet) {
	for i := range batch {
		b := batch[i].Buf
		data := string(b.Bytes())
		b.Fill([]byte("re: " + data))
		e.port.Send(&batch[i], batch[i].From)
	}
}
