package media

import "math"

// Limits of RFC 3550 A.1, in packets.
const (
	maxDropout  = 3000 // a gap this long is a restart and not a loss
	maxMisorder = 100  // a packet this late is a restart and not a reordering
	noSequence  = 1<<16 + 1
)

// clockRate is the RTP clock of everything that a bridge carries, in Hz, and
// tickNanos the length of its tick.
const (
	clockRate = 8000
	tickNanos = 1_000_000_000 / clockRate
)

// clockStep is the change of transit time, in clock ticks, that is taken for a
// restart of the sender's clock. Senders that stop their timestamps through
// silence or hold do that; as jitter it would hide everything else that a call
// went through. 3 s is longer than any network holds a packet that still counts.
const clockStep = 3 * clockRate

// verdict is what a received packet is to the stream that it belongs to.
type verdict uint8

const (
	follows  verdict = iota // belongs to the stream, in order or not
	begins                  // the first packet of a stream, or of one that jumped
	again                   // belongs to the stream and has been there
	stranger                // another source, which has to show a second packet in sequence
	jumped                  // a jump of the sequence, which has to be confirmed by the next packet
)

// reception is the state of the stream that a leg receives: RFC 3550's struct
// source (A.1), loss (A.3) and jitter (A.8), with a window to know duplicates by.
//
// It differs from A.1 in one point. The first source of a leg is taken at its
// first packet, without probation, because it was authenticated or came from the
// address that signalling gave, and because the first syllable matters. A source
// that takes over from another goes through probation, so that a stray packet
// doesn't cut the stream that is playing.
//
// It has no clock and is told arrival times.
type reception struct {
	started bool
	awaits  bool // another peer's stream, which begins with whatever comes next
	ssrc    uint32

	// The present run of the sequence, as in A.1. Sequence numbers with their
	// cycles are 32-bit and wrap; all of their uses are differences.
	maxSequence   uint16
	cycles        uint32
	baseSequence  uint32
	badSequence   uint32
	received      uint32
	expectedPrior uint32
	receivedPrior uint32
	window        [2]uint64 // bit i: maxSequence-i has been there

	// A source that wants to take over.
	candidate         bool
	candidateSSRC     uint32
	candidateSequence uint16

	// Jitter, in clock ticks scaled by 16.
	timed     bool
	transit   uint32
	jitter    uint32
	jitterMax uint32

	// Over all runs.
	total      traffic
	restarts   uint64 // jumps within one SSRC
	lostBefore int64  // by the runs before the present one
}

// admit takes note of a packet's source and sequence number. extended is the
// number with the cycles above it, for follows and begins.
func (r *reception) admit(ssrc uint32, sequence uint16) (extended uint32, v verdict) {
	if !r.started || r.awaits {
		return r.begin(ssrc, sequence), begins
	}
	if ssrc != r.ssrc {
		if r.candidate && r.candidateSSRC == ssrc && sequence == r.candidateSequence+1 {
			return r.begin(ssrc, sequence), begins
		}
		r.candidate, r.candidateSSRC, r.candidateSequence = true, ssrc, sequence
		return 0, stranger
	}
	ahead := sequence - r.maxSequence
	switch {
	case ahead == 0:
		r.received++
		return 0, again
	case ahead < maxDropout:
		if sequence < r.maxSequence {
			r.cycles += 1 << 16
		}
		r.maxSequence = sequence
		r.received++
		r.candidate = false // this source goes on: another has to begin its proof anew
		r.shift(ahead)
		return r.cycles + uint32(sequence), follows
	case ahead <= math.MaxUint16+1-maxMisorder:
		if uint32(sequence) == r.badSequence {
			return r.begin(ssrc, sequence), begins
		}
		r.badSequence = uint32(sequence + 1)
		return 0, jumped
	}
	r.received++
	behind := -ahead
	if r.mark(behind) {
		return 0, again
	}
	return r.extendedMax() - uint32(behind), follows
}

// begin starts a run. What the run before lost stays counted.
func (r *reception) begin(ssrc uint32, sequence uint16) (extended uint32) {
	r.lostBefore = r.lost()
	switch {
	case ssrc != r.ssrc:
		r.jitter = 0 // of another clock (RFC 3550 A.8 keeps it per source)
	case r.started && !r.awaits:
		r.restarts++
	}
	r.started, r.ssrc, r.candidate, r.awaits = true, ssrc, false, false
	// A whole cycle below the first number keeps the extended numbers of packets
	// from before it, which may come late, from wrapping.
	r.cycles, r.maxSequence = 1<<16, sequence
	r.baseSequence = r.extendedMax()
	r.badSequence = noSequence
	r.received, r.receivedPrior, r.expectedPrior = 1, 0, 0
	r.window = [2]uint64{1, 0}
	r.timed = false
	return r.baseSequence
}

// await makes the next packet, whoever it is from, the first of a new run. What
// came so far stays counted.
func (r *reception) await() { r.awaits = true }

// shift moves the window ahead and marks its newest place.
func (r *reception) shift(by uint16) {
	switch {
	case by >= 128:
		r.window = [2]uint64{}
	case by >= 64:
		r.window = [2]uint64{0, r.window[0] << (by - 64)}
	default:
		r.window[1] = r.window[1]<<by | r.window[0]>>(64-by)
		r.window[0] <<= by
	}
	r.window[0] |= 1
}

// mark marks a place behind the newest, and reports whether it was marked.
func (r *reception) mark(behind uint16) (was bool) {
	word, bit := &r.window[behind/64], uint64(1)<<(behind%64)
	was = *word&bit != 0
	*word |= bit
	return was
}

// clock takes an admitted packet's timestamp and its arrival, in nanoseconds,
// into the jitter (A.8). It is not for telephone events, whose timestamps stand
// still while the event lasts (RFC 4733 section 2.2).
func (r *reception) clock(timestamp uint32, arrival int64) {
	transit := uint32(arrival/tickNanos) - timestamp
	d := int32(transit - r.transit)
	first := !r.timed
	r.timed, r.transit = true, transit
	if d < 0 {
		d = -d
	}
	if first || d < 0 || d > clockStep {
		return
	}
	r.jitter += uint32(d) - (r.jitter+8)>>4
	r.jitterMax = max(r.jitterMax, r.jitter)
}

// extendedMax is the highest sequence number of the run, with its cycles.
func (r *reception) extendedMax() uint32 { return r.cycles + uint32(r.maxSequence) }

// expected is how many packets the run should have had (A.3).
func (r *reception) expected() uint32 {
	if !r.started {
		return 0
	}
	return r.extendedMax() - r.baseSequence + 1
}

// lost is A.3's cumulative number of packets lost, over all runs. Duplicates
// count as received, so it can be negative.
func (r *reception) lost() int64 {
	return r.lostBefore + int64(r.expected()) - int64(r.received)
}

// interval closes a reporting interval and returns the fraction lost in it, in
// 256ths (A.3), and whether anything came at all.
func (r *reception) interval() (fraction uint8, heard bool) {
	expected := r.expected() - r.expectedPrior
	received := r.received - r.receivedPrior
	r.expectedPrior += expected
	r.receivedPrior += received
	if lost := int64(expected) - int64(received); expected != 0 && lost > 0 {
		fraction = uint8(min(lost<<8/int64(expected), math.MaxUint8))
	}
	return fraction, received != 0
}

// milliseconds turns a jitter of this package's scale into milliseconds.
func milliseconds(jitter uint32) float64 { return float64(jitter) / (16 * clockRate / 1000) }
