// Package wheel is a timer wheel that its owner turns: no goroutines, no clock
// of its own, and constant cost however many timers are set.
//
// A [Timer] is part of the structure that it belongs to and is never copied or
// allocated apart. The wheel holds pointers into such structures until they fire
// or are stopped. One goroutine owns a wheel and all of its timers.
//
// Time is counted in ticks since the wheel's origin. A timer fires at the first
// call of [Wheel.Advance] whose time has reached the end of the timer's tick:
// never early, and late by less than a tick plus however late the call is.
package wheel

import (
	"math/bits"
	"time"
)

const (
	digit  = 6 // bits of a tick count that one level looks at
	slots  = 1 << digit
	levels = 8 // 48 bits of ticks: 8900 years of milliseconds
	limit  = 1<<(digit*levels) - 1
)

// Timer is one timer of a wheel whose timers belong to a T. The zero value is
// not set.
type Timer[T any] struct {
	// Owner is for the callback that fires the timer; the wheel doesn't touch it.
	Owner T

	next, prev *Timer[T]
	due        uint64
	level      uint8
	set        bool
}

// Set reports whether the timer is waiting to fire.
func (t *Timer[T]) Set() bool { return t.set }

// Wheel is a set of timers.
//
// Each level is a ring of 64 slots, and looks at one 6-bit digit of the tick
// count. A timer stands on the level of the highest digit in which its due tick
// differs from the present one, in the slot of that digit. So everything on a
// level is due before anything on the level above, the first occupied slot of
// the lowest occupied level holds what comes next, and a timer moves down a level
// each time the digit that held it has come.
type Wheel[T any] struct {
	origin   time.Time
	tick     time.Duration
	now      uint64 // in ticks; nothing due before it is left
	count    int
	occupied [levels]uint64 // a bit for each slot that is not empty
	ring     [levels][slots]*Timer[T]
}

// New returns a wheel with its origin at the present time now. It panics unless
// tick, the resolution, is positive.
func New[T any](now time.Time, tick time.Duration) *Wheel[T] {
	if tick <= 0 {
		panic("wheel: tick must be positive")
	}
	return &Wheel[T]{origin: now, tick: tick}
}

// Len returns how many timers are set.
func (w *Wheel[T]) Len() int { return w.count }

// Schedule sets a timer to fire at a time, and moves it if it is set already. A
// time that has passed means the tick that comes next.
func (w *Wheel[T]) Schedule(t *Timer[T], at time.Time) {
	w.Stop(t)
	t.due = min(max(w.ceil(at), w.now+1), limit)
	t.set = true
	w.count++
	w.place(t)
}

// Stop takes a timer off the wheel and reports whether it was set.
func (w *Wheel[T]) Stop(t *Timer[T]) bool {
	if !t.set {
		return false
	}
	w.unlink(t)
	t.set = false
	w.count--
	return true
}

// Next returns the time at which [Wheel.Advance] has something to do; ok is false
// when no timer is set. It is never later than the earliest timer, but may be
// earlier, when timers far ahead have to be sorted first: at most once a level.
func (w *Wheel[T]) Next() (at time.Time, ok bool) {
	_, tick, ok := w.next()
	if !ok {
		return time.Time{}, false
	}
	return w.origin.Add(time.Duration(tick) * w.tick), true
}

// Advance fires every timer that is due by now, in the order of their ticks and
// without order within one. A timer is off the wheel when fire gets it; fire may
// schedule it again and may schedule and stop others, those of the same tick
// included. A now that lies behind an earlier one does nothing.
func (w *Wheel[T]) Advance(now time.Time, fire func(*Timer[T])) {
	target := w.floor(now)
	for {
		level, tick, ok := w.next()
		if !ok || tick > target {
			break
		}
		w.now = tick
		if level > 0 {
			w.cascade(level)
			continue
		}
		for slot := tick % slots; w.ring[0][slot] != nil; {
			t := w.ring[0][slot]
			w.Stop(t)
			fire(t)
		}
	}
	w.now = max(w.now, target)
}

// next finds the first occupied slot of the lowest occupied level and the tick
// at which its digit comes.
func (w *Wheel[T]) next() (level int, tick uint64, ok bool) {
	for level, occupied := range w.occupied {
		if occupied == 0 {
			continue
		}
		slot := uint64(bits.TrailingZeros64(occupied))
		shift := digit * level
		above := w.now >> (shift + digit) << (shift + digit)
		return level, above | slot<<shift, true
	}
	return 0, 0, false
}

// cascade moves the timers of the slot whose digit has come to the levels below.
func (w *Wheel[T]) cascade(level int) {
	slot := w.now >> (digit * level) % slots
	t := w.ring[level][slot]
	w.ring[level][slot] = nil
	w.occupied[level] &^= 1 << slot
	for t != nil {
		next := t.next
		w.place(t)
		t = next
	}
}

// place links a timer whose due tick is not behind the present one.
func (w *Wheel[T]) place(t *Timer[T]) {
	level := 0
	if differ := t.due ^ w.now; differ != 0 {
		level = (bits.Len64(differ) - 1) / digit
	}
	t.level = uint8(level)
	slot := t.due >> (digit * level) % slots
	head := &w.ring[level][slot]
	t.prev, t.next = nil, *head
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	w.occupied[level] |= 1 << slot
}

func (w *Wheel[T]) unlink(t *Timer[T]) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		level, slot := int(t.level), t.due>>(digit*int(t.level))%slots
		w.ring[level][slot] = t.next
		if t.next == nil {
			w.occupied[level] &^= 1 << slot
		}
	}
	t.next, t.prev = nil, nil
}

// floor returns the tick that a time lies in.
func (w *Wheel[T]) floor(at time.Time) uint64 {
	d := at.Sub(w.origin)
	if d < 0 {
		return 0
	}
	return uint64(d / w.tick)
}

// ceil returns the first tick that is not before a time.
func (w *Wheel[T]) ceil(at time.Time) uint64 {
	d := at.Sub(w.origin)
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/w.tick) + 1
}
