package turnload

import (
	"math/bits"
	"time"
)

// Histogram counts durations from 1 ns to centuries in buckets that are at most a 32nd wider than what is in them. The
// zero value is empty.
type Histogram struct {
	counts [(64 - exact) << exact]uint64
	n      uint64
	max    time.Duration
}

// exact is how many bits of a duration a bucket keeps behind its highest one.
const exact = 5

// Add counts one duration; a negative one as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// Count returns how many durations there are.
func (h *Histogram) Count() uint64 { return h.n }

// Max returns the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns a duration that a part q (0 to 1) of all is not above, rounded up by less than a 32nd; 0 if the
// histogram is empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(max(uint64(q*float64(h.n)), 1), h.n)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(time.Duration(top(i)), h.max)
		}
	}
	return h.max
}

// bucket returns where a value is counted: the small ones have a bucket each, and above that every power of two has 32.
func bucket(v uint64) int {
	if v < 1<<(exact+1) {
		return int(v)
	}
	shift := bits.Len64(v) - exact - 1
	return shift<<exact + int(v>>shift)
}

// top returns the largest value of a bucket.
func top(i int) uint64 {
	if i < 1<<(exact+1) {
		return uint64(i)
	}
	shift := i>>exact - 1
	return uint64(i-shift<<exact+1)<<shift - 1
}

// Merge adds what another histogram holds.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}
