package media

import (
	"math/rand/v2"
	"time"
)

// portPool hands out the port pairs of one address: an even port for RTP and the
// odd one after it for RTCP (RFC 3550 section 11). The caller locks it and brings
// the clock.
//
// Pairs are used in turn, from a place chosen at random, so that a number comes
// back as late as possible and a stray packet of the call before finds nobody. A
// pair that was given back rests first.
type portPool struct {
	total   int
	ready   fifo[uint16]
	resting fifo[restingPair] // in the order of their ends
	rest    time.Duration
}

type restingPair struct {
	port  uint16
	until time.Time
}

// newPortPool makes a pool of every pair that lies within first to last,
// inclusive.
func newPortPool(first, last uint16, rest time.Duration) *portPool {
	p := &portPool{rest: rest}
	even := int(first) + int(first)%2
	for port := even; port+1 <= int(last); port += 2 {
		p.ready.push(uint16(port))
	}
	p.total = p.ready.len()
	if p.total > 0 {
		for range rand.IntN(p.total) {
			p.ready.push(p.ready.pop())
		}
	}
	return p
}

// take returns the even port of the pair whose turn it is.
func (p *portPool) take(now time.Time) (port uint16, ok bool) {
	p.wake(now)
	if p.ready.len() == 0 {
		return 0, false
	}
	return p.ready.pop(), true
}

// release takes back a pair that was used, to rest.
func (p *portPool) release(port uint16, now time.Time) {
	p.resting.push(restingPair{port, now.Add(p.rest)})
}

// giveBack takes back a pair that could not be used; it is the last in turn.
func (p *portPool) giveBack(port uint16) { p.ready.push(port) }

// free returns how many pairs can be taken.
func (p *portPool) free(now time.Time) int {
	p.wake(now)
	return p.ready.len()
}

// wake moves the pairs that have rested to those that can be taken. A clock that
// jumped back makes pairs rest for longer, never shorter.
func (p *portPool) wake(now time.Time) {
	for p.resting.len() > 0 && !p.resting.first().until.After(now) {
		p.ready.push(p.resting.pop().port)
	}
}

// fifo is a queue in a ring that grows.
type fifo[T any] struct {
	ring []T
	head int
	n    int
}

func (f *fifo[T]) len() int { return f.n }
func (f *fifo[T]) first() T { return f.ring[f.head] }

func (f *fifo[T]) push(v T) {
	if f.n == len(f.ring) {
		bigger := make([]T, max(2*f.n, 16))
		copied := copy(bigger, f.ring[f.head:])
		copy(bigger[copied:], f.ring[:f.head])
		f.ring, f.head = bigger, 0
	}
	f.ring[(f.head+f.n)%len(f.ring)] = v
	f.n++
}

func (f *fifo[T]) pop() T {
	v := f.ring[f.head]
	f.head = (f.head + 1) % len(f.ring)
	f.n--
	return v
}
