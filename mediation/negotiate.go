package mediation

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// encoding is something this bridge can carry, as SDP names it.
type encoding struct {
	name  string
	clock int // Hz
	kind  media.Kind
	audio bool  // speech: can be converted into the others
	fixed uint8 // static payload type (RFC 3551), or 0xff
}

// encodings are what this build carries, audio in order of preference.
var encodings = []encoding{
	{"PCMU", 8000, media.PCMU, true, 0},
	{"PCMA", 8000, media.PCMA, true, 8},
	{"telephone-event", 8000, media.Event, false, 0xff},
	{"CN", 8000, media.CN, false, 13},
}

const (
	eventPayloadType = 101 // customary; any dynamic number would do
	defaultPtime     = 20  // ms (RFC 3551 4.2)
	defaultEvents    = "0-15"
)

func encodingOf(f sdp.Format) (encoding, bool) {
	for _, e := range encodings {
		if f.Is(e.name, e.clock) {
			return e, true
		}
	}
	return encoding{}, false
}

// conflict is a negotiation that failed; it becomes a 488 whose Warning says
// what was offered and what would have been accepted.
type conflict struct{ why string }

func (c *conflict) Error() string { return c.why }

func (c *conflict) failure() *sip.Failure {
	return &sip.Failure{Code: 488, Warning: c.why, Local: true}
}

func conflictf(format string, args ...any) error {
	return &conflict{why: fmt.Sprintf(format, args...)}
}

// security is how one leg protects its media.
type security struct {
	local, remote sdp.Crypto
	profile       media.Profile
	on            bool
}

func (s security) srtp() *media.SRTP {
	if !s.on {
		return nil
	}
	return &media.SRTP{
		Profile: s.profile, Local: s.local.Key, Remote: s.remote.Key,
		LocalMKI: s.local.MKI, RemoteMKI: s.remote.MKI, RemoteLifetime: s.remote.Lifetime,
	}
}

// lines are what a description of ours says of the protection in use.
func (s security) lines() []sdp.Crypto {
	if !s.on {
		return nil
	}
	return []sdp.Crypto{s.local}
}

func (s security) suite() string {
	if !s.on {
		return ""
	}
	return s.profile.String()
}

// profiles are the crypto suites in the order in which they are offered: those that
// peers are likely to have come first. Of an offer the first that is here is taken.
var profiles = []media.Profile{
	media.AES128_CM_80, media.AES128_GCM, media.AES128_CM_32, media.AES256_GCM, media.AES256_CM_80,
}

func newKey(p media.Profile) []byte {
	key := make([]byte, p.KeyLen())
	rand.Read(key) // never fails (crypto/rand, Go 1.24)
	return key
}

// accept decides by policy how the answer to an audio offer is protected:
// RTP/SAVP needs a suite of ours; RTP/AVP with a=crypto is taken up where the
// policy is optional (RFC 8643); a conflict is refused, never downgraded.
func accept(policy conf.SRTPPolicy, offer *sdp.Audio) (security, error) {
	switch {
	case offer.Secure && policy == conf.SRTPRejected:
		return security{}, conflictf("%s offered, this side is plain RTP (srtp: rejected)", offer.Proto)
	case !offer.Secure && policy == conf.SRTPRequired:
		return security{}, conflictf("%s offered, this side requires SRTP (srtp: required)", offer.Proto)
	case !offer.Secure && (policy == conf.SRTPRejected || len(offer.Crypto) == 0):
		return security{}, nil
	}
	for _, c := range offer.Crypto {
		if p, ok := media.ParseProfile(c.Suite); ok && len(c.Key) == p.KeyLen() {
			local := sdp.Crypto{Tag: c.Tag, Suite: c.Suite, Key: newKey(p), MKI: ownIdentifier(c)}
			return security{local: local, remote: c, profile: p, on: true}, nil
		}
	}
	if !offer.Secure {
		return security{}, nil
	}
	if !offer.HasCrypto {
		return security{}, conflictf("%s offered without a=crypto; SDES is needed (RFC 4568)", offer.Proto)
	}
	return security{}, conflictf("no usable a=crypto offered; served: %s", suiteNames())
}

// ownIdentifier is the master key identifier of our key in the answer to a line:
// of the length that the peer's has, and none where it has none (RFC 4568 6.1). Its
// value is ours to choose; the line's tag says which key it stands for, or 1 where
// that doesn't fit.
func ownIdentifier(offered sdp.Crypto) []byte {
	if len(offered.MKI) == 0 {
		return nil
	}
	id := make([]byte, len(offered.MKI))
	for i, tag := len(id)-1, offered.Tag; i >= 0; i, tag = i-1, tag>>8 {
		id[i] = byte(tag)
	}
	if len(id) < 4 && offered.Tag>>(8*len(id)) != 0 {
		clear(id)
		id[len(id)-1] = 1
	}
	return id
}

