package locate

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noDNS must not be asked.
type noDNS struct{ t *testing.T }

func (d noDNS) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	d.t.Error("DNS was asked for SRV")
	return "", nil, net.ErrClosed
}

func (d noDNS) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	d.t.Error("DNS was asked for addresses")
	return nil, net.ErrClosed
}

// memory is a DNS without sockets, for tests with a false clock.
type memory struct {
	mu     sync.Mutex
	addrs  []netip.Addr
	err    error
	lookUp int
}

func (m *memory) set(err error, addrs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.addrs = err, nil
	for _, a := range addrs {
		m.addrs = append(m.addrs, netip.MustParseAddr(a))
	}
}

func (m *memory) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{IsNotFound: true}
}

func (m *memory) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookUp++
	return m.addrs, m.err
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookUp
}
