package sip

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// The waits of RFC 3261 14.1 after a 491, in units of glareUnit: whoever made
// the Call-ID waits longer.
const (
	glareUnit     = 10 * time.Millisecond
	glareOwnerMin = 2100 * time.Millisecond
	glareOwnerMax = 4000 * time.Millisecond
	glareOtherMax = 2000 * time.Millisecond
)

// retryAfterMax is the longest Retry-After of a request that came too early, in
// seconds (RFC 3261 14.2, RFC 3311 5.2).
const retryAfterMax = 10

// offering is the offer/answer state of the dialog after the first exchange
// (RFC 3264 4, RFC 3311 5, RFC 6337): at most one offer is under way.
type offering struct {
	local []byte    // the description that we sent last: it stands in refreshes
	tx    *client   // an offer or refresh of ours that has no final response yet
	from  *server   // the peer's offer, or wish for ours, that the owner has to answer
	asks  bool      // from has no offer: it asks for ours
	retry time.Time // when an offer may be made again after glare
	wants bool      // the owner wants to offer and could not yet
	ack   *pass     // to send again when the 2xx of a re-INVITE comes again
	tries int       // offers in a row that the peer was not ready for
	early fork      // RSeq of the re-INVITE under way
	given []byte    // the answer to it, when a reliable response brought it already
}

func (o *offering) next() time.Time { return o.retry }

func (o *offering) stop() { o.tx, o.from, o.retry, o.wants = nil, nil, time.Time{}, false }

// withdraw forgets the peer's offer, which it took back by CANCEL.
func (o *offering) withdraw(s *server) {
	if o.from == s {
		o.from = nil
	}
}

// maxUnacked bounds the 2xx that wait for their ACKs.
const maxUnacked = 8

// mayOffer says whether an offer of ours may go out now.
func (u *usage) mayOffer() bool {
	return u.state == Established && !u.byeSent && !u.byeWaits && u.offer.tx == nil && u.offer.from == nil &&
		u.offer.retry.IsZero() && len(u.answering.waiting) == 0 && !u.inviteUnderWay()
}

// inviteUnderWay says whether an INVITE of ours has no final response.
func (u *usage) inviteUnderWay() bool {
	return slices.ContainsFunc(u.clients, func(c *client) bool { return c.req.Method == sip.INVITE && !c.final })
}

// ready tells the owner that it may offer, if it wanted to.
func (u *usage) ready() {
	if u.offer.wants && u.mayOffer() {
		u.offer.wants = false
		u.tell(Event{Kind: OfferAgain})
	}
}

// reoffer sends an offer of the owner's as re-INVITE.
func (u *usage) reoffer(sdp []byte) error {
	if u.state == Terminated || u.byeSent || u.byeWaits {
		return ErrSessionOver
	}
	if !u.mayOffer() {
		u.offer.wants = true
		return ErrPending
	}
	u.offer.wants = false
	u.offer.local = sdp
	u.sendOffer(sip.INVITE, sdp, forReoffer)
	return nil
}

func (u *usage) sendOffer(method sip.RequestMethod, sdp []byte, what purpose) {
	req := u.request(u.d, method, 0)
	req.AppendHeader(sip.NewHeader("Allow", allowValue))
	req.AppendHeader(sip.NewHeader("Supported", u.env.supported()))
	u.refresh.ask(req)
	setSDP(req, sdp)
	u.offer.early, u.offer.given = fork{d: u.d}, nil
	u.offer.tx = u.send(u.d, req, what, u.wayOf(u.d), 0)
}

// offerResponse is a response to a re-INVITE or UPDATE of ours.
func (u *usage) offerResponse(c *client, res *sip.Response, flow transport.Flow) {
	if res.IsProvisional() {
		if res.StatusCode > 100 && c.req.Method == sip.INVITE && u.state != Terminated {
			early := &u.offer.early
			if u.acknowledged(early, res, flow) && early.answered && u.offer.given == nil {
				u.offer.given = sdpOf(res)
			}
		}
		return
	}
	if res.IsSuccess() {
		u.offerAccepted(c, res)
		return
	}
	if c != u.offer.tx {
		return
	}
	u.offer.tx = nil
	f := u.carried(res)
	switch {
	case f.Code == 422 && u.refresh.raise(res):
		u.sendOffer(c.req.Method, c.req.Body(), c.what)
	case f.Code == 491 && u.again():
		u.offer.retry = u.now.Add(u.glareWait())
		if c.what == forRefresh {
			u.refresh.due = u.offer.retry
		}
	case f.Code == 481 || f.Code == 408:
		u.lose(f)
	case c.what == forRefresh && c.req.Method == "UPDATE" && (f.Code == 405 || f.Code == 501):
		delete(u.peerAllow, "UPDATE")
		u.refresh.hurry()
		u.ready()
	case f.Code == 500 && headerValue(res, "Retry-After") != "" && u.again():
		u.offer.retry = u.now.Add(max(min(retryAfterOf(res), retryAfterMax*time.Second), refreshPause))
	default:
		u.offer.tries = 0
		if c.what == forReoffer {
			u.tell(Event{Kind: OfferRefused, Failure: f, message: res})
		}
		u.ready()
		return
	}
	if !u.offer.retry.IsZero() && c.what == forReoffer {
		u.offer.wants = true
	}
}

