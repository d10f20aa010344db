package ua

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/pion/rtcp"
)

// nextReport is the number of frames to the next sender report: the configured interval, drawn anew between half and
// one and a half of it so that calls that began together do not report together (RFC 3550 section 6.2).
func (o *outgoing) nextReport() int {
	frames := float64(o.reportEvery / frameTime)
	return max(2, int(frames*(0.5+rand.Float64())))
}

// report sends a sender report with our name, and a report on the received stream if there is one. sendMu is held.
func (m *media) report(now time.Time) {
	m.sendRTCP(m.senderReport(now), m.description())
}

// goodbye ends the stream (RFC 3550 section 6.6). sendMu is held.
func (m *media) goodbye() {
	if m.to == nil || m.out.packets == 0 {
		return
	}
	m.sendRTCP(m.senderReport(time.Now()), m.description(), &rtcp.Goodbye{Sources: []uint32{m.ssrc}})
}

func (m *media) sendRTCP(packets ...rtcp.Packet) {
	if m.to.remote.rtcp.Addr().IsUnspecified() { // held as RFC 2543 did, which leaves no address
		return
	}
	data, err := rtcp.Marshal(packets)
	if err != nil {
		m.out.failed++
		return
	}
	if m.write(m.rtcp, m.to.remote.rtcp, m.to.protection.ProtectRTCP, data) {
		m.out.reports++
	}
}

func (m *media) description() *rtcp.SourceDescription {
	return rtcp.NewCNAMESourceDescription(m.ssrc, "ua@"+m.local.String())
}

func (m *media) senderReport(now time.Time) *rtcp.SenderReport {
	sr := &rtcp.SenderReport{
		SSRC: m.ssrc, NTPTime: ntp(now), RTPTime: m.out.stamp,
		PacketCount: uint32(m.out.packets), OctetCount: uint32(m.out.octets),
	}
	m.receiveMu.Lock()
	defer m.receiveMu.Unlock()
	if in := &m.in; in.ssrcs > 0 {
		block := rtcp.ReceptionReport{
			SSRC: in.ssrc, FractionLost: in.fraction(),
			TotalLost:          uint32(max(0, min(in.lost(), 0x7fffff))),
			LastSequenceNumber: uint32(in.max), Jitter: uint32(in.jitter),
		}
		if in.lastSRFrom == in.ssrc && !in.lastSRAt.IsZero() {
			block.LastSenderReport = in.lastSR
			block.Delay = uint32(now.Sub(in.lastSRAt).Seconds() * 65536)
		}
		sr.Reports = []rtcp.ReceptionReport{block}
	}
	return sr
}

func (m *media) receiveRTCP(packet []byte, _ uint8, from netip.AddrPort, at time.Time) {
	m.receiveMu.Lock()
	defer m.receiveMu.Unlock()
	in := &m.in
	switch {
	case m.from == nil:
		in.early++
		return
	case from != m.from.remote.rtcp:
		in.strays++
		return
	}
	clear, err := m.from.protection.UnprotectRTCP(in.buffer[:0], packet)
	var packets []rtcp.Packet
	if err == nil {
		in.buffer = clear
		packets, err = rtcp.Unmarshal(clear)
	}
	if err != nil {
		in.rejected++
		return
	}
	in.reports++
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			in.lastSR, in.lastSRAt, in.lastSRFrom = uint32(p.NTPTime>>16), at, p.SSRC
			in.blocks(p.Reports, m.ssrc, at)
		case *rtcp.ReceiverReport:
			in.blocks(p.Reports, m.ssrc, at)
		case *rtcp.Goodbye:
			in.bye = true
		}
	}
}

// blocks keeps what the far end says about our stream, and how long a report took to it and back.
func (in *incoming) blocks(blocks []rtcp.ReceptionReport, ssrc uint32, at time.Time) {
	for _, b := range blocks {
		if b.SSRC != ssrc {
			continue
		}
		lost := int64(int32(b.TotalLost<<8) >> 8) // a signed number of 24 bits
		jitter := float64(b.Jitter) * 1000 / clockRate
		in.farLost, in.farJitter = &lost, &jitter
		if b.LastSenderReport == 0 {
			continue
		}
		if trip := int32(uint32(ntp(at)>>16) - b.LastSenderReport - b.Delay); trip >= 0 {
			ms := float64(trip) * 1000 / 65536
			in.roundTrip = &ms
		}
	}
}

// ntp is t as a 64-bit NTP timestamp (RFC 3550 section 4).
func ntp(t time.Time) uint64 {
	const to1970 = 2208988800 // seconds between the epochs
	return uint64(t.Unix()+to1970)<<32 | uint64(t.Nanosecond())<<32/1e9
}
