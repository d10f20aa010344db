package sip

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// EventKind says what happened to a session.
type EventKind uint8

// What a session tells its owner.
const (
	// Progress: a provisional response above 100 to our INVITE.
	Progress EventKind = iota
	// Answered: the first 2xx to our INVITE. Its ACK has not been sent.
	Answered
	// Failed: our INVITE ended without a 2xx; Failure says how.
	Failed
	// Cancelled: the caller gave up before an answer; 487 has been sent.
	Cancelled
	// Confirmed: the ACK to our 2xx came.
	Confirmed
	// Unconfirmed: no ACK within 64*T1 (RFC 3261 13.3.1.4).
	Unconfirmed
	// Ended: the peer sent BYE; 200 has been sent. Or the dialog is lost: Failure
	// says how (a request in it met 481 or 408, RFC 5057; the session expired,
	// RFC 4028 10).
	Ended
	// Offered: the peer wants to change the session, by re-INVITE or UPDATE; SDP
	// is its offer, or nil when it asks for ours. The owner says AnswerOffer or
	// RefuseOffer, once, soon.
	Offered
	// OfferAnswered: the answer to an offer of ours: to Reoffer, to AnswerOffer
	// when the peer asked for an offer, or to one made in a reliable provisional
	// response.
	OfferAnswered
	// OfferRefused: Reoffer failed; the session stays as it was (RFC 3261 14.1).
	OfferRefused
	// OfferAgain: Reoffer met a request of the peer that crossed it (491) and the
	// wait is over: the owner may say Reoffer again, with what is wanted now.
	OfferAgain
	// Info: the peer sent INFO; it has been answered.
	Info
)

var eventNames = [...]string{"progress", "answered", "failed", "cancelled", "confirmed", "unconfirmed", "ended",
	"offered", "offer_answered", "offer_refused", "offer_again", "info"}

func (k EventKind) String() string { return eventNames[k] }

// Event is delivered to the session's owner.
type Event struct {
	Kind    EventKind
	Session *Session
	Code    int    // of the response, with Progress and Answered
	Phrase  string // its reason phrase
	SDP     []byte // body, when it is application/sdp; owned by the receiver
	Reason  string // Reason header, with Failed, Cancelled and Ended
	Failure *Failure

	Fork    string   // the peer's tag, with Progress and Answered: which of several early dialogs
	Carried []Header // headers of the message that may be shown to the other side, see Carry
	Type    string   // media type of Body, with Info
	Body    []byte   // with Info; owned by the receiver
}

// State is where a session stands.
type State uint8

// The states of a session, in either role.
const (
	Early       State = iota // INVITE seen or sent, no final response
	Accepted                 // 2xx sent or received, ACK outstanding
	Established              // ACK seen or sent
	Terminated               // nothing more will be sent but answers to stragglers
)

// Session is one INVITE session: a dialog and the transaction that made it.
// Its owner calls the methods from one goroutine; the transport's goroutines
// come in through receive. What both touch is guarded by mu.
type Session struct {
	ep      *Endpoint
	key     string
	network string       // lower case: udp, tcp, tls
	invite  *sip.Request // as received (server) or as sent (client)

	mergeKey string        // server role: entry in Endpoint.invites
	stx      *sip.ServerTx // server role
	ctx      *sip.ClientTx // client role

	// settled is closed when the owner of a client session has been told how
	// its INVITE ended.
	settled    chan struct{}
	settleOnce sync.Once

	mu      sync.Mutex       // guards the following
	owner   func(Event) bool // false when the owner has ended; nil before Own
	early   []Event          // what happened before there was an owner
	d       *dialog
	state   State
	pinned  string // remote address of the connection in use
	byeSent bool
	// byeWaits: the owner said Bye before the ACK came; it goes out then, or
	// when the ACK is given up (RFC 3261 15).
	byeWaits  bool
	byeReason string
	// server role
	timer     *time.Timer   // 2xx retransmission
	interval  time.Duration // current retransmission interval
	accepted  time.Time     // when the 2xx was first sent
	provision bool          // a response above 100 has been sent
	// client role
	stopDial    context.CancelFunc // gives up the connection being made
	wantCancel  bool               // cancel as soon as a provisional response allows it
	provisional bool               // one has been received
	cancelled   bool               // CANCEL sent
	cancelWhy   string
	ack         *sip.Request // to send again when the 2xx comes again
}

