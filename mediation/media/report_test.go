package media

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// report has a side send a report, and reads it.
func (r *rig) report(s Side) (rtcp.Packet, *rtcp.SourceDescription, int) {
	r.t.Helper()
	r.b.halves[s].sendReport(r.now, false)
	out := r.outRTCP(s)
	if len(out) != 1 {
		r.t.Fatalf("%d reports sent", len(out))
	}
	list, err := rtcp.Unmarshal(out[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return list[0], list[1].(*rtcp.SourceDescription), len(list)
}

// Our reports tell what came and what went, and only that.
func TestReportContents(t *testing.T) {
	r := bothSet(t)
	if p, sdes, n := r.report(Pool); n != 2 || len(p.(*rtcp.ReceiverReport).Reports) != 0 || sdes.Chunks[0].Items[0].Text != "rig" {
		t.Errorf("before anything: %v, %v", p, sdes)
	}
	for i := range 100 { // a tenth is lost, the last not
		r.now = r.now.Add(20 * time.Millisecond)
		if i%10 != 5 {
			r.in(Pool, talk(i+65_500, 7).bytes())
		}
	}
	last := read(t, r.out(Gateway)[89])
	rr, _, _ := r.report(Pool)
	block := rr.(*rtcp.ReceiverReport).Reports[0]
	if block.SSRC != 7 || block.TotalLost != 10 || block.FractionLost != 256*10/100 || block.LastSequenceNumber != 65_599 || block.LastSenderReport != 0 {
		t.Errorf("block %+v", block)
	}
	sr, _, _ := r.report(Gateway)
	s := sr.(*rtcp.SenderReport)
	if s.SSRC != last.ssrc || s.PacketCount != 90 || s.OctetCount != 90*frame || s.RTPTime != last.timestamp || len(s.Reports) != 0 {
		t.Errorf("sender report %+v, last packet %d", s, last.timestamp)
	}
	if s.NTPTime != ntpTime(r.now.UnixNano()) {
		t.Errorf("NTP time %x", s.NTPTime)
	}
	// Nothing more comes or goes: no block, and no sender report from the second
	// interval on.
	r.now = r.now.Add(time.Second)
	if rr, _, _ := r.report(Pool); len(rr.(*rtcp.ReceiverReport).Reports) != 0 {
		t.Error("a block about a silent source")
	}
	sr, _, _ = r.report(Gateway)
	if got := sr.(*rtcp.SenderReport); got.RTPTime != last.timestamp+clockRate {
		t.Errorf("a second later the timestamp is +%d", got.RTPTime-last.timestamp)
	}
	if p, _, _ := r.report(Gateway); len(p.DestinationSSRC()) != 0 {
		t.Errorf("a stream that stands still reports %T", p)
	} else if _, ok := p.(*rtcp.ReceiverReport); !ok {
		t.Errorf("a stream that stands still reports %T", p)
	}
}

// The peer's sender report comes back to it in our blocks, and ours in its.
func TestEchoOfSenderReports(t *testing.T) {
	r := bothSet(t)
	r.in(Pool, talk(1, 7).bytes())
	peer := appendCNAME(appendReport(nil, 7, &senderReport{ntp: 0x1111_2222_3333_4444}, nil), 7, "p")
	r.inRTCP(Pool, peer)
	r.now = r.now.Add(1500 * time.Millisecond)
	r.in(Pool, talk(2, 7).bytes())
	rr, _, _ := r.report(Pool)
	if b := rr.(*rtcp.ReceiverReport).Reports[0]; b.LastSenderReport != 0x2222_3333 || b.Delay != 3*65536/2 {
		t.Errorf("block %+v", b)
	}

	// A report of another source says nothing about the one that we report on.
	r.inRTCP(Pool, appendCNAME(appendReport(nil, 66, &senderReport{ntp: 1 << 40}, nil), 66, "p"))
	r.in(Pool, talk(3, 7).bytes())
	rr, _, _ = r.report(Pool)
	if b := rr.(*rtcp.ReceiverReport).Reports[0]; b.LastSenderReport != 0 || b.Delay != 0 {
		t.Errorf("another source's report is echoed: %+v", b)
	}

	sr, _, _ := r.report(Gateway)
	s := sr.(*rtcp.SenderReport)
	answer := func(lsr, dlsr uint32) LegStats {
		block := reportBlock{ssrc: s.SSRC, lost: -2, jitter: 80, lsr: lsr, dlsr: dlsr}
		r.inRTCP(Gateway, appendCNAME(appendReport(nil, 99, nil, &block), 99, "g"))
		return r.b.Stats()[Gateway]
	}
	lsr := ntpMiddle(s.NTPTime)
	r.now = r.now.Add(250 * time.Millisecond)
	if st := answer(lsr+1, 0); st.Send.RoundTripMS != nil {
		t.Errorf("a report that was never sent gives a round trip of %v", *st.Send.RoundTripMS)
	}
	if st := answer(0, 0); st.Send.RoundTripMS != nil {
		t.Error("a report without an echo gives a round trip")
	}
	if st := answer(lsr, 65536); st.Send.RoundTripMS != nil {
		t.Error("a round trip below zero")
	}
	st := answer(lsr, 65536/8)
	if st.Send.RoundTripMS == nil || math.Abs(*st.Send.RoundTripMS-125) > 0.1 {
		t.Errorf("round trip %v, want 125 ms", st.Send.RoundTripMS)
	}
	if *st.Send.FarLost != -2 || *st.Send.FarJitterMS != 10 {
		t.Errorf("far end lost %d, jitter %v", *st.Send.FarLost, *st.Send.FarJitterMS)
	}
	if st := answer(lsr, 65536/4+20); *st.Send.RoundTripMS != 0 {
		t.Errorf("rounding below zero gives %v ms", *st.Send.RoundTripMS)
	}
	if st := r.b.Stats()[Pool]; st.Send.FarLost != nil || st.Send.RoundTripMS != nil {
		t.Error("the other leg's reports count here")
	}
}

// RTCP may come from where signalling sends it to, which may be another host.
func TestSourceOfRTCP(t *testing.T) {
	r := bothSet(t)
	leg := plainLeg(Gateway)
	leg.RemoteRTCP = stranger1
	r.set(Gateway, leg)
	for _, from := range []netip.AddrPort{stranger1, gatewayPeer} {
		r.deliver(r.rtcpPort(Gateway), appendCNAME(appendReport(nil, 9, nil, nil), 9, "x"), from)
	}
	if got := r.drops(Gateway); len(got) != 0 {
		t.Errorf("drops %v", got)
	}
	r.b.halves[Gateway].sendReport(r.now, false)
	if to := r.rtcpPort(Gateway).to; to != stranger1 {
		t.Errorf("reports go to %v", to)
	}
}

// RFC 3550 section 6.3.1, and half of it for the first report.
func TestInterval(t *testing.T) {
	bounds := func(first bool) (least, most time.Duration) {
		least = time.Hour
		for range 10_000 {
			d := interval(first)
			least, most = min(least, d), max(most, d)
		}
		return least, most
	}
	for _, tt := range []struct {
		first       bool
		least, most time.Duration
	}{
		{true, 1026 * time.Millisecond, 3079 * time.Millisecond},
		{false, 2052 * time.Millisecond, 6157 * time.Millisecond},
	} {
		least, most := bounds(tt.first)
		if least < tt.least || least > tt.least+50*time.Millisecond || most > tt.most || most < tt.most-50*time.Millisecond {
			t.Errorf("first %v: from %v to %v, want %v to %v", tt.first, least, most, tt.least, tt.most)
		}
	}
}

// A leg whose stream got another SSRC goes on counting what the far end lost.
func TestFarLossOverStreams(t *testing.T) {
	r, phone := secured(t, AES128_CM_80)
	tell := func(lost int32) int64 {
		block := reportBlock{ssrc: r.b.halves[Pool].out.ssrc, lost: lost}
		r.inRTCP(Pool, phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, &block), 7, "p")))
		return *r.b.Stats()[Pool].Send.FarLost
	}
	r.in(Gateway, talk(1, 8).bytes())
	if got := tell(5); got != 5 {
		t.Errorf("lost %d", got)
	}
	leg := secureLeg(Pool, AES128_CM_80)
	leg.SRTP.Local = key(AES128_CM_80, 90)
	r.set(Pool, leg)
	if got := tell(3); got != 8 {
		t.Errorf("lost %d over two streams, want 8", got)
	}
	r.in(Gateway, talk(2, 8).bytes())
	r.out(Pool)
	r.b.halves[Pool].sendReport(r.now, false)
	out := r.outRTCP(Pool) // the first is the old stream's BYE
	b := newPhone(t, leg.SRTP).unprotectRTCP(out[len(out)-1])
	list, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if sr := list[0].(*rtcp.SenderReport); sr.PacketCount != 1 {
		t.Errorf("the new stream's report counts %d packets", sr.PacketCount)
	}
}

