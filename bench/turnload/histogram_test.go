package turnload

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBuckets(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 31, 32, 33, 63, 64, 65, 66, 127, 128, 1000, 1 << 20, 1<<20 + 1<<15, math.MaxInt64} {
		i := bucket(v)
		if i < last || top(i) < v || float64(top(i)-v) > float64(v)/32 {
			t.Errorf("%d is counted in bucket %d, which ends at %d", v, i, top(i))
		}
		last = i
	}
	for i := range bucket(math.MaxInt64) {
		if bucket(top(i)) != i || bucket(top(i)+1) != i+1 {
			t.Fatalf("bucket %d does not end at %d", i, top(i))
		}
	}
}

func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 200).Draw(t, "durations")
		var h, a, b Histogram
		for i, d := range all {
			h.Add(time.Duration(d))
			if i%2 == 0 {
				a.Add(time.Duration(d))
			} else {
				b.Add(time.Duration(d))
			}
		}
		if a.Merge(&b); a != h {
			t.Fatal("merging is not adding")
		}
		slices.Sort(all)
		if h.Count() != uint64(len(all)) || h.Max() != time.Duration(all[len(all)-1]) || h.Quantile(1) != h.Max() {
			t.Fatalf("%d durations up to %v", h.Count(), h.Max())
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		want := float64(all[max(int(q*float64(len(all))), 1)-1])
		if got := float64(h.Quantile(q)); got < want || got > want+want/32 {
			t.Fatalf("quantile %v of %v is %v, want %v", q, all, got, want)
		}
	})
}

func TestEmptyHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Error("an empty histogram is not empty")
	}
	h.Add(-time.Second)
	if h.Quantile(0.5) != 0 || h.Count() != 1 {
		t.Error("a negative duration is not 0")
	}
}
