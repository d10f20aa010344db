package sip

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// ackTimeout is how long an answered INVITE waits for its ACK: 64*T1 (RFC 3261
// 13.3.1.4).
const ackTimeout = 64 * transaction.T1

// answering is the first INVITE in the server role, and the 2xx of every INVITE
// that waits for its ACK.
type answering struct {
	first    *server
	lateSDP  bool       // the INVITE had no offer: ours goes out in a response
	sentSDP  bool       // the session description is out where it counts
	accepted *held      // Accept that waits for a PRACK
	waiting  []*unacked // 2xx without ACK
}

// held is an answer that may not go out yet.
type held struct {
	sdp   []byte
	extra []Header
}

// unacked is a 2xx to INVITE that is sent again until its ACK comes: at T1,
// doubling to T2, on every transport (RFC 3261 13.3.1.4).
type unacked struct {
	s        *server
	res      *sip.Response
	seq      uint32
	interval time.Duration
	again    time.Time
	until    time.Time
	offered  bool // it carries an offer of ours, which the ACK answers
}

func (a *answering) next() time.Time {
	var next time.Time
	for _, w := range a.waiting {
		if next.IsZero() || w.again.Before(next) {
			next = w.again
		}
		if w.until.Before(next) {
			next = w.until
		}
	}
	return next
}

func (a *answering) stop() { a.accepted, a.waiting = nil, nil }

// first is the server transaction of the first INVITE; nil in the client role.
func (u *usage) first() *server { return u.answering.first }

// receiveInvite begins a usage in the server role. It answers 100, so that the
// caller stops repeating itself whatever the other side does. req is the INVITE
// with our To tag, which every response to it has; came is it without.
func (u *usage) receiveInvite(now time.Time, came, req *sip.Request, key string, flow transport.Flow) {
	u.begin(now)
	u.answers, u.network, u.invite, u.flow = true, flow.Network, came, flow
	u.noteAllow(req)
	u.answering.first = u.serve(req, key, flow)
	u.answering.lateSDP = len(req.Body()) == 0
	u.reliable.asked(req, u.env.reliable)
	res := sip.NewResponseFromRequest(req, 100, "Trying", nil)
	res.To().Params.Remove("tag") // 8.2.6.2 lets it be; it is no dialog's
	u.reply(u.first(), res)
}

func (u *usage) noteAllow(msg sip.Message) {
	if allow := tokens(msg, "Allow"); len(allow) > 0 {
		u.peerAllow = set(allow)
	}
}

// provisional sends a 101-199 response, reliably where that is called for.
func (u *usage) provisional(code int, phrase string, sdp []byte, extra []Header) {
	if u.state != Early || !u.answers || u.answering.accepted != nil {
		return
	}
	if u.reliable.use(sdp != nil) {
		u.sendReliably(code, phrase, sdp, extra)
		return
	}
	if u.answering.lateSDP {
		sdp = nil // an offer must not travel unreliably (RFC 3261 13.2.1)
	}
	u.reply(u.first(), u.inviteResponseOf(u.first().req, code, phrase, sdp, extra))
}

// accept answers the call with 200, as soon as no PRACK is outstanding that the
// 200 has to wait for (RFC 3262 3).
func (u *usage) accept(sdp []byte, extra []Header) error {
	if u.state != Early || !u.answers {
		return ErrSessionOver
	}
	if u.reliable.holds() || u.offer.from != nil {
		u.answering.accepted = &held{sdp, extra}
		return nil
	}
	return u.acceptNow(sdp, extra)
}

func (u *usage) acceptNow(sdp []byte, extra []Header) error {
	u.answering.accepted = nil
	u.reliable.rest()
	if u.answering.sentSDP {
		sdp = nil // offer and answer are complete: no third (RFC 6337 2.2)
	}
	late := u.answering.lateSDP && sdp != nil
	u.state = Accepted
	u.acceptInvite(u.first(), sdp, late, extra)
	return nil
}

// acceptInvite sends the 2xx of an INVITE and keeps sending it.
func (u *usage) acceptInvite(s *server, sdp []byte, offered bool, extra []Header) {
	res := u.inviteResponseOf(s.req, 200, "OK", sdp, extra)
	u.refresh.answer(s.req, res)
	if sdp != nil {
		u.offer.local = sdp
	}
	u.answering.waiting = append(u.answering.waiting, &unacked{
		s: s, res: res, seq: s.req.CSeq().SeqNo, interval: transaction.T1, offered: offered,
		again: u.now.Add(transaction.T1), until: u.now.Add(ackTimeout),
	})
	u.reply(s, res)
}

// inviteResponseOf is a dialog-making or -changing response to an INVITE.
func (u *usage) inviteResponseOf(req *sip.Request, code int, phrase string, sdp []byte, extra []Header) *sip.Response {
	if phrase == "" {
		phrase = phraseOf(code)
	}
	res := sip.NewResponseFromRequest(req, code, phrase, nil)
	res.AppendHeader(u.env.contact(u.network, u.flow))
	res.AppendHeader(sip.NewHeader("Allow", allowValue))
	res.AppendHeader(sip.NewHeader("Supported", u.env.supported()))
	res.AppendHeader(sip.NewHeader("Server", u.env.userAgent))
	appendHeaders(res, extra)
	setSDP(res, sdp)
	return res
}

