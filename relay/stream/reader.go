package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"causeway/internal/pkt"
	"causeway/relay/turn"
)

const (
	// readBuffer is what is read at once.
	readBuffer = 4096
	// maxFrame is the longest frame that there can be: STUN's 20-byte header and the largest multiple of four that its
	// 16-bit length can hold (RFC 8489 section 5).
	maxFrame = 20 + 65532
)

// first waits for a stream's first byte.
func (c *Conn) first() (byte, Reason) {
	if err := c.socket.SetReadDeadline(time.Now().Add(c.listener.limits.FirstByte)); err != nil {
		return 0, ConnectionLost
	}
	var b [1]byte
	if _, err := io.ReadFull(c.socket, b[:]); err != nil {
		return 0, readFailure(err, NoFirstByte)
	}
	return b[0], none
}

// readStream reads the frames of a TCP or TLS connection. head was read already.
func (c *Conn) readStream(head []byte) Reason {
	r := frameReader{conn: c, buf: make([]byte, readBuffer), at: time.Now()}
	r.end = copy(r.buf, head)
	r.arm(c.listener.limits.FirstFrame)
	for {
		if reason := r.frames(); reason != none {
			return reason
		}
		if reason := r.fill(); reason != none {
			return reason
		}
	}
}

// frameReader cuts a stream into frames.
type frameReader struct {
	conn       *Conn
	buf        []byte
	start, end int       // what was read and not delivered
	at         time.Time // of the last read
	partial    bool      // a frame has begun, and its time runs
	late       Reason    // what it means when the time is over
}

// arm starts the time that the frame which has begun has to be complete in.
func (r *frameReader) arm(limit time.Duration) {
	r.partial = true
	r.late = SlowFrame
	if !r.conn.begun {
		r.late = NoFirstFrame
	}
	r.conn.due(r.at.Add(limit))
}

// frames delivers every whole frame that was read.
func (r *frameReader) frames() Reason {
	c := r.conn
	for {
		n, err := turn.FrameSize(r.buf[r.start:r.end])
		switch {
		case err != nil:
			return BadFrame
		case n == 0:
			return none
		case n > c.longest():
			return FrameTooLong
		case n > len(r.buf):
			return r.long(n)
		case n > r.end-r.start:
			return none
		}
		frame := r.buf[r.start : r.start+n]
		r.start += n
		if reason := r.deliver(hold(frame)); reason != none {
			return reason
		}
	}
}

// long reads the rest of a frame that is longer than the read buffer.
func (r *frameReader) long(n int) Reason {
	if !r.partial {
		r.arm(r.conn.listener.limits.Frame)
	}
	b := pkt.Long(n)
	have := copy(b.Bytes(), r.buf[r.start:r.end])
	r.start, r.end = 0, 0
	if _, err := io.ReadFull(r.conn.socket, b.Bytes()[have:]); err != nil {
		return readFailure(err, r.late)
	}
	r.at = time.Now()
	return r.deliver(b)
}

// deliver hands a frame on. After a ConnectionBind request it waits for the answer, and if that is a yes, for the end of
// the data connection.
func (r *frameReader) deliver(b *pkt.Buf) Reason {
	c := r.conn
	r.partial = false
	asks := isConnectionBind(b.Bytes())
	if reason := c.deliver(b, r.at); reason != none {
		return reason
	}
	if !asks {
		return none
	}
	peer, reason := c.awaitAnswer()
	if peer == nil {
		return reason
	}
	if reason != none {
		c.stop(reason)
		peer.close()
		return reason
	}
	return peer.exchange(c, r.buf[r.start:r.end])
}

// fill reads more, with the time set that it may take.
func (r *frameReader) fill() Reason {
	c := r.conn
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
	if !r.partial {
		if r.end > 0 {
			r.at = time.Now()
			r.arm(c.listener.limits.Frame)
		} else {
			r.late = IdleTimeout
			c.rest()
		}
	}
	n, err := c.socket.Read(r.buf[r.end:])
	if n == 0 && err != nil {
		return readFailure(err, r.late)
	}
	r.at = time.Now()
	r.end += n
	return none
}

// longest returns how long a frame may be right now.
func (c *Conn) longest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frameSize
}

// due sets when what is being read has to be there.
func (c *Conn) due(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	_ = c.socket.SetReadDeadline(t) // fails on a closed socket, as the read will
}

// rest starts the idle time.
func (c *Conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = true
	c.armIdle(time.Now())
}

// armIdle sets the deadline of a connection that nothing is read from. c.mu is held.
func (c *Conn) armIdle(now time.Time) {
	var t time.Time
	if !c.allocated {
		t = now.Add(c.listener.limits.Idle)
	}
	_ = c.socket.SetReadDeadline(t)
}

// readFailure says why a read failed; late is what a deadline means.
func readFailure(err error, late Reason) Reason {
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return late
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ClientClosed
	default:
		return ConnectionLost
	}
}
