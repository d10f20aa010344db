package route

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rtp makes a packet with a payload of so many bytes.
func rtp(payload uint8, sequence uint16, timestamp, ssrc uint32, n int) []byte {
	b := make([]byte, fixedHeader+n)
	b[0], b[1] = 0x80, payload
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

const ms = 1_000_000 // in nanoseconds

func TestWhatLooksLikeRTP(t *testing.T) {
	valid := rtp(0, 1, 2, 3, 0)
	with := func(i int, v byte) []byte {
		b := slices.Clone(valid)
		b[i] = v
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"a header alone", valid, true},
		{"with the marker", with(1, 0x80|111), true},
		{"dynamic", with(1, 127), true},
		{"below RTCP's types", with(1, 63), true},
		{"above RTCP's types", with(1, 96), true},
		{"SR", with(1, 200), false},
		{"first of RTCP's", with(1, 192), false},
		{"last of RTCP's", with(1, 223), false},
		{"payload type 72", with(1, 72), false},
		{"empty", nil, false},
		{"short", valid[:11], false},
		{"STUN", with(0, 0), false},
		{"DTLS", with(0, 22), false},
		{"version 1", with(0, 0x40), false},
		{"version 3", with(0, 0xc0), false},
		{"a contributor that is not there", with(0, 0x81), false},
		{"a contributor", append(with(0, 0x81), 1, 2, 3, 4), true},
		{"an extension that is not there", with(0, 0x90), false},
		{"an extension", append(with(0, 0x90), 1, 2, 0, 0), true},
		{"both, one missing", append(with(0, 0x91), 1, 2, 0, 0), false},
	} {
		if _, ok := parse(tt.b); ok != tt.ok {
			t.Errorf("%s: %v, want %v", tt.name, ok, tt.ok)
		}
	}
}

// A source is believed after two packets in a row, and costs nothing before.
func TestBelief(t *testing.T) {
	var m Meter
	for i, p := range []struct {
		sequence uint16
		ssrc     uint32
		streams  int
	}{
		{65535, 7, 0},
		{1, 7, 0}, // a number was left out
		{2, 8, 0}, // another source
		{3, 7, 0},
		{4, 7, 1},
		{9, 9, 1},
		{5, 7, 1}, // a known one does not make the other start over
		{10, 9, 2},
	} {
		m.Feed(int64(i), rtp(0, p.sequence, 0, p.ssrc, 0))
		if got := len(m.Snapshot()); got != p.streams {
			t.Errorf("packet %d: %d streams, want %d", i, got, p.streams)
		}
	}
	if s := m.Snapshot(); s[0].SSRC != 7 || s[0].Packets != 3 || s[1].SSRC != 9 || s[1].Packets != 2 {
		t.Errorf("streams %+v", s)
	}
	var zero Meter
	zero.Feed(0, rtp(0, 1, 0, 0, 0))
	if s := zero.Snapshot(); len(s) != 0 {
		t.Errorf("believed the first packet: %+v", s)
	}
	wrapped := Meter{}
	wrapped.Feed(0, rtp(0, 65535, 0, 1, 0))
	wrapped.Feed(0, rtp(0, 0, 0, 1, 0))
	if s := wrapped.Snapshot(); len(s) != 1 || s[0].Packets != 2 || s[0].Lost != 0 {
		t.Errorf("streams %+v", s)
	}
}

// Sources are bounded; a new one waits until an old one has been silent for long.
func TestSourcesAreBounded(t *testing.T) {
	var m Meter
	at := int64(0)
	feed := func(ssrc uint32, sequence uint16) {
		m.Feed(at, rtp(0, sequence, uint32(at/ms)*8, ssrc, 160))
	}
	both := func(ssrc uint32, sequence uint16) { feed(ssrc, sequence); feed(ssrc, sequence+1) }
	ssrcs := func() (all []uint32) {
		for _, s := range m.Snapshot() {
			all = append(all, s.SSRC)
		}
		return all
	}
	for ssrc := range uint32(6) {
		both(ssrc, 10)
	}
	if got := ssrcs(); !slices.Equal(got, []uint32{0, 1, 2, 3}) {
		t.Fatalf("sources %v", got)
	}
	at += idle - 1
	both(9, 20)
	if got := ssrcs(); !slices.Equal(got, []uint32{0, 1, 2, 3}) {
		t.Fatalf("sources %v", got)
	}
	for _, alive := range []uint32{3, 0, 1} {
		feed(alive, 12)
	}
	at++
	both(9, 30)
	if got := ssrcs(); !slices.Equal(got, []uint32{0, 1, 3, 9}) {
		t.Errorf("sources %v, want the silent one replaced", got)
	}
	// The last of the list, and then all of it.
	at += idle - 2
	feed(0, 13)
	feed(1, 13)
	feed(3, 13)
	at += 2
	both(10, 40)
	if got := ssrcs(); !slices.Equal(got, []uint32{0, 1, 3, 10}) {
		t.Errorf("sources %v", got)
	}
	at += 2 * idle
	for ssrc := range uint32(4) {
		both(20+ssrc, 50)
		if s := m.Snapshot(); s[len(s)-1].SSRC != 20+ssrc || s[len(s)-1].Packets != 2 || len(s) != maxStreams {
			t.Errorf("sources %+v", s)
		}
	}
}

