package mediation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
	"causeway/qos/qoe"
)

// Call is two legs and the bridge between them. Its goroutine, run, owns
// every field but phase and summary; the outside comes in through mail and
// stop.
type Call struct {
	srv  *Server
	id   string
	log  *slog.Logger
	in   incoming
	legs [2]leg // by party

	mail  mailbox
	stop  chan string   // an order to end the call: why
	done  chan struct{} // closed when the goroutine has ended
	phase atomic.Uint32

	bridge bridge // nil until it is open
	// carried counts the re-offers since a peer last made one of its own.
	carried int
	silence silence

	record   qoe.Record
	recorded bool
	summary  atomic.Pointer[Summary]
}

// incoming is the INVITE that a call is made of.
type incoming struct {
	from    media.Side
	parties sip.Parties
	offer   []byte // nil: late offer
	hops    uint32 // Max-Forwards left for the INVITE that continues it
}

// invited is what came of inviting the callee.
type invited struct {
	session session
	sent    sip.Parties
}

// newCall is called on a goroutine of the transport: it must be quick. The
// caller's session is owned by post from then on.
func newCall(srv *Server, id string, in incoming, caller session) *Call {
	from, to := in.from, other(in.from)
	c := &Call{
		srv: srv, id: id, in: in,
		log:  srv.log.With("call", id),
		legs: [2]leg{theCaller: newLeg(from, srv.policy(from)), theCallee: newLeg(to, srv.policy(to))},
		mail: newMailbox(), stop: make(chan string, 1), done: make(chan struct{}),
	}
	c.legs[theCaller].session = caller
	for i := range c.legs {
		c.legs[i].learns = srv.sides[c.legs[i].side].learns
	}
	c.record = qoe.Record{
		Version: qoe.Version, ID: id, Invite: srv.now(), Received: numbersOf(in.parties),
		Direction: directionNames[from],
		CallIDs:   map[string]string{sideNames[from]: caller.CallID()},
	}
	return c
}

// post is the way of one leg's events to the call. It does not wait; false
// says that the call has ended.
func (c *Call) post(from party) func(sip.Event) bool {
	return func(ev sip.Event) bool {
		open, dropped, over := c.mail.put(letter{from, ev})
		if dropped {
			c.srv.counters.eventsDropped.Add(1)
		}
		if over {
			c.end("too many events")
		}
		return open
	}
}

// end orders the call to stop. Only the first order counts.
func (c *Call) end(why string) {
	select {
	case c.stop <- why:
	default:
	}
}

// run lives as long as the call. A panic in it ends this call and no other.
func (c *Call) run() {
	defer c.srv.forget(c)
	defer close(c.done)
	defer c.mail.shut()
	defer func() {
		if p := recover(); p != nil {
			c.srv.counters.panics.Add(1)
			c.log.Error("panic in a call", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			c.wreck()
		}
	}()
	if err := c.setUp(); err != nil {
		c.refuse(err)
		return
	}
	ring := time.NewTimer(c.srv.cfg.RingTimeout)
	defer ring.Stop()
	quiet := time.NewTicker(silenceStep)
	defer quiet.Stop()
	for c.at() != over {
		if c.at() != inviting {
			ring.Stop()
		}
		select {
		case <-c.mail.ready:
			c.readMail()
		case <-ring.C:
			c.react(ourselves, ringTimeout, sip.Event{})
		case <-quiet.C:
			c.listen()
		case why := <-c.stop:
			c.react(ourselves, stopped, sip.Event{Reason: why})
		}
	}
}

func (c *Call) readMail() {
	for c.at() != over {
		l, ok := c.mail.take()
		if !ok {
			return
		}
		c.react(l.from, stimulus(l.ev.Kind), l.ev)
	}
}

// wreck ends the call after a panic, and is not stopped by another.
func (c *Call) wreck() {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while ending a call", "panic", fmt.Sprint(p))
		}
	}()
	c.react(ourselves, stopped, sip.Event{Reason: "internal error"})
}

func (c *Call) at() phase { return phase(c.phase.Load()) }

func (c *Call) enter(p phase) { c.phase.Store(uint32(p)) }

// name is the side of a party, as the record names who ended a call.
func (c *Call) name(p party) string { return sideNames[c.legs[p].side] }

// refuse answers the caller for an attempt that never left.
func (c *Call) refuse(err error) {
	f := &sip.Failure{Code: 500, Local: true, Warning: "internal error"}
	var why *conflict
	switch {
	case errors.As(err, &why):
		f = why.failure()
	case errors.Is(err, sdp.ErrInvalid):
		f = &sip.Failure{Code: 400, Local: true, Warning: err.Error()}
	case isUnusable(err):
		f = &sip.Failure{Code: 488, Local: true, Warning: err.Error()}
	case errors.Is(err, media.ErrNoPorts):
		c.srv.counters.portsExhausted.Add(1)
		f = &sip.Failure{Code: 503, Local: true, Warning: "no media port is free", Headers: []sip.Header{retryAfter}}
	default:
		c.log.Error("call set-up failed", "err", err)
	}
	c.legs[theCaller].session.Reject(f)
	c.finish(over, f.Code, phraseOf(f), f.Reason, causeway)
}

// isUnusable: the bridge cannot work with what a description says.
func isUnusable(err error) bool {
	return errors.Is(err, media.ErrRemote) || errors.Is(err, media.ErrPayload) || errors.Is(err, media.ErrKey)
}

// turnAway refuses a call for which there is no room, on the goroutine that
// brought it.
func (c *Call) turnAway(f *sip.Failure) {
	defer close(c.done)
	c.mail.shut()
	c.legs[theCaller].session.Reject(f)
	c.finish(over, f.Code, phraseOf(f), "", causeway)
}

// finish closes the media and writes the record, once, as soon as the call's
// fate is known. next is over, or cancelling when the callee's INVITE is still
// to be followed.
func (c *Call) finish(next phase, code int, reason, reasonHeader, by string) {
	defer c.enter(next)
	if c.recorded {
		return
	}
	c.recorded = true
	var stats [2]media.LegStats
	if c.bridge != nil {
		c.quiet(c.srv.now())
		stats = c.bridge.Close()
	}
	c.forgetKeys()
	c.record.End = c.srv.now()
	c.record.Code, c.record.Reason, c.record.ReasonHeader, c.record.EndedBy = code, reason, reasonHeader, by
	c.record.Legs = c.mediaOf(stats)
	c.srv.counters.ended(c.record.Direction, code, c.record.Answer != nil)
	if !c.srv.spool.Append(&c.record) {
		c.log.Error("record not kept: the spool is full")
	}
	c.log.Info("call ended", "code", code, "reason", reason, "ended_by", by, "duration", duration(&c.record))
}

func duration(r *qoe.Record) time.Duration {
	if r.Answer == nil {
		return 0
	}
	return r.End.Sub(*r.Answer)
}

// waitDone waits for the call's goroutine, or ctx.
func (c *Call) waitDone(ctx context.Context) {
	select {
	case <-c.done:
	case <-ctx.Done():
	}
}

func other(s media.Side) media.Side {
	if s == media.Pool {
		return media.Gateway
	}
	return media.Pool
}

var (
	sideNames      = [2]string{media.Pool: "pool", media.Gateway: "gateway"}
	directionNames = [2]string{media.Pool: "pool_to_gateway", media.Gateway: "gateway_to_pool"} // by the caller's side
)

// causeway is who ended a call that we ended.
const causeway = "causeway"