// CallID is the Call-ID on this side.
func (s *Session) CallID() string { return s.d.callID }

// Invite is the INVITE as received or as sent. It must not be changed.
func (s *Session) Invite() *sip.Request { return s.invite }

// SDP is the INVITE's body, nil when it has none.
func (s *Session) SDP() []byte { return s.invite.Body() }

// Own makes post the way to the session's owner (server role). What happened
// before, a CANCEL say, is delivered from another goroutine.
func (s *Session) Own(post func(Event) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = post
	if early := s.early; early != nil {
		s.early = nil
		s.ep.spawn(func() {
			for _, ev := range early {
				post(ev)
			}
		})
	}
}

// post delivers an event to the owner, and waits until it is taken. It returns
// false when the owner has ended.
func (s *Session) post(ev Event) bool {
	s.mu.Lock()
	owner := s.owner
	if owner == nil {
		s.early = append(s.early, ev)
	}
	s.mu.Unlock()
	return owner == nil || owner(ev)
}

// ErrPending: an offer is under way in one direction or the other.
var ErrPending = errors.New("an offer is under way")

// Reoffer changes the session: an offer by UPDATE or re-INVITE. OfferAnswered,
// OfferRefused or OfferAgain follows, or Ended. It fails with ErrPending while
// an offer is under way, and with ErrSessionOver.
func (s *Session) Reoffer(sdp []byte) error { return ErrPending }

// AnswerOffer answers Offered: with the answer, or with our offer when the peer
// asked for one.
func (s *Session) AnswerOffer(sdp []byte) error { return ErrSessionOver }

// RefuseOffer refuses Offered; the session stays as it was (RFC 3261 14.2).
func (s *Session) RefuseOffer(f *Failure) {}

// Info sends INFO in the dialog.
func (s *Session) Info(contentType string, body []byte) {}

