package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// handshakeTimeout bounds a TLS handshake that a peer does not finish.
	handshakeTimeout = 10 * time.Second
	// maxHandshakes bounds the handshakes under way on one listener; further
	// connections wait in the kernel's backlog.
	maxHandshakes = 128
	// writeTimeout is how long a peer may leave its receive window shut.
	writeTimeout = 5 * time.Second
	// acceptRetry is the pause after an Accept that failed for want of
	// descriptors or memory, so that the loop does not spin.
	acceptRetry = 50 * time.Millisecond
)

// Allow says whether an address may speak to this side at all.
type Allow func(netip.Addr) bool

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// guardedListener accepts connections from allowed addresses only, and
// survives a shortage of descriptors. With tlsConfig it hands out connections
// whose handshake is done, so that a slow peer holds a bounded slot and never
// the accept loop.
type guardedListener struct {
	net.Listener
	allow     Allow
	drops     *Drops
	tlsConfig *tls.Config // nil: plain TCP

	ready  chan net.Conn
	slots  chan struct{}
	ctx    context.Context // ends handshakes under way when the listener closes
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// newGuardedListener starts the accept loop of l; Close ends it and waits.
func newGuardedListener(l net.Listener, allow Allow, drops *Drops, tlsConfig *tls.Config) *guardedListener {
	ctx, cancel := context.WithCancel(context.Background())
	g := &guardedListener{
		Listener: l, allow: allow, drops: drops, tlsConfig: tlsConfig,
		ready: make(chan net.Conn), slots: make(chan struct{}, maxHandshakes),
		ctx: ctx, cancel: cancel,
	}
	g.wg.Go(g.acceptLoop)
	return g
}

func (g *guardedListener) acceptLoop() {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-g.ctx.Done():
				return
			case <-time.After(acceptRetry):
			}
			continue
		}
		if !g.allow(addrOf(conn.RemoteAddr())) {
			g.drops.Add(DropPeerNotAllowed)
			_ = conn.Close()
			continue
		}
		if g.tlsConfig == nil {
			g.hand(conn)
			continue
		}
		select {
		case g.slots <- struct{}{}:
			g.wg.Go(func() { defer func() { <-g.slots }(); g.handshake(conn) })
		case <-g.ctx.Done():
			_ = conn.Close()
			return
		}
	}
}

func (g *guardedListener) handshake(raw net.Conn) {
	ctx, cancel := context.WithTimeout(g.ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, g.tlsConfig)
	if err := conn.HandshakeContext(ctx); err != nil {
		g.drops.Add(DropTLSHandshake)
		_ = raw.Close()
		return
	}
	g.hand(conn)
}

func (g *guardedListener) hand(conn net.Conn) {
	select {
	case g.ready <- boundedConn{conn}:
	case <-g.ctx.Done():
		_ = conn.Close()
	}
}

// boundedConn is a connection on which a peer that does not read fails the
// write instead of holding the writer, and with it a transaction's lock.
type boundedConn struct{ net.Conn }

func (c boundedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Accept returns the next allowed connection, net.ErrClosed after Close.
func (g *guardedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-g.ready:
		return conn, nil
	case <-g.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting, ends handshakes under way and waits for both.
func (g *guardedListener) Close() error {
	g.cancel()
	err := g.Listener.Close()
	g.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// guardedPacketConn drops datagrams from addresses that are not allowed
// before they reach the parser.
type guardedPacketConn struct {
	net.PacketConn
	allow Allow
	drops *Drops
}

func (g *guardedPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := g.PacketConn.ReadFrom(b)
		if err != nil {
			// Linux reports an ICMP error of an earlier send on the next
			// call; it says nothing about this socket (udp(7)).
			if !errors.Is(err, net.ErrClosed) && isTransient(err) {
				continue
			}
			return n, from, err
		}
		if g.allow(addrOf(from)) {
			return n, from, nil
		}
		g.drops.Add(DropPeerNotAllowed)
	}
}
