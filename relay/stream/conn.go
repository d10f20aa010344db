package stream

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// Class says what becomes of a message when its client reads too slowly.
type Class uint8

// The classes of messages.
const (
	Control Class = iota // the connection is closed
	Media                // the message is dropped
)

// Conn is one client's connection. Its methods may be called from any goroutine, except as they say.
type Conn struct {
	// Tag is the handler's own. It sets it in Accepted.
	Tag any

	listener  *Listener
	client    netip.AddrPort
	server    netip.AddrPort
	transport turn.Transport
	// lower is the TCP socket or the DTLS client's share of the UDP socket. Closing it ends everything at once.
	lower io.Closer
	// socket is what is read and written: the TCP socket, or the TLS or DTLS connection. It changes before Accepted.
	socket net.Conn
	begun  bool // the reader's: Accepted was called

	in  inbound
	out outbound

	mu        sync.Mutex
	reason    Reason // guarded by mu; why it ended, or none
	allocated bool   // guarded by mu
	waiting   bool   // guarded by mu; nothing of a frame has come, so that the idle time runs
	frameSize int    // guarded by mu; the longest frame taken
	ending    chan struct{}
}

func newConn(l *Listener, lower io.Closer, client netip.AddrPort, transport turn.Transport) *Conn {
	c := &Conn{
		listener: l, lower: lower, client: client, server: l.local, transport: transport,
		frameSize: l.limits.FrameBytes,
		ending:    make(chan struct{}),
	}
	c.in.init()
	c.out.init(l.limits.QueueBytes, transport.Stream())
	return c
}

// Client returns the client's transport address, never an IPv4-mapped one.
func (c *Conn) Client() netip.AddrPort { return c.client }

// Server returns the transport address that the client connected to.
func (c *Conn) Server() netip.AddrPort { return c.server }

// Transport returns TCP, TLS or DTLS. It doesn't change once the handler knows the connection.
func (c *Conn) Transport() turn.Transport { return c.transport }

// SetAllocated tells whether the client has an allocation. With one, the connection may be silent for as long as it
// likes, send frames of any length, and have [Limits].QueueFrames of them waiting. Without one it is closed after
// [Limits].Idle, counted from now or from its last frame, whichever is later.
func (c *Conn) SetAllocated(yes bool) {
	c.in.allow(c.listener.queueFrames(yes))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allocated = yes
	c.frameSize = c.listener.limits.FrameBytes
	if yes {
		c.frameSize = maxFrame
	}
	if c.waiting {
		c.armIdle(time.Now())
	}
}

// Close sends what is queued, for as long as [Limits].Write allows, and ends the connection. Frames that the handler has
// not drained are dropped. r is what is counted, mostly [ServerClosed].
func (c *Conn) Close(r Reason) {
	if c.out.close(r) {
		return // the writer goes on from here
	}
	c.stop(r)
}

// stop ends the connection at once, for the first reason that there is.
func (c *Conn) stop(r Reason) {
	c.mu.Lock()
	first := c.reason == none
	if first {
		c.reason = r
		close(c.ending)
	}
	c.mu.Unlock()
	if first {
		// Whatever read or wrote returns with an error that nobody asks about any more.
		c.cut(r)
	}
}

// cut closes what is beneath the connection. What was written to it stays in the kernel until the client has read it,
// but no longer than a client may take that reads, and not at all if it was found not to.
func (c *Conn) cut(r Reason) {
	tcp, ok := c.lower.(*net.TCPConn)
	switch {
	case !ok:
		_ = c.lower.Close()
	case r == SlowReader, r == WriteTimeout:
		refuse(tcp)
	default:
		_ = netio.CloseStream(tcp, c.listener.limits.Write)
	}
}

// ended returns why the connection has ended, or none.
func (c *Conn) ended() Reason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// serve is the connection's own goroutine: it reads until the end, and returns when nothing of the connection is left.
func (c *Conn) serve(read func() Reason) {
	r := c.guarded(read)
	if final := c.out.closing(); final != none {
		r = final // and the writer has to say so to the client yet
		c.out.finish()
	}
	c.stop(r)
	c.out.finish()
	if p := c.out.bound(); p != nil {
		p.close() // whatever kept the two from being joined, or parted them
	}
	if c.begun {
		c.guarded(func() Reason { c.listener.handler.Closed(c); return none })
	}
	if c.socket != nil {
		_ = c.socket.Close() // what is upon lower may have goroutines of its own, as DTLS does
	}
	c.listener.forget(c)
}

// guarded calls f. A panic ends this connection and no other.
func (c *Conn) guarded(f func() Reason) (r Reason) {
	defer func() {
		if p := recover(); p != nil {
			c.listener.log.Error("panic in a connection", "client", c.client, "transport", c.transport,
				"panic", p, "stack", slog.StringValue(string(debug.Stack())))
			r = Panicked
		}
	}()
	return f()
}