// lossOracle is RFC 3550 appendix A.3 for who knows the numbers without their
// wrapping.
type lossOracle struct {
	received    uint64
	first, last uint64
}

func (o *lossOracle) take(extended uint64) {
	if o.received == 0 {
		o.first = extended
	}
	o.received++
	o.last = max(o.last, extended)
}

func (o *lossOracle) lost() uint64 {
	if expected := o.last - o.first + 1; expected > o.received {
		return expected - o.received
	}
	return 0
}

// Losses, duplicates and what comes late, over wraps of the sequence number, are
// counted as by one who sees the whole number.
func TestLossAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Meter
		var o lossOracle
		next := uint64(rapid.IntRange(1000, 200_000).Draw(t, "start"))
		take := func(extended uint64) {
			m.Feed(int64(extended)*20*ms, rtp(0, uint16(extended), uint32(extended)*160, 5, 160))
			o.take(extended)
		}
		take(next)
		take(next + 1)
		next++
		for range rapid.IntRange(0, 100).Draw(t, "packets") {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				next++
				take(next)
			case 2:
				next += uint64(rapid.SampledFrom([]int{2, 3, 50, 2999}).Draw(t, "ahead"))
				take(next)
			case 3:
				take(next - uint64(rapid.IntRange(0, 99).Draw(t, "late")))
			}
		}
		s := m.Snapshot()
		if len(s) != 1 || s[0].Packets != o.received || s[0].Lost != o.lost() {
			t.Fatalf("%+v, want %d packets, %d lost", s, o.received, o.lost())
		}
	})
}

// A sender that starts over is followed when a second packet confirms it, and what
// was lost before stays lost. A single stray is nothing.
func TestJump(t *testing.T) {
	var m Meter
	feed := func(sequence uint16) { m.Feed(0, rtp(0, sequence, 0, 5, 0)) }
	check := func(packets, lost uint64) {
		t.Helper()
		if s := m.Snapshot(); len(s) != 1 || s[0].Packets != packets || s[0].Lost != lost {
			t.Errorf("%+v, want %d packets, %d lost", s, packets, lost)
		}
	}
	feed(100)
	feed(101)
	feed(104)
	check(3, 2)
	feed(40000)
	check(3, 2)
	feed(105)
	feed(40001) // not in a row
	check(4, 2)
	feed(40002)
	check(5, 2)
	feed(40004)
	check(6, 3)
	feed(104) // from before, and far away
	check(6, 3)
}

func TestFlow(t *testing.T) {
	var f Flow
	f.Feed(1, rtp(0, 1, 0, 5, 100))
	f.Feed(2, rtp(0, 2, 160, 5, 100))
	f.Feed(3, []byte("not RTP"))
	f.Feed(4, nil)
	if f.Packets != 4 || f.Bytes != 2*112+7 || len(f.Meter.Snapshot()) != 1 {
		t.Errorf("%d packets, %d bytes, streams %+v", f.Packets, f.Bytes, f.Meter.Snapshot())
	}
}

// FuzzMeter feeds anything; figures must stay possible.
func FuzzMeter(f *testing.F) {
	f.Add(int64(0), rtp(0, 1, 2, 3, 4), int64(20*ms), rtp(0, 2, 162, 3, 4))
	f.Add(int64(0), rtp(96, 65535, 0, 3, 0), int64(-1), rtp(96, 0, 1<<31, 3, 0))
	f.Add(int64(math.MinInt64), rtp(111, 0, 0, 0, 0), int64(math.MaxInt64), rtp(111, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, at int64, a []byte, later int64, b []byte) {
		var m Meter
		for i := range 8 {
			m.Feed(at, a)
			m.Feed(later, b)
			at, later = later, at
			if len(a) > 3 && i%2 == 0 {
				a[3]++
			}
			if len(b) > 3 {
				b[3] += 2
			}
		}
		all := m.Snapshot()
		if len(all) > maxStreams {
			t.Errorf("%d streams", len(all))
		}
		for _, s := range all {
			if s.Packets < 2 || s.Packets > 16 || s.JitterMS != nil && !(*s.JitterMS >= 0) {
				t.Errorf("%+v, jitter %v", s, s.JitterMS)
			}
		}
	})
}

func BenchmarkFeed(b *testing.B) {
	for _, tt := range []struct {
		name string
		pt   uint8
	}{{"PCMU", 0}, {"Opus", 111}, {"not RTP", 72}} {
		b.Run(tt.name, func(b *testing.B) {
			var f Flow
			p := rtp(tt.pt, 0, 0, 5, 160)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint16(p[2:], uint16(i))
				binary.BigEndian.PutUint32(p[4:], uint32(i)*160)
				f.Feed(int64(i)*20*ms, p)
			}
		})
	}
}
