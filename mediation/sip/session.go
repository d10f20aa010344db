package sip

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transport"
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
	// when the peer asked for an offer, to one made in a reliable provisional
	// response, or to a refresh of the session.
	OfferAnswered
	// OfferRefused: Reoffer failed; the session stays as it was (RFC 3261 14.1).
	OfferRefused
	// OfferAgain: Reoffer was in the way of something, or met a request of the
	// peer that crossed it (491), and may be said now, with what is wanted now.
	OfferAgain
	// Info: the peer sent INFO with digits; it has been answered.
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

	message sip.Message // that it came with, nil when none did
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

var stateNames = [...]string{"early", "accepted", "established", "terminated"}

func (s State) String() string { return stateNames[s] }

// ErrSessionOver: the session has ended, or is not in a state to do it.
var ErrSessionOver = errors.New("the session is over")

// ErrPending: an offer is under way in one direction or the other.
var ErrPending = errors.New("an offer is under way")

// Session is one INVITE session as its owner sees it: a usage with the lock,
// the timer and the wire. Its methods may be called from any goroutine; what
// happens is delivered by the function given to Own or Invite, which must not
// block and must not call the Session.
type Session struct {
	ep     *Endpoint
	key    string
	callID string

	mu    sync.Mutex // guards the following
	u     *usage
	owner func(Event) bool // false when the owner has ended; nil before Own
	early []Event          // what happened before there was an owner
	timer *time.Timer
	// sending are the requests that wait for their connection, in order; one
	// goroutine sees to them while busy is true.
	sending []output
	busy    bool
	gone    bool // removed from the endpoint
}

// CallID is the Call-ID on this side.
func (s *Session) CallID() string { return s.callID }

// Invite is the INVITE as received or as first sent. It must not be changed.
func (s *Session) Invite() *sip.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.u.invite
}

// SDP is the received INVITE's body, nil when it has none.
func (s *Session) SDP() []byte { return sdpOf(s.Invite()) }

// HopsLeft is the Max-Forwards of an INVITE that continues this one.
func (s *Session) HopsLeft() uint32 {
	if h := s.Invite().MaxForwards(); h != nil && h.Val() > 0 {
		return min(h.Val()-1, maxForwardsInitial)
	}
	return maxForwardsInitial
}

// Own makes post the way to the session's owner (server role). What happened
// before, a CANCEL say, is delivered at once.
func (s *Session) Own(post func(Event) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = post
	early := s.early
	s.early = nil
	for _, ev := range early {
		post(ev)
	}
}

// Provisional sends a 101-199 response, with a body when sdp is not nil:
// reliably when the caller requires it, or can and there is a body (RFC 3262).
func (s *Session) Provisional(code int, phrase string, sdp []byte, extra ...Header) {
	s.step(func(u *usage) { u.provisional(code, phrase, sdp, extra) })
}

// Accept answers the call with 200 and sdp, and sends the 200 again until its
// ACK comes, at T1 doubling to T2 on every transport (RFC 3261 13.3.1.4). It
// fails with ErrSessionOver when the caller is gone, by CANCEL or otherwise.
// sdp is the answer, or our offer when the INVITE had none.
func (s *Session) Accept(sdp []byte, extra ...Header) error {
	return s.ask(func(u *usage) error { return u.accept(sdp, extra) })
}

// Reject ends an unanswered session with a final response that is not a success.
func (s *Session) Reject(f *Failure) { s.step(func(u *usage) { u.reject(f) }) }

// Ack acknowledges the 2xx (client role).
func (s *Session) Ack(sdp []byte) { s.step(func(u *usage) { u.ackAnswer(sdp) }) }

// Cancel gives the INVITE up: CANCEL goes out as soon as a provisional response
// has been received (RFC 3261 9.1). Failed follows, or Answered when the 2xx
// was faster: the owner then acknowledges it and says Bye.
func (s *Session) Cancel(reason string, extra ...Header) {
	s.step(func(u *usage) {
		u.cancel(reason, extra)
		if u.calling.wantCancel && u.unsent() {
			u.clientFailed(u.calling.tx, &Failure{Code: 487, Local: true})
			u.sweep()
		}
	})
}

// Reoffer changes the session: an offer by re-INVITE. OfferAnswered or
// OfferRefused follows, OfferAgain after glare, or Ended. It fails with
// ErrPending while an offer cannot be made, and OfferAgain follows when it can,
// and with ErrSessionOver.
func (s *Session) Reoffer(sdp []byte) error {
	return s.ask(func(u *usage) error { return u.reoffer(sdp) })
}

