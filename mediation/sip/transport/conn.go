package transport

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// writeTimeout is how long a peer may leave its receive window shut.
	writeTimeout = 5 * time.Second
	// flushTimeout is how long a connection that ends may take to send what
	// waits.
	flushTimeout = time.Second
	// lingerTimeout is how long a connection that ends with an answer reads on
	// in vain: closing it with bytes unread resets it, and the peer loses the
	// answer.
	lingerTimeout = 500 * time.Millisecond
	// lingerBytes is how much of it is read at most: a peer that sends without end
	// is cut off.
	lingerBytes = 1 << 20
	// maxQueued bounds what waits for a peer that does not read, in bytes.
	maxQueued = 1 << 20
)

var (
	errUnproven = errors.New("no valid request in time")
	errSlow     = errors.New("a message was begun and not finished in time")
	errIdle     = errors.New("idle")
	errNoReader = errors.New("the peer does not read")
)

// conn is one tcp or tls connection. serve runs its reader on the caller's
// goroutine and its writer on another.
type conn struct {
	layer   *Layer
	flow    Flow // the ID is set before anybody else sees the connection
	raw     net.Conn
	wire    net.Conn          // raw, or TLS on it
	name    string            // what Dial asked the certificate for
	dialled bool              // by us
	leaf    *x509.Certificate // of the peer; nil: none shown

	since    time.Time
	proven   atomic.Bool
	lastUsed atomic.Int64  // since Layer.start
	wake     chan struct{} // holds one: the writer has something to do
	flushed  chan struct{} // closed when the writer is done

	mu    sync.Mutex // guards the following
	out   []byte     // what waits to be written
	busy  bool       // the writer writes
	cause error      // why the connection ends, once it does
	how   ending
}

// ending is how a connection ends.
type ending uint8

const (
	endAtOnce   ending = iota // what waits to be sent is lost
	endFlushed                // what waits is sent, within flushTimeout
	endLingered               // and the peer gets time to read it
)

func newConn(l *Layer, raw net.Conn, f Flow) *conn {
	f.ID = l.lastID.Add(1)
	return &conn{
		layer: l, flow: f, raw: raw, wire: raw, since: time.Now(),
		wake: make(chan struct{}, 1), flushed: make(chan struct{}),
	}
}

// establish puts a connection into the pool and starts its writer; false when
// it has ended meanwhile, or everything has. Layer.mu is held.
func (l *Layer) establish(c *conn) bool {
	if l.closing || c.ended() {
		return false
	}
	l.pool.add(c)
	l.wg.Go(c.write)
	return true
}

// serve reads until an established connection ends, and reports that.
func (c *conn) serve() {
	l := c.layer
	l.cfg.Log.Debug("connected", "side", l.cfg.Side, "network", c.flow.Network, "remote", c.flow.Remote.String(), "id", c.flow.ID, "dialled", c.dialled)
	how, cause := c.read()
	c.end(cause, how)
	<-c.flushed
	c.linger()
	_ = c.raw.Close()
	c.mu.Lock()
	cause = c.cause // the first one, maybe another's
	c.mu.Unlock()
	l.cfg.Log.Debug("connection ended", "side", l.cfg.Side, "network", c.flow.Network, "remote", c.flow.Remote.String(), "id", c.flow.ID, "err", cause)
	defer l.survive(c.flow)
	l.cfg.Lost(c.flow, cause)
}

// forget takes a connection that ends out of the pool.
func (l *Layer) forget(c *conn) {
	l.mu.Lock()
	l.pool.remove(c)
	l.mu.Unlock()
}

// end ends the connection, once; later causes are ignored. It does not wait.
func (c *conn) end(cause error, how ending) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause, c.how = cause, how
	if how == endAtOnce {
		_ = c.raw.Close()
	} else {
		_ = c.raw.SetWriteDeadline(time.Now().Add(flushTimeout))
	}
	c.mu.Unlock()
	c.layer.forget(c)
	c.nudge()
}

func (c *conn) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause != nil
}

func (c *conn) used() { c.lastUsed.Store(int64(time.Since(c.layer.start))) }

// send queues b for the writer.
func (c *conn) send(b []byte) error {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return ErrGone
	}
	if len(c.out)+len(b) > maxQueued {
		c.mu.Unlock()
		c.layer.note(DropWriteTimeout, c.flow.Network, c.flow.Remote, errNoReader)
		c.end(errNoReader, endAtOnce)
		return ErrGone
	}
	c.out = append(c.out, b...)
	c.mu.Unlock()
	c.nudge()
	return nil
}

