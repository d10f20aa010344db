package turnload

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/bench/turnload"
)

// Processors of a benchmark.
const serverCore, generatorCore = 0, 1

// settle prepares the machine for a benchmark, until that is over: this process on its processor, and our session before
// all others.
func settle(b *testing.B) {
	b.Helper()
	if runtime.NumCPU() < 2 {
		b.Skip("needs two processors: one for the server and one for the generator")
	}
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	var only unix.CPUSet
	only.Set(generatorCore)
	pin(b, &only)
	b.Cleanup(func() { pin(b, &before) })

	// Between sessions the scheduler goes by the niceness of the session (sched(7), autogroup), not by the process's.
	const autogroup = "/proc/self/autogroup" // "/autogroup-25 nice 0"
	text, err := os.ReadFile(autogroup)
	fields := strings.Fields(string(text))
	if err != nil || len(fields) == 0 {
		b.Logf("no precedence over other sessions: %v", err)
		return
	}
	if err := os.WriteFile(autogroup, []byte("-20"), 0); err != nil {
		b.Logf("no precedence over other sessions: %v", err)
		return
	}
	b.Cleanup(func() { _ = os.WriteFile(autogroup, []byte(fields[len(fields)-1]), 0) })
}

// pin has all threads of this process run on some processors; threads to come inherit that.
func pin(b *testing.B, to *unix.CPUSet) {
	b.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.SchedSetaffinity(id, to) // fails for a thread that has ended
	}
}

// others returns how much processor time all processes but some have used; they must not end between two calls that are
// compared, or the difference is too small.
func others(but ...int) time.Duration {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	total := time.Duration(0)
	for _, p := range processes {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || slices.Contains(but, pid) {
			continue
		}
		if d, err := turnload.CPU(pid); err == nil {
			total += d
		}
	}
	return total
}

// median returns the middle one of some figures.
func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
