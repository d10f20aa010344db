package tone

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

func near(t *testing.T, what string, got, want, by float64) {
	t.Helper()
	if !(math.Abs(got-want) <= by) { // also catches NaN
		t.Errorf("%s is %.3f, want %.3f within %g", what, got, want, by)
	}
}

func TestSineHasItsLevelAndFrequency(t *testing.T) {
	for _, hz := range []float64{60, 300, 440, 1004, 1000.5, 2600, 3900} {
		for _, dbfs := range []float64{0, -10, -40} {
			pcm := Take(Sine(hz, dbfs), time.Second)
			near(t, "level", Level(pcm), dbfs, 0.05)
			near(t, "tone level", ToneLevel(pcm, hz), dbfs, 0.1)
			f, l := Dominant(pcm)
			near(t, "dominant frequency", f, hz, 0.2)
			near(t, "dominant level", l, dbfs, 0.1)
		}
	}
}

// TestSourcesAreContinuous reads in odd pieces and wants the same samples as in one.
func TestSourcesAreContinuous(t *testing.T) {
	sources := map[string]func() Source{
		"sine": func() Source { return Sine(433, -6) }, "speech": func() Source { return Speech(7) }, "silence": Silence,
	}
	for name, source := range sources {
		want := Take(source(), 3*time.Second)
		s := source()
		var got []int16
		for n := 1; len(got) < len(want); n = n*7%997 + 1 {
			part := make([]int16, min(n, len(want)-len(got)))
			s.Read(part)
			got = append(got, part...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s read in pieces differs from %s read at once", name, name)
		}
	}
}

func TestLevelOfNothing(t *testing.T) {
	for _, pcm := range [][]int16{nil, make([]int16, 800)} {
		if l := Level(pcm); !math.IsInf(l, -1) {
			t.Errorf("level of %d zeros is %g", len(pcm), l)
		}
		if l := ToneLevel(pcm, 440); !math.IsInf(l, -1) {
			t.Errorf("tone level of %d zeros is %g", len(pcm), l)
		}
		if hz, l := Dominant(pcm); hz != 0 || !math.IsInf(l, -1) {
			t.Errorf("dominant of %d zeros is %g Hz at %g", len(pcm), hz, l)
		}
	}
}

func TestDominantOfTwo(t *testing.T) {
	pcm := Take(Sine(1209, -20), time.Second)
	for i, s := range Take(Sine(697, -14), time.Second) {
		pcm[i] += s
	}
	hz, dbfs := Dominant(pcm)
	near(t, "frequency", hz, 697, 0.5)
	near(t, "level", dbfs, -14, 0.2)
	near(t, "the other's level", ToneLevel(pcm, 1209), -20, 0.2)
}

func TestSpeechLooksLikeSpeech(t *testing.T) {
	for seed := range uint64(5) {
		pcm := Take(Speech(seed), time.Minute)
		var active []int16
		for i := 0; i < len(pcm); i += Rate / 100 {
			if frame := pcm[i : i+Rate/100]; Level(frame) > -45 {
				active = append(active, frame...)
			}
		}
		near(t, "share of activity", float64(len(active))/float64(len(pcm)), 0.6, 0.1)
		near(t, "active level", Level(active), -20, 2)
		pauses := Gaps(pcm, -60, 400*time.Millisecond)
		if len(pauses) < 10 || len(pauses) > 40 {
			t.Errorf("seed %d: %d pauses in a minute", seed, len(pauses))
		}
		if slices.Max(pcm) == full || slices.Min(pcm) == -full {
			t.Errorf("seed %d is clipped", seed)
		}
		if slices.Equal(pcm[:Rate], Take(Speech(seed+1), time.Second)) {
			t.Errorf("seeds %d and %d are the same voice", seed, seed+1)
		}
	}
}

func TestGaps(t *testing.T) {
	ms := func(n int) []int16 { return make([]int16, Samples(time.Duration(n)*time.Millisecond)) }
	sound := func(n int) []int16 { return Take(Sine(1000, -10), time.Duration(n)*time.Millisecond) }
	tests := []struct {
		name string
		pcm  [][]int16
		want []Gap
	}{
		{"none", [][]int16{sound(500)}, nil},
		{"only silence", [][]int16{ms(500)}, nil},
		{"at the ends", [][]int16{ms(300), sound(200), ms(300)}, nil},
		{"one frame", [][]int16{sound(100), ms(20), sound(100)}, []Gap{{100 * time.Millisecond, 20 * time.Millisecond}}},
		{"too short", [][]int16{sound(100), ms(15), sound(100)}, nil},
		{"two", [][]int16{ms(40), sound(60), ms(40), sound(20), ms(60), sound(20)},
			[]Gap{{100 * time.Millisecond, 40 * time.Millisecond}, {160 * time.Millisecond, 60 * time.Millisecond}}},
	}
	for _, tt := range tests {
		if got := Gaps(slices.Concat(tt.pcm...), -50, 20*time.Millisecond); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWAVComesBack(t *testing.T) {
	for _, pcm := range [][]int16{nil, {0, 1, -1, math.MaxInt16, math.MinInt16}, Take(Speech(1), time.Second)} {
		var file bytes.Buffer
		if err := WriteWAV(&file, 16000, pcm); err != nil {
			t.Fatal(err)
		}
		rate, got, err := ReadWAV(iotest.OneByteReader(&file))
		if err != nil || rate != 16000 || !slices.Equal(got, pcm) {
			t.Errorf("%d samples came back as %d at %d Hz, %v", len(pcm), len(got), rate, err)
		}
	}
}

func TestReadWAV(t *testing.T) {
	good := func(change func(file []byte) []byte) []byte {
		var b bytes.Buffer
		if err := WriteWAV(&b, Rate, []int16{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		return change(b.Bytes())
	}
	tests := []struct {
		name string
		file []byte
		want []int16 // nil: ErrWAV
	}{
		{"as written", good(func(f []byte) []byte { return f }), []int16{1, 2, 3}},
		{"other chunks, one odd", good(func(f []byte) []byte {
			return slices.Insert(f, 36, []byte("LIST\x03\x00\x00\x00abc\x00fact\x02\x00\x00\x00de")...)
		}), []int16{1, 2, 3}},
		{"extensible", good(func(f []byte) []byte {
			f[16], f[20], f[21] = 40, 0xfe, 0xff
			return slices.Insert(f, 36, append([]byte{22, 0, 16, 0, 4, 0, 0, 0, 1, 0}, make([]byte, 14)...)...)
		}), []int16{1, 2, 3}},
		{"length never filled in", good(func(f []byte) []byte { return append(f[:40], 0xff, 0xff, 0xff, 0xff, 1, 0, 2, 0) }), []int16{1, 2}},
		{"cut within a sample", good(func(f []byte) []byte { return f[:len(f)-1] }), []int16{1, 2}},
		{"cut before the samples", good(func(f []byte) []byte { return f[:36] }), nil},
		{"empty", nil, nil},
		{"other file", []byte("OggS and so on and on"), nil},
		{"stereo", good(func(f []byte) []byte { f[22] = 2; return f }), nil},
		{"8 bits", good(func(f []byte) []byte { f[34] = 8; return f }), nil},
		{"mu-law", good(func(f []byte) []byte { f[20] = 7; return f }), nil},
		{"no rate", good(func(f []byte) []byte { clear(f[24:28]); return f }), nil},
		{"samples first", good(func(f []byte) []byte { return append(f[:12:12], f[36:]...) }), nil},
	}
	for _, tt := range tests {
		_, pcm, err := ReadWAV(bytes.NewReader(tt.file))
		if tt.want == nil && !errors.Is(err, ErrWAV) || tt.want != nil && err != nil || !slices.Equal(pcm, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, pcm, err, tt.want)
		}
	}
	broken := errors.New("broken disk")
	if _, _, err := ReadWAV(iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrWAV) {
		t.Errorf("error %v, want that of the reader", err)
	}
	if err := WriteWAV(failing{broken}, Rate, nil); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the writer", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzReadWAV wants no panic, no more samples than the file has bytes for, and that what was read can be written and
// read again.
func FuzzReadWAV(f *testing.F) {
	var b bytes.Buffer
	if err := WriteWAV(&b, Rate, []int16{1, -2, 3}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		rate, pcm, err := ReadWAV(bytes.NewReader(file))
		if err != nil {
			return
		}
		if 2*len(pcm) > len(file) {
			t.Fatalf("%d samples of %d bytes", len(pcm), len(file))
		}
		var again bytes.Buffer
		if err := WriteWAV(&again, rate, pcm); err != nil {
			t.Fatal(err)
		}
		rate2, pcm2, err := ReadWAV(&again)
		if err != nil || rate2 != rate || !slices.Equal(pcm, pcm2) {
			t.Fatalf("came back as %d samples at %d Hz, %v", len(pcm2), rate2, err)
		}
		if _, err := again.ReadByte(); !errors.Is(err, io.EOF) {
			t.Fatal("not all was read")
		}
	})
}

func TestReadingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	buf := make([]int16, 160)
	for name, s := range map[string]Source{"sine": Sine(440, -10), "speech": Speech(1)} {
		if n := testing.AllocsPerRun(1000, func() { s.Read(buf) }); n > 0 {
			t.Errorf("%s allocates %.1f times a read", name, n)
		}
	}
}

func BenchmarkSpeech(b *testing.B) {
	s, buf := Speech(1), make([]int16, 160)
	for b.Loop() {
		s.Read(buf)
	}
}
