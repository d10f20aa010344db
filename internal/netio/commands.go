package netio

import (
	"sync"
	"time"
)

// commands carries functions to a worker's goroutine. While no goroutine has
// taken the queue over, callers run their functions themselves, one at a time, so
// that what a worker owns can be set up before it runs and taken down afterwards.
type commands struct {
	mu      sync.Mutex
	queue   []func(now time.Time) // guarded by mu
	spare   []func(now time.Time) // the worker's; swapped with queue
	running bool                  // guarded by mu
	woken   bool                  // guarded by mu; wake was called for what is queued
	wake    func()                // called with mu held while running; must not block
}

// do implements Worker.Do.
func (c *commands) do(f func(now time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		f(time.Now())
		return
	}
	c.queue = append(c.queue, f)
	if !c.woken {
		c.woken = true
		c.wake()
	}
}

// rouse wakes the worker without a command.
func (c *commands) rouse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running && !c.woken {
		c.woken = true
		c.wake()
	}
}

// begin makes the calling goroutine the worker's.
func (c *commands) begin(wake func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		panic("netio: worker runs twice")
	}
	c.running, c.wake = true, wake
}

// run runs what is queued, and what that time has been spent on meanwhile is run
// at the next call.
func (c *commands) run() {
	c.mu.Lock()
	c.queue, c.spare = c.spare[:0], c.queue
	c.woken = false
	c.mu.Unlock()
	if len(c.spare) == 0 {
		return
	}
	now := time.Now()
	for i, f := range c.spare {
		f(now)
		c.spare[i] = nil
	}
}

// end runs what is left and gives the queue back to its callers. release frees
// what wake needs.
func (c *commands) end(release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, f := range c.queue {
		f(now)
	}
	c.queue, c.spare = nil, nil
	c.running, c.woken = false, false
	release()
}
