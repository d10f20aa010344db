package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// Network is what a listener takes.
type Network string

// The networks.
const (
	TCP  Network = "tcp"  // STUN over TCP, and over TLS on the same port if there is a certificate
	TLS  Network = "tls"  // STUN over TLS alone
	DTLS Network = "dtls" // STUN over DTLS (RFC 7350)
)

// Options say what a listener is.
type Options struct {
	Network Network
	Local   netip.AddrPort // port 0: the system chooses one
	// Certificate is what TLS and DTLS show. Without one a TCP listener takes no TLS.
	Certificate *Certificate
	Limits      Limits
	Gate        *Gate // counts connections together with other listeners'; nil: a gate of its own
	// Afford is asked before a DTLS client whose address nothing has proven yet is answered, so that no network gets more
	// from us than it should that it may not have asked for; nil: always. It is called on the listener's goroutine.
	Afford func(client netip.Addr) bool
	Log    *slog.Logger // nil: none
}

// Handler is told of connections. For one connection its methods are called one after another, except that Frames and
// Closed may be called while [Conn.Drain] runs.
type Handler interface {
	// Accepted is called before a connection's first frame is queued. A connection that never sends a whole frame is never
	// shown.
	Accepted(c *Conn)
	// Frames says that there are frames. It must not block: it has the connection's worker call [Conn.Drain] once.
	Frames(c *Conn)
	// Closed is called once when the connection has ended, if Accepted was. Nothing is called for it afterwards.
	Closed(c *Conn)
}

// Listener takes the connections of one local address.
type Listener struct {
	network Network
	local   netip.AddrPort
	limits  Limits
	cert    *Certificate
	tls     *tls.Config // nil without a certificate
	gate    *Gate
	afford  func(client netip.Addr) bool // nil: always
	handler Handler
	log     *slog.Logger
	tally   tally

	tcp       net.Listener // nil for DTLS
	datagrams *datagrams   // nil for TCP and TLS

	mu      sync.Mutex
	conns   map[*Conn]struct{} // guarded by mu; nil once the listener ends
	running sync.WaitGroup     // one for each connection
}

var errNoCertificate = errors.New("no certificate")

// Listen opens the socket; [Listener.Run] serves it. A listener that is not run has to be closed.
func Listen(o Options, h Handler) (*Listener, error) {
	l := &Listener{
		network: o.Network, limits: o.Limits.withDefaults(), cert: o.Certificate, gate: o.Gate, afford: o.Afford,
		handler: h, log: o.Log, conns: make(map[*Conn]struct{}),
	}
	if l.gate == nil {
		l.gate = NewGate(l.limits.Clients, l.limits.PerPrefix)
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.cert == nil && l.network != TCP {
		return nil, fmt.Errorf("listen on %s://%s: %w", o.Network, o.Local, errNoCertificate)
	}
	if l.cert != nil {
		l.tls = tlsConfig(l.cert)
	}
	var err error
	switch o.Network {
	case TCP, TLS:
		err = l.listenTCP(o.Local)
	case DTLS:
		err = l.listenDTLS(o.Local)
	default:
		err = fmt.Errorf("listen on %s: unknown network %q", o.Local, o.Network)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Listener) listenTCP(local netip.AddrPort) error {
	tcp, err := netio.ListenStream(local)
	if err != nil {
		return err
	}
	l.tcp = tcp
	l.local = addrPort(tcp.Addr())
	return nil
}

// Addr returns the local address.
func (l *Listener) Addr() netip.AddrPort { return l.local }

// Counters returns what has happened so far.
func (l *Listener) Counters() Counters {
	c := l.tally.snapshot()
	l.mu.Lock()
	c.Open = len(l.conns)
	l.mu.Unlock()
	if l.datagrams != nil {
		c.Handshakes = l.datagrams.handshakes()
	}
	return c
}

// Port returns the counters of a DTLS listener's UDP socket. They are zero for TCP and TLS.
func (l *Listener) Port() netio.PortCounters {
	if l.datagrams == nil {
		return netio.PortCounters{}
	}
	return l.datagrams.counters()
}

// Close closes a listener that was never run.
func (l *Listener) Close() {
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
	if l.datagrams != nil {
		l.datagrams.close()
	}
}

// Run serves until ctx is done. It then ends every connection, and returns when all their goroutines have. The error says
// why the listener could not go on; it is nil when ctx is done.
func (l *Listener) Run(ctx context.Context) error {
	defer l.endAll()
	if l.datagrams != nil {
		return l.datagrams.run(ctx)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.tcp.Close() })
	defer stop()
	err := acceptAll(ctx, l.tcp, func() { l.tally.acceptErrors.Add(1) }, l.log, l.accept)
	_ = l.tcp.Close()
	return err
}

// endAll ends every connection and waits for them.
func (l *Listener) endAll() {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		c.stop(Stopped)
	}
	l.running.Wait()
}

