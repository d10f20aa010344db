package sip

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transport"
)

// Listener is one address that an Endpoint serves.
type Listener = transport.Listener

// Allow says whether an address may speak to this side at all.
type Allow func(netip.Addr) bool

// Config is what one side needs to signal.
type Config struct {
	Side      string // "pool" or "gateway": for logs
	Listen    []Listener
	ServerTLS *tls.Config // for tls listeners; see transport.Identity
	ClientTLS *tls.Config // for connections that we make
	Allow     Allow       // who may speak to this side, and be spoken to
	// AllowPeer decides about connections to tls listeners by certificate; nil
	// leaves it to Allow. See transport.Config.
	AllowPeer func(netip.Addr, *x509.Certificate) error
	Limits    transport.Limits
	Hop       Hop          // where this side's calls go, as it stands in URIs
	Peer      *locate.Peer // the addresses behind Hop; nil: Hop.Host is an address
	// Credentials answer the peer's challenges; nil: they are failures.
	Credentials *Credentials
	// Register keeps a binding at the peer's registrar; nil: none.
	Register *RegistrationConfig
	// Known are further hosts that may speak, by Allow: they are looked up again
	// and again while the Endpoint serves.
	Known map[string]*locate.Peer // by name, in lower case
	Timer SessionTimer
	// Reliable offers reliable provisional responses (RFC 3262); a peer that
	// requires them gets them in any case.
	Reliable  bool
	UserAgent string
	Log       *slog.Logger

	// Admit is asked before anything is kept of an INVITE outside a dialog; nil
	// lets it in, a Failure is sent and told to Refused. It must return soon.
	Admit func() *Failure
	// Invite is called for every valid INVITE outside a dialog, on the goroutine
	// of its connection; it must return soon and not block. It takes the session
	// over: it answers it, and receives its events.
	Invite func(*Session)
	// Refused is told of an INVITE outside a dialog that was answered with a
	// failure before it became a session, so that every attempt has its
	// record. It must return soon. Nil: nobody wants to know.
	Refused func(Attempt, *Failure)
	// Carry is what of a message may be shown to the other side: Event.Carried.
	Carry func(Message) []Header
	// Phrase is a response's reason phrase as it may be shown to the other side.
	Phrase func(*Response) string
}

// Message is a request or response as it was received.
type (
	Message  = sip.Message
	Response = sip.Response
)

// Attempt is an INVITE that never became a session.
type Attempt struct {
	Parties Parties
	CallID  string
}

// Endpoint is the user agent of one side. It owns its sockets and every
// goroutine started for it.
type Endpoint struct {
	cfg     Config
	tp      *transport.Layer
	env     environment
	drops   Drops
	auth    *authorizer   // nil: challenges are failures
	binding *Registration // nil: none is kept
	secret  [32]byte      // makes the tags of responses that nothing is kept of
	work    crew          // goroutines of sessions and requests under way
	ctx     context.Context
	cancel  context.CancelFunc

	upkeep     sync.WaitGroup // heartbeat and registration
	stopUpkeep context.CancelFunc

	mu       sync.Mutex // guards the following
	sessions map[string]*Session
	invites  map[string]*Session // INVITEs received and unanswered, by mergeKey
	clients  map[string]responder
	servers  map[string]*Session
	used     map[transport.Flow]struct{} // connections that a session or exchange had to do with
	refusals recent                      // keys of INVITEs refused without a trace, over udp
}

// responder is what has client transactions: a Session or an exchange.
type responder interface {
	receiveResponse(key string, res *sip.Response, flow transport.Flow)
	receiveRefuse(key string) // a final response that cannot be read
}

// maxDatagram is how long a request over UDP may be (RFC 3261 18.1.1).
const maxDatagram = 1300

// errTooLong: a request does not fit a datagram and its peer has no TCP.
var errTooLong = errors.New("too long for UDP (RFC 3261 18.1.1) and the peer takes no TCP connection; use tcp toward it")

