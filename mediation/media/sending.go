package media

// frame is how long a packet lasts that doesn't say, in clock ticks: 20 ms, the
// packet time of all but few.
const frame = 160

// arrival is where a packet stands in the stream that it came in.
type arrival struct {
	extended uint32 // sequence number with cycles
	at       int64  // when, in nanoseconds since the Unix epoch
	begins   bool   // the first of a run
	newest   bool   // nothing after it came yet
}

// sending is the state of the stream that a leg sends. The stream has its own
// SSRC, and takes over the sequence and timestamps of what comes in on the other
// leg with an offset to each, so that the far end sees the losses and the order
// of the original. Where the input starts over (another source, a jump, a pause in
// which nothing could be sent, or digits of ours were) the offsets are chosen anew: the next sequence
// number follows the last one, and the timestamp moves on by the time that passed
// (RFC 3550 section 5.1).
//
// No sequence number is used for two packets. Under SRTP that would be the same
// key stream twice (RFC 3711 section 9.1). So whatever the input had before the
// present join is refused, because its numbers may be taken.
//
// It has no clock and is told arrival times, in nanoseconds.
type sending struct {
	ssrc    uint32
	started bool // something was sent
	joined  bool // the offsets fit the present input

	sequenceOffset  uint16
	timestampOffset uint32
	floor           uint32 // extended sequence number of the input where the join is
	lastSequence    uint16 // the highest sent, or the one before the first

	// How the stream's timestamps relate to time: those of the newest packet that
	// has the time of its sending as its timestamp, which events do not.
	clocked       bool
	lastTimestamp uint32
	lastArrival   int64
	lastSpan      uint32 // how long its payload lasts, in clock ticks

	total  traffic
	before traffic // of that, under the SSRCs before
}

// reset starts a stream with numbers that nobody can guess. The first sequence
// number stays in the lower half of its range, so that losing the first packets
// doesn't have the receiver guess a wrong rollover counter (RFC 3711 section
// 3.3.1).
func (s *sending) reset(ssrc, timestamp uint32, sequence uint16) {
	*s = sending{
		ssrc:          ssrc,
		lastSequence:  sequence &^ (1 << 15),
		lastTimestamp: timestamp,
		total:         s.total,
		before:        s.total,
	}
}

// place says where an input packet goes in the stream. joins tells that the
// stream is joined anew with it; ok is false for one that comes from before the
// join.
func (s *sending) place(in *header, a arrival) (out header, joins, ok bool) {
	joins = a.begins || !s.joined
	if joins {
		s.join(in, a)
	} else if int32(a.extended-s.floor) < 0 {
		return header{}, false, false
	}
	return header{
		marker:    in.marker,
		sequence:  in.sequence + s.sequenceOffset,
		timestamp: in.timestamp + s.timestampOffset,
		ssrc:      s.ssrc,
	}, joins, true
}

func (s *sending) join(in *header, a arrival) {
	s.sequenceOffset = s.lastSequence + 1 - in.sequence
	s.timestampOffset = s.next(a.at) - in.timestamp
	s.floor = a.extended
	s.joined = true
}

// next is the timestamp of a packet that has nothing to do with the one before:
// that one's, and the time that passed since, but not less than it lasts.
func (s *sending) next(at int64) uint32 {
	if !s.clocked {
		return s.lastTimestamp
	}
	passed := uint32(max(at-s.lastArrival, 0) / tickNanos)
	return s.lastTimestamp + max(passed, s.lastSpan)
}

// sent takes note of a packet that went out. span is how long its payload lasts
// in clock ticks, or 0 if its timestamp is not the time of its sending.
func (s *sending) sent(out *header, span uint32, arrival int64, payload int) {
	newest := int16(out.sequence-s.lastSequence) > 0 || !s.started
	if newest {
		s.lastSequence = out.sequence
	}
	if newest && (span > 0 || !s.clocked) {
		s.clocked = true
		s.lastTimestamp, s.lastArrival, s.lastSpan = out.timestamp, arrival, span
		if span == 0 {
			s.lastSpan = frame
		}
	}
	s.started = true
	s.total.count(payload)
}

// skip closes the gap that a packet leaves which the far end cannot take, so that
// it doesn't look lost. The gap of a packet that others overtook has to stay,
// since its neighbours are out.
func (s *sending) skip(a arrival) {
	switch {
	case a.begins:
		s.joined = false
	case s.joined && a.newest:
		s.sequenceOffset--
		s.floor = a.extended + 1
	}
}

// part has the next packet join the stream anew: something was not sent that had
// its place in it.
func (s *sending) part() { s.joined = false }

// timestampAt is what the stream's timestamp would be at a time, in nanoseconds.
func (s *sending) timestampAt(at int64) uint32 {
	return s.lastTimestamp + uint32((at-s.lastArrival)/tickNanos)
}