// accept takes one connection, or refuses it.
func (l *Listener) accept(socket net.Conn) {
	client := addrPort(socket.RemoteAddr())
	if r := l.gate.enter(client.Addr()); r != none {
		l.tally.ended[r].Add(1)
		refuse(socket)
		return
	}
	c := newConn(l, socket, client, turn.TCP)
	c.socket = socket
	l.start(c, func() Reason { return l.serveTCP(c) })
}

// start runs a connection, unless the listener ends.
func (l *Listener) start(c *Conn, read func() Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.leave(c)
		_ = c.lower.Close()
		return
	}
	l.conns[c] = struct{}{}
	l.tally.accepted.Add(1)
	l.running.Go(func() { c.serve(read) })
}

// forget is the last thing that a connection does.
func (l *Listener) forget(c *Conn) {
	l.tally.ended[c.ended()].Add(1)
	l.leave(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// leave gives the place of a TCP connection back; a DTLS client's is the concern of [datagrams].
func (l *Listener) leave(c *Conn) {
	if l.datagrams == nil {
		l.gate.leave(c.client.Addr())
	}
}

// queueFrames returns how many frames of a connection may wait.
func (l *Listener) queueFrames(allocated bool) int {
	if allocated {
		return l.limits.QueueFrames
	}
	return min(newcomerFrames, l.limits.QueueFrames)
}

// serveTCP reads a TCP connection, or a TLS connection upon it.
func (l *Listener) serveTCP(c *Conn) Reason {
	first, r := c.first()
	if r != none {
		return r
	}
	head := []byte{first}
	if l.tls != nil && (l.network == TLS || first == tlsHandshakeRecord) {
		if r := c.startTLS(head); r != none {
			return r
		}
		head = nil
	}
	return c.readStream(head)
}

// refuse closes a connection with a reset, so that nothing of it stays in the kernel.
func refuse(socket net.Conn) {
	if tcp, ok := socket.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = socket.Close()
}

// addrPort returns a socket address in the form that is used everywhere: never IPv4-mapped, without a zone.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}

// How long to wait after an accept that failed, at first and at most. What it failed for (descriptors, memory) is not
// there again at once, and asking without a pause would take a whole core meanwhile.
const (
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// acceptAll accepts until ctx is done or the listener is closed. Other failures are counted, logged when they begin, and
// outlasted.
func acceptAll(ctx context.Context, from net.Listener, failed func(), log *slog.Logger, take func(net.Conn)) error {
	pause := time.Duration(0)
	for {
		socket, err := from.Accept()
		switch {
		case err == nil:
			pause = 0
			take(socket)
			continue
		case ctx.Err() != nil:
			return nil //nolint:nilerr // whoever ended ctx closed the listener
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", from.Addr(), err)
		}
		failed()
		if pause == 0 {
			log.Warn("accept failed, trying again", "listener", from.Addr().String(), "error", err)
		}
		pause = min(max(2*pause, acceptPause), acceptPauseMax)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}