// Open binds every listener of cfg. Serve starts them; Close releases them.
// An error names the listener that could not be bound.
func Open(cfg Config) (*Endpoint, error) {
	e := &Endpoint{
		cfg: cfg, sessions: map[string]*Session{}, invites: map[string]*Session{},
		clients: map[string]responder{}, servers: map[string]*Session{}, used: map[transport.Flow]struct{}{},
	}
	if _, err := rand.Read(e.secret[:]); err != nil {
		return nil, err
	}
	if cfg.Credentials != nil {
		e.auth = newAuthorizer(*cfg.Credentials, cfg.Allow)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.work.panicked = e.panicked
	tp, err := transport.Open(transport.Config{
		Side: cfg.Side, Listen: cfg.Listen, ServerTLS: cfg.ServerTLS, ClientTLS: cfg.ClientTLS,
		Allow: cfg.Allow, AllowPeer: cfg.AllowPeer, Limits: cfg.Limits,
		Receive: e.arrive, Lost: e.lost, Log: cfg.Log, Drops: &e.drops,
	})
	if err != nil {
		return nil, fmt.Errorf("%s side: %w", cfg.Side, err)
	}
	e.tp = tp
	if cfg.Register != nil {
		if e.binding, err = e.NewRegistration(*cfg.Register, cfg.Hop.Network); err != nil {
			return nil, errors.Join(fmt.Errorf("%s side: %w", cfg.Side, err), tp.Close())
		}
	}
	e.env = environment{
		contact: e.contact, via: e.via, targets: e.targets, report: e.report, carry: cfg.Carry, phrase: cfg.Phrase,
		random: mathrand.Int64N, userAgent: cfg.UserAgent, host: e.Host(), drops: &e.drops,
		timer: cfg.Timer, reliable: cfg.Reliable,
	}
	return e, nil
}

// Serve starts reading from the listeners, the heartbeat and the registration.
// It is called once, and returns at once; requests can be sent from then on.
func (e *Endpoint) Serve() {
	e.tp.Serve()
	ctx, stop := context.WithCancel(context.Background())
	e.stopUpkeep = stop
	if e.cfg.Peer != nil {
		local := e.contact(e.cfg.Hop.Network, e.toward()).Address
		remote := sip.Uri{Scheme: "sip", Host: e.cfg.Hop.Host, Port: e.cfg.Hop.Port}
		e.upkeep.Go(func() { e.cfg.Peer.Run(ctx, probe(e, local, remote)) })
	}
	for _, known := range e.cfg.Known {
		e.upkeep.Go(func() { known.Run(ctx, nil) })
	}
	if e.binding != nil {
		e.upkeep.Go(func() { RunRegistration(ctx, e, e.binding) })
	}
}

// Close stops the listeners, ends transactions under way, closes connections
// and waits for every goroutine the Endpoint started. Calls should have been
// ended before.
func (e *Endpoint) Close() error {
	if e.stopUpkeep != nil {
		e.stopUpkeep()
		e.upkeep.Wait()
	}
	e.work.stop()
	e.cancel()
	e.work.wait(context.Background())
	err := e.tp.Close()
	for _, s := range e.snapshot() {
		s.cutOff()
	}
	return err
}

// Drain waits until no session is left, or ctx ends. Calls must have been
// ended; the answers to their BYEs and CANCELs are what it waits for.
func (e *Endpoint) Drain(ctx context.Context) {
	for e.Sessions() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPoll):
		}
	}
}

// drainPoll is how often Drain looks.
const drainPoll = 20 * time.Millisecond

// Registration is the binding that the Endpoint keeps; nil when it keeps none.
func (e *Endpoint) Registration() *Registration { return e.binding }

// Drops are the counters of what arrived and was not served.
func (e *Endpoint) Drops() *Drops { return &e.drops }

// Connections are the numbers of the transport.
func (e *Endpoint) Connections() transport.Stats { return e.tp.Stats() }

// Sessions is the number of sessions under way, confirmed or not.
func (e *Endpoint) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

func (e *Endpoint) snapshot() []*Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := map[*Session]bool{}
	var out []*Session
	add := func(s *Session) {
		if s != nil && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, s := range e.sessions {
		add(s)
	}
	for _, s := range e.servers {
		add(s)
	}
	for _, r := range e.clients {
		if s, ok := r.(*Session); ok {
			add(s)
		}
	}
	return out
}

