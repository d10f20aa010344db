package auth

import (
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLimitRounding(t *testing.T) {
	l := newLimit(3, time.Second, 1)
	for n, want := range map[int64]int64{0: 0, 1: 333_333_334, 2: 666_666_667, 3: 1_000_000_000} {
		if got := l.cost(n); got != want {
			t.Errorf("%d tokens cost %d ns, want %d", n, got, want)
		}
	}
	for ns, want := range map[int64]int64{0: 0, 333_333_333: 0, 333_333_334: 1, 999_999_999: 2, 1_000_000_000: 3} {
		if got := l.worth(ns); got != want {
			t.Errorf("%d ns are worth %d tokens, want %d", ns, got, want)
		}
	}
}

// Whatever is asked for, at whatever times, in whatever order: over any time no more is given than came in it and lay in
// the bucket, no more than was wanted, and nothing when too little is left.
func TestLimitNeverGivesTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 1<<40).Draw(t, "rate")
		l := newLimit(rate, time.Duration(rapid.Int64Range(1, 5e9).Draw(t, "depth")), rapid.Int64Range(1, 1<<20).Draw(t, "at least"))
		var bucket atomic.Int64
		began := start.UnixNano()
		now, given := began, int64(0)
		for range 50 {
			now += rapid.Int64Range(0, 1e9).Draw(t, "wait")
			need := rapid.Int64Range(1, 1<<20).Draw(t, "need")
			want := need + rapid.Int64Range(0, 1<<20).Draw(t, "more")
			got := l.take(&bucket, now, need, want)
			if got != 0 && (got < need || got > want) {
				t.Fatalf("took %d of %d to %d", got, need, want)
			}
			if given += got; given > l.worth(now-began)+l.worth(l.depth)+1 {
				t.Fatalf("%d tokens in %d ns at %d a second with %d ns saved up", given, now-began, rate, l.depth)
			}
		}
	})
}
