package locate

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func weighted(priority uint16, weights ...uint16) []record {
	var out []record
	for i, w := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(priority), byte(i)}), 5060)
		out = append(out, record{priority: priority, weight: w, targets: []Target{{Addr: at}}})
	}
	return out
}

// RFC 2782: within one priority the chance to come first follows the weight.
func TestTheFirstFollowsTheWeights(t *testing.T) {
	const draws = 60000
	rng := rand.New(rand.NewPCG(1, 2))
	records := weighted(1, 10, 60, 30)
	var first [3]float64
	for range draws {
		got := order(records, rng.Float64)
		first[slices.IndexFunc(records, func(r record) bool { return r.targets[0] == got[0].targets[0] })]++
	}
	// By the letter of the RFC a record is drawn by numbers from 0 to the sum,
	// both included: weight 10 of 100 stands first in 11 of 101 draws when it is
	// the first of the list.
	for i, want := range []float64{11.0 / 101, 60.0 / 101, 30.0 / 101} {
		if got := first[i] / draws; math.Abs(got-want) > 0.005 {
			t.Errorf("weight %d is first in %.3f of all draws, want %.3f", records[i].weight, got, want)
		}
	}
}

// RFC 2782: records of weight 0 have a very small chance to come before others.
func TestWeightZeroIsDrawnBySmallChance(t *testing.T) {
	records := weighted(1, 100, 0)
	if got := order(records, func() float64 { return 0 }); got[0].weight != 0 {
		t.Error("the lowest draw takes the record of weight 0")
	}
	if got := order(records, func() float64 { return 0.01 }); got[0].weight != 100 {
		t.Error("a draw of 1 of 0 to 100 takes the record of weight 100")
	}
}

// Whatever is drawn, everything is there once, priorities stand in order, and
// what was given stays as it was.
func TestOrderKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []record
		for p := range uint16(rapid.IntRange(0, 3).Draw(t, "priorities")) {
			records = append(records, weighted(p, rapid.SliceOfN(rapid.Uint16(), 0, 5).Draw(t, "weights")...)...)
		}
		before := slices.Clone(records)
		draw := rapid.Float64Range(0, math.Nextafter(1, 0))
		got := order(records, func() float64 { return draw.Draw(t, "draw") })
		same := func(a, b record) bool { return a.targets[0] == b.targets[0] }
		if !slices.EqualFunc(records, before, same) {
			t.Fatal("the records given were changed")
		}
		if len(got) != len(records) {
			t.Fatalf("%d records of %d", len(got), len(records))
		}
		for i, r := range got {
			if i > 0 && got[i-1].priority > r.priority {
				t.Fatal("priorities are out of order")
			}
			if slices.IndexFunc(got, func(o record) bool { return same(o, r) }) != i {
				t.Fatal("a record stands twice")
			}
		}
	})
}

// Up and down against an oracle that looks at the whole history each time.
func TestHealthFollowsTheHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		failures, successes := rapid.IntRange(1, 4).Draw(t, "failures"), rapid.IntRange(1, 4).Draw(t, "successes")
		p, err := New(Config{Host: "192.0.2.1", Network: "udp", Heartbeat: Heartbeat{time.Minute, failures, successes}})
		if err != nil {
			t.Fatal(err)
		}
		to := p.Targets()[0]
		var history []bool
		last := func(n int, answered bool) bool {
			return len(history) >= n && !slices.Contains(history[len(history)-n:], !answered)
		}
		up := true
		for _, answered := range rapid.SliceOf(rapid.Bool()).Draw(t, "answers") {
			history = append(history, answered)
			if answered {
				p.Report(to, nil)
			} else {
				p.Report(to, errSilent)
			}
			switch {
			case up && last(failures, false):
				up = false
			case !up && last(successes, true):
				up = true
			}
			if p.Up() != up {
				t.Fatalf("after %v up is %v", history, p.Up())
			}
		}
	})
}
