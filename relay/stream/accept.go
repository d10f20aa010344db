package stream

import (
	"context"
	"net"
	"net/netip"

	"causeway/internal/netio"
)

// Offer is asked whether a peer that connected to a relayed address may: it needs a permission (RFC 6062 section 5.3). If
// so, id is what the client is told in a ConnectionAttempt indication; the connection waits under it already. Offer is
// called on the listener's goroutine and may block, though not for longer than the process needs to answer: meanwhile no
// other peer is accepted on this address.
type Offer func(id uint32, peer netip.AddrPort) bool

// relayedListener accepts peers on one relayed address.
type relayedListener struct {
	allocation *allocation
	local      netip.AddrPort
	socket     *net.TCPListener
	offer      Offer
	cancel     context.CancelFunc
}

// Listen accepts peers on a relayed transport address for an allocation, until [Connections.Close]. The error wraps the
// system's, such as syscall.EADDRINUSE, or is [ErrClosed].
func (t *Connections) Listen(o Owner, local netip.AddrPort, offer Offer) error {
	socket, err := netio.ListenStream(local)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &relayedListener{local: local, socket: socket, offer: offer, cancel: cancel}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		l.stop()
		return ErrClosed
	}
	a := t.allocations[o.ID]
	if a == nil {
		a = &allocation{owner: o, table: t, conns: make(map[netip.AddrPort]*peerConn)}
		t.allocations[o.ID] = a
	}
	l.allocation = a
	a.listeners = append(a.listeners, l)
	t.running.Go(func() {
		// It ends when stop closes the socket, which is no error.
		_ = acceptAll(ctx, socket, func() { t.tally.acceptErrors.Add(1) }, t.log, l.accept)
	})
	return nil
}

func (l *relayedListener) stop() {
	l.cancel()
	_ = l.socket.Close()
}

// accept takes one peer's connection. Peers are not told why they are turned away.
func (l *relayedListener) accept(socket net.Conn) {
	p := l.register(socket)
	if p == nil {
		refuse(socket)
		return
	}
	if l.offer(p.id, p.peer) {
		l.allocation.table.tally.accepted.Add(1)
		return
	}
	l.allocation.table.tally.forbidden.Add(1)
	p.close()
}

// register has a connection wait for its client, if there is room for it.
func (l *relayedListener) register(socket net.Conn) *peerConn {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return nil
	}
	t := l.allocation.table
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := l.allocation.reserve(l.local, addrPort(tcp.RemoteAddr()))
	if err != nil {
		return nil
	}
	p.socket = tcp
	t.await(p)
	return p
}
