package sip

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// arrive takes every message of this side, on its connection's goroutine, in
// order of arrival: what belongs to one dialog stays in order.
func (e *Endpoint) arrive(msg sip.Message, flow transport.Flow) {
	defer func() {
		if p := recover(); p != nil {
			e.panicked(p, debug.Stack())
		}
	}()
	switch msg := msg.(type) {
	case *sip.Response:
		e.arriveResponse(msg, flow)
	case *sip.Request:
		e.arriveRequest(msg, flow)
	}
}

func (e *Endpoint) arriveResponse(res *sip.Response, flow transport.Flow) {
	key, err := transaction.ClientKey(res)
	if err != nil || res.StatusCode < 100 || res.StatusCode > 699 {
		e.drops.Add(DropInvalid)
		return
	}
	e.mu.Lock()
	r := e.clients[key]
	e.mu.Unlock()
	if res.From() == nil || res.To() == nil || res.CallID() == nil {
		e.drops.Add(DropInvalid)
		if r != nil && res.StatusCode >= 200 {
			r.receiveRefuse(key) // final all the same: nothing will follow it
		}
		return
	}
	if r == nil {
		e.drops.Add(DropStrayResponse)
		return
	}
	e.tp.Prove(flow)
	r.receiveResponse(key, res, flow)
}

func (e *Endpoint) arriveRequest(req *sip.Request, flow transport.Flow) {
	if f := checkForm(req); f != nil {
		if req.Method == sip.ACK || req.Via() == nil {
			e.drops.Add(DropInvalid)
			return
		}
		e.refuse(req, flow, f)
		return
	}
	key, err := transaction.ServerKey(req)
	if err != nil {
		e.drops.Add(DropInvalid)
		return
	}
	if s := e.serverOf(key); s != nil {
		s.receiveRepeated(req, key)
		return
	}
	if f := validate(req); f != nil {
		if req.Method == sip.ACK {
			e.drops.Add(DropInvalid)
			return
		}
		e.refuse(req, flow, f)
		return
	}
	e.tp.Prove(flow)
	switch {
	case req.Method == sip.CANCEL:
		e.arriveCancel(req, key, flow)
	case !isNew(req):
		e.inDialog(req, key, flow)
	case req.Method == sip.INVITE:
		e.newSession(req, key, flow)
	case req.Method == sip.OPTIONS:
		e.reply(req, flow, optionsResponse(req, &e.env))
	case req.Method == sip.ACK:
		e.drops.Add(DropAckUnmatched)
	default: // of a dialog, without its tag
		e.refuse(req, flow, &Failure{Code: 481, Local: true})
	}
}

func (e *Endpoint) serverOf(key string) *Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.servers[key]
}

// isNew says whether a request wants to begin a dialog or stands outside one.
func isNew(req *sip.Request) bool { return tagOf(req.To().Params) == "" }

// arriveCancel serves a CANCEL: of the INVITE that has its branch (RFC 3261 9.2).
func (e *Endpoint) arriveCancel(req *sip.Request, key string, flow transport.Flow) {
	inviteKey, err := transaction.CancelKey(req)
	if err != nil {
		e.drops.Add(DropInvalid)
		return
	}
	s := e.serverOf(inviteKey)
	if s == nil {
		e.refuse(req, flow, &Failure{Code: 481, Local: true})
		return
	}
	s.receiveCancel(req, inviteKey, key, flow)
}

// mergeKeyOf is what a request shares with its copies by other paths.
func mergeKeyOf(req *sip.Request) string {
	return fmt.Sprintf("%s\x00%s\x00%d", req.CallID().Value(), tagOf(req.From().Params), req.CSeq().SeqNo)
}

func (e *Endpoint) inDialog(req *sip.Request, key string, flow transport.Flow) {
	tag := tagOf(req.To().Params)
	e.mu.Lock()
	s := e.sessions[dialogKey(req.CallID().Value(), tag)]
	e.mu.Unlock()
	if s != nil && s.knows(req) {
		s.receiveRequest(req, key, flow)
		return
	}
	switch {
	case req.Method == sip.ACK:
		if tag != e.tagFor(req) { // of a refusal that nothing was kept of
			e.drops.Add(DropAckUnmatched)
		}
	default: // OPTIONS too: peers ask by it whether their call still stands
		e.refuse(req, flow, &Failure{Code: 481, Local: true})
	}
}

// newSession makes the session of a fresh INVITE and hands it to the owner.
func (e *Endpoint) newSession(req *sip.Request, key string, flow transport.Flow) {
	mergeKey := mergeKeyOf(req)
	e.mu.Lock()
	_, merged := e.invites[mergeKey]
	e.mu.Unlock()
	if merged { // RFC 3261 8.2.2.2; the attempt is on record already
		e.reply(req, flow, e.failureResponse(req, &Failure{Code: 482, Local: true}))
		return
	}
	if f := e.refusedBefore(key, flow); f != nil {
		e.reply(req, flow, e.failureResponse(req, f))
		return
	}
	if e.cfg.Admit != nil {
		if f := e.cfg.Admit(); f != nil {
			e.refuse(req, flow, f)
			return
		}
	}
	tagged := req.Clone()
	tagged.To().Params.Add("tag", newTag())
	d, err := newServerDialog(tagged, tagOf(tagged.To().Params))
	if err != nil {
		e.refuse(req, flow, &Failure{Code: 400, Warning: err.Error(), Local: true})
		return
	}
	if !e.use(flow) {
		return // the caller is gone
	}
	s := e.open(d, nil)
	if f := s.u.refresh.tooBrief(req); f != nil {
		e.refuse(req, flow, f)
		return
	}
	e.mu.Lock()
	e.sessions[s.key] = s
	e.invites[mergeKey] = s
	e.mu.Unlock()
	s.step(func(u *usage) { u.receiveInvite(u.now, req, tagged, key, flow) })
	e.cfg.Invite(s)
}

