package life

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// SignalError is the cause of a context that a signal cancelled.
type SignalError struct{ Signal os.Signal }

// Error implements error.
func (e *SignalError) Error() string { return fmt.Sprintf("got signal %q", e.Signal.String()) }

// Signals returns a context that the first SIGTERM or SIGINT cancels, with a *SignalError as its cause. From then on the
// signals have their usual effect again: the second one ends the process at once, whatever state it is in.
//
// stop releases the signals and cancels the context; call it when the work is done.
func Signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGTERM, syscall.SIGINT)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case s := <-received:
			signal.Reset(syscall.SIGTERM, syscall.SIGINT)
			// One that came between the first and the reset must not be lost.
			select {
			case s := <-received:
				_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
			default:
			}
			cancel(&SignalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		cancel(context.Canceled)
		<-finished
	}
}
