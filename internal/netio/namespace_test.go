package netio

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

const namespaceMTU = 1400

// namespace has the rest of the test open its sockets in a network of its own,
// whose loopback has a small MTU.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for ever: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace here: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint32(namespaceMTU)
	mtu := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, loopback)
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := errors.Join(mtu, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback)); err != nil {
		t.Fatal(err)
	}
}

// What must not be fragmented goes whole or not at all, and who sent it is told what
// would have fitted. Everything else goes, in its order.
func TestDontFragment(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		if m, ok := bed.engine.(*Memory); ok {
			m.SetMTU(namespaceMTU)
		} else {
			namespace(t)
		}
		header := 28
		if local.Is6() {
			header = 48
		}
		fits := namespaceMTU - header
		w := bed.engine.NewWorker()
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{Fields: true, Errors: true})
		told := &witness{errors: make(chan ICMP, 100)}
		attach(t, w, p, told)
		start(t, w, never{})
		f, g := bed.far(t, local), bed.far(t, local)
		whole := Packet{DontFragment: true, TOS: 0xb8}
		for range 3 {
			unsent := uint64(0)
			call(w, func() { unsent = p.Counters().Unsent })
			call(w, func() {
				send(w, p, "1"+string(make([]byte, fits-1)), f.addr(), whole)
				send(w, p, "2"+string(make([]byte, fits)), f.addr(), whole) // one too long
				send(w, p, "3"+string(make([]byte, 3000)), f.addr(), Packet{})
				send(w, p, "4"+string(make([]byte, pkt.MaxDatagram)), g.addr(), whole) // too long
				send(w, p, "5"+string(make([]byte, fits-1)), f.addr(), whole)
				send(w, p, "6"+string(make([]byte, fits)), f.addr(), Packet{})
			})
			for _, want := range []string{"1", "3", "5", "6"} {
				if data, tos, _ := f.receiveFields(t); data[:1] != want || (tos == 0xb8) != (want == "1" || want == "5") {
					t.Errorf("received packet %s with TOS %#x, want packet %s", data[:1], tos, want)
				}
			}
			for _, to := range []netip.AddrPort{f.addr(), g.addr()} {
				want := ICMP{Peer: to, Local: true, MTU: namespaceMTU}
				if got := <-told.errors; got != want {
					t.Errorf("told %+v, want %+v", got, want)
				}
			}
			call(w, func() {
				if c := p.Counters(); c.Unsent != unsent+2 || c.Unreachable != 0 {
					t.Errorf("counters %+v, want %d unsent", c, unsent+2)
				}
			})
		}
		if n := len(told.errors); n != 0 {
			t.Errorf("told of %d errors too many", n)
		}
	})
}

// A refusal that nobody asked to be told of is not kept.
func TestRefusalsAreForgotten(t *testing.T) {
	namespace(t)
	w := newSocketWorker()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { w.end(w.close) }()
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{Fields: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Attach(receiverFunc(func(time.Time, []Packet) {})); err != nil {
		t.Fatal(err)
	}
	f := listenUDP(t, v4)
	for range 2 * maxRefusals {
		send(w, p, string(make([]byte, 1500)), f.addr(), Packet{DontFragment: true})
	}
	w.out.flush()
	if n := len(w.out.refused); n != maxRefusals {
		t.Errorf("%d refusals remembered, want %d", n, maxRefusals)
	}
	for deadline := time.Now().Add(10 * time.Second); len(w.out.refused) > 0 && time.Now().Before(deadline); {
		if err := w.turn(&alarm{at: time.Now(), fired: make(chan time.Time, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.out.refused); n != 0 {
		t.Errorf("%d refusals remembered after the error queue was read", n)
	}
	// One whose error got lost doesn't stay for ever.
	sp := p.(*socketPort)
	for w.errors.read(sp.fd) { //nolint:revive // the errors of those that were not remembered
	}
	w.out.refused.note(sp, f.addr())
	w.drainErrors(sp, time.Now())
	if n := len(w.out.refused); n != 0 {
		t.Errorf("%d refusals remembered without an error", n)
	}
	send(w, p, string(make([]byte, 1500)), f.addr(), Packet{DontFragment: true})
	w.out.flush()
	p.Close()
	if n := len(w.out.refused); n != 0 {
		t.Errorf("%d refusals remembered of a closed port", n)
	}
	if sp.counters.Unsent != 2*maxRefusals+1 {
		t.Errorf("%d unsent", sp.counters.Unsent)
	}
}

// sniff reads the packets of the loopback as they are on the wire.
type sniff struct{ fd int }

func newSniff(t *testing.T) sniff {
	t.Helper()
	const all = 0x0300 // ETH_P_ALL in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Skipf("no packet socket here: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	return sniff{fd}
}

// next returns the IPv4 header of the next packet that goes out.
func (s sniff) next(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(s.fd, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		const outgoing = 4 // PACKET_OUTGOING
		if ll := from.(*unix.SockaddrLinklayer); ll.Pkttype == outgoing && n >= 20 && b[0]>>4 == 4 {
			return b[:20]
		}
	}
}

// The DF bit is there when a packet asks for it and not otherwise, whatever was sent
// before; ports without Fields have the system's default, which is to set it.
func TestDFOnTheWire(t *testing.T) {
	namespace(t)
	wire := newSniff(t)
	f := listenUDP(t, v4)
	w := newSocketWorker()
	fields := open(t, w, netip.AddrPortFrom(v4, 0), Options{Fields: true})
	plain := open(t, w, netip.AddrPortFrom(v4, 0), Options{})
	for i, tt := range []struct {
		p     Port
		whole bool
		df    bool
	}{
		{fields, false, false},
		{fields, true, true},
		{fields, true, true},
		{fields, false, false},
		{fields, true, true},
		{fields, false, false},
		{plain, false, true},
	} {
		send(w, tt.p, "x", f.addr(), Packet{DontFragment: tt.whole})
		w.out.flush()
		const df = 0x40 // of the octet with the flags (RFC 791 section 3.1)
		if got := wire.next(t)[6]&df != 0; got != tt.df {
			t.Errorf("packet %d: DF %v, want %v", i, got, tt.df)
		}
	}
}

// Ports are many, so that what one holds is little.
func TestPortIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(socketPort{}); n > 144 {
		t.Errorf("a port takes %d bytes", n)
	}
}
