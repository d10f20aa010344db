package stream

import (
	"encoding/binary"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/internal/pkt"
	"causeway/relay/turn"
)

// inbound is the queue between a connection's reader and the handler's worker.
type inbound struct {
	mu      sync.Mutex
	queue   []netio.Packet // guarded by mu
	held    int            // guarded by mu; what is queued and what is being drained
	limit   int            // guarded by mu; of held
	posted  bool           // guarded by mu; Frames was called for what is queued
	spare   []netio.Packet // Drain's
	roomier chan struct{}  // has an element when there may be room again
}

func (in *inbound) init() {
	in.limit = newcomerFrames
	in.roomier = make(chan struct{}, 1)
}

// allow changes how many frames may wait.
func (in *inbound) allow(frames int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.limit = frames
	in.more()
}

// more tells a waiting reader to look again.
func (in *inbound) more() {
	select {
	case in.roomier <- struct{}{}:
	default:
	}
}

// push queues a frame if there is room, and reports whether there was and whether the handler has to be told.
func (in *inbound) push(p netio.Packet) (ok, tell bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.held >= in.limit {
		return false, false
	}
	in.queue = append(in.queue, p)
	in.held++
	tell, in.posted = !in.posted, true
	return true, tell
}

// take empties the queue into the drainer's hands.
func (in *inbound) take() []netio.Packet {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue, in.spare = in.spare[:0], in.queue
	in.posted = false
	return in.spare
}

// release forgets n frames that were drained.
func (in *inbound) release(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.held -= n
	in.more()
}

// buffers are the ordinary packet buffers of all connections.
var buffers = sync.Pool{New: func() any { return new(pkt.Buf) }}

// Drain calls f for each frame that has come, in order. It is what the handler's worker does after [Handler.Frames], once
// for each call, and only one goroutine may do it at a time. Frames that come meanwhile are announced again, so a client
// can keep a worker no longer than one queue takes.
//
// A frame is one STUN message or one ChannelData message with its padding, and for DTLS one datagram. p.Buf holds it
// behind [pkt.Headroom], p.From is the client and p.At when it was read. f may keep the buffer if it sets p.Buf to nil,
// as [netio.Port.Send] does, and had best put an empty one of its own in its place; otherwise the buffer is the
// connection's again when f returns. A ConnectionBind request (RFC 6062 section 5.4) has to be answered before that, or
// not at all.
func (c *Conn) Drain(f func(p *netio.Packet)) {
	frames := c.in.take()
	for i := range frames {
		p := &frames[i]
		if c.out.open() {
			c.handle(p, f)
		}
		if p.Buf != nil {
			recycle(p.Buf)
		}
		*p = netio.Packet{}
	}
	c.in.release(len(frames))
}

// handle calls f for one frame. A ConnectionBind request that f leaves without an answer, because it is broken, gets
// none: the reader, which waits for it, goes on.
func (c *Conn) handle(p *netio.Packet, f func(p *netio.Packet)) {
	if !c.transport.Stream() || !isConnectionBind(p.Buf.Bytes()) {
		f(p)
		return
	}
	c.out.ask()
	defer c.out.dismiss()
	f(p)
}

// deliver hands one frame to the handler, and waits while the queue is full. It returns why the connection ended
// meanwhile, or none.
func (c *Conn) deliver(b *pkt.Buf, at time.Time) Reason {
	if !c.begun {
		c.begun = true
		c.listener.handler.Accepted(c)
	}
	n := uint64(b.Len())
	p := netio.Packet{Buf: b, From: c.client, At: at.UnixNano()}
	ok, tell := c.in.push(p)
	for !ok {
		select {
		case <-c.in.roomier:
			ok, tell = c.in.push(p)
		case <-c.ending:
			return c.ended()
		}
	}
	c.listener.tally.framesIn.Add(1)
	c.listener.tally.bytesIn.Add(n)
	if tell {
		c.listener.handler.Frames(c)
	}
	return none
}

// recycle gives an ordinary buffer back.
func recycle(b *pkt.Buf) {
	if !b.IsLong() {
		buffers.Put(b)
	}
}

// hold copies a frame into a buffer.
func hold(frame []byte) *pkt.Buf {
	if len(frame) > pkt.MaxDatagram {
		b := pkt.Long(len(frame))
		copy(b.Bytes(), frame)
		return b
	}
	b := buffers.Get().(*pkt.Buf)
	b.Fill(frame)
	return b
}

// connectionBind is the type field of a ConnectionBind request: its method with the class bits of a request, which are
// zero (RFC 8489 section 5).
const connectionBind = uint16(turn.MethodConnectionBind)

// isConnectionBind reports whether a frame asks for a connection to become a data connection (RFC 6062 section 5.4).
func isConnectionBind(frame []byte) bool {
	return len(frame) >= 2 && binary.BigEndian.Uint16(frame) == connectionBind
}