func (u *usage) offerAccepted(c *client, res *sip.Response) {
	u.d.refresh(res.Contact())
	if c.req.Method == sip.INVITE {
		u.offer.ack = u.acknowledge(c, u.d, nil, u.wayOf(u.d))
	}
	if c != u.offer.tx || u.state == Terminated {
		return
	}
	u.offer.tx, u.offer.tries = nil, 0
	u.refresh.accepted(res)
	sdp := u.offer.given // what a 2xx says after that means nothing (RFC 6337 3.1)
	if sdp == nil {
		sdp = sdpBody(res)
	}
	switch {
	case c.req.Method == "UPDATE" && len(c.req.Body()) == 0: // a refresh
	case sdp != nil:
		u.tell(Event{Kind: OfferAnswered, SDP: sdp, message: res})
	case c.what == forReoffer:
		u.tell(Event{Kind: OfferRefused, Failure: &Failure{Code: 488, Local: true, Warning: "2xx without a session description"}})
	}
	u.ready()
}

// offerFailed is an offer or refresh that got no answer at all (RFC 3261
// 12.2.1.2: a dialog in which a request times out is over).
func (u *usage) offerFailed(c *client, f *Failure) {
	if c != u.offer.tx {
		return
	}
	u.offer.tx = nil
	if f.Code == 408 {
		u.lose(f)
		return
	}
	if c.what == forReoffer {
		u.tell(Event{Kind: OfferRefused, Failure: f})
	}
	u.ready()
}

// maxOfferTries bounds how often in a row an offer is made to a peer that is
// not ready for it.
const maxOfferTries = 10

func (u *usage) again() bool {
	u.offer.tries++
	return u.offer.tries < maxOfferTries
}

// glareWait is RFC 3261 14.1.
func (u *usage) glareWait() time.Duration {
	if !u.answers { // the Call-ID is ours
		return glareOwnerMin + u.units(glareOwnerMax-glareOwnerMin)
	}
	return u.units(glareOtherMax)
}

func (u *usage) units(below time.Duration) time.Duration {
	return time.Duration(u.env.random(int64(below/glareUnit)+1)) * glareUnit
}

func (u *usage) tickOffer() {
	if u.offer.retry.IsZero() || u.now.Before(u.offer.retry) {
		return
	}
	u.offer.retry = time.Time{}
	u.ready()
}

// receive serves a request inside the dialog.
func (u *usage) receive(now time.Time, req *sip.Request, key string, flow transport.Flow) {
	u.begin(now)
	defer u.sweep()
	if req.Method == sip.ACK {
		u.receiveAck(req)
		return
	}
	s := u.serve(req, key, flow)
	d := u.dialogOf(req)
	if d == nil {
		u.refuse(s, &Failure{Code: 481, Local: true})
		return
	}
	if d.receive(req.CSeq().SeqNo) != seqNext {
		u.refuse(s, &Failure{Code: 500, Local: true}) // 12.2.2, and a replay
		return
	}
	crossed := u.state == Terminated && u.byeSent
	switch {
	case req.Method == sip.BYE && crossed:
		u.reply(s, u.ok(req)) // both hung up at once: each BYE is answered (RFC 3261 15.1.2)
		return
	case u.state == Terminated:
		u.refuse(s, &Failure{Code: 481, Local: true})
		return
	}
	// The connection may be a new one; the dialog's transport stays what it was,
	// though a long request may have come by another (RFC 3261 18.1.1).
	if d == u.d && (u.state != Early || u.answers) && flow.Network == u.network {
		u.flow = flow
	}
	u.noteAllow(req)
	switch req.Method {
	case sip.BYE:
		u.receiveBye(s)
	case sip.OPTIONS:
		u.reply(s, optionsResponse(req, u.env))
	case sip.INVITE:
		u.receiveReinvite(s)
	case "UPDATE":
		u.receiveUpdate(s)
	case "PRACK":
		u.receivePrack(s)
	case "INFO":
		u.receiveInfo(s)
	default:
		u.refuse(s, &Failure{Code: 481, Local: true}) // CANCEL of something that we do not have
	}
}