// Bye ends an answered session. reason is a Reason header value, or "". The
// owner is done with the session when Bye returns: what is still to be said
// on the wire is said without it.
func (s *Session) Bye(reason string, extra ...Header) {
	s.mu.Lock()
	if s.state == Early || s.state == Terminated || s.byeSent {
		s.mu.Unlock()
		return
	}
	if s.stx != nil && s.state == Accepted {
		s.byeWaits, s.byeReason = true, reason
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.sendBye(reason)
}

func (s *Session) sendBye(reason string) {
	s.mu.Lock()
	if s.state == Terminated || s.byeSent {
		s.mu.Unlock()
		return
	}
	s.byeSent = true
	s.endLocked()
	req := s.requestLocked(sip.BYE, 0)
	s.mu.Unlock()
	if reason != "" {
		req.AppendHeader(sip.NewHeader("Reason", reason))
	}
	s.ep.request(req, func(res *sip.Response, err error) {
		if err != nil {
			s.ep.cfg.Log.Debug("BYE not answered", "side", s.ep.cfg.Side, "call_id", s.d.callID, "err", err)
		}
		s.finish()
	})
}

// requestLocked builds an in-dialog request and its way out.
func (s *Session) requestLocked(method sip.RequestMethod, seq uint32) *sip.Request {
	req := s.d.request(method, seq)
	req.AppendHeader(s.ep.contact(s.network))
	s.ep.prepare(req, s.network, s.ep.route(s.d, s.network, s.pinned))
	return req
}

// tell delivers the event that ends the wait of awaitSettled.
func (s *Session) tell(ev Event) bool {
	taken := s.post(ev)
	s.settleOnce.Do(func() { close(s.settled) })
	return taken
}

// awaitSettled holds a request that overtook the answer to our INVITE: a peer
// may send 200 and BYE in one segment, and the stack serves every message on
// a goroutine of its own.
func (s *Session) awaitSettled() {
	if s.settled == nil {
		return
	}
	timer := time.NewTimer(timerT1)
	defer timer.Stop()
	select {
	case <-s.settled:
	case <-timer.C:
	}
}

// endLocked stops timers and marks the session terminated.
func (s *Session) endLocked() {
	s.state = Terminated
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// finish forgets an answered session and its INVITE transaction, which is
// kept after a 2xx only for retransmissions that no longer matter.
func (s *Session) finish() {
	s.ep.remove(s)
	if s.ctx != nil {
		s.ctx.Terminate()
	}
	if s.stx != nil {
		s.stx.Terminate()
	}
}

// matches checks what the dialog's key leaves open: the peer's tag
// (RFC 3261 12.2.2). In the client role a dialog that no response has
// established yet has none to compare.
func (s *Session) matches(req *sip.Request) bool {
	tag, _ := req.From().Params.Get("tag")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d.remoteTag == tag
}

// receive serves a request inside the dialog.
func (s *Session) receive(req *sip.Request, tx *sip.ServerTx) {
	if req.Method == sip.ACK {
		s.receiveAck(req)
		tx.Terminate()
		return
	}
	s.mu.Lock()
	verdict := s.d.receive(req.CSeq().SeqNo)
	terminated, crossed := s.state == Terminated, s.byeSent
	if req.Source() != "" && verdict == seqNext {
		s.pinned = req.Source()
	}
	s.mu.Unlock()
	switch {
	case verdict == seqStale || (verdict == seqSame && req.Method != sip.CANCEL):
		s.ep.refuse(req, tx, &Failure{Code: 500, Local: true}) // 12.2.2
	case req.Method == sip.BYE && crossed:
		// Both sides hung up at once: each BYE is answered (RFC 3261 15.1.2).
		s.ep.respond(tx, s.ok(req))
	case terminated:
		s.ep.refuse(req, tx, &Failure{Code: 481, Local: true})
	case req.Method == sip.BYE:
		s.receiveBye(req, tx)
	case req.Method == sip.OPTIONS:
		s.ep.respond(tx, s.ep.optionsResponse(req))
	case req.Method == sip.INVITE:
		// The session stays as it is (RFC 3261 14.2).
		s.ep.refuse(req, tx, &Failure{Code: 488, Warning: "the session cannot be modified", Local: true})
	default: // CANCEL of something we do not have
		s.ep.refuse(req, tx, &Failure{Code: 481, Local: true})
	}
}

func (s *Session) receiveBye(req *sip.Request, tx *sip.ServerTx) {
	s.mu.Lock()
	early := s.state == Early
	if early && s.stx == nil {
		// A callee must not send BYE before it has answered (RFC 3261 15): the
		// INVITE is still its to answer.
		s.mu.Unlock()
		s.ep.refuse(req, tx, &Failure{Code: 481, Local: true})
		return
	}
	s.endLocked()
	s.mu.Unlock()
	s.ep.respond(tx, s.ok(req))
	if early {
		// 15.1.2: a pending INVITE is answered 487 when BYE ends the early dialog.
		s.ep.refuse(s.invite, s.stx, &Failure{Code: 487, Local: true})
	}
	s.post(Event{Kind: Ended, Session: s, Reason: headerValue(req, "Reason")})
	if early {
		s.ep.remove(s)
		return
	}
	s.finish()
}

func (s *Session) ok(req *sip.Request) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(sip.NewHeader("Server", s.ep.cfg.UserAgent))
	return res
}

// warningValue is a Warning header (RFC 3261 20.43) with the free code 399.
func warningValue(agent, text string) string {
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return `399 ` + agent + ` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(clean) + `"`
}

// headerValue is a header's value, "" when absent or unfit to be carried on.
func headerValue(msg interface{ GetHeaders(string) []sip.Header }, name string) string {
	hs := msg.GetHeaders(name)
	if len(hs) == 0 || hasControl(hs[0].Value()) {
		return ""
	}
	return hs[0].Value()
}

// sdpBody is the body of a response when it is SDP.
func sdpBody(res *sip.Response) []byte {
	if len(res.Body()) == 0 {
		return nil
	}
	if h := res.ContentType(); h != nil {
		mediaType, _, _ := strings.Cut(h.Value(), ";")
		if !strings.EqualFold(strings.TrimSpace(mediaType), "application/sdp") {
			return nil
		}
	}
	return res.Body()
}
