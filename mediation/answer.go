package mediation

import (
	"errors"
	"fmt"

	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// answer connects the legs when the callee answers.
func (c *Call) answer(ev sip.Event) {
	c.b.Ack(nil)
	err := errNoAnswer
	if ev.SDP != nil {
		err = c.takeAnswer(ev.SDP)
	} else if c.aAnswer != nil {
		err = nil // the answer came with a provisional response already
	}
	if err == nil {
		err = c.a.Accept(c.aAnswer)
	}
	if errors.Is(err, sip.ErrSessionOver) { // CANCEL was on its way
		c.b.Bye("")
		c.finish(over, 487, "Request Terminated", "", sideNames[c.caller])
		return
	}
	if err != nil {
		c.log.Warn("answer not usable", "err", err)
		c.b.Bye(reasonSIP(488, "answer not usable"))
		// What exactly is wrong may name what is on the other side.
		f := &sip.Failure{Code: 488, Local: true, Warning: "the callee's answer cannot be used"}
		c.a.Reject(f)
		c.finish(over, f.Code, phraseOf(f), "", causeway)
		return
	}
	now := c.srv.now()
	c.record.Answer = &now
	c.enter(answered)
}

var errNoAnswer = errors.New("200 without a session description")

// takeAnswer sets both legs of the bridge from the callee's answer and makes
// the answer to the caller.
func (c *Call) takeAnswer(body []byte) error {
	d, err := sdp.Parse(body)
	if err != nil {
		return err
	}
	if d.Audio == nil {
		return fmt.Errorf("answer: %w", errNoAudio)
	}
	sec, err := acceptAnswer(c.srv.policy(c.callee), c.bOffer.Crypto, d.Audio)
	if err != nil {
		return err
	}
	if c.bSec.on && !sec.on {
		return conflictf("SRTP was agreed with a provisional response and is missing from the answer")
	}
	formats, err := answeredFormats(c.bOffer.Formats, d.Audio)
	if err != nil {
		return err
	}
	if c.aFormats == nil {
		c.aFormats = callerFormats(c.offer.Audio, formats)
	}
	err = c.bridge.Set(c.callee, media.Leg{
		Remote: d.Audio.Remote, RemoteRTCP: d.Audio.RTCP,
		Receive: payloads(c.bOffer.Formats), Send: payloads(formats), SRTP: sec.srtp(),
	})
	if err != nil {
		return err
	}
	if err := c.setCaller(c.aFormats); err != nil {
		return err
	}
	c.bAnswer, c.bFormats, c.bSec = d, formats, sec
	if c.aAnswer == nil {
		local := sdp.Local{
			SessionID: newSessionID(), Version: 1, RTP: c.bridge.Local(c.caller),
			Formats: c.aFormats, Direction: d.Audio.Direction, Ptime: defaultPtime,
		}
		if c.aSec.on {
			local.Crypto = []sdp.Crypto{c.aSec.local}
		}
		c.aAnswer = local.Answer(c.offer)
	}
	return nil
}

// setCaller sets the caller's leg of the bridge.
func (c *Call) setCaller(formats []sdp.Format) error {
	return c.bridge.Set(c.caller, media.Leg{
		Remote: c.offer.Audio.Remote, RemoteRTCP: c.offer.Audio.RTCP,
		Receive: payloads(formats), Send: payloads(formats), SRTP: c.aSec.srtp(),
	})
}
