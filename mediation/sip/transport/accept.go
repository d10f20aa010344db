package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	// handshakeTimeout bounds a TLS handshake that a peer does not finish.
	handshakeTimeout = 10 * time.Second
	// unacknowledged is how long sent bytes may go without acknowledgement
	// before the connection counts as dead. Shorter than what a transaction
	// waits (64*T1 = 32 s, RFC 3261 17.1.1.2), so that the next one does not
	// use it again.
	unacknowledged = 20 * time.Second
	// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h.
	tcpUserTimeout = 0x12
)

// boundUnacknowledged sets unacknowledged on a socket. Accepted ones inherit it.
func boundUnacknowledged(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		// Without it the kernel's own patience counts, 15 minutes or so.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged/time.Millisecond))
	})
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// acceptor is a tcp or tls listener.
type acceptor struct {
	layer   *Layer
	network string
	inner   net.Listener
	addr    netip.AddrPort
}

// byCertificate says whether the peers' certificates are asked for, and not
// their addresses.
func (a *acceptor) byCertificate() bool {
	return a.network == "tls" && a.layer.cfg.AllowPeer != nil
}

// serve accepts until the listener is closed.
func (a *acceptor) serve() {
	l := a.layer
	for {
		raw, err := a.inner.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pause(l.ctx, acceptRetry)
			continue
		}
		remote := unmapped(raw.RemoteAddr().(*net.TCPAddr).AddrPort())
		if !a.byCertificate() && !l.cfg.Allow(remote.Addr()) {
			l.note(DropPeerNotAllowed, a.network, remote, nil)
			_ = raw.Close()
			continue
		}
		flow := Flow{Network: a.network, Local: unmapped(raw.LocalAddr().(*net.TCPAddr).AddrPort()), Remote: remote}
		c := l.admit(newConn(l, raw, flow))
		if c == nil || !l.run(func() { a.welcome(c) }) {
			_ = raw.Close()
		}
	}
}

// admit counts a connection that a peer made; nil when it may not stay.
func (l *Layer) admit(c *conn) *conn {
	l.mu.Lock()
	if l.pool.accepted >= l.cfg.Limits.Connections {
		l.mu.Unlock()
		l.note(DropConnections, c.flow.Network, c.flow.Remote, ErrTooMany)
		return nil
	}
	var victim *conn
	if len(l.pool.unproven) >= l.cfg.Limits.Unproven {
		victim = l.pool.displaced()
		l.pool.settled(victim)
	}
	l.pool.accepted++
	l.pool.unproven = append(l.pool.unproven, c)
	l.mu.Unlock()
	if victim != nil {
		l.note(DropUnproven, victim.flow.Network, victim.flow.Remote, errDisplaced)
		victim.end(errDisplaced, endAtOnce)
	}
	return c
}

var errDisplaced = errors.New("displaced by a newer one: too many connections have sent no valid request")

// welcome serves one connection from its handshake to its end.
func (a *acceptor) welcome(c *conn) {
	l := a.layer
	defer func() {
		l.mu.Lock()
		l.pool.remove(c)
		l.pool.accepted--
		l.mu.Unlock()
	}()
	if a.network == "tls" {
		leaf, err := handshake(l.ctx, c, tls.Server(c.raw, l.cfg.ServerTLS))
		if err == nil && a.byCertificate() {
			if err = l.cfg.AllowPeer(c.flow.Remote.Addr(), leaf); err != nil {
				err = &certificateError{DropPeerNotAllowed, err.Error()}
			}
		}
		if err != nil {
			if !c.ended() { // by us
				l.note(dropOf(err), c.flow.Network, c.flow.Remote, err)
			}
			_ = c.raw.Close()
			return
		}
	}
	l.mu.Lock()
	established := l.establish(c)
	l.mu.Unlock()
	if !established {
		_ = c.raw.Close()
		return
	}
	c.serve()
}

// handshake makes a TLS connection of c and returns the peer's certificate,
// nil when it showed none.
func handshake(ctx context.Context, c *conn, secured *tls.Conn) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.wire = secured
	if shown := secured.ConnectionState().PeerCertificates; len(shown) > 0 {
		c.leaf = shown[0]
	}
	return c.leaf, nil
}
