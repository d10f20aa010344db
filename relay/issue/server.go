// Package issue hands out the credentials of A/V authentication: an HTTPS server with mutual TLS, at which the
// organisation's own servers ask for a name and a password on behalf of their users.
//
//	POST /credentials {"user": "alice", "lifetime_seconds": 3600}
//	200 {"username": "v1...", "password": "...", "expires": "2026-03-01T13:00:00Z", "lifetime_seconds": 3600,
//	     "lifetime_clamped": false, "uris": ["turn:203.0.113.10:3478?transport=udp", ...]}
//
// What is handed out is remembered nowhere: see [auth.Signer]. Who may ask is whoever holds a certificate of the
// configured authority; who asked for whom is logged.
package issue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of the server. A request is a line of JSON from a machine nearby, so that whoever is slow can be cut off
// early.
const (
	headerTimeout  = 5 * time.Second  // from the start of a connection to the end of the first request's header
	requestTimeout = 10 * time.Second // to the end of its body; the TLS handshake counts
	answerTimeout  = 10 * time.Second
	idleTimeout    = time.Minute
	maxHeaderBytes = 8 << 10
	maxBodyBytes   = 4 << 10 // a user's name of 255 bytes, each escaped, takes less than 2 KiB
	maxConnections = 64      // more are closed
	maxFromHost    = 16      // of one address; more are closed
	// stopTimeout bounds how long requests under way may take when the server stops.
	stopTimeout = 5 * time.Second
)

// Options say how a server is reached and what it issues. All but Now are necessary.
type Options struct {
	Listen netip.AddrPort // port 0: the kernel chooses
	// Certificate returns what the server shows of itself. It is called for every handshake, so that the certificate can
	// change while the server runs; it must be safe for concurrent use.
	Certificate func() *tls.Certificate
	// Authority is the PEM file of the authorities whose client certificates are accepted, and no others. A changed file
	// is read anew by the next handshake, at most once a second; one that cannot be used leaves the old authorities.
	Authority string
	Issuer    Issuer
	// URIs are what clients of each side reach the relay at.
	URIs map[Side][]string
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// Server is the HTTPS server. It is a prometheus.Collector; its methods may be called from any goroutine.
type Server struct {
	options   Options
	log       *slog.Logger
	now       func() time.Time
	authority *authority
	counters  counters

	mu       sync.Mutex // guards the following
	listener net.Listener
}

// New reads the authorities. It opens nothing; Listen does.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	a, err := loadAuthority(o.Authority, o.Now, o.Log)
	if err != nil {
		return nil, err
	}
	return &Server{options: o, log: o.Log, now: o.Now, authority: a}, nil
}

// Listen opens the server's socket, so that a port in use is found before anything runs. Connections wait until Run.
// Listening twice does nothing.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.options.Listen.String())
	if err != nil {
		return fmt.Errorf("open the credentials server: %w", err)
	}
	s.listener = l
	return nil
}

// Close closes the socket of a server that is not going to Run.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

// Addr returns the address that is listened on, with the port the kernel chose in place of 0. It is not valid before
// Listen.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return netip.AddrPort{}
	}
	addr, _ := netip.ParseAddrPort(s.listener.Addr().String())
	return addr
}

// Run serves until ctx is cancelled, after Listen if that was not called yet. Then it takes no more connections, gives
// requests under way 5 seconds, and returns when none of its goroutines is left. It can be called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.log.Info("credentials server listening", "address", s.Addr())
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.handshake},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols),
		// What strangers do before they have shown a certificate: counted, and logged only for who looks closely.
		ErrorLog: slog.NewLogLogger(handshakeFailures{s.log.Handler(), &s.counters.handshakes}, slog.LevelDebug),
	}
	server.Protocols.SetHTTP1(true)
	connections := watchConnections(server)
	served := make(chan error, 1)
	go func() {
		served <- server.ServeTLS(&boundedListener{Listener: s.listener, refused: &s.counters.connections}, "", "")
	}()
	var err error
	select {
	case err = <-served:
		s.stop(context.WithoutCancel(ctx), server)
	case <-ctx.Done():
		s.stop(context.WithoutCancel(ctx), server)
		err = <-served
	}
	connections.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve credentials: %w", err)
}

// stop ends the server: in order as long as stopTimeout lasts, by closing connections after that.
func (s *Server) stop(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests for credentials were cut off", "waited", stopTimeout, "error", err)
		_ = server.Close() // the listener is closed already, and nobody is left to hear of the connections
	}
}

// watchConnections returns a group that is done when no goroutine serves a connection: Close of the server does not wait
// for them. It must be called before the server serves.
func watchConnections(server *http.Server) *sync.WaitGroup {
	var open sync.WaitGroup
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		default: // a connection between requests, or in one, is still open
		}
	}
	return &open
}

// handshake makes the TLS settings of one connection, with the certificates of the moment. Sessions are not resumed: a
// resumed one would rest on authorities that may have been taken away since.
func (s *Server) handshake(*tls.ClientHelloInfo) (*tls.Config, error) {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{*s.options.Certificate()},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              s.authority.pool(),
		Time:                   s.now,
		SessionTicketsDisabled: true,
	}, nil
}

// handshakeFailures is a log handler that counts what net/http reports of failed handshakes: it tells nobody else.
type handshakeFailures struct {
	slog.Handler
	count *atomic.Uint64
}

const handshakeMessage = "http: TLS handshake error"

// Enabled implements slog.Handler: a failure is counted whether it is logged or not.
func (h handshakeFailures) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h handshakeFailures) Handle(ctx context.Context, r slog.Record) error {
	if len(r.Message) >= len(handshakeMessage) && r.Message[:len(handshakeMessage)] == handshakeMessage {
		h.count.Add(1)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