// AnswerOffer answers Offered: with the answer, or with our offer when the peer
// asked for one.
func (s *Session) AnswerOffer(sdp []byte) error {
	return s.ask(func(u *usage) error { return u.answerOffer(sdp) })
}

// RefuseOffer refuses Offered; the session stays as it was (RFC 3261 14.2).
func (s *Session) RefuseOffer(f *Failure) { s.step(func(u *usage) { u.refuseOffer(f) }) }

// Info sends INFO in the dialog.
func (s *Session) Info(contentType string, body []byte) {
	s.step(func(u *usage) { u.info(contentType, body) })
}

// Bye ends an answered session. reason is a Reason header value, or "". The
// owner is done with the session when Bye returns: what is still to be said
// on the wire is said without it.
func (s *Session) Bye(reason string, extra ...Header) {
	s.step(func(u *usage) { u.bye(reason, extra) })
}

// ask is step for an order that may fail.
func (s *Session) ask(order func(*usage) error) (err error) {
	s.step(func(u *usage) { err = order(u) })
	return err
}

// step does one thing to the usage and carries its outputs out.
func (s *Session) step(do func(*usage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.guard()
	s.u.begin(time.Now())
	do(s.u)
	s.carryOut()
}

// guard keeps a panic in one session from ending more than that session.
func (s *Session) guard() {
	p := recover()
	if p == nil {
		return
	}
	s.ep.panicked(p, debug.Stack())
	defer s.guard()
	f := &Failure{Code: 500, Local: true}
	s.u.end()
	s.u.out = nil
	kind := Ended
	if !s.u.answers && s.u.calling.ack == nil {
		kind = Failed
	}
	s.deliver(Event{Kind: kind, Failure: f, Reason: reasonSIP(500, "internal error")})
	s.forget()
}

// carryOut sends and tells what the last step left to be done, and sets the
// timer for the next. mu is held.
func (s *Session) carryOut() {
	for out := s.u.take(); len(out) > 0; out = s.u.take() {
		for _, o := range out {
			switch {
			case o.event != nil:
				s.deliver(*o.event)
			case o.response != nil:
				s.ep.sendResponse(o.flow, o.response)
			case o.again != nil:
				s.write(o.again.flow, o.again.req)
			default:
				s.sending = append(s.sending, o)
			}
		}
		s.sendAll()
	}
	s.arm()
	if s.u.finished() && len(s.sending) == 0 && !s.busy {
		s.forget()
	} else if s.u.over() {
		s.ep.ended(s)
	}
}

// arm sets the timer to what is due next.
func (s *Session) arm() {
	next := s.u.next()
	switch {
	case next.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
	case s.timer == nil:
		s.timer = time.AfterFunc(time.Until(next), s.wake)
	default:
		s.timer.Reset(time.Until(next))
	}
}

// wake runs on the timer's goroutine, which Close of the Endpoint waits for.
func (s *Session) wake() {
	if !s.ep.work.enter() {
		return
	}
	defer s.ep.work.leave()
	s.step(func(u *usage) { u.tick(u.now) })
}

// deliver hands an event to the owner; mu is held, the owner does not block.
func (s *Session) deliver(ev Event) {
	ev.Session = s
	if s.owner == nil {
		s.early = append(s.early, ev)
		return
	}
	if !s.owner(ev) && ev.Kind == Answered { // nobody is left to do it
		s.u.ackAnswer(nil)
		s.u.bye("", nil)
	}
}

// sendAll sends the requests that wait, as far as their connections are there.
// For one that has to be made, a goroutine takes over.
func (s *Session) sendAll() {
	for !s.busy && len(s.sending) > 0 {
		o := s.sending[0]
		flow, ok := s.ep.find(networkOf(o), wayOf(o))
		if !ok {
			s.busy = true
			if !s.ep.work.run(s.connect) {
				s.busy = false
				s.sending = s.sending[1:]
				s.notSent(o, transport.ErrClosed)
				continue
			}
			return
		}
		s.sending = s.sending[1:]
		s.sendOn(flow, o)
	}
}

// connect makes the connection that the first waiting request needs, and sends
// on. Every request has its own time for that.
func (s *Session) connect() {
	for {
		s.mu.Lock()
		if len(s.sending) == 0 {
			s.busy = false
			s.carryOut()
			s.mu.Unlock()
			return
		}
		o := s.sending[0]
		s.mu.Unlock()
		flow, err := s.ep.dial(networkOf(o), wayOf(o))
		s.mu.Lock()
		func() {
			defer s.guard()
			s.sending = s.sending[1:]
			s.u.begin(time.Now())
			if err != nil {
				s.ep.cfg.Log.Debug("no connection for a request", "call_id", s.callID, "err", err)
				s.notSent(o, err)
			} else {
				s.sendOn(flow, o)
			}
			s.carryOut()
		}()
		s.mu.Unlock()
	}
}

func (s *Session) sendOn(flow transport.Flow, o output) {
	if o.first != nil {
		if o.first.final {
			return // given up while its connection was being made
		}
		o.first.flow = flow
		if !s.write(flow, o.first.req) {
			s.notSent(o, transport.ErrGone)
		}
		return
	}
	s.write(flow, o.ack.req)
}

// notSent tells the usage of a request that no connection could be had for.
func (s *Session) notSent(o output, err error) {
	if s.byDatagram(&o) {
		s.sending = append([]output{o}, s.sending...)
		return
	}
	if o.first == nil || o.first.final {
		return
	}
	f := &Failure{Code: 503, Local: true, Warning: "the next hop cannot be reached", own: errors.Is(err, transport.ErrTooMany)}
	if errors.Is(err, errTooLong) {
		f = &Failure{Code: 513, Local: true, Warning: errTooLong.Error()}
	}
	s.u.failed(time.Now(), o.first, f)
}

// byDatagram turns a request that went over TCP because its hop asks for that,
// and takes no connection, into one by udp like its dialog; false when there is
// nothing to turn.
func (s *Session) byDatagram(o *output) bool {
	if !wayOf(*o).asksForTCP() || wayOf(*o).flow.Network != "udp" || networkOf(*o) != "tcp" {
		return false
	}
	if o.first != nil {
		if o.first.final || len(o.first.req.String()) > maxDatagram {
			return false
		}
		o.first.network, o.first.way.datagrams = "udp", true
		o.first.req.Via().Transport = "UDP"
		return true
	}
	o.ack.network, o.ack.way.datagrams = "udp", true
	o.ack.req.Via().Transport = "UDP"
	return true
}

func (s *Session) write(flow transport.Flow, msg sip.Message) bool {
	if err := s.ep.tp.Send(flow, []byte(msg.String())); err != nil {
		s.ep.cfg.Log.Debug("message not sent", "call_id", s.callID, "err", err)
		return false
	}
	return true
}

func networkOf(o output) string {
	if o.first != nil {
		return o.first.network
	}
	return o.ack.network
}

func wayOf(o output) way {
	if o.first != nil {
		return o.first.way
	}
	return o.ack.way
}

// forget takes the session out of the endpoint's tables.
func (s *Session) forget() {
	if s.gone {
		return
	}
	s.gone = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ep.forget(s)
}

// The following come from the endpoint's goroutines.

func (s *Session) receiveResponse(key string, res *sip.Response, flow transport.Flow) {
	s.step(func(u *usage) { u.response(u.now, key, res, flow) })
}

func (s *Session) receiveRefuse(key string) { s.step(func(u *usage) { u.unreadable(key) }) }

func (s *Session) receiveRequest(req *sip.Request, key string, flow transport.Flow) {
	s.step(func(u *usage) { u.receive(u.now, req, key, flow) })
}

func (s *Session) receiveRepeated(req *sip.Request, key string) {
	s.step(func(u *usage) { u.repeated(u.now, req, key) })
}

func (s *Session) receiveCancel(req *sip.Request, inviteKey, key string, flow transport.Flow) {
	s.step(func(u *usage) { u.receiveCancel(u.now, req, inviteKey, key, flow) })
}

// cutOff ends what hangs in the air when the endpoint closes.
func (s *Session) cutOff() { s.step(func(u *usage) { u.cutOff() }) }

func (s *Session) flowLost(flow transport.Flow) { s.step(func(u *usage) { u.lost(u.now, flow) }) }

// knows says whether a request of the peer's belongs to a dialog of the session.
func (s *Session) knows(req *sip.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return req.Method == sip.ACK && s.u.d.remoteTag == tagOf(req.From().Params) || s.u.dialogOf(req) != nil
}

// reasonSIP is a Reason header value of protocol SIP (RFC 3326 2).
func reasonSIP(code int, text string) string {
	return fmt.Sprintf("SIP;cause=%d;text=%q", code, text)
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

// sdpBody is the body of a response when it is SDP.
func sdpBody(res *sip.Response) []byte { return sdpOf(res) }

// sdpOf is the body of a message when it is SDP; nil when there is none.
func sdpOf(msg sip.Message) []byte {
	if len(msg.Body()) == 0 {
		return nil
	}
	if kind := mediaType(msg); kind != "" && kind != "application/sdp" {
		return nil
	}
	return msg.Body()
}

// mediaType is the type of a message's body, in lower case.
func mediaType(msg sip.Message) string {
	kind, _, _ := strings.Cut(headerValue(msg, "Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}
