package ua

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/bench/tone"
	"causeway/codec/g711"
)

// TestReception feeds sequence numbers, 20 ms apart, and checks the counts.
func TestReception(t *testing.T) {
	tests := []struct {
		name                          string
		seqs                          []uint16
		unique, duplicates, reordered uint64
		lost                          int64
	}{
		{"none", nil, 0, 0, 0, 0},
		{"in order", []uint16{5, 6, 7}, 3, 0, 0, 0},
		{"over the wrap", []uint16{65534, 65535, 0, 1}, 4, 0, 0, 0},
		{"loss", []uint16{1, 2, 5}, 3, 0, 0, 2},
		{"loss over the wrap", []uint16{65535, 3}, 2, 0, 0, 3},
		{"reordered", []uint16{1, 3, 2, 4}, 4, 0, 1, 0},
		{"duplicate", []uint16{1, 2, 2, 1, 3}, 3, 2, 0, 0},
		{"duplicate of a late one", []uint16{1, 3, 2, 2}, 3, 1, 1, 0},
		{"first one late", []uint16{7, 6, 8}, 3, 0, 1, 0},
		{"first one late over the wrap", []uint16{0, 65535, 1}, 3, 0, 1, 0},
		{"too old to tell", []uint16{1, 2000, 2001, 2}, 3, 1, 0, 1998},
		{"window is cleaned by a jump", []uint16{1, 1 + 2*seqWindow, 2 * seqWindow}, 3, 0, 1, 2*seqWindow - 2},
	}
	for _, tt := range tests {
		var r reception
		at := time.Unix(0, 0)
		for _, seq := range tt.seqs {
			r.packet(seq, uint32(seq)*uint32(frameLen), 1, at, true)
			at = at.Add(frameTime)
		}
		if r.unique != tt.unique || r.duplicates != tt.duplicates || r.reordered != tt.reordered || r.lost() != tt.lost {
			t.Errorf("%s: unique %d, duplicates %d, reordered %d, lost %d; want %d, %d, %d, %d", tt.name,
				r.unique, r.duplicates, r.reordered, r.lost(), tt.unique, tt.duplicates, tt.reordered, tt.lost)
		}
	}
}

func TestReceptionOfTwoStreams(t *testing.T) {
	var r reception
	for i, p := range []struct {
		seq  uint16
		ssrc uint32
	}{{1, 1}, {3, 1}, {40000, 2}, {40003, 2}} {
		r.packet(p.seq, 0, p.ssrc, time.Unix(int64(i), 0), true)
	}
	if r.ssrcs != 2 || r.unique != 4 || r.lost() != 1+2 {
		t.Errorf("%d streams, %d packets, %d lost", r.ssrcs, r.unique, r.lost())
	}
}

// TestJitter works RFC 3550 A.8 out by hand for packets of 20 ms that come 0, 8 and 0 ms late.
func TestJitter(t *testing.T) {
	var r reception
	at := time.Unix(0, 0)
	if now, most := r.jitterMS(); now != nil || most != nil {
		t.Error("jitter of nothing is known")
	}
	r.packet(1, 0, 1, at, true)
	if now, _ := r.jitterMS(); now != nil {
		t.Error("jitter of one packet is known")
	}
	r.packet(2, 160, 1, at.Add(28*time.Millisecond), true)
	first := 8.0 / 16
	r.packet(3, 320, 1, at.Add(40*time.Millisecond), true)
	second := first + (8-first)/16
	now, most := r.jitterMS()
	if math.Abs(*now-second) > 1e-6 || math.Abs(*most-second) > 1e-6 {
		t.Errorf("jitter %g, at most %g, want %g", *now, *most, second)
	}
	r.packet(4, 480, 1, at.Add(60*time.Millisecond), true)
	if now, most := r.jitterMS(); *now >= second || *most != second && math.Abs(*most-second) > 1e-6 {
		t.Errorf("jitter %g, at most %g, want less than %g", *now, *most, second)
	}
	before := r.jitter
	r.packet(5, 480, 1, at.Add(500*time.Millisecond), false)
	if r.jitter != before {
		t.Error("a telephone event changed the jitter")
	}
}

func TestFractionLost(t *testing.T) {
	var r reception
	for _, seq := range []uint16{1, 2, 3, 8} {
		r.packet(seq, 0, 1, time.Unix(0, 0), true)
	}
	if f := r.fraction(); f != 128 {
		t.Errorf("fraction %d of 256, want a half", f)
	}
	if f := r.fraction(); f != 0 {
		t.Errorf("fraction %d without packets, want 0", f)
	}
	r.packet(9, 0, 1, time.Unix(0, 0), true)
	r.packet(7, 0, 1, time.Unix(0, 0), true)
	if f := r.fraction(); f != 0 {
		t.Errorf("fraction %d, want 0 for more than was expected", f)
	}
}

