package netio

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// memoryPort is a port of a Memory network.
type memoryPort struct {
	worker   *memoryWorker
	local    netip.AddrPort
	options  Options
	receiver Receiver // the worker's
	closed   bool     // the worker's

	mu       sync.Mutex
	early    []Datagram   // guarded by mu; what came before there was a receiver
	attached bool         // guarded by mu
	queued   int          // guarded by mu; of the worker's arrivals, the datagrams for this port
	counters PortCounters // guarded by mu
}

func (p *memoryPort) Local() netip.AddrPort { return p.local }
func (p *memoryPort) peer() netip.AddrPort  { return p.options.Connect }

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
		p.queue(memoryArrival{port: p, Datagram: d})
		p.queued++
	}
	p.early = nil
	return nil
}

// capacity is how many datagrams the port holds.
func (p *memoryPort) capacity() int {
	if p.options.ReceiveBuffer > 0 {
		return max(p.options.ReceiveBuffer/memoryOverhead, 1)
	}
	return memoryQueue
}

// arrive runs on the sender's goroutine.
func (p *memoryPort) arrive(d Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.queued+len(p.early) >= p.capacity():
		p.counters.Overflowed++
	case p.attached:
		p.queue(memoryArrival{port: p, Datagram: d})
		p.queued++
	default:
		p.early = append(p.early, d)
	}
}

// queue is called with p.mu held.
func (p *memoryPort) queue(a memoryArrival) {
	p.worker.mu.Lock()
	p.worker.arrived = append(p.worker.arrived, a)
	p.worker.mu.Unlock()
	p.worker.signal()
}

// refused runs on any goroutine.
func (p *memoryPort) refused(e ICMP) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.Local {
		p.counters.Unreachable++
	}
	if p.options.Errors && p.attached {
		p.queue(memoryArrival{port: p, err: &e})
	}
}

func (p *memoryPort) tell(now time.Time, e ICMP) {
	if told, ok := p.receiver.(ErrorReceiver); ok && !p.closed {
		told.Unreachable(now, e)
	}
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
	defer p.worker.pool.Put(b)
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if p.closed || !to.IsValid() || to.Addr().Is4() != p.local.Addr().Is4() {
		p.unsent()
		return
	}
	d := Datagram{Data: slices.Clone(b.Bytes()), From: p.local, TOS: p.options.DSCP << 2}
	if p.options.Fields {
		if pk.TOS != 0 {
			d.TOS = pk.TOS
		}
		d.TTL, d.DontFragment = pk.TTL, pk.DontFragment
	}
	if mtu, ok := p.worker.net.fits(len(d.Data), to); d.DontFragment && !ok {
		p.unsent()
		p.refused(ICMP{Peer: to, MTU: uint32(mtu), Local: true})
		return
	}
	p.worker.net.carry(p, d, to)
}

func (p *memoryPort) unsent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counters.Unsent++
}

func (p *memoryPort) Close() {
	if !p.closed {
		p.closed = true
		p.worker.net.free(p.local, p)
	}
}
