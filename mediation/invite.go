package mediation

import (
	"errors"
	"fmt"

	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// What happens until the call is answered: the caller's INVITE becomes one of
// our own, and the callee's answer, early or final, one of ours. An INVITE
// without an offer (late offer) turns that round on the caller's leg: the
// callee is offered all that we carry, the caller gets an offer made from the
// callee's answer, and answers it in PRACK or ACK (RFC 3261 13.2.1, RFC 3262 5).

// setUp takes the call to the callee: policy, ports, numbers, and an INVITE of
// our own. An error is answered to the caller.
func (c *Call) setUp() error {
	c.publish()
	caller, callee := &c.legs[theCaller], &c.legs[theCallee]
	formats := fullFormats(nil)
	var offer *sdp.Description
	var err error
	if c.in.offer != nil {
		if offer, err = readOffer(c.in.offer); err != nil {
			return err
		}
		if caller.sec, err = accept(caller.policy, offer.Audio); err != nil {
			return err
		}
		if formats, err = outgoingFormats(offer.Audio); err != nil {
			return err
		}
	}
	if c.bridge, err = c.srv.openBridge(c.id); err != nil {
		return err
	}
	for i := range c.legs {
		c.legs[i].local.RTP = c.bridge.Local(c.legs[i].side)
	}
	if offer != nil {
		// The caller's leg is set before anybody rings: an address that cannot be
		// sent to is the caller's to hear of now, not the callee's after answering.
		caller.will, caller.exchange = flowOf(offer.Audio), theyOffered
		known := usable(offer.Audio)
		ours := flow{send: caller.will.receive, receive: caller.will.send}
		if err := c.take(caller, terms{offer, caller.sec, known, known, ours}); err != nil {
			return err
		}
	}
	local := callee.local
	local.Proto, local.Crypto = offerCrypto(callee.policy)
	local.Formats, local.Direction = formats, caller.will.String()
	callee.say(local, local.Offer())
	callee.exchange, callee.asked, callee.told = weOffered, caller.will, caller.will
	made := c.srv.inviteCallee(c.in, callee.said, c.post(theCallee))
	callee.session = made.session
	c.record.Sent, c.record.Rules = numbersOf(made.sent), made.sent.Rules
	c.record.CallIDs[c.name(theCallee)] = made.session.CallID()
	c.log.Info("call", "direction", c.record.Direction, "from", c.record.Sent.From, "to", c.record.Sent.RequestURI)
	c.publish()
	return nil
}

// readOffer reads a description that must have audio.
func readOffer(body []byte) (*sdp.Description, error) {
	d, err := sdp.Parse(body)
	if err != nil {
		return nil, err
	}
	if d.Audio == nil {
		return nil, conflictf("no audio stream with a port; described: %s; served: audio over RTP", d.Media())
	}
	return d, nil
}

// progress passes a provisional response on, with early media when it brings
// any.
func (c *Call) progress(_ party, ev sip.Event) {
	if c.record.FirstProvisional == nil {
		now := c.srv.now()
		c.record.FirstProvisional = &now
	}
	var early []byte
	if ev.SDP != nil {
		err := c.earlyAnswer(ev)
		if err == nil {
			early, err = c.toCaller()
		}
		if err != nil {
			// Early media is a courtesy: without it the call still rings.
			c.log.Info("early media not usable", "err", err)
		}
	}
	c.legs[theCaller].session.Provisional(ev.Code, ev.Phrase, early, ev.Carried...)
}

// earlyAnswer sets the callee's leg from the answer of one of its forks, and
// remembers it: the fork that answers may leave it at that (RFC 3261 13.2.1).
func (c *Call) earlyAnswer(ev sip.Event) error {
	l := &c.legs[theCallee]
	if _, known := l.early[ev.Fork]; !known && len(l.early) >= maxForks {
		return conflictf("more than %d early dialogs", maxForks)
	}
	defer l.hear(ev.Fork)()
	d, err := c.takeAnswer(theCallee, ev.SDP, l.early[ev.Fork].secured)
	if err != nil {
		return err
	}
	l.early[ev.Fork] = earlyAnswer{d, l.sec.on}
	return nil
}

// hear notes whose answer is being taken, until what it returns is called.
func (l *leg) hear(fork string) (done func()) {
	l.anew = l.heard != "" && l.heard != fork
	l.heard = fork
	return func() { l.anew = false }
}

// answer connects the legs when the callee answers.
func (c *Call) answer(_ party, ev sip.Event) {
	caller, callee := &c.legs[theCaller], &c.legs[theCallee]
	callee.session.Ack(nil)
	err := c.finalAnswer(ev)
	var text []byte
	if err == nil {
		text, err = c.toCaller()
	}
	if err == nil {
		err = caller.session.Accept(text, ev.Carried...)
	}
	if errors.Is(err, sip.ErrSessionOver) { // CANCEL was on its way
		callee.session.Bye("")
		c.finish(over, 487, "Request Terminated", "", c.name(theCaller))
		return
	}
	if err != nil {
		c.log.Warn("answer not usable", "err", err)
		callee.session.Bye(reasonSIP(488, "answer not usable"))
		// What exactly is wrong may name what is on the other side.
		f := &sip.Failure{Code: 488, Local: true, Warning: "the callee's answer cannot be used"}
		caller.session.Reject(f)
		c.finish(over, f.Code, phraseOf(f), "", causeway)
		return
	}
	now := c.srv.now()
	c.record.Answer = &now
	c.enter(answered)
}

var errNoAnswer = errors.New("no session description answers ours")

// finalAnswer sets the callee's leg for good: by the description in the 200,
// or by the one that the same fork sent before.
func (c *Call) finalAnswer(ev sip.Event) error {
	l := &c.legs[theCallee]
	defer l.hear(ev.Fork)()
	before, known := l.early[ev.Fork]
	body := ev.SDP
	switch {
	case body != nil:
		if _, err := c.takeAnswer(theCallee, body, before.secured); err != nil {
			return err
		}
	case !known:
		return errNoAnswer
	case before.description != l.remote: // another fork was heard last
		if err := c.answeredBy(theCallee, before.description, before.secured); err != nil {
			return err
		}
	}
	// From here on only what was agreed is offered.
	l.early, l.local.Crypto = nil, l.sec.lines()
	return nil
}

// takeAnswer sets a leg by the answer to our offer.
func (c *Call) takeAnswer(p party, body []byte, secured bool) (*sdp.Description, error) {
	d, err := readOffer(body)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return d, c.answeredBy(p, d, secured)
}

// answeredBy sets a leg by the peer's answer, and its will by what the answer
// says of it. secured: SRTP is agreed already and cannot be given up.
func (c *Call) answeredBy(p party, d *sdp.Description, secured bool) error {
	l := &c.legs[p]
	d.Audio.RTCPMux = d.Audio.RTCPMux && l.local.RTCPMux // an answer takes only what was offered
	d.Audio.RTCPRsize = d.Audio.RTCPRsize && l.local.RTCPRsize
	sec, err := acceptAnswer(l.policy, l.local.Crypto, d.Audio)
	if err != nil {
		return err
	}
	if secured && !sec.on {
		return errDowngrade
	}
	formats, err := answeredFormats(l.local.Formats, d.Audio)
	if err != nil {
		return err
	}
	ours, will := answeredFlow(l.asked, flowOf(d.Audio), l.will)
	if err := c.take(l, terms{d, sec, formats, l.local.Formats, ours}); err != nil {
		return err
	}
	l.exchange, l.agreed = stable, true
	c.wills(p, will)
	return nil
}

// toCaller is the description that goes to the caller with the INVITE
// transaction, made as soon as the callee's is known: our answer, or our offer
// when its INVITE had none. It is made once: a later answer of the callee's is
// converted into it (RFC 3261 13.2.1).
func (c *Call) toCaller() ([]byte, error) {
	l, far := &c.legs[theCaller], &c.legs[theCallee]
	if l.first != nil {
		return l.first, nil
	}
	local := l.local
	if l.exchange == theyOffered {
		formats := callerFormats(l.remote.Audio, far.send)
		ours, told := answerFlow(l.will, far.will, l.told)
		if err := c.take(l, terms{l.remote, l.sec, formats, formats, ours}); err != nil {
			return nil, err
		}
		local.Proto, local.Crypto = l.remote.Audio.Proto, l.sec.lines()
		local.Formats, local.Direction = formats, ours.String()
		local.RTCPMux, local.RTCPRsize = l.remote.Audio.RTCPMux, l.remote.Audio.RTCPRsize
		l.say(local, local.Answer(l.remote))
		l.exchange, l.agreed, l.told = stable, true, told
	} else {
		local.Proto, local.Crypto = offerCrypto(l.policy)
		local.Formats = lateFormats(far.send)
		local.Direction, l.asked, l.told = far.will.String(), far.will, far.will
		l.say(local, local.Offer())
		l.exchange = weOffered
	}
	l.first = l.said
	return l.first, nil
}

// lateAnswer takes the caller's answer to the offer that it asked for, from
// PRACK.
func (c *Call) lateAnswer(_ party, ev sip.Event) {
	err := c.fromLateCaller(ev.SDP)
	if err == nil {
		return
	}
	c.log.Warn("the caller's answer is not usable", "err", err)
	f := &sip.Failure{Code: 488, Local: true, Warning: err.Error()}
	if c.at() == answered {
		c.byeUnusable(f)
		return
	}
	c.legs[theCaller].session.Reject(f)
	c.legs[theCallee].session.Cancel(reasonSIP(488, "answer not usable"))
	c.finish(cancelling, f.Code, phraseOf(f), "", causeway)
}

func (c *Call) fromLateCaller(body []byte) error {
	l := &c.legs[theCaller]
	if body == nil {
		return errNoAnswer
	}
	if _, err := c.takeAnswer(theCaller, body, l.sec.on); err != nil {
		return err
	}
	l.local.Crypto = l.sec.lines()
	return nil
}

// confirmed: the caller's ACK came. It has the answer when the offer was ours
// and nothing answered it before.
func (c *Call) confirmed(_ party, ev sip.Event) {
	if c.legs[theCaller].exchange == weOffered && !c.legs[theCaller].agreed {
		if err := c.fromLateCaller(ev.SDP); err != nil {
			c.log.Warn("the caller's answer is not usable", "err", err)
			c.byeUnusable(&sip.Failure{Code: 488, Local: true, Warning: err.Error()})
			return
		}
	}
	c.enter(talking)
}

func (c *Call) byeUnusable(f *sip.Failure) {
	for i := range c.legs {
		c.legs[i].session.Bye(reasonSIP(f.Code, "answer not usable"))
	}
	c.finish(over, f.Code, phraseOf(f), "", causeway)
}