// Reports of a protected leg are protected, from the first to the BYE; a leg that
// never sent anything leaves without a word.
func TestProtectedReportsAndGoodbye(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		r.in(Gateway, talk(1, 8).bytes())
		r.b.halves[Pool].sendReport(r.now, false)
		r.b.Close()
		out := r.outRTCP(Pool)
		if len(out) != 2 {
			t.Fatalf("%d reports sent, want one and the last", len(out))
		}
		for i, b := range out {
			if validRTCP(b, false) {
				t.Errorf("report %d is in the clear", i)
			}
			list, err := rtcp.Unmarshal(phone.unprotectRTCP(b))
			if err != nil {
				t.Fatal(err)
			}
			if _, bye := list[len(list)-1].(*rtcp.Goodbye); bye != (i == 1) {
				t.Errorf("report %d ends with %T", i, list[len(list)-1])
			}
		}
		if r.outRTCP(Gateway) != nil {
			t.Error("a leg that never sent anything says goodbye")
		}
	})
}

// Over virtual hours: reports are 5 s apart on average, as the two drawings and
// the compensation make it (RFC 3550 sections 6.3.1 and 6.3.6), never less than
// 2.05 s nor more than 6.16 s, and the first comes early.
func TestReportsAreFiveSecondsApart(t *testing.T) {
	const hours, calls = 2, 40
	var sum, first time.Duration
	n := 0
	for range calls {
		r := bothSet(t)
		start, port := r.now, r.rtcpPort(Pool)
		port.keep = false
		var last time.Time
		for sent := 0; r.now.Sub(start) < hours*time.Hour/calls; {
			next, ok := r.b.worker.Next()
			if !ok {
				t.Fatal("no report is planned")
			}
			r.now = next
			r.b.worker.Expire(r.now)
			if port.n == sent {
				continue
			}
			sent = port.n
			if last.IsZero() {
				first += r.now.Sub(start)
			} else {
				gap := r.now.Sub(last)
				if gap < 2050*time.Millisecond || gap > 6180*time.Millisecond {
					t.Fatalf("%v between two reports", gap)
				}
				sum += gap
				n++
			}
			last = r.now
		}
		r.b.Close()
	}
	if mean := sum / time.Duration(n); mean < 4900*time.Millisecond || mean > 5100*time.Millisecond {
		t.Errorf("%v between reports on average", mean)
	}
	if mean := first / calls; mean < 2200*time.Millisecond || mean > 2800*time.Millisecond {
		t.Errorf("%v to the first on average", mean)
	}
}
