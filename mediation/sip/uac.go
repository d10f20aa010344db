package sip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"
)

// cancelTimeout is how long a cancelled INVITE may stay without a final
// response before the caller gives it up: 64*T1 (RFC 3261 9.1).
const cancelTimeout = 64 * timerT1

// Invite starts a call: it sends req, an INVITE made by NewInvite, and
// reports to post what becomes of it. It returns before anything is sent; a
// transport that cannot be reached shows as Failed.
func (e *Endpoint) Invite(req *sip.Request, network, destination string, sdp []byte, post func(Event) bool) *Session {
	req.AppendHeader(e.contact(network))
	req.AppendHeader(sip.NewHeader("Allow", allowValue))
	if sdp != nil {
		contentType := sip.ContentTypeHeader("application/sdp")
		req.AppendHeader(&contentType)
		req.SetBody(sdp)
	}
	e.prepare(req, network, destination)
	d := newClientDialog(req)
	s := &Session{ep: e, d: d, key: d.key(), network: network, invite: req, owner: post, settled: make(chan struct{})}
	e.add(s)
	if !e.spawn(s.run) {
		s.failed(net.ErrClosed)
	}
	return s
}

// NewInvite is the INVITE of a fresh dialog: a new Call-ID, our own From tag.
// The URIs are cloned; from and to keep their display names. hops is its
// Max-Forwards: what the INVITE it continues had left, so that two servers
// that send a call to each other stop (RFC 3261 16.3).
func (e *Endpoint) NewInvite(target sip.Uri, from sip.FromHeader, to sip.ToHeader, hops uint32, extra ...Header) *sip.Request {
	req := sip.NewRequest(sip.INVITE, target)
	from.Params = sip.NewParams()
	from.Params.Add("tag", newTag())
	to.Params = nil
	maxForwards := sip.MaxForwardsHeader(hops)
	callID := sip.CallIDHeader(newTag() + "@" + e.Host())
	for _, h := range []sip.Header{
		&maxForwards, cloneFrom(&from), cloneTo(&to), &callID, &sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE},
	} {
		req.AppendHeader(h)
	}
	for _, h := range extra {
		req.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	return req
}

// HopsLeft is the Max-Forwards of an INVITE that continues this one.
func (s *Session) HopsLeft() uint32 {
	if h := s.invite.MaxForwards(); h != nil && h.Val() > 0 {
		return min(h.Val()-1, maxForwardsInitial)
	}
	return maxForwardsInitial
}

