package ua

import "time"

const (
	clockRate = 8000 // RTP clock of G.711 (RFC 3551)
	// seqWindow is how far back a packet is still told from its own duplicate.
	seqWindow = 1024
	// seqStart is where extended sequence numbers begin, so that packets from before the first stay positive.
	seqStart = 1 << 32
)

// reception measures one received stream by RFC 3550 appendix A. Its owner serialises the calls.
type reception struct {
	ssrc  uint32
	ssrcs int // streams seen one after the other; a peer that keeps its promises has one

	base, max uint64 // extended sequence numbers
	window    [seqWindow / 64]uint64

	unique, duplicates, reordered uint64
	lostBefore                    int64 // by the streams before this one

	packets      int // of this stream, for the jitter
	lastArrival  time.Time
	lastStamp    uint32
	jitter, most float64 // in clock ticks
	unique0      uint64  // unique packets of the streams before

	reportedExpected, reportedReceived uint64 // at the last report
}

// packet takes one RTP packet into account and reports whether it is new, that is no duplicate. timed says that its
// timestamp advances with the clock; that of a telephone event does not.
func (r *reception) packet(seq uint16, stamp, ssrc uint32, arrival time.Time, timed bool) bool {
	if r.ssrcs == 0 || ssrc != r.ssrc {
		r.begin(seq, ssrc)
	}
	ext := r.max + uint64(int64(int16(seq-uint16(r.max))))
	switch {
	case ext > r.max:
		for n := r.max + 1; n <= ext && n <= r.max+seqWindow; n++ {
			r.mark(n, false)
		}
		r.max = ext
	case r.max-ext >= seqWindow || r.marked(ext):
		r.duplicates++ // or too old to tell
		return false
	case r.unique > r.unique0:
		r.reordered++
	}
	r.base = min(r.base, ext)
	r.mark(ext, true)
	r.unique++
	if timed {
		r.time(stamp, arrival)
	}
	return true
}

func (r *reception) begin(seq uint16, ssrc uint32) {
	if r.ssrcs > 0 {
		r.lostBefore = r.lost()
	}
	r.ssrcs++
	r.ssrc = ssrc
	r.base, r.max = seqStart+uint64(seq), seqStart+uint64(seq)
	r.window = [seqWindow / 64]uint64{}
	r.packets, r.jitter = 0, 0
	r.unique0 = r.unique
	r.reportedExpected, r.reportedReceived = 0, 0
}

// time is the interarrival jitter of RFC 3550 A.8, in floating point.
func (r *reception) time(stamp uint32, arrival time.Time) {
	if r.packets > 0 {
		d := arrival.Sub(r.lastArrival).Seconds()*clockRate - float64(int32(stamp-r.lastStamp))
		r.jitter += (max(d, -d) - r.jitter) / 16
		r.most = max(r.most, r.jitter)
	}
	r.packets++
	r.lastArrival, r.lastStamp = arrival, stamp
}

func (r *reception) mark(ext uint64, seen bool) {
	word, bit := &r.window[ext/64%uint64(len(r.window))], uint64(1)<<(ext%64)
	*word &^= bit
	if seen {
		*word |= bit
	}
}

func (r *reception) marked(ext uint64) bool {
	return r.window[ext/64%uint64(len(r.window))]&(1<<(ext%64)) != 0
}

// expected is the number of packets that the current stream should have had so far.
func (r *reception) expected() uint64 {
	if r.ssrcs == 0 {
		return 0
	}
	return r.max - r.base + 1
}

// lost is RFC 3550 A.3 without duplicates, so it is never negative.
func (r *reception) lost() int64 {
	return r.lostBefore + int64(r.expected()) - int64(r.unique-r.unique0)
}

// fraction is the share of packets lost since it was last asked, in 1/256 (RFC 3550 A.3).
func (r *reception) fraction() uint8 {
	expected, received := r.expected(), r.unique-r.unique0
	dExpected, dReceived := expected-r.reportedExpected, received-r.reportedReceived
	r.reportedExpected, r.reportedReceived = expected, received
	if dExpected == 0 || dReceived >= dExpected {
		return 0
	}
	return uint8(min(255, (dExpected-dReceived)*256/dExpected))
}

// jitterMS returns the jitter and its maximum in ms, nil before two packets of a stream have come.
func (r *reception) jitterMS() (now, most *float64) {
	if r.packets < 2 {
		return nil, nil
	}
	n, m := r.jitter*1000/clockRate, r.most*1000/clockRate
	return &n, &m
}
