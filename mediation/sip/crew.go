package sip

import (
	"context"
	"runtime/debug"
	"sync"
)

// crew runs goroutines that somebody waits for. Unlike a sync.WaitGroup it may
// be waited for while more are started, and it can be stopped: from then on it
// starts none. A panic in one of them ends that goroutine alone.
type crew struct {
	panicked func(value any, stack []byte) // set before the first run

	mu      sync.Mutex // guards the following
	n       int
	stopped bool
	idle    chan struct{} // made by who waits, closed when n is 0
}

// enter makes the calling goroutine one of the crew until it says leave; false
// when the crew was stopped.
func (c *crew) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false
	}
	c.n++
	return true
}

// run starts f, unless the crew was stopped.
func (c *crew) run(f func()) bool {
	if !c.enter() {
		return false
	}
	go func() {
		defer c.leave()
		defer func() {
			if p := recover(); p != nil {
				c.panicked(p, debug.Stack())
			}
		}()
		f()
	}()
	return true
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *crew) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
}

// wait returns when none runs, or ctx ends.
func (c *crew) wait(ctx context.Context) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
