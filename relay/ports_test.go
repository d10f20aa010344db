package relay

import (
	"slices"
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
	p.put(now.Add(time.Second), 50001)
	if port, ok := p.take(now.Add(30*time.Second), false, false); !ok || port != 50002 {
		t.Fatalf("got %d, %v after the quarantine", port, ok)
	}
	if _, _, early := p.counts(now.Add(30 * time.Second)); early != 0 {
		t.Fatalf("%d ports were taken early", early)
	}
	// Nothing else is left: the quarantine gives way, and says so.
	if port, ok := p.take(now.Add(31*time.Second-1), false, false); !ok || port != 50001 {
		t.Fatalf("got %d, %v", port, ok)
	}
	if _, _, early := p.counts(now.Add(30 * time.Second)); early != 1 {
		t.Fatalf("%d ports were taken early", early)
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

// TestPortsAgainstOracle holds the pool to a plain list of what is free, and a queue of what rests.
func TestPortsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rest = 10 * time.Second
		now := time.Unix(1000, 0)
		p := newPortPool(60000, 60015, rest)
		free, held := map[uint16]bool{}, map[uint16]bool{}
		var resting []fouledPort
		for port := uint16(60000); port <= 60015; port++ {
			free[port] = true
		}
		release := func(n int) {
			for _, f := range resting[:n] {
				free[f.port] = true
			}
			resting = resting[n:]
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				even, pair := rapid.Bool().Draw(t, "even"), rapid.Bool().Draw(t, "pair")
				even = even || pair
				only := uint16(0)
				fits := func(port uint16, vacant func(uint16) bool) bool {
					return (!even || port%2 == 0) && vacant(port) && (!pair || vacant(port+1))
				}
				isFree := func(port uint16) bool { return free[port] }
				vacant := func(port uint16) bool { return port >= 60000 && port <= 60015 && !held[port] }
				want := false
				for port := range free {
					want = want || fits(port, isFree)
				}
				if !want { // the one that has rested longest, or the pair that it is of
					for i := 0; i < len(resting) && !want; i++ {
						port := resting[i].port
						if pair {
							port &^= 1
						}
						if want = fits(port, vacant); !want {
							continue
						}
						taken := func(f fouledPort) bool { return f.port == port || pair && f.port == port+1 }
						resting = slices.DeleteFunc(resting, taken)
						free[port] = true
						if pair {
							free[port+1] = true
						}
						only = port
					}
				}
				port, ok := p.take(now, even, pair)
				if ok != want {
					t.Fatalf("take(even %v, pair %v) = %v, the oracle says %v", even, pair, ok, want)
				}
				if !ok {
					return
				}
				if even && port%2 != 0 {
					t.Fatalf("%d is not even", port)
				}
				if only != 0 && port != only {
					t.Fatalf("%d was taken early, want %d", port, only)
				}
				for i := range map[bool]uint16{false: 1, true: 2}[pair] {
					if !free[port+i] {
						t.Fatalf("%d was not free", port+i)
					}
					delete(free, port+i)
					held[port+i] = true
				}
			},
			"put": func(_ *rapid.T) {
				for port := range held {
					delete(held, port)
					p.put(now, port)
					resting = append(resting, fouledPort{port, now.Add(rest)})
					return
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "seconds")) * time.Second)
				n := 0
				for n < len(resting) && !resting[n].ends.After(now) {
					n++
				}
				release(n)
			},
			"": func(t *rapid.T) {
				if n, m, _ := p.counts(now); n != len(free) || m != len(resting) {
					t.Fatalf("%d free, %d resting; the oracle has %d and %d", n, m, len(free), len(resting))
				}
			},
		})
	})
}
