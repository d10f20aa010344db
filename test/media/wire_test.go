package media

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// datagram is one that was on the wire.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
}

// wire is an ear on the loopback interface that keeps the UDP datagrams of the honest parties of a lab: everything but
// what attackers send under their own addresses.
type wire struct {
	mu    sync.Mutex // guards all
	all   []datagram
	limit int
}

// listen begins to keep what goes over the lab's wire.
func (l *lab) listen() *wire {
	l.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		l.t.Skip("listening on the wire takes CAP_NET_RAW")
	}
	if err != nil {
		l.t.Fatal(err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		l.t.Fatal(err)
	}
	const etherIP = 0x0800
	first := binary.BigEndian.Uint32(l.net.Addr(0).AsSlice())
	// Of IPv4 over this interface: UDP whose source is in the lab's network, below its attackers.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 4, K: unix.IPPROTO_UDP},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jf: 2, K: first},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jt: 1, K: first + attackers},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherIP>>8 | etherIP&0xff<<8, Ifindex: lo.Index}),
	)
	if err != nil {
		l.t.Fatal(err)
	}
	w := &wire{limit: 50_000}
	done := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer unix.Close(fd)
		for b := make([]byte, 1<<16); ; {
			select {
			case <-done:
				return
			default:
			}
			if n, _, err := unix.Recvfrom(fd, b, 0); err == nil {
				w.keep(b[:n])
			}
		}
	})
	l.t.Cleanup(func() { close(done); reading.Wait() })
	return w
}

// keep takes an IPv4 packet with UDP in it.
func (w *wire) keep(b []byte) {
	if len(b) < 20 || len(b) < 4*int(b[0]&15)+8 {
		return
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	b = b[4*int(b[0]&15):]
	d := datagram{
		from: netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)),
		to:   netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:])),
		data: slices.Clone(b[8:]),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) < w.limit {
		w.all = append(w.all, d)
	}
}

// between are the datagrams from one to the other so far.
func (w *wire) between(from, to netip.AddrPort) [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var data [][]byte
	for _, d := range w.all {
		if d.from == from && d.to == to {
			data = append(data, d.data)
		}
	}
	return data
}

// everything is all that was kept so far.
func (w *wire) everything() []datagram {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// wait is between, when there are n.
func (w *wire) wait(t *testing.T, from, to netip.AddrPort, n int) [][]byte {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if data := w.between(from, to); len(data) >= n {
			return data
		}
		if time.Now().After(end) {
			t.Fatalf("%d datagrams from %v to %v, want %d", len(w.between(from, to)), from, to, n)
		}
	}
}

// ssrcOf, sequenceOf and timestampOf read an RTP header.
func ssrcOf(b []byte) uint32      { return binary.BigEndian.Uint32(b[8:]) }
func sequenceOf(b []byte) uint16  { return binary.BigEndian.Uint16(b[2:]) }
func timestampOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[4:]) }
