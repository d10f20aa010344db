// Package ua is a telephone for tests, demonstrations and load: a SIP user agent with G.711 over RTP or SRTP that
// calls, answers, and measures what it hears.
//
// It shares no code with the server it is pointed at but the G.711 tables, so that what both get wrong together stays
// visible: its dialogs are its own on sipgo's transactions, its SRTP is pion's (or any other's, see NewProtection),
// its sockets are the standard library's.
//
// A UA has one listener, and one goroutine that paces the audio of all its calls. A call adds three: two that read its
// sockets and one that ends it. Run returns when all of them have.
package ua

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"causeway/bench/tone"
)

// Default media ports. They stay clear of those that the servers under test take for themselves.
const (
	FirstPort = 20000
	LastPort  = 29999
)

// Config says what an endpoint is. Only Listen is needed.
type Config struct {
	// Name is the user part of its Contact, of From where a call names none, and its User-Agent.
	Name string
	// Listen is where it receives SIP, "udp://", "tcp://" or "tls://" with an IP address and port; port 0 takes one
	// that is free. Calls it places leave from the same address by the same transport.
	Listen string
	// TLS serves and verifies; both its certificates and its roots are used. It is needed for tls://.
	TLS *tls.Config

	MediaAddr  netip.Addr // default: the address in Listen
	MediaPorts [2]uint16  // first and last; default FirstPort to LastPort
	Relay      *Relay     // what its media goes through; nil: nothing
	// SRTP is the crypto suite that it requires in SDES, such as AES80. Empty: plain RTP, and nothing else.
	SRTP string
	// Protection makes the SRTP of a call. Default: pion/srtp v3.
	Protection NewProtection
	// Codecs are the audio formats it knows, in order of preference. Default: PCMU, PCMA. A caller offers them all, a
	// callee answers with its first one that is offered.
	Codecs []string
	// Audio makes the source of each call. Default: a different voice for each.
	Audio func() tone.Source
	// Record is how much received audio is kept of each call, from its beginning. Default 10 s; negative keeps none.
	Record time.Duration
	// ReportEvery is the mean interval of RTCP sender reports. Default 5 s (RFC 3550 section 6.2).
	ReportEvery time.Duration
	// Delays, when given to both ends of a call, measures its one-way delay. Nil: unknown.
	Delays *Delays

	// OnInvite decides how an incoming call is answered. It runs on a goroutine of that call, for several calls at
	// once. Nil answers at once.
	OnInvite func(*Call) Reply
	// Unchanging refuses every re-INVITE with 488, as gateways do that know no hold.
	Unchanging bool
	// ReuseConnection has a callee send its requests back on the connection of the INVITE, as phones behind a NAT do.
	// Otherwise they go where the Contact says (RFC 3261 section 12.2.1.1).
	ReuseConnection bool
	// Log receives what the SIP stack has to say. Nil is silent.
	Log *slog.Logger
}

// UA is an endpoint. Its methods may be called from any goroutine.
type UA struct {
	config  Config
	log     *slog.Logger
	network string
	addr    netip.AddrPort

	listener net.Listener   // tcp, tls
	packets  net.PacketConn // udp
	stack    *sipgo.UserAgent
	client   *sipgo.Client
	server   *sipgo.Server
	pacer    *pacer
	ports    *portPicker
	voices   atomic.Uint64

	started  chan struct{}
	stopping context.Context // ends when Run is asked to
	stop     context.CancelFunc
	active   sync.WaitGroup // calls; grows only under mu while not closed

	mu     sync.Mutex // guards the following
	closed bool
	calls  map[string]*Call // by dialogKey
}

// New checks the configuration and binds the listener, so that Addr is known. Run must follow, if only to release it.
func New(config Config) (*UA, error) {
	u := &UA{
		config: config, log: config.Log, pacer: newPacer(), started: make(chan struct{}), calls: map[string]*Call{},
	}
	u.stopping, u.stop = context.WithCancel(context.Background())
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	listen, err := u.defaults()
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", config.Name, err)
	}
	if err := u.bind(listen); err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", config.Name, err)
	}
	if err := u.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("endpoint %s: %w", config.Name, err), u.unbind())
	}
	return u, nil
}

// defaults completes and checks the configuration and returns the address to listen on.
func (u *UA) defaults() (netip.AddrPort, error) {
	c := &u.config
	listen, err := url.Parse(c.Listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen: %w", err)
	}
	u.network = listen.Scheme
	if !slices.Contains([]string{"udp", "tcp", "tls"}, u.network) {
		return netip.AddrPort{}, fmt.Errorf("listen: %q is not udp, tcp or tls", u.network)
	}
	addr, err := netip.ParseAddrPort(listen.Host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen: %w", err)
	}
	if u.network == "tls" && c.TLS == nil {
		return netip.AddrPort{}, errors.New("listen: tls needs a TLS configuration")
	}
	if c.SRTP != "" && keyLen(c.SRTP) == 0 {
		return netip.AddrPort{}, fmt.Errorf("crypto suite %q is not known", c.SRTP)
	}
	if c.Protection == nil {
		c.Protection = newProtection
	}
	if len(c.Codecs) == 0 {
		c.Codecs = []string{PCMU, PCMA}
	}
	for _, name := range c.Codecs {
		if name != PCMU && name != PCMA {
			return netip.AddrPort{}, fmt.Errorf("codec %q is not known", name)
		}
	}
	if c.Name == "" {
		c.Name = "ua"
	}
	if !c.MediaAddr.IsValid() {
		c.MediaAddr = addr.Addr()
	}
	if c.MediaPorts == [2]uint16{} {
		c.MediaPorts = [2]uint16{FirstPort, LastPort}
	}
	if c.Audio == nil {
		c.Audio = func() tone.Source { return tone.Speech(u.voices.Add(1)) }
	}
	if c.Record == 0 {
		c.Record = 10 * time.Second
	}
	if c.ReportEvery == 0 {
		c.ReportEvery = 5 * time.Second
	}
	if c.OnInvite == nil {
		c.OnInvite = func(*Call) Reply { return Reply{} }
	}
	u.ports = &portPicker{first: c.MediaPorts[0], last: c.MediaPorts[1]}
	return addr, nil
}

