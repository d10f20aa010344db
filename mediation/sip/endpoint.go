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
	"strings"
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

// targets are the addresses of the next hop, best first.
func (e *Endpoint) targets() []locate.Target {
	if e.cfg.Peer != nil {
		return e.cfg.Peer.Targets()
	}
	addr, err := netip.ParseAddrPort(e.cfg.Hop.Destination())
	if err != nil {
		return nil
	}
	return []locate.Target{{Network: e.cfg.Hop.Network, Addr: addr}}
}

// report tells how a target did.
func (e *Endpoint) report(t locate.Target, f *Failure) {
	if e.cfg.Peer == nil {
		return
	}
	if f == nil {
		e.cfg.Peer.Report(t, nil)
		return
	}
	e.cfg.Peer.Report(t, f)
}

// local is the listener that stands in Via and Contact of what goes by network
// and at: the one that at came in by, else one of its address, else one of its
// family.
func (e *Endpoint) local(network string, at transport.Flow) Listener {
	best, rank := e.tp.Local(network), 0
	for _, l := range e.tp.Listeners() {
		if l.Network != network {
			continue
		}
		r := 0
		switch {
		case l.Addr == at.Local:
			r = 3
		case l.Addr.Addr() == at.Local.Addr():
			r = 2
		case at.Remote.IsValid() && l.Addr.Addr().Is4() == at.Remote.Addr().Is4():
			r = 1
		}
		if r > rank {
			best, rank = l, r
		}
	}
	return best
}

// contact is our Contact toward a peer on network, by the flow at.
func (e *Endpoint) contact(network string, at transport.Flow) *sip.ContactHeader {
	l := e.local(network, at)
	uri := sip.Uri{Scheme: "sip", Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port())}
	if l.Network != "udp" {
		uri.UriParams.Add("transport", l.Network)
	}
	return &sip.ContactHeader{Address: uri}
}

// via is the Via of a request on network, by the flow at, with a fresh branch.
func (e *Endpoint) via(network string, at transport.Flow) *sip.ViaHeader {
	l := e.local(network, at)
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(network),
		Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port()),
	}
	via.Params.Add("branch", sip.GenerateBranch())
	via.Params.Add("rport", "") // RFC 3581: answer to where it came from
	return via
}

// Host is this side's own host as it stands in URIs.
func (e *Endpoint) Host() string { return hostOf(e.cfg.Listen[0].Addr.Addr()) }

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// toward is the beginning of a flow to the next hop.
func (e *Endpoint) toward() transport.Flow {
	for _, t := range e.targets() {
		return transport.Flow{Network: t.Network, Remote: t.Addr}
	}
	return transport.Flow{}
}

// find is the connection on which a request can go at once: the one that its
// dialog uses while that is open (RFC 5626 4.3, sipgo #361), else any to where
// it has to go.
func (e *Endpoint) find(network string, w way) (transport.Flow, bool) {
	if w.flow.Network == network && network != "udp" && e.use(w.flow) {
		return w.flow, true
	}
	to, _, err := e.destination(network, w)
	if err != nil || network == "tls" {
		return transport.Flow{}, false // whose connection may be used for what, Dial knows
	}
	if w.flow.Network == "udp" && network == "udp" {
		// From the socket that the dialog came in by.
		return transport.Flow{Network: network, Local: w.flow.Local, Remote: to}, true
	}
	flow, ok := e.tp.Find(network, to)
	return flow, ok && e.use(flow)
}

// dial is find, and makes the connection when there is none.
func (e *Endpoint) dial(network string, w way) (transport.Flow, error) {
	if flow, ok := e.find(network, w); ok {
		return flow, nil
	}
	to, name, err := e.destination(network, w)
	if err != nil {
		return transport.Flow{}, err
	}
	if network == "udp" {
		name = ""
	}
	ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
	defer cancel()
	flow, err := e.tp.Dial(ctx, network, to, name)
	if err != nil && network == "tcp" && e.datagrams(w) {
		e.cfg.Log.Error("request not sent", "side", e.cfg.Side, "peer", to, "err", errTooLong)
		return flow, fmt.Errorf("%w (%w)", errTooLong, err)
	}
	if err == nil && !e.use(flow) {
		return flow, transport.ErrGone
	}
	return flow, err
}

// datagrams says whether what goes this way goes by udp when it is short.
func (e *Endpoint) datagrams(w way) bool {
	return w.target != nil && w.target.Network == "udp" || w.target == nil && w.flow.Network == "udp" && !w.asksForTCP()
}

