package media

import (
	"time"

	"github.com/pion/rtp"

	"causeway/internal/netio"
	"causeway/internal/pkt"
	"causeway/internal/wheel"
)

// timerTick is the resolution of the timers.
const timerTick = 10 * time.Millisecond

// worker is one goroutine's share of the plane's bridges. Everything but load
// belongs to that goroutine; others come in by call.
type worker struct {
	io    netio.Worker
	wheel *wheel.Wheel[*half]
	load  int // bridges; guarded by the plane's mu

	header  rtp.Header // for pion/srtp to parse into
	scratch [pkt.Size]byte
	packet  netio.Packet // of our own making, on its way out

	counts counts
}

// counts is what a worker counts over all of its bridges, those included that are
// gone.
type counts struct {
	received     [2]traffic // by side
	sent         [2]traffic
	drops        [2][dropCount]uint64
	rtcpReceived uint64
	rtcpSent     uint64
	failures     uint64
	digits       [2]digits // by side
	moves        [2]uint64
	restarts     [2]uint64
}

// digits is what became of those that were to be played.
type digits struct{ played, lost uint64 }

// traffic is RTP packets and the bytes of their payload.
type traffic struct{ packets, bytes uint64 }

func (t *traffic) count(payload int) {
	t.packets++
	t.bytes += uint64(payload)
}

// since is what was added to an earlier figure.
func (t traffic) since(earlier traffic) traffic {
	return traffic{t.packets - earlier.packets, t.bytes - earlier.bytes}
}

func (c *counts) add(o *counts) {
	for s := range c.received {
		c.received[s].add(o.received[s])
		c.sent[s].add(o.sent[s])
		for d := range c.drops[s] {
			c.drops[s][d] += o.drops[s][d]
		}
	}
	c.rtcpReceived += o.rtcpReceived
	c.rtcpSent += o.rtcpSent
	c.failures += o.failures
	for s := range c.digits {
		c.moves[s] += o.moves[s]
		c.restarts[s] += o.restarts[s]
		c.digits[s].played += o.digits[s].played
		c.digits[s].lost += o.digits[s].lost
	}
}

func (t *traffic) add(o traffic) {
	t.packets += o.packets
	t.bytes += o.bytes
}

func newWorker(io netio.Worker, now time.Time) *worker {
	return &worker{io: io, wheel: wheel.New[*half](now, timerTick)}
}

// call runs f on the worker's goroutine and waits for it. Not to be called on
// that goroutine.
func (w *worker) call(f func(now time.Time)) {
	done := make(chan struct{})
	w.io.Do(func(now time.Time) {
		defer close(done)
		f(now)
	})
	<-done
}

// Next tells the network when a report is due.
func (w *worker) Next() (time.Time, bool) { return w.wheel.Next() }

// Expire sends the reports, and the packets of digits, that are due.
func (w *worker) Expire(now time.Time) {
	w.wheel.Advance(now, func(t *wheel.Timer[*half]) {
		if t == &t.Owner.timer {
			t.Owner.report(now)
		} else {
			t.Owner.play(now)
		}
	})
}
