package life

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// childVariable makes this test binary act as a process that waits for signals.
const childVariable = "LIFE_TEST_CHILD"

// actAsChild prints "ready", waits for the first signal, prints the cause, and then either ends in order or, in the
// stubborn mode, never does.
func actAsChild() {
	mode := os.Getenv(childVariable)
	if mode == "" {
		return
	}
	ctx, stop := Signals(context.Background())
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	if mode == "stubborn" {
		select {}
	}
	stop()
	os.Exit(0)
}

func startChild(t *testing.T, mode string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	expectLine(t, reader, "ready")
	return cmd, reader
}

func expectLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("got %q, %v, want %q", line, err, want)
	}
}

func TestFirstSignalStopsInOrder(t *testing.T) {
	for signal, cause := range map[syscall.Signal]string{
		syscall.SIGTERM: `got signal "terminated"`,
		syscall.SIGINT:  `got signal "interrupt"`,
	} {
		cmd, out := startChild(t, "orderly")
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		expectLine(t, out, cause)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	cmd, out := startChild(t, "stubborn")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	expectLine(t, out, `got signal "interrupt"`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the second signal did not end the process: %v", exit)
	}
}

func TestSignalsWithoutSignal(t *testing.T) {
	ctx, stop := Signals(t.Context())
	if ctx.Err() != nil {
		t.Error("cancelled before any signal")
	}
	stop()
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	stop()

	parent, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("parent is done")
	cancel(reason)
	ctx, stop = Signals(parent)
	defer stop()
	if <-ctx.Done(); !errors.Is(context.Cause(ctx), reason) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}
