package media

import (
	"net/netip"

	"causeway/qos/qoe"
)

// LegStats is what one leg of a bridge saw and did. It is a copy.
type LegStats struct {
	// Receive is the peer's stream: our own measurements by RFC 3550 A.3 and A.8,
	// from the kernel's arrival times. Loss, jitter and SSRC are nil until a packet
	// was accepted.
	Receive qoe.Stream
	// Send is our stream toward the peer. FarLost, FarJitterMS and RoundTripMS are
	// what the peer's RTCP reported last, and nil if it did not.
	Send qoe.Stream

	Codec  string         // encoding name of the audio that came last, or "" before any
	SRTP   string         // SDES name of the crypto suite, or "" for plain RTP
	Local  netip.AddrPort // our RTP address
	Remote netip.AddrPort // where our RTP goes, as far as it was learned; zero for nowhere
	Source netip.AddrPort // where the peer's RTP came from last; zero before any

	Moves    uint64 // how often Remote changed by what came in
	Restarts uint64 // how often the peer's stream jumped within one SSRC and was taken up again (RFC 3550 A.1)
	Reported bool   // the peer sent RTCP
	Goodbye  bool   // it said in RTCP that its stream ends, whatever came after
}

// stats reads a half, on the worker's goroutine.
func (h *half) stats() LegStats {
	h.readPorts()
	return LegStats{
		Receive: h.receiveStats(),
		Send:    h.sendStats(),
		Codec:   h.codec.String(),
		SRTP:    h.secure.String(),
		Local:   h.rtp.Local(),
		Remote:  h.remote,
		Source:  h.heard,

		Moves:    h.moves,
		Restarts: h.in.restarts,
		Reported: h.reported.Load(),
		Goodbye:  h.goodbye,
	}
}

// readPorts takes over what the ports counted.
func (h *half) readPorts() {
	rtp, rtcp := h.rtp.Counters(), h.rtcp.Counters()
	h.setDrop(dropOverflow, rtp.Overflowed+rtcp.Overflowed)
	h.setDrop(dropUnsent, rtp.Unsent+rtcp.Unsent)
	h.setDrop(dropUnreachable, rtp.Unreachable+rtcp.Unreachable)
}

func (h *half) setDrop(d Drop, value uint64) {
	h.bridge.worker.counts.drops[h.side][d] += value - h.drops[d]
	h.drops[d] = value
}

func (h *half) receiveStats() qoe.Stream {
	in := &h.in
	s := qoe.Stream{Packets: in.total.packets, Bytes: in.total.bytes, Drops: h.dropsOf(false)}
	if !in.started {
		return s
	}
	ssrc, lost := in.ssrc, in.lost()
	s.SSRC, s.Lost = &ssrc, &lost
	if in.total.packets > 1 && in.timed {
		now, most := milliseconds(in.jitter), milliseconds(in.jitterMax)
		s.JitterMS, s.JitterMaxMS = &now, &most
	}
	return s
}

func (h *half) sendStats() qoe.Stream {
	s := qoe.Stream{Packets: h.out.total.packets, Bytes: h.out.total.bytes, Drops: h.dropsOf(true)}
	if h.out.total.packets > 0 {
		ssrc := h.out.ssrc
		s.SSRC = &ssrc
	}
	if h.far.reported {
		lost, jitter := h.far.lostBefore+h.far.lost, float64(h.far.jitter)/(clockRate/1000)
		s.FarLost, s.FarJitterMS = &lost, &jitter
	}
	if h.far.measured {
		ms := h.far.roundTrip.Seconds() * 1000
		s.RoundTripMS = &ms
	}
	return s
}

// dropsOf names the drops of one direction that happened; nil if none did.
func (h *half) dropsOf(sending bool) map[string]uint64 {
	var m map[string]uint64
	for d := passed + 1; d < dropCount; d++ {
		if h.drops[d] == 0 || d.sending() != sending {
			continue
		}
		if m == nil {
			m = map[string]uint64{}
		}
		m[d.String()] = h.drops[d]
	}
	return m
}
