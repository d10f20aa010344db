package media

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/internal/wheel"
)

// ErrClosed is returned for a bridge or plane that was closed.
var ErrClosed = errors.New("closed")

// errFailed is what a bridge that panicked answers with.
var errFailed = errors.New("bridge failed")

// Bridge joins the two legs of one call. Its methods may be called from any
// goroutine; those that change or read it wait for the worker that owns it, for
// as long as the packets take that the worker is busy with.
type Bridge struct {
	// Set once and never changed.
	id     string
	plane  *Plane
	worker *worker
	pairs  [2]uint16 // RTP ports, by side

	// The worker's.
	halves [2]half
	failed bool
	ended  bool

	mu     sync.Mutex
	keys   [2]*SRTP    // guarded by mu; our copies of the keys in use, wiped when they are not any more
	closed bool        // guarded by mu
	last   [2]LegStats // guarded by mu; valid once closed
}

// newBridge makes a bridge of four ports, RTP and RTCP of each side.
func newBridge(id string, p *Plane, w *worker, ports [2][2]netio.Port) (*Bridge, error) {
	b := &Bridge{id: id, plane: p, worker: w}
	for s := range b.halves {
		h := &b.halves[s]
		h.bridge, h.side = b, Side(s)
		h.rtp, h.rtcp = ports[s][0], ports[s][1]
		h.timer = wheel.Timer[*half]{Owner: h}
		h.player.timer = wheel.Timer[*half]{Owner: h}
		h.sendType = sendTypes(nil)
		h.newStream()
		b.pairs[s] = h.rtp.Local().Port()
	}
	var err error
	w.call(func(time.Time) { err = b.attach() })
	return b, err
}

func (b *Bridge) attach() error {
	for s := range b.halves {
		h := &b.halves[s]
		if err := errors.Join(h.rtp.Attach(rtpInput{h}), h.rtcp.Attach(rtcpInput{h})); err != nil {
			b.closePorts()
			return err
		}
	}
	return nil
}

// newStream starts the outgoing stream with an SSRC, a sequence number and a
// timestamp that nobody can guess (RFC 3550 section 5.1).
func (h *half) newStream() {
	var r [10]byte
	_, _ = rand.Read(r[:]) // never fails
	h.out.reset(binary.BigEndian.Uint32(r[:])|1, binary.BigEndian.Uint32(r[4:]), binary.BigEndian.Uint16(r[8:]))
	h.far.restart()
	h.abandon()
}

// Local returns the RTP address of a side. RTCP is on the next port.
func (b *Bridge) Local(s Side) netip.AddrPort { return b.halves[s].rtp.Local() }

// Active returns when RTP was last accepted on a side; ok is false before any
// was. It doesn't wait for the worker.
func (b *Bridge) Active(s Side) (lastReceived time.Time, ok bool) {
	since := b.halves[s].active.Load()
	if since == 0 {
		return time.Time{}, false
	}
	return b.plane.start.Add(time.Duration(since)), true
}

// Reported says whether RTCP was ever accepted on a side. It doesn't wait for the
// worker.
func (b *Bridge) Reported(s Side) bool { return b.halves[s].reported.Load() }

// Stats returns both legs' figures, by side.
func (b *Bridge) Stats() (stats [2]LegStats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return b.last
	}
	b.onWorker(func(time.Time) { stats = b.stats() })
	return stats
}

// stats reads both halves, on the worker's goroutine.
func (b *Bridge) stats() (stats [2]LegStats) {
	for s := range b.halves {
		stats[s] = b.halves[s].stats()
	}
	return stats
}

// onWorker runs f on the worker's goroutine, as part of this bridge, and waits for
// it.
func (b *Bridge) onWorker(f func(now time.Time)) {
	b.worker.call(func(now time.Time) {
		defer b.guard()
		f(now)
	})
}

// Close stops the bridge and returns both legs' last figures, by side. Peers that
// heard of us get an RTCP BYE; the ports are closed and rest before they are used
// again. Closing again returns the same figures.
func (b *Bridge) Close() [2]LegStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return b.last
	}
	b.closed = true
	b.onWorker(func(now time.Time) {
		b.end(now)
		b.last = b.stats()
	})
	for s := range b.keys {
		b.wipeKeys(Side(s))
	}
	b.plane.release(b)
	return b.last
}

// end says goodbye and closes the ports, on the worker's goroutine.
func (b *Bridge) end(now time.Time) {
	defer b.guard()
	if b.ended || b.failed {
		return
	}
	b.ended = true
	for s := range b.halves {
		h := &b.halves[s]
		b.worker.wheel.Stop(&h.timer)
		h.stopPlaying()
		if h.out.total.packets > 0 || h.reports.any {
			h.sendReport(now, true) // RFC 3550 section 6.3.7: silent participants leave silently
		}
	}
	b.closePorts()
}

func (b *Bridge) closePorts() {
	for s := range b.halves {
		h := &b.halves[s]
		h.rtp.Close()
		h.rtcp.Close()
		h.open.wipe()
		h.set, h.open, h.seal = false, nil, nil // the derived keys are in the library's contexts
	}
}

// drop counts a packet that came in on one half, for the half that its reason
// belongs to.
func (b *Bridge) drop(in, out *half, reason Drop) {
	h := in
	if reason.sending() {
		h = out
	}
	h.drops[reason]++
	b.worker.counts.drops[h.side][reason]++
}

// guard ends the bridge if what it is deferred in panics, so that a mistake in
// handling one call's packets is the end of that call only.
func (b *Bridge) guard() {
	r := recover()
	if r == nil {
		return
	}
	if b.failed {
		return // closing failed, too
	}
	b.failed = true
	b.worker.counts.failures++
	b.plane.fail(b, r)
	defer b.guard()
	for s := range b.halves {
		b.worker.wheel.Stop(&b.halves[s].timer)
		b.worker.wheel.Stop(&b.halves[s].player.timer)
	}
	b.closePorts()
}
