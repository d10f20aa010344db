package stream

import (
	"errors"
	"time"
)

// ErrNotBinding is returned by [Connections.Bind] for a connection that has no ConnectionBind request waiting for its
// answer, or that has an allocation of its own or has ended.
var ErrNotBinding = errors.New("connection did not ask to become a data connection")

// ask notes that the handler got a ConnectionBind request.
func (o *outbound) ask() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bind == unasked {
		o.bind = asked
	}
}

// dismiss notes that a ConnectionBind request gets no answer, unless it was answered or is going to be.
func (o *outbound) dismiss() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bind == asked {
		o.answer()
	}
}

// answer notes that a control message was queued, which answers a ConnectionBind request if there is one. o.mu is held.
func (o *outbound) answer() {
	switch o.bind {
	case unasked, answered:
		return
	case asked:
		o.bind = unasked // it was refused, or dropped
	case taken:
		o.bind = answered
		o.rouse()
	}
	select {
	case o.decided <- struct{}{}:
	default:
	}
}

// take makes the connection the data connection of p. The next control message is the answer that says so, and what the
// client sends behind its request goes to the peer.
func (c *Conn) take(p *peerConn) error {
	c.mu.Lock()
	allocated := c.allocated
	c.mu.Unlock()
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bind != asked || o.closed || allocated {
		return ErrNotBinding
	}
	o.bind, o.peer = taken, p
	return nil
}

// awaitAnswer is what the reader does after a ConnectionBind request. It returns the peer connection that the client's
// was bound to, or nil if it stays what it is.
func (c *Conn) awaitAnswer() (*peerConn, Reason) {
	timeout := time.NewTimer(c.listener.limits.Idle)
	defer timeout.Stop()
	select {
	case <-c.out.decided:
	case <-timeout.C:
		select {
		case <-c.out.decided: // at the same time: what is decided counts
		default:
			return c.out.bound(), IdleTimeout
		}
	case <-c.ending:
		return c.out.bound(), c.ended()
	}
	p := c.out.bound()
	if p == nil {
		return nil, none
	}
	select {
	case <-c.out.done: // the answer is written
	case <-c.ending:
		return p, c.ended()
	}
	return p, none
}

// bound returns whose data connection this one became.
func (o *outbound) bound() *peerConn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peer
}
