package mediation

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"

	"causeway/mediation/media"
	"causeway/mediation/sip"
	"causeway/qos/qoe"
)

// retryAfter goes with every 503 of ours, in seconds.
var retryAfter = sip.Header{Name: "Retry-After", Value: "5"}

// numbersOf are the identities as the record keeps them.
func numbersOf(p sip.Parties) qoe.Numbers {
	return qoe.Numbers{
		RequestURI: p.RequestURI.String(), From: p.From.Address.String(), To: p.To.Address.String(),
	}
}

// mediaOf is the media part of the record, the pool's leg first; empty for an
// attempt that never had ports.
func (c *Call) mediaOf(stats [2]media.LegStats) []qoe.Leg {
	if c.bridge == nil {
		return nil
	}
	legs := make([]qoe.Leg, 2)
	for i := range c.legs {
		l := &c.legs[i]
		out := qoe.Leg{
			Side: sideNames[l.side], SRTP: l.sec.suite(), Local: c.bridge.Local(l.side).String(),
			Receive: stats[l.side].Receive, Send: stats[l.side].Send,
		}
		if l.agreed {
			out.Codec = audioName(l.send)
		}
		if l.remote != nil {
			out.Remote = addrText(l.remote.Audio.Remote)
		}
		got := &stats[l.side]
		if got.Remote.IsValid() { // where it went in the end, if that was learned
			out.Remote = addrText(got.Remote)
		}
		out.Source, out.Moves, out.Restarts, out.SilentMS = addrText(got.Source), got.Moves, got.Restarts, c.silentMS(party(i))
		legs[l.side] = out
	}
	return legs
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// shown is a callee's failure as the caller gets it: unchanged, but for what
// would be false or useless on the other side. A redirection without its
// Contact (an address of the other side) and a challenge that the caller
// cannot answer become what they mean to the caller.
func shown(f *sip.Failure) *sip.Failure {
	out := *f
	switch {
	case f.Code >= 300 && f.Code < 400:
		out = sip.Failure{Code: 480, Phrase: "Temporarily Unavailable", Reason: reasonSIP(f.Code, f.Phrase)}
	case f.Code == 401 || f.Code == 407:
		out = sip.Failure{Code: 403, Phrase: "Forbidden", Reason: reasonSIP(f.Code, f.Phrase)}
	}
	return &out
}

// shownFailure is what the caller hears of a failed INVITE. Of a failure that
// the callee's side sent, headers cross only as they were carried.
func shownFailure(ev sip.Event) *sip.Failure {
	f := shown(ev.Failure)
	if !f.Local && f.Code == ev.Failure.Code {
		f.Reason, f.Headers = sip.TakeReason(ev.Carried)
	}
	return f
}

// reasonSIP is a Reason header value of protocol SIP (RFC 3326 2).
func reasonSIP(code int, text string) string {
	return fmt.Sprintf("SIP;cause=%d;text=%q", code, text)
}

func phraseOf(f *sip.Failure) string {
	if f.Warning != "" && f.Local {
		return f.Warning
	}
	return f.PhraseText()
}

// newSessionID is the sess-id of an o= line: a number that does not repeat,
// kept below 2^62 because some peers read it as a signed integer.
func newSessionID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) >> 2
}
