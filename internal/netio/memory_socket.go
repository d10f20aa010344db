package netio

import (
	"net/netip"
	"slices"
	"sync"
)

// Socket opens a far end at an address; port 0 means any port.
func (m *Memory) Socket(local netip.AddrPort) (*MemorySocket, error) {
	var s *MemorySocket
	err := m.bind(local, false, func(at netip.AddrPort) memoryEnd {
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
	s.SendDatagram(Datagram{Data: data}, to)
}

// SendDatagram sends a copy of a datagram, with its fields of the IP header; a TTL
// of 0 is the default. From and At are filled in.
func (s *MemorySocket) SendDatagram(d Datagram, to netip.AddrPort) {
	d.Data = slices.Clone(d.Data)
	d.From = s.local
	s.net.carry(s, d, to)
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
func (s *MemorySocket) Close() { s.net.free(s.local, s) }

func (s *MemorySocket) refused(ICMP)         {}
func (s *MemorySocket) peer() netip.AddrPort { return netip.AddrPort{} }

func (s *MemorySocket) arrive(d Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, d)
}
