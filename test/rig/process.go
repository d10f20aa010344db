package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test runs: its output goes to a file, and it is ended by its own pid before the test is
// over. Its methods may be called from several goroutines.
type Process struct {
	Name string // of the program in this test, and of its log

	t    testing.TB
	cmd  *exec.Cmd
	log  string        // file with what it printed
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read it after done
}

// Spawn starts a program in dir, with environment added to the test's own ("NAME=value"). When the test fails, what the
// program printed is shown and kept below test/out.
func Spawn(t testing.TB, dir, name string, environment []string, path string, args ...string) *Process {
	t.Helper()
	return spawn(t, &syscall.SysProcAttr{}, dir, name, environment, path, args...)
}

// SpawnFamily is Spawn for a program that forks: it gets process identifiers of its own, so that its children end with
// it however it ends.
func SpawnFamily(t testing.TB, dir, name string, environment []string, path string, args ...string) *Process {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	return spawn(t, attr, dir, name, environment, path, args...)
}

func spawn(t testing.TB, attr *syscall.SysProcAttr, dir, name string, environment []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), environment...)
	// Should the test binary itself be killed, its children go with it.
	attr.Pdeathsig = syscall.SIGKILL
	p.cmd.SysProcAttr = attr
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, Tail(p.Output(), 6000))
			p.keep()
		}
	})
	return p
}

// keep copies the whole output to test/out, where it outlives the test's folder. A copy that fails costs no more than
// the copy: the end of the output is in the test's log.
func (p *Process) keep() {
	dir := filepath.Join("..", "out", strings.ReplaceAll(p.t.Name(), "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Logf("keep the output of %s: %v", p.Name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, p.Name+".log"), []byte(p.Output()), 0o644); err != nil {
		p.t.Logf("keep the output of %s: %v", p.Name, err)
	}
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is everything that the program has printed so far.
func (p *Process) Output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait gives the program time to end by itself and returns how it did; no time asks after one that has ended.
func (p *Process) Wait(patience time.Duration) error {
	if !p.Running() {
		return p.err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return fmt.Errorf("%s still runs after %v", p.Name, patience)
	}
}

// Stop sends a signal and waits for the end.
func (p *Process) Stop(sig os.Signal, patience time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Wait(patience)
}

// Kill ends the program at once, if it still runs.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Exit is the exit code of a program that has ended, -1 for one that a signal ended.
func (p *Process) Exit() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Need returns the path of a peer, or skips the test: with its reason, which CI counts as a failure.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", program, debianPackage)
	}
	return path
}

// Descriptors counts what the process has open.
func (p *Process) Descriptors() int {
	p.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(open)
}

// Eventually waits until ok returns "", or fails with what it said last.
func Eventually(t testing.TB, patience time.Duration, what string, ok func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		why := ok()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: after %v still %s", what, patience, why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Tail is the end of a long text, at most n bytes of it.
func Tail(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return "[...]" + s[len(s)-n:]
}
