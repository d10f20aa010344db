package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// DataLimits bound the peer connections of TCP allocations (RFC 6062). A zero field means its default.
type DataLimits struct {
	// Pending is how many peer connections may be on their way or waiting for their client, in all; 1024.
	Pending int
	// PendingEach is how many of them may be one allocation's; 16.
	PendingEach int
	// Open is how many peer connections one allocation may have, those on their way and waiting included; 64.
	Open int
	// Connect is how long connecting to a peer may take; 30 s, which is the least that RFC 6062 section 5.2 allows.
	Connect time.Duration
	// Bind is how long a peer connection waits for its client's ConnectionBind; 30 s (RFC 6062 sections 5.2 and 5.3).
	Bind time.Duration
	// Idle is how long a data connection may carry nothing in either direction, or stop at one that takes nothing; 20
	// min.
	Idle time.Duration
	// Unread is how long the kernel keeps what a peer has not read when its connection has ended, counted from the last
	// time that it took any; 10 s.
	Unread time.Duration
}

const (
	defaultPending     = 1024
	defaultPendingEach = 16
	defaultOpen        = 64
	defaultConnect     = 30 * time.Second // RFC 6062 section 5.2
	defaultBind        = 30 * time.Second // RFC 6062 sections 5.2 and 5.3
	defaultDataIdle    = 20 * time.Minute
	defaultUnread      = 10 * time.Second
)

func (l DataLimits) withDefaults() DataLimits {
	l.Pending = cmp.Or(l.Pending, defaultPending)
	l.PendingEach = cmp.Or(l.PendingEach, defaultPendingEach)
	l.Open = cmp.Or(l.Open, defaultOpen)
	l.Connect = cmp.Or(l.Connect, defaultConnect)
	l.Bind = cmp.Or(l.Bind, defaultBind)
	l.Idle = cmp.Or(l.Idle, defaultDataIdle)
	l.Unread = cmp.Or(l.Unread, defaultUnread)
	return l
}

// Errors of Bind, and of what was under way when its allocation ended.
var (
	// ErrUnknownConnection: there is no peer connection with this id that waits for its client: 400 (RFC 6062 section
	// 5.4).
	ErrUnknownConnection = errors.New("no such connection is pending")
	// ErrWrongUser: the connection belongs to another user's allocation.
	ErrWrongUser = errors.New("connection belongs to another user")
	// ErrClosed: the allocation, or everything, was closed.
	ErrClosed = errors.New("allocation closed")
)

// Owner is the allocation that peer connections belong to.
type Owner struct {
	ID   turn.ID
	User string // who may claim them
	// Pace is told how many bytes were just moved, either way, and returns how long the direction that moved them has to
	// pause before it asks again, with no bytes; 0: it may go on. It is called from several goroutines. nil: no pauses.
	Pace func(bytes int) time.Duration
}

// Connections are the peer connections of all TCP allocations of the process, from the moment that they are asked for
// until they or their allocations end. All methods are safe for concurrent use.
//
// What a peer sends before its connection is claimed stays in the kernel, whose window then stops the peer (RFC 6062
// section 5.2 asks for no less).
type Connections struct {
	limits DataLimits
	log    *slog.Logger
	tally  dataTally

	mu          sync.Mutex
	claims      map[uint32]*peerConn    // guarded by mu; those that wait, by their ids
	allocations map[turn.ID]*allocation // guarded by mu; those that listen, until they are closed
	pending     int                     // guarded by mu; on their way or waiting, in all
	ended       bool                    // guarded by mu
	running     sync.WaitGroup          // dials, listeners, timers
}

// allocation is what one TCP allocation has.
type allocation struct {
	owner   Owner
	table   *Connections
	traffic traffic

	// Guarded by the table's mu.
	conns     map[netip.AddrPort]*peerConn // by peer; those on their way, waiting or joined
	listeners []*relayedListener
	pending   int
	closed    bool
}

// NewConnections returns an empty table. log may be nil.
func NewConnections(limits DataLimits, log *slog.Logger) *Connections {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Connections{
		limits:      limits.withDefaults(),
		log:         log,
		claims:      make(map[uint32]*peerConn),
		allocations: make(map[turn.ID]*allocation),
	}
}

// Run waits until ctx is done. It then closes everything, and returns when all goroutines of the table have ended. Data
// connections end with it too, though the listeners that they came by wait for those.
func (t *Connections) Run(ctx context.Context) error {
	<-ctx.Done()
	t.mu.Lock()
	t.ended = true
	for _, a := range t.allocations {
		a.closeAll()
	}
	t.mu.Unlock()
	t.running.Wait()
	return nil
}

// reserve makes room for a peer connection, or says why there is none. The table's mu is held.
func (a *allocation) reserve(local, peer netip.AddrPort) (*peerConn, error) {
	t := a.table
	switch {
	case a.closed:
		return nil, ErrClosed
	case a.conns[peer] != nil:
		return nil, turn.ErrConnectionExists
	case t.pending >= t.limits.Pending, a.pending >= t.limits.PendingEach, len(a.conns) >= t.limits.Open:
		t.tally.refused.Add(1)
		return nil, turn.ErrCapacity
	}
	p := &peerConn{allocation: a, local: local, peer: peer, closing: make(chan struct{}), cancel: func() {}}
	a.conns[peer] = p
	a.pending++
	t.pending++
	return p, nil
}

