package sip

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

const (
	// cancelTimeout is how long a cancelled INVITE may stay without a final
	// response before the caller gives it up: 64*T1 (RFC 3261 9.1).
	cancelTimeout = 64 * transaction.T1
	// maxForks bounds the early dialogs of one INVITE; provisional responses of
	// further ones are dropped by name, and their 2xx is served like any other.
	maxForks = 16
	// maxChallenges is how often one request is sent again with credentials: once,
	// and once more for a stale nonce.
	maxChallenges = 2
)

// calling is the first INVITE in the client role.
type calling struct {
	base        *sip.Request // the INVITE without Via and Contact
	sdp         []byte
	targets     []locate.Target // those not tried yet
	target      locate.Target   // the one that is being tried
	tx          *client
	provisional bool // a provisional response came to the INVITE under way
	wantCancel  bool
	cancelled   bool // CANCEL was sent
	why         string
	extra       []Header
	giveUp      time.Time // when a cancelled INVITE is given up
	ack         *pass     // to send again when the 2xx comes again
	left        []*fork   // early dialogs that the answer left behind
	strays      []string  // tags of forks that were acknowledged and ended
}

func (c *calling) next() time.Time { return c.giveUp }

// fork is an early dialog (RFC 3261 12.1.2), by its peer's tag.
type fork struct {
	tag      string
	d        *dialog
	rseq     uint32 // of the latest reliable provisional response, 0 before any
	answered bool   // a reliable response brought the answer to our offer
}

// call sends the first INVITE to the best target; base has everything but what
// depends on where it goes.
func (u *usage) call(now time.Time, base *sip.Request, sdp []byte) {
	u.begin(now)
	u.calling.base, u.calling.sdp = base, sdp
	u.invite = base
	u.offer.local = sdp
	u.calling.targets = u.env.targets()
	if len(u.calling.targets) == 0 {
		u.unreached(&Failure{Code: 503, Local: true, Warning: "no address of the next hop is known"})
		return
	}
	u.tryNext(0)
}

// tryNext sends the INVITE to the next target, with a CSeq number of its own
// when it is not the first.
func (u *usage) tryNext(tries int) {
	c := &u.calling
	c.target, c.targets = c.targets[0], c.targets[1:]
	u.network = c.target.Network
	u.flow = transport.Flow{Network: c.target.Network, Remote: c.target.Addr}
	u.sendInvite(c.base.Clone(), tries)
}

// sendInvite sends req as the INVITE under way.
func (u *usage) sendInvite(req *sip.Request, tries int) {
	c := &u.calling
	req.RemoveHeader("Contact")
	req.AppendHeader(u.env.contact(u.network, u.flow))
	req.ReplaceHeader(&sip.CSeqHeader{SeqNo: u.d.localSeq, MethodName: sip.INVITE})
	req.RemoveHeader("Session-Expires")
	req.RemoveHeader("Min-SE")
	u.refresh.ask(req)
	u.forks, c.provisional, c.cancelled = nil, false, false
	u.d = newClientDialog(req)
	u.invite = req
	target := c.target
	c.tx = u.send(u.d, req, forInvite, way{target: &target}, tries)
}

func (u *usage) inviteResponse(c *client, res *sip.Response, flow transport.Flow) {
	switch {
	case res.StatusCode == 100:
		u.calling.provisional = true
		u.cancelNow()
	case res.IsProvisional():
		u.progress(c, res, flow)
	case res.IsSuccess():
		u.answered(c, res, flow)
	case c == u.calling.tx && u.state == Early:
		c.final = true
		u.inviteRefused(res)
	}
}

