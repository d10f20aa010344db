package netio

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// witness is a receiver that is told of errors.
type witness struct {
	errors chan ICMP
	close  Port // to be closed when told, if not nil
}

func (w *witness) Receive(time.Time, []Packet) {}

func (w *witness) Unreachable(_ time.Time, e ICMP) {
	w.errors <- e
	if w.close != nil {
		w.close.Close()
	}
}

// gone returns an address that nobody has.
func gone(t *testing.T, bed bed, local netip.Addr) netip.AddrPort {
	t.Helper()
	f := bed.far(t, local)
	f.close()
	return f.addr()
}

func TestErrorsAreTold(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		start(t, w, never{})
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{Errors: true})
		told := &witness{errors: make(chan ICMP, 100)}
		attach(t, w, p, told)
		silent := open(t, w, netip.AddrPortFrom(local, 0), Options{})
		untold := &witness{errors: make(chan ICMP, 100)}
		attach(t, w, silent, untold)
		for range 5 {
			to := gone(t, bed, local)
			call(w, func() {
				send(w, p, "x", to, Packet{})
				send(w, silent, "x", to, Packet{})
			})
			want := ICMP{Peer: to, Type: 3, Code: 3}
			if local.Is6() {
				want.Type, want.Code = 1, 4
			}
			if got := <-told.errors; got != want {
				t.Errorf("told %+v, want %+v", got, want)
			}
		}
		eventually(t, "not every error was counted", func() (done bool) {
			call(w, func() { done = p.Counters().Unreachable == 5 && silent.Counters().Unreachable == 5 })
			return done
		})
		if len(untold.errors) > 0 {
			t.Error("a port told errors that nobody had asked for")
		}
	})
}

// Who is told may close the port, with more errors and datagrams waiting.
func TestClosingWhenTold(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		start(t, w, never{})
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{Errors: true})
		told := &witness{errors: make(chan ICMP, 100), close: p}
		attach(t, w, p, told)
		f := bed.far(t, local)
		to := gone(t, bed, local)
		call(w, func() {
			for range 10 {
				send(w, p, "x", to, Packet{})
			}
			f.send(t, "too late", p.Local())
		})
		<-told.errors
		call(w, func() {
			if n := len(told.errors); n != 0 {
				t.Errorf("%d errors told after the port was closed", n)
			}
		})
	})
}

// reopening closes its port when it is told of an error, and opens another, which
// gets the same descriptor.
type reopening struct {
	t        *testing.T
	worker   *socketWorker
	port     Port
	far      udpFar
	nobody   netip.AddrPort
	errors   bool // the new port gets an error; otherwise a datagram
	told     int
	received int
	next     Port
}

func (r *reopening) Receive(_ time.Time, batch []Packet) { r.received += len(batch) }

