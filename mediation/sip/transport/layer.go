package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	// keepAliveIdle, keepAliveInterval and keepAliveCount make the kernel probe
	// a silent connection: one whose peer is gone without a word is known to be
	// so within 105 s, and the state of a NAT on the way stays.
	keepAliveIdle     = 60 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 3
	// acceptRetry is the pause after an Accept that failed for want of
	// descriptors or memory, so that the loop does not spin.
	acceptRetry = 50 * time.Millisecond
	// socketBuffer is asked for as receive buffer of a udp socket: a second of
	// 200 calls with their messages. The kernel gives what net.core.rmem_max
	// allows.
	socketBuffer = 1 << 20
)

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount}

// Layer is the transport of one side. Its methods may be called from any
// goroutine, Receive and Lost included, but for Close.
type Layer struct {
	cfg    Config
	parser *sip.Parser
	seed   maphash.Seed
	start  time.Time // what times of last use count from
	notes  notes

	sockets   []*socket
	acceptors []*acceptor
	bound     []Listener // those of Config.Listen, with the ports that were bound

	ctx        context.Context // ends handshakes and attempts to connect
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	lastID     atomic.Uint64
	keepalives atomic.Uint64

	mu sync.Mutex // guards the following
	pool
	flights map[flightKey]*flight
	closing bool
}

// Open binds every listener of cfg. Serve starts them, Close releases them. An
// error names the listener that could not be bound.
func Open(cfg Config) (*Layer, error) {
	d := DefaultLimits()
	cfg.Limits = Limits{
		Connections: cmp.Or(cfg.Limits.Connections, d.Connections), Unproven: cmp.Or(cfg.Limits.Unproven, d.Unproven),
		ProveWithin: cmp.Or(cfg.Limits.ProveWithin, d.ProveWithin), MessageSize: cmp.Or(cfg.Limits.MessageSize, d.MessageSize),
		Headers: cmp.Or(cfg.Limits.Headers, d.Headers), Idle: cmp.Or(cfg.Limits.Idle, d.Idle),
	}
	if cfg.Allow == nil {
		cfg.Allow = func(netip.Addr) bool { return true }
	}
	if cfg.Lost == nil {
		cfg.Lost = func(Flow, error) {}
	}
	parser := sip.NewParser()
	parser.MaxMessageLength = cfg.Limits.MessageSize
	l := &Layer{
		cfg: cfg, parser: parser, seed: maphash.MakeSeed(), start: time.Now(),
		pool: newPool(), flights: map[flightKey]*flight{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for _, listener := range cfg.Listen {
		if err := l.listen(listener); err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s://%s for the %s side: %w", listener.Network, listener.Addr, cfg.Side, err), l.Close())
		}
	}
	return l, nil
}

func (l *Layer) listen(listener Listener) error {
	// An unspecified address means its own family alone: two listeners of one
	// port do not get in each other's way, and no address is IPv4-mapped.
	family := "4"
	if listener.Addr.Addr().Is6() {
		family = "6"
	}
	switch listener.Network {
	case "udp":
		pc, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(listener.Addr))
		if err != nil {
			return err
		}
		_ = pc.SetReadBuffer(socketBuffer) // what the kernel has by default does too
		s := &socket{layer: l, pc: pc, addr: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
		l.sockets, l.bound = append(l.sockets, s), append(l.bound, Listener{"udp", s.addr})
	case "tcp", "tls":
		if listener.Network == "tls" && l.cfg.ServerTLS == nil {
			return errors.New("no certificate")
		}
		config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: boundUnacknowledged}
		inner, err := config.Listen(l.ctx, "tcp"+family, listener.Addr.String())
		if err != nil {
			return err
		}
		a := &acceptor{layer: l, network: listener.Network, inner: inner, addr: inner.Addr().(*net.TCPAddr).AddrPort()}
		l.acceptors, l.bound = append(l.acceptors, a), append(l.bound, Listener{a.network, a.addr})
	default:
		return fmt.Errorf("unknown network %q", listener.Network)
	}
	return nil
}

// Serve starts reading from the listeners and returns at once. It is called
// once.
func (l *Layer) Serve() {
	for _, s := range l.sockets {
		l.run(s.serve)
	}
	for _, a := range l.acceptors {
		l.run(a.serve)
	}
}

// run starts a goroutine that Close waits for; false after Close.
func (l *Layer) run(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.wg.Go(f)
	return true
}

// Close stops the listeners, gives what waits to be sent flushTimeout, ends
// every connection (Lost is told) and returns when no goroutine of the Layer
// is left. The caller must hold no lock that Receive or Lost need.
func (l *Layer) Close() error {
	l.mu.Lock()
	l.closing = true
	open := slices.Concat(l.pool.all(), l.pool.unproven)
	l.mu.Unlock()
	l.cancel()
	var errs []error
	for _, a := range l.acceptors {
		errs = append(errs, unlessClosed(a.inner.Close()))
	}
	for _, s := range l.sockets {
		errs = append(errs, unlessClosed(s.pc.Close()))
	}
	for _, c := range open {
		c.end(ErrClosed, endFlushed)
	}
	l.wg.Wait()
	return errors.Join(errs...)
}

func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Send sends one message on a flow while it is open; it never dials. ErrGone
// when the connection has ended. On tcp and tls it returns before the message
// is on the wire: a peer that does not read loses the connection, and
// Config.Lost says so. b may be reused when Send returns.
func (l *Layer) Send(f Flow, b []byte) error {
	if f.Network == "udp" {
		for _, s := range l.sockets {
			if s.addr == f.Local {
				return s.send(f.Remote, b)
			}
		}
		return ErrGone
	}
	if c := l.connection(f); c != nil {
		return c.send(b)
	}
	return ErrGone
}

