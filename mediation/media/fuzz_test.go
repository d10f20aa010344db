package media

import (
	"bytes"
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
	report := appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: plain.b.halves[Pool].out.ssrc})
	f.Add(appendBYE(appendCNAME(report, 7, "phone"), 7))
	f.Add(phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone")))
	f.Add(talk(1, 7).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		plain.t, secure.t = t, t
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
	})
}

func total(r *rig) (n uint64) {
	for s := range r.b.halves {
		for _, d := range r.b.halves[s].drops {
			n += d
		}
	}
	return n
}