// dialogOf is the dialog that a request of the peer's belongs to, by its tag;
// nil when there is none (RFC 3261 12.2.2).
func (u *usage) dialogOf(req *sip.Request) *dialog {
	tag := tagOf(req.From().Params)
	for _, f := range u.forks {
		if f.tag == tag {
			return f.d
		}
	}
	if u.d != nil && u.d.remoteTag == tag && (u.answers || u.state != Early) {
		return u.d
	}
	return nil
}

func (u *usage) receiveBye(s *server) {
	if u.state == Early && !u.answers {
		// A callee must not send BYE before it has answered (RFC 3261 15): the
		// INVITE is still its to answer.
		u.refuse(s, &Failure{Code: 481, Local: true})
		return
	}
	// Every 2xx gets its ACK (RFC 3261 13.2.2.4), whatever else has come with it.
	u.offer.wants = false
	u.ackAnswer(nil)
	u.end()
	u.reply(s, u.ok(s.req))
	u.refusePending() // 15.1.2
	u.closed()
	u.tell(Event{Kind: Ended, Reason: headerValue(s.req, "Reason"), message: s.req})
}

// receiveReinvite serves an INVITE inside the dialog (RFC 3261 14.2).
func (u *usage) receiveReinvite(s *server) {
	pending := slices.ContainsFunc(u.servers, func(o *server) bool {
		return o != s && o.req.Method == sip.INVITE && o.tx.State() == transaction.Proceeding
	})
	switch {
	case pending || len(u.answering.waiting) >= maxUnacked:
		u.refuse(s, u.tooEarly())
		return
	case u.inviteUnderWay() || u.awaitsAnswer():
		u.refuse(s, &Failure{Code: 491, Local: true})
		return
	case u.offer.from != nil || u.owesAnswer():
		u.refuse(s, u.tooEarly())
		return
	}
	if f := u.refresh.tooBrief(s.req); f != nil {
		u.refuse(s, f)
		return
	}
	u.offered(s, sdpOf(s.req))
}

// receiveUpdate serves UPDATE (RFC 3311 5.2).
func (u *usage) receiveUpdate(s *server) {
	sdp := sdpOf(s.req)
	if from := u.offer.from; from != nil && from.req.Method == "UPDATE" && u.dialogOf(from.req) == u.dialogOf(s.req) {
		u.refuse(s, u.tooEarly()) // with or without an offer
		return
	}
	if f := u.refresh.tooBrief(s.req); f != nil {
		u.refuse(s, f)
		return
	}
	if sdp == nil {
		u.dialogOf(s.req).refresh(s.req.Contact())
		u.reply(s, u.updateOK(s.req, nil))
		return
	}
	switch {
	case u.offer.from != nil || u.owesAnswer():
		u.refuse(s, u.tooEarly())
	case u.awaitsAnswer() || u.state == Early && !u.answers && !u.answeredEarly(s.req):
		u.refuse(s, &Failure{Code: 491, Local: true})
	case u.state == Early && u.answers && (!u.answering.sentSDP || u.reliable.holds()):
		u.refuse(s, u.tooEarly())
	default:
		u.offered(s, sdp)
	}
}

// answeredEarly says whether the offer of our INVITE has been answered, reliably,
// in the early dialog that req belongs to.
func (u *usage) answeredEarly(req *sip.Request) bool {
	tag := tagOf(req.From().Params)
	return slices.ContainsFunc(u.forks, func(f *fork) bool { return f.tag == tag && f.answered })
}

// awaitsAnswer says whether an offer of ours, in a request, a 2xx or a reliable
// response, has not been answered.
func (u *usage) awaitsAnswer() bool {
	tx := u.offer.tx
	return tx != nil && len(tx.req.Body()) > 0 && u.offer.given == nil ||
		slices.ContainsFunc(u.answering.waiting, func(w *unacked) bool { return w.offered }) ||
		u.answering.lateSDP && u.reliable.out != nil && u.reliable.out.sdp != nil
}

// owesAnswer says whether the peer's offer in the 2xx to our INVITE waits for the
// owner's ACK.
func (u *usage) owesAnswer() bool {
	return u.state == Accepted && !u.answers && len(u.invite.Body()) == 0
}