// renew decides how the answer to a re-offer is protected: by policy, as the
// first time, and never less than the leg is. While the peer offers the suite
// in use our own key stays, whatever it does with its own (RFC 4568 7.1.4): the
// stream that we send goes on.
func renew(policy conf.SRTPPolicy, now security, offer *sdp.Audio) (security, error) {
	next, err := accept(policy, offer)
	if err != nil || !now.on {
		return next, err
	}
	if !next.on {
		return security{}, errDowngrade
	}
	for _, c := range offer.Crypto {
		if p, ok := media.ParseProfile(c.Suite); ok && p == now.profile && len(c.Key) == p.KeyLen() {
			next = now
			next.local.Tag, next.local.Suite, next.remote = c.Tag, c.Suite, c
			break
		}
	}
	return next, nil
}

var errDowngrade = conflictf("SRTP is in use and is missing from the session description")

func suiteNames() string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

// offerCrypto is what an offer of ours carries by policy.
func offerCrypto(policy conf.SRTPPolicy) (proto string, lines []sdp.Crypto) {
	if policy == conf.SRTPRejected {
		return "RTP/AVP", nil
	}
	for i, p := range profiles {
		lines = append(lines, sdp.Crypto{Tag: i + 1, Suite: p.String(), Key: newKey(p)})
	}
	if policy == conf.SRTPRequired {
		return "RTP/SAVP", lines
	}
	return "RTP/AVP", lines // opportunistic, RFC 8643
}

// acceptAnswer checks the answer's protection against what we offered.
func acceptAnswer(policy conf.SRTPPolicy, offered []sdp.Crypto, answer *sdp.Audio) (security, error) {
	if policy == conf.SRTPRequired && !answer.Secure {
		return security{}, conflictf("answer is %s, RTP/SAVP was offered", answer.Proto) // RFC 3264 6
	}
	if len(answer.Crypto) == 1 {
		c := answer.Crypto[0]
		p, served := media.ParseProfile(c.Suite)
		i := slices.IndexFunc(offered, func(o sdp.Crypto) bool {
			of, _ := media.ParseProfile(o.Suite) // by what it is: a suite may have two names
			return o.Tag == c.Tag && of == p
		})
		if served && i >= 0 && len(c.Key) == p.KeyLen() {
			return security{local: offered[i], remote: c, profile: p, on: true}, nil
		}
		return security{}, conflictf("answer accepts a=crypto %d %s, which was not offered so", c.Tag, c.Suite)
	}
	if answer.Secure || answer.HasCrypto {
		return security{}, conflictf("answer (%s) has no usable a=crypto", answer.Proto)
	}
	return security{}, nil
}

// forgetKeys wipes the keys that a call's descriptions still hold. The texts that
// they were read from, and written into, are not ours alone to wipe.
func (c *Call) forgetKeys() {
	for i := range c.legs {
		l := &c.legs[i]
		lines := slices.Concat(l.local.Crypto, []sdp.Crypto{l.sec.local, l.sec.remote}, descriptionKeys(l.remote))
		for _, early := range l.early {
			lines = append(lines, descriptionKeys(early.description)...)
		}
		for _, line := range lines {
			clear(line.Key)
		}
	}
}

func descriptionKeys(d *sdp.Description) []sdp.Crypto {
	if d == nil || d.Audio == nil {
		return nil
	}
	return d.Audio.Crypto
}

// fullFormats are all that we carry, for an offer that follows nobody else's.
// A number that the leg has had for a format stays with it, and is given to no
// other (RFC 3264 8.3.2).
func fullFormats(had []sdp.Format) []sdp.Format {
	out := make([]sdp.Format, 0, len(encodings))
	for _, e := range encodings {
		f := sdp.Format{Type: e.fixed, Name: e.name, Clock: e.clock}
		if e.kind == media.Event {
			f.Type, f.Fmtp = freeType(had), defaultEvents
		}
		if i := slices.IndexFunc(had, func(h sdp.Format) bool { return h.Is(e.name, e.clock) }); i >= 0 {
			f.Type = had[i].Type
		}
		out = append(out, f)
	}
	return out
}

// lateFormats is the offer to a caller that asked for one: what the callee
// takes first, then what we can convert into; events and comfort noise when the
// callee has them.
func lateFormats(callee []sdp.Format) []sdp.Format {
	formats, err := outgoingFormats(&sdp.Audio{Formats: callee})
	if err != nil { // an answer without audio was refused before
		return fullFormats(nil)
	}
	return formats
}