// progress is a provisional response above 100.
func (u *usage) progress(c *client, res *sip.Response, flow transport.Flow) {
	if c != u.calling.tx || u.state != Early {
		return
	}
	u.calling.provisional = true
	defer u.cancelNow()
	tag := tagOf(res.To().Params)
	if tag == "" {
		u.tell(u.progressEvent(res, nil, ""))
		return
	}
	f := u.forkOf(tag)
	if f == nil {
		u.env.drops.Add(DropForkLimit)
		return
	}
	if !u.acknowledged(f, res, flow) {
		return // a reliable response again, or out of order (RFC 3262 4)
	}
	f.d.establish(res)
	u.d = f.d
	u.tell(u.progressEvent(res, sdpBody(res), tag))
}

func (u *usage) progressEvent(res *sip.Response, sdp []byte, tag string) Event {
	return Event{Kind: Progress, Code: res.StatusCode, Phrase: u.phraseIn(res), SDP: sdp, Fork: tag, message: res}
}

// forkOf is the early dialog with that tag, made when it is new; nil when there
// are too many.
func (u *usage) forkOf(tag string) *fork {
	for _, f := range u.forks {
		if f.tag == tag {
			return f
		}
	}
	if len(u.forks) >= maxForks {
		return nil
	}
	f := &fork{tag: tag, d: newClientDialog(u.invite)}
	u.forks = append(u.forks, f)
	return f
}

// answered is a 2xx: the first answers the call, the same again is acknowledged
// again, another fork's is acknowledged and ended (RFC 3261 13.2.2.4).
func (u *usage) answered(c *client, res *sip.Response, flow transport.Flow) {
	tag := tagOf(res.To().Params)
	if u.state != Early || c != u.calling.tx {
		u.reacknowledge(c, res)
		return
	}
	c.final = true
	f := u.forkOf(tag)
	if f == nil {
		f = &fork{tag: tag, d: newClientDialog(u.invite)}
	}
	f.d.establish(res)
	u.d, u.forks, u.calling.left = f.d, nil, u.forks
	u.flow = flow
	if isReliable(flow.Network) {
		u.network = flow.Network
	}
	u.state = Accepted
	u.calling.giveUp = time.Time{}
	if from := u.offer.from; from != nil && tagOf(from.req.From().Params) != tag {
		u.offer.from = nil // of an early dialog that the answer left behind
		u.refuse(from, &Failure{Code: 487, Local: true})
	}
	u.env.report(u.calling.target, nil)
	u.refresh.accepted(res)
	u.tell(Event{Kind: Answered, Code: res.StatusCode, Phrase: u.phraseIn(res), SDP: sdpBody(res), Fork: tag, message: res})
}

// reacknowledge takes a 2xx to INVITE that came after the first.
func (u *usage) reacknowledge(c *client, res *sip.Response) {
	if !res.IsSuccess() || c.req.Method != sip.INVITE || res.To() == nil {
		return
	}
	tag := tagOf(res.To().Params)
	if c.what != forInvite {
		if ack := u.offer.ack; ack != nil && ack.req.CSeq().SeqNo == c.req.CSeq().SeqNo {
			u.out = append(u.out, output{ack: ack})
		}
		return
	}
	if tag == u.d.remoteTag && u.state != Early {
		if u.calling.ack != nil {
			u.out = append(u.out, output{ack: u.calling.ack})
		}
		return
	}
	stray := newClientDialog(c.req)
	for _, f := range u.calling.left {
		if f.tag == tag {
			stray = f.d // with the number of the last request in it
		}
	}
	stray.establish(res)
	w := way{flow: c.flow, hop: *stray.nextHop()}
	u.acknowledge(c, stray, nil, w)
	if slices.Contains(u.calling.strays, tag) || len(u.calling.strays) >= maxForks {
		return // its BYE is under way
	}
	u.calling.strays = append(u.calling.strays, tag)
	u.send(stray, u.request(stray, sip.BYE, 0), forStray, w, 0)
}