// connection is that of a flow, nil when it has ended.
func (l *Layer) connection(f Flow) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.byID[f.ID]
}

// Live says whether a message can still be sent on the flow.
func (l *Layer) Live(f Flow) bool {
	if f.Network == "udp" {
		return l.ctx.Err() == nil && slices.ContainsFunc(l.sockets, func(s *socket) bool { return s.addr == f.Local })
	}
	return l.connection(f) != nil
}

// Prove says that a valid request came on the flow: Limits.Unproven and
// ProveWithin do not count for it any more.
func (l *Layer) Prove(f Flow) {
	if f.ID == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.pool.byID[f.ID]; c != nil && !c.proven.Swap(true) {
		l.pool.settled(c)
	}
}

// End closes the flow's connection for a reason of the caller's, which Lost
// gets to hear: a peer that answers nothing on it may be a dead one. It does
// not wait.
func (l *Layer) End(f Flow, reason error) {
	if c := l.connection(f); c != nil {
		c.end(reason, endFlushed)
	}
}

// Local is the listener whose address stands in Via and Contact toward peers
// on network, with the port that was bound; the first listener when none has
// that network.
func (l *Layer) Local(network string) Listener {
	for _, b := range l.bound {
		if b.Network == network {
			return b
		}
	}
	if len(l.bound) == 0 {
		return Listener{}
	}
	return l.bound[0]
}

// Listeners are all, with the ports that were bound. The caller does not change
// them.
func (l *Layer) Listeners() []Listener { return l.bound }

// Stats are the connections of a Layer now, and what it counted so far.
type Stats struct {
	Connections int            // open, whoever made them
	Unproven    int            // made by peers and without a valid request; TLS handshakes too
	Networks    map[string]int // Connections by network, "tcp" and "tls"
	Keepalives  uint64         // CRLF pings and empty datagrams so far (RFC 5626 3.5.1)
}

// Stats reads the numbers of the moment.
func (l *Layer) Stats() Stats {
	s := Stats{Networks: map[string]int{}, Keepalives: l.keepalives.Load()}
	for _, a := range l.acceptors {
		s.Networks[a.network] = 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Connections, s.Unproven = len(l.pool.byID), len(l.pool.unproven)
	for _, c := range l.pool.byID {
		s.Networks[c.flow.Network]++
	}
	return s
}

// hand passes a message up. A panic costs that message.
func (l *Layer) hand(msg sip.Message, f Flow) {
	defer l.survive(f)
	l.cfg.Receive(msg, f)
}

func (l *Layer) survive(f Flow) {
	if p := recover(); p != nil {
		l.cfg.Drops.Add(DropPanic)
		l.cfg.Log.Error("panic while receiving", "side", l.cfg.Side, "network", f.Network, "remote", f.Remote.String(),
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// take makes a message of b and passes it up, or answers what cannot be one.
// headLen is how much of b its head takes.
func (l *Layer) take(b []byte, headLen int, f Flow) {
	msg, err := l.parseSafely(b, f)
	switch {
	case err != nil:
		l.refuse(DropMalformed, b[:headLen], 400, f, err)
	case len(fieldsOf(msg)) > l.cfg.Limits.Headers: // several to a line
		l.refuse(DropHeaderCount, b[:headLen], 513, f, fmt.Errorf("%d header fields", len(fieldsOf(msg))))
	default:
		l.hand(msg, f)
	}
}

func fieldsOf(msg sip.Message) []sip.Header {
	switch msg := msg.(type) {
	case *sip.Request:
		return msg.Headers()
	case *sip.Response:
		return msg.Headers()
	}
	return nil
}

// parseSafely is parse for a parser that is not ours.
func (l *Layer) parseSafely(b []byte, f Flow) (msg sip.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.cfg.Drops.Add(DropPanic)
			err = fmt.Errorf("the parser panicked: %v", p)
		}
	}()
	return l.parse(b, f)
}

// refuse counts a message that goes no further, and answers it where that can
// be done.
func (l *Layer) refuse(reason Drop, head []byte, code int, f Flow, err error) {
	l.note(reason, f.Network, f.Remote, err)
	if code == 0 {
		return
	}
	if response, to, ok := l.answer(head, code, f); ok {
		_ = l.Send(to, response) // a sender that is gone needs none
	}
}

// notes keeps the log quiet: strangers can cause each of its lines as often as
// they like.
type notes struct {
	mu   sync.Mutex
	last [dropCount]time.Time
}

// noteInterval is how often one reason is logged above debug level.
const noteInterval = 10 * time.Second

// note counts a drop and logs it: what points at a configuration as a warning,
// at most once per noteInterval, everything at debug level.
func (l *Layer) note(reason Drop, network string, remote netip.AddrPort, err error) {
	level := slog.LevelDebug
	if reason.operators() {
		now := time.Now()
		l.notes.mu.Lock()
		if now.Sub(l.notes.last[reason]) >= noteInterval {
			l.notes.last[reason], level = now, slog.LevelWarn
		}
		l.notes.mu.Unlock()
	}
	l.cfg.Log.Log(context.Background(), level, "dropped", "side", l.cfg.Side, "reason", reason.String(),
		"network", network, "remote", remote.String(), "err", err)
	l.cfg.Drops.Add(reason) // last: whoever sees the count finds the line
}

// operators says whether an operator should see that it happened: it points at
// a configuration, theirs or the peer's.
func (d Drop) operators() bool {
	switch d {
	case DropPeerNotAllowed, DropTLSHandshake, DropConnections, DropUnproven, DropWriteTimeout, DropCertificateName, DropCertificateRevoked, DropCertificateExpired,
		DropCertificateChain, DropCertificateMissing, DropCertificateRevocation:
		return true
	default:
		return false
	}
}
