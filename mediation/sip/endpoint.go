package sip

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Listener is one address that an Endpoint serves.
type Listener struct {
	Network string // "udp", "tcp" or "tls"
	Addr    netip.AddrPort
}

// Config is what one side needs to signal.
type Config struct {
	Side      string // "pool" or "gateway": for logs
	Listen    []Listener
	ServerTLS *tls.Config // for tls listeners
	ClientTLS *tls.Config // for connections that we make
	Allow     Allow       // who may speak to this side, and be spoken to
	Hop       Hop         // where this side's calls go
	UserAgent string      // Server and User-Agent header
	Log       *slog.Logger

	// Invite is called for every valid INVITE outside a dialog, on a
	// goroutine of the transport; it must return soon. It takes the session
	// over: it answers it, and receives its events.
	Invite func(*Session)
	// Refused is told of an INVITE outside a dialog that was answered with a
	// failure before it became a session, so that every attempt has its
	// record. It must return soon. Nil: nobody wants to know.
	Refused func(Attempt, *Failure)
}

// Attempt is an INVITE that never became a session.
type Attempt struct {
	Parties Parties
	CallID  string
}

// Endpoint is the user agent of one side.
type Endpoint struct {
	cfg   Config
	tp    *sip.TransportLayer
	tx    *sip.TransactionLayer
	drops Drops

	closers []interface{ Close() error }
	loops   []func()        // the listeners' read loops, started by Serve
	serving sync.WaitGroup  // those loops
	work    crew            // goroutines of sessions and requests under way
	ctx     context.Context // ends connections being made when the Endpoint closes
	cancel  context.CancelFunc

	mu       sync.Mutex // guards the following
	sessions map[string]*Session
	invites  map[string]*Session // INVITEs received and under way, by mergeKey; nil while one is being made
}

// sipgo has two package-wide settings of concern, set before any goroutine can
// read them: its connections' logger (debug lines that name no side), and the
// size above which UDP refuses a message. The limit of RFC 3261 18.1.1 is for
// requests, and checkSize holds it; a response has no other way to go (18.2.2).
func init() {
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	sip.UDPMTUSize = 1 << 16
}

// maxDatagram is how long a request over UDP may be (RFC 3261 18.1.1).
const maxDatagram = 1300

// checkSize refuses a request that is too long for its transport.
func checkSize(req *sip.Request) error {
	if sip.IsReliable(req.Transport()) {
		return nil
	}
	if n := len(req.String()); n > maxDatagram {
		return fmt.Errorf("%s of %d bytes is too long for UDP (at most %d, RFC 3261 18.1.1); use tcp toward this peer", req.Method, n, maxDatagram)
	}
	return nil
}

// Open binds every listener of cfg. Serve starts them; Close releases them.
// An error names the listener that could not be bound.
func Open(cfg Config) (*Endpoint, error) {
	e := &Endpoint{cfg: cfg, sessions: map[string]*Session{}, invites: map[string]*Session{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.work.panicked = func(p any, stack []byte) {
		e.drops.Add(DropPanic)
		cfg.Log.Error("panic in a session", "side", cfg.Side, "panic", fmt.Sprint(p), "stack", string(stack))
	}
	stack := slog.New(stackLog{next: cfg.Log.Handler(), drops: &e.drops})
	e.tp = sip.NewTransportLayer(net.DefaultResolver, sip.NewParser(), cfg.ClientTLS,
		sip.WithTransportLayerLogger(stack))
	e.tp.OnMessage(e.arrive) // before the transactions see it
	e.tx = sip.NewTransactionLayer(e.tp,
		sip.WithTransactionLayerLogger(stack),
		sip.WithTransactionLayerTerminateOnConnClose(),
		sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) { e.drops.Add(DropStrayResponse) }))
	e.tx.OnRequest(e.onRequest)
	for _, l := range cfg.Listen {
		if err := e.listen(l); err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s://%s for the %s side: %w", l.Network, l.Addr, cfg.Side, err), e.Close())
		}
	}
	return e, nil
}

func (e *Endpoint) listen(l Listener) error {
	if l.Network == "udp" {
		pc, err := net.ListenPacket("udp", l.Addr.String())
		if err != nil {
			return err
		}
		g := &guardedPacketConn{PacketConn: pc, allow: e.cfg.Allow, drops: &e.drops}
		e.closers = append(e.closers, pc)
		e.loops = append(e.loops, func() { _ = e.tp.ServeUDP(g) })
		return nil
	}
	inner, err := net.Listen("tcp", l.Addr.String())
	if err != nil {
		return err
	}
	if l.Network == "tls" {
		g := newGuardedListener(inner, e.cfg.Allow, &e.drops, e.cfg.ServerTLS)
		e.closers = append(e.closers, g)
		e.loops = append(e.loops, func() { _ = e.tp.ServeTLS(g) })
		return nil
	}
	g := newGuardedListener(inner, e.cfg.Allow, &e.drops, nil)
	e.closers = append(e.closers, g)
	e.loops = append(e.loops, func() { _ = e.tp.ServeTCP(g) })
	return nil
}

// Serve starts reading from the listeners. It is called once, and returns
// when requests can be sent from them too.
func (e *Endpoint) Serve() {
	for _, loop := range e.loops {
		e.serving.Go(loop)
	}
	for _, l := range e.cfg.Listen {
		if l.Network == "udp" {
			e.waitRegistered(l.Addr.String())
		}
	}
}

// waitRegistered waits until the stack knows a UDP listener, which its read
// loop tells it. Before that a request would be sent from a socket of its
// own, which cannot be bound beside the listener's.
func (e *Endpoint) waitRegistered(addr string) {
	for {
		if c, err := e.tp.GetConnection("udp", addr); err == nil {
			_, _ = c.TryClose()
			return
		}
		runtime.Gosched()
	}
}

