package relay

import (
	"net/netip"
	"sync"
	"time"

	"causeway/relay/auth"
	"causeway/relay/stream"
	"causeway/relay/turn"
)

// tcpSession is what a TCP allocation (RFC 6062) has instead of UDP ports.
type tcpSession struct {
	local netip.AddrPort // the relayed address, bound
	owner stream.Owner
	pace  pace
}

// pace has the data connections of an allocation keep to the rates of its user. They run on goroutines of their own.
type pace struct {
	mu    sync.Mutex
	lease auth.Lease
	now   func() time.Time
	owed  int // bytes that were moved and not paid for
}

const (
	paceUnit  = 16 << 10              // bytes that are paid for at once; every bucket holds as many
	paceDelay = 20 * time.Millisecond // before the next try
)

// move is told what was moved, and says how long to wait before more.
func (p *pace) move(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed += n
	now := p.now().UnixNano()
	for p.owed > 0 {
		unit := min(p.owed, paceUnit)
		if p.lease.Spend(now, unit) != auth.SpentOK {
			return paceDelay
		}
		p.owed -= unit
	}
	return 0
}

// close gives back what is left of the rates.
func (p *pace) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lease.Return()
}

// openTCP opens the relayed address of a TCP allocation: peers connect to it, and connections to peers leave from it.
func (w *worker) openTCP(now time.Time, s *session, a turn.Action) (o turn.Opened) {
	family := turn.IPv4
	if a.Ports.Families[turn.IPv6] {
		family = turn.IPv6
	}
	t := &tcpSession{}
	t.pace.now = w.relay.now
	t.pace.lease.Init(w.machine.Account(a.ID))
	t.owner = stream.Owner{ID: a.ID, User: a.User, Pace: t.pace.move}
	pool := w.relay.pools[poolKey{family, true}]
	o.Err = errNoPorts
	for range bindTries {
		number, ok := pool.take(now, false, false)
		if !ok {
			return o
		}
		t.local = netip.AddrPortFrom(w.relay.addresses[family], number)
		o.Err = w.relay.streams.connections.Listen(t.owner, t.local, func(id uint32, peer netip.AddrPort) bool {
			return w.offer(a.ID, id, peer)
		})
		if o.Err == nil {
			s.tcp = t
			o.Relayed[family] = t.local
			return o
		}
		pool.put(now, number)
		if !inUse(o.Err) {
			return o
		}
	}
	return o
}

// offer asks the worker about a peer that has connected, and has its client told. It is called on a listener's
// goroutine.
func (w *worker) offer(id turn.ID, connection uint32, peer netip.AddrPort) bool {
	answer := make(chan bool, 1)
	w.call(func(now time.Time) {
		defer close(answer)
		if !w.machine.MayAccept(id, peer) {
			w.peerFates[NoPermission]++
			answer <- false
			return
		}
		w.do(now, w.machine.Accepted(id, peer, connection))
		answer <- true
	})
	return <-answer
}

// dial connects to a peer.
func (w *worker) dial(a *turn.Action) {
	s := w.sessions[a.ID]
	if s == nil || s.tcp == nil {
		return
	}
	id, peer := a.ID, a.Peer
	w.relay.streams.connections.Dial(s.tcp.owner, s.tcp.local, peer, func(connection uint32, err error) {
		w.call(func(now time.Time) { w.do(now, w.machine.Dialed(id, peer, connection, err)) })
	})
}

// attach joins a client's data connection with a peer's.
func (w *worker) attach(now time.Time, a turn.Action) {
	sc := w.streams[a.To]
	ok := sc != nil && w.relay.streams.connections.Bind(a.Connection, a.User, sc.conn) == nil
	w.do(now, w.machine.Attached(ok))
}

// closeTCP gives the relayed address of a TCP allocation back, with everything that goes through it.
func (s *session) closeTCP(now time.Time) {
	if s.tcp == nil {
		return
	}
	r := s.worker.relay
	up, down := r.streams.connections.Traffic(s.id)
	s.worker.closedToPeer.bytes += up
	s.worker.closedToClient.bytes += down
	r.streams.connections.Close(s.id)
	s.tcp.pace.close()
	r.pools[poolKey{turn.FamilyOf(s.tcp.local.Addr()), true}].put(now, s.tcp.local.Port())
	s.tcp = nil
}

// addTCP adds what data connections moved.
func (s *session) addTCP(a *Allocation) {
	if s.tcp == nil {
		return
	}
	up, down := s.worker.relay.streams.connections.Traffic(s.id)
	a.ToPeer.Bytes += up
	a.ToClient.Bytes += down
}
