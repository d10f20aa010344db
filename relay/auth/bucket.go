package auth

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// limit is the shape of a token bucket. A bucket itself is one number, the moment at which it will be full, in Unix
// nanoseconds: tokens come back by the passing of time alone, so that nothing has to fill buckets and one
// compare-and-swap takes from them. The zero bucket is full.
type limit struct {
	rate  int64 // tokens a second; 0: no limit
	depth int64 // nanoseconds in which an empty bucket fills
}

// newLimit gives a bucket the depth of a time, and at least that of some number of tokens.
func newLimit(rate int64, depth time.Duration, atLeast int64) limit {
	if rate <= 0 {
		return limit{}
	}
	l := limit{rate: rate}
	l.depth = max(int64(depth), l.cost(atLeast))
	return l
}

// cost is how long the bucket takes to fill by n tokens, rounded up.
func (l limit) cost(n int64) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(time.Second))
	lo, carry := bits.Add64(lo, uint64(l.rate)-1, 0)
	hi += carry
	if hi >= uint64(l.rate) {
		return math.MaxInt64 / 4
	}
	q, _ := bits.Div64(hi, lo, uint64(l.rate))
	return int64(min(q, math.MaxInt64/4))
}

// worth is how many tokens come in a time, rounded down.
func (l limit) worth(ns int64) int64 {
	hi, lo := bits.Mul64(uint64(ns), uint64(l.rate))
	if hi >= uint64(time.Second) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	return int64(min(q, math.MaxInt64))
}

// clockSlack is how far the callers' clocks may be apart: each worker reads its own, once a batch.
const clockSlack = int64(time.Second)

// take takes want tokens, or as many as there are if those are at least need, or none; it returns how many.
func (l limit) take(bucket *atomic.Int64, now, need, want int64) int64 {
	for {
		was := bucket.Load()
		full := max(was, now)
		if full-now > l.depth+clockSlack {
			// The clock was set back. The bucket is empty, but it must not stay so until that time comes again.
			if !bucket.CompareAndSwap(was, now+l.depth) {
				continue
			}
			return 0
		}
		n := min(l.worth(max(now+l.depth-full, 0)), want)
		if n < need {
			return 0
		}
		if bucket.CompareAndSwap(was, full+l.cost(n)) {
			return n
		}
	}
}

// full reports whether a bucket that nobody draws from is full by every caller's clock. If the clock was set back since,
// nobody can tell, and the bucket must not be kept until that time comes again.
func (l limit) full(bucket *atomic.Int64, now int64) bool {
	was := bucket.Load()
	return was == 0 || was <= now-clockSlack || was-now > l.depth+clockSlack
}

// give puts tokens back.
func (l limit) give(bucket *atomic.Int64, n int64) { bucket.Add(-l.cost(n)) }
