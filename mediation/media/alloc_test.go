package media

import (
	"testing"
	"time"
	"unsafe"

	"causeway/internal/netio"
)

// circuit sends the packets of one sender through a bridge, over and over, without
// allocating itself.
type circuit struct {
	*rig
	from   Side
	sealed func(i int) []byte
	i      int
	pk     []netio.Packet
}

// newCircuit prepares n packets of a stream that comes in on a side. The kinds of
// the legs decide whether there is something to convert, their keys whether to
// protect.
func newCircuit(t testing.TB, from Side, pool, gateway Leg, n int) *circuit {
	r := newRig(t)
	r.set(Pool, pool)
	r.set(Gateway, gateway)
	for s := range r.b.halves {
		r.port(Side(s)).keep, r.rtcpPort(Side(s)).keep = false, false
	}
	packets := make([][]byte, n)
	protect := func(b []byte) []byte { return b }
	for s, leg := range []Leg{pool, gateway} {
		if leg.SRTP != nil && Side(s) == from {
			protect = newPhone(t, leg.SRTP).protect
		}
	}
	for i := range packets {
		packets[i] = protect(talk(i+1, 7).bytes())
	}
	return &circuit{rig: r, from: from, sealed: func(i int) []byte { return packets[i] }, pk: make([]netio.Packet, 1)}
}

func (c *circuit) step() {
	data := c.sealed(c.i)
	c.i++
	b := c.wire().pool.Get()
	b.Use(0, copy(b.Room(), data))
	c.pk[0] = netio.Packet{Buf: b, From: peerOf(c.from), At: int64(c.i) * 20e6}
	rtpInput{&c.b.halves[c.from]}.Receive(c.now, c.pk)
}

func (c *circuit) check(t testing.TB) {
	t.Helper()
	if c.port(c.from.other()).n != c.i {
		t.Fatalf("%d of %d packets passed; drops %v %v", c.port(c.from.other()).n, c.i, c.drops(Pool), c.drops(Gateway))
	}
}

// paths are the ways that a packet can take through a bridge, with the allocations
// that each may cost. Ours are none; those of SRTP are the library's.
func paths() map[string]struct {
	from          Side
	pool, gateway Leg
	allocs        float64
} {
	secure := func(p Profile) Leg { return secureLeg(Pool, p) }
	converting := plainLeg(Gateway)
	converting.Send = []Payload{{8, PCMA}}
	type path = struct {
		from          Side
		pool, gateway Leg
		allocs        float64
	}
	return map[string]path{
		"plain":     {Pool, plainLeg(Pool), plainLeg(Gateway), 0},
		"convert":   {Pool, plainLeg(Pool), converting, 0},
		"open-CM80": {Pool, secure(AES128_CM_80), plainLeg(Gateway), 0},
		"open-CM32": {Pool, secure(AES128_CM_32), plainLeg(Gateway), 0},
		"open-GCM":  {Pool, secure(AES128_GCM), plainLeg(Gateway), 0},
		"seal-CM80": {Gateway, secure(AES128_CM_80), plainLeg(Gateway), 0},
		"seal-CM32": {Gateway, secure(AES128_CM_32), plainLeg(Gateway), 0},
		"seal-GCM":  {Gateway, secure(AES128_GCM), plainLeg(Gateway), 0},
	}
}

func TestPacketPathAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	for name, p := range paths() {
		t.Run(name, func(t *testing.T) {
			c := newCircuit(t, p.from, p.pool, p.gateway, 2002)
			c.step()
			got := testing.AllocsPerRun(2000, c.step)
			c.check(t)
			if got > p.allocs {
				t.Errorf("%v allocations a packet, may have %v", got, p.allocs)
			}
		})
	}
}

// What is refused must not cost memory either, whoever sends it.
func TestRefusedPacketAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	r := bothSet(t)
	for name, data := range map[string][]byte{
		"short":        {0x80},
		"version":      make([]byte, 100),
		"payload type": rtpPacket{payload: 33, body: speech(1)}.bytes(),
		"RTCP":         appendReport(nil, 1, nil, &reportBlock{}),
	} {
		input := rtpInput{&r.b.halves[Pool]}
		if n := testing.AllocsPerRun(100, func() {
			b := r.wire().pool.Get()
			b.Use(0, copy(b.Room(), data))
			r.buf[0] = netio.Packet{Buf: b, From: poolPeer}
			input.Receive(r.now, r.buf)
			r.wire().pool.Put(r.buf[0].Buf)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The state of a bridge is a few kilobytes, keys and ports apart.
func TestBridgeSize(t *testing.T) {
	const most = 4096
	if size := unsafe.Sizeof(Bridge{}); size > most {
		t.Errorf("a bridge takes %d bytes, may take %d", size, most)
	}
}

func BenchmarkPass(b *testing.B) {
	const n = 1 << 14 // short of what wraps the sequence; then the bridge starts anew
	for name, p := range paths() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := newCircuit(b, p.from, p.pool, p.gateway, n)
			for b.Loop() {
				if c.i == n {
					b.StopTimer()
					c.check(b)
					c = newCircuit(b, p.from, p.pool, p.gateway, n)
					b.StartTimer()
				}
				c.step()
			}
			c.check(b)
		})
	}
}

func BenchmarkRefuse(b *testing.B) {
	r := bothSet(b)
	r.set(Pool, secureLeg(Pool, AES128_CM_80))
	for name, data := range map[string][]byte{
		"version": make([]byte, 172),
		"forged":  append(talk(1, 7).bytes(), make([]byte, 10)...),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			input := rtpInput{&r.b.halves[Pool]}
			for b.Loop() {
				buf := r.wire().pool.Get()
				buf.Use(0, copy(buf.Room(), data))
				r.buf[0] = netio.Packet{Buf: buf, From: poolPeer}
				input.Receive(r.now, r.buf)
				r.wire().pool.Put(r.buf[0].Buf)
			}
		})
	}
}

func BenchmarkParts(b *testing.B) {
	packet := talk(1, 7).bytes()
	b.Run("parse-header", func(b *testing.B) {
		for b.Loop() {
			if _, drop := parseHeader(packet); drop != passed {
				b.Fatal(drop)
			}
		}
	})
	b.Run("admit", func(b *testing.B) {
		var r reception
		var i uint16
		for b.Loop() {
			i++
			r.admit(7, i)
			r.clock(uint32(i)*frame, int64(i)*20e6)
		}
	})
	b.Run("place", func(b *testing.B) {
		var s sending
		h := header{}
		a := arrival{}
		for b.Loop() {
			h.sequence++
			a.extended++
			out, _, _ := s.place(&h, a)
			s.sent(&out, frame, a.at, frame)
		}
	})
	r := bothSet(b)
	h := &r.b.halves[Pool]
	r.rtcpPort(Pool).keep = false
	b.Run("send-report", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.sendReport(r.now, false)
		}
	})
	report := appendCNAME(appendReport(nil, 9, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: h.out.ssrc}), 9, "peer")
	b.Run("hear-report", func(b *testing.B) {
		b.ReportAllocs()
		buf := r.wire().pool.Get()
		buf.Use(0, copy(buf.Room(), report))
		pk := netio.Packet{Buf: buf, From: poolPeer, At: time.Now().UnixNano()}
		for b.Loop() {
			if drop := h.hear(&pk, r.now); drop != passed {
				b.Fatal(drop)
			}
		}
	})
}
