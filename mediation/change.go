package mediation

import (
	"errors"

	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// What happens to a session that is there already. A peer's new address, port,
// codec or key is its own leg's business: it is answered at once, and the
// bridge converts. Only the direction is the other peer's business too: it is
// answered by what the other peer wants, and carried to it by a re-offer.

// maxCarried is how many re-offers of ours one change by a peer may lead to.
// Peers that keep their word need two; two that answer every offer with
// something else would go on for ever.
const maxCarried = 8

// answerOffer answers a peer that changes its session, or refuses the change;
// the session then stays as it was (RFC 3261 14.2).
func (c *Call) answerOffer(from party, ev sip.Event) {
	l := &c.legs[from]
	if !l.agreed {
		c.refuseCrossing(from, ev)
		return
	}
	before := *l
	local, text, err := c.takeOffer(from, ev.SDP)
	if err != nil {
		c.log.Info("offer refused", "side", c.name(from), "err", err)
		c.srv.counters.offer(l.side, offerRefused)
		l.session.RefuseOffer(&sip.Failure{Code: 488, Local: true, Warning: unusableWarning(err)})
		return
	}
	if err := l.session.AnswerOffer(text); err != nil {
		// The peer took the offer back by CANCEL, or the dialog is over and its
		// end on its way to us: nothing has changed.
		c.log.Debug("offer withdrawn", "side", c.name(from), "err", err)
		c.restore(l, before)
		return
	}
	c.srv.counters.offer(l.side, offerTaken)
	c.record.Reoffers++
	c.carried, l.agreed = 0, true
	l.say(local, text)
	c.wills(from, flowOf(l.remote.Audio))
}

// restore takes back what an offer made of a leg.
func (c *Call) restore(l *leg, before leg) {
	*l = before
	if err := c.bridge.Set(l.side, l.media(l.remote.Audio, l.sec, l.receive, l.send, l.ours)); err != nil {
		c.log.Warn("leg not set", "side", sideNames[l.side], "err", err)
	}
}

// unusableWarning is what a peer is told of its own offer.
func unusableWarning(err error) string {
	var why *conflict
	if errors.As(err, &why) || errors.Is(err, sdp.ErrInvalid) || isUnusable(err) {
		return err.Error()
	}
	return "internal error"
}

// takeOffer sets a leg by a new offer of its peer and makes the answer.
func (c *Call) takeOffer(from party, body []byte) (sdp.Local, []byte, error) {
	l, far := &c.legs[from], &c.legs[from.other()]
	d, err := readOffer(body)
	if err != nil {
		return sdp.Local{}, nil, err
	}
	sec, err := renew(l.policy, l.sec, d.Audio)
	if err != nil {
		return sdp.Local{}, nil, err
	}
	if _, err := outgoingFormats(d.Audio); err != nil {
		return sdp.Local{}, nil, err
	}
	theirs := far.send
	if !far.agreed {
		theirs = far.local.Formats // offered, and not answered yet
	}
	formats := callerFormats(d.Audio, theirs)
	will := flowOf(d.Audio)
	ours, told := answerFlow(will, far.will, l.told)
	if err := c.take(l, terms{d, sec, formats, formats, ours}); err != nil {
		return sdp.Local{}, nil, err
	}
	l.told = told
	next := l.local
	next.Proto, next.Crypto, next.Formats, next.Direction = d.Audio.Proto, sec.lines(), formats, ours.String()
	next.RTCPMux, next.RTCPRsize = d.Audio.RTCPMux, d.Audio.RTCPRsize
	local, text := l.draft(next, func(s sdp.Local) []byte { return s.Answer(d) })
	return local, text, nil
}

// offerAll gives the offer that a peer asks for with an empty re-INVITE
// (RFC 3261 14.2): everything that we carry, since it may be about to be
// connected with somebody else.
func (c *Call) offerAll(from party, _ sip.Event) {
	l, far := &c.legs[from], &c.legs[from.other()]
	if !l.agreed {
		c.refuseCrossing(from, sip.Event{})
		return
	}
	c.carried = 0
	next := l.local
	next.Formats, next.Direction = fullFormats(joined(l.receive, l.remote.Audio.Formats)), far.will.String()
	local, text := l.draft(next, l.offerText)
	if err := l.session.AnswerOffer(text); err != nil {
		c.log.Debug("offer not wanted any more", "side", c.name(from), "err", err)
		return
	}
	c.offers(l, local, text, far.will)
	// What we offer to take, we take from now on (RFC 3264 5.1).
	if err := c.take(l, terms{l.remote, l.sec, l.send, local.Formats, l.ours}); err != nil {
		c.log.Warn("leg not set", "side", c.name(from), "err", err)
	}
}

// refuseCrossing: an offer came before the one in the INVITE had its answer.
func (c *Call) refuseCrossing(from party, _ sip.Event) {
	l := &c.legs[from]
	c.srv.counters.offer(l.side, offerRefused)
	l.session.RefuseOffer(&sip.Failure{Code: 491, Local: true})
}

// offers notes that an offer of ours is out.
func (c *Call) offers(l *leg, local sdp.Local, text []byte, direction flow) {
	l.say(local, text)
	l.exchange, l.asked, l.before, l.told = weOffered, direction, l.told, direction
}

// wills notes what a peer wants.
func (c *Call) wills(p party, will flow) {
	l := &c.legs[p]
	if !l.held() && will != bothWays {
		c.record.Holds++
		c.srv.counters.hold(l.side)
	}
	l.will = will
}

// tellWills tells each peer what the other wants, where it has not heard. It
// runs after everything that happens to a call, so that a change that had to
// wait goes out as soon as it can.
func (c *Call) tellWills() {
	for _, p := range either {
		l, want := &c.legs[p], c.legs[p.other()].will
		switch {
		case l.told == want:
			l.refused = nil
		case c.at() != talking || l.exchange != stable || l.waiting || l.refused != nil && *l.refused == want:
			// Not now, or not again.
		default:
			c.trade(p, differs, sip.Event{})
		}
	}
}

// reoffer changes a session to the direction that the other peer wants. All
// else stays as it was said last: formats, keys, suite.
func (c *Call) reoffer(p party, _ sip.Event) {
	l, want := &c.legs[p], c.legs[p.other()].will
	if c.carried >= maxCarried {
		c.log.Warn("peers answer each other's offers without end", "side", c.name(p))
		c.srv.counters.offer(l.side, offerEndless)
		l.refused = &want
		return
	}
	next := l.local
	next.Direction = want.String()
	local, text := l.draft(next, l.offerText)
	switch err := l.session.Reoffer(text); {
	case err == nil:
		c.carried++
		c.srv.counters.offer(l.side, offerMade)
		c.offers(l, local, text, want)
	case errors.Is(err, sip.ErrPending):
		l.waiting = true
	default: // the session's end is on its way to us
		c.log.Debug("re-offer not made", "side", c.name(p), "err", err)
	}
}

// takeReoffered takes the answer to an offer of ours. When it cannot be used
// the exchange is over nevertheless, and the leg goes on as it was: what
// plays now is worth more than a call ended for a hold that went wrong.
func (c *Call) takeReoffered(from party, ev sip.Event) {
	l := &c.legs[from]
	if l.exchange == stable { // a refresh of the session's own, with what we said last
		l.asked = flowNamed(l.local.Direction)
	}
	l.exchange = stable
	if _, err := c.takeAnswer(from, ev.SDP, l.sec.on); err != nil {
		c.log.Warn("answer to a re-offer not usable", "side", c.name(from), "err", err)
		c.srv.counters.offer(l.side, answerUnusable)
		return
	}
	c.srv.counters.offer(l.side, offerAnswered)
	l.local.Crypto = l.sec.lines()
}

func (c *Call) offerRefused(from party, ev sip.Event) {
	l := &c.legs[from]
	code := 0
	if ev.Failure != nil {
		code = ev.Failure.Code
	}
	c.log.Info("re-offer refused", "side", c.name(from), "code", code)
	c.srv.counters.offer(l.side, ourOfferRefused)
	refused := l.asked
	l.exchange, l.told, l.refused = stable, l.before, &refused
}

// offerAgain: the wait after 491 is over (RFC 3261 14.1), or what our offer
// would have met; tellWills follows.
func (c *Call) offerAgain(from party, _ sip.Event) {
	l := &c.legs[from]
	if l.waiting = false; l.exchange == weOffered {
		l.exchange, l.told = stable, l.before
		c.srv.counters.offer(l.side, offerCrossed)
	}
}
