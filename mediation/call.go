package mediation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
	"causeway/qos/qoe"
)

// mailbox bounds the events waiting for a call's goroutine. Whoever delivers
// one waits while it is full, and gives up when the call has ended.
const mailbox = 16

// phase is where a call stands.
type phase uint32

const (
	inviting   phase = iota // the callee is being called
	answered                // 200 sent to the caller, its ACK outstanding
	talking                 // confirmed on both legs
	cancelling              // the caller is gone, the callee's INVITE is not finished
	over
)

var phaseNames = [...]string{"inviting", "answered", "talking", "cancelling", "over"}

func (p phase) String() string { return phaseNames[p] }

// Call is two legs and the bridge between them. Its goroutine, run, owns
// every field but phase; the outside comes in through events and stop.
type Call struct {
	srv    *Server
	id     string
	caller media.Side
	callee media.Side
	log    *slog.Logger

	a *sip.Session // toward the caller
	b *sip.Session // toward the callee; nil until invited

	events chan sip.Event
	stop   chan string   // an order to end the call: why
	done   chan struct{} // closed when the goroutine has ended
	phase  atomic.Uint32

	bridge *media.Bridge
	offer  *sdp.Description // the caller's
	aSec   security
	bOffer sdp.Local // what we offered the callee
	// aAnswer is the answer given to the caller; once given, it stays (RFC
	// 3261 13.2.1), and a later answer of the callee is converted into it.
	aAnswer  []byte
	aFormats []sdp.Format
	bAnswer  *sdp.Description
	bFormats []sdp.Format
	bSec     security

	record   qoe.Record
	recorded bool
	summary  atomic.Pointer[Summary]
}

// newCall is called on a goroutine of the transport: it must be quick.
func newCall(srv *Server, id string, caller media.Side, a *sip.Session) *Call {
	c := &Call{
		srv: srv, id: id, caller: caller, callee: other(caller), a: a,
		log:    srv.log.With("call", id),
		events: make(chan sip.Event, mailbox),
		stop:   make(chan string, 1),
		done:   make(chan struct{}),
	}
	c.record = qoe.Record{
		Version: qoe.Version, ID: id, Invite: srv.now(),
		Direction: directionNames[caller],
		CallIDs:   map[string]string{sideNames[caller]: a.CallID()},
	}
	a.Own(c.post)
	return c
}

// post delivers an event of either leg; it waits for room and gives up when
// the call has ended.
func (c *Call) post(ev sip.Event) bool {
	select {
	case c.events <- ev:
		return true
	case <-c.done:
		return false
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
	for c.at() != over {
		select {
		case ev := <-c.events:
			c.handle(ev)
		case <-ring.C:
			c.ringTimeout()
		case why := <-c.stop:
			c.abandon(why)
		}
	}
}

// wreck ends the call after a panic, and is not stopped by another.
func (c *Call) wreck() {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while ending a call", "panic", fmt.Sprint(p))
		}
	}()
	c.abandon("internal error")
}

func (c *Call) at() phase { return phase(c.phase.Load()) }

func (c *Call) enter(p phase) {
	c.phase.Store(uint32(p))
	c.publish()
}

// setUp takes the caller's offer to the callee: ports, policy, numbers, and
// an INVITE of our own. An error is answered to the caller.
func (c *Call) setUp() error {
	in := sip.PartiesOf(c.a.Invite())
	c.record.Received = numbersOf(in)
	c.publish()
	offer, err := c.readOffer()
	if err != nil {
		return err
	}
	c.offer = offer
	if c.aSec, err = accept(c.srv.policy(c.caller), offer.Audio); err != nil {
		return err
	}
	formats, err := outgoingFormats(offer.Audio)
	if err != nil {
		return err
	}
	if c.bridge, err = c.srv.plane.Open(c.id); err != nil {
		return err
	}
	// The caller's leg is set before anybody rings: an address that cannot be
	// sent to is the caller's to hear of now, not the callee's after answering.
	if err := c.setCaller(usable(offer.Audio)); err != nil {
		return err
	}
	proto, crypto := offerCrypto(c.srv.policy(c.callee))
	c.bOffer = sdp.Local{
		SessionID: newSessionID(), Version: 1, RTP: c.bridge.Local(c.callee), Proto: proto,
		Formats: formats, Crypto: crypto, Direction: offer.Audio.Direction, Ptime: defaultPtime,
	}
	side := c.srv.sides[c.callee]
	out := c.srv.present(c.caller, in)
	c.record.Sent, c.record.Rules = numbersOf(out), out.Rules
	invite := side.endpoint.NewInvite(out.RequestURI, out.From, out.To, c.a.HopsLeft(), out.Headers...)
	c.record.CallIDs[sideNames[c.callee]] = invite.CallID().Value()
	c.b = side.endpoint.Invite(invite, side.hop.Network, side.hop.Destination(), c.bOffer.Offer(), c.post)
	c.log.Info("call", "direction", c.record.Direction, "from", c.record.Sent.From, "to", c.record.Sent.RequestURI)
	c.publish()
	return nil
}

func (c *Call) readOffer() (*sdp.Description, error) {
	body := c.a.SDP()
	if len(body) == 0 {
		return nil, conflictf("an INVITE without an offer is not served")
	}
	offer, err := sdp.Parse(body)
	if err != nil {
		return nil, err
	}
	if offer.Audio == nil {
		return nil, conflictf("the offer has %v", errNoAudio)
	}
	return offer, nil
}