// reject ends an unanswered session with a failure.
func (u *usage) reject(f *Failure) {
	if u.state != Early || !u.answers {
		return
	}
	u.end()
	u.refuse(u.first(), f)
	u.refusePending()
}

// callerGone ends an unanswered session whose caller went away.
func (u *usage) callerGone(reason string, msg sip.Message) {
	if u.state != Early {
		return
	}
	u.end()
	u.tell(Event{Kind: Cancelled, Reason: reason, message: msg})
}

// receiveCancel serves a CANCEL of one of the usage's INVITEs (RFC 3261 9.2):
// 200 to the CANCEL, with the INVITE's To tag, and 487 to the INVITE when it
// has no final response yet.
func (u *usage) receiveCancel(now time.Time, cancel *sip.Request, inviteKey, key string, flow transport.Flow) {
	u.begin(now)
	i := slices.IndexFunc(u.servers, func(s *server) bool { return s.key == inviteKey })
	if i < 0 {
		return
	}
	invite := u.servers[i]
	if !cancels(cancel, invite.req) || flow.Remote.Addr() != invite.flow.Remote.Addr() {
		u.refuse(u.serve(cancel, key, flow), &Failure{Code: 481, Local: true})
		return
	}
	s := u.serve(cancel, key, flow)
	if to := cancel.To(); to != nil {
		if _, ok := to.Params.Get("tag"); !ok {
			to.Params.Add("tag", u.d.localTag)
		}
	}
	u.reply(s, u.ok(cancel))
	if invite.tx.State() == transaction.Proceeding {
		u.refuse(invite, &Failure{Code: 487, Local: true})
		if invite == u.first() {
			u.callerGone(headerValue(cancel, "Reason"), cancel)
			u.refusePending()
		} else {
			u.offer.withdraw(invite)
			u.ready()
		}
	}
	u.sweep()
}

// cancels says whether a CANCEL is of this INVITE: beside its branch, Call-ID,
// From tag and CSeq number are the same (RFC 3261 9.1).
func cancels(cancel, invite *sip.Request) bool {
	return cancel.CallID().Value() == invite.CallID().Value() && cancel.CSeq().SeqNo == invite.CSeq().SeqNo &&
		tagOf(cancel.From().Params) == tagOf(invite.From().Params)
}

// repeated is a request that belongs to a server transaction of the usage.
func (u *usage) repeated(now time.Time, req *sip.Request, key string) {
	u.begin(now)
	for _, s := range u.servers {
		if s.key != key {
			continue
		}
		res, ack := s.tx.Receive(now, req)
		if res != nil {
			u.out = append(u.out, output{response: res, flow: s.flow})
		}
		if ack {
			u.receiveAck(req)
		}
		break
	}
	u.sweep()
}

// receiveAck takes the ACK of a 2xx.
func (u *usage) receiveAck(ack *sip.Request) {
	seq := ack.CSeq().SeqNo
	i := slices.IndexFunc(u.answering.waiting, func(w *unacked) bool { return w.seq == seq })
	if i < 0 {
		if u.first() == nil || seq != u.first().req.CSeq().SeqNo {
			u.env.drops.Add(DropStaleAck)
		}
		return // again
	}
	w := u.answering.waiting[i]
	u.answering.waiting = slices.Delete(u.answering.waiting, i, i+1)
	if isReliable(u.network) {
		// Nothing can be repeated on a stream: the transaction has done its work
		// (RFC 6026 keeps it only for retransmissions).
		w.s.done = true
	}
	var sdp []byte
	if w.offered {
		sdp = sdpOf(ack)
	}
	if w.s != u.first() {
		if w.offered {
			u.reofferAcked(sdp)
		}
		u.ready()
		return
	}
	if u.state != Accepted {
		return
	}
	u.confirm()
	if !u.byeSent {
		u.tell(Event{Kind: Confirmed, SDP: sdp, message: ack})
	}
	u.ready()
}

// confirm ends the wait for the ACK of the first 2xx; a BYE that waited for it
// goes out.
func (u *usage) confirm() {
	u.state = Established
	if u.byeWaits {
		u.byeWaits = false
		u.bye(u.byeReason, u.byeExtra)
	}
}

func (u *usage) tickAnswering() {
	for _, w := range slices.Clone(u.answering.waiting) {
		if !u.now.Before(w.until) {
			u.answering.waiting = slices.DeleteFunc(u.answering.waiting, func(o *unacked) bool { return o == w })
			u.unconfirmed(w)
			continue
		}
		if u.now.Before(w.again) {
			continue
		}
		w.interval = min(2*w.interval, transaction.T2)
		w.again = w.again.Add(w.interval)
		if w.s.tx.Respond(u.now, w.res) || w.s.tx.State() == transaction.Terminated {
			u.out = append(u.out, output{response: w.res, flow: w.s.flow})
		}
	}
}

// unconfirmed is a 2xx whose ACK never came (RFC 3261 13.3.1.4, 14.2).
func (u *usage) unconfirmed(w *unacked) {
	w.s.done = true
	if w.s != u.first() {
		u.lose(&Failure{Code: 408, Local: true, Warning: "no ACK to re-INVITE"})
		return
	}
	if u.state != Accepted {
		return
	}
	waited := u.byeWaits
	u.confirm()
	if !waited {
		u.tell(Event{Kind: Unconfirmed})
	}
}