// write sends what is queued until the connection ends, and then what is left.
func (c *conn) write() {
	defer close(c.flushed)
	var spare []byte
	for {
		<-c.wake
		for {
			c.mu.Lock()
			b, ending, how := c.out, c.cause != nil, c.how
			c.out = spare[:0]
			if c.busy = len(b) > 0; c.busy && !ending {
				_ = c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
			}
			c.mu.Unlock()
			if ending && how == endAtOnce {
				return
			}
			if len(b) == 0 {
				spare = b
				if ending {
					c.finish(how)
					return
				}
				break
			}
			if _, err := c.wire.Write(b); err != nil {
				c.failed(err)
				return
			}
			c.used()
			c.mu.Lock()
			c.busy = false
			c.mu.Unlock()
			c.relax()
			if spare = b[:0]; cap(spare) > 16*usualBuffer {
				spare = nil
			}
		}
	}
}

// relax keeps the deadline of the last write from the writes that TLS does
// while it reads (KeyUpdate, RFC 8446 4.6.3): those would fail with it, and
// with them the connection. They have as long as an idle connection.
func (c *conn) relax() {
	if c.wire == c.raw {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy && c.cause == nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(c.layer.cfg.Limits.Idle + writeTimeout))
	}
}

// failed ends a connection that cannot be written to.
func (c *conn) failed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.ended() {
		c.layer.note(DropWriteTimeout, c.flow.Network, c.flow.Remote, errNoReader)
		err = errNoReader
	}
	c.end(err, endAtOnce)
	_ = c.raw.Close()
}

// finish says good-bye after the last byte. A connection that lingers keeps
// its reading half.
func (c *conn) finish(how ending) {
	// tls takes 5 s of its own to say that it closes.
	timer := time.AfterFunc(flushTimeout, func() { _ = c.raw.Close() })
	defer timer.Stop()
	if half, ok := c.wire.(interface{ CloseWrite() error }); ok && how == endLingered {
		_ = half.CloseWrite()
		return
	}
	_ = c.wire.Close()
}

// linger reads on for a while after an ending that asks for it.
func (c *conn) linger() {
	c.mu.Lock()
	how := c.how
	c.mu.Unlock()
	if how != endLingered || c.raw.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // below TLS, whose own was said before
	}
	_, _ = io.CopyN(io.Discard, c.raw, lingerBytes)
}

// read hands messages up until the connection ends, and says how and why.
func (c *conn) read() (ending, error) {
	f := newFramer(c.layer.cfg.Limits)
	c.used()
	var begun time.Time // when the message arrived whose rest is waited for; zero: none
	for {
		c.relax()
		if err := c.wire.SetReadDeadline(c.expiry(begun).at); err != nil {
			return endAtOnce, err
		}
		n, err := c.wire.Read(f.room())
		if n > 0 {
			c.used()
			f.took(n)
			whole, err := c.takeFrames(f)
			if err != nil {
				return endLingered, err
			}
			switch {
			case !f.begun():
				begun = time.Time{}
			case whole || begun.IsZero():
				begun = time.Now()
			}
		}
		switch {
		case c.ended():
			return endAtOnce, ErrGone // said before
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			if f.begun() {
				c.layer.note(DropMalformed, c.flow.Network, c.flow.Remote, err)
			}
			return endFlushed, err
		default:
			x := c.expiry(begun) // later by now, when it was proven or written to
			if x.at.After(time.Now()) {
				continue
			}
			if x.dropped {
				c.layer.note(x.reason, c.flow.Network, c.flow.Remote, x.err)
			}
			return endFlushed, x.err
		}
	}
}

// expiry is when a connection has to end if nothing more is read, and why.
type expiry struct {
	at      time.Time
	err     error
	dropped bool // and counted as reason
	reason  Drop
}

func (c *conn) expiry(begun time.Time) expiry {
	limits := &c.layer.cfg.Limits
	x := expiry{at: c.layer.start.Add(time.Duration(c.lastUsed.Load()) + limits.Idle), err: errIdle}
	if !begun.IsZero() {
		if at := begun.Add(limits.ProveWithin); at.Before(x.at) {
			x = expiry{at, errSlow, true, DropSlowMessage}
		}
	}
	if !c.proven.Load() {
		if at := c.since.Add(limits.ProveWithin); at.Before(x.at) {
			x = expiry{at, errUnproven, true, DropUnprovenTimeout}
		}
	}
	return x
}

// takeFrames serves everything that is whole, and says whether a message was.
func (c *conn) takeFrames(f *framer) (whole bool, err error) {
	l := c.layer
	for !c.ended() {
		found, err := f.next()
		if err != nil {
			if broken, ok := errors.AsType[*framingError](err); ok {
				l.refuse(broken.drop, broken.head, broken.code, c.flow, err)
			}
			return whole, err
		}
		switch found.kind {
		case frameNone:
			return whole, nil
		case framePing:
			l.keepalives.Add(1)
			_ = c.send(crlf) // a connection that ends says so by itself
		case frameMessage:
			whole = true
			l.take(found.data, found.head, c.flow)
		case frameCrowded:
			whole = true
			l.refuse(DropHeaderCount, found.data[:found.head], 513, c.flow, errCrowded)
		}
	}
	return whole, nil
}

var errCrowded = errors.New("too many header fields")