func (r *reopening) Unreachable(time.Time, ICMP) {
	if r.told++; r.told > 1 {
		return
	}
	r.port.Close()
	p, err := r.worker.Listen(netip.AddrPortFrom(v4, 0), Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.next = p
	if r.errors {
		send(r.worker, p, "x", r.nobody, Packet{})
		r.worker.out.flush() // its error is there when this returns
	} else {
		r.far.send(r.t, "for the new port", p.Local())
	}
}

// What a new port with an old descriptor gets is not the closed port's.
func TestDescriptorIsUsedAgain(t *testing.T) {
	for _, errors := range []bool{false, true} {
		testDescriptorIsUsedAgain(t, errors)
	}
}

func testDescriptorIsUsedAgain(t *testing.T, errors bool) {
	w := newSocketWorker()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { w.end(w.close) }()
	p, err := w.Listen(netip.AddrPortFrom(v4, 0), Options{Errors: true})
	if err != nil {
		t.Fatal(err)
	}
	f, closed := listenUDP(t, v4), listenUDP(t, v4)
	closed.Close()
	r := &reopening{t: t, worker: w, port: p, far: f, nobody: closed.addr(), errors: errors}
	if err := p.Attach(r); err != nil {
		t.Fatal(err)
	}
	send(w, p, "x", r.nobody, Packet{})
	w.out.flush()
	f.send(t, "too late", p.Local())
	if err := w.turn(never{}); err != nil {
		t.Fatal(err)
	}
	defer r.next.Close()
	if r.next.(*socketPort).fd != p.(*socketPort).fd {
		t.Skip("the descriptor went to somebody else")
	}
	if r.told != 1 || r.received != 0 {
		t.Errorf("a closed port was told %d times and received %d packets", r.told, r.received)
	}
}

func TestMemoryRefuse(t *testing.T) {
	m := NewMemory()
	w := m.NewWorker()
	start(t, w, never{})
	p := open(t, w, netip.MustParseAddrPort("192.0.2.1:50000"), Options{Errors: true})
	told := &witness{errors: make(chan ICMP, 1)}
	attach(t, w, p, told)
	to := netip.MustParseAddrPort("198.51.100.7:9")
	if _, err := m.Socket(to); err != nil {
		t.Fatal(err)
	}
	m.Refuse(to, ICMP{Type: 3, Code: 4, MTU: 1300})
	call(w, func() { send(w, p, "x", to, Packet{}) })
	if got, want := <-told.errors, (ICMP{Peer: to, Type: 3, Code: 4, MTU: 1300}); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

// errorControl is what the kernel puts beside an error.
func errorControl(level, kind int32, x unix.SockExtendedErr) []byte {
	b := make([]byte, controlHeader+int(unsafe.Sizeof(x)))
	*(*unix.Cmsghdr)(unsafe.Pointer(&b[0])) = unix.Cmsghdr{Len: uint64(len(b)), Level: level, Type: kind}
	*(*unix.SockExtendedErr)(unsafe.Pointer(&b[controlHeader])) = x
	return b
}

func TestParseError(t *testing.T) {
	const (
		local, icmp, icmp6, stamp = unix.SO_EE_ORIGIN_LOCAL, unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6, unix.SO_EE_ORIGIN_TIMESTAMPING
	)
	ip := func(x unix.SockExtendedErr) []byte { return errorControl(unix.IPPROTO_IP, unix.IP_RECVERR, x) }
	ip6 := func(x unix.SockExtendedErr) []byte { return errorControl(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, x) }
	tooLong := uint32(unix.EMSGSIZE)
	for _, tt := range []struct {
		name string
		b    []byte
		want ICMP
		ok   bool
	}{
		{"port unreachable", ip(unix.SockExtendedErr{Origin: icmp, Type: 3, Code: 3, Info: 7}), ICMP{Type: 3, Code: 3}, true},
		{"fragmentation needed", ip(unix.SockExtendedErr{Origin: icmp, Type: 3, Code: 4, Info: 1300}), ICMP{Type: 3, Code: 4, MTU: 1300}, true},
		{"time exceeded", ip(unix.SockExtendedErr{Origin: icmp, Type: 11}), ICMP{Type: 11}, true},
		{"IPv6 packet too big", ip6(unix.SockExtendedErr{Origin: icmp6, Type: 2, Info: 1280}), ICMP{Type: 2, MTU: 1280}, true},
		{"IPv6 type 3 is time exceeded", ip6(unix.SockExtendedErr{Origin: icmp6, Type: 3, Code: 4, Info: 5}), ICMP{Type: 3, Code: 4}, true},
		{"too long for the path", ip(unix.SockExtendedErr{Origin: local, Errno: tooLong, Info: 1400}), ICMP{Local: true, MTU: 1400}, true},
		{"another local error", ip(unix.SockExtendedErr{Origin: local, Errno: uint32(unix.EPERM)}), ICMP{}, false},
		{"a time stamp", ip(unix.SockExtendedErr{Origin: stamp}), ICMP{}, false},
		{"behind another message", append(errorControl(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, unix.SockExtendedErr{}),
			ip(unix.SockExtendedErr{Origin: icmp, Type: 3, Code: 1})...), ICMP{Type: 3, Code: 1}, true},
		{"cut short", ip(unix.SockExtendedErr{Origin: icmp, Type: 3, Code: 3})[:controlHeader+8], ICMP{}, false},
		{"nothing", nil, ICMP{}, false},
	} {
		if got, ok := parseError(tt.b); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzControls reads control messages that no kernel writes.
func FuzzControls(f *testing.F) {
	f.Add(errorControl(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Origin: unix.SO_EE_ORIGIN_ICMP, Type: 3, Code: 4, Info: 1300}))
	f.Add(errorControl(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, unix.SockExtendedErr{Errno: 1}))
	var fields [sendControlSize]byte
	f.Add(fields[:putFields(&fields, true, &Packet{TOS: 1, TTL: 2, DontFragment: true})])
	f.Fuzz(func(t *testing.T, b []byte) {
		aligned := make([]uint64, len(b)/8+1) // as the kernel's are
		c := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(b))
		copy(c, b)
		var pk Packet
		readControl(c, &pk)
		if e, ok := parseError(c); !ok && e != (ICMP{}) {
			t.Errorf("no error, but %+v", e)
		}
		walk := controls{c}
		for n := 0; ; n++ {
			if _, _, _, ok := walk.next(); !ok {
				break
			}
			if n > len(b) {
				t.Fatal("the walk does not end")
			}
		}
	})
}
