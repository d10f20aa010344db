package relay

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPortsRestAfterUse(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPortPool(50000, 50003, 30*time.Second)
	seen := map[uint16]bool{}
	for range 4 {
		port, ok := p.take(now, false, false)
		if !ok || seen[port] {
			t.Fatalf("port %d, %v: taken twice or none left", port, ok)
		}
		seen[port] = true
	}
	if _, ok := p.take(now, false, false); ok {
		t.Fatal("a fifth of four ports")
	}
	p.put(now, 50002)
	if _, ok := p.take(now.Add(30*time.Second-1), false, false); ok {
		t.Fatal("a port was given out while it rested")
	}
	if port, ok := p.take(now.Add(30*time.Second), false, false); !ok || port != 50002 {
		t.Fatalf("got %d, %v after the quarantine", port, ok)
	}
}

func TestPortsAreSpreadOverTheRange(t *testing.T) {
	const n = 1000
	counts := make([]int, 4)
	for range n {
		p := newPortPool(50000, 59999, 0)
		port, _ := p.take(time.Unix(0, 0), false, false)
		counts[(port-50000)/2500]++
	}
	for i, c := range counts {
		if c < n/4-100 || c > n/4+100 { // more than seven standard deviations
			t.Errorf("quarter %d of the range was chosen %d times of %d", i, c, n)
		}
	}
}

// TestPortsAgainstOracle holds the pool to a plain map of who has what.
func TestPortsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rest = 10 * time.Second
		now := time.Unix(1000, 0)
		p := newPortPool(60000, 60015, rest)
		freeAt := map[uint16]time.Time{} // of those that can be taken at some time
		held := map[uint16]bool{}
		for port := uint16(60000); port <= 60015; port++ {
			freeAt[port] = time.Time{}
		}
		ready := func(port uint16) bool {
			at, ok := freeAt[port]
			return ok && !at.After(now)
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				even, pair := rapid.Bool().Draw(t, "even"), rapid.Bool().Draw(t, "pair")
				even = even || pair
				possible := false
				for port := range freeAt {
					possible = possible || ready(port) && (!even || port%2 == 0) && (!pair || ready(port+1))
				}
				port, ok := p.take(now, even, pair)
				if ok != possible {
					t.Fatalf("take(even %v, pair %v) = %v, the oracle says %v", even, pair, ok, possible)
				}
				if !ok {
					return
				}
				if even && port%2 != 0 {
					t.Fatalf("%d is not even", port)
				}
				for i := range map[bool]uint16{false: 1, true: 2}[pair] {
					if !ready(port + i) {
						t.Fatalf("%d was not free", port+i)
					}
					delete(freeAt, port+i)
					held[port+i] = true
				}
			},
			"put": func(t *rapid.T) {
				for port := range held {
					delete(held, port)
					p.put(now, port)
					freeAt[port] = now.Add(rest)
					return
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				n := 0
				for port := range freeAt {
					if ready(port) {
						n++
					}
				}
				if free, resting := p.counts(now); free != n || free+resting+len(held) != 16 {
					t.Fatalf("%d free, %d resting, %d held; the oracle has %d free", free, resting, len(held), n)
				}
			},
		})
	})
}
