package netio

import (
	"testing"
	"time"
)

func TestHaste(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var h haste
	step := func(d time.Duration, resting bool) {
		t.Helper()
		now = now.Add(d)
		h.begin(now)
		if h.resting() != resting {
			t.Fatalf("resting %v, want %v", h.resting(), resting)
		}
	}
	step(time.Hour, false)
	for range 3 {
		for range hurryTurns - 1 {
			step(hurry-1, false)
		}
		step(hurry, false) // one that is not quick, and all begins anew
	}
	for range hurryTurns - 1 {
		step(hurry-1, false)
	}
	step(hurry-1, true)
	for range 100 {
		step(time.Second, true) // handling what gathered may take long
	}
	h.idle()
	step(hurry-1, false)
}

func TestRestIsShort(t *testing.T) {
	var h haste
	shortest, longest := time.Hour, time.Duration(0)
	for range 100 {
		begin := time.Now()
		h.rest()
		took := time.Since(begin)
		shortest, longest = min(shortest, took), max(longest, took)
	}
	// A signal may end one early, and a busy machine late: of many, some are right.
	if longest < restTime || shortest > time.Millisecond {
		t.Errorf("rested for %v to %v", shortest, longest)
	}
}
