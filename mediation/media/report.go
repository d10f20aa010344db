package media

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"causeway/internal/netio"
)

// reportInterval is the time between our RTCP reports before it is randomised
// (RFC 3550 section 6.2): with two participants the bandwidth share never asks
// for more, so the interval is always this minimum.
const reportInterval = 5 * time.Second

// compensation makes up for what reconsidering timers does to the average
// interval: Euler's number less 1.5 (RFC 3550 section 6.3.1).
const compensation = 1.21828

// reporting is what a leg keeps for its RTCP.
type reporting struct {
	scheduled bool      // the first report was planned
	sent      bool      // it was sent
	last      time.Time // when a report was sent, or the first planned
	any       bool      // something was sent: then a BYE has to be, too
	sentAt    [2]uint64 // out.total.packets at the last two reports
	ours      [4]uint32 // the times of our last sender reports, as peers echo them
	next      uint8     // the place in ours for the next

	// The peer's last sender report.
	peer     bool
	peerSSRC uint32
	peerNTP  uint32 // middle of its NTP time
	peerAt   int64  // when it came, in nanoseconds since the Unix epoch
}

// farEnd is what the peer's reports say about the stream that we send. A stream
// whose SSRC changed goes on counting.
type farEnd struct {
	reported   bool
	lost       int64
	lostBefore int64  // under the SSRCs before
	jitter     uint32 // in clock ticks
	measured   bool
	roundTrip  time.Duration
}

// restart is for a new SSRC of ours.
func (f *farEnd) restart() { f.lostBefore += f.lost; f.lost = 0 }

// interval draws the time to the next report: half to one and a half times the
// minimum, and half of that for the first, so that the peer hears of us early.
func interval(first bool) time.Duration {
	t := float64(reportInterval)
	if first {
		t /= 2
	}
	return time.Duration(t * (0.5 + rand.Float64()) / compensation)
}

// schedule plans reports for a leg that has somewhere to send them, and none for
// one that has not.
func (h *half) schedule(now time.Time) {
	w := h.bridge.worker
	switch {
	case !h.remoteRTCP.IsValid():
		w.wheel.Stop(&h.timer)
	case !h.timer.Set():
		if !h.reports.scheduled {
			h.reports.scheduled, h.reports.last = true, now
		}
		w.wheel.Schedule(&h.timer, now.Add(interval(!h.reports.sent)))
	}
}

// report sends a report and plans the next, if it is time by a second drawing as
// well: RFC 3550 section 6.3.6's reconsideration, which is what keeps the reports
// of many calls that began at once from staying in step.
func (h *half) report(now time.Time) {
	defer h.bridge.guard()
	h.readPorts() // so that the kernel's drops show while the call lasts
	r, w := &h.reports, h.bridge.worker
	if due := r.last.Add(interval(!r.sent)); due.After(now) {
		w.wheel.Schedule(&h.timer, due)
		return
	}
	h.sendReport(now, false)
	r.sent, r.last = true, now
	w.wheel.Schedule(&h.timer, now.Add(interval(false)))
}

// sendReport sends a compound packet: a sender report if RTP went out in the last
// two intervals, else a receiver report; our name; and a BYE at the end.
func (h *half) sendReport(now time.Time, bye bool) {
	if !h.remoteRTCP.IsValid() {
		return
	}
	w := h.bridge.worker
	pk := netio.Packet{Buf: w.io.Buffer()}
	b := pk.Buf.Room()[:0]
	b = appendReport(b, h.out.ssrc, h.senderReport(now), h.block(now))
	b = appendCNAME(b, h.out.ssrc, h.bridge.plane.cname)
	if bye {
		b = appendBYE(b, h.out.ssrc)
	}
	if h.secure != 0 {
		sealed, err := h.seal.rtcp(b)
		if err != nil {
			h.bridge.drop(h, h, dropProtect)
			return
		}
		b = sealed
	}
	pk.Buf.Use(0, len(b))
	port := h.rtcp
	if h.mux {
		port = h.rtp
	}
	port.Send(&pk, h.remoteRTCP)
	h.reports.any = true
	w.counts.rtcpSent++
}

// senderReport describes our stream, or returns nil if it stands still.
func (h *half) senderReport(now time.Time) *senderReport {
	r := &h.reports
	packets := h.out.total.packets
	idle := packets == r.sentAt[1]
	r.sentAt = [2]uint64{packets, r.sentAt[0]}
	if idle || !h.out.started {
		return nil
	}
	stream := h.out.total.since(h.out.before)
	at := now.UnixNano()
	ntp := ntpTime(at)
	r.ours[r.next%4] = ntpMiddle(ntp)
	r.next++
	return &senderReport{
		ntp:       ntp,
		timestamp: h.out.timestampAt(at),
		packets:   uint32(stream.packets),
		bytes:     uint32(stream.bytes),
	}
}

