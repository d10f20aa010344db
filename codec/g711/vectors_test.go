package g711

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// vector reads one file of the ITU-T software tool library's G.711 set: 16-bit
// little-endian words. The set is not part of this module; CAUSEWAY_VECTORS
// names the folder that holds g711/, and without it a shared/vectors folder next
// to any folder above this one is looked for.
func vector(t *testing.T, name string) []int16 {
	t.Helper()
	dir := os.Getenv("CAUSEWAY_VECTORS")
	if dir == "" {
		dir = findVectors(t)
	}
	if dir == "" {
		t.Skip("ITU-T vectors not at hand: set CAUSEWAY_VECTORS; TestSweepDigests checks the same figures by their digests")
	}
	b, err := os.ReadFile(filepath.Join(dir, "g711", name))
	if err != nil {
		t.Fatal(err)
	}
	w := make([]int16, len(b)/2)
	for i := range w {
		w[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return w
}

func findVectors(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		v := filepath.Join(dir, "shared", "vectors")
		if info, err := os.Stat(v); err == nil && info.IsDir() {
			return v
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func TestVectors(t *testing.T) {
	pcm := vector(t, "sweep.src")
	for _, tt := range []struct {
		file string
		got  []int16
	}{
		{"sweep-r.u", widen(AppendPCMU(nil, pcm))},
		{"sweep-r.a", widen(AppendPCMA(nil, pcm))},
		{"sweep-r.u-u", AppendFromPCMU(nil, AppendPCMU(nil, pcm))},
		{"sweep-r.a-a", AppendFromPCMA(nil, AppendPCMA(nil, pcm))},
		{"sweep-r.reu", AppendFromPCMU(nil, narrow(vector(t, "sweep-r.u")))},
		{"sweep-r.rea", AppendFromPCMA(nil, narrow(vector(t, "sweep-r.a")))},
	} {
		want := vector(t, tt.file)
		if len(tt.got) != len(want) {
			t.Fatalf("%s: %d words, want %d", tt.file, len(tt.got), len(want))
		}
		for i := range want {
			if tt.got[i] != want[i] {
				t.Fatalf("%s: word %d is %d, want %d (input %d)", tt.file, i, tt.got[i], want[i], pcm[i])
			}
		}
	}
}

func narrow(w []int16) []byte {
	b := make([]byte, len(w))
	for i, x := range w {
		b[i] = byte(x)
	}
	return b
}