// destination is the address a request goes to, and the name its certificate
// has to carry. In a dialog it is the route set or remote target (RFC 3261
// 12.2.1.1) as long as that is a peer of this side: what a peer writes into
// Contact must not aim us at others. A name is a peer's only when it is a
// configured one; what others resolve to is in the peer's hands.
func (e *Endpoint) destination(network string, w way) (netip.AddrPort, string, error) {
	if w.target != nil {
		return w.target.Addr, w.target.Name, nil
	}
	targets := e.targets()
	port := w.hop.Port
	if port <= 0 || port > 65535 {
		port = sip.DefaultPort(network)
	}
	if addr, err := netip.ParseAddr(strings.Trim(w.hop.Host, "[]")); err == nil {
		if addr = addr.Unmap(); e.cfg.Allow == nil || e.cfg.Allow(addr) {
			return netip.AddrPortFrom(addr, uint16(port)), e.nameAt(addr), nil
		}
	} else if addr, ok := e.known(w.hop.Host); ok {
		return netip.AddrPortFrom(addr, uint16(port)), w.hop.Host, nil
	}
	if w.flow.Network == "udp" {
		if network == "udp" {
			return w.flow.Remote, "", nil
		}
		return netip.AddrPortFrom(w.flow.Remote.Addr(), uint16(port)), "", nil
	}
	// The port that a closed connection came from cannot be dialled.
	if len(targets) == 0 {
		return netip.AddrPort{}, "", errors.New("no address of the next hop is known")
	}
	return targets[0].Addr, targets[0].Name, nil
}

// sendResponse sends a response on the flow of its request, or, when that has
// ended, on a connection to the address it came from and the port of its Via
// (RFC 3261 18.2.2).
func (e *Endpoint) sendResponse(flow transport.Flow, res *sip.Response) {
	b := []byte(res.String())
	err := e.tp.Send(flow, b)
	if err == nil || !errors.Is(err, transport.ErrGone) || flow.Network == "udp" || res.StatusCode < 200 {
		return
	}
	via := res.Via()
	if via == nil {
		return
	}
	port := via.Port
	if port <= 0 || port > 65535 {
		port = sip.DefaultPort(flow.Network)
	}
	to := netip.AddrPortFrom(flow.Remote.Addr(), uint16(port))
	name := e.nameAt(to.Addr())
	e.work.run(func() {
		ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
		defer cancel()
		again, err := e.tp.Dial(ctx, flow.Network, to, name)
		if err == nil {
			err = e.tp.Send(again, b)
		}
		if err != nil {
			e.cfg.Log.Debug("response not sent", "side", e.cfg.Side, "code", res.StatusCode, "err", err)
		}
	})
}

// known is the first address of a configured peer by its name, other than the
// next hop, whose own targets serve.
func (e *Endpoint) known(host string) (netip.Addr, bool) {
	peer := e.cfg.Known[strings.ToLower(strings.TrimSuffix(host, "."))]
	if peer == nil {
		return netip.Addr{}, false
	}
	targets := peer.Targets()
	if len(targets) == 0 {
		return netip.Addr{}, false
	}
	return targets[0].Addr.Addr(), true
}

// nameAt is what the certificate of the peer at an address has to carry.
func (e *Endpoint) nameAt(addr netip.Addr) string {
	for _, t := range e.targets() {
		if t.Addr.Addr() == addr {
			return t.Name
		}
	}
	return ""
}

// use notes that somebody has to hear of the end of a connection; false when it
// has ended already.
func (e *Endpoint) use(flow transport.Flow) bool {
	if flow.Network == "udp" {
		return true
	}
	e.mu.Lock()
	_, known := e.used[flow]
	e.used[flow] = struct{}{}
	e.mu.Unlock()
	if e.tp.Live(flow) {
		return true
	}
	if !known { // who noted it before still waits for its end
		e.mu.Lock()
		delete(e.used, flow)
		e.mu.Unlock()
	}
	return false
}

// lost is told by the transport that a connection ended.
func (e *Endpoint) lost(flow transport.Flow, err error) {
	e.cfg.Log.Debug("connection ended", "side", e.cfg.Side, "peer", flow.Remote, "err", err)
	e.mu.Lock()
	_, used := e.used[flow]
	delete(e.used, flow)
	e.mu.Unlock()
	if !used {
		return // whoever opens and closes connections makes no work beyond them
	}
	for _, s := range e.snapshot() {
		s.flowLost(flow)
	}
	e.lostExchanges(flow)
}

// connectTimeout bounds TCP and TLS set-up of an outgoing request: Timer B,
// 64*T1 (RFC 3261 17.1.1.2).
const connectTimeout = 32 * time.Second

// newTag is 96 random bits, more than the 32 that RFC 3261 19.3 asks for.
func newTag() string { return sip.GenerateTagN(16) }