// block reports on the stream that we receive, or returns nil if nothing came
// since the last report.
func (h *half) block(now time.Time) *reportBlock {
	fraction, heard := h.in.interval()
	if !heard {
		return nil
	}
	r := &reportBlock{
		ssrc:     h.in.ssrc,
		fraction: fraction,
		lost:     clampLost(h.in.lost() - h.in.lostBefore),
		highest:  h.in.extendedMax() - 1<<16, // the run's first cycle is ours
		jitter:   h.in.jitter >> 4,
	}
	if h.reports.peer && h.reports.peerSSRC == h.in.ssrc {
		r.lsr = h.reports.peerNTP
		r.dlsr = shortTime(now.UnixNano() - h.reports.peerAt)
	}
	return r
}

// rtcpInput is a half as the receiver of its RTCP port.
type rtcpInput struct{ *half }

// Receive reads the peer's reports; nothing of them is passed on.
func (in rtcpInput) Receive(now time.Time, batch []netio.Packet) {
	h := in.half
	defer h.bridge.guard()
	for i := range batch {
		if drop := h.hear(&batch[i], now); drop != passed {
			h.bridge.drop(h, h, drop)
		}
	}
}

// hear takes one datagram of the RTCP port, or of the RTP port if RTCP comes there.
func (h *half) hear(pk *netio.Packet, now time.Time) Drop {
	switch {
	case !h.set:
		return dropNotSet
	case h.secure == 0 && !h.learning.hearsRTCP(pk.From, h.signalledRTCP) && !h.learning.hears(pk.From):
		return dropWrongSource
	case pk.Cut:
		return dropOversized
	}
	b := pk.Buf.Bytes()
	switch {
	case len(b) < rtcpHeader:
		return dropShort
	case b[0]>>6 != 2:
		return dropVersion
	case !isRTCPType(b[1]):
		return dropRTPOnRTCP
	}
	if h.secure != 0 {
		opened, drop := h.open.rtcp(b, binary.BigEndian.Uint32(b[4:]), h.bridge.worker, now)
		if drop != passed {
			return drop
		}
		b = opened
	}
	if !validRTCP(b, h.reducedSize) {
		return dropMalformed
	}
	if binary.BigEndian.Uint32(b[4:]) == h.out.ssrc {
		return dropOwnSSRC
	}
	h.bridge.worker.counts.rtcpReceived++
	if !h.reported.Load() {
		h.reported.Store(true)
	}
	h.goodbye = h.goodbye || hasBYE(b, h.in.ssrc)
	h.followRTCP(pk.From)
	reports(b, func(ssrc, ntp uint32, blocks []byte) { h.learn(ssrc, ntp, blocks, pk.At) })
	return passed
}

// learn takes one report of the peer's, which arrived at a time in nanoseconds
// since the Unix epoch.
func (h *half) learn(ssrc, ntp uint32, blocks []byte, at int64) {
	r := &h.reports
	if ntp != 0 {
		r.peer, r.peerSSRC, r.peerNTP, r.peerAt = true, ssrc, ntp, at
	}
	block, ok := findBlock(blocks, h.out.ssrc)
	if !ok {
		return
	}
	h.far.reported = true
	h.far.lost = int64(block.lost)
	h.far.jitter = block.jitter
	if trip, ok := r.roundTrip(&block, at); ok {
		h.far.measured, h.far.roundTrip = true, trip
	}
}

// roundTrip is RFC 3550 section 6.4.1's A - LSR - DLSR. Only the echo of a report
// that we sent counts, since anything else is a peer that fills the field with
// something. The difference of a few ticks below zero that rounding makes is no
// time at all.
func (r *reporting) roundTrip(block *reportBlock, at int64) (time.Duration, bool) {
	if block.lsr == 0 || block.lsr != r.ours[0] && block.lsr != r.ours[1] &&
		block.lsr != r.ours[2] && block.lsr != r.ours[3] {
		return 0, false
	}
	const rounding = 65536 / 1000
	ticks := int32(ntpMiddle(ntpTime(at)) - block.lsr - block.dlsr)
	if ticks < -rounding {
		return 0, false
	}
	return time.Duration(max(ticks, 0)) * time.Second / 65536, true
}
