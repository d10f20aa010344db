package g711

import (
	"math"
	"testing"
)

// The conversions are matched by level on the line: the overload points of the
// two laws, 32768 and 32636 in 16-bit units, are 3.14 and 3.17 dBm0 (G.711
// section 6 with tables 1a and 2a).
var muInA = 32768.0 / 32636.0 * math.Pow(10, (3.17-3.14)/20)

func TestConvertToA(t *testing.T) {
	for m := range 128 {
		level := float64(middle(&muDecisions, m)) * muInA
		if m == 0 {
			level = 0
		}
		want := byte(place(&aDecisions, level))
		for _, sign := range []byte{0, 0x80} {
			code := []byte{sign | (127 - byte(m))}
			PCMUToPCMA(code)
			if code[0] != (sign|want)^0x55 {
				t.Errorf("mu-law number %d becomes A-law %#02x, want %#02x", m, code[0], (sign|want)^0x55)
			}
		}
	}
}

func TestConvertToMu(t *testing.T) {
	for a := range 128 {
		want := byte(place(&muDecisions, float64(middle(&aDecisions, a))/muInA))
		if a == 79 {
			// G.711 table 4, note 3: A-law number 80 goes to mu-law number 79
			// and not to 80, for the transparency that TestTransparency checks.
			want = 79
		}
		for _, sign := range []byte{0, 0x80} {
			code := []byte{(sign | byte(a)) ^ 0x55}
			PCMAToPCMU(code)
			if code[0] != sign|(127-want) {
				t.Errorf("A-law number %d becomes mu-law %#02x, want %#02x", a+1, code[0], sign|(127-want))
			}
		}
	}
}

// G.711's tables promise that bits 1 to 7 survive a conversion there and back,
// starting from either law.
func TestTransparency(t *testing.T) {
	for c := range 256 {
		code := []byte{byte(c)}
		PCMUToPCMA(code)
		PCMAToPCMU(code)
		if code[0]>>1 != byte(c)>>1 {
			t.Errorf("mu-law %#02x comes back as %#02x", c, code[0])
		}
		code[0] = byte(c)
		PCMAToPCMU(code)
		PCMUToPCMA(code)
		if code[0]>>1 != byte(c)>>1 {
			t.Errorf("A-law %#02x comes back as %#02x", c, code[0])
		}
	}
}
