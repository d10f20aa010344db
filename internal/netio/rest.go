package netio

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Being woken costs a worker several times what a packet does. One that is woken all the time therefore takes a rest
// before it looks again, in which packets gather: half the processor time at 50,000 packets a second. It is what network
// cards do with interrupts, for the same reason.
//
// A packet waits longer by a rest at most: restTime and the kernel's timer slack, which is 50 us unless somebody has set
// it otherwise.
const (
	restTime   = 30 * time.Microsecond
	hurry      = 100 * time.Microsecond // a worker is in a hurry that is woken after less than this,
	hurryTurns = 8                      // so many times in a row
)

// yieldTime is how often a worker lets others on its thread. Nobody need be waiting: a goroutine that Go's scheduler has
// not seen for 10 ms loses its processor in every system call, and getting it back takes two more threads.
const yieldTime = 2 * time.Millisecond

// haste is how a worker knows that it is woken all the time.
type haste struct {
	turn    time.Time // when the worker last had something to do
	quick   int       // turns in a row that came soon after another
	yielded time.Time
}

// resting reports whether the worker is to rest before it looks for packets.
func (h *haste) resting() bool { return h.quick == hurryTurns }

// rest waits a moment. It keeps the processor: letting the scheduler take it would cost what resting saves.
func (h *haste) rest() {
	t := unix.NsecToTimespec(int64(restTime))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// idle notes that nothing came during a rest.
func (h *haste) idle() { h.quick = 0 }

// begin notes that a turn begins.
func (h *haste) begin(now time.Time) {
	switch {
	case h.resting(): // until one is in vain
	case now.Sub(h.turn) < hurry:
		h.quick++
	default:
		h.quick = 0
	}
	h.turn = now
	if now.Sub(h.yielded) > yieldTime {
		h.yielded = now
		runtime.Gosched()
	}
}