func (u *UA) bind(addr netip.AddrPort) error {
	if u.network == "udp" {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return err
		}
		u.packets, u.addr = conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
		return nil
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	u.listener, u.addr = listener, listener.Addr().(*net.TCPAddr).AddrPort()
	if u.network == "tls" {
		u.listener = tls.NewListener(listener, u.config.TLS)
	}
	return nil
}

func (u *UA) unbind() error {
	if u.packets != nil {
		return u.packets.Close()
	}
	return u.listener.Close()
}

// quiet keeps what sipgo says of its own connections, by a logger of the whole process, off standard error.
var quiet = sync.OnceFunc(func() { sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) })

func (u *UA) build() (err error) {
	quiet()
	u.stack, err = sipgo.NewUA(
		sipgo.WithUserAgent(u.config.Name), sipgo.WithUserAgentHostname(u.addr.Addr().String()),
		sipgo.WithUserAgenTLSConfig(u.config.TLS),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(u.log)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(u.log),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})), // late copies
	)
	if err != nil {
		return err
	}
	u.client, err = sipgo.NewClient(u.stack, sipgo.WithClientLogger(u.log), sipgo.WithClientNAT(),
		sipgo.WithClientHostname(u.addr.Addr().String()), sipgo.WithClientPort(int(u.addr.Port())))
	if err != nil {
		return err
	}
	u.server, err = sipgo.NewServer(u.stack, sipgo.WithServerLogger(u.log))
	if err != nil {
		return err
	}
	if u.packets != nil {
		// Serving puts the socket in the pool too, but a call may be placed before that goroutine has run.
		conn := &sip.UDPConnection{PacketConn: u.packets, PacketAddr: u.addr.String(), Listener: true}
		u.stack.TransportLayer().Pool("udp").Add(conn.PacketAddr, conn)
	}
	u.server.OnInvite(u.checked(u.onInvite))
	u.server.OnAck(u.checked(u.onAck))
	u.server.OnBye(u.checked(u.onBye))
	u.server.OnCancel(u.checked(u.onStrayCancel))
	u.server.OnOptions(u.checked(u.onOptions))
	u.server.OnNoRoute(u.checked(u.onOther))
	return nil
}

// Run serves until ctx ends, then hangs up every call, and returns when nothing of the endpoint runs any more. It
// fails when the listener does. It may be called once.
func (u *UA) Run(ctx context.Context) error {
	pacing, stopPacing := context.WithCancel(context.Background())
	defer stopPacing()
	var running sync.WaitGroup
	running.Go(func() { u.pacer.run(pacing) })
	failed := make(chan error, 1)
	running.Go(func() { failed <- u.serve() })
	close(u.started)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("endpoint %s: %w", u.config.Name, err)
	}
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.stop()
	u.active.Wait()
	stopPacing()
	u.close()
	running.Wait()
	return err
}

// settle is how long a message that has been read may take through the SIP stack.
const settle = 50 * time.Millisecond

// close releases the SIP stack. sipgo (v1.7.2) does not know that it is closed: a request that is still on its way up,
// such as the ACK to our last refusal, finds no connection and opens a new one. So there is time for it before, and a
// second sweep behind. What the stack has to report are connections that peers closed first; nobody waits for that.
func (u *UA) close() {
	time.Sleep(settle)
	_ = u.unbind()
	_ = u.stack.Close()
	time.Sleep(settle)
	_ = u.stack.Close()
}

func (u *UA) serve() error {
	switch u.network {
	case "udp":
		return u.server.ServeUDP(u.packets)
	case "tcp":
		return u.server.ServeTCP(u.listener)
	}
	return u.server.ServeTLS(u.listener)
}

// Addr is the address it listens on.
func (u *UA) Addr() netip.AddrPort { return u.addr }

// URI is the SIP URI at which it is reached directly, with the given user part.
func (u *UA) URI(user string) string {
	uri := u.uri(user)
	return uri.String()
}

func (u *UA) uri(user string) sip.Uri {
	return sip.Uri{
		Scheme: "sip", User: user, Host: u.addr.Addr().String(), Port: int(u.addr.Port()),
		UriParams: sip.HeaderParams{{K: "transport", V: u.network}},
	}
}

// PacingLate is by how much a frame has been late at most, over all calls: what of the jitter and delay measured
// elsewhere is this endpoint's own.
func (u *UA) PacingLate() time.Duration { return time.Duration(u.pacer.late.Load()) }

// enter counts a call that begins. It fails once the endpoint is closing; forget must follow when it does not.
func (u *UA) enter(c *Call) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errClosed
	}
	u.calls[c.dialog.key()] = c
	u.active.Add(1)
	return nil
}

// forget takes a call out of the table. Who entered it says active.Done when nothing of it runs any more.
func (u *UA) forget(c *Call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.calls, c.dialog.key())
}

func (u *UA) find(key string) *Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[key]
}

var errClosed = errors.New("the endpoint is closed")

// transportParam is how Contact and Via name the transport.
func (u *UA) transportParam() string { return strings.ToUpper(u.network) }