// acknowledge sends the ACK of a 2xx in dialog d, with the credentials of the
// INVITE (RFC 3261 22.1), and returns it.
func (u *usage) acknowledge(c *client, d *dialog, sdp []byte, w way) *pass {
	req := u.request(d, sip.ACK, c.req.CSeq().SeqNo)
	sip.CopyHeaders("Authorization", c.req, req)
	sip.CopyHeaders("Proxy-Authorization", c.req, req)
	setSDP(req, sdp)
	network := u.complete(req, w)
	p := &pass{req: req, network: network, way: w}
	u.out = append(u.out, output{ack: p})
	return p
}

// ackAnswer is the owner's ACK of the answer to the first INVITE.
func (u *usage) ackAnswer(sdp []byte) {
	if u.state != Accepted || u.answers {
		return
	}
	u.state = Established
	if sdp != nil {
		u.offer.local = sdp
	}
	u.calling.ack = u.acknowledge(u.calling.tx, u.d, sdp, u.wayOf(u.d))
	u.ready()
}

// inviteRefused is a failure of the INVITE under way: of the call, unless there
// is something to try yet.
func (u *usage) inviteRefused(res *sip.Response) {
	switch {
	case u.calling.wantCancel:
	case res.StatusCode == 422 && u.refresh.raise(res):
		u.d.localSeq++
		u.sendInvite(u.calling.base.Clone(), 0) // and it may be challenged anew
		return
	case res.StatusCode == 503:
		// A gateway whose trunks are busy says so too: what is up is for silence
		// and the heartbeat to decide.
		if u.failOver() {
			return
		}
	default:
		u.env.report(u.calling.target, nil)
	}
	u.fail(Event{Kind: Failed, Reason: headerValue(res, "Reason"), Failure: u.carried(res), message: res})
}

// inviteFailed is an INVITE that the target never answered, or could not get.
func (u *usage) inviteFailed(c *client, f *Failure) {
	if c != u.calling.tx || u.state != Early {
		return
	}
	if u.calling.wantCancel {
		f = &Failure{Code: 487, Local: true}
	} else {
		if !f.own && (f.Code == 408 || f.Code == 503) {
			u.env.report(u.calling.target, f)
		}
		if u.failOver() {
			if f.Code == 408 {
				c.late = u.now.Add(cancelTimeout)
			}
			return
		}
	}
	u.fail(Event{Kind: Failed, Failure: f})
}

// failOver tries the next target (RFC 3263 4.3), unless somebody is ringing
// already.
func (u *usage) failOver() bool {
	if len(u.calling.targets) == 0 || len(u.forks) > 0 || u.calling.wantCancel {
		return false
	}
	u.d.localSeq++
	u.tryNext(0)
	return true
}

func (u *usage) unreached(f *Failure) { u.fail(Event{Kind: Failed, Failure: f}) }

func (u *usage) fail(ev Event) {
	u.calling.giveUp = time.Time{}
	u.end()
	u.tell(ev)
}

// challenged answers a challenge; false when there is nothing to answer with.
func (u *usage) challenged(c *client, res *sip.Response) bool {
	if res.StatusCode != 401 && res.StatusCode != 407 || u.auth == nil || c.tries >= maxChallenges || !u.wanted(c) {
		return false
	}
	req, err := u.auth.retry(c.req, res)
	if err != nil {
		return false
	}
	c.final = true
	req.RemoveHeader("Via")
	req.RemoveHeader("User-Agent")
	if c.what == forInvite {
		u.d.localSeq++
		u.sendInvite(req, c.tries+1)
		return true
	}
	c.d.localSeq++
	req.ReplaceHeader(&sip.CSeqHeader{SeqNo: c.d.localSeq, MethodName: req.Method})
	again := u.send(c.d, req, c.what, c.way, c.tries+1)
	if u.offer.tx == c {
		u.offer.tx = again
	}
	return true
}

