package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the admin server. It serves a scraper, an operator and a load balancer's probe, none of which is slow, so
// that whoever is can be cut off early.
const (
	headerTimeout  = 5 * time.Second  // from the first byte of a request to the end of its header
	requestTimeout = 10 * time.Second // to the end of its body
	answerTimeout  = 30 * time.Second // from the end of the header to the end of the answer: call records can be long
	idleTimeout    = time.Minute      // above the scrape intervals in use, so that a scraper keeps its connection
	maxHeaderBytes = 16 << 10
	maxConnections = 64 // more are closed: the file descriptors belong to the calls
	maxScrapes     = 4  // at a time; more are answered 503
	// stopTimeout bounds how long requests in flight may take when the server stops.
	stopTimeout = 5 * time.Second
)

// Admin is the HTTP server for those who run the process: /metrics, /healthz, /readyz and what Handle adds. It asks
// nobody for a password, so it belongs on a loopback address. Its methods may be called from any goroutine.
type Admin struct {
	address  netip.AddrPort
	log      *slog.Logger
	registry *prometheus.Registry
	mux      *http.ServeMux

	mu       sync.Mutex // guards the following
	patterns []string   // what Handle was given, in that order
	checks   []check
	listener net.Listener
}

// check is one condition of readiness.
type check struct {
	name string
	f    func() error
}

// NewAdmin returns an Admin for the address listen. It opens nothing; Listen does.
func NewAdmin(listen netip.AddrPort, log *slog.Logger) *Admin {
	a := &Admin{address: listen, log: log, registry: newRegistry(), mux: http.NewServeMux()}
	a.Handle("GET /metrics", promhttp.InstrumentMetricHandler(a.registry, promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		Registry:            a.registry,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	})))
	a.Handle("GET /healthz", http.HandlerFunc(a.healthz))
	a.Handle("GET /readyz", http.HandlerFunc(a.readyz))
	return a
}

// Registry returns the registry behind /metrics. It holds the Go runtime, the process (causeway_process_...) and
// causeway_build_info from the start.
func (a *Admin) Registry() *prometheus.Registry { return a.registry }

// Handle adds a handler. pattern is one of http.ServeMux; one that stands already, or conflicts, panics. Requests that
// change something are refused when a browser sends them on behalf of another site.
func (a *Admin) Handle(pattern string, h http.Handler) {
	a.mux.Handle(pattern, h)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.patterns = append(a.patterns, pattern)
}

// Ready adds a condition to /readyz. f returns why the part called name cannot take work now, or nil. It is called for
// every probe, so it has to be quick and safe for concurrent use.
func (a *Admin) Ready(name string, f func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, check{name, f})
}

// Listen opens the server's socket, so that a port in use is found before anything else is started. Connections wait
// until Run. Listening twice does nothing.
func (a *Admin) Listen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", a.address.String())
	if err != nil {
		return fmt.Errorf("open the admin server: %w", err)
	}
	a.listener = l
	return nil
}

// Addr returns the address that is listened on, with the port the kernel chose in place of 0. It is not valid before
// Listen.
func (a *Admin) Addr() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener == nil {
		return netip.AddrPort{}
	}
	addr, _ := netip.ParseAddrPort(a.listener.Addr().String())
	return addr
}

// Run serves until ctx is cancelled, after Listen if that was not called yet. Then it takes no more connections, gives
// requests in flight 5 seconds, and returns when none of its goroutines is left. It can be called once.
func (a *Admin) Run(ctx context.Context) error {
	if err := a.Listen(); err != nil {
		return err
	}
	a.log.Info("admin server listening", "address", a.Addr())
	server := &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(http.HandlerFunc(a.serve)),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), // a remote can cause these at will
	}
	connections := watchConnections(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.listener) }()
	var err error
	select {
	case err = <-served:
		a.stop(context.WithoutCancel(ctx), server)
	case <-ctx.Done():
		a.stop(context.WithoutCancel(ctx), server)
		err = <-served
	}
	connections.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve admin requests: %w", err)
}

// stop ends the server: in order as long as stopTimeout lasts, by closing connections after that.
func (a *Admin) stop(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		a.log.Warn("admin requests were cut off", "waited", stopTimeout, "error", err)
		_ = server.Close() // the listener is closed already, and nobody is left to hear of the connections
	}
}

// watchConnections closes connections of server beyond maxConnections, and returns a group that is done when no goroutine
// serves one: Close of the server does not wait for them. It must be called before Serve.
func watchConnections(server *http.Server) *sync.WaitGroup {
	var open sync.WaitGroup
	var count atomic.Int64
	server.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
			if count.Add(1) > maxConnections {
				_ = c.Close() // its goroutine finds it closed, and ends
			}
		case http.StateClosed, http.StateHijacked:
			count.Add(-1)
			open.Done()
		default: // a connection between requests, or in one, is still open
		}
	}
	return &open
}

// serve passes a request on; / lists what there is until a handler takes it.
func (a *Admin) serve(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern == "" && r.URL.Path == "/" {
		a.index(w)
		return
	}
	a.mux.ServeHTTP(w, r)
}

func (a *Admin) index(w http.ResponseWriter) {
	a.mu.Lock()
	patterns := slices.Clone(a.patterns)
	a.mu.Unlock()
	a.plain(w, "causeway\n"+strings.Join(patterns, "\n"))
}

// plain answers with a line of text.
func (a *Admin) plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.WriteString(w, text+"\n"); err != nil {
		a.log.Debug("answer not delivered", "error", err)
	}
}

// healthz says that the process answers; whether it can take work is for readyz.
func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	a.plain(w, "ok")
}

// readyz answers 200 when every condition holds, and otherwise 503 with a JSON list of "name: reason".
func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	checks := slices.Clone(a.checks)
	a.mu.Unlock()
	var reasons []string
	for _, c := range checks {
		if err := c.f(); err != nil {
			reasons = append(reasons, c.name+": "+err.Error())
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	if reasons == nil {
		a.plain(w, "ready")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	if err := json.NewEncoder(w).Encode(reasons); err != nil {
		a.log.Debug("answer not delivered", "error", err)
	}
}
