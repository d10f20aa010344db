package sip

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/emiago/sipgo/sip"
)

// newDialogMark stands in the routing field of a received INVITE that came
// without a To tag, a field that has no other use in a received message.
const newDialogMark = "new"

// arrive sees every message on its connection's goroutine, before the
// transactions do and before anybody else can read it, and does what may not
// be done later:
//
// It notes where a request came from in its Via (RFC 3261 18.2.1). A response
// whose connection is gone is sent to that address, and not to whatever
// address the sender wrote there (18.2.2).
//
// It gives a fresh INVITE our To tag, so that every response to it has that
// tag, the stack's own 100 and 487 included (8.2.6.2).
func (e *Endpoint) arrive(msg sip.Message) {
	req, ok := msg.(*sip.Request)
	if !ok {
		return
	}
	if via := req.Via(); via != nil {
		if source, err := netip.ParseAddrPort(req.Source()); err == nil {
			via.Params.Add("received", source.Addr().Unmap().String())
		}
	}
	if to := req.To(); to != nil && req.Method == sip.INVITE {
		if tag, ok := to.Params.Get("tag"); !ok || tag == "" {
			to.Params.Add("tag", newTag())
			req.SetDestination(newDialogMark)
		}
	}
}

// isNew says whether a request wants to begin a dialog or stands outside one.
func isNew(req *sip.Request) bool {
	if req.Method == sip.INVITE {
		return req.Destination() == newDialogMark
	}
	tag, ok := req.To().Params.Get("tag")
	return !ok || tag == ""
}

