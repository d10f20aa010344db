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

// memoryQueue is how many datagrams a port of a [Memory] network holds before it
// drops, which is about what a socket's default buffer holds of voice.
const memoryQueue = 256

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
	ends  map[netip.AddrPort]memoryEnd // guarded by mu
	delay time.Duration                // guarded by mu
}

// memoryEnd is whatever has an address. arrive is called without the network's
// lock held.
type memoryEnd interface {
	arrive(d Datagram)
	refused()
}

// Datagram is a datagram that arrived at a [MemorySocket].
type Datagram struct {
	Data []byte
	From netip.AddrPort
	At   time.Time
	DSCP uint8
}

// NewMemory returns an empty network.
func NewMemory() *Memory { return &Memory{ends: map[netip.AddrPort]memoryEnd{}} }

// SetDelay has everything sent from now on arrive after a delay.
func (m *Memory) SetDelay(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = d
}

// NewWorker returns a worker of the network.
func (m *Memory) NewWorker() Worker {
	return &memoryWorker{net: m, pool: pkt.NewPool(2 * Batch), ready: make(chan struct{}, 1)}
}

// bind gives an address to an end; port 0 means any port.
func (m *Memory) bind(local netip.AddrPort, e func(netip.AddrPort) memoryEnd) error {
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
	if m.ends[local] != nil || local.Port() == 0 {
		return fmt.Errorf("listen on %s: %w", local, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	m.ends[local] = e(local)
	return nil
}

func (m *Memory) free(local netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ends, local)
}

// carry takes a datagram to whoever has its destination when it gets there.
func (m *Memory) carry(from memoryEnd, d Datagram, to netip.AddrPort) {
	m.mu.Lock()
	delay := m.delay
	m.mu.Unlock()
	arrive := func() {
		m.mu.Lock()
		end := m.ends[to]
		m.mu.Unlock()
		if end == nil {
			from.refused()
			return
		}
		d.At = time.Now()
		end.arrive(d)
	}
	if delay == 0 {
		arrive()
		return
	}
	time.AfterFunc(delay, arrive)
}

// Socket opens a far end at an address; port 0 means any port.
func (m *Memory) Socket(local netip.AddrPort) (*MemorySocket, error) {
	var s *MemorySocket
	err := m.bind(local, func(at netip.AddrPort) memoryEnd {
		s = &MemorySocket{net: m, local: at}
		return s
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// MemorySocket is a far end on a [Memory] network.
type MemorySocket struct {
	net   *Memory
	local netip.AddrPort

	mu       sync.Mutex
	received []Datagram // guarded by mu
}

// Local returns the socket's address.
func (s *MemorySocket) Local() netip.AddrPort { return s.local }

// Send sends a copy of data.
func (s *MemorySocket) Send(data []byte, to netip.AddrPort) {
	s.net.carry(s, Datagram{Data: slices.Clone(data), From: s.local}, to)
}

// Received returns what arrived since the last call.
func (s *MemorySocket) Received() []Datagram {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.received
	s.received = nil
	return got
}

// Close gives the address back.
func (s *MemorySocket) Close() { s.net.free(s.local) }

func (s *MemorySocket) refused() {}

func (s *MemorySocket) arrive(d Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, d)
}