// Close stops the listeners, ends transactions under way, closes connections
// and waits for every goroutine the Endpoint started. Calls should have been
// ended before.
func (e *Endpoint) Close() error {
	e.work.stop()
	e.cancel()
	var errs []error
	for _, c := range e.closers {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	// Connections first: a transaction whose peer does not read holds its lock
	// until the write fails.
	if err := e.tp.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	e.tx.Close()
	e.serving.Wait()
	e.work.wait(context.Background())
	// A request that was on its way up when its connection closed makes the
	// stack dial back for the response (RFC 3261 18.2.2): close that too.
	time.Sleep(lateDial)
	if err := e.tp.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Drain waits until nothing is under way any more, or ctx ends. Calls must
// have been ended; their BYEs are what it waits for.
func (e *Endpoint) Drain(ctx context.Context) { e.work.wait(ctx) }

// Drops are the counters of what arrived and was not served.
func (e *Endpoint) Drops() *Drops { return &e.drops }

// Sessions is the number of sessions known, confirmed or not.
func (e *Endpoint) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

func (e *Endpoint) add(s *Session) {
	e.mu.Lock()
	e.sessions[s.key] = s
	e.mu.Unlock()
}

func (e *Endpoint) remove(s *Session) {
	e.mu.Lock()
	delete(e.sessions, s.key)
	if s.mergeKey != "" {
		delete(e.invites, s.mergeKey)
	}
	e.mu.Unlock()
}

func (e *Endpoint) find(callID, localTag string) *Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[dialogKey(callID, localTag)]
}

// spawn runs f on a goroutine that Close waits for; false after Close.
func (e *Endpoint) spawn(f func()) bool { return e.work.run(f) }

// listenerFor is the listener whose address stands in Via and Contact toward
// a peer on network; the first listener when none has that transport.
func (e *Endpoint) listenerFor(network string) Listener {
	for _, l := range e.cfg.Listen {
		if l.Network == network {
			return l
		}
	}
	return e.cfg.Listen[0]
}

// contact is our Contact toward a peer on network.
func (e *Endpoint) contact(network string) *sip.ContactHeader {
	l := e.listenerFor(network)
	uri := sip.Uri{Scheme: "sip", Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port())}
	if l.Network != "udp" {
		uri.UriParams.Add("transport", l.Network)
	}
	return &sip.ContactHeader{Address: uri}
}

// Host is this side's own host as it stands in URIs.
func (e *Endpoint) Host() string { return hostOf(e.cfg.Listen[0].Addr.Addr()) }

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// prepare gives an outgoing request its Via, its way out and its destination
// host:port on network.
func (e *Endpoint) prepare(req *sip.Request, network, destination string) {
	l := e.listenerFor(network)
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(network),
		Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port()),
	}
	via.Params.Add("branch", sip.GenerateBranch())
	via.Params.Add("rport", "") // RFC 3581: answer to where it came from
	req.PrependHeader(via)
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	req.AppendHeader(sip.NewHeader("User-Agent", e.cfg.UserAgent))
	req.SetTransport(strings.ToUpper(network))
	req.SetDestination(destination)
	req.Laddr = sip.Addr{IP: l.Addr.Addr().AsSlice()}
	if network == "udp" {
		req.Laddr.Port = int(l.Addr.Port()) // from the listening socket, so that answers find it
	}
}

// route says where the next in-dialog request goes: over the connection that
// the dialog came on while it is open, else to the route set or remote target
// (RFC 3261 18.1.1 and 12.2.1.1). It keeps the dialog's transport, because
// what a peer writes into Contact must not take the dialog off TLS, and it
// goes to peers of this side alone, because it must not aim us at others.
func (e *Endpoint) route(d *dialog, network, pinned string) string {
	if network != "udp" && pinned != "" {
		if c, err := e.tp.GetConnection(network, pinned); err == nil {
			_, _ = c.TryClose()
			return pinned
		}
	}
	hop := d.nextHop()
	if e.mayReach(hop.Host) {
		return hostPort(hop, network)
	}
	if network == "udp" && pinned != "" {
		return pinned
	}
	// The port that a closed connection came from cannot be dialled.
	return e.cfg.Hop.Destination()
}

// mayReach says whether a host from a peer's message is a peer of this side.
// A name is one only when it is the configured one: what others resolve to is
// in the peer's hands.
func (e *Endpoint) mayReach(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return strings.EqualFold(host, e.cfg.Hop.Host)
	}
	return e.cfg.Allow(addr.Unmap())
}

// request sends a non-INVITE request and calls done with its final response,
// or with an error, on a goroutine that Close waits for. Provisional
// responses are absorbed.
func (e *Endpoint) request(req *sip.Request, done func(*sip.Response, error)) {
	e.spawn(func() {
		if err := checkSize(req); err != nil {
			done(nil, err)
			return
		}
		ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
		tx, err := e.tx.Request(ctx, req)
		cancel()
		if err != nil {
			done(nil, err)
			return
		}
		done(finalResponse(tx))
	})
}

func finalResponse(tx *sip.ClientTx) (*sip.Response, error) {
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, cmp.Or(tx.Err(), sip.ErrTransactionTerminated)
		}
	}
}

// connectTimeout bounds name resolution, TCP and TLS set-up of an outgoing
// request: Timer B, 64*T1 (RFC 3261 17.1.1.2).
const connectTimeout = 32 * time.Second

// lateDial is how long a connection that the stack makes while it is closed
// may take to show.
const lateDial = 50 * time.Millisecond

// newTag is 96 random bits, more than the 32 that RFC 3261 19.3 asks for.
func newTag() string { return sip.GenerateTagN(16) }
