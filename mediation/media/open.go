package media

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"syscall"
	"time"

	"causeway/internal/netio"
)

// Open makes a bridge, with a pair of ports on each side. Datagrams that come
// before a side is set are dropped. id is for logs and callbacks.
//
// It fails with [ErrNoPorts], with [ErrClosed] once Run has ended, or with what
// the system says, such as syscall.EMFILE or syscall.EADDRNOTAVAIL.
func (p *Plane) Open(id string) (*Bridge, error) {
	w, err := p.join()
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", id, err)
	}
	b, err := p.open(id, w)
	if err != nil {
		p.mu.Lock()
		w.load--
		p.mu.Unlock()
		return nil, fmt.Errorf("bridge %s: %w", id, err)
	}
	return b, nil
}

// join finds the worker with the least to do. Both legs of a bridge live on one
// worker, so that a packet is one goroutine's business.
func (p *Plane) join() (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("media plane: %w", ErrClosed)
	}
	least := p.workers[0]
	for _, w := range p.workers[1:] {
		if w.load < least.load {
			least = w
		}
	}
	least.load++
	return least, nil
}

func (p *Plane) open(id string, w *worker) (*Bridge, error) {
	var ports [2][2]netio.Port
	for s := range ports {
		pair, err := p.openPair(w, Side(s))
		if err != nil {
			if s == int(Gateway) {
				p.closePair(Pool, ports[Pool])
			}
			return nil, fmt.Errorf("%s side: %w", Side(s), err)
		}
		ports[s] = pair
	}
	b, err := newBridge(id, p, w, ports)
	if err != nil {
		p.releasePairs(b)
		return nil, err
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.bridges[b] = struct{}{}
		p.opened++
	}
	p.mu.Unlock()
	if closed { // while the ports were being opened
		b.onWorker(b.end)
		p.releasePairs(b)
		return nil, fmt.Errorf("media plane: %w", ErrClosed)
	}
	return b, nil
}

// openPair takes the next pair of a side that can be bound. Media ports overlap
// the range that systems give to outgoing connections, so somebody else may have
// one; its pair is tried again when its turn comes. Each is tried once at most.
func (p *Plane) openPair(w *worker, s Side) ([2]netio.Port, error) {
	for range p.PortsTotal(s) {
		p.mu.Lock()
		port, ok := p.ports[s].take(time.Now())
		p.mu.Unlock()
		if !ok {
			break
		}
		pair, err := p.bindPair(w, s, port)
		if err == nil {
			return pair, nil
		}
		p.mu.Lock()
		p.ports[s].giveBack(port)
		p.mu.Unlock()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return pair, err
		}
	}
	return [2]netio.Port{}, ErrNoPorts
}

func (p *Plane) bindPair(w *worker, s Side, port uint16) (pair [2]netio.Port, err error) {
	o := netio.Options{DSCP: p.config.Marks.Audio}
	if pair[0], err = w.io.Listen(netip.AddrPortFrom(p.address(s), port), o); err != nil {
		return pair, err
	}
	if pair[1], err = w.io.Listen(netip.AddrPortFrom(p.address(s), port+1), o); err != nil {
		pair[0].Close()
		return pair, err
	}
	return pair, nil
}

// closePair closes a pair that never was part of a bridge.
func (p *Plane) closePair(s Side, pair [2]netio.Port) {
	port := pair[0].Local().Port()
	pair[0].Close()
	pair[1].Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ports[s].giveBack(port)
}

func (p *Plane) address(s Side) netip.Addr {
	if s == Pool {
		return p.config.PoolAddr
	}
	return p.config.GatewayAddr
}

// release forgets a bridge that was closed.
func (p *Plane) release(b *Bridge) {
	p.releasePairs(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	b.worker.load--
	delete(p.bridges, b)
}

func (p *Plane) releasePairs(b *Bridge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for s, port := range b.pairs {
		p.ports[s].release(port, now)
	}
}

// closeAll closes what is left when the workers have ended.
func (p *Plane) closeAll() {
	p.mu.Lock()
	p.closed = true
	var left []*Bridge
	for b := range p.bridges {
		left = append(left, b)
	}
	p.mu.Unlock()
	for _, b := range left {
		b.Close()
	}
}

// fail queues the news that a bridge ended by an internal error, on a worker's
// goroutine.
func (p *Plane) fail(b *Bridge, reason any) {
	err := fmt.Errorf("internal error: %v", reason)
	p.log.Error("bridge ended by an internal error", "bridge", b.id, "error", err, "stack", string(debug.Stack()))
	p.failing.Lock()
	p.failures = append(p.failures, failure{b.id, err})
	p.failing.Unlock()
	select {
	case p.told <- struct{}{}:
	default:
	}
}

// tellFailures calls back for each failure, without a lock.
func (p *Plane) tellFailures() {
	p.failing.Lock()
	failures := p.failures
	p.failures = nil
	p.failing.Unlock()
	if p.config.OnBridgeError == nil {
		return
	}
	for _, f := range failures {
		p.config.OnBridgeError(f.id, f.err)
	}
}