// run sends the INVITE and follows its transaction to the end.
func (s *Session) run() {
	if err := checkSize(s.invite); err != nil {
		s.ep.cfg.Log.Error("INVITE not sent", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
		s.failed(err)
		return
	}
	ctx, cancel := context.WithTimeout(s.ep.ctx, connectTimeout)
	s.mu.Lock()
	s.stopDial = cancel
	if s.wantCancel {
		cancel()
	}
	s.mu.Unlock()
	tx, err := s.ep.tx.NewClientTransaction(ctx, s.invite)
	cancel()
	if err != nil {
		s.failed(err)
		return
	}
	s.mu.Lock()
	s.ctx = tx
	over := s.state == Terminated || s.wantCancel
	s.mu.Unlock()
	if over { // given up while the connection was being made: nothing was sent
		tx.Terminate()
		s.failed(sip.ErrTransactionCanceled)
		return
	}
	tx.OnRetransmission(func(res *sip.Response) { s.ep.spawn(func() { s.again(res) }) })
	if err := tx.Init(); err != nil {
		tx.Terminate()
		s.failed(err)
		return
	}
	for {
		select {
		case res := <-tx.Responses():
			s.response(res)
		case <-tx.Done():
			s.failed(tx.Err())
			return
		}
	}
}

func (s *Session) response(res *sip.Response) {
	if res.From() == nil || res.To() == nil || res.CallID() == nil || res.StatusCode < 100 || res.StatusCode > 699 {
		s.ep.drops.Add(DropInvalid)
		return
	}
	switch {
	case res.StatusCode <= 100:
		s.mu.Lock()
		s.provisional = true
		cancel := s.wantCancel && !s.cancelled
		s.mu.Unlock()
		if cancel {
			s.sendCancel()
		}
	case res.IsProvisional():
		s.progress(res)
	case res.IsSuccess():
		s.answered(res)
	default:
		s.mu.Lock()
		over := s.state != Early
		s.endLocked()
		s.mu.Unlock()
		if !over {
			s.tell(Event{Kind: Failed, Session: s, Reason: headerValue(res, "Reason"), Failure: carried(res)})
		}
		s.ep.remove(s)
	}
}

// carried is a peer's failure as it may be shown to the other side.
func carried(res *sip.Response) *Failure {
	f := &Failure{Code: res.StatusCode, Phrase: phraseIn(res), Reason: headerValue(res, "Reason")}
	if v := headerValue(res, "Retry-After"); v != "" {
		f.Headers = append(f.Headers, Header{"Retry-After", v})
	}
	return f
}

// phraseIn is a response's reason phrase, "" when it is unfit to be carried on.
func phraseIn(res *sip.Response) string {
	if hasControl(res.Reason) {
		return ""
	}
	return res.Reason
}

func (s *Session) progress(res *sip.Response) {
	s.mu.Lock()
	if s.state != Early {
		s.mu.Unlock()
		return
	}
	s.provisional = true
	if tag, ok := res.To().Params.Get("tag"); ok && tag != "" {
		s.d.establish(res) // the latest early dialog; the 2xx decides
	}
	cancel := s.wantCancel && !s.cancelled
	s.mu.Unlock()
	if cancel {
		s.sendCancel()
	}
	s.post(Event{Kind: Progress, Session: s, Code: res.StatusCode, Phrase: phraseIn(res), SDP: sdpBody(res)})
}

func (s *Session) answered(res *sip.Response) {
	s.mu.Lock()
	if s.state != Early {
		s.mu.Unlock()
		s.again(res)
		return
	}
	s.d.establish(res)
	s.pinned = res.Source()
	s.state = Accepted
	s.mu.Unlock()
	if !s.tell(Event{Kind: Answered, Session: s, Code: res.StatusCode, Phrase: phraseIn(res), SDP: sdpBody(res)}) {
		s.Ack(nil) // nobody is left to do it
		s.Bye("")
	}
}

// again takes a 2xx after the first: the same one once more is acknowledged
// again, another fork's is acknowledged and ended (RFC 3261 13.2.2.4).
func (s *Session) again(res *sip.Response) {
	if res.To() == nil {
		return
	}
	tag, _ := res.To().Params.Get("tag")
	s.mu.Lock()
	same := tag == s.d.remoteTag
	ack := s.ack
	s.mu.Unlock()
	if same {
		if ack != nil {
			s.write(ack)
		}
		return
	}
	fork := newClientDialog(s.invite)
	fork.establish(res)
	destination := s.ep.route(fork, s.network, res.Source())
	for _, method := range []sip.RequestMethod{sip.ACK, sip.BYE} {
		req := fork.request(method, s.invite.CSeq().SeqNo)
		s.ep.prepare(req, s.network, destination)
		if method == sip.ACK {
			s.write(req)
		} else {
			s.ep.request(req, func(*sip.Response, error) {})
		}
	}
}

// write sends a request that has no transaction: ACK to a 2xx. A connection
// that has to be made first is made on another goroutine.
func (s *Session) write(req *sip.Request) {
	addr := req.Destination()
	_, err := netip.ParseAddrPort(addr)
	if s.network == "udp" {
		addr = req.Laddr.String() // the listening socket
	}
	if err == nil { // a name is looked up first
		if conn, err := s.ep.tp.GetConnection(s.network, addr); err == nil {
			s.writeOn(conn, req)
			return
		}
	}
	s.ep.spawn(func() {
		ctx, cancel := context.WithTimeout(s.ep.ctx, connectTimeout)
		defer cancel()
		conn, err := s.ep.tp.ClientRequestConnection(ctx, req)
		if err != nil {
			s.notSent(err)
			return
		}
		s.writeOn(conn, req)
	})
}

func (s *Session) writeOn(conn sip.Connection, req *sip.Request) {
	if err := conn.WriteMsg(req); err != nil {
		s.notSent(err)
	}
	_, _ = conn.TryClose() // gives back the reference that finding it took
}

func (s *Session) notSent(err error) {
	s.ep.cfg.Log.Debug("ACK not sent", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
}

// Ack acknowledges the 2xx.
func (s *Session) Ack(sdp []byte) {
	s.mu.Lock()
	if s.state != Accepted {
		s.mu.Unlock()
		return
	}
	s.state = Established
	s.ack = s.requestLocked(sip.ACK, s.invite.CSeq().SeqNo)
	ack := s.ack
	s.mu.Unlock()
	s.write(ack)
}

// Cancel gives the INVITE up: CANCEL goes out as soon as a provisional
// response has been received (RFC 3261 9.1). Failed follows, or Answered when
// the 2xx was faster: the owner then acknowledges it and says Bye.
func (s *Session) Cancel(reason string, extra ...Header) {
	s.mu.Lock()
	if s.state != Early || s.wantCancel {
		s.mu.Unlock()
		return
	}
	s.wantCancel, s.cancelWhy = true, reason
	send := s.provisional
	if s.ctx == nil && s.stopDial != nil {
		s.stopDial()
	}
	s.mu.Unlock()
	if send {
		s.sendCancel()
	}
}

func (s *Session) sendCancel() {
	s.mu.Lock()
	if s.cancelled || s.state != Early {
		s.mu.Unlock()
		return
	}
	s.cancelled = true
	why := s.cancelWhy
	s.mu.Unlock()
	req := cancelOf(s.invite)
	if why != "" {
		req.AppendHeader(sip.NewHeader("Reason", why))
	}
	s.ep.request(req, func(_ *sip.Response, err error) {
		if err != nil {
			s.ep.cfg.Log.Debug("CANCEL not answered", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
		}
	})
	timer := time.AfterFunc(cancelTimeout, s.ctx.Terminate)
	s.ctx.OnTerminate(func(string, error) { timer.Stop() })
}

// cancelOf is the CANCEL of an INVITE: everything that identifies it, and the
// same way out (RFC 3261 9.1).
func cancelOf(invite *sip.Request) *sip.Request {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	sip.CopyHeaders("Route", invite, req)
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(cloneFrom(invite.From()))
	req.AppendHeader(cloneTo(invite.To()))
	sip.CopyHeaders("Call-ID", invite, req)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.SetBody(nil)
	req.SetTransport(invite.Transport())
	req.SetDestination(invite.Destination())
	req.Laddr = invite.Laddr
	return req
}

// failed reports an INVITE that ended without a final response from the peer
// (RFC 3261 8.1.3.1). After an answer it says nothing.
func (s *Session) failed(err error) {
	s.mu.Lock()
	early := s.state == Early
	if early {
		s.endLocked()
	}
	cancelled := s.wantCancel
	s.mu.Unlock()
	if !early {
		return
	}
	f := &Failure{Code: 503, Local: true, Warning: "the next hop cannot be reached"}
	switch {
	case cancelled:
		f = &Failure{Code: 487, Local: true}
	case errors.Is(err, sip.ErrTransactionTimeout):
		f = &Failure{Code: 408, Local: true, Warning: "the next hop did not answer in time"}
	}
	s.ep.cfg.Log.Debug("INVITE failed", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
	s.tell(Event{Kind: Failed, Session: s, Failure: f})
	s.ep.remove(s)
}
