package mediation

import (
	"fmt"
	"time"

	"causeway/mediation/media"
	"causeway/mediation/sip"
)

const (
	// silenceStep is how often a call looks whether its peers send.
	silenceStep = 5 * time.Second
	// oneWay is how long one peer may be silent while the other is not before the
	// record says so. Phones that send nothing through silence pause for less in
	// a conversation.
	oneWay = 10 * time.Second
)

// silence is what a call knows of peers that do not send. The bridge counts the
// packets; nothing here runs with them.
type silence struct {
	from    time.Time        // since when both should be sending; zero while they need not
	longest [2]time.Duration // by party: silent while the other was not
}

// listen looks whether both peers send, and ends the call when one has not for
// too long.
func (c *Call) listen() {
	if c.bridge == nil || c.recorded {
		return
	}
	now := c.srv.now()
	limit := c.srv.cfg.MediaTimeout
	for p, quiet := range c.quiet(now) {
		l := &c.legs[p]
		if limit == 0 || quiet < limit || c.srv.cfg.MediaTimeoutNeedsRTCP && !c.bridge.Reported(l.side) {
			continue
		}
		c.srv.counters.silent(l.side)
		c.react(ourselves, mediaTimeout, sip.Event{Reason: fmt.Sprintf("no media from the %s side for %s", sideNames[l.side], limit)})
		return
	}
}

// quiet is how long each peer has sent nothing that it should have, by party. While
// either holds the call, or before it is answered, none has to.
func (c *Call) quiet(now time.Time) (quiet [2]time.Duration) {
	s := &c.silence
	if c.at() != talking || c.legs[theCaller].held() || c.legs[theCallee].held() {
		s.from = time.Time{}
		return quiet
	}
	if s.from.IsZero() {
		s.from = now
	}
	for p := range c.legs {
		since := s.from
		if last, ok := c.bridge.Active(c.legs[p].side); ok && last.After(since) {
			since = last
		}
		quiet[p] = now.Sub(since)
	}
	for p := range quiet {
		if quiet[p] > oneWay && quiet[1-p] <= oneWay {
			s.longest[p] = max(s.longest[p], quiet[p])
		}
	}
	return quiet
}

// heldNow has the time of silence begin anew when a hold ends.
func (c *Call) heldNow() {
	if c.legs[theCaller].held() || c.legs[theCallee].held() {
		c.silence.from = time.Time{}
	}
}

// silentMS is the record's figure for a leg; nil when there is nothing to say.
func (c *Call) silentMS(p party) *int64 {
	if c.silence.longest[p] == 0 {
		return nil
	}
	ms := c.silence.longest[p].Milliseconds()
	return &ms
}

// mediaLost ends a call for want of media.
func (c *Call) mediaLost(_ party, ev sip.Event) {
	for i := range c.legs {
		c.legs[i].session.Bye(reasonSIP(408, "media timeout"))
	}
	c.finish(over, 408, ev.Reason, "", causeway)
}

var _ bridge = (*media.Bridge)(nil)
