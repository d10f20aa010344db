package life

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	actAsChild()
	goleak.VerifyTestMain(m)
}

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// serve returns a part that runs until it is cancelled and then takes its time.
func (j *journal) serve(name string, stopping time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.note("%s told", name)
		time.Sleep(stopping)
		j.note("%s gone", name)
		return ctx.Err()
	}
}

func newLog() (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), &out
}

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, _ := newLog()
		g := New(log)
		g.Add("first", j.serve("first", time.Second))
		g.Add("second", j.serve("second", time.Minute))
		g.Add("third", j.serve("third", 0))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		began := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Errorf("a clean stop gave %v", err)
		}
		want := []string{"third told", "third gone", "second told", "second gone", "first told", "first gone"}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := time.Since(began), time.Hour+time.Minute+time.Second; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

func TestFirstFailureStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, out := newLog()
		broken := errors.New("socket is gone")
		g := New(log)
		g.Add("first", j.serve("first", 0))
		g.Add("media", func(context.Context) error { time.Sleep(time.Minute); return broken })
		g.Add("third", j.serve("third", 0))
		err := g.Run(t.Context())
		if !errors.Is(err, broken) || err.Error() != "media: socket is gone" {
			t.Errorf("got %v", err)
		}
		if got, want := j.all(), []string{"third told", "third gone", "first told", "first gone"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !strings.Contains(out.String(), `msg="component failed, stopping the others" component=media error="media: socket is gone"`) {
			t.Errorf("log: %s", out)
		}
	})
}

func TestAllFailuresAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := newLog()
		g := New(log)
		g.Add("store", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.Join(ctx.Err(), errors.New("disk full"))
		})
		g.Add("wrapped", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("reading: %w", ctx.Err()) })
		g.Add("cause", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		g.Add("media", func(context.Context) error { return errors.New("no ports") })
		err := g.Run(t.Context())
		if want := "store: context canceled\ndisk full\nmedia: no ports"; err == nil || err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}

// TestUnaskedCancellationIsAFailure has a part that gives up because of a context of its own.
func TestUnaskedCancellationIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := newLog()
		g := New(log)
		g.Add("dialler", func(context.Context) error { return context.DeadlineExceeded })
		if err := g.Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPanicBecomesAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		log, out := newLog()
		g := New(log)
		g.Add("first", j.serve("first", 0))
		g.Add("signalling", func(context.Context) error { panic("index out of range") })
		err := g.Run(t.Context())
		if err == nil || err.Error() != "signalling: panic: index out of range" {
			t.Errorf("got %v", err)
		}
		if got := j.all(); len(got) != 2 {
			t.Errorf("the other part was not stopped: %v", got)
		}
		if text := out.String(); !strings.Contains(text, "component=signalling") || !strings.Contains(text, "life_test.go") {
			t.Errorf("no stack with the name in the log: %s", text)
		}
	})
}

func TestStubbornPartIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := newLog()
		g := New(log)
		g.Add("first", func(ctx context.Context) error { <-ctx.Done(); return nil })
		g.Add("stubborn", func(context.Context) error { time.Sleep(time.Hour + 12*time.Second); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
		text := out.String()
		for _, waited := range []string{"5s", "10s"} {
			if want := `level=WARN msg="still waiting for a component to stop" component=stubborn waited=` + waited + "\n"; !strings.Contains(text, want) {
				t.Errorf("%q is not in %s", want, text)
			}
		}
		if strings.Count(text, "still waiting") != 2 {
			t.Errorf("want two reminders in %s", text)
		}
	})
}

func TestFinishedPartsDoNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := newLog()
		g := New(log)
		g.Add("once", func(context.Context) error { return nil })
		g.Add("an hour", func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				t.Error("stopped because another part was finished")
			case <-time.After(time.Hour):
			}
			return nil
		})
		if err := g.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestEmptyGroup(t *testing.T) {
	log, _ := newLog()
	if err := New(log).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := newLog()
		g := New(log)
		stopping := make(chan error, 1)
		g.Add("part", func(ctx context.Context) error { <-ctx.Done(); stopping <- g.Ready(); return nil })
		before := g.Ready()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		during := g.Ready()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if before == nil || before.Error() != "starting" || during != nil {
			t.Errorf("before the start %v, while running %v", before, during)
		}
		if err := <-stopping; err == nil || err.Error() != "stopping" {
			t.Errorf("while stopping: %v", err)
		}
	})
}

// TestCauseReachesTheParts lets a part say why it was stopped.
func TestCauseReachesTheParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := newLog()
		g := New(log)
		var got error
		g.Add("part", func(ctx context.Context) error { <-ctx.Done(); got = context.Cause(ctx); return nil })
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("got signal \"terminated\"")
		cancel(reason)
		if err := g.Run(ctx); err != nil || !errors.Is(got, reason) {
			t.Errorf("error %v, cause %v", err, got)
		}
		if !strings.Contains(out.String(), "msg=stopping cause=") {
			t.Errorf("log: %s", out)
		}
	})
}