// refuse answers the caller for an attempt that never left.
func (c *Call) refuse(err error) {
	f := &sip.Failure{Code: 500, Local: true, Warning: "internal error"}
	var why *conflict
	switch {
	case errors.As(err, &why):
		f = why.failure()
	case errors.Is(err, sdp.ErrInvalid):
		f = &sip.Failure{Code: 400, Local: true, Warning: err.Error()}
	case errors.Is(err, media.ErrRemote), errors.Is(err, media.ErrPayload), errors.Is(err, media.ErrKey):
		f = &sip.Failure{Code: 488, Local: true, Warning: err.Error()}
	case errors.Is(err, media.ErrNoPorts):
		c.srv.counters.portsExhausted.Add(1)
		f = &sip.Failure{Code: 503, Local: true, Warning: "no media port is free", Headers: []sip.Header{retryAfter}}
	default:
		c.log.Error("call set-up failed", "err", err)
	}
	c.a.Reject(f)
	c.finish(over, f.Code, phraseOf(f), f.Reason, causeway)
}

// handle is the call's state machine: one event, in the order of arrival.
func (c *Call) handle(ev sip.Event) {
	switch {
	case ev.Session == c.a:
		c.fromCaller(ev)
	case ev.Session == c.b:
		c.fromCallee(ev)
	}
}

func (c *Call) fromCaller(ev sip.Event) {
	switch ev.Kind {
	case sip.Cancelled:
		if c.at() == inviting {
			c.hungUpEarly(ev.Reason)
		}
	case sip.Confirmed:
		if c.at() == answered {
			c.enter(talking)
		}
	case sip.Unconfirmed:
		c.a.Bye(reasonSIP(408, "no ACK"))
		c.b.Bye(reasonSIP(408, "no ACK"))
		c.finish(over, 408, "no ACK to 200", "", causeway)
	case sip.Ended:
		if c.at() == inviting { // BYE in the early dialog: as good as CANCEL
			c.hungUpEarly(ev.Reason)
			return
		}
		c.b.Bye(ev.Reason)
		c.finish(over, 200, "OK", ev.Reason, sideNames[c.caller])
	case sip.Progress, sip.Answered, sip.Failed:
		// Of an INVITE of ours; toward the caller there is none.
	}
}

// hungUpEarly: the caller went away before an answer.
func (c *Call) hungUpEarly(reason string) {
	c.b.Cancel(reason)
	c.finish(cancelling, 487, "Request Terminated", reason, sideNames[c.caller])
}

func (c *Call) fromCallee(ev sip.Event) {
	if c.at() == cancelling {
		c.afterCancel(ev)
		return
	}
	switch ev.Kind {
	case sip.Progress:
		c.progress(ev)
	case sip.Answered:
		c.answer(ev)
	case sip.Failed:
		f := shown(ev.Failure)
		c.a.Reject(f)
		by := sideNames[c.callee]
		if ev.Failure.Local {
			by = causeway
		}
		c.finish(over, f.Code, phraseOf(f), ev.Reason, by)
	case sip.Ended:
		c.a.Bye(ev.Reason)
		c.finish(over, 200, "OK", ev.Reason, sideNames[c.callee])
	case sip.Cancelled, sip.Confirmed, sip.Unconfirmed:
		// Of an INVITE received; from the callee there is none.
	}
}

// afterCancel ends the callee's leg, whichever of CANCEL and 200 was faster
// (RFC 3261 9.1, 15).
func (c *Call) afterCancel(ev sip.Event) {
	switch ev.Kind {
	case sip.Answered:
		c.b.Ack(nil)
		c.b.Bye("")
		c.enter(over)
	case sip.Failed, sip.Ended:
		c.enter(over)
	case sip.Progress, sip.Cancelled, sip.Confirmed, sip.Unconfirmed:
		// Still ringing, or of an INVITE received.
	}
}

func (c *Call) progress(ev sip.Event) {
	if c.record.FirstProvisional == nil {
		now := c.srv.now()
		c.record.FirstProvisional = &now
	}
	var early []byte
	if ev.SDP != nil {
		if err := c.takeAnswer(ev.SDP); err != nil {
			// Early media is a courtesy: without it the call still rings.
			c.log.Info("early media not usable", "err", err)
		} else {
			early = c.aAnswer
		}
	}
	c.a.Provisional(ev.Code, ev.Phrase, early)
}

func (c *Call) ringTimeout() {
	if c.at() != inviting {
		return
	}
	c.b.Cancel(reasonSIP(408, "no answer"))
	f := &sip.Failure{Code: 408, Local: true, Warning: "the callee did not answer in time"}
	c.a.Reject(f)
	c.finish(cancelling, f.Code, phraseOf(f), "", causeway)
}

// abandon ends the call from our side, whatever its state.
func (c *Call) abandon(why string) {
	switch c.at() {
	case inviting:
		f := &sip.Failure{Code: 503, Local: true, Warning: why, Headers: []sip.Header{retryAfter}}
		c.a.Reject(f)
		next := over
		if c.b != nil {
			c.b.Cancel(reasonSIP(503, why))
			next = cancelling
		}
		c.finish(next, f.Code, phraseOf(f), "", causeway)
	case answered, talking:
		c.a.Bye(reasonSIP(503, why))
		c.b.Bye(reasonSIP(503, why))
		c.finish(over, 200, why, "", causeway)
	case cancelling, over:
		c.enter(over)
	}
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
		stats = c.bridge.Close()
	}
	c.record.End = c.srv.now()
	c.record.Code, c.record.Reason, c.record.ReasonHeader, c.record.EndedBy = code, reason, reasonHeader, by
	c.record.Legs = c.legs(stats)
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

func (s *Server) policy(side media.Side) conf.SRTPPolicy { return s.sides[side].policy }
