package media

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// FuzzRTP feeds the RTP port of a plain and of a protected leg. Whatever comes,
// each datagram is either sent on, as a clean packet, or dropped by one name; and
// what is sent on is what another parser reads.
func FuzzRTP(f *testing.F) {
	plain := bothSet(f)
	secure, phone := secured(f, AES128_GCM)
	sealed := phone.protect(talk(1, 7).bytes())
	f.Add(talk(1, 7).bytes())
	f.Add(sealed)
	f.Add([]byte{0x80, 0xc8, 0, 6, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		// Another stream each time would be on probation for ever.
		r := plain
		r.t = t
		r.b.halves[Pool].in, r.b.halves[Gateway].out.joined = reception{}, false
		before := total(r)
		r.in(Pool, data)
		out := r.out(Gateway)
		if dropped := total(r) - before; dropped+uint64(len(out)) != 1 {
			t.Fatalf("%d sent, %d dropped", len(out), dropped)
		}
		if len(out) == 1 {
			got := read(t, out[0])
			var p rtp.Packet
			// The library also reads into extensions, which we take off unread.
			if err := p.Unmarshal(data); err == nil && !bytes.Equal(p.Payload, got.body) {
				t.Fatalf("sent %x, the packet has %x", got.body, p.Payload)
			}
		} else if r.b.halves[Pool].in.total.packets != 0 {
			t.Fatal("a dropped packet was counted")
		}

		secure.t = t
		before = total(secure)
		secure.in(Pool, data)
		sent := secure.out(Gateway)
		if bytes.Equal(data, sealed) {
			return // the one that passes, once
		}
		if n := total(secure) - before; n != 1 || sent != nil {
			t.Fatalf("a packet without the key: %d drops, %d sent", n, len(sent))
		}
	})
}

// FuzzRTCP feeds the RTCP port of a plain and of a protected leg, and holds the
// checks of compound packets against another parser.
func FuzzRTCP(f *testing.F) {
	plain := bothSet(f)
	secure, phone := secured(f, AES128_CM_80)
	beside := newRig(f) // on RTP's port, and of reduced size
	leg := plainLeg(Pool)
	leg.Mux, leg.ReducedSize, leg.Learning = true, true, NAT
	beside.set(Pool, leg)
	beside.set(Gateway, plainLeg(Gateway))
	report := appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: plain.b.halves[Pool].out.ssrc})
	f.Add(appendBYE(appendCNAME(report, 7, "phone"), 7))
	f.Add(phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone")))
	f.Add(talk(1, 7).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		plain.t, secure.t, beside.t = t, t, t
		before := total(plain)
		plain.inRTCP(Pool, data)
		dropped := total(plain) - before
		if dropped > 1 || plain.outRTCP(Gateway) != nil || plain.out(Gateway) != nil {
			t.Fatalf("%d drops, or something was passed on", dropped)
		}
		if dropped == 0 {
			if !validRTCP(data, false) {
				t.Fatal("not a compound packet, and not dropped")
			}
			// What we accept has to be readable at least up to the reports.
			if list, err := rtcp.Unmarshal(data); err == nil && len(list) == 0 {
				t.Fatal("accepted what holds nothing")
			}
		}
		before = total(secure)
		secure.inRTCP(Pool, data)
		if n := total(secure) - before; n > 1 {
			t.Fatalf("%d drops for one packet", n)
		}
		besideRTP(t, beside, data)
	})
}

// besideRTP feeds one packet to a port that RTP and RTCP share. What is RTCP is
// heard or dropped, never passed on, and moves nothing, wherever it came from.
func besideRTP(t *testing.T, r *rig, data []byte) {
	h := &r.b.halves[Pool]
	before, reports := total(r), r.b.worker.counts.rtcpReceived
	for _, from := range []netip.AddrPort{poolPeer, stranger1} {
		r.deliver(r.port(Pool), data, from)
	}
	sent, dropped, heard := len(r.out(Gateway)), total(r)-before, r.b.worker.counts.rtcpReceived-reports
	if uint64(sent)+dropped+heard != 2 {
		t.Fatalf("%d sent, %d dropped, %d heard of two packets", sent, dropped, heard)
	}
	if isRTCP(data) && (sent != 0 || h.remote != poolPeer || heard == 1 && !validRTCP(data, true)) || !isRTCP(data) && heard != 0 {
		t.Fatalf("%d sent, %d heard, ours go to %v", sent, heard, h.remote)
	}
}

func total(r *rig) (n uint64) {
	for s := range r.b.halves {
		for _, d := range r.b.halves[s].drops {
			n += d
		}
	}
	return n
}
