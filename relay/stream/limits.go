package stream

import (
	"cmp"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what the clients of one listener may hold. A zero field means its default. Each bound that is reached is
// counted under the [Reason] or [Drop] that is named with it.
type Limits struct {
	// Clients is how many connections there may be at once, handshakes included, those of DTLS from the moment that the
	// client has shown that it gets what is sent to it; 4096. [TooManyClients].
	Clients int
	// PerPrefix is how many of them may come from one IPv4 /24 or IPv6 /56; 256. [TooManyFromPrefix].
	PerPrefix int
	// Handshakes is how many DTLS handshakes may be under way at once; 256. When there are that many, the oldest one
	// whose client has not shown that it can be reached at its address gives way ([Displaced]), and if all have, the new
	// one is refused ([TooManyHandshakes]).
	Handshakes int

	// FirstByte is the time from the connection to its first byte, and for DTLS to the ClientHello that returns the
	// cookie; 5 s. [NoFirstByte].
	FirstByte time.Duration
	// Handshake is the time from a first byte to the end of the TLS or DTLS handshake; 10 s. [HandshakeTimeout].
	Handshake time.Duration
	// FirstFrame is the time from the first byte, or the end of the handshake, to a first complete frame; 10 s.
	// [NoFirstFrame].
	FirstFrame time.Duration
	// Frame is the time from the first byte of a later frame to its last, however steadily the bytes come; 10 s.
	// [SlowFrame].
	Frame time.Duration
	// Idle is how long a connection without an allocation may go without a complete frame; 60 s. [IdleTimeout].
	Idle time.Duration
	// Write is the time that a client may take to make room for what is sent to it, and the kernel keeps what it has not
	// read when the connection has ended; 10 s. [WriteTimeout].
	Write time.Duration

	// FrameBytes is the longest frame of a connection without an allocation; 2048, which is more than the longest
	// request that STUN's attribute limits allow in practice. With an allocation any frame that its header can describe
	// is taken: 65,552 bytes of STUN, or 65,540 of padded ChannelData. [FrameTooLong].
	FrameBytes int
	// QueueFrames is how many frames of a connection with an allocation wait for the handler before its socket is no
	// longer read; 64. Without an allocation it is 4.
	QueueFrames int
	// QueueBytes is how much may wait to be written to one client; 256 KiB. A quarter of it is kept for control
	// messages. Media beyond it is dropped ([OutboundFull]), and a client that leaves no room for a control message is
	// closed ([SlowReader]).
	QueueBytes int
}

// The defaults, where each field's comment says why.
const (
	defaultClients     = 4096
	defaultPerPrefix   = 256
	defaultHandshakes  = 256
	defaultFirstByte   = 5 * time.Second
	defaultHandshake   = 10 * time.Second
	defaultFirstFrame  = 10 * time.Second
	defaultFrame       = 10 * time.Second
	defaultIdle        = 60 * time.Second
	defaultWrite       = 10 * time.Second
	defaultFrameBytes  = 2048
	defaultQueueFrames = 64
	defaultQueueBytes  = 256 << 10

	// newcomerFrames is how many frames of a connection without an allocation wait for the handler. Its requests are
	// answered one after another anyway.
	newcomerFrames = 4
)

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	l.Clients = cmp.Or(l.Clients, defaultClients)
	l.PerPrefix = cmp.Or(l.PerPrefix, defaultPerPrefix)
	l.Handshakes = cmp.Or(l.Handshakes, defaultHandshakes)
	l.FirstByte = cmp.Or(l.FirstByte, defaultFirstByte)
	l.Handshake = cmp.Or(l.Handshake, defaultHandshake)
	l.FirstFrame = cmp.Or(l.FirstFrame, defaultFirstFrame)
	l.Frame = cmp.Or(l.Frame, defaultFrame)
	l.Idle = cmp.Or(l.Idle, defaultIdle)
	l.Write = cmp.Or(l.Write, defaultWrite)
	l.FrameBytes = cmp.Or(l.FrameBytes, defaultFrameBytes)
	l.QueueFrames = cmp.Or(l.QueueFrames, defaultQueueFrames)
	l.QueueBytes = cmp.Or(l.QueueBytes, defaultQueueBytes)
	return l
}

// Gate counts connections, in all and by source prefix. Several listeners may share one, so that a bound holds for all
// of them together. It is safe for concurrent use and holds at most one entry a connection.
type Gate struct {
	clients, perPrefix int

	mu     sync.Mutex
	open   int
	prefix map[netip.Prefix]int
}

// NewGate returns a gate for so many connections; zero means the default of [Limits].
func NewGate(clients, perPrefix int) *Gate {
	return &Gate{
		clients:   cmp.Or(clients, defaultClients),
		perPrefix: cmp.Or(perPrefix, defaultPerPrefix),
		prefix:    make(map[netip.Prefix]int),
	}
}

// Open returns how many connections there are.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// enter lets a client in or says why not.
func (g *Gate) enter(a netip.Addr) Reason {
	p := sourcePrefix(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open >= g.clients:
		return TooManyClients
	case g.prefix[p] >= g.perPrefix:
		return TooManyFromPrefix
	}
	g.open++
	g.prefix[p]++
	return none
}

// leave undoes enter.
func (g *Gate) leave(a netip.Addr) {
	p := sourcePrefix(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.prefix[p]--; g.prefix[p] == 0 {
		delete(g.prefix, p)
	}
}

// What one customer of an access network is usually given, at most.
const (
	prefixBits4 = 24
	prefixBits6 = 56
)

// sourcePrefix returns the prefix that an address is counted under.
func sourcePrefix(a netip.Addr) netip.Prefix {
	bits := prefixBits6
	if a.Is4() {
		bits = prefixBits4
	}
	p, _ := a.WithZone("").Prefix(bits) // fails for the invalid address alone, which is a prefix of its own then
	return p
}