// panicked counts and logs a panic that was contained.
func (e *Endpoint) panicked(p any, stack []byte) {
	e.drops.Add(DropPanic)
	e.cfg.Log.Error("panic in a session", "side", e.cfg.Side, "panic", fmt.Sprint(p), "stack", string(stack))
}

// open makes a session of a usage.
func (e *Endpoint) open(d *dialog, post func(Event) bool) *Session {
	s := &Session{ep: e, key: d.key(), callID: d.callID, owner: post}
	env := e.env
	env.index = tables{e, s}
	s.u = &usage{env: &env, d: d}
	s.u.refresh.u = s.u
	s.u.auth = e.auth
	return s
}

// tables is the index of one session's transactions.
type tables struct {
	e *Endpoint
	s *Session
}

func (t tables) addClient(key string) {
	t.e.mu.Lock()
	t.e.clients[key] = t.s
	t.e.mu.Unlock()
}

func (t tables) dropClient(key string) {
	t.e.mu.Lock()
	delete(t.e.clients, key)
	t.e.mu.Unlock()
}

func (t tables) addServer(key string) {
	t.e.mu.Lock()
	t.e.servers[key] = t.s
	t.e.mu.Unlock()
}

func (t tables) dropServer(key string) {
	t.e.mu.Lock()
	delete(t.e.servers, key)
	t.e.mu.Unlock()
}

// ended takes a session out of the tables by which dialogs are found, when
// nothing but stragglers can come; forget takes the rest.
func (e *Endpoint) ended(s *Session) {
	if s.u.waits() {
		return // a BYE of the peer's that crosses ours is still answered
	}
	e.mu.Lock()
	delete(e.sessions, s.key)
	e.mu.Unlock()
}

// forget takes a session out of all tables. Until then its INVITE counts as
// ongoing for copies that came by other paths (RFC 3261 8.2.2.2).
func (e *Endpoint) forget(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s.key)
	if s.u.answers && s.u.invite != nil {
		if key := mergeKeyOf(s.u.invite); e.invites[key] == s {
			delete(e.invites, key)
		}
	}
}

// Invite starts a call: it sends req, an INVITE made by NewInvite, to the best
// of the peer's addresses, and to the next when that fails (RFC 3263 4.3). What
// becomes of it goes to post. It returns before anything is answered; an
// address that cannot be reached shows as Failed.
func (e *Endpoint) Invite(req *sip.Request, sdp []byte, post func(Event) bool) *Session {
	req.AppendHeader(sip.NewHeader("Allow", allowValue))
	supported := e.env.supported()
	if sdp == nil {
		// An offer in a reliable response would want its answer in the PRACK (RFC
		// 3262 5), before the owner can know of it.
		supported = "timer"
	}
	req.AppendHeader(sip.NewHeader("Supported", supported))
	setSDP(req, sdp)
	s := e.open(newClientDialog(req), post)
	e.mu.Lock()
	e.sessions[s.key] = s
	e.mu.Unlock()
	s.step(func(u *usage) { u.call(u.now, req, sdp) })
	return s
}

// NewInvite is the INVITE of a fresh dialog: a new Call-ID, our own From tag.
// The URIs are cloned; from and to keep their display names. hops is its
// Max-Forwards: what the INVITE it continues had left, so that two servers
// that send a call to each other stop (RFC 3261 16.3).
func (e *Endpoint) NewInvite(target sip.Uri, from sip.FromHeader, to sip.ToHeader, hops uint32, extra ...Header) *sip.Request {
	req := sip.NewRequest(sip.INVITE, target)
	from.Params = sip.NewParams()
	from.Params.Add("tag", newTag())
	to.Params = nil
	maxForwards := sip.MaxForwardsHeader(hops)
	callID := sip.CallIDHeader(newTag() + "@" + e.Host())
	for _, h := range []sip.Header{
		&maxForwards, cloneFrom(&from), cloneTo(&to), &callID, &sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE},
	} {
		req.AppendHeader(h)
	}
	appendHeaders(req, extra)
	return req
}

// newTag is 96 random bits, more than the 32 that RFC 3261 19.3 asks for.
func newTag() string { return sip.GenerateTagN(16) }
