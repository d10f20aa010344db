package sip

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Timers of RFC 3261 section 17, table 4.
const (
	timerT1 = 500 * time.Millisecond // round trip estimate
	timerT2 = 4 * time.Second        // longest retransmission interval
	// ackTimeout is how long an answered call waits for its ACK: 64*T1 (13.3.1.4).
	ackTimeout = 64 * timerT1
)

// newServerSession is the session of an INVITE received; begin follows.
func newServerSession(e *Endpoint, d *dialog, req *sip.Request, tx *sip.ServerTx) *Session {
	return &Session{
		ep: e, d: d, key: d.key(), invite: req, stx: tx,
		network: sip.NetworkToLower(req.Transport()), pinned: req.Source(),
	}
}

// begin listens for the caller's CANCEL and for the loss of its connection,
// either of which may have come already, and answers 100, so that the caller
// stops retransmitting whatever the other side does.
func (s *Session) begin() {
	open := s.stx.OnTerminate(func(_ string, err error) {
		if errors.Is(err, sip.ErrTransactionTransport) {
			s.ep.spawn(func() { s.cancelled487("") })
		}
	})
	open = s.stx.OnCancel(func(cancel *sip.Request) {
		// The transaction's lock is held here: the owner, who may be sending
		// on it, is told from another goroutine.
		reason := headerValue(cancel, "Reason")
		s.ep.spawn(func() { s.cancelled487(reason) })
	}) && open
	s.ep.spawn(s.drainAcks)
	if !open || s.stx.Respond(sip.NewResponseFromRequest(s.invite, 100, "Trying", nil)) != nil {
		s.ep.spawn(func() { s.cancelled487("") })
	}
	if s.network != "udp" {
		time.AfterFunc(strandedCheck, func() { s.ep.spawn(s.ifStranded) })
	}
}

// strandedCheck is how long after the INVITE its connection is looked for.
const strandedCheck = 100 * time.Millisecond

// ifStranded ends a session whose connection closed at the very moment at
// which its transaction was made: the stack then tells nobody.
func (s *Session) ifStranded() {
	if conn, err := s.ep.tp.GetConnection(s.network, s.invite.Source()); err == nil {
		_, _ = conn.TryClose()
		return
	}
	if s.cancelled487("") {
		s.stx.Terminate() // it has nobody to answer
	}
}

// drainAcks takes ACKs that the transaction matched: those of our failures,
// and of a 2xx when the peer reuses the INVITE's branch against 13.2.2.4.
func (s *Session) drainAcks() {
	for {
		select {
		case ack := <-s.stx.Acks():
			s.receiveAck(ack)
		case <-s.stx.Done():
			return
		}
	}
}

// cancelled487 ends an early session whose caller went away; false when it is
// not early any more.
func (s *Session) cancelled487(reason string) bool {
	s.mu.Lock()
	if s.state != Early {
		s.mu.Unlock()
		return false
	}
	s.endLocked()
	s.mu.Unlock()
	s.post(Event{Kind: Cancelled, Session: s, Reason: reason})
	s.ep.remove(s)
	return true
}

// Provisional sends a 101-199 response, with a body when sdp is not nil.
func (s *Session) Provisional(code int, phrase string, sdp []byte, extra ...Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Early {
		return
	}
	s.provision = true
	res := s.responseLocked(code, phrase, sdp)
	if err := s.stx.Respond(res); err != nil {
		s.ep.cfg.Log.Debug("provisional response not sent", "side", s.ep.cfg.Side, "err", err)
	}
}

// Accept answers the call with 200 and sdp, and sends the 200 again until its
// ACK comes, at T1 doubling to T2 on every transport (RFC 3261 13.3.1.4). It
// fails with ErrSessionOver when the caller is gone, by CANCEL or otherwise.
func (s *Session) Accept(sdp []byte, extra ...Header) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Early {
		return ErrSessionOver
	}
	res := s.responseLocked(200, "OK", sdp)
	s.state = Accepted
	s.accepted = time.Now()
	s.interval = timerT1
	s.timer = time.AfterFunc(s.interval, func() { s.resend(res) })
	if err := s.stx.Respond(res); err != nil {
		s.ep.cfg.Log.Debug("200 not sent", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
		s.endLocked()
		s.ep.remove(s) // the transaction runs on: it may have a 487 to send again
		return ErrSessionOver
	}
	return nil
}

// ErrSessionOver: the session ended before it could be accepted.
var ErrSessionOver = errors.New("the session is over")

func (s *Session) resend(res *sip.Response) {
	s.mu.Lock()
	if s.state != Accepted {
		s.mu.Unlock()
		return
	}
	if time.Since(s.accepted) >= ackTimeout {
		bye, reason := s.byeWaits, s.byeReason
		s.state = Established // given up waiting: BYE may go out (RFC 3261 15)
		s.mu.Unlock()
		s.ep.spawn(func() {
			if bye {
				s.sendBye(reason)
			} else {
				s.post(Event{Kind: Unconfirmed, Session: s})
			}
		})
		return
	}
	s.interval = min(2*s.interval, timerT2)
	s.timer.Reset(s.interval)
	s.mu.Unlock()
	_ = s.stx.Respond(res)
}

// responseLocked is a dialog-making response to the INVITE.
func (s *Session) responseLocked(code int, phrase string, sdp []byte) *sip.Response {
	if phrase == "" {
		phrase = phraseOf(code)
	}
	res := sip.NewResponseFromRequest(s.invite, code, phrase, nil)
	res.AppendHeader(s.ep.contact(s.network))
	res.AppendHeader(sip.NewHeader("Allow", allowValue))
	res.AppendHeader(sip.NewHeader("Server", s.ep.cfg.UserAgent))
	if sdp != nil {
		contentType := sip.ContentTypeHeader("application/sdp")
		res.AppendHeader(&contentType)
		res.SetBody(sdp)
	}
	return res
}

// Reject ends the session with a final response that is not a success.
func (s *Session) Reject(f *Failure) {
	s.mu.Lock()
	if s.state != Early {
		s.mu.Unlock()
		return
	}
	s.endLocked()
	s.mu.Unlock()
	s.ep.refuse(s.invite, s.stx, f)
	s.ep.remove(s)
}

// receiveAck takes the ACK of our 2xx.
func (s *Session) receiveAck(ack *sip.Request) {
	s.mu.Lock()
	if s.stx == nil || ack.CSeq().SeqNo != s.invite.CSeq().SeqNo {
		s.mu.Unlock()
		s.ep.drops.Add(DropStaleAck)
		return
	}
	if s.state != Accepted {
		s.mu.Unlock()
		return // again, or of a failure
	}
	s.state = Established
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	bye, reason := s.byeWaits, s.byeReason
	s.mu.Unlock()
	if s.network != "udp" {
		// Nothing can be retransmitted on a stream: the transaction has done
		// its work (RFC 6026 keeps it only for retransmissions).
		s.stx.Terminate()
	}
	if bye {
		s.sendBye(reason)
		return
	}
	s.post(Event{Kind: Confirmed, Session: s})
}
