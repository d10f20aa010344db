package netio

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"causeway/internal/pkt"
)

// memoryWorker is a worker of a Memory network.
type memoryWorker struct {
	commands
	net   *Memory
	pool  *pkt.Pool
	ready chan struct{} // has one element when there is something to look at

	mu      sync.Mutex
	arrived []memoryArrival // guarded by mu
	taken   []memoryArrival // the worker's
}

type memoryArrival struct {
	port *memoryPort
	Datagram
}

func (w *memoryWorker) Do(f func(now time.Time)) { w.do(f) }
func (w *memoryWorker) Buffer() *pkt.Buf         { return w.pool.Get() }

func (w *memoryWorker) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *memoryWorker) Listen(local netip.AddrPort, o Options) (Port, error) {
	p := &memoryPort{worker: w, dscp: o.DSCP}
	err := w.net.bind(local, func(at netip.AddrPort) memoryEnd {
		p.local = at
		return p
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Adopt implements Worker.
func (w *memoryWorker) Adopt(port Port) error {
	p, ok := port.(*memoryPort)
	if !ok || p.worker.net != w.net {
		return fmt.Errorf("adopt %s: a port of another engine", port.Local())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return fmt.Errorf("adopt %s: %w", p.local, os.ErrClosed)
	case p.attached:
		return fmt.Errorf("adopt %s: attached already", p.local)
	}
	p.worker = w
	return nil
}

func (w *memoryWorker) Run(ctx context.Context, timers Timers) error {
	w.begin(w.signal)
	defer w.end(func() {})
	for {
		w.run()
		if ctx.Err() != nil {
			return nil
		}
		w.serve()
		now := time.Now()
		if at, ok := timers.Next(); ok && !at.After(now) {
			timers.Expire(now)
		}
		w.sleep(ctx, timers)
	}
}

func (w *memoryWorker) sleep(ctx context.Context, timers Timers) {
	var due <-chan time.Time
	if at, ok := timers.Next(); ok {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-w.ready:
	case <-due:
	case <-ctx.Done():
	}
}

// serve hands over what arrived, in batches of one port each.
func (w *memoryWorker) serve() {
	w.mu.Lock()
	w.arrived, w.taken = w.taken[:0], w.arrived
	w.mu.Unlock()
	now := time.Now()
	for rest := w.taken; len(rest) > 0; {
		p := rest[0].port
		var batch []Packet
		for len(rest) > 0 && rest[0].port == p && len(batch) < Batch {
			batch = append(batch, w.packet(rest[0].Datagram))
			rest = rest[1:]
		}
		p.deliver(now, batch)
	}
}

func (w *memoryWorker) packet(d Datagram) Packet {
	b := w.pool.Get()
	n := copy(b.Room()[:pkt.MaxDatagram], d.Data)
	b.Use(0, n)
	return Packet{Buf: b, From: d.From, At: d.At.UnixNano(), Cut: n < len(d.Data)}
}

// memoryPort is a port of a Memory network.
type memoryPort struct {
	worker   *memoryWorker
	local    netip.AddrPort
	dscp     uint8
	receiver Receiver // the worker's
	closed   bool     // the worker's

	mu       sync.Mutex
	early    []Datagram   // guarded by mu; what came before there was a receiver
	attached bool         // guarded by mu
	queued   int          // guarded by mu; of the worker's arrivals, those for this port
	counters PortCounters // guarded by mu
}

func (p *memoryPort) Local() netip.AddrPort { return p.local }

func (p *memoryPort) Counters() PortCounters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counters
}

func (p *memoryPort) Attach(r Receiver) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return fmt.Errorf("attach %s: %w", p.local, os.ErrClosed)
	case p.attached:
		return fmt.Errorf("attach %s: attached already", p.local)
	}
	p.receiver, p.attached = r, true
	for _, d := range p.early {
		p.queue(d)
	}
	p.early = nil
	return nil
}

// arrive runs on the sender's goroutine.
func (p *memoryPort) arrive(d Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.queued+len(p.early) >= memoryQueue:
		p.counters.Overflowed++
	case p.attached:
		p.queue(d)
	default:
		p.early = append(p.early, d)
	}
}

// queue is called with p.mu held.
func (p *memoryPort) queue(d Datagram) {
	p.queued++
	p.worker.mu.Lock()
	p.worker.arrived = append(p.worker.arrived, memoryArrival{p, d})
	p.worker.mu.Unlock()
	p.worker.signal()
}

func (p *memoryPort) refused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counters.Unreachable++
}

func (p *memoryPort) deliver(now time.Time, batch []Packet) {
	p.mu.Lock()
	p.queued -= len(batch)
	p.mu.Unlock()
	if !p.closed {
		p.receiver.Receive(now, batch)
	}
	for i := range batch {
		if batch[i].Buf != nil {
			p.worker.pool.Put(batch[i].Buf)
		}
	}
}

func (p *memoryPort) Send(pk *Packet, to netip.AddrPort) {
	b := pk.Buf
	pk.Buf = nil
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if p.closed || b.Len() == 0 || to.Addr().Is4() != p.local.Addr().Is4() {
		p.mu.Lock()
		p.counters.Unsent++
		p.mu.Unlock()
	} else {
		d := Datagram{Data: slices.Clone(b.Bytes()), From: p.local, DSCP: p.dscp}
		p.worker.net.carry(p, d, to)
	}
	p.worker.pool.Put(b)
}

func (p *memoryPort) Close() {
	if !p.closed {
		p.closed = true
		p.worker.net.free(p.local)
	}
}