// Dial connects from a relayed address that [Connections.Listen] was called for to a peer, and calls done once, on a
// goroutine of its own. id is what a client claims the connection with.
//
// The error is [turn.ErrConnectionExists] if the allocation has a connection to this peer, whatever its state (446),
// [turn.ErrCapacity] if a bound of [DataLimits] is reached (508), [ErrClosed], and anything else that connecting
// failed for or took too long for (447).
func (t *Connections) Dial(o Owner, local, peer netip.AddrPort, done func(id uint32, err error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		go done(0, ErrClosed) // Run may have stopped waiting already
		return
	}
	p, err := t.reserve(o.ID, local, peer)
	if err != nil {
		t.running.Go(func() { done(0, err) })
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.limits.Connect)
	p.cancel = cancel
	t.running.Go(func() {
		defer cancel()
		done(t.dial(ctx, p))
	})
}

// reserve makes room for a peer connection of an allocation. t.mu is held.
func (t *Connections) reserve(id turn.ID, local, peer netip.AddrPort) (*peerConn, error) {
	a := t.allocations[id]
	if a == nil {
		return nil, ErrClosed
	}
	return a.reserve(local, peer)
}

// dial connects and makes the connection wait for its client.
func (t *Connections) dial(ctx context.Context, p *peerConn) (uint32, error) {
	socket, err := netio.DialStream(ctx, p.local, p.peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.tally.dialFailed.Add(1)
		if p.state == closed {
			return 0, ErrClosed
		}
		t.remove(p)
		return 0, fmt.Errorf("connect %s to %s: %w", p.local, p.peer, err)
	case p.state == closed:
		_ = socket.Close()
		return 0, ErrClosed
	}
	t.tally.dialed.Add(1)
	p.socket = socket
	t.await(p)
	return p.id, nil
}

// await gives a connection its id and has it wait for its client. t.mu is held.
func (t *Connections) await(p *peerConn) {
	p.state = waiting
	for p.id == 0 || t.claims[p.id] != nil {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails, as its documentation says
		p.id = binary.BigEndian.Uint32(b[:])
	}
	t.claims[p.id] = p
	t.running.Add(1)
	p.expiry = time.AfterFunc(t.limits.Bind, func() {
		defer t.running.Done()
		t.expire(p)
	})
}

// expire closes a connection that nobody has claimed in time.
func (t *Connections) expire(p *peerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.state == waiting {
		t.tally.unclaimed.Add(1)
		t.remove(p)
	}
}

// Bind claims the connection with this id for a user's client, whose ConnectionBind request is waiting for its answer.
// When it succeeds, the next control message that is sent to the client is that answer, and as soon as it has been
// written bytes pass in both directions, those first that came behind the request. If it fails, the client's connection
// stays as it is, and so does the peer's.
func (t *Connections) Bind(id uint32, user string, client *Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.claims[id]
	if p == nil {
		return ErrUnknownConnection
	}
	if p.allocation.owner.User != user {
		return ErrWrongUser
	}
	if err := client.take(p); err != nil {
		return err
	}
	t.settle(p)
	p.state, p.client = joined, client
	t.tally.bound.Add(1)
	t.tally.active.Add(1)
	return nil
}

// settle ends a connection's time of waiting. t.mu is held.
func (t *Connections) settle(p *peerConn) {
	if p.state != connecting && p.state != waiting {
		return
	}
	t.pending--
	p.allocation.pending--
	if p.expiry != nil && p.expiry.Stop() {
		t.running.Done()
	}
	delete(t.claims, p.id)
}

// remove closes a connection, whatever its state. t.mu is held.
func (t *Connections) remove(p *peerConn) {
	if p.state == closed {
		return
	}
	t.settle(p)
	switch {
	case p.state == joined:
		t.tally.active.Add(-1)
	case p.socket != nil:
		// Nobody will read what the peer sent. A reset says so, and leaves no TIME-WAIT behind that would keep the
		// allocation from connecting to this peer again.
		_ = p.socket.SetLinger(0)
	}
	p.state = closed
	delete(p.allocation.conns, p.peer)
	p.cancel()
	close(p.closing)
	if p.socket != nil {
		_ = netio.CloseStream(p.socket, t.limits.Unread)
	}
	if p.client != nil {
		p.client.stop(DataEnded)
	}
}

// Close closes everything that belongs to an allocation: its listeners, its peer connections and the client connections
// that are joined to them (RFC 6062 section 5.5). What is under way reports [ErrClosed], now and later.
func (t *Connections) Close(id turn.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.allocations[id]; a != nil {
		a.closeAll()
	}
}

// closeAll closes what the allocation has and takes it out of the table, whose mu is held.
func (a *allocation) closeAll() {
	a.closed = true
	delete(a.table.allocations, a.owner.ID)
	for _, l := range a.listeners {
		l.stop()
	}
	for _, p := range a.conns {
		a.table.remove(p)
	}
}

// Traffic returns how many bytes the data connections of an allocation have moved from client to peer and from peer to
// client, until it is closed.
func (t *Connections) Traffic(id turn.ID) (up, down uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.allocations[id]; a != nil {
		return a.traffic.up.Load(), a.traffic.down.Load()
	}
	return 0, 0
}
