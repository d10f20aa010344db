package g711

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
)

// Interval widths of the eight segments in 16-bit units, from the columns
// "number of intervals x interval size" of G.711 tables 1a and 2a.
var (
	aWidths  = [8]int{16, 16, 32, 64, 128, 256, 512, 1024}
	muWidths = [8]int{8, 16, 32, 64, 128, 256, 512, 1024}
)

// decisions returns the lower decision values of the 128 magnitudes of a law,
// with the overload point behind them.
func decisions(widths [8]int, first int) (d [129]int) {
	for i := range 128 {
		w := widths[i/16]
		if i == 0 {
			w = first
		}
		d[i+1] = d[i] + w
	}
	return d
}

var (
	aDecisions  = decisions(aWidths, 16)
	muDecisions = decisions(muWidths, 4) // the first interval reaches to both sides of zero
)

// place finds a magnitude's interval by looking at every one.
func place(d *[129]int, magnitude float64) int {
	for i := 127; i > 0; i-- {
		if magnitude >= float64(d[i]) {
			return i
		}
	}
	return 0
}

func middle(d *[129]int, i int) int { return (d[i] + d[i+1]) / 2 }

func muOracle(x int16) byte {
	sign, m := byte(0x80), int(x)
	if x < 0 {
		sign, m = 0, -int(x)-1
	}
	return sign | (127 - byte(place(&muDecisions, float64(m))))
}

func aOracle(x int16) byte {
	sign, m := byte(0x80), int(x)
	if x < 0 {
		sign, m = 0, -int(x)-1
	}
	return (sign | byte(place(&aDecisions, float64(m)))) ^ 0x55
}

func sweep() []int16 {
	pcm := make([]int16, 0, 1<<16)
	for x := math.MinInt16; x <= math.MaxInt16; x++ {
		pcm = append(pcm, int16(x))
	}
	return pcm
}

func TestEncodeEverySample(t *testing.T) {
	pcm := sweep()
	mu, a := AppendPCMU(nil, pcm), AppendPCMA(nil, pcm)
	for i, x := range pcm {
		if want := muOracle(x); mu[i] != want {
			t.Fatalf("mu-law of %d = %#02x, want %#02x", x, mu[i], want)
		}
		if want := aOracle(x); a[i] != want {
			t.Fatalf("A-law of %d = %#02x, want %#02x", x, a[i], want)
		}
	}
}

func TestDecodeEveryCode(t *testing.T) {
	for c := range 256 {
		code := byte(c)
		i := int(127 - code&0x7f)
		want := middle(&muDecisions, i)
		if i == 0 {
			want = 0
		}
		if code&0x80 == 0 {
			want = -want
		}
		if got := AppendFromPCMU(nil, []byte{code})[0]; int(got) != want {
			t.Errorf("mu-law code %#02x is %d, want %d", code, got, want)
		}

		plain := code ^ 0x55
		want = middle(&aDecisions, int(plain&0x7f))
		if plain&0x80 == 0 {
			want = -want
		}
		if got := AppendFromPCMA(nil, []byte{code})[0]; int(got) != want {
			t.Errorf("A-law code %#02x is %d, want %d", code, got, want)
		}
	}
}

// The digests are those of the ITU-T software tool library's output over the
// same sweep, one code or sample in each little-endian 16-bit word, so that the
// standard's own figures are checked where its vectors are not at hand.
func TestSweepDigests(t *testing.T) {
	pcm := sweep()
	mu, a := AppendPCMU(nil, pcm), AppendPCMA(nil, pcm)
	for _, tt := range []struct {
		name   string
		words  []int16
		digest string
	}{
		{"A-law codes", widen(a), "e1e8717a8c7a493583a2e8ac6916f0e37383d9226c6fb60de541393aba8bf402"},
		{"mu-law codes", widen(mu), "0523921b8957bccf95d0e0f2e43930359403d5ad4e31926b2272aa74a1f22c43"},
		{"A-law samples", AppendFromPCMA(nil, a), "faf8570479a0e7d0e1da55d48c42e76961d0e5c285c35d42e9f6dafbafae8a35"},
		{"mu-law samples", AppendFromPCMU(nil, mu), "cf9f90195534a105f211b1fb5c511ab45ee76827ac0987d6cc804afb897ef0f6"},
	} {
		sum := sha256.Sum256(words(tt.words))
		if got := hex.EncodeToString(sum[:]); got != tt.digest {
			t.Errorf("%s: SHA-256 %s, want %s", tt.name, got, tt.digest)
		}
	}
}

func widen(codes []byte) []int16 {
	w := make([]int16, len(codes))
	for i, c := range codes {
		w[i] = int16(c)
	}
	return w
}

func words(w []int16) []byte {
	var b []byte
	for _, x := range w {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	return b
}

// The appending functions must leave what stands before alone.
func TestAppendKeepsPrefix(t *testing.T) {
	if got := AppendPCMU([]byte{1, 2}, []int16{0, -1}); string(got) != "\x01\x02\xff\x7f" {
		t.Errorf("AppendPCMU = %x", got)
	}
	if got := AppendPCMA([]byte{1, 2}, []int16{0, -1}); string(got) != "\x01\x02\xd5\x55" {
		t.Errorf("AppendPCMA = %x", got)
	}
	if got := AppendFromPCMU([]int16{7}, []byte{0xff}); len(got) != 2 || got[0] != 7 || got[1] != 0 {
		t.Errorf("AppendFromPCMU = %v", got)
	}
	if got := AppendFromPCMA([]int16{7}, []byte{0xd5}); len(got) != 2 || got[0] != 7 || got[1] != 8 {
		t.Errorf("AppendFromPCMA = %v", got)
	}
}

func TestAllocations(t *testing.T) {
	pcm := make([]int16, 160)
	codes := make([]byte, 160)
	for name, f := range map[string]func(){
		"AppendPCMU":     func() { AppendPCMU(codes[:0], pcm) },
		"AppendPCMA":     func() { AppendPCMA(codes[:0], pcm) },
		"AppendFromPCMU": func() { AppendFromPCMU(pcm[:0], codes) },
		"AppendFromPCMA": func() { AppendFromPCMA(pcm[:0], codes) },
		"PCMUToPCMA":     func() { PCMUToPCMA(codes) },
		"PCMAToPCMU":     func() { PCMAToPCMU(codes) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
