package ua

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	frameTime = 20 * time.Millisecond // of audio in a packet (ptime)
	frameLen  = int(frameTime * clockRate / time.Second)
	// slots spreads the calls over the frame time, as the calls of different phones are.
	slots    = 4
	slotTime = frameTime / slots
	// giveUp is how far the pacer may fall behind before it lets frames fall out rather than send them in a burst.
	giveUp = 200 * time.Millisecond
)

// framer is what a pacer drives: it sends one frame every frameTime.
type framer interface{ frame(now time.Time) }

// pacer sends the frames of all calls of an endpoint from one goroutine, on one absolute timetable, so that the
// average rate is right to the clock however late a single wake-up comes. It sleeps while there is no call.
type pacer struct {
	wake chan struct{} // of one
	late atomic.Int64  // ns, the most it was ever behind

	mu    sync.Mutex // guards the following
	slots [slots][]framer
	calls int
}

func newPacer() *pacer { return &pacer{wake: make(chan struct{}, 1)} }

func (p *pacer) add(f framer) {
	p.mu.Lock()
	least := 0
	for i := range p.slots {
		if len(p.slots[i]) < len(p.slots[least]) {
			least = i
		}
	}
	p.slots[least] = append(p.slots[least], f)
	p.calls++
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// remove takes a call off the timetable; no frame of it is under way when it returns. It may be called for a call
// that was never added.
func (p *pacer) remove(f framer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.slots {
		if at := slices.Index(p.slots[i], f); at >= 0 {
			p.slots[i] = slices.Delete(p.slots[i], at, at+1)
			p.calls--
		}
	}
}

func (p *pacer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls == 0
}

func (p *pacer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !p.idle() {
			p.pace(ctx)
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
	}
}

// pace works until no call is left.
func (p *pacer) pace(ctx context.Context) {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for slot := 0; !p.idle(); {
		now := time.Now()
		behind := now.Sub(due)
		if behind < 0 {
			timer.Reset(-behind)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			continue
		}
		p.late.Store(max(p.late.Load(), int64(behind)))
		if behind > giveUp {
			due = now
		}
		p.send(slot, now)
		slot = (slot + 1) % slots
		due = due.Add(slotTime)
	}
}

func (p *pacer) send(slot int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.slots[slot] {
		f.frame(now)
	}
}