// onRequest is where every new server transaction arrives, each on a
// goroutine of its own. A panic ends that transaction with 500.
func (e *Endpoint) onRequest(req *sip.Request, tx *sip.ServerTx) {
	defer func() {
		if p := recover(); p != nil {
			e.drops.Add(DropPanic)
			e.cfg.Log.Error("panic while serving a request", "side", e.cfg.Side, "method", string(req.Method),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			e.refuse(req, tx, &Failure{Code: 500, Local: true})
		}
	}()
	if f := validate(req); f != nil {
		if req.Method == sip.ACK {
			e.drops.Add(DropInvalid)
			tx.Terminate()
			return
		}
		e.refuse(req, tx, f)
		e.attempt(req, f)
		return
	}
	if !isNew(req) {
		tag, _ := req.To().Params.Get("tag")
		e.inDialog(req, tx, tag)
		return
	}
	switch req.Method {
	case sip.INVITE:
		e.newSession(req, tx)
	case sip.OPTIONS:
		e.respond(tx, e.optionsResponse(req))
	case sip.ACK:
		e.drops.Add(DropAckUnmatched)
		tx.Terminate()
	case sip.CANCEL:
		e.overtook(req, tx)
	default: // BYE without a tag
		e.refuse(req, tx, &Failure{Code: 481, Local: true})
	}
}

// overtook takes a CANCEL that matched no transaction (RFC 3261 9.2). A caller
// may send it right behind its INVITE, and the stack serves every message on
// a goroutine of its own, so the INVITE is waited for.
func (e *Endpoint) overtook(req *sip.Request, tx *sip.ServerTx) {
	for deadline := time.Now().Add(timerT1); ; time.Sleep(overtakenPoll) {
		e.mu.Lock()
		s := e.invites[mergeKeyOf(req)]
		e.mu.Unlock()
		if s != nil {
			e.respond(tx, s.ok(req))
			if err := s.stx.Receive(req); err != nil {
				e.cfg.Log.Debug("CANCEL not taken", "side", e.cfg.Side, "err", err)
			}
			return
		}
		if time.Now().After(deadline) || e.ctx.Err() != nil {
			e.refuse(req, tx, &Failure{Code: 481, Local: true})
			return
		}
	}
}

// overtakenPoll is how often a CANCEL looks for its INVITE.
const overtakenPoll = 10 * time.Millisecond

// mergeKeyOf is what a request shares with its copies by other paths, and a
// CANCEL with its INVITE.
func mergeKeyOf(req *sip.Request) string {
	tag, _ := req.From().Params.Get("tag")
	return fmt.Sprintf("%s\x00%s\x00%d", req.CallID().Value(), tag, req.CSeq().SeqNo)
}

func (e *Endpoint) inDialog(req *sip.Request, tx *sip.ServerTx, localTag string) {
	s := e.find(req.CallID().Value(), localTag)
	if s != nil {
		s.awaitSettled()
	}
	if s != nil && s.matches(req) {
		s.receive(req, tx)
		return
	}
	switch req.Method {
	case sip.ACK:
		e.drops.Add(DropAckUnmatched)
		tx.Terminate()
	case sip.OPTIONS:
		// 11.2 answers as if the request were an INVITE; outside a dialog of
		// ours that is what it is.
		e.respond(tx, e.optionsResponse(req))
	default:
		e.refuse(req, tx, &Failure{Code: 481, Local: true})
	}
}

// newSession makes the session of a fresh INVITE and hands it to the owner.
func (e *Endpoint) newSession(req *sip.Request, tx *sip.ServerTx) {
	mergeKey := mergeKeyOf(req)
	e.mu.Lock()
	_, merged := e.invites[mergeKey]
	if !merged {
		e.invites[mergeKey] = nil
	}
	e.mu.Unlock()
	if merged {
		// RFC 3261 8.2.2.2; the attempt is on record already.
		e.refuse(req, tx, &Failure{Code: 482, Local: true})
		return
	}
	tag, _ := req.To().Params.Get("tag")
	d, err := newServerDialog(req, tag)
	if err != nil {
		e.mu.Lock()
		delete(e.invites, mergeKey)
		e.mu.Unlock()
		f := &Failure{Code: 400, Warning: err.Error(), Local: true}
		e.refuse(req, tx, f)
		e.attempt(req, f)
		return
	}
	s := newServerSession(e, d, req, tx)
	s.mergeKey = mergeKey
	e.mu.Lock()
	e.sessions[s.key] = s
	e.invites[mergeKey] = s
	e.mu.Unlock()
	s.begin()
	e.cfg.Invite(s)
}

// attempt reports a refused INVITE, as far as it can be read.
func (e *Endpoint) attempt(req *sip.Request, f *Failure) {
	if req.Method != sip.INVITE || e.cfg.Refused == nil || req.From() == nil || req.To() == nil || req.CallID() == nil {
		return
	}
	if !isNew(req) {
		return // in a dialog: no new attempt
	}
	e.cfg.Refused(Attempt{Parties: PartiesOf(req), CallID: req.CallID().Value()}, f)
}

func (e *Endpoint) optionsResponse(req *sip.Request) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(sip.NewHeader("Allow", allowValue))
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	res.AppendHeader(sip.NewHeader("Accept-Encoding", "identity"))
	res.AppendHeader(sip.NewHeader("Server", e.cfg.UserAgent))
	return res
}

// refuse answers with a failure.
func (e *Endpoint) refuse(req *sip.Request, tx *sip.ServerTx, f *Failure) {
	e.respond(tx, e.failureResponse(req, f))
}

func (e *Endpoint) failureResponse(req *sip.Request, f *Failure) *sip.Response {
	res := sip.NewResponseFromRequest(req, f.Code, f.PhraseText(), nil)
	res.SipVersion = "SIP/2.0" // whatever version was asked for (RFC 3261 8.2.6, 21.5.7)
	for _, h := range f.Headers {
		res.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	if f.Warning != "" {
		res.AppendHeader(sip.NewHeader("Warning", warningValue(e.Host(), f.Warning)))
	}
	if f.Reason != "" {
		res.AppendHeader(sip.NewHeader("Reason", f.Reason))
	}
	res.AppendHeader(sip.NewHeader("Server", e.cfg.UserAgent))
	return res
}

// respond sends a final response; one that cannot be sent ends the
// transaction, the peer's timers do the rest.
func (e *Endpoint) respond(tx *sip.ServerTx, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		e.cfg.Log.Debug("response not sent", "side", e.cfg.Side, "code", res.StatusCode, "err", err)
		tx.Terminate()
	}
}
