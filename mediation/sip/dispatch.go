package sip

import (
	"fmt"
	"runtime/debug"

	"github.com/emiago/sipgo/sip"
)

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
	if tag, ok := req.To().Params.Get("tag"); ok && tag != "" {
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
	default: // BYE without a tag; a CANCEL that matched no transaction (9.2)
		e.refuse(req, tx, &Failure{Code: 481, Local: true})
	}
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
	remoteTag, _ := req.From().Params.Get("tag")
	mergeKey := fmt.Sprintf("%s\x00%s\x00%d", req.CallID().Value(), remoteTag, req.CSeq().SeqNo)
	e.mu.Lock()
	_, merged := e.invites[mergeKey]
	if !merged {
		e.invites[mergeKey] = struct{}{}
	}
	e.mu.Unlock()
	if merged {
		// RFC 3261 8.2.2.2; the attempt is on record already.
		e.refuse(req, tx, &Failure{Code: 482, Local: true})
		return
	}
	tag := newTag()
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
	// Every response to this INVITE, the stack's own 100 and 487 included,
	// carries our tag because it is copied from here (RFC 3261 8.2.6.2).
	req.To().Params.Add("tag", tag)
	s := newServerSession(e, d, req, tx)
	s.mergeKey = mergeKey
	e.add(s)
	e.cfg.Invite(s)
}

// attempt reports a refused INVITE, as far as it can be read.
func (e *Endpoint) attempt(req *sip.Request, f *Failure) {
	if req.Method != sip.INVITE || e.cfg.Refused == nil || req.From() == nil || req.To() == nil || req.CallID() == nil {
		return
	}
	if tag, ok := req.To().Params.Get("tag"); ok && tag != "" {
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