// wanted says whether a request may go once more: what it was for is still to be
// had.
func (u *usage) wanted(c *client) bool {
	switch c.what {
	case forBye, forStray:
		return true
	case forCancel:
		return false
	case forInvite:
		return u.state == Early && c == u.calling.tx && !u.calling.wantCancel
	case forPrack: // of the INVITE under way
		return !u.over() && (c.d == u.d || slices.ContainsFunc(u.forks, func(f *fork) bool { return f.d == c.d }))
	default:
		return !u.over()
	}
}

// cancel gives the INVITE up: CANCEL goes as soon as a provisional response
// allows it (RFC 3261 9.1).
func (u *usage) cancel(reason string, extra []Header) {
	c := &u.calling
	if u.state != Early || u.answers || c.wantCancel {
		return
	}
	c.wantCancel, c.why, c.extra = true, reason, extra
	c.giveUp = u.now.Add(cancelTimeout)
	u.cancelNow()
}

// unsent says that the INVITE is still looking for its connection: then nothing
// of it has been seen, and giving up is all there is to do.
func (u *usage) unsent() bool { return u.calling.tx != nil && u.calling.tx.flow == (transport.Flow{}) }

func (u *usage) cancelNow() {
	c := &u.calling
	if !c.wantCancel || c.cancelled || !c.provisional || u.state != Early || c.tx.final {
		return
	}
	c.cancelled = true
	c.giveUp = u.now.Add(cancelTimeout)
	req := cancelOf(u.invite)
	if c.why != "" {
		req.AppendHeader(sip.NewHeader("Reason", c.why))
	}
	appendHeaders(req, c.extra)
	cl := &client{
		tx: transaction.NewClient(req, isReliable(c.tx.network), u.now), req: req, what: forCancel,
		d: u.d, network: c.tx.network, way: way{flow: c.tx.flow, target: c.tx.way.target},
	}
	u.clients = append(u.clients, cl)
	u.env.index.addClient(cl.tx.Key())
	u.out = append(u.out, output{first: cl})
}

func (u *usage) tickCalling() {
	c := &u.calling
	if c.giveUp.IsZero() || u.now.Before(c.giveUp) {
		return
	}
	c.giveUp = time.Time{}
	for _, cl := range slices.Clone(u.clients) {
		if cl.req.Method == sip.INVITE && !cl.final && (u.state == Early || u.state == Terminated) {
			u.clientFailed(cl, &Failure{Code: 487, Local: true})
		}
	}
}

// cancelOf is the CANCEL of an INVITE: everything that identifies it (RFC 3261 9.1).
func cancelOf(invite *sip.Request) *sip.Request {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	sip.CopyHeaders("Route", invite, req)
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(cloneFrom(invite.From()))
	req.AppendHeader(cloneTo(invite.To()))
	sip.CopyHeaders("Call-ID", invite, req)
	sip.CopyHeaders("Authorization", invite, req)
	sip.CopyHeaders("Proxy-Authorization", invite, req)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.SetBody(nil)
	return req
}

// carried is a peer's failure as it may be shown to the other side.
func (u *usage) carried(res *sip.Response) *Failure {
	f := &Failure{Code: res.StatusCode, Phrase: u.phraseIn(res), Reason: headerValue(res, "Reason")}
	if v := headerValue(res, "Retry-After"); v != "" {
		f.Headers = append(f.Headers, Header{"Retry-After", v})
	}
	return f
}

// phraseIn is a response's reason phrase, "" when it is unfit to be carried on.
func (u *usage) phraseIn(res *sip.Response) string {
	if u.env.phrase != nil {
		return u.env.phrase(res)
	}
	if hasControl(res.Reason) {
		return ""
	}
	return res.Reason
}

// setSDP gives a message a session description, nil none.
func setSDP(msg sip.Message, sdp []byte) {
	if sdp == nil {
		return
	}
	contentType := sip.ContentTypeHeader("application/sdp")
	msg.AppendHeader(&contentType)
	msg.SetBody(sdp)
}

func tagOf(params sip.HeaderParams) string {
	tag, _ := params.Get("tag")
	return tag
}
