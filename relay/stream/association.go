package stream

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"causeway/internal/pkt"
)

const (
	// queuedDatagrams is how many datagrams of one client wait for decryption.
	queuedDatagrams = 16
	// earlyDatagrams is how many of them wait for the end of the handshake.
	earlyDatagrams = 4
	// handshakeBytes is how much of a client's handshake is read, in bytes. One without a client certificate needs about
	// a kilobyte, and a few retransmissions more.
	handshakeBytes = 32 << 10
)

// association is one DTLS client's share of the listener's socket, and what [dtls] takes for a socket. It lets through
// only what that client may make the library keep.
type association struct {
	set    *datagrams
	client netip.AddrPort
	conn   *Conn

	// Guarded by the set's mu.
	shaking   bool          // the handshake is under way and counted
	unproven  *list.Element // while it is, and the cookie has not come back
	entered   bool          // the gate has let it in
	forgotten bool          // it has ended

	mu     sync.Mutex
	filter recordFilter // guarded by mu
	early  []*pkt.Buf   // guarded by mu; see holdBack
	proven atomic.Bool  // the cookie has come back

	queue   chan *pkt.Buf
	reading readDeadline
	once    sync.Once
	closed  chan struct{}
}

func newAssociation(d *datagrams, client netip.AddrPort) *association {
	a := &association{
		set: d, client: client, shaking: true,
		queue:  make(chan *pkt.Buf, queuedDatagrams),
		closed: make(chan struct{}),
	}
	a.reading.init()
	return a
}

// receive takes one datagram from the client. It runs on the network worker.
func (a *association) receive(b []byte) (Drop, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.filter.proven && !a.filter.established && len(b) > 0 && b[0] == recordApplicationData {
		return a.holdBack(b)
	}
	return a.forward(b)
}

// holdBack keeps a datagram for the end of the handshake: the client, for whom that is over first, may send a little
// before the library can take it. a.mu is held.
func (a *association) holdBack(b []byte) (Drop, bool) {
	if len(a.early) >= earlyDatagrams {
		return InboundFull, false
	}
	a.early = append(a.early, hold(b))
	return 0, true
}

// forward gives a datagram to the library, if the filter lets it. a.mu is held.
func (a *association) forward(b []byte) (Drop, bool) {
	drop, ok := a.filter.pass(b)
	if a.filter.handshake > handshakeBytes {
		a.conn.stop(HandshakeFailed)
		return 0, true
	}
	if !ok {
		return drop, false
	}
	if a.filter.proven && a.proven.CompareAndSwap(false, true) && !a.set.prove(a) {
		return 0, true // counted as what it was refused for
	}
	buf := hold(b)
	select {
	case a.queue <- buf:
		return 0, true
	default:
		recycle(buf)
		return InboundFull, false
	}
}

// establish notes the end of the handshake, and forwards what was held back for it.
func (a *association) establish() {
	a.set.settled(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.filter.established = true
	for _, buf := range a.early {
		if drop, ok := a.forward(buf.Bytes()); !ok {
			a.set.listener.tally.dropped[drop].Add(1)
		}
		recycle(buf)
	}
	a.early = nil
}

// serve handshakes and reads messages until the end.
func (a *association) serve(c *Conn) Reason {
	limits := &c.listener.limits
	defer a.set.forget(a)
	conn, err := dtls.ServerWithOptions(a, net.UDPAddrFromAddrPort(a.client),
		dtls.WithGetCertificate(c.listener.dtlsCertificate),
		dtls.WithSupportedProtocols(applicationProtocols...))
	if err != nil {
		return HandshakeFailed
	}
	c.socket = conn
	reachable := time.AfterFunc(limits.FirstByte, func() {
		if !a.proven.Load() {
			c.stop(NoFirstByte)
		}
	})
	defer reachable.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), limits.Handshake)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return HandshakeTimeout
		}
		return HandshakeFailed
	}
	a.establish()
	return c.readDatagrams()
}

// readDatagrams reads the messages of a DTLS client: each is one datagram (RFC 8656 section 3.1, RFC 7350 section 3).
func (c *Conn) readDatagrams() Reason {
	buf := make([]byte, maxRecordDatagram)
	late := NoFirstFrame
	c.due(time.Now().Add(c.listener.limits.FirstFrame))
	for {
		n, err := c.socket.Read(buf)
		if err != nil {
			return readFailure(err, late)
		}
		if n > c.longest() {
			return FrameTooLong
		}
		if r := c.deliver(hold(buf[:n]), time.Now()); r != none {
			return r
		}
		late = IdleTimeout
		c.rest()
	}
}

// ReadFrom implements net.PacketConn.
func (a *association) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-a.closed:
		return 0, nil, net.ErrClosed
	default:
	}
	select {
	case buf := <-a.queue:
		n := copy(b, buf.Bytes())
		recycle(buf)
		return n, net.UDPAddrFromAddrPort(a.client), nil
	case <-a.reading.passed():
		return 0, nil, os.ErrDeadlineExceeded
	case <-a.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn. It doesn't block.
func (a *association) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-a.closed:
		return 0, net.ErrClosed
	default:
	}
	if !a.proven.Load() {
		a.mu.Lock()
		a.filter.sent(b)
		a.mu.Unlock()
	}
	a.set.send(a.client, b)
	return len(b), nil
}

// Close implements net.PacketConn.
func (a *association) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (a *association) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(a.set.listener.local) }

// SetDeadline implements net.PacketConn.
func (a *association) SetDeadline(t time.Time) error { return a.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (a *association) SetReadDeadline(t time.Time) error {
	a.reading.set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writing never waits.
func (a *association) SetWriteDeadline(time.Time) error { return nil }

// readDeadline is a time that readers can wait for and that can be moved while they do.
type readDeadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // guarded by mu; closed when the time has come
}

func (d *readDeadline) init() { d.over = make(chan struct{}) }

// passed returns a channel that is closed when the deadline has passed.
func (d *readDeadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// set moves the deadline; the zero time takes it away.
func (d *readDeadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // its function is about to close it
	}
	d.timer = nil
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	over := d.over
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(over) })
	} else {
		close(over)
	}
}
