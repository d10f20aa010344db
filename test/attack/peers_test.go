package attack

import (
	"net"
	"net/netip"
	"testing"
)

// listenTCP is a peer that takes connections. They are closed when the test is over.
func listenTCP(t testing.TB, at netip.Addr) (netip.AddrPort, <-chan net.Conn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 64)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			accepted <- conn
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), accepted
}
