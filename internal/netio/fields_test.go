package netio

import (
	"net/netip"
	"testing"
	"time"
)

// What a packet's IP header has is told, and what it is to have is done; ECN's bits
// included (RFC 3168 section 5).
func TestFields(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{Fields: true, DSCP: 10})
		got := make(chan Packet, 1)
		attach(t, w, p, receiverFunc(func(_ time.Time, batch []Packet) {
			for i := range batch {
				pk := batch[i]
				p.Send(&batch[i], pk.From)
				pk.Buf = nil
				got <- pk
			}
		}))
		start(t, w, never{})
		f := bed.far(t, local)
		for _, tt := range []struct{ tos, ttl, back uint8 }{
			{0xb8, 64, 0xb8},
			{0xb9, 1, 0xb9}, // the lowest bits are ECN
			{0x03, 255, 0x03},
			{0, 9, 10 << 2}, // nothing asked for: the port's mark
		} {
			f.sendFields(t, "x", p.Local(), tt.tos, tt.ttl)
			if pk := <-got; pk.TOS != tt.tos || pk.TTL != tt.ttl || pk.DontFragment {
				t.Errorf("sent with TOS %#x and TTL %d, received with %#x and %d, DF %v", tt.tos, tt.ttl, pk.TOS, pk.TTL, pk.DontFragment)
			}
			if _, tos, ttl := f.receiveFields(t); tos != tt.back || ttl != tt.ttl {
				t.Errorf("sent back with TOS %#x and TTL %d, want %#x and %d", tos, ttl, tt.back, tt.ttl)
			}
		}
		call(w, func() { send(w, p, "x", f.addr(), Packet{}) })
		if _, tos, ttl := f.receiveFields(t); tos != 10<<2 || ttl != 64 {
			t.Errorf("by default TOS %#x and TTL %d", tos, ttl)
		}
	})
}

// A port without Fields neither tells nor takes them.
func TestWithoutFields(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{DSCP: 46})
		got := make(chan Packet, 1)
		attach(t, w, p, receiverFunc(func(_ time.Time, batch []Packet) {
			for i := range batch {
				batch[i].Buf, batch[i].From = nil, netip.AddrPort{}
				got <- batch[i]
			}
		}))
		other := open(t, w, netip.AddrPortFrom(local, 0), Options{Fields: true})
		done := make(chan struct{})
		attach(t, w, other, receiverFunc(func(_ time.Time, batch []Packet) {
			batch[0].DontFragment = true // on its way to somewhere else, say
			close(done)
		}))
		start(t, w, never{})
		f := bed.far(t, local)
		f.sendFields(t, "x", other.Local(), 0xb9, 7)
		<-done
		f.sendFields(t, "x", p.Local(), 0xb9, 7)
		if pk := <-got; pk.TOS != 0 || pk.TTL != 0 || pk.DontFragment {
			t.Errorf("told TOS %#x, TTL %d, DF %v", pk.TOS, pk.TTL, pk.DontFragment)
		}
		call(w, func() { send(w, p, "x", f.addr(), Packet{TOS: 1, TTL: 7, DontFragment: true}) })
		if _, tos, ttl := f.receiveFields(t); tos != 46<<2 || ttl != 64 {
			t.Errorf("sent with TOS %#x and TTL %d", tos, ttl)
		}
	})
}
