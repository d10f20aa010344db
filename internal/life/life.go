// Package life starts the parts of a process in order, stops them in reverse order, and ends with none of them running.
package life

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// stopReminder is how often a part that does not stop is named in the log. Longer than any orderly stop here takes, and
// short enough to be seen before a service manager kills the process (systemd: 90 s).
const stopReminder = 5 * time.Second

// Group runs the parts of a process. Add them all, then call Run once. The zero Group is of no use; call New.
type Group struct {
	log   *slog.Logger
	parts []*part
	phase atomic.Int32
}

// Phases of a Group.
const (
	phaseStarting int32 = iota
	phaseRunning
	phaseStopping
)

// part is one component of a Group and, once started, its goroutine.
type part struct {
	name   string
	run    func(ctx context.Context) error
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when run returned
	err    error         // set before done is closed
}

// New returns a Group that logs to log.
func New(log *slog.Logger) *Group { return &Group{log: log} }

// Add adds a part that lives as long as run does. run must return when its context is cancelled, and what it started
// must have ended by then. A part that returns nil early is finished; a part that returns an error or panics stops the
// group. Add is not to be called after Run.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, &part{name: name, run: run, done: make(chan struct{})})
}

// Ready reports why the group is not serving: it has not started every part yet, or is stopping. It is meant for a
// readiness check and may be called from any goroutine.
func (g *Group) Ready() error {
	switch g.phase.Load() {
	case phaseStarting:
		return errors.New("starting")
	case phaseStopping:
		return errors.New("stopping")
	}
	return nil
}

// Run starts the parts in the order of Add and blocks until ctx is cancelled, a part fails, or all parts are finished.
// It does not know when a part has got ready: what a later part needs of an earlier one, such as a socket, has to exist
// before Run.
//
// In the end it stops the parts in reverse order, each one only after the one before it has returned, so that a part
// can rely on everything added before it for as long as it runs.
//
// The error joins the failures of all parts, each with the name of its part. A part that returns the cancellation of
// its own context has not failed. Run does not give up on a part that ignores its context: it names it in the log until
// it returns.
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan *part, len(g.parts))
	// Parts must not see ctx end, or they would all stop at once: each gets a context of its own with the same values.
	background := context.WithoutCancel(ctx)
	for _, p := range g.parts {
		p.start(background, g.log, ended)
	}
	g.phase.Store(phaseRunning)
	cause := g.wait(ctx, ended)
	g.phase.Store(phaseStopping)
	return g.stop(cause)
}

// wait blocks until there is a reason to stop, and returns it.
func (g *Group) wait(ctx context.Context, ended <-chan *part) error {
	for range g.parts {
		select {
		case <-ctx.Done():
			g.log.Info("stopping", "cause", context.Cause(ctx))
			return context.Cause(ctx)
		case p := <-ended:
			if p.err != nil {
				g.log.Error("component failed, stopping the others", "component", p.name, "error", p.err)
				return p.err
			}
		}
	}
	return errFinished
}

var errFinished = errors.New("every component is finished")

// stop stops the parts from the last to the first and joins their errors in the order of Add.
func (g *Group) stop(cause error) error {
	for _, p := range slices.Backward(g.parts) {
		p.cancel(cause)
		g.await(p)
	}
	var errs []error
	for _, p := range g.parts {
		errs = append(errs, p.err)
	}
	return errors.Join(errs...)
}

// await blocks until p returned.
func (g *Group) await(p *part) {
	began := time.Now()
	reminder := time.NewTicker(stopReminder)
	defer reminder.Stop()
	for {
		select {
		case <-p.done:
			g.log.Debug("component stopped", "component", p.name)
			return
		case <-reminder.C:
			g.log.Warn("still waiting for a component to stop", "component", p.name, "waited", time.Since(began).Round(time.Second))
		}
	}
}

// start runs p in a goroutine of its own. The goroutine ends when run returns; await waits for it.
func (p *part) start(ctx context.Context, log *slog.Logger, ended chan<- *part) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(p.done)
		if err := p.guard(ctx, log); err != nil && !isCancellation(ctx, err) {
			p.err = fmt.Errorf("%s: %w", p.name, err)
		}
		ended <- p
	}()
}

// isCancellation reports whether err says only that ctx was cancelled. A cancellation joined with another error is a
// failure: the other one counts.
func isCancellation(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		return false
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if err == ctx.Err() || err == context.Cause(ctx) { //nolint:errorlint // errors.Is would look into joined errors as well
			return true
		}
	}
	return false
}

// guard calls run and turns a panic into an error, so that the other parts get to stop in order. The stack is logged.
func (p *part) guard(ctx context.Context, log *slog.Logger) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("component panicked", "component", p.name, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.run(ctx)
}
