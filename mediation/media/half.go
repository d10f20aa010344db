package media

import (
	"net/netip"
	"sync/atomic"
	"time"

	"causeway/codec/g711"
	"causeway/internal/netio"
	"causeway/internal/wheel"
)

// half is one side of a bridge, as the worker sees it: what came in on it and
// what goes out on it. The worker's goroutine owns everything but active and
// reported.
type half struct {
	bridge *Bridge
	side   Side

	rtp, rtcp netio.Port

	// What signalling said.
	set           bool
	silent        bool // nothing is to be sent: not answered yet, or hold by c=0.0.0.0
	mux           bool // RTCP goes and comes where RTP does (RFC 5761)
	reducedSize   bool // RTCP may come without a report (RFC 5506)
	signalledRTCP netip.AddrPort
	receiveKind   [128]Kind
	sendType      [kinds]int16 // payload type of a kind, -1 where the peer has none
	convertTo     Kind         // the audio kind that the peer wants most, or 0
	secure        Profile      // 0 means plain
	open          *opener
	seal          *sealer

	// What came of it.
	learning    learning
	learnedRTCP netip.AddrPort
	remote      netip.AddrPort // where RTP goes; zero means nowhere
	remoteRTCP  netip.AddrPort
	moves       uint64 // how often RTP was sent to another place than signalling said, or back

	in  reception
	out sending
	far farEnd

	codec Kind           // of the audio that came in last
	heard netip.AddrPort // where RTP came from last

	player player // digits that we send

	timer   wheel.Timer[*half] // the next RTCP report
	reports reporting
	goodbye bool // the peer's stream has ended, by its own word
	drops   [dropCount]uint64

	active   atomic.Int64 // when RTP came in last, since the plane's start; 0 before any
	reported atomic.Bool  // RTCP came in
}

// rtpInput is a half as the receiver of its RTP port.
type rtpInput struct{ *half }

// Receive passes a batch to the other side.
func (in rtpInput) Receive(now time.Time, batch []netio.Packet) {
	h := in.half
	defer h.bridge.guard()
	out := &h.bridge.halves[h.side.other()]
	received, sent, restarts := h.in.total, out.out.total, h.in.restarts
	for i := range batch {
		if drop := h.pass(out, &batch[i], now); drop != passed {
			h.bridge.drop(h, out, drop)
		}
	}
	counts := &h.bridge.worker.counts
	counts.received[h.side].add(h.in.total.since(received))
	counts.sent[out.side].add(out.out.total.since(sent))
	counts.restarts[h.side] += h.in.restarts - restarts
	if h.in.total != received {
		h.active.Store(max(int64(now.Sub(h.bridge.plane.start)), 1))
	}
}

// pass takes one datagram through: check, open, know the stream, convert, place in
// the outgoing stream, protect, send.
func (h *half) pass(out *half, pk *netio.Packet, now time.Time) Drop {
	if h.mux && isRTCP(pk.Buf.Bytes()) {
		return h.hear(pk, now)
	}
	hd, drop := h.check(pk, now)
	if drop != passed {
		return drop
	}
	if drop := h.unlock(pk, &hd, now); drop != passed {
		return drop
	}
	// From here on the packet is the peer's.
	b := pk.Buf.Bytes()
	end, ok := hd.payloadEnd(b)
	if !ok {
		return dropMalformed
	}
	if hd.ssrc == h.out.ssrc {
		return dropOwnSSRC
	}
	kind := h.receiveKind[hd.payload]
	if kind == 0 {
		return dropPayloadType
	}
	extended, v := h.in.admit(hd.ssrc, hd.sequence)
	h.follow(pk.From, &hd, v, extended == h.in.extendedMax(), now)
	switch v {
	case stranger:
		return dropNewSource
	case jumped:
		return dropJump
	case follows, begins, again:
	}
	h.in.total.count(end - hd.length)
	h.heard = pk.From
	if v == again {
		return dropDuplicate
	}
	if kind != Event {
		h.in.clock(hd.timestamp, pk.At)
	}
	if kind.audio() {
		h.codec = kind
	}
	pk.Buf.Resize(end)
	return out.forward(pk, &hd, kind, h.arrived(extended, v, pk.At))
}