// tooEarly asks the peer to wait for what is under way (RFC 3261 14.2, RFC 3311 5.2).
func (u *usage) tooEarly() *Failure {
	wait := strconv.FormatInt(u.env.random(retryAfterMax+1), 10)
	return &Failure{Code: 500, Local: true, Headers: []Header{{"Retry-After", wait}}}
}

// offered hands the peer's offer to the owner; nil asks it for ours.
func (u *usage) offered(s *server, sdp []byte) {
	if u.byeWaits { // the owner has left, and BYE is on its way
		u.refuse(s, &Failure{Code: 487, Local: true})
		return
	}
	if s.req.Method == sip.INVITE {
		u.reply(s, sip.NewResponseFromRequest(s.req, 100, "Trying", nil))
	}
	u.offer.from, u.offer.asks = s, sdp == nil
	u.tell(Event{Kind: Offered, SDP: sdp, message: s.req})
}

// answerOffer is the owner's answer, or its offer when it was asked for one.
func (u *usage) answerOffer(sdp []byte) error {
	s := u.offer.from
	if s == nil || u.state == Terminated {
		return ErrSessionOver
	}
	u.offer.from, u.offer.local = nil, sdp
	if d := u.dialogOf(s.req); d != nil {
		d.refresh(s.req.Contact()) // 12.2.2: a target refresh request
	}
	switch s.req.Method {
	case sip.INVITE:
		u.acceptInvite(s, sdp, u.offer.asks, nil)
	default:
		u.reply(s, u.updateOK(s.req, sdp))
	}
	u.proceed()
	return nil
}

// updateOK is the 200 of UPDATE, or of a PRACK with an offer.
func (u *usage) updateOK(req *sip.Request, sdp []byte) *sip.Response {
	res := u.ok(req)
	if req.Method == "UPDATE" {
		res.AppendHeader(u.env.contact(u.network, u.flow))
		res.AppendHeader(sip.NewHeader("Allow", allowValue))
		res.AppendHeader(sip.NewHeader("Supported", u.env.supported()))
		u.refresh.answer(req, res)
	}
	setSDP(res, sdp)
	return res
}

// refuseOffer is the owner's refusal.
func (u *usage) refuseOffer(f *Failure) {
	s := u.offer.from
	if s == nil || u.state == Terminated {
		return
	}
	u.offer.from = nil
	u.refuse(s, f)
	u.proceed()
}

// reofferAcked is the ACK of a 2xx that carried our offer.
func (u *usage) reofferAcked(sdp []byte) {
	if sdp == nil {
		u.tell(Event{Kind: OfferRefused, Failure: &Failure{Code: 488, Local: true, Warning: "ACK without the answer"}})
		return
	}
	u.tell(Event{Kind: OfferAnswered, SDP: sdp})
}

// The bodies of INFO that carry dialled digits, as gateways send them.
const (
	typeDTMFRelay = "application/dtmf-relay"
	typeDTMF      = "application/dtmf"
)

// receiveInfo serves INFO: digits go to the owner, an empty one is a sign of
// life, anything else is refused by its type (RFC 6086 4.2.2).
func (u *usage) receiveInfo(s *server) {
	kind := mediaType(s.req)
	switch {
	case len(s.req.Body()) == 0:
		u.reply(s, u.ok(s.req))
	case kind == typeDTMFRelay || kind == typeDTMF:
		u.reply(s, u.ok(s.req))
		u.tell(Event{Kind: Info, Type: kind, Body: s.req.Body(), message: s.req})
	default:
		u.refuse(s, &Failure{Code: 415, Local: true, Headers: []Header{{"Accept", typeDTMFRelay + ", " + typeDTMF}}})
	}
}

// info sends INFO.
func (u *usage) info(contentType string, body []byte) {
	if u.state != Established || len(u.clients) >= maxTransactions {
		return // digits that nobody can take so fast
	}
	req := u.request(u.d, "INFO", 0)
	req.RemoveHeader("Contact")
	h := sip.ContentTypeHeader(contentType)
	req.AppendHeader(&h)
	req.SetBody(body)
	u.send(u.d, req, forInfo, u.wayOf(u.d), 0)
}

// retryAfterOf is the wait that a response asks for, 0 when it asks for none.
func retryAfterOf(res *sip.Response) time.Duration {
	text, _, _ := strings.Cut(headerValue(res, "Retry-After"), ";")
	text, _, _ = strings.Cut(text, "(")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}