// freeType is a dynamic payload type that stands for nothing yet.
func freeType(had []sdp.Format) uint8 {
	for n := uint8(eventPayloadType); n < 128; n++ {
		if !slices.ContainsFunc(had, func(h sdp.Format) bool { return h.Type == n }) {
			return n
		}
	}
	return eventPayloadType
}

// outgoingFormats is the offer toward the callee: the caller's audio first,
// in its order, then what we can convert into; events and comfort noise only
// when the caller has them, since nobody could hear them otherwise.
func outgoingFormats(caller *sdp.Audio) ([]sdp.Format, error) {
	var out []sdp.Format
	has := func(k media.Kind) bool {
		return slices.ContainsFunc(out, func(f sdp.Format) bool { e, _ := encodingOf(f); return e.kind == k })
	}
	for _, f := range caller.Formats {
		if e, ok := encodingOf(f); ok && e.audio && !has(e.kind) {
			out = append(out, sdp.Format{Type: e.fixed, Name: e.name, Clock: e.clock})
		}
	}
	if len(out) == 0 {
		offered := caller.Names()
		if offered == "" {
			offered = "nothing readable"
		}
		return nil, conflictf("no common audio codec; offered: %s; served: PCMU/8000, PCMA/8000", offered)
	}
	for _, e := range encodings {
		switch f, offered := caller.Find(e.name, e.clock); {
		case e.audio && !has(e.kind):
			out = append(out, sdp.Format{Type: e.fixed, Name: e.name, Clock: e.clock})
		case !e.audio && offered && e.fixed != 0xff:
			out = append(out, sdp.Format{Type: e.fixed, Name: e.name, Clock: e.clock})
		case !e.audio && offered:
			out = append(out, sdp.Format{Type: eventType(f.Type), Name: e.name, Clock: e.clock, Fmtp: events(f.Fmtp)})
		}
	}
	return out, nil
}

// usable are the formats of an offer that this bridge carries.
func usable(a *sdp.Audio) []sdp.Format {
	return slices.DeleteFunc(slices.Clone(a.Formats), func(f sdp.Format) bool { _, ok := encodingOf(f); return !ok })
}

// eventType keeps the caller's number where it is a dynamic one, so that
// nothing has to be mapped in the usual case.
func eventType(callers uint8) uint8 {
	if callers >= 96 {
		return callers
	}
	return eventPayloadType
}

// events is a list of events fit to be passed on (RFC 4733 2.4.1).
func events(fmtp string) string {
	if fmtp == "" || strings.Trim(fmtp, "0123456789,-") != "" {
		return defaultEvents
	}
	return fmtp
}

// answered is what the callee's answer leaves: its formats that we offered.
func answeredFormats(offered []sdp.Format, answer *sdp.Audio) ([]sdp.Format, error) {
	var out []sdp.Format
	audio := false
	for _, f := range answer.Formats {
		e, ok := encodingOf(f)
		if !ok || !slices.ContainsFunc(offered, func(o sdp.Format) bool { return o.Is(e.name, e.clock) }) {
			continue
		}
		audio = audio || e.audio
		out = append(out, f)
	}
	if !audio {
		return nil, conflictf("answer has no audio codec that was offered: %s", answer.Names())
	}
	return out, nil
}

// callerFormats is the answer to the caller: one audio codec, the callee's
// where the caller offered it (pass-through), else the caller's first that we
// convert; events and comfort noise where both legs have them.
func callerFormats(caller *sdp.Audio, callee []sdp.Format) []sdp.Format {
	var out []sdp.Format
	for _, f := range callee {
		if e, ok := encodingOf(f); ok && e.audio {
			if mine, ok := caller.Find(e.name, e.clock); ok {
				out = append(out, mine)
			}
			break // what the callee prefers to receive
		}
	}
	if len(out) == 0 {
		for _, f := range caller.Formats {
			if e, ok := encodingOf(f); ok && e.audio {
				out = append(out, f)
				break
			}
		}
	}
	for _, e := range encodings {
		both := slices.ContainsFunc(callee, func(f sdp.Format) bool { return f.Is(e.name, e.clock) })
		if f, ok := caller.Find(e.name, e.clock); ok && both && !e.audio {
			if e.kind == media.Event {
				f.Fmtp = events(f.Fmtp)
			} else {
				f.Fmtp = ""
			}
			out = append(out, f)
		}
	}
	return out
}

// payloads turns formats into what the media plane maps.
func payloads(formats []sdp.Format) []media.Payload {
	var out []media.Payload
	for _, f := range formats {
		if e, ok := encodingOf(f); ok {
			out = append(out, media.Payload{Type: f.Type, Kind: e.kind})
		}
	}
	return out
}

// audioName is the name of the first audio codec among formats.
func audioName(formats []sdp.Format) string {
	for _, f := range formats {
		if e, ok := encodingOf(f); ok && e.audio {
			return e.name
		}
	}
	return ""
}
