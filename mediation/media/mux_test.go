package media

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/pion/rtcp"

	"causeway/internal/netio"
)

func muxed(s Side) Leg {
	leg := plainLeg(s)
	leg.Mux = true
	return leg
}

// With rtcp-mux reports go and come on RTP's port, told apart by their second byte
// (RFC 5761 section 4); without it they are refused there by name.
func TestRTCPOnRTPsPort(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r, protect, protectRTCP := newRig(t), func(b []byte) []byte { return b }, func(b []byte) []byte { return b }
		leg := muxed(Pool)
		if secure {
			leg = secureLeg(Pool, AES128_GCM)
			leg.Mux = true
			phone := newPhone(t, leg.SRTP)
			protect, protectRTCP = phone.protect, phone.protectRTCP
		}
		r.set(Pool, leg)
		r.set(Gateway, plainLeg(Gateway))
		report := appendCNAME(appendReport(nil, 7, &senderReport{ntp: 0x1111_2222_3333_4444}, nil), 7, "p")
		r.in(Pool, protect(talk(1, 7).bytes()))
		r.in(Pool, protectRTCP(report))
		marked := talk(2, 7)
		marked.marker = true
		r.in(Pool, protect(marked.bytes()))
		if n := len(r.out(Gateway)); n != 2 {
			t.Errorf("secure %t: %d packets passed on, want the two of RTP", secure, n)
		}
		if got := r.drops(Pool); len(got) != 0 {
			t.Errorf("secure %t: drops %v", secure, got)
		}
		if !r.b.Reported(Pool) || r.b.Reported(Gateway) || counter(r.plane, "rtcp_packets_received_total") != 1 {
			t.Errorf("secure %t: the report was not heard", secure)
		}
		r.b.halves[Pool].sendReport(r.now, false)
		if r.outRTCP(Pool) != nil {
			t.Errorf("secure %t: a report on the port of RTCP", secure)
		}
		out := r.out(Pool)
		if len(out) != 1 || r.port(Pool).to != poolPeer || !isRTCP(out[0]) {
			t.Fatalf("secure %t: %d reports on the port of RTP, to %v", secure, len(out), r.port(Pool).to)
		}
		if !secure {
			list, err := rtcp.Unmarshal(out[0])
			if err != nil {
				t.Fatal(err)
			}
			if b := list[0].(*rtcp.ReceiverReport).Reports[0]; b.LastSenderReport != 0x2222_3333 {
				t.Errorf("echo %x", b.LastSenderReport)
			}
		}
		// What still comes on a port of its own is heard; RTP there is not.
		r.inRTCP(Pool, protectRTCP(report))
		r.inRTCP(Pool, protect(talk(3, 7).bytes()))
		if err := sameDrops(r.drops(Pool), "rtp_on_rtcp_port"); err != nil {
			t.Errorf("secure %t: %v", secure, err)
		}
		// Falling back: the answer of a re-INVITE has it no more.
		leg.Mux = false
		r.set(Pool, leg)
		r.in(Pool, protectRTCP(report))
		if err := sameDrops(r.drops(Pool), "rtp_on_rtcp_port", "rtcp_on_rtp_port"); err != nil {
			t.Errorf("secure %t: %v", secure, err)
		}
		r.b.halves[Pool].sendReport(r.now, false)
		if len(r.outRTCP(Pool)) != 1 || r.out(Pool) != nil {
			t.Errorf("secure %t: reports don't fall back", secure)
		}
	}
}

// Every second byte is RTP's or RTCP's, and what is RTCP's is never passed on.
func TestEverySecondByte(t *testing.T) {
	for _, mux := range []bool{false, true} {
		for second := range 256 {
			r := newRig(t)
			leg := muxed(Pool)
			leg.Mux = mux
			r.set(Pool, leg)
			r.set(Gateway, plainLeg(Gateway))
			b := talk(1, 7).bytes()
			b[1] = byte(second)
			r.in(Pool, b)
			want := "payload_type"
			switch number := second & 0x7f; {
			case number == 0 || number == 8 || number == 13 || number == 101:
				want = ""
			case second < 192 || second > 223:
			case mux:
				want = "malformed"
			default:
				want = "rtcp_on_rtp_port"
			}
			if want == "" {
				if len(r.out(Gateway)) != 1 {
					t.Errorf("mux %t, second byte %d: not passed on: %v", mux, second, r.drops(Pool))
				}
			} else if err := sameDrops(r.drops(Pool), want); err != nil {
				t.Errorf("mux %t, second byte %d: %v", mux, second, err)
			}
		}
	}
}

// On a plain leg reports have to come from the peer, on whichever port.
func TestSourceOfMuxedRTCP(t *testing.T) {
	report := appendCNAME(appendReport(nil, 7, nil, nil), 7, "p")
	for _, tt := range []struct {
		way   Learning
		from  netip.AddrPort
		heard bool
	}{
		{SameIP, home, true}, {SameIP, otherPort, true}, {SameIP, attacker, false},
		{Strict, home, true}, {Strict, otherPort, false}, {Strict, attacker, false},
		{NAT, home, true}, {NAT, outer, false},
	} {
		s := newStage(t, tt.way, false)
		s.leg.Mux = true
		s.answer()
		s.raw(tt.from, report)
		var want []string
		if !tt.heard {
			want = []string{"wrong_source"}
		}
		if err := sameDrops(s.drops(Pool), want...); err != nil || s.b.Reported(Pool) != tt.heard {
			t.Errorf("way %d, from %v: %v, heard %t", tt.way, tt.from, err, s.b.Reported(Pool))
		}
	}
}

