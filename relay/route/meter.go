package route

import "encoding/binary"

const (
	// maxStreams is how many sources one meter follows.
	maxStreams = 4
	// idle is how long a source has to be silent before another may take its place,
	// in nanoseconds.
	idle = 10_000_000_000
	// fixedHeader is the length of an RTP header without its options, in bytes
	// (RFC 3550 section 5.1).
	fixedHeader = 12
)

// Meter finds RTP streams among the datagrams of one direction and measures them,
// without decrypting: SRTP leaves the header in the clear (RFC 3711 section 3.1). A
// source is believed after two packets with consecutive sequence numbers, and only
// then costs memory. At most four sources are followed; a further one takes the
// place, and the figures, of one that has been silent for 10 seconds, or is ignored.
//
// Nothing is authenticated, so the figures are for people to look at. The zero value
// is ready.
type Meter struct {
	first *stream // in the order of their appearance

	// What may be a source, if the next packet confirms it.
	ssrc     uint32
	sequence uint16
	maybe    bool
}

// Stream is what a meter knows of one source.
type Stream struct {
	SSRC     uint32
	PT       uint8    // payload type of the last packet
	Packets  uint64   // received, duplicates included
	Lost     uint64   // RFC 3550 appendix A.3; 0 where duplicates outnumber losses
	JitterMS *float64 // RFC 3550 appendix A.8, in milliseconds; nil while it is unknown
	// ClockRate is the ticks a second of the RTP timestamp, by the payload type or from
	// how it advances; 0 while it is unknown.
	ClockRate int
}

// header is what a meter reads of an RTP header.
type header struct {
	payload   uint8
	sequence  uint16
	timestamp uint32
	ssrc      uint32
}

// parse recognises what can be RTP. It may be wrong: there is nothing in a packet
// that proves it.
func parse(b []byte) (h header, ok bool) {
	if len(b) < fixedHeader || b[0]>>6 != 2 {
		return header{}, false
	}
	length := fixedHeader + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		length += 4
	}
	// Where RTP and RTCP share a port, these payload types are RTCP's (RFC 5761
	// section 4).
	h.payload = b[1] & 0x7f
	if len(b) < length || h.payload >= 64 && h.payload < 96 {
		return header{}, false
	}
	h.sequence = binary.BigEndian.Uint16(b[2:])
	h.timestamp = binary.BigEndian.Uint32(b[4:])
	h.ssrc = binary.BigEndian.Uint32(b[8:])
	return h, true
}

// Feed takes note of one datagram, which arrived at a time in nanoseconds since the
// Unix epoch. It keeps nothing of it.
func (m *Meter) Feed(at int64, payload []byte) {
	h, ok := parse(payload)
	if !ok {
		return
	}
	for s := m.first; s != nil; s = s.next {
		if s.ssrc == h.ssrc {
			s.take(at, h)
			return
		}
	}
	if m.maybe && m.ssrc == h.ssrc && h.sequence == m.sequence+1 {
		m.admit(at, h)
		return
	}
	m.ssrc, m.sequence, m.maybe = h.ssrc, h.sequence, true
}

// admit begins to follow a source, if there is room.
func (m *Meter) admit(at int64, h header) {
	n := 0
	var oldest **stream
	end := &m.first
	for ; *end != nil; end = &(*end).next {
		n++
		if oldest == nil || (*end).heard < (*oldest).heard {
			oldest = end
		}
	}
	if n == maxStreams {
		if at-(*oldest).heard < idle {
			return
		}
		gone := *oldest
		if end == &gone.next {
			end = oldest
		}
		*oldest = gone.next
	}
	*end = newStream(at, h)
}

// Snapshot returns what is known of each source, in the order of their appearance.
func (m *Meter) Snapshot() []Stream {
	var all []Stream
	for s := m.first; s != nil; s = s.next {
		all = append(all, s.snapshot())
	}
	return all
}
