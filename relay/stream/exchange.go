package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// peerState is where a peer connection is in its life.
type peerState uint8

const (
	connecting peerState = iota
	waiting              // for its client's ConnectionBind
	joined               // with a client's connection
	closed
)

// peerConn is one connection between a relayed address and a peer.
type peerConn struct {
	allocation  *allocation
	local, peer netip.AddrPort
	closing     chan struct{} // closed with the connection

	// Guarded by the table's mu.
	id     uint32
	state  peerState
	socket *net.TCPConn // does not change once it is set
	client *Conn        // once joined
	expiry *time.Timer
	cancel context.CancelFunc // of connecting
}

// traffic counts the bytes of one allocation's data connections.
type traffic struct{ up, down atomic.Uint64 }

// close ends the connection and its client's.
func (p *peerConn) close() {
	t := p.allocation.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(p)
}

// exchangeBuffer is what one direction of a data connection reads at once.
const exchangeBuffer = 16 << 10

var exchangeBuffers = sync.Pool{New: func() any { return new([exchangeBuffer]byte) }}

// halfCloser is a connection that can end one direction: TCP's FIN, or TLS's close_notify.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// exchange moves bytes between a client's connection and the peer's until both directions have ended, or one has failed,
// or nothing has moved for too long. head is what the client has sent already. It runs on the client's reader.
func (p *peerConn) exchange(c *Conn, head []byte) Reason {
	defer p.close()
	client, ok := c.socket.(halfCloser)
	if !ok {
		return DataEnded // a datagram client's ConnectionBind is never asked for: see isConnectionBind
	}
	var moved atomic.Int64
	moved.Store(time.Now().UnixNano())
	own, all := &p.allocation.traffic, &p.allocation.table.tally
	up := direction{p: p, from: client, to: p.socket, moved: &moved, own: &own.up, all: &all.up}
	down := direction{p: p, from: p.socket, to: client, moved: &moved, own: &own.down, all: &all.down}
	var other sync.WaitGroup
	other.Go(func() { c.guarded(func() Reason { down.run(c); return none }) })
	if up.write(head) {
		up.run(c)
	} else {
		up.abort(c, nil)
	}
	other.Wait()
	return DataEnded
}

// direction is one half of an exchange.
type direction struct {
	p        *peerConn
	from, to halfCloser
	moved    *atomic.Int64 // when either direction last moved anything, in nanoseconds since the Unix epoch
	own, all *atomic.Uint64
}

// run moves bytes until from has ended, and passes the end on. A failure ends both directions.
func (d *direction) run(c *Conn) {
	buf := exchangeBuffers.Get().(*[exchangeBuffer]byte)
	defer exchangeBuffers.Put(buf)
	for {
		n, err := d.read(buf[:])
		switch {
		case n > 0 && !d.write(buf[:n]):
			d.abort(c, nil)
			return
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the latter is TLS without a close_notify
			if d.to.CloseWrite() != nil {
				d.abort(c, nil)
			}
			return
		default:
			d.abort(c, err)
			return
		}
	}
}

// read waits for bytes for as long as anything moves in either direction.
func (d *direction) read(buf []byte) (int, error) {
	idle := d.p.allocation.table.limits.Idle
	for {
		last := time.Unix(0, d.moved.Load())
		if err := d.from.SetReadDeadline(last.Add(idle)); err != nil {
			return 0, err
		}
		n, err := d.from.Read(buf)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, d.moved.Load())) < idle {
			continue // the other direction moved something
		}
		return n, err
	}
}

// write passes bytes on and counts them, and pauses for as long as the allocation is to slow down.
func (d *direction) write(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	now := time.Now()
	d.moved.Store(now.UnixNano())
	if err := d.to.SetWriteDeadline(now.Add(d.p.allocation.table.limits.Idle)); err != nil {
		return false
	}
	n, err := d.to.Write(b)
	d.own.Add(uint64(n))
	d.all.Add(uint64(n))
	if err != nil {
		return false
	}
	d.moved.Store(time.Now().UnixNano())
	if pace := d.p.allocation.owner.Pace; pace != nil {
		for wait := pace(len(b)); wait > 0; wait = pace(0) {
			if !d.pause(wait) {
				return false
			}
		}
	}
	return true
}

// pause waits, and reports whether the connection is still there.
func (d *direction) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.p.closing:
		return false
	}
}

// abort ends both directions. The other side of a connection that was reset is reset too.
func (d *direction) abort(c *Conn, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		d.p.allocation.table.tally.idle.Add(1)
	}
	if errors.Is(err, syscall.ECONNRESET) {
		for _, side := range []any{d.p.socket, c.lower} {
			if tcp, ok := side.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}
	}
	d.p.close()
}
