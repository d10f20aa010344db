package media

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
)

// FuzzAuthenticRTP is a peer that has the key and not its senses: whatever it protects is sent on as a clean packet, or
// dropped by one name.
func FuzzAuthenticRTP(f *testing.F) {
	f.Add(talk(1, 7).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range []Profile{AES128_CM_80, AES128_GCM} {
			r, phone := secured(t, p)
			sealed, err := phone.send.EncryptRTP(nil, data, nil)
			if err != nil {
				continue // the library has more sense
			}
			r.in(Pool, sealed)
			out := r.out(Gateway)
			if dropped := total(r); dropped+uint64(len(out)) != 1 {
				t.Fatalf("%v: %d sent, drops %v", p, len(out), r.drops(Pool))
			}
			if r.drops(Pool)["authentication"] != 0 || r.drops(Pool)["replay"] != 0 {
				t.Fatalf("%v: an authentic packet dropped as %v", p, r.drops(Pool))
			}
			if len(out) == 0 {
				continue
			}
			got := read(t, out[0])
			var was rtp.Packet
			if err := was.Unmarshal(data); err == nil && !bytes.Equal(was.Payload, got.body) {
				t.Fatalf("%v: sent %x of %x", p, got.body, was.Payload)
			}
			r.in(Pool, sealed)
			if len(r.out(Gateway)) != 0 || r.drops(Pool)["replay"] != 1 {
				t.Fatalf("%v: once more: %v", p, r.drops(Pool))
			}
		}
	})
}

// FuzzAuthenticRTCP likewise, for reports: they are heard if they add up, and dropped by one name if not.
func FuzzAuthenticRTCP(f *testing.F) {
	f.Add(appendBYE(appendCNAME(appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: 1}), 7, "phone"), 7))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range []Profile{AES128_CM_80, AES128_GCM} {
			r, phone := secured(t, p)
			r.in(Gateway, talk(1, 7).bytes()) // a stream for them to be about
			r.out(Pool)
			sealed, err := phone.send.EncryptRTCP(nil, data, nil)
			if err != nil {
				continue
			}
			heard := r.b.worker.counts.rtcpReceived
			r.inRTCP(Pool, sealed)
			heard = r.b.worker.counts.rtcpReceived - heard
			if heard+total(r) != 1 {
				t.Fatalf("%v: %d heard, drops %v", p, heard, r.drops(Pool))
			}
			if heard == 1 && !validRTCP(data, false) {
				t.Fatalf("%v: heard what does not add up", p)
			}
			if r.drops(Pool)["authentication"] != 0 || r.out(Gateway) != nil || r.outRTCP(Gateway) != nil {
				t.Fatalf("%v: passed on, or %v", p, r.drops(Pool))
			}
		}
	})
}
