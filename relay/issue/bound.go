package issue

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// boundedListener closes connections beyond maxConnections in all and maxFromHost from one address, before anything is
// spent on them: one host that only connects does not keep the others out.
type boundedListener struct {
	net.Listener
	refused *atomic.Uint64

	mu   sync.Mutex // guards the following
	open int
	from map[netip.Addr]int
}

// enter counts a connection in, unless there are too many.
func (l *boundedListener) enter(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= maxConnections || l.from[host] >= maxFromHost {
		return false
	}
	if l.from == nil {
		l.from = map[netip.Addr]int{}
	}
	l.open++
	l.from[host]++
	return true
}

func (l *boundedListener) leave(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[host]--; l.from[host] == 0 {
		delete(l.from, host)
	}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var host netip.Addr
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			host = a.AddrPort().Addr().Unmap()
		}
		if l.enter(host) {
			return &boundedConn{Conn: c, listener: l, host: host}, nil
		}
		l.refused.Add(1)
		_ = c.Close() // nothing was sent that could be lost
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	listener *boundedListener
	host     netip.Addr
	once     sync.Once
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.listener.leave(c.host) })
	return c.Conn.Close()
}
