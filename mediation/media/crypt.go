package media

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

const (
	// replayWindow is how many packets back a protected packet is still known to
	// be new. RFC 3711 section 3.3.2 asks for 64 at least.
	replayWindow = 128
	// sourceLimit is how many SSRCs one key may bring, for RTP and RTCP each. A
	// phone that changes its SSRC with each hold needs a few; each takes memory as
	// long as the key is in use, since forgetting one would let its packets be
	// replayed.
	sourceLimit = 256
	// keyOverlap is how long the keys that a leg had before are still good, for
	// packets that were under way when signalling changed them.
	keyOverlap = 5 * time.Second
	// keyHistory is how many remote keys before the present one are remembered with
	// the packets that came under them. A call that goes away to another device and
	// comes back has two or three; a key that comes back after this many others is
	// taken for a new one.
	keyHistory = 8
	// median is half of the sequence: what is further away is of another cycle (RFC
	// 3711 section 3.3.1).
	median = 1 << 15
)

// newContext makes a cryptographic context of one direction. pion/srtp leaves
// replay protection off unless asked.
func newContext(p Profile, key []byte) (*srtp.Context, error) {
	suite := &suites[p]
	ctx, err := srtp.CreateContext(key[:suite.key], key[suite.key:], suite.pion,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return ctx, nil
}

// errNoRoom is for a packet that would not fit its buffer any more once protected.
var errNoRoom = errors.New("no room for the authentication tag")

// sealer protects what a leg sends.
type sealer struct {
	profile Profile
	ctx     *srtp.Context
	mki     []byte
}

func newSealer(p Profile, key []byte) (*sealer, error) {
	ctx, err := newContext(p, key)
	if err != nil {
		return nil, err
	}
	return &sealer{profile: p, ctx: ctx}, nil
}

// rtp protects an RTP packet in place; its capacity must have room for the tag.
func (s *sealer) rtp(b []byte, scratch *rtp.Header) ([]byte, error) {
	if cap(b)-len(b) < suites[s.profile].rtpTag+len(s.mki) {
		return nil, errNoRoom
	}
	out, err := s.ctx.EncryptRTP(b, b, scratch)
	if err != nil {
		return nil, err
	}
	return insert(out, s.mki, suites[s.profile].rtpTrailer), nil
}

// rtcp protects a compound RTCP packet in place, likewise.
func (s *sealer) rtcp(b []byte) ([]byte, error) {
	if cap(b)-len(b) < s.profile.rtcpOverhead()+len(s.mki) {
		return nil, errNoRoom
	}
	out, err := s.ctx.EncryptRTCP(b, b, nil)
	if err != nil {
		return nil, err
	}
	return insert(out, s.mki, suites[s.profile].rtcpTrailer), nil
}

// insert puts a master key identifier before the last bytes of a packet, whose
// capacity has room for it.
func insert(b, mki []byte, trailer int) []byte {
	if len(mki) == 0 {
		return b
	}
	at := len(b) - trailer
	b = b[:len(b)+len(mki)]
	copy(b[at+len(mki):], b[at:])
	copy(b[at:], mki)
	return b
}

// opened is one context that received packets may belong to, with the sources
// that it knows. The identifiers of keys are ours to see to and not the library's,
// whose contexts can't have another than they were made with; a peer may change it
// and keep the key, whose list of packets seen has to stay.
type opened struct {
	profile  Profile
	key      []byte // a copy, to know the key by when it comes back; wiped when it is forgotten
	ctx      *srtp.Context
	mki      []byte
	lifetime uint64 // in packets of RTP and of RTCP each; 0 for as long as the library lets it
	rtps     uint64 // authenticated so far
	rtcps    uint64 // likewise
	minRTP   int    // what has to follow the header, in bytes, besides the identifier
	minRTCP  int    // what an SRTCP packet is long at least, in bytes, likewise
	rtpSSRC  int
	rtcpSSRC int

	last    uint32            // the source of the last RTP packet
	highest uint16            // its sequence number that the rollover counter belongs to
	others  map[uint32]uint16 // the same of the other sources, as far as they were heard

	goesOn place // where a source may go on that was heard under the key before
}

// place is where in its sequence a source stood when its key changed.
type place struct {
	open     bool // how the source counts under this key isn't known yet
	ssrc     uint32
	rollover uint32
	sequence uint16
}

// rolloverOf estimates the rollover counter of a packet by RFC 3711 appendix A. What
// would be before the beginning counts to it.
func (p *place) rolloverOf(sequence uint16) uint32 {
	switch {
	case p.sequence < median && int(sequence)-int(p.sequence) > median && p.rollover > 0:
		return p.rollover - 1
	case p.sequence >= median && int(p.sequence)-median > int(sequence):
		return p.rollover + 1
	}
	return p.rollover
}

// opener authenticates and decrypts what a leg receives.
//
// When signalling changes the key, the key before is still good for a while; and it
// is open how the stream counts under the new one, because peers disagree whether
// its rollover counter goes on (RFC 3711 section 3.3.1) or starts over (RFC 4568
// section 6.4, and every phone that just makes a new context). Authentication tells
// which is right, whenever the peer says something next.
//
// A key that was in use before goes on where it was left: with a context made anew,
// everything that was ever sent under it could be replayed (RFC 3711 section
// 3.3.2), and its rollover counter would be wrong.
type opener struct {
	now   *opened
	old   *opened
	until time.Time // when old is given up
	past  []*opened // under other keys, the oldest first
}

func newOpener(p Profile, key []byte) (*opener, error) {
	ctx, err := newContext(p, key)
	if err != nil {
		return nil, err
	}
	return &opener{now: &opened{
		profile: p, key: bytes.Clone(key), ctx: ctx,
		minRTP: suites[p].rtpTag, minRTCP: p.rtcpOverhead() + rtcpHeader,
	}}, nil
}

// succeed takes over from the opener of the key before.
func (o *opener) succeed(before *opener, now time.Time) {
	o.old, o.until = before.now, now.Add(keyOverlap)
	// Nothing has to be remembered of a key that nothing came under, but something
	// may still come under the last one.
	o.past = slices.DeleteFunc(before.past, (*opened).forgotten)
	if len(o.past) == keyHistory {
		o.past[0].wipe()
		o.past = slices.Delete(o.past, 0, 1)
	}
	o.past = append(o.past, before.now)
	if i := slices.IndexFunc(o.past, o.now.same); i >= 0 {
		o.now.wipe()
		o.now = o.past[i]
		o.past = slices.Delete(o.past, i, i+1)
	}
	if !o.now.used() {
		o.now.goesOn = before.now.where()
	}
}

// where is the place of the source that was heard last.
func (o *opened) where() place {
	if o.rtpSSRC == 0 {
		return o.goesOn // nobody was heard since the change before this one
	}
	rollover, _ := o.ctx.ROC(o.last)
	return place{open: true, ssrc: o.last, rollover: rollover, sequence: o.highest}
}

// used reports whether a packet came under the key.
func (o *opened) used() bool { return o.rtps+o.rtcps > 0 }

// forgotten wipes an unused key, and reports whether it was one.
func (o *opened) forgotten() bool {
	if o.used() {
		return false
	}
	o.wipe()
	return true
}

// same reports whether two contexts are of one key.
func (o *opened) same(other *opened) bool {
	return o.profile == other.profile && subtle.ConstantTimeCompare(o.key, other.key) == 1
}

// wipe forgets the key; the derived ones are in the library's context.
func (o *opened) wipe() { clear(o.key) }

// settle gives up what was before at once.
func (o *opener) settle() {
	if o != nil {
		o.old, o.now.goesOn = nil, place{}
	}
}

// wipe forgets all keys.
func (o *opener) wipe() {
	if o == nil {
		return
	}
	o.now.wipe()
	for _, before := range o.past {
		before.wipe()
	}
}

// overlaps reports whether the key before is still good.
func (o *opener) overlaps(now time.Time) bool {
	if o.old != nil && now.After(o.until) {
		o.old = nil
	}
	return o.old != nil
}

// rtp opens an SRTP packet in place. The result lies in b.
func (o *opener) rtp(b []byte, h *header, w *worker, now time.Time) ([]byte, Drop) {
	overlaps, goesOn := o.overlaps(now), o.now.goesOn
	goesOn.open = goesOn.open && goesOn.ssrc == h.ssrc
	if !overlaps && !goesOn.open {
		return o.now.rtp(b, h, &w.header)
	}
	// A failed attempt may leave the packet spoilt (GCM clears what it cannot
	// vouch for), so each gets a copy.
	copied := w.scratch[:copy(w.scratch[:], b)]
	out, drop := o.now.rtp(b, h, &w.header)
	if !drop.ofOtherKey() {
		return out, drop
	}
	if rollover := goesOn.rolloverOf(h.sequence); goesOn.open && rollover > 0 {
		copy(b, copied)
		if out, drop := o.now.rtpAt(b, h, rollover, &w.header); drop == passed {
			return out, drop
		}
	}
	if !overlaps {
		return nil, drop
	}
	copy(b, copied)
	out, again := o.old.rtp(b, h, &w.header)
	return out, either(drop, again)
}

// ofOtherKey reports whether a packet that was dropped so may be good under another
// key, whose suite may have a shorter tag. What looks like a replay may be of a
// sequence that was started anew with the new key.
func (d Drop) ofOtherKey() bool {
	return d == dropAuth || d == dropShort || d == dropMKI || d == dropReplay
}

// either is what became of a packet that was tried under two keys: of two reasons
// the one that says more.
func either(now, old Drop) Drop {
	if now == dropReplay && old.ofOtherKey() {
		return now
	}
	return old
}

// rtcp opens an SRTCP packet in place.
func (o *opener) rtcp(b []byte, ssrc uint32, w *worker, now time.Time) ([]byte, Drop) {
	if !o.overlaps(now) {
		return o.now.rtcp(b, ssrc)
	}
	copied := w.scratch[:copy(w.scratch[:], b)]
	out, drop := o.now.rtcp(b, ssrc)
	if !drop.ofOtherKey() {
		return out, drop
	}
	copy(b, copied)
	out, again := o.old.rtcp(b, ssrc)
	return out, either(drop, again)
}

// rtpAt opens a packet of the source whose place is open, under a rollover counter.
// If that was right the source counts so from then on.
func (o *opened) rtpAt(b []byte, h *header, rollover uint32, scratch *rtp.Header) ([]byte, Drop) {
	o.ctx.SetROC(h.ssrc, rollover)
	out, drop := o.rtp(b, h, scratch)
	if drop != passed {
		o.ctx.SetROC(h.ssrc, 0) // as if it had not been heard
	}
	return out, drop
}

func (o *opened) rtp(b []byte, h *header, scratch *rtp.Header) ([]byte, Drop) {
	if drop := o.serves(o.rtps, len(b), h.length+o.minRTP); drop != passed {
		return nil, drop
	}
	b, ok := o.strip(b, suites[o.profile].rtpTrailer)
	if !ok {
		return nil, dropMKI
	}
	fresh := h.ssrc != o.last || o.rtpSSRC == 0
	if fresh {
		_, known := o.ctx.ROC(h.ssrc)
		// The source whose place is open has not been heard, whatever was tried for it.
		if fresh = !known || o.goesOn.open && o.goesOn.ssrc == h.ssrc; fresh && o.rtpSSRC >= sourceLimit {
			return nil, dropSSRCLimit
		}
	}
	out, err := o.ctx.DecryptRTP(b, b, scratch)
	if err != nil {
		return nil, o.classify(err, b, scratch)
	}
	o.rtps++
	if fresh {
		o.rtpSSRC++
	}
	o.follow(h, fresh)
	if o.goesOn.ssrc == h.ssrc {
		o.goesOn = place{}
	}
	return out, passed
}

// follow takes note of where a packet that was opened leaves its source, which is a
// fresh one or not. The library knows, and doesn't say.
func (o *opened) follow(h *header, fresh bool) {
	if h.ssrc != o.last && o.rtpSSRC > 1 {
		if o.others == nil {
			o.others = map[uint32]uint16{}
		}
		o.others[o.last] = o.highest
		o.highest = o.others[h.ssrc]
	}
	if fresh || o.newest(h) {
		o.highest = h.sequence
	}
	o.last = h.ssrc
}

// newest reports whether a packet that was opened has the highest index of its
// source so far, by the rule of [place.rolloverOf].
func (o *opened) newest(h *header) bool {
	ahead := int(h.sequence) - int(o.highest)
	if ahead <= median {
		return ahead > 0 || -ahead > median
	}
	rollover, _ := o.ctx.ROC(h.ssrc)
	return rollover == 0 // there is no cycle before the first that it could be from
}

// serves checks whether the key may be used any more after so many packets, and what
// can be said by a packet's length, of which so much is needed besides the identifier.
func (o *opened) serves(packets uint64, length, needed int) Drop {
	switch {
	case o.lifetime != 0 && packets >= o.lifetime:
		return dropKeyExpired
	case length < needed+len(o.mki):
		return dropShort
	}
	return passed
}

// strip takes the identifier out of a packet, from before the trailer.
func (o *opened) strip(b []byte, trailer int) ([]byte, bool) {
	if len(o.mki) == 0 {
		return b, true
	}
	end := len(b) - trailer
	at := end - len(o.mki)
	if !bytes.Equal(b[at:end], o.mki) {
		return nil, false
	}
	copy(b[at:], b[end:])
	return b[:len(b)-len(o.mki)], true
}

// classify names the reason of a failure. The library tells authentication apart;
// of the others, what a second look at the header doesn't explain was a replay.
func (o *opened) classify(err error, b []byte, scratch *rtp.Header) Drop {
	if errors.Is(err, srtp.ErrFailedToVerifyAuthTag) {
		return dropAuth
	}
	if _, err := scratch.Unmarshal(b); err != nil {
		return dropMalformed
	}
	if scratch.Extension && (scratch.ExtensionProfile == rtp.CryptexProfileOneByte ||
		scratch.ExtensionProfile == rtp.CryptexProfileTwoByte) {
		return dropMalformed // encrypted headers (RFC 9335) were not offered
	}
	return dropReplay
}

func (o *opened) rtcp(b []byte, ssrc uint32) ([]byte, Drop) {
	if drop := o.serves(o.rtcps, len(b), o.minRTCP); drop != passed {
		return nil, drop
	}
	b, ok := o.strip(b, suites[o.profile].rtcpTrailer)
	if !ok {
		return nil, dropMKI
	}
	_, known := o.ctx.Index(ssrc)
	if !known && o.rtcpSSRC >= sourceLimit {
		return nil, dropSSRCLimit
	}
	out, err := o.ctx.DecryptRTCP(b, b, nil)
	if err != nil {
		if errors.Is(err, srtp.ErrFailedToVerifyAuthTag) {
			return nil, dropAuth
		}
		return nil, dropReplay
	}
	o.rtcps++
	if !known {
		o.rtcpSSRC++
	}
	return out, passed
}

// rtcpOverhead is what SRTCP adds to a packet besides an identifier, in bytes: the
// tag and the index.
func (p Profile) rtcpOverhead() int { return suites[p].rtcpTag + 4 }
