package netio

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"causeway/internal/pkt"
)

// patterned returns n bytes of which every window is different.
func patterned(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// maxPayload is the longest datagram of a family (RFC 768 with the header of RFC 791
// or RFC 8200).
func maxPayload(local netip.Addr) int {
	if local.Is4() {
		return 65507
	}
	return 65527
}

// Datagrams of any length arrive whole, in their order among short ones, and go out
// again whole.
func TestLarge(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{Large: true, ReceiveBuffer: 1 << 21})
		small := open(t, w, netip.AddrPortFrom(local, 0), Options{})
		attach(t, w, p, receiverFunc(func(_ time.Time, batch []Packet) {
			for i := range batch {
				if b := batch[i].Buf; batch[i].Cut || b.IsLong() != (b.Len() > pkt.MaxDatagram) {
					t.Errorf("%d bytes: cut %v, long %v", b.Len(), batch[i].Cut, b.IsLong())
				}
				batch[i].Buf.Prepend(pkt.Headroom)
				batch[i].Buf.Extend(pkt.Tailroom)
				batch[i].Buf.Trim(pkt.Headroom)
				batch[i].Buf.Resize(batch[i].Buf.Len() - pkt.Tailroom)
				if i%3 != 0 {
					p.Send(&batch[i], batch[i].From)
				} else { // what the receiver doesn't take is the worker's again
					copied := Packet{Buf: pkt.Long(batch[i].Buf.Len())}
					copy(copied.Buf.Bytes(), batch[i].Buf.Bytes())
					p.Send(&copied, batch[i].From)
				}
			}
		}))
		cut := make(chan Packet, 1)
		attach(t, w, small, receiverFunc(func(_ time.Time, batch []Packet) {
			cut <- Packet{Cut: batch[0].Cut, TTL: uint8(batch[0].Buf.Len() / 1000)}
		}))
		start(t, w, never{})
		f := bed.far(t, local)
		sizes := []int{1, pkt.MaxDatagram - 1, pkt.MaxDatagram, pkt.MaxDatagram + 1, 9000, 172, maxPayload(local), 1200, 1500, 3000, 20000}
		for range 3 {
			for _, n := range sizes {
				f.send(t, string(patterned(n)), p.Local())
			}
			// A port that wants none is not given the other's room.
			f.send(t, string(patterned(9000)), small.Local())
			if pk := <-cut; !pk.Cut || int(pk.TTL) != pkt.MaxDatagram/1000 {
				t.Errorf("a port without Large received %d thousand bytes, cut %v", pk.TTL, pk.Cut)
			}
			for _, n := range sizes {
				if data, _ := f.receive(t); !bytes.Equal([]byte(data), patterned(n)) {
					t.Fatalf("%d bytes came back as %d or altered", n, len(data))
				}
			}
		}
	})
}

// A larger receive queue holds what the default one doesn't.
func TestReceiveBuffer(t *testing.T) {
	eachBed(t, func(t *testing.T, bed bed, local netip.Addr) {
		w := bed.engine.NewWorker()
		p := open(t, w, netip.AddrPortFrom(local, 0), Options{})
		q := open(t, w, netip.AddrPortFrom(local, 0), Options{ReceiveBuffer: 4 << 20})
		f := bed.far(t, local)
		for range 2000 {
			f.send(t, string(make([]byte, 172)), p.Local())
			f.send(t, string(make([]byte, 172)), q.Local())
		}
		p.Close() // the count is taken along
		if a, b := p.Counters().Overflowed, q.Counters().Overflowed; a == 0 || b >= a || b != 0 && privileged(q) {
			t.Errorf("%d overflowed by default, %d with 4 MiB", a, b)
		}
	})
}

// privileged reports whether a port got more than the system's limit allows.
func privileged(p Port) bool {
	_, sockets := p.(*socketPort)
	return !sockets || os.Geteuid() == 0
}
