package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Flow is the way a message came and the way back to its sender (RFC 5626 1).
// Flows are comparable: messages of one flow came on one connection, or over
// udp from one address to one socket.
type Flow struct {
	Network string         // "udp", "tcp" or "tls"
	Local   netip.AddrPort // our end; for udp the listener's address
	Remote  netip.AddrPort // the peer's end, never IPv4-mapped
	ID      uint64         // of the connection, unique in a Layer; 0 for udp
}

// Listener is one address that a Layer serves.
type Listener struct {
	Network string         // "udp", "tcp" or "tls"
	Addr    netip.AddrPort // port 0: the kernel chooses
}

// Config is what the transport of one side needs. Receive, Log and Drops are
// necessary.
type Config struct {
	Side      string // "pool" or "gateway": for logs
	Listen    []Listener
	ServerTLS *tls.Config // for tls listeners; see Identity
	ClientTLS *tls.Config // for tls connections that we make; see Identity

	// Allow says whether an address may speak at all. It is asked before a
	// byte is parsed, and before one is sent to an address by Dial. Nil:
	// everybody.
	Allow func(netip.Addr) bool
	// AllowPeer says whether a peer that connected over TLS may speak: nil
	// when it may. leaf is its verified certificate, nil when it showed none,
	// which ServerTLS has to permit. With AllowPeer set, Allow is not asked for
	// connections to tls listeners.
	AllowPeer func(addr netip.Addr, leaf *x509.Certificate) error

	Limits Limits // zero fields are those of DefaultLimits

	// Receive gets every message, in order of arrival on its connection, on
	// that connection's (or udp socket's) goroutine. While it runs nothing
	// more is read there, so it must not block for long. The message is the
	// receiver's.
	Receive func(sip.Message, Flow)
	// Lost is told that a connection ended, once for each flow, after its last
	// Receive, on the same goroutine; at Close too. Nil: nobody wants to know.
	Lost func(Flow, error)

	Log   *slog.Logger
	Drops *Drops
}

// Limits bound what peers of one side can make us hold.
type Limits struct {
	// Connections at a time: as many that peers made, and as many that we
	// made, so that neither kind shuts the other out. More are closed.
	Connections int
	// Unproven is how many of those that peers made may be without a valid
	// request (see Layer.Prove), TLS handshakes included. A new one displaces
	// the oldest of the address that has most of them.
	Unproven int
	// ProveWithin is how long a connection may take to send its first valid
	// request, and any message to arrive once it was begun.
	ProveWithin time.Duration
	MessageSize int // bytes of one message, headers and body
	Headers     int // header fields of one message
	// Idle is for how long a connection that carries nothing in either
	// direction stays open.
	Idle time.Duration
}

// DefaultLimits are those of the manual's mediation.limits. Idle is what
// middleboxes on the way are asked for (seed L1: at least 20 minutes).
func DefaultLimits() Limits {
	return Limits{
		Connections: 1000, Unproven: 100, ProveWithin: 30 * time.Second,
		MessageSize: 65535, Headers: 200, Idle: 20 * time.Minute,
	}
}

// Errors of Send and Dial.
var (
	// ErrGone: the flow's connection has ended.
	ErrGone = errors.New("the connection has ended")
	// ErrClosed: the Layer is closed.
	ErrClosed = errors.New("the transport is closed")
	// ErrNotAllowed: Config.Allow refuses the address.
	ErrNotAllowed = errors.New("the address is not a peer of this side")
	// ErrNoListener: there is no udp listener of the address's family.
	ErrNoListener = errors.New("no udp listener of this address family")
	// ErrTooMany: Limits.Connections connections of ours are open.
	ErrTooMany = errors.New("too many connections")
)

// Layer is the transport of one side. Its methods may be called from any
// goroutine, Receive and Lost included, but for Close.
type Layer struct {
	cfg Config
}

// Open binds every listener of cfg. Serve starts them, Close releases them. An
// error names the listener that could not be bound.
func Open(cfg Config) (*Layer, error) { return &Layer{cfg: cfg}, nil }

// Serve starts reading from the listeners and returns at once. It is called
// once.
func (l *Layer) Serve() {}

// Close stops the listeners, gives what waits to be sent flushTimeout, ends
// every connection (Lost is told) and returns when no goroutine of the Layer
// is left. The caller must hold no lock that Receive or Lost need.
func (l *Layer) Close() error { return nil }

// Send sends one message on a flow while it is open; it never dials. ErrGone
// when the connection has ended. On tcp and tls it returns before the message
// is on the wire: a peer that does not read loses the connection, and
// Config.Lost says so. b may be reused when Send returns.
func (l *Layer) Send(f Flow, b []byte) error { return ErrGone }

// Find returns an open connection to an address, on which requests may be
// sent, whoever made it; the newest when there are several. On udp there is
// one as soon as a listener has the address's family.
func (l *Layer) Find(network string, remote netip.AddrPort) (Flow, bool) { return Flow{}, false }

// Dial returns a connection to an address as Find does, or makes one. On tls,
// name is what the peer's certificate must carry and what is asked for by SNI;
// "" means that it carries the address. Callers that want the same connection
// wait for one attempt; ctx ends the waiting of its caller alone.
func (l *Layer) Dial(ctx context.Context, network string, to netip.AddrPort, name string) (Flow, error) {
	return Flow{}, ErrGone
}

// Live says whether a message can still be sent on the flow.
func (l *Layer) Live(f Flow) bool { return false }

// Prove says that a valid request came on the flow: Limits.Unproven and
// ProveWithin do not count for it any more.
func (l *Layer) Prove(f Flow) {}

// End closes the flow's connection for a reason of the caller's, which Lost
// gets to hear: a peer that answers nothing on it may be a dead one. It does
// not wait.
func (l *Layer) End(f Flow, reason error) {}

// Local is the listener whose address stands in Via and Contact toward peers
// on network, with the port that was bound; the first listener when none has
// that network.
func (l *Layer) Local(network string) Listener { return Listener{} }

// Stats are the connections of a Layer now, and what it counted so far.
type Stats struct {
	Connections int            // open, whoever made them
	Unproven    int            // of those, made by peers and without a valid request; handshakes too
	Networks    map[string]int // Connections by network, "tcp" and "tls"
	Keepalives  uint64         // CRLF pings and empty datagrams so far (RFC 5626 3.5.1)
}

// Stats reads the numbers of the moment.
func (l *Layer) Stats() Stats { return Stats{} }

// Reply is the flow on which the response to a received request goes (RFC 3261
// 18.2.2, RFC 3581 4): the one it came on; over udp without rport, the port of
// the sender's Via at the address it came from. maddr is not followed: a
// response goes to where the request came from and to nobody else.
func Reply(req *sip.Request, f Flow) Flow { return f }