// refuse answers a request with a failure that nothing is kept of (RFC 3261
// 8.2.7), and reports the attempt when it is the INVITE of a new call.
func (e *Endpoint) refuse(req *sip.Request, flow transport.Flow, f *Failure) {
	e.reply(req, flow, e.failureResponse(req, f))
	if req.Method != sip.INVITE || e.cfg.Refused == nil || req.From() == nil || req.To() == nil || req.CallID() == nil || !isNew(req) {
		return
	}
	if key, err := transaction.ServerKey(req); err == nil && flow.Network == "udp" {
		e.mu.Lock()
		known := e.refusals.note(key, f, time.Now())
		e.mu.Unlock()
		if known {
			return // the same INVITE again, because our answer was lost
		}
	}
	e.cfg.Refused(Attempt{Parties: PartiesOf(req), CallID: req.CallID().Value()}, f)
}

// refusedBefore is the failure that an INVITE over udp has had already: its
// copies get the same (RFC 3261 8.2.7), whatever has changed since.
func (e *Endpoint) refusedBefore(key string, flow transport.Flow) *Failure {
	if flow.Network != "udp" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refusals.of[key].failure(time.Now())
}

// reply sends a response that nothing is kept of. Its To tag is the same each
// time it is asked for (RFC 3261 8.2.7).
func (e *Endpoint) reply(req *sip.Request, flow transport.Flow, res *sip.Response) {
	if to := res.To(); to != nil && req.To() != nil && isNew(req) {
		to.Params.Remove("tag")
		to.Params.Add("tag", e.tagFor(req))
	}
	e.sendResponse(transport.Reply(req, flow), res)
}

// tagFor is the tag of responses without a session: unguessable, and the same
// for the same Call-ID, caller and transaction, its ACK included.
func (e *Endpoint) tagFor(req *sip.Request) string {
	mac := hmac.New(sha256.New, e.secret[:])
	if h := req.CallID(); h != nil {
		mac.Write([]byte(h.Value()))
	}
	if h := req.From(); h != nil {
		mac.Write([]byte("\x00" + tagOf(h.Params)))
	}
	if h := req.CSeq(); h != nil {
		fmt.Fprintf(mac, "\x00%d", h.SeqNo)
	}
	return hex.EncodeToString(mac.Sum(nil)[:12])
}

func (e *Endpoint) failureResponse(req *sip.Request, f *Failure) *sip.Response {
	return failureResponse(req, f, e.Host(), e.cfg.UserAgent)
}

func failureResponse(req *sip.Request, f *Failure, host, userAgent string) *sip.Response {
	res := sip.NewResponseFromRequest(req, f.Code, f.PhraseText(), nil)
	res.SipVersion = "SIP/2.0" // whatever version was asked for (RFC 3261 8.2.6, 21.5.7)
	appendHeaders(res, f.Headers)
	if f.Warning != "" {
		res.AppendHeader(sip.NewHeader("Warning", warningValue(host, f.Warning)))
	}
	if f.Reason != "" {
		res.AppendHeader(sip.NewHeader("Reason", f.Reason))
	}
	res.AppendHeader(sip.NewHeader("Server", userAgent))
	return res
}

func optionsResponse(req *sip.Request, env *environment) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(sip.NewHeader("Allow", allowValue))
	res.AppendHeader(sip.NewHeader("Supported", env.supported()))
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	res.AppendHeader(sip.NewHeader("Accept-Encoding", "identity"))
	res.AppendHeader(sip.NewHeader("Server", env.userAgent))
	return res
}

// supported are the option tags that we have, the value of Supported.
func (env *environment) supported() string {
	if env.reliable {
		return "100rel, timer"
	}
	return "timer"
}

// recent remembers the last recentSize INVITEs that were refused.
type recent struct {
	ring [recentSize]string
	next int
	of   map[string]refused
}

// refused is a failure and when it was sent. It counts for 64*T1, as long as
// copies of its INVITE may come.
type refused struct {
	f  *Failure
	at time.Time
}

func (r refused) failure(now time.Time) *Failure {
	if now.Sub(r.at) > ackTimeout {
		return nil
	}
	return r.f
}

const recentSize = 1024

// note remembers a refusal; known says that it was one already.
func (r *recent) note(key string, f *Failure, now time.Time) (known bool) {
	if r.of == nil {
		r.of = make(map[string]refused, recentSize)
	}
	if r.of[key].failure(now) != nil {
		return true
	}
	delete(r.of, r.ring[r.next])
	r.ring[r.next] = key
	r.of[key] = refused{f, now}
	r.next = (r.next + 1) % recentSize
	return false
}
