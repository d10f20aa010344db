package issue

import (
	"net"
	"sync"
	"sync/atomic"
)

// boundedListener closes connections beyond maxConnections before anything is spent on them.
type boundedListener struct {
	net.Listener
	open    atomic.Int64
	refused *atomic.Uint64
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
			return &boundedConn{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = c.Close() // nothing was sent that could be lost
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
