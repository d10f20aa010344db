package media

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

func marshal(t *testing.T, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lies are compound packets about a stream of the peer's and one of ours: its end, and reports with every number as large
// as it goes.
func lies(t *testing.T, theirs, ours uint32) [][]byte {
	t.Helper()
	name := rtcp.NewCNAMESourceDescription(theirs, "attacker")
	block := rtcp.ReceptionReport{SSRC: ours, FractionLost: 255, TotalLost: 1<<23 - 1, LastSequenceNumber: math.MaxUint32,
		Jitter: math.MaxUint32, LastSenderReport: math.MaxUint32, Delay: math.MaxUint32}
	return [][]byte{
		marshal(t, &rtcp.ReceiverReport{SSRC: theirs}, name, &rtcp.Goodbye{Sources: []uint32{theirs, ours}, Reason: "attack"}),
		marshal(t, &rtcp.SenderReport{SSRC: theirs, NTPTime: math.MaxUint64, RTPTime: math.MaxUint32, PacketCount: math.MaxUint32,
			OctetCount: math.MaxUint32, Reports: []rtcp.ReceptionReport{block}}, name),
		marshal(t, &rtcp.ReceiverReport{SSRC: theirs, Reports: []rtcp.ReceptionReport{block}}, name),
	}
}

// RTCP that says the stream has ended, or lies about it: in clear and under a wrong key toward the protected leg, from
// elsewhere and from the peer's own address toward the plain one. Where it cannot be told from the peer's it is heard, and
// still ends nothing.
func TestSpoofedRTCP(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w, a := newForger(t), l.listen(), l.newAttacker(0)
	c := l.talk(pool)
	want := map[string]int{}

	us, them := c.us(pool), c.them(pool)
	theirs, ours := ssrcOf(w.wait(t, them, us, 10)[0]), ssrcOf(w.wait(t, us, them, 10)[0])
	key := make([]byte, 30)
	wrong, err := srtp.CreateContext(key[:16], key[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range lies(t, theirs, ours) {
		sealed, err := wrong.EncryptRTCP(nil, lie, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			for _, packet := range [][]byte{lie, sealed} {
				forge.send(next(them), next(us), packet)
				a.send(next(us), packet)
				want["pool authentication"] += 2
			}
		}
	}

	us, them = c.us(gateway), c.them(gateway)
	theirs, ours = ssrcOf(w.wait(t, them, us, 10)[0]), ssrcOf(w.wait(t, us, them, 10)[0])
	for _, lie := range lies(t, theirs, ours) {
		for range 10 {
			forge.send(next(them), next(us), lie) // cannot be told from the peer's
			a.send(next(us), lie)
			want["gateway wrong_source"]++
		}
	}
	c.unharmed()
	a.deaf()
	l.refused(want)
}

// All that leaves for the protected peer in a whole call, up to the BYE, is under its key: no RTCP in clear beside SRTP, as
// baresip sent it at the end.
func TestNothingInClear(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	w := l.listen()
	c := l.talk(gateway)
	us, them := c.us(pool), c.them(pool)
	w.wait(t, next(us), next(them), 2)
	gate, told := c.them(gateway), c.us(gateway)
	c.unharmed()
	if !c.pool.Stats().Bye {
		t.Error("no RTCP BYE at the end")
	}
	clear := map[string]bool{}
	for _, packet := range w.between(gate, told) {
		clear[string(packet[12:])] = true
	}
	sent := w.between(us, them)
	if len(sent) < 50 || len(clear) == 0 {
		t.Fatalf("%d packets to the pool, %d different from the gateway", len(sent), len(clear))
	}
	for _, packet := range sent {
		if clear[string(packet[12:min(len(packet), 172)])] {
			t.Fatal("a packet has its payload in clear")
		}
		if len(packet) != 12+160+10 {
			t.Fatalf("a packet of %d bytes, want one of 172 with a tag of 10", len(packet))
		}
	}
	reports := w.between(next(us), next(them))
	for _, packet := range reports {
		const trailer = 4 + 10
		if len(packet) < 8+trailer || binary.BigEndian.Uint32(packet[len(packet)-trailer:])>>31 != 1 {
			t.Fatalf("RTCP that does not say it is encrypted: %x", packet)
		}
		for _, end := range []int{len(packet), len(packet) - trailer} {
			if list, err := rtcp.Unmarshal(packet[:end]); err == nil && slices.ContainsFunc(list, named) {
				t.Fatalf("RTCP in clear: %x", packet)
			}
		}
	}
	for _, other := range w.everything() {
		if other.from.Addr() == us.Addr() && other.to.Addr() == them.Addr() && other.to.Port() != sipPort &&
			(other.from != us || other.to != them) && (other.from != next(us) || other.to != next(them)) {
			t.Errorf("a datagram from %v to %v", other.from, other.to)
		}
	}
}

// named says whether a packet is a source description, which every compound packet has.
func named(p rtcp.Packet) bool { _, ok := p.(*rtcp.SourceDescription); return ok }

// Datagrams that are too short, whose lengths lie, or that are on the wrong port, from the peers' own addresses
// (AST-2017-008).
func TestMisshapen(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w := newForger(t), l.listen()
	c := l.talk(pool)
	want := map[string]int{}
	for _, side := range []string{pool, gateway} {
		us, them := c.us(side), c.them(side)
		said := slices.Clone(w.wait(t, them, us, 20)[10])
		if side == pool { // one that has been there would be known by its number
			binary.BigEndian.PutUint16(said[2:], sequenceOf(said)+5000)
		}
		rtp := func(reason string, packet []byte) {
			forge.send(them, us, packet)
			want[side+" "+reason]++
		}
		control := func(reason string, packet []byte) {
			forge.send(next(them), next(us), packet)
			want[side+" "+reason]++
		}
		with := func(at int, value byte) []byte {
			b := slices.Clone(said)
			b[at] = value
			return b
		}
		for n := 1; n < 12; n++ {
			rtp("short", said[:n])
		}
		for n := 1; n < 8; n++ {
			control("short", []byte{0x80, 200, 0, 6, 1, 2, 3, 4}[:n])
		}
		for version := range byte(4) {
			if version != 2 {
				rtp("version", with(0, version<<6))
				control("version", append([]byte{version << 6, 200, 0, 1}, make([]byte, 40)...))
			}
		}
		rtp("malformed", with(0, 0x8f)[:60])                                                   // 15 CSRCs and no room
		rtp("malformed", with(0, 0x90)[:12])                                                   // an extension that is not there
		rtp("malformed", append(with(0, 0x90)[:12], 0xbe, 0xde, 0xff, 0xff, 1, 2, 3, 4, 5, 6)) // one that is longer than the packet
		report := marshal(t, &rtcp.ReceiverReport{SSRC: ssrcOf(said)}, rtcp.NewCNAMESourceDescription(ssrcOf(said), "a long enough name"))
		rtp("rtcp_on_rtp_port", report)
		control("rtp_on_rtcp_port", said)
		// Lengths that lie: behind the key they are nobody's business, since the tag does not fit.
		for _, words := range []uint16{0, 2, 500, 65535} {
			b := slices.Clone(report)
			binary.BigEndian.PutUint16(b[2:], words)
			control(map[string]string{pool: "authentication", gateway: "malformed"}[side], b)
		}
		if side == pool {
			rtp("short", said[:12])
			rtp("short", said[:21])
			rtp("authentication", with(len(said)-1, said[len(said)-1]^1))
			control("short", report[:20])
		} else {
			// Padding that is longer than the packet, and of none at all.
			for _, pad := range []byte{0, 200} {
				b := with(0, 0xa0)
				b[len(b)-1] = pad
				rtp("malformed", b)
			}
			for _, b := range [][]byte{
				append([]byte{0xa0}, report[1:]...), // padding in the first packet
				append([]byte{0x9f}, report[1:]...), // 31 blocks
				append(slices.Clone(report), 1, 2, 3),
			} {
				control("malformed", b)
			}
		}
		// Larger than any telephone sends.
		rtp("oversized", slices.Concat(said, make([]byte, 4000)))
	}
	c.unharmed()
	l.refused(want)
}
