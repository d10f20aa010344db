package netio

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"causeway/internal/pkt"
)

const (
	// memoryQueue is how many datagrams a port of a [Memory] network holds before it
	// drops, which is about what a socket's default buffer holds of voice.
	memoryQueue = 256
	// memoryOverhead is what a datagram of voice takes of a socket's buffer, in bytes.
	memoryOverhead = 768
	// memoryTTL is the TTL of what asks for none: Linux's default.
	memoryTTL = 64
	// memoryMTU is the loopback's.
	memoryMTU = 65536
)

// Memory is a network that lives in memory, for tests: an [Engine] for the code
// under test, and [MemorySocket]s for the far ends that the test plays. It
// behaves as loopback does, in that whatever is sent arrives at once and in order
// (or after a delay that the test sets), a full port drops, and sending to a port
// that nobody has is answered as by ICMP.
//
// Workers of it wait on channels and timers only, so they may run in a bubble of
// testing/synctest. Memory is safe for concurrent use. It allocates as it likes.
type Memory struct {
	mu    sync.Mutex
	ends  map[netip.AddrPort]*memoryGroup // guarded by mu
	errs  map[netip.AddrPort]ICMP         // guarded by mu; answers to what is sent there
	delay time.Duration                   // guarded by mu
	mtu   int                             // guarded by mu
}

// memoryEnd is whatever has an address. arrive and refused are called without the
// network's lock held.
type memoryEnd interface {
	arrive(d Datagram)
	refused(e ICMP)
	// peer is the only address that it hears, or not valid if it hears all.
	peer() netip.AddrPort
}

// memoryGroup is the ends with one address: one, or several that share it.
type memoryGroup struct {
	shared bool
	ends   []memoryEnd
}

// pick returns the end that hears what comes from an address, or nil.
func (g *memoryGroup) pick(from netip.AddrPort) memoryEnd {
	if g == nil {
		return nil
	}
	var open []memoryEnd
	for _, e := range g.ends {
		switch e.peer() {
		case from:
			return e
		case netip.AddrPort{}:
			open = append(open, e)
		}
	}
	if len(open) == 0 {
		return nil
	}
	sum := uint32(from.Port())
	for _, b := range from.Addr().As16() {
		sum = sum*31 + uint32(b)
	}
	return open[sum%uint32(len(open))]
}

// Datagram is a datagram on a [Memory] network.
type Datagram struct {
	Data         []byte
	From         netip.AddrPort
	At           time.Time
	TOS, TTL     uint8 // of the IP header
	DontFragment bool
}

// DSCP returns the code point that the datagram is marked with.
func (d Datagram) DSCP() uint8 { return d.TOS >> 2 }

// NewMemory returns an empty network.
func NewMemory() *Memory {
	return &Memory{
		ends: map[netip.AddrPort]*memoryGroup{},
		errs: map[netip.AddrPort]ICMP{},
		mtu:  memoryMTU,
	}
}

// SetDelay has everything sent from now on arrive after a delay.
func (m *Memory) SetDelay(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = d
}

// SetMTU sets the longest packet, in bytes with its IP and UDP header, that goes
// without being fragmented. Longer ones go all the same unless they must not be.
func (m *Memory) SetMTU(mtu int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mtu = mtu
}

// Refuse has everything that is sent to an address from now on lost, and answered
// with an error. Its Peer is filled in.
func (m *Memory) Refuse(to netip.AddrPort, e ICMP) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Peer = to
	m.errs[to] = e
}

// NewWorker returns a worker of the network.
func (m *Memory) NewWorker() Worker {
	return &memoryWorker{net: m, pool: pkt.NewPool(2 * Batch), ready: make(chan struct{}, 1)}
}

// bind gives an address to an end; port 0 means any port. shared has it share the
// address with others that do.
func (m *Memory) bind(local netip.AddrPort, shared bool, e func(netip.AddrPort) memoryEnd) error {
	if err := checkLocal(local); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if local.Port() == 0 {
		for port := uint16(32768); port != 0 && local.Port() == 0; port++ {
			if at := netip.AddrPortFrom(local.Addr(), port); m.ends[at] == nil {
				local = at
			}
		}
	}
	g := m.ends[local]
	if g != nil && !(shared && g.shared) || local.Port() == 0 {
		return fmt.Errorf("listen on %s: %w", local, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	if g == nil {
		g = &memoryGroup{shared: shared}
		m.ends[local] = g
	}
	g.ends = append(g.ends, e(local))
	return nil
}

func (m *Memory) free(local netip.AddrPort, e memoryEnd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.ends[local]
	if g == nil {
		return
	}
	g.ends = slices.DeleteFunc(g.ends, func(x memoryEnd) bool { return x == e })
	if len(g.ends) == 0 {
		delete(m.ends, local)
	}
}

// fits reports whether a datagram of n bytes goes without being fragmented, and
// what would.
func (m *Memory) fits(n int, to netip.AddrPort) (mtu int, ok bool) {
	const udp = 8
	header := 20
	if to.Addr().Is6() {
		header = 40
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mtu, n+header+udp <= m.mtu
}

// carry takes a datagram to whoever has its destination when it gets there.
func (m *Memory) carry(from memoryEnd, d Datagram, to netip.AddrPort) {
	if d.TTL == 0 {
		d.TTL = memoryTTL
	}
	m.mu.Lock()
	delay := m.delay
	m.mu.Unlock()
	arrive := func() {
		m.mu.Lock()
		end := m.ends[to].pick(d.From)
		e, refused := m.errs[to]
		m.mu.Unlock()
		switch {
		case refused:
			from.refused(e)
		case end == nil:
			from.refused(portUnreachable(to))
		default:
			d.At = time.Now()
			end.arrive(d)
		}
	}
	if delay == 0 {
		arrive()
		return
	}
	time.AfterFunc(delay, arrive)
}

// portUnreachable is what a host answers that has nobody at a port (RFC 792, RFC
// 4443 section 3.1).
func portUnreachable(to netip.AddrPort) ICMP {
	if to.Addr().Is4() {
		return ICMP{Peer: to, Type: icmpUnreachable, Code: 3}
	}
	return ICMP{Peer: to, Type: 1, Code: 4}
}
