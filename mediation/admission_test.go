package mediation

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRate: no second sees more than its rate and what was saved, and a whole
// second's worth may come at once.
func TestRate(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	r := newRate(200, now)
	taken := func() (n int) {
		for r.take(now) {
			n++
		}
		return n
	}
	if n := taken(); n != 200 {
		t.Errorf("%d at once", n)
	}
	now = now.Add(5 * time.Millisecond)
	if n := taken(); n != 1 {
		t.Errorf("%d after 5 ms", n)
	}
	now = now.Add(time.Hour)
	if n := taken(); n != 200 {
		t.Errorf("%d after an hour", n)
	}
	now = now.Add(-time.Minute) // a clock that was set back gives nothing
	if n := taken(); n != 0 {
		t.Errorf("%d in the past", n)
	}
}

// TestRateOracle: over any time, at most a burst and the rate go through.
func TestRateOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.IntRange(1, 1000).Draw(t, "rate")
		now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
		start, taken := now, 0
		r := newRate(perSecond, now)
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 50_000), 1, 300).Draw(t, "microseconds") {
			now = now.Add(time.Duration(step) * time.Microsecond)
			if r.take(now) {
				taken++
			}
			if most := float64(perSecond)*(1+now.Sub(start).Seconds()) + 0.001; float64(taken) > most {
				t.Fatalf("%d taken, at most %.1f", taken, most)
			}
		}
	})
}
