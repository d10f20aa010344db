package route

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// player plays the packets of a codec to a meter.
type player struct {
	m         Meter
	sequence  uint16
	timestamp uint32
	at        int64
}

// play sends n packets, each so many nanoseconds and ticks after the one before.
func (p *player) play(n int, payload uint8, interval int64, ticks uint32, late func(i int) int64) {
	for i := range n {
		delay := int64(0)
		if late != nil {
			delay = late(i)
		}
		p.m.Feed(p.at+delay, rtp(payload, p.sequence, p.timestamp, 5, 20))
		p.sequence++
		p.timestamp += ticks
		p.at += interval
	}
}

func (p *player) now(t *testing.T) Stream {
	t.Helper()
	s := p.m.Snapshot()
	if len(s) != 1 {
		t.Fatalf("%d streams", len(s))
	}
	return s[0]
}

// The clock rate is that of the payload type or, failing that, the one that the
// timestamps show, wherever they begin.
func TestClockRate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pt    uint8
		ticks uint32
		every int64
		want  int
	}{
		{"PCMU", 0, 160, 20 * ms, 8000},
		{"G.722, whose clock lies", 9, 160, 20 * ms, 8000},
		{"L16", 10, 441, 10 * ms, 44100},
		{"dynamic 8000", 97, 160, 20 * ms, 8000},
		{"dynamic 12000", 97, 240, 20 * ms, 12000},
		{"Siren", 111, 320, 20 * ms, 16000},
		{"dynamic 24000", 97, 480, 20 * ms, 24000},
		{"dynamic 32000", 97, 640, 20 * ms, 32000},
		{"dynamic 44100", 97, 882, 20 * ms, 44100},
		{"Opus", 111, 960, 20 * ms, 48000},
		{"video", 96, 3000, 33_333_333, 90000},
		{"none of these", 96, 1000, 20 * ms, 0},
		{"standing still", 96, 0, 20 * ms, 0},
	} {
		p := player{timestamp: math.MaxUint32 - 100_000, sequence: 65500}
		p.play(250, tt.pt, tt.every, tt.ticks, nil)
		s := p.now(t)
		if s.ClockRate != tt.want || (s.JitterMS != nil) != (tt.want != 0) || s.PT != tt.pt || s.Packets != 250 || s.Lost != 0 {
			t.Errorf("%s: %+v, want rate %d", tt.name, s, tt.want)
		}
		if s.JitterMS != nil && *s.JitterMS > 0.01 {
			t.Errorf("%s: jitter %v ms where there is none", tt.name, *s.JitterMS)
		}
	}
}

// Two seconds have to pass before a clock that has to be found is known, and jitter
// is unknown as long.
func TestJitterIsUnknownAtFirst(t *testing.T) {
	var p player
	p.play(101, 111, 20*ms, 960, nil) // the window begins with the second packet
	if s := p.now(t); s.ClockRate != 0 || s.JitterMS != nil {
		t.Errorf("after 2 s: %+v", s)
	}
	p.play(1, 111, 20*ms, 960, nil)
	if s := p.now(t); s.ClockRate != 48000 || s.JitterMS != nil {
		t.Errorf("with the next packet: %+v", s)
	}
	p.play(1, 111, 20*ms, 960, nil)
	if s := p.now(t); s.ClockRate != 48000 || s.JitterMS == nil {
		t.Errorf("with one more: %+v", s)
	}
}

// jitterOracle is RFC 3550 appendix A.8 in floating point and units of time.
func jitterOracle(late []int64) float64 {
	j := 0.0
	for i := 2; i < len(late); i++ { // the meter begins with the second packet
		j += (math.Abs(float64(late[i]-late[i-1]))/ms - j) / 16
	}
	return j
}

func TestJitterAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		most := rapid.Int64Range(1, 200*ms).Draw(t, "most")
		late := make([]int64, rapid.IntRange(3, 200).Draw(t, "packets"))
		for i := range late {
			late[i] = random.Int64N(most)
		}
		p := player{timestamp: random.Uint32()}
		p.play(len(late), 8, 20*ms, 160, func(i int) int64 { return late[i] })
		s := p.m.Snapshot()
		want := jitterOracle(late)
		if len(s) != 1 || s[0].JitterMS == nil || math.Abs(*s[0].JitterMS-want) > 1e-6*(1+want) {
			t.Fatalf("%+v, want jitter %v ms", s, want)
		}
	})
}

// Packets of one video frame or telephone event share a timestamp and are sent one
// after the other: that is no jitter.
func TestOneTimestampIsOneMoment(t *testing.T) {
	var p player
	for range 200 {
		for i := range 5 {
			p.m.Feed(p.at+int64(i)*2*ms, rtp(34, p.sequence, p.timestamp, 5, 1000))
			p.sequence++
		}
		p.at += 40 * ms
		p.timestamp += 3600
	}
	if s := p.now(t); s.JitterMS == nil || *s.JitterMS > 0.01 || s.Packets != 1000 {
		t.Errorf("%+v, jitter %v", s, s.JitterMS)
	}
}

