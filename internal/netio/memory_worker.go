package netio

import (
	"context"
	"fmt"
	"net/netip"
	"os"
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

// memoryArrival is a datagram or an error.
type memoryArrival struct {
	port *memoryPort
	Datagram
	err *ICMP
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
	o.Connect = netip.AddrPortFrom(o.Connect.Addr().Unmap(), o.Connect.Port())
	if o.Connect.IsValid() && o.Connect.Addr().Is4() != local.Addr().Is4() {
		return nil, fmt.Errorf("listen on %s: connect to %s: an address of the other family", local, o.Connect)
	}
	p := &memoryPort{worker: w, options: o}
	err := w.net.bind(local, o.ReusePort || o.Connect.IsValid(), func(at netip.AddrPort) memoryEnd {
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

// serve hands over what arrived: errors one by one, datagrams in batches of one
// port each.
func (w *memoryWorker) serve() {
	w.mu.Lock()
	w.arrived, w.taken = w.taken[:0], w.arrived
	w.mu.Unlock()
	now := time.Now()
	for rest := w.taken; len(rest) > 0; {
		p := rest[0].port
		if e := rest[0].err; e != nil {
			p.tell(now, *e)
			rest = rest[1:]
			continue
		}
		var batch []Packet
		for len(rest) > 0 && rest[0].port == p && rest[0].err == nil && len(batch) < Batch {
			batch = append(batch, w.packet(p.options, rest[0].Datagram))
			rest = rest[1:]
		}
		p.deliver(now, batch)
	}
}

func (w *memoryWorker) packet(o Options, d Datagram) Packet {
	pk := Packet{From: d.From, At: d.At.UnixNano()}
	if o.Fields {
		pk.TOS, pk.TTL = d.TOS, d.TTL
	}
	data := d.Data
	if len(data) > pkt.MaxDatagram && o.Large {
		pk.Buf = pkt.Long(len(data))
	} else {
		pk.Buf = w.pool.Get()
		if pk.Cut = len(data) > pkt.MaxDatagram; pk.Cut {
			data = data[:pkt.MaxDatagram]
		}
	}
	pk.Buf.Fill(data)
	return pk
}
