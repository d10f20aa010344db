package mediation

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// session is what a call says to one of its two dialogs: the methods of
// *sip.Session, which tells what they do.
type session interface {
	CallID() string
	// Of an INVITE received.
	Provisional(code int, phrase string, sdp []byte, extra ...sip.Header)
	Accept(sdp []byte, extra ...sip.Header) error
	Reject(f *sip.Failure)
	// Of an INVITE sent.
	Ack(sdp []byte)
	Cancel(reason string, extra ...sip.Header)
	// Of both.
	Bye(reason string, extra ...sip.Header)
	Reoffer(sdp []byte) error
	AnswerOffer(sdp []byte) error
	RefuseOffer(f *sip.Failure)
	Info(contentType string, body []byte)
}

// bridge is what a call says to its *media.Bridge.
type bridge interface {
	Local(media.Side) netip.AddrPort
	Set(media.Side, media.Leg) error
	Play(s media.Side, digits string, duration time.Duration) error
	Active(media.Side) (lastReceived time.Time, ok bool)
	Reported(media.Side) bool
	Close() [2]media.LegStats
}

// party is who moves a call.
type party uint8

const (
	theCaller party = iota
	theCallee
	ourselves // a timer, or an order to stop
)

var partyNames = [...]string{"caller", "callee", "us"}

func (p party) String() string { return partyNames[p] }

func (p party) other() party { return theCallee - p }

// leg is one peer's half of a call: its dialog, what was said about media in
// it, and what the peer wants. Fields from local on make sense once the bridge
// is open.
type leg struct {
	side    media.Side
	session session // nil: not invited yet
	policy  conf.SRTPPolicy
	learns  media.Learning

	exchange exchange
	local    sdp.Local // what we last said
	said     []byte    // the same, as written; nil before
	first    []byte    // what we said with the INVITE transaction; it is repeated, never changed (RFC 3261 13.2.1)
	agreed   bool      // an offer has met its answer

	// What holds since the last offer that met its answer.
	remote  *sdp.Description // the peer's
	sec     security
	send    []sdp.Format // what the peer receives, most wanted first
	receive []sdp.Format // what we take from it: a peer may be late with a change
	ours    flow         // our half of the direction

	will    flow  // the peer's
	told    flow  // the other's, as far as this peer has heard of it
	asked   flow  // the direction in the offer of ours that is out
	before  flow  // told, before that offer
	refused *flow // the offer that the peer refused, not to be made again
	waiting bool  // an offer of ours has to wait: OfferAgain says when it need not

	// heard is the fork whose answer set the leg last; anew says that the one
	// being taken is another's.
	heard string
	anew  bool
	// early are the answers in provisional responses, by fork.
	early map[string]earlyAnswer
}

// earlyAnswer is what a fork of the callee said before the call was answered.
type earlyAnswer struct {
	description *sdp.Description
	secured     bool
}

// maxForks bounds the early dialogs whose answers are remembered. Further
// forks ring without early media.
const maxForks = 32

func newLeg(side media.Side, policy conf.SRTPPolicy) leg {
	return leg{
		side: side, policy: policy, will: bothWays, told: bothWays,
		local: sdp.Local{
			SessionID: newSessionID(), Version: 1, Ptime: defaultPtime,
			RTCPMux: side == media.Pool, // gateways that know it are rare, and some refuse what they do not know
		},
		early: map[string]earlyAnswer{},
	}
}

// held says whether the peer holds the call, or a direction of it.
func (l *leg) held() bool { return l.will != bothWays }

// draft writes what could be said next: in the same session, and as its next
// version when anything is different from what was said before (RFC 3264 8).
func (l *leg) draft(next sdp.Local, write func(sdp.Local) []byte) (sdp.Local, []byte) {
	next.SessionID, next.Version = l.local.SessionID, l.local.Version
	text := write(next)
	if l.said == nil || bytes.Equal(text, l.said) {
		return next, text
	}
	next.Version++
	return next, write(next)
}

// say remembers what is being said.
func (l *leg) say(local sdp.Local, text []byte) { l.local, l.said = local, text }

// offerText writes an offer that changes the session: its lines stay where
// they were (RFC 3264 8).
func (l *leg) offerText(local sdp.Local) []byte {
	if l.remote == nil {
		return local.Offer()
	}
	return local.OfferAgain(l.remote)
}

// terms are what one offer and its answer make of a leg.
type terms struct {
	remote *sdp.Description
	sec    security
	send   []sdp.Format
	local  []sdp.Format // what our half of it accepts
	ours   flow
}

// take makes the terms the leg's: in the bridge first, which may refuse them.
func (c *Call) take(l *leg, t terms) error {
	receive := joined(t.local, l.receive)
	m := l.media(t.remote.Audio, t.sec, receive, t.send, t.ours)
	m.Anew = l.anew
	if err := c.bridge.Set(l.side, m); err != nil {
		return err
	}
	l.remote, l.sec, l.send, l.receive, l.ours = t.remote, t.sec, t.send, receive, t.ours
	return nil
}

// media is the leg as the bridge takes it. Nothing is sent to a peer that does
// not want to receive; its RTCP goes on.
func (l *leg) media(remote *sdp.Audio, sec security, receive, send []sdp.Format, ours flow) media.Leg {
	if remote.RTCPMux { // of before it was agreed
		receive = slices.DeleteFunc(slices.Clone(receive), func(f sdp.Format) bool { return f.Type >= 64 && f.Type <= 95 })
	}
	m := media.Leg{
		Remote: remote.Remote, RemoteRTCP: remote.RTCP, Learning: l.learns,
		Mux: remote.RTCPMux, ReducedSize: remote.RTCPRsize,
		Receive: payloads(receive), SRTP: sec.srtp(),
	}
	if ours.send {
		m.Send = payloads(send)
	}
	return m
}

// joined are the formats of now and those of before whose numbers have not
// been given away: packets under them may still be on their way, and are the
// same kind as ever (RFC 3264 8.3.2).
func joined(now, before []sdp.Format) []sdp.Format {
	out := slices.Clone(now)
	for _, f := range before {
		if !slices.ContainsFunc(now, func(n sdp.Format) bool { return n.Type == f.Type }) {
			out = append(out, f)
		}
	}
	return out
}