func TestMuxedPayloadTypes(t *testing.T) {
	r := newRig(t)
	for number := uint8(60); number < 100; number++ {
		leg := muxed(Pool)
		leg.Receive = []Payload{{0, PCMU}, {number, Event}}
		leg.Send = leg.Receive
		err := r.b.Set(Pool, leg)
		if refused := number >= 64 && number <= 95; errors.Is(err, ErrPayload) != refused {
			t.Errorf("payload type %d: %v", number, err)
		}
		leg.Mux = false
		r.set(Pool, leg)
	}
	leg := plainLeg(Pool)
	leg.Learning = NAT + 1
	if err := r.b.Set(Pool, leg); !errors.Is(err, ErrRemote) {
		t.Errorf("learning that does not exist: %v", err)
	}
}

// Reduced-size RTCP is taken where it was agreed, and nowhere else.
func TestReducedSizeRTCP(t *testing.T) {
	feedback := []byte{0x81, 205, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7}
	for _, agreed := range []bool{false, true} {
		r := newRig(t)
		leg := plainLeg(Pool)
		leg.ReducedSize = agreed
		r.set(Pool, leg)
		r.inRTCP(Pool, feedback)
		var want []string
		if !agreed {
			want = []string{"malformed"}
		}
		if err := sameDrops(r.drops(Pool), want...); err != nil {
			t.Errorf("agreed %t: %v", agreed, err)
		}
		r.b.halves[Pool].sendReport(r.now, false)
		if out := r.outRTCP(Pool); len(out) != 1 || !validRTCP(out[0], false) {
			t.Errorf("agreed %t: what we send is no whole compound", agreed)
		}
	}
}

// A BYE of the peer is noted. It ends nothing: whoever forged it or meant it, RTP
// that comes afterwards is heard.
func TestGoodbyeOfThePeer(t *testing.T) {
	r := bothSet(t)
	bye := func(ssrc uint32) []byte {
		return appendBYE(appendCNAME(appendReport(nil, 7, nil, nil), 7, "p"), ssrc)
	}
	r.in(Pool, talk(1, 7).bytes())
	r.inRTCP(Pool, bye(8))
	if r.b.Stats()[Pool].Goodbye {
		t.Error("another source's BYE counts")
	}
	r.inRTCP(Pool, bye(7))
	if st := r.b.Stats(); !st[Pool].Goodbye || st[Gateway].Goodbye {
		t.Error("the BYE was not noted, or on the wrong leg")
	}
	r.in(Pool, talk(2, 7).bytes())
	r.in(Gateway, talk(1, 8).bytes())
	if len(r.out(Gateway)) != 2 || len(r.out(Pool)) != 1 {
		t.Errorf("after BYE: drops %v %v", r.drops(Pool), r.drops(Gateway))
	}
	if r.outRTCP(Gateway) != nil {
		t.Error("the BYE was passed on")
	}
}

// Neither reports among RTP nor sources that try to be the peer cost memory.
func TestLearningAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	r := newRig(t)
	leg := muxed(Pool)
	leg.Learning = NAT
	r.set(Pool, leg)
	r.set(Gateway, plainLeg(Gateway))
	for s := range r.b.halves {
		r.port(Side(s)).keep = false
	}
	report := appendBYE(appendCNAME(appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: r.b.halves[Pool].out.ssrc}), 7, "p"), 7)
	i, speech := 0, talk(1, 7).bytes()
	packet := func() []byte {
		binary.BigEndian.PutUint16(speech[2:], uint16(i))
		return speech
	}
	for name, next := range map[string]func() ([]byte, netip.AddrPort){
		"report":    func() ([]byte, netip.AddrPort) { return report, home },
		"candidate": func() ([]byte, netip.AddrPort) { return packet(), addrPort(outer.Addr(), uint16(1000+i%40)) },
		"rebinding": func() ([]byte, netip.AddrPort) { return packet(), addrPort(home.Addr(), uint16(1000+i/3%40)) },
	} {
		input := rtpInput{&r.b.halves[Pool]}
		if n := testing.AllocsPerRun(500, func() {
			i++
			data, from := next()
			b := r.wire().pool.Get()
			b.Use(0, copy(b.Room(), data))
			r.buf[0] = netio.Packet{Buf: b, From: from, At: r.now.UnixNano()}
			input.Receive(r.now, r.buf)
			if r.buf[0].Buf != nil {
				r.wire().pool.Put(r.buf[0].Buf)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if r.b.Stats()[Pool].Moves == 0 || !r.b.Reported(Pool) {
		t.Error("nothing moved, or no report was heard")
	}
}