func encode(law string, pcm []int16) []byte {
	if law == PCMA {
		return g711.AppendPCMA(nil, pcm)
	}
	return g711.AppendPCMU(nil, pcm)
}

func TestDelays(t *testing.T) {
	at := time.Unix(100, 0)
	source := tone.Sine(400, -10) // its frames repeat every 20 ms exactly
	for _, law := range []string{PCMU, PCMA} {
		d := NewDelays()
		scratch := make([]byte, frameLen)
		convert := map[string]func([]byte){PCMU: g711.PCMUToPCMA, PCMA: g711.PCMAToPCMU}[law]
		for i := range 20 {
			sent := at.Add(time.Duration(i) * frameTime)
			pcm := tone.Take(source, frameTime)
			plain := encode(law, pcm)
			codes := slices.Clone(plain)
			d.mark(codes, scratch, law, sent)
			if got, ok := d.find(codes, sent.Add(7*time.Millisecond)); !ok || got != 7*time.Millisecond {
				t.Errorf("%s: delay %v, %v", law, got, ok)
			}
			convert(codes)
			if got, ok := d.find(codes, sent.Add(9*time.Millisecond)); !ok || got != 9*time.Millisecond {
				t.Errorf("%s, converted: delay %v, %v", law, got, ok)
			}
			if _, ok := d.find(plain, sent); ok {
				t.Errorf("%s: a frame that was never marked has a delay", law)
			}
		}
	}
}

// TestDelaysOfSilence wants a delay for silence only where its marks survive, and none for what looks alike.
func TestDelaysOfSilence(t *testing.T) {
	d := NewDelays()
	scratch := make([]byte, frameLen)
	at := time.Unix(100, 0)
	codes := encode(PCMU, make([]int16, frameLen))
	marked := slices.Clone(codes)
	d.mark(marked, scratch, PCMU, at)
	if _, ok := d.find(marked, at); !ok {
		t.Error("marked silence has no delay")
	}
	g711.PCMUToPCMA(marked)
	g711.PCMUToPCMA(codes)
	if slices.Equal(marked, codes) {
		if _, ok := d.find(marked, at); ok {
			t.Error("silence that lost its marks in conversion has a delay")
		}
	}
	frame := []byte{1, 2, 3}
	d.remember(frame, at)
	d.remember(frame, at.Add(time.Second))
	if _, ok := d.find(frame, at.Add(2*time.Second)); ok {
		t.Error("one of two frames alike has a delay")
	}
}

func TestDelaysForget(t *testing.T) {
	d := NewDelays()
	scratch := make([]byte, frameLen)
	at := time.Unix(100, 0)
	source := tone.Speech(1)
	first := encode(PCMU, tone.Take(source, frameTime))
	d.mark(first, scratch, PCMU, at)
	most := 0
	for i := range 2000 {
		codes := encode(PCMU, tone.Take(source, frameTime))
		d.mark(codes, scratch, PCMU, at.Add(time.Duration(i)*frameTime))
		most = max(most, len(d.now)+len(d.old))
		if _, ok := d.find(first, at.Add(time.Duration(i)*frameTime)); !ok && time.Duration(i)*frameTime < delayMemory {
			t.Fatalf("forgotten after %v", time.Duration(i)*frameTime)
		}
	}
	if limit := int(2*delayMemory/frameTime)*2 + 4; most > limit {
		t.Errorf("remembers up to %d frames, want at most %d", most, limit)
	}
	if _, ok := d.find(first, at); ok {
		t.Error("never forgets")
	}
}

func TestRecording(t *testing.T) {
	frame := func(v int16) []int16 { return slices.Repeat([]int16{v}, 160) }
	const start = math.MaxUint32 - 100 // wraps within the first frame
	tests := []struct {
		name   string
		stamps []uint32
		want   []int16 // one value for each frame
	}{
		{"in order", []uint32{0, 160, 320}, []int16{1, 2, 3}},
		{"loss", []uint32{0, 320}, []int16{1, 0, 2}},
		{"reordered", []uint32{0, 320, 160}, []int16{1, 3, 2}},
		{"before the first", []uint32{160, 0, 320}, []int16{1, 3}},
		{"another stream", []uint32{0, 160, 1 << 30, 1<<30 + 160}, []int16{1, 2, 3, 4}},
		{"another stream behind", []uint32{1 << 30, 0, 160}, []int16{1, 2, 3}},
		{"limit", []uint32{0, 160, 320, 480, 640, 800}, []int16{1, 2, 3, 4, 5}},
	}
	for _, tt := range tests {
		r := newRecording(100 * time.Millisecond)
		for i, stamp := range tt.stamps {
			r.add(start+stamp, frame(int16(i+1)))
		}
		var got []int16
		for i := 0; i < len(r.pcm); i += 160 {
			got = append(got, r.pcm[i])
		}
		if !slices.Equal(got, tt.want) || len(r.pcm)%160 != 0 {
			t.Errorf("%s: %v of %d samples, want %v", tt.name, got, len(r.pcm), tt.want)
		}
	}
	r := newRecording(-time.Second)
	if r.add(0, frame(1)); len(r.pcm) != 0 {
		t.Error("recorded what should not be")
	}
}

