package route

import "math"

// Of RFC 3550 appendix A.1: a sequence number may be so much ahead of the highest,
// or so much behind it; anything else is a jump, which the next packet has to
// confirm.
const (
	maxDropout  = 3000
	maxMisorder = 100
	noJump      = 1 << 16 // not a sequence number
)

// maxDrift is how far timestamp and arrival may move apart between two packets, in
// nanoseconds, to be called jitter; more is a timestamp that was set anew.
const maxDrift = 5 * second

const second = 1_000_000_000 // in nanoseconds

// stream is one source. There are two for every allocation that carries voice, so that its fields are in an order without
// gaps.
type stream struct {
	next *stream

	// Sequence numbers, as in RFC 3550 appendix A.1, with cycles.
	highest  uint64
	base     uint64
	received uint64 // since base
	packets  uint64 // before base
	lost     uint64 // before base

	heard  int64 // when the last packet came
	at     int64 // when the newest timestamp came first
	jitter float64
	clock  clock

	ssrc      uint32
	timestamp uint32
	jump      uint32 // the sequence number that would confirm a jump, or noJump
	payload   uint8
	timed     bool // there is a value for jitter
}

// newStream begins with the second packet; the one before it counts too.
func newStream(at int64, h header) *stream {
	s := &stream{ssrc: h.ssrc, payload: h.payload, heard: at}
	s.restart(h)
	s.base--
	s.received = 2
	s.at, s.timestamp = at, h.timestamp
	s.clock.follow(at, h)
	return s
}

// restart begins a run of sequence numbers.
func (s *stream) restart(h header) {
	s.packets += s.received
	s.lost += s.missing()
	s.highest = 1<<16 | uint64(h.sequence) // one cycle up, so that nothing goes below zero
	s.base, s.received = s.highest, 0
	s.jump = noJump
	s.clock.restart()
}

// missing is what was lost since base.
func (s *stream) missing() uint64 {
	if expected := s.highest - s.base + 1; s.received > 0 && expected > s.received {
		return expected - s.received
	}
	return 0
}

// take counts a packet and measures it if it is a newer one.
func (s *stream) take(at int64, h header) {
	s.heard = at
	ahead := h.sequence - uint16(s.highest)
	newer := ahead > 0 && ahead < maxDropout
	jumped := false
	switch {
	case newer:
		s.highest += uint64(ahead)
	case ahead >= maxDropout && ahead <= 1<<16-maxMisorder:
		if uint32(h.sequence) != s.jump {
			s.jump = uint32(h.sequence + 1)
			return
		}
		s.restart(h)
		jumped = true
	}
	s.jump = noJump
	s.received++
	s.payload = h.payload
	switch {
	case jumped:
		s.clock.follow(at, h)
		s.at, s.timestamp = at, h.timestamp
	case newer && h.timestamp != s.timestamp:
		// Packets of one video frame or of one telephone event have one timestamp, of
		// which only the first was sent at its time.
		s.time(at, h)
	}
}

// time measures interarrival jitter (RFC 3550 section 6.4.1, appendix A.8).
func (s *stream) time(at int64, h header) {
	if s.clock.follow(at, h) {
		s.timed, s.jitter = false, 0
	} else if rate := s.clock.rate; rate != 0 {
		ticks := int64(int32(h.timestamp - s.timestamp))
		drift := at - s.at - ticks*second/int64(rate)
		if -maxDrift < drift && drift < maxDrift {
			s.jitter += (math.Abs(float64(drift)) - s.jitter) / 16
			s.timed = true
		}
	}
	s.at, s.timestamp = at, h.timestamp
}

func (s *stream) snapshot() Stream {
	out := Stream{
		SSRC:      s.ssrc,
		PT:        s.payload,
		Packets:   s.packets + s.received,
		Lost:      s.lost + s.missing(),
		ClockRate: int(s.clock.rate),
	}
	if s.timed {
		ms := s.jitter / 1e6
		out.JitterMS = &ms
	}
	return out
}
