package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test runs: its output goes to a file, and it is
// ended by its own pid before the test is over.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string        // file with what it printed
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read it after done
}

// spawn starts a program in dir. What it printed is shown when the test fails.
func spawn(t *testing.T, dir, name, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	// Should the test binary itself be killed, its children go with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, tail(p.output(), 6000))
		}
	})
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// wait gives the program time to end by itself and returns how it did.
func (p *process) wait(patience time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return fmt.Errorf("%s still runs after %v", p.name, patience)
	}
}

// stop sends a signal and waits for the end.
func (p *process) stop(sig os.Signal, patience time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.wait(patience)
}

// kill ends the program at once, if it still runs.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// need returns the path of a peer, or skips the test: with its reason, which CI
// counts as a failure.
func need(t *testing.T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", program, debianPackage)
	}
	return path
}

// Ports that no other test of this run was given, below the ephemeral range and
// none of causeway's own. A run begins where its pid says, so that two runs on
// one machine seldom meet.
const firstPort, lastPort, portsPerRun = 12000, 19999, 2000

var (
	portBase = firstPort + os.Getpid()%((lastPort+1-firstPort)/portsPerRun)*portsPerRun
	nextPort atomic.Int32
)

func port(t *testing.T) int {
	t.Helper()
	return ports(t, 1)
}

// ports hands out n ports in a row and returns the first, which is even.
func ports(t *testing.T, n int) int {
	t.Helper()
	n += n % 2
	p := portBase + int(nextPort.Add(int32(n))) - n
	if p+n > portBase+portsPerRun {
		t.Fatal("the tests have used up their ports")
	}
	return p
}

// eventually waits until ok returns "", or fails with what it said last.
func eventually(t *testing.T, patience time.Duration, what string, ok func() string) {
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

// tail is the end of a long text.
func tail(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return "[...]" + s[len(s)-n:]
}
