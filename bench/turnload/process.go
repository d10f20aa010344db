package turnload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU returns the processor time that a process has used, in the kernel and outside, to the nanosecond. (/proc/PID/stat
// counts clock ticks, and is off by a multiple for a process that sleeps and wakes thousands of times a second.) Threads
// that have ended are not in it.
func CPU(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, errors.Join(err, fs.ErrNotExist))
	}
	total := time.Duration(0)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that ended meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		ran, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		total += time.Duration(ran)
	}
	return total, nil
}

// Switches returns how often the threads of a process went to sleep or were interrupted: what a server that is woken for
// every packet spends most on. Threads that have ended are not in it.
func Switches(pid int) (total uint64, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("context switches of process %d: %w", pid, errors.Join(err, fs.ErrNotExist))
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("context switches of process %d: %w", pid, err)
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if name != "voluntary_ctxt_switches" && name != "nonvoluntary_ctxt_switches" {
				continue
			}
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("context switches of process %d: %w", pid, err)
			}
			total += n
		}
	}
	return total, nil
}

// Memory is what a process has in memory, in bytes. What the kernel keeps for its sockets is not in it.
type Memory struct {
	Resident  uint64 // all of it
	Anonymous uint64 // its own: heap and stacks, without the pages of files, which are mostly its program
}

// Resident returns what a process has in memory.
func Resident(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue // not one of the two
		}
		switch name {
		case "VmRSS":
			m.Resident = kilobytes << 10
		case "RssAnon":
			m.Anonymous = kilobytes << 10
		}
	}
	if m.Resident == 0 {
		return m, fmt.Errorf("memory of process %d: %w", pid, fs.ErrNotExist)
	}
	return m, nil
}
