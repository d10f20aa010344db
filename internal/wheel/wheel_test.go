package wheel

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var origin = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

type timer = Timer[string]

func at(d time.Duration) time.Time { return origin.Add(d) }

func collect(w *Wheel[string], now time.Time) (names []string) {
	w.Advance(now, func(t *timer) { names = append(names, t.Owner) })
	return names
}

func TestFiresNeverEarly(t *testing.T) {
	w := New[string](origin, 10*time.Millisecond)
	tm := &timer{Owner: "a"}
	w.Schedule(tm, at(25*time.Millisecond))
	if got := collect(w, at(29*time.Millisecond)); got != nil {
		t.Fatalf("fired %v before the tick was over", got)
	}
	if got := collect(w, at(30*time.Millisecond)); len(got) != 1 || tm.Set() || w.Len() != 0 {
		t.Fatalf("fired %v, set %v, %d left", got, tm.Set(), w.Len())
	}
}

func TestPastMeansNextTick(t *testing.T) {
	w := New[string](origin, time.Second)
	collect(w, at(100*time.Second))
	w.Schedule(&timer{Owner: "past"}, at(-time.Hour))
	if next, ok := w.Next(); !ok || !next.Equal(at(101*time.Second)) {
		t.Fatalf("next at %v, %v", next, ok)
	}
	if got := collect(w, at(50*time.Second)); got != nil {
		t.Fatal("a clock that went back fired a timer")
	}
	if got := collect(w, at(101*time.Second)); len(got) != 1 {
		t.Fatalf("fired %v", got)
	}
}

// A timer that sets itself again for a time that has passed must not keep
// Advance from returning.
func TestRescheduleWhileFiring(t *testing.T) {
	w := New[string](origin, time.Millisecond)
	a, b, c := &timer{Owner: "a"}, &timer{Owner: "b"}, &timer{Owner: "c"}
	for _, tm := range []*timer{a, b, c} {
		w.Schedule(tm, at(time.Millisecond))
	}
	fired := 0
	w.Advance(at(time.Millisecond), func(tm *timer) {
		fired++
		w.Schedule(tm, at(0))
		w.Stop(a)
		w.Stop(b)
		w.Stop(c)
		w.Schedule(b, at(0))
	})
	if fired != 1 || w.Len() != 1 || !b.Set() {
		t.Fatalf("fired %d times, %d left, b set %v", fired, w.Len(), b.Set())
	}
}

func TestFarAhead(t *testing.T) {
	w := New[string](origin, time.Nanosecond)
	tm := &timer{Owner: "far"}
	w.Schedule(tm, at(100*365*24*time.Hour)) // beyond what the levels reach at a nanosecond a tick
	next, ok := w.Next()
	if !ok || next.After(at(100*365*24*time.Hour)) {
		t.Fatalf("next at %v", next)
	}
	if !w.Stop(tm) || w.Stop(tm) {
		t.Error("Stop doesn't tell whether the timer was set")
	}
	if _, ok := w.Next(); ok {
		t.Error("an empty wheel has a next timer")
	}
}

func TestTickMustBePositive(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a wheel without a tick was made")
		}
	}()
	New[string](origin, 0)
}

// model is the slow twin: a list of due ticks, all of them looked at every time.
type model map[*Timer[int]]uint64

func (m model) due(target uint64) (n int) {
	for _, tick := range m {
		if tick <= target {
			n++
		}
	}
	return n
}

func (m model) earliest() (first uint64) {
	first = ^uint64(0)
	for _, tick := range m {
		first = min(first, tick)
	}
	return first
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tick := time.Duration(rapid.SampledFrom([]int{1, 7, 1000, 10_000_000}).Draw(t, "tick"))
		w := New[int](origin, tick)
		timers := make([]Timer[int], 20)
		for i := range timers {
			timers[i].Owner = i
		}
		m := model{}
		now := time.Duration(0)
		span := func(label string) time.Duration {
			// Spread over all the levels, with the edges of digits likely.
			n := uint64(1) << rapid.IntRange(0, 36).Draw(t, label+" bits")
			n += uint64(rapid.IntRange(-2, 2).Draw(t, label+" edge"))
			return time.Duration(min(n, 1<<36)) * tick / time.Duration(rapid.SampledFrom([]int{1, 1, 3}).Draw(t, label+" part"))
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				tm := &timers[rapid.IntRange(0, len(timers)-1).Draw(t, "timer")]
				d := now + span("delay")
				w.Schedule(tm, at(d))
				m[tm] = max(uint64((d+tick-1)/tick), uint64(now/tick)+1)
			case 2:
				tm := &timers[rapid.IntRange(0, len(timers)-1).Draw(t, "timer")]
				_, set := m[tm]
				if w.Stop(tm) != set {
					t.Fatalf("Stop(%d) didn't return %v", tm.Owner, set)
				}
				delete(m, tm)
			case 3:
				now += span("turn")
				target := uint64(now / tick)
				expect, last := m.due(target), uint64(0)
				w.Advance(at(now), func(tm *Timer[int]) {
					due, set := m[tm]
					if !set || due > target || due < last {
						t.Fatalf("timer %d fired: set %v, due %d, target %d, last %d", tm.Owner, set, due, target, last)
					}
					last = due
					expect--
					delete(m, tm)
				})
				if expect != 0 {
					t.Fatalf("%d timers due by %d did not fire", expect, target)
				}
			}
			checkNext(t, w, m, now, tick)
		}
	})
}

func checkNext(t *rapid.T, w *Wheel[int], m model, now, tick time.Duration) {
	next, ok := w.Next()
	if ok != (len(m) > 0) || w.Len() != len(m) {
		t.Fatalf("Next says %v and Len %d with %d timers set", ok, w.Len(), len(m))
	}
	if !ok {
		return
	}
	if earliest := origin.Add(time.Duration(m.earliest()) * tick); next.After(earliest) {
		t.Fatalf("Next is %v, after the earliest timer at %v", next, earliest)
	}
	if !next.After(origin.Add(now - now%tick)) {
		t.Fatalf("Next is %v, with nothing left to do at %v", next, at(now))
	}
}

// Sleeping until Next and turning, over and over, must reach a timer in as many
// wake-ups as there are levels.
func TestWakeUpsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := New[int](origin, time.Millisecond)
		w.Advance(at(time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "start"))), nil)
		tm := new(Timer[int])
		w.Schedule(tm, at(time.Duration(rapid.Int64Range(0, 1<<55).Draw(t, "due"))))
		for range levels {
			if next, ok := w.Next(); ok {
				w.Advance(next, func(*Timer[int]) {})
			}
		}
		if tm.Set() {
			t.Fatal("the timer didn't fire")
		}
	})
}

func BenchmarkScheduleAndFire(b *testing.B) {
	w := New[int](origin, time.Millisecond)
	timers := make([]Timer[int], 4096)
	now := time.Duration(0)
	for i := range timers {
		w.Schedule(&timers[i], at(time.Duration(i)*time.Millisecond))
	}
	b.ReportAllocs()
	for b.Loop() {
		now += time.Millisecond
		w.Advance(at(now), func(t *Timer[int]) { w.Schedule(t, at(now+4096*time.Millisecond)) })
	}
}
