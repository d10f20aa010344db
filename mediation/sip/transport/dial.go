package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// dialTimeout bounds one attempt to connect, whatever its callers wait for:
// Timer B, 64*T1 (RFC 3261 17.1.1.2).
const dialTimeout = 32 * time.Second

// flightKey is what makes two attempts to connect one.
type flightKey struct {
	endpoint
	name string
}

// flight is an attempt to connect that one or more callers of Dial wait for.
type flight struct {
	waiters int // guarded by Layer.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when flow and err are set
	flow    Flow
	err     error
}

// Find returns an open connection to an address, on which requests may be
// sent, whoever made it; the newest when there are several. On udp there is
// one as soon as a listener has the address's family.
func (l *Layer) Find(network string, remote netip.AddrPort) (Flow, bool) {
	remote = unmapped(remote)
	if network == "udp" {
		return l.datagrams(remote)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.pool.newest(endpoint{network, remote}, func(*conn) bool { return true })
	if c == nil {
		return Flow{}, false
	}
	return c.flow, true
}

// datagrams is the flow to an address from the udp listener of its family.
func (l *Layer) datagrams(remote netip.AddrPort) (Flow, bool) {
	for _, s := range l.sockets {
		if s.addr.Addr().Is4() == remote.Addr().Is4() {
			return Flow{Network: "udp", Local: s.addr, Remote: remote}, true
		}
	}
	return Flow{}, false
}

// Dial returns a connection to an address as Find does, or makes one. On tls,
// name is what the peer's certificate must carry and what is asked for by SNI;
// "" means that it carries the address. Callers that want the same connection
// wait for one attempt; ctx ends the waiting of its caller alone.
func (l *Layer) Dial(ctx context.Context, network string, to netip.AddrPort, name string) (Flow, error) {
	to = unmapped(to)
	if !l.cfg.Allow(to.Addr()) {
		return Flow{}, fmt.Errorf("connect to %s: %w", to, ErrNotAllowed)
	}
	switch network {
	case "udp":
		if f, ok := l.datagrams(to); ok {
			return f, nil
		}
		return Flow{}, ErrNoListener
	case "tcp":
		name = ""
	case "tls":
		if l.cfg.ClientTLS == nil {
			return Flow{}, errors.New("no TLS configuration")
		}
	default:
		return Flow{}, fmt.Errorf("unknown network %q", network)
	}
	open, f, err := l.join(flightKey{endpoint{network, to}, name})
	if f == nil {
		return open, err
	}
	select {
	case <-f.done:
		return f.flow, f.err
	case <-ctx.Done():
	}
	l.leave(flightKey{endpoint{network, to}, name}, f)
	return Flow{}, fmt.Errorf("connect to %s over %s: %w", to, network, context.Cause(ctx))
}

// join returns a connection that is open, or else the attempt to make one,
// begun now when there is none.
func (l *Layer) join(key flightKey) (Flow, *flight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.pool.newest(key.endpoint, func(c *conn) bool { return c.carries(key) }); c != nil {
		return c.flow, nil, nil
	}
	if f := l.flights[key]; f != nil {
		f.waiters++
		return Flow{}, f, nil
	}
	if l.closing {
		return Flow{}, nil, ErrClosed
	}
	if l.pool.dialled >= l.cfg.Limits.Connections {
		return Flow{}, nil, fmt.Errorf("connect to %s: %w", key.remote, ErrTooMany)
	}
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
	f := &flight{waiters: 1, cancel: cancel, done: make(chan struct{})}
	l.flights[key] = f
	l.pool.dialled++
	l.wg.Go(func() { l.fly(ctx, key, f) })
	return Flow{}, f, nil
}

// leave takes one caller off an attempt; the last one ends it. An attempt that
// has no callers is not joined by new ones.
func (l *Layer) leave(key flightKey, f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.waiters--; f.waiters == 0 && l.flights[key] == f {
		delete(l.flights, key)
		f.cancel()
	}
}

// carries says whether a connection is one that Dial would have made for key:
// over TLS its certificate is the peer's that is asked for (RFC 5923 5).
func (c *conn) carries(key flightKey) bool {
	switch {
	case key.network != "tls":
		return true
	case c.dialled:
		return c.name == key.name
	}
	return c.leaf != nil && matchName(c.leaf, key.expected())
}

// expected is what the certificate of the peer has to carry.
func (k flightKey) expected() string {
	if k.name != "" {
		return k.name
	}
	return k.remote.Addr().WithZone("").String()
}

// fly makes a connection, tells those who wait, and serves it.
func (l *Layer) fly(ctx context.Context, key flightKey, f *flight) {
	c, err := l.connect(ctx, key)
	f.cancel()
	l.mu.Lock()
	if l.flights[key] == f {
		delete(l.flights, key)
	}
	established := err == nil && l.establish(c)
	l.mu.Unlock()
	switch {
	case err != nil:
		f.err = fmt.Errorf("connect to %s over %s: %w", key.remote, key.network, err)
	case !established:
		f.err = ErrClosed
		_ = c.raw.Close()
	default:
		f.flow = c.flow
	}
	close(f.done)
	if established {
		c.serve()
	}
	l.mu.Lock()
	l.pool.dialled--
	l.mu.Unlock()
}

// connect makes the connection, from the listener's address.
func (l *Layer) connect(ctx context.Context, key flightKey) (*conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepAlive, Control: boundUnacknowledged, LocalAddr: l.source(key)}
	raw, err := dialer.DialContext(ctx, "tcp", key.remote.String())
	if err != nil {
		return nil, err
	}
	c := newConn(l, raw, Flow{Network: key.network, Local: unmapped(raw.LocalAddr().(*net.TCPAddr).AddrPort()), Remote: key.remote})
	c.dialled, c.name = true, key.name
	c.proven.Store(true)
	if key.network != "tls" {
		return c, nil
	}
	if _, err := handshake(ctx, c, tls.Client(raw, l.clientTLS(key))); err != nil {
		_ = raw.Close()
		if ctx.Err() != nil { // by us
			return nil, err
		}
		l.note(dropOf(err), key.network, key.remote, err)
		return nil, err
	}
	return c, nil
}

// source is the address that connections to a peer come from: that of the
// listener of the same network, else of any that has the address's family. The
// port is the kernel's choice: the listener's would allow one connection to a
// peer, and none for a while after it ended.
func (l *Layer) source(key flightKey) net.Addr {
	var found netip.Addr
	for _, a := range l.acceptors {
		if a.addr.Addr().Is4() == key.remote.Addr().Is4() && (a.network == key.network || !found.IsValid()) {
			if found = a.addr.Addr(); a.network == key.network {
				break
			}
		}
	}
	if !found.IsValid() {
		if f, ok := l.datagrams(key.remote); ok {
			found = f.Local.Addr()
		}
	}
	if !found.IsValid() || found.IsUnspecified() {
		return nil
	}
	return &net.TCPAddr{IP: found.AsSlice(), Zone: found.Zone()}
}

// clientTLS is ClientTLS for one peer. A configuration of Identity's verifies
// by itself and learns here which name it is to find, which for an address
// does not show in the handshake.
func (l *Layer) clientTLS(key flightKey) *tls.Config {
	config := l.cfg.ClientTLS.Clone()
	config.ServerName = key.expected()
	if verify := config.VerifyConnection; config.InsecureSkipVerify && verify != nil {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			state.ServerName = key.expected()
			return verify(state)
		}
	}
	return config
}