type beat struct{ at []time.Time }

func (b *beat) frame(now time.Time) { b.at = append(b.at, now) }

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.run(ctx); close(ended) }()
		time.Sleep(time.Hour) // nothing runs without a call: synctest would not come back from a ticker soon
		calls := make([]beat, 6)
		for i := range calls {
			p.add(&calls[i])
		}
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		phases := map[time.Duration]int{}
		for i := range calls {
			at := calls[i].at
			if len(at) != 50 {
				t.Fatalf("call %d sent %d frames in a second, want 50", i, len(at))
			}
			for j := 1; j < len(at); j++ {
				if d := at[j].Sub(at[j-1]); d != frameTime {
					t.Fatalf("call %d: frame %d came %v behind the one before", i, j, d)
				}
			}
			phases[at[0].Sub(calls[0].at[0])%frameTime]++
		}
		if len(phases) != slots {
			t.Errorf("the calls are sent at %v, want them spread over %d", phases, slots)
		}
		p.remove(&calls[0])
		p.remove(&calls[0])
		n := len(calls[0].at)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(calls[0].at) != n || len(calls[1].at) < 99 {
			t.Errorf("sent %d frames after removal; the next call %d in all", len(calls[0].at)-n, len(calls[1].at))
		}
		for i := range calls {
			p.remove(&calls[i])
		}
		time.Sleep(time.Hour)
		p.add(&calls[0])
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := len(calls[0].at) - n; got < 5 || got > 6 {
			t.Errorf("sent %d frames in 100 ms after an idle hour", got)
		}
		cancel()
		<-ended
	})
}

// slow is a frame that holds the pacer up once.
type slow struct {
	beat
	once time.Duration
}

func (s *slow) frame(now time.Time) {
	s.beat.frame(now)
	time.Sleep(s.once)
	s.once = 0
}

func TestPacerCatchesUp(t *testing.T) {
	for _, tt := range []struct {
		held   time.Duration
		frames int
	}{{100 * time.Millisecond, 50}, {giveUp + 105*time.Millisecond, 35}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { p.run(ctx); close(ended) }()
			call := &slow{once: tt.held}
			p.add(call)
			time.Sleep(time.Second - time.Millisecond)
			synctest.Wait()
			if len(call.at) != tt.frames {
				t.Errorf("held up for %v, it sent %d frames in a second, want %d", tt.held, len(call.at), tt.frames)
			}
			if late := time.Duration(p.late.Load()); late < tt.held-frameTime || late > tt.held {
				t.Errorf("held up for %v, it says it was late by %v", tt.held, late)
			}
			cancel()
			<-ended
		})
	}
}

func TestProtection(t *testing.T) {
	packet := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4}, strings.Repeat("x", 160)...)
	report := []byte{0x80, 201, 0, 1, 1, 2, 3, 4}
	for _, suite := range []string{AES80, AES32, GCM} {
		a, b := newKey(suite), newKey(suite)
		near, err := newProtection(suite, a, b)
		if err != nil {
			t.Fatal(err)
		}
		far, err := newProtection(suite, b, a)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]struct {
			packet             []byte
			protect, unprotect func(dst, packet []byte) ([]byte, error)
		}{"rtp": {packet, near.ProtectRTP, far.UnprotectRTP}, "rtcp": {report, near.ProtectRTCP, far.UnprotectRTCP}} {
			wire, err := f.protect(nil, f.packet)
			if err != nil {
				t.Fatal(err)
			}
			forged := slices.Clone(wire)
			forged[len(forged)-1] ^= 1
			if _, err := f.unprotect(nil, forged); err == nil {
				t.Errorf("%s took a forged %s packet", suite, name)
			}
			got, err := f.unprotect(nil, wire)
			if err != nil || !slices.Equal(got, f.packet) {
				t.Errorf("%s: %s came back as %x, %v", suite, name, got, err)
			}
			if _, err := f.unprotect(nil, wire); err == nil {
				t.Errorf("%s took an %s packet twice", suite, name)
			}
		}
		if _, err := newProtection(suite, a[1:], b); err == nil {
			t.Errorf("%s took a short key", suite)
		}
	}
	if _, err := newProtection("NULL", nil, nil); err == nil {
		t.Error("took a suite that is not known")
	}
}
