package transport

import (
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
