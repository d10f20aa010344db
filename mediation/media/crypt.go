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

// sealer protects what a leg sends.
type sealer struct {
	ctx *srtp.Context
}

// rtp protects an RTP packet in place; its capacity must have room for the tag.
func (s *sealer) rtp(b []byte, scratch *rtp.Header) ([]byte, error) {
	return s.ctx.EncryptRTP(b, b, scratch)
}

// rtcp protects a compound RTCP packet in place, likewise.
func (s *sealer) rtcp(b []byte) ([]byte, error) { return s.ctx.EncryptRTCP(b, b, nil) }

// opened is one context that received packets may belong to, with the sources
// that it knows.
type opened struct {
	profile  Profile
	key      []byte // a copy, to know the key by when it comes back; wiped when it is forgotten
	ctx      *srtp.Context
	minRTP   int // what has to follow the header, in bytes
	minRTCP  int // what an SRTCP packet is long at least, in bytes
	last     uint32
	rtpSSRC  int
	rtcpSSRC int
}

// opener authenticates and decrypts what a leg receives.
//
// It holds more than one context only for a while after signalling changed the
// key: the new key twice, if the old stream's rollover counter was not zero any
// more, because peers disagree whether it goes on under a new key (RFC 3711
// section 3.3.1) or starts over (RFC 4568 section 6.4, and every phone that just
// makes a new context); and the old key. Authentication tells which is right.
//
// A key that was in use before goes on where it was left: with a context made anew,
// everything that was ever sent under it could be replayed (RFC 3711 section
// 3.3.2), and its rollover counter would be wrong.
type opener struct {
	now       *opened
	alternate *opened // the same key, counting on
	old       *opened
	until     time.Time // when alternate and old are given up
	past      []*opened // under other keys, the oldest first
}

func newOpener(p Profile, key []byte) (*opener, error) {
	o, err := newOpened(p, key)
	if err != nil {
		return nil, err
	}
	return &opener{now: o}, nil
}

func newOpened(p Profile, key []byte) (*opened, error) {
	ctx, err := newContext(p, key)
	if err != nil {
		return nil, err
	}
	return &opened{profile: p, key: bytes.Clone(key), ctx: ctx, minRTP: suites[p].rtpTag, minRTCP: p.rtcpOverhead() + 8}, nil
}

// succeed takes over from the opener of the key before; alternate is a second
// context of the new key, to be used if the stream has to be counted on.
func (o *opener) succeed(before *opener, alternate *opened, ssrc uint32, now time.Time) {
	o.old = before.now
	o.until = now.Add(keyOverlap)
	before.alternate.wipe()
	o.past = before.past
	if before.now.used() {
		o.past = append(o.past, before.now)
	} else {
		before.now.wipe() // there is nothing to remember, nor is it known which way it counts
	}
	if i := slices.IndexFunc(o.past, o.now.same); i >= 0 {
		o.now.wipe()
		alternate.wipe()
		o.now = o.past[i]
		o.past = slices.Delete(o.past, i, i+1)
		return
	}
	if len(o.past) > keyHistory {
		o.past[0].wipe()
		o.past = slices.Delete(o.past, 0, 1)
	}
	if roc, ok := before.now.ctx.ROC(ssrc); ok && roc > 0 {
		alternate.ctx.SetROC(ssrc, roc)
		alternate.rtpSSRC = 1
		o.alternate = alternate
	} else {
		alternate.wipe()
	}
}

// used reports whether a packet came under the key.
func (o *opened) used() bool { return o.rtpSSRC+o.rtcpSSRC > 0 }

// same reports whether two contexts are of one key.
func (o *opened) same(other *opened) bool {
	return o.profile == other.profile && subtle.ConstantTimeCompare(o.key, other.key) == 1
}

// wipe forgets the key; the derived ones are in the library's context. o may be
// nil.
func (o *opened) wipe() {
	if o != nil {
		clear(o.key)
	}
}

// settle gives up the keys of before at once.
func (o *opener) settle() {
	if o == nil {
		return
	}
	o.alternate.wipe()
	o.old, o.alternate = nil, nil
}

// wipe forgets all keys.
func (o *opener) wipe() {
	if o == nil {
		return
	}
	o.now.wipe()
	o.alternate.wipe()
	for _, before := range o.past {
		before.wipe()
	}
}

// rtp opens an SRTP packet in place. The result lies in b.
func (o *opener) rtp(b []byte, h *header, w *worker, now time.Time) ([]byte, Drop) {
	if o.old == nil {
		return o.now.rtp(b, h, &w.header)
	}
	if now.After(o.until) {
		o.alternate.wipe()
		o.old, o.alternate = nil, nil
		return o.now.rtp(b, h, &w.header)
	}
	// A failed attempt may leave the packet spoilt (GCM clears what it cannot
	// vouch for), so each gets a copy.
	copied := w.scratch[:copy(w.scratch[:], b)]
	out, drop := o.now.rtp(b, h, &w.header)
	if drop != dropAuth && drop != dropShort { // the old suite's tag may be the shorter one
		return out, drop
	}
	if o.alternate != nil {
		copy(b, copied)
		if out, drop := o.alternate.rtp(b, h, &w.header); drop == passed {
			o.now.wipe()
			o.now, o.alternate = o.alternate, nil
			return out, drop
		}
	}
	copy(b, copied)
	return o.old.rtp(b, h, &w.header)
}

// rtcp opens an SRTCP packet in place.
func (o *opener) rtcp(b []byte, ssrc uint32, w *worker, now time.Time) ([]byte, Drop) {
	if o.old == nil || now.After(o.until) {
		return o.now.rtcp(b, ssrc)
	}
	copied := w.scratch[:copy(w.scratch[:], b)]
	if out, drop := o.now.rtcp(b, ssrc); drop != dropAuth && drop != dropShort {
		return out, drop
	}
	copy(b, copied)
	return o.old.rtcp(b, ssrc)
}

func (o *opened) rtp(b []byte, h *header, scratch *rtp.Header) ([]byte, Drop) {
	if len(b) < h.length+o.minRTP {
		return nil, dropShort
	}
	fresh := h.ssrc != o.last || o.rtpSSRC == 0
	if fresh {
		_, known := o.ctx.ROC(h.ssrc)
		if fresh = !known; fresh && o.rtpSSRC >= sourceLimit {
			return nil, dropSSRCLimit
		}
	}
	out, err := o.ctx.DecryptRTP(b, b, scratch)
	if err != nil {
		return nil, o.classify(err, b, scratch)
	}
	if fresh {
		o.rtpSSRC++
	}
	o.last = h.ssrc
	return out, passed
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
	if len(b) < o.minRTCP {
		return nil, dropShort
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
	if !known {
		o.rtcpSSRC++
	}
	return out, passed
}

// rtcpOverhead is what SRTCP adds to a packet, in bytes: the tag (80 bits for
// both AES-CM suites, RFC 4568 section 6.2) and the index.
func (p Profile) rtcpOverhead() int {
	if p == AES128_GCM {
		return 16 + 4
	}
	return 10 + 4
}