// A timestamp that is set anew, or a pause without packets, is not jitter.
func TestNewTimestampIsNotJitter(t *testing.T) {
	var p player
	p.play(100, 0, 20*ms, 160, nil)
	p.timestamp += 1 << 30
	p.play(100, 0, 20*ms, 160, nil)
	p.at += 3600 * second
	p.play(100, 0, 20*ms, 160, nil)
	if s := p.now(t); s.JitterMS == nil || *s.JitterMS > 0.01 {
		t.Errorf("jitter %v", *s.JitterMS)
	}
}

// Comfort noise and events in between don't change an inferred clock; a new codec
// does, and takes the jitter of the old one with it.
func TestCodecChange(t *testing.T) {
	var p player
	p.play(250, 111, 20*ms, 960, func(i int) int64 { return int64(i%2) * 10 * ms })
	if s := p.now(t); s.ClockRate != 48000 || s.JitterMS == nil || *s.JitterMS < 5 {
		t.Fatalf("%+v", s)
	}
	p.play(1, comfortNoise, 20*ms, 960, nil)
	if s := p.now(t); s.ClockRate != 48000 || s.PT != comfortNoise {
		t.Errorf("with comfort noise: %+v", s)
	}
	p.play(3, 8, 20*ms, 160, nil)
	if s := p.now(t); s.ClockRate != 8000 || *s.JitterMS > 1 {
		t.Errorf("as PCMA: %+v, jitter %v", s, *s.JitterMS)
	}
	// One window that shows something else is not believed, two are.
	p.play(103, 96, 20*ms, 320, nil)
	if s := p.now(t); s.ClockRate != 8000 {
		t.Errorf("after a window of another clock: %+v", s)
	}
	p.play(101, 96, 20*ms, 320, nil)
	if s := p.now(t); s.ClockRate != 16000 {
		t.Errorf("after two windows of another clock: %+v", s)
	}
}

// A sender that starts over also starts its timestamps over.
func TestJumpDoesNotDisturbTheClock(t *testing.T) {
	for _, before := range []int{75, 250} { // before the clock is known, and after
		var p player
		p.play(before, 111, 20*ms, 960, nil)
		p.sequence += 10_000
		p.timestamp += 84_000 // so that the first window would show 90,000
		for range 10 {
			p.play(25, 111, 20*ms, 960, nil)
			if s := p.now(t); s.ClockRate != 48000 && s.ClockRate != 0 {
				t.Errorf("%+v", s)
			}
		}
		if s := p.now(t); s.ClockRate != 48000 || *s.JitterMS > 0.01 || s.Lost != 0 {
			t.Errorf("%+v, jitter %v", s, *s.JitterMS)
		}
	}
}

// What a timestamp does in a long pause says nothing about its clock.
func TestPauseDoesNotMakeAClock(t *testing.T) {
	var p player
	p.play(50, 111, 20*ms, 960, nil)
	p.at += 100 * second
	p.timestamp += 100*8000 - 50*960
	p.play(1, 111, 20*ms, 960, nil)
	if s := p.now(t); s.ClockRate != 0 {
		t.Errorf("%+v", s)
	}
	p.play(150, 111, 20*ms, 960, nil)
	if s := p.now(t); s.ClockRate != 48000 {
		t.Errorf("%+v", s)
	}
}

// Frames that are sent in another order than they are shown in have timestamps that
// go back, which counts as jitter (RFC 3550 section 5.1 allows it).
func TestTimestampsMayGoBack(t *testing.T) {
	var p player
	p.play(2, 34, 40*ms, 3600, nil)
	p.timestamp += 2 * 3600
	p.play(1, 34, 40*ms, 0, nil)
	p.timestamp -= 3600
	p.play(1, 34, 40*ms, 0, nil)
	want := (80.0-80.0/16)/16 + 80.0/16 // 80 ms early, then 80 ms late
	if s := p.now(t); s.JitterMS == nil || math.Abs(*s.JitterMS-want) > 1e-9 {
		t.Errorf("jitter %v, want %v", *s.JitterMS, want)
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		measured float64
		want     uint32
	}{
		{7679, 0}, {7681, 8000}, {8319, 8000}, {8321, 0},
		{45800, 44100}, {45900, 0}, {46000, 0}, {46100, 48000},
		{90000, 90000}, {0, 0}, {-8000, 0}, {math.NaN(), 0}, {math.Inf(1), 0},
	} {
		if got := nearest(tt.measured); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.measured, got, tt.want)
		}
	}
}
