package stream

import (
	"crypto/tls"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
)

// keepBuffer is the largest buffer that a connection with nothing to send keeps.
const keepBuffer = 16 << 10

// binding is how far a connection is on its way to becoming a data connection.
type binding uint8

const (
	unasked  binding = iota
	asked            // the handler has a ConnectionBind request that is not answered
	taken            // Connections.Bind said yes; the answer is still to come
	answered         // and has been sent: nothing goes through the queue any more
)

// outbound is what waits to be written to a client.
type outbound struct {
	limit  int
	stream bool

	mu      sync.Mutex
	queue   []byte // guarded by mu
	sizes   []int  // guarded by mu; of the datagrams in queue, if it is not a stream
	writing int    // guarded by mu; bytes that the writer has taken
	started bool   // guarded by mu; there is, or was, a writer
	closed  bool   // guarded by mu; nothing is taken any more
	final   Reason // guarded by mu; what the writer ends the connection for when all is written
	bind    binding
	peer    *peerConn // guarded by mu; whose data connection it becomes

	// The writer's own.
	spare      []byte
	spareSizes []int

	wake    chan struct{} // has an element when the writer has to look
	done    chan struct{} // closed when the writer has ended
	decided chan struct{} // has an element when a ConnectionBind request was answered
}

func (o *outbound) init(limit int, stream bool) {
	o.limit, o.stream = limit, stream
	o.wake = make(chan struct{}, 1)
	o.done = make(chan struct{})
	o.decided = make(chan struct{}, 1)
}

// Send queues a message for the client and reports whether it was taken; the bytes are copied. On a stream, padding to a
// multiple of four bytes is added (RFC 8656 section 12.5). Media is refused and counted when more than three quarters of
// [Limits].QueueBytes wait already; a control message that doesn't fit ends the connection.
func (c *Conn) Send(b []byte, class Class) bool {
	ok, full, start := c.out.push(b, class)
	switch {
	case start:
		go c.write()
	case full && class == Media:
		c.listener.tally.dropped[OutboundFull].Add(1)
	case full:
		c.stop(SlowReader)
	}
	if ok {
		c.listener.tally.framesOut.Add(1)
		c.listener.tally.bytesOut.Add(uint64(len(b)))
	}
	return ok
}

// push queues a message. full says that there was no room for it, start that it is the first one and needs a writer.
func (o *outbound) push(b []byte, class Class) (ok, full, start bool) {
	limit := o.limit
	if class == Media {
		limit -= limit / 4
	}
	padding := 0
	if o.stream {
		padding = -len(b) & 3
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.bind == answered {
		return false, false, false
	}
	if len(o.queue)+o.writing+len(b)+padding > limit {
		return false, true, false
	}
	o.queue = append(o.queue, b...)
	o.queue = append(o.queue, zeros[:padding]...)
	if !o.stream {
		o.sizes = append(o.sizes, len(b))
	}
	if class == Control {
		o.answer()
	}
	start, o.started = !o.started, true
	if !start {
		o.rouse()
	}
	return true, false, start
}

var zeros [3]byte

// rouse has the writer look. o.mu is held.
func (o *outbound) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// open reports whether messages are still taken.
func (o *outbound) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed
}

// close takes nothing more, and reports whether a writer is there to end the connection for r once all is written.
func (o *outbound) close(r Reason) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.final = true, r
		o.rouse()
	}
	return o.started && o.bind != answered // whose writer ends by itself, or has
}

// closing returns what the handler has closed the connection for, if there is a writer to do it.
func (o *outbound) closing() Reason {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.started {
		return none
	}
	return o.final
}

// finish waits for the writer, if there is one, and sees to it that there will be none. The connection has ended.
func (o *outbound) finish() {
	o.mu.Lock()
	o.closed = true
	started := o.started
	o.mu.Unlock()
	if started {
		<-o.done
	}
}

// take empties the queue into the writer's hands. more is false if it was empty and nothing will come.
func (o *outbound) take() (batch []byte, sizes []int, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil, nil, !o.closed && o.bind != answered
	}
	batch, sizes = o.queue, o.sizes
	o.queue, o.sizes = o.spare[:0], o.spareSizes[:0]
	o.spare, o.spareSizes = nil, nil
	o.writing = len(batch)
	return batch, sizes, true
}

// written gives what was taken back.
func (o *outbound) written(batch []byte, sizes []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = 0
	if cap(batch) <= keepBuffer {
		o.spare, o.spareSizes = batch, sizes
	}
}

// write is the connection's writer, a goroutine that begins with the first message. It ends with the connection, or with
// the answer that makes a data connection of it.
func (c *Conn) write() {
	defer close(c.out.done)
	if r := c.guarded(c.writeAll); r != none {
		c.stop(r)
	}
}

func (c *Conn) writeAll() Reason {
	for {
		batch, sizes, more := c.out.take()
		switch {
		case !more:
			return c.farewell()
		case batch == nil:
			select {
			case <-c.out.wake:
			case <-c.ending:
				return none
			}
			continue
		}
		if err := c.writeBatch(batch, sizes); err != nil {
			return writeFailure(err)
		}
		c.out.written(batch, sizes)
	}
}

// farewell ends what is upon the socket in order, if the handler closed the connection: TLS says so to its client (RFC
// 8446 section 6.1), and so does DTLS. It returns what the connection ends for, or none if it goes on without a writer.
func (c *Conn) farewell() Reason {
	final := c.out.closing()
	if final == none {
		return none
	}
	switch s := c.socket.(type) {
	case *tls.Conn:
		_ = s.CloseWrite()
	case *dtls.Conn:
		_ = s.Close()
	}
	return final
}

// writeBatch writes what was taken: as one piece, or as one datagram each.
func (c *Conn) writeBatch(batch []byte, sizes []int) error {
	if err := c.socket.SetWriteDeadline(time.Now().Add(c.listener.limits.Write)); err != nil {
		return err
	}
	if c.out.stream {
		_, err := c.socket.Write(batch)
		return err
	}
	for _, n := range sizes {
		if _, err := c.socket.Write(batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

func writeFailure(err error) Reason {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return WriteTimeout
	}
	return ConnectionLost
}
