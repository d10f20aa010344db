package media

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPairsOfRange(t *testing.T) {
	for _, tt := range []struct {
		first, last uint16
		pairs       int
		lowest      uint16
	}{
		{60000, 64000, 2000, 60000}, // 64000 has no mate
		{60000, 64001, 2001, 60000},
		{60001, 64000, 1999, 60002},
		{60000, 60001, 1, 60000},
		{60000, 60000, 0, 0},
		{60001, 60002, 0, 0},
		{65534, 65535, 1, 65534},
		{65535, 65535, 0, 0},
	} {
		p := newPortPool(tt.first, tt.last, Quarantine)
		seen := map[uint16]bool{}
		lowest := uint16(65535)
		for {
			port, ok := p.take(time.Now())
			if !ok {
				break
			}
			if port%2 != 0 || port < tt.first || port >= tt.last || seen[port] {
				t.Errorf("%d-%d: took %d", tt.first, tt.last, port)
			}
			seen[port] = true
			lowest = min(lowest, port)
		}
		if len(seen) != tt.pairs || p.total != tt.pairs || tt.pairs > 0 && lowest != tt.lowest {
			t.Errorf("%d-%d: %d pairs from %d, total %d; want %d from %d", tt.first, tt.last, len(seen), lowest, p.total, tt.pairs, tt.lowest)
		}
	}
}

// Pairs are used in turn, and a pool doesn't start where the last one did.
func TestPairsAreUsedInTurn(t *testing.T) {
	starts := map[uint16]bool{}
	for range 20 {
		p := newPortPool(60000, 64000, Quarantine)
		first, _ := p.take(time.Now())
		starts[first] = true
		next, _ := p.take(time.Now())
		if want := first + 2; next != want && (first != 63998 || next != 60000) {
			t.Errorf("%d follows %d", next, first)
		}
	}
	if len(starts) < 2 {
		t.Error("every pool starts at the same place")
	}
}

// The pool against a list of pairs with the times from which they can be taken:
// no pair is handed out twice, before its rest is over, or lost.
func TestPoolAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPortPool(60000, 60015, 5*time.Second)
		now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		ready := map[uint16]time.Time{}
		for port := uint16(60000); port < 60016; port += 2 {
			ready[port] = now
		}
		var used []uint16
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			free := 0
			for _, at := range ready {
				if !at.After(now) {
					free++
				}
			}
			if got := p.free(now); got != free {
				t.Fatalf("%d free, want %d", got, free)
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				port, ok := p.take(now)
				if ok != (free > 0) {
					t.Fatalf("took %d, %v with %d free", port, ok, free)
				}
				if !ok {
					continue
				}
				if at, known := ready[port]; !known || at.After(now) {
					t.Fatalf("took %d, which is in use or resting", port)
				}
				delete(ready, port)
				used = append(used, port)
			case 2, 3:
				if len(used) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(used)-1).Draw(t, "which")
				port := used[i]
				used = append(used[:i], used[i+1:]...)
				if rapid.Bool().Draw(t, "unused") {
					p.giveBack(port)
					ready[port] = now
				} else {
					p.release(port, now)
					ready[port] = now.Add(5 * time.Second)
				}
			}
		}
	})
}