func (h *half) arrived(extended uint32, v verdict, at int64) arrival {
	return arrival{extended: extended, at: at, begins: v == begins, newest: extended == h.in.extendedMax()}
}

// check is what can be said of a datagram before its authentication. It learns
// nothing from it, but for plain RTP while anybody may be the peer.
func (h *half) check(pk *netio.Packet, now time.Time) (hd header, drop Drop) {
	foreign := h.secure == 0 && !h.learning.hears(pk.From)
	switch {
	case !h.set:
		return hd, dropNotSet
	case foreign && !h.learning.open(now):
		return hd, dropWrongSource
	case pk.Cut:
		return hd, dropOversized
	}
	b := pk.Buf.Bytes()
	if h.looksLikeRTCP(b) {
		return hd, dropRTCPOnRTP
	}
	if hd, drop = parseHeader(b); drop == passed && foreign && !h.audition(pk.From, &hd, now) {
		return hd, dropWrongSource
	}
	return hd, drop
}

// looksLikeRTCP decides by the second byte, unless that is a payload type of
// ours with the marker set: numbers from 64 to 95 are legal where RTP has a port
// of its own.
func (h *half) looksLikeRTCP(b []byte) bool {
	return isRTCP(b) && len(b) >= rtcpHeader && h.receiveKind[b[1]&0x7f] == 0
}

// unlock authenticates and decrypts in place, if the leg is protected.
func (h *half) unlock(pk *netio.Packet, hd *header, now time.Time) Drop {
	if h.secure == 0 {
		return passed
	}
	b, drop := h.open.rtp(pk.Buf.Bytes(), hd, h.bridge.worker, now)
	if drop != passed {
		return drop
	}
	pk.Buf.Resize(len(b))
	return passed
}

// forward sends a packet that came in on the other side out on this one. Its
// buffer holds the input's header and the payload without padding.
func (h *half) forward(pk *netio.Packet, in *header, kind Kind, a arrival) Drop {
	if !h.remote.IsValid() {
		h.out.part()
		return dropNoDestination
	}
	if h.withheld(in, kind) {
		h.out.skip(a)
		return dropPlaying
	}
	as, drop := h.kindFor(kind)
	if drop != passed {
		h.out.skip(a)
		return drop
	}
	out, joins, ok := h.out.place(in, a)
	if !ok {
		return dropLate
	}
	out.payload = uint8(h.sendType[as])
	if joins && kind.audio() {
		out.marker = true // the far end may set its playout anew here
	}
	pk.Buf.Trim(in.length - fixedHeader)
	b := pk.Buf.Bytes()
	convert(b[fixedHeader:], kind, as)
	out.put(b)
	payload := len(b) - fixedHeader
	if h.secure != 0 {
		b, err := h.seal.rtp(b, &h.bridge.worker.header)
		if err != nil {
			h.out.part()
			return dropProtect
		}
		pk.Buf.Resize(len(b))
	}
	h.rtp.Send(pk, h.remote)
	h.out.sent(&out, span(kind, payload), a.at, payload)
	return passed
}

// kindFor says as which kind the peer takes a packet.
func (h *half) kindFor(kind Kind) (as Kind, drop Drop) {
	switch {
	case h.sendType[kind] >= 0:
		return kind, passed
	case kind == Event:
		return 0, dropNoEvent
	case kind == CN:
		return 0, dropNoCN
	case h.convertTo == 0:
		return 0, dropNoAudio
	}
	return h.convertTo, passed
}

// convert rewrites audio of one kind as another, in place.
func convert(payload []byte, from, to Kind) {
	switch {
	case from == PCMU && to == PCMA:
		g711.PCMUToPCMA(payload)
	case from == PCMA && to == PCMU:
		g711.PCMAToPCMU(payload)
	}
}

// span is how long a payload lasts, in clock ticks and not less than one: a byte
// of G.711 is a sample. Comfort noise lasts until something else comes. 0 is for
// events, whose timestamp is not the time of their sending.
func span(kind Kind, payload int) uint32 {
	switch {
	case kind.audio():
		return uint32(max(payload, 1))
	case kind == CN:
		return frame
	}
	return 0
}
