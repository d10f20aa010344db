package obs

import (
	"bufio"
	"bytes"
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
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newAdmin returns an Admin on a port that the kernel chose and lets it run until the test ends.
func startAdmin(t *testing.T, set func(*Admin)) (base string) {
	t.Helper()
	a := NewAdmin(netip.MustParseAddrPort("127.0.0.1:0"), slog.New(slog.DiscardHandler))
	if set != nil {
		set(a)
	}
	if a.Addr().IsValid() {
		t.Error("an address before Listen")
	}
	if err := a.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + a.Addr().String()
}

func get(t *testing.T, url string) (status int, contentType, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
}

func TestMetrics(t *testing.T) {
	base := startAdmin(t, nil)
	status, contentType, body := get(t, base+"/metrics")
	if status != http.StatusOK || !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("%d %s", status, contentType)
	}
	for _, want := range []string{`causeway_build_info{goversion="go1.`, "\ncauseway_process_open_fds ", "\ngo_goroutines ", "\npromhttp_metric_handler_requests_total"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in /metrics", want)
		}
	}
}

func TestRegistryPassesLint(t *testing.T) {
	a := NewAdmin(netip.MustParseAddrPort("127.0.0.1:0"), slog.New(slog.DiscardHandler))
	problems, err := testutil.GatherAndLint(a.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := a.Registry().Gather()
	if err != nil || len(families) < 20 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}

func TestHealth(t *testing.T) {
	base := startAdmin(t, func(a *Admin) {
		a.Ready("media", func() error { return errors.New("no ports") })
	})
	if status, _, body := get(t, base+"/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("an unready process is alive all the same: %d %q", status, body)
	}
}

func TestReadiness(t *testing.T) {
	media, gateway := make(chan error, 1), make(chan error, 1)
	media <- nil
	gateway <- nil
	current := func(c chan error) func() error {
		return func() error { err := <-c; c <- err; return err }
	}
	set := func(c chan error, err error) { <-c; c <- err }
	base := startAdmin(t, func(a *Admin) {
		a.Ready("media", current(media))
		a.Ready("gateway", current(gateway))
	})
	for _, tt := range []struct {
		media, gateway error
		want           []string // nil: ready
	}{
		{nil, nil, nil},
		{errors.New(`no "ports"`), nil, []string{`media: no "ports"`}},
		{errors.New("no ports"), errors.New("starting"), []string{"media: no ports", "gateway: starting"}},
		{nil, nil, nil},
	} {
		set(media, tt.media)
		set(gateway, tt.gateway)
		status, contentType, body := get(t, base+"/readyz")
		if tt.want == nil {
			if status != http.StatusOK || body != "ready\n" {
				t.Errorf("ready, but %d %q", status, body)
			}
			continue
		}
		var reasons []string
		if err := json.Unmarshal([]byte(body), &reasons); err != nil || !slices.Equal(reasons, tt.want) {
			t.Errorf("%q, %v, want %v", body, err, tt.want)
		}
		if status != http.StatusServiceUnavailable || contentType != "application/json" {
			t.Errorf("%d %s", status, contentType)
		}
	}
}

func TestRoutes(t *testing.T) {
	calls := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "calls ", r.PathValue("id")) })
	base := startAdmin(t, func(a *Admin) {
		a.Handle("GET /api/v1/calls/{id}", calls)
		a.Handle("POST /api/v1/drain", calls)
	})
	for _, tt := range []struct {
		method, path, origin string
		status               int
		body                 string
	}{
		{"GET", "/", "", 200, "causeway\nGET /metrics\nGET /healthz\nGET /readyz\nGET /api/v1/calls/{id}\nPOST /api/v1/drain\n"},
		{"GET", "/api/v1/calls/7", "", 200, "calls 7"},
		{"GET", "/nothing", "", 404, "404 page not found\n"},
		{"POST", "/metrics", "", 405, "Method Not Allowed\n"},
		{"POST", "/api/v1/drain", "", 200, "calls "},
		{"POST", "/api/v1/drain", "http://evil.example", 403, "cross-origin request detected from Sec-Fetch-Site header\n"},
		{"GET", "/api/v1/calls/7", "http://evil.example", 200, "calls 7"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
			req.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || string(body) != tt.body {
			t.Errorf("%s %s from %q: %d %q, want %d %q", tt.method, tt.path, tt.origin, resp.StatusCode, body, tt.status, tt.body)
		}
	}
}

func TestIndexGivesWay(t *testing.T) {
	base := startAdmin(t, func(a *Admin) {
		a.Handle("GET /", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "console") }))
	})
	if _, _, body := get(t, base+"/"); body != "console" {
		t.Errorf("got %q", body)
	}
}

func TestHeaderLimit(t *testing.T) {
	base := startAdmin(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Padding", strings.Repeat("a", 2*maxHeaderBytes))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a := NewAdmin(netip.MustParseAddrPort(taken.Addr().String()), slog.New(slog.DiscardHandler))
	for name, err := range map[string]error{"Listen": a.Listen(), "Run": a.Run(t.Context())} {
		if err == nil || !strings.HasPrefix(err.Error(), "open the admin server: listen tcp 127.0.0.1:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pipes is a listener in memory, so that the clock of a test can be a false one.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8480} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// runOn runs an Admin on l within a synctest bubble.
func runOn(ctx context.Context, l net.Listener, log *slog.Logger, set func(*Admin)) <-chan error {
	a := NewAdmin(netip.MustParseAddrPort("127.0.0.1:8480"), log)
	a.listener = l
	if set != nil {
		set(a)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return done
}

func TestSlowClients(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		want       time.Duration
	}{
		{"says nothing", "", headerTimeout},
		{"half a header", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-", headerTimeout},
		{"keeps an idle connection", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", idleTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			ctx, cancel := context.WithCancel(t.Context())
			done := runOn(ctx, l, slog.New(slog.DiscardHandler), nil)
			c := l.dial()
			defer c.Close()
			began := time.Now()
			go func() { _, _ = io.WriteString(c, tt.sent) }()
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if got := time.Since(began); got != tt.want {
				t.Errorf("%s: cut off after %v, want %v", tt.name, got, tt.want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTooManyConnections fills the server with silent clients; the next one is refused, until they are cut off.
func TestTooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := runOn(ctx, l, slog.New(slog.DiscardHandler), nil)
		ask := func() error {
			c := l.dial()
			defer c.Close()
			go func() { _, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") }()
			_, err := http.ReadResponse(bufio.NewReader(c), nil)
			return err
		}
		for range maxConnections {
			defer l.dial().Close()
		}
		if err := ask(); err == nil {
			t.Error("one connection too many was answered")
		}
		time.Sleep(headerTimeout + time.Second)
		if err := ask(); err != nil {
			t.Errorf("after the silent ones were cut off: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSlowReader has a client that asks and does not read the answer.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan time.Time, 1)
		done := runOn(ctx, l, slog.New(slog.DiscardHandler), func(a *Admin) {
			a.Handle("GET /large", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 100 {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						break
					}
				}
				ended <- time.Now()
			}))
		})
		c := l.dial()
		defer c.Close()
		began := time.Now()
		if _, err := io.WriteString(c, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := (<-ended).Sub(began); got != answerTimeout {
			t.Errorf("the handler was held for %v, want %v", got, answerTimeout)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestStopWaitsForRequests(t *testing.T) {
	for _, tt := range []struct {
		name       string
		takes      time.Duration // the handler, from the stop on
		want       time.Duration // Run, from the stop on
		wantAnswer bool
	}{
		{"in time", 3 * time.Second, 3 * time.Second, true},
		{"too slow", time.Hour, stopTimeout, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			var log bytes.Buffer
			ctx, cancel := context.WithCancel(t.Context())
			done := runOn(ctx, l, slog.New(slog.NewTextHandler(&log, nil)), func(a *Admin) {
				a.Handle("GET /slow", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(tt.takes):
						fmt.Fprint(w, "done")
					case <-r.Context().Done():
					}
				}))
			})
			c := l.dial()
			defer c.Close()
			if _, err := io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			began := time.Now()
			cancel()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if (err == nil) != tt.wantAnswer {
				t.Errorf("%s: answer %v, %v", tt.name, resp, err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			// The server looks for idle connections at intervals that grow to half a second.
			if got := time.Since(began); got < tt.want || got > tt.want+600*time.Millisecond {
				t.Errorf("%s: Run took %v, want %v", tt.name, got, tt.want)
			}
			if cut := strings.Contains(log.String(), "admin requests were cut off"); cut == tt.wantAnswer {
				t.Errorf("%s: log %s", tt.name, log.String())
			}
		})
	}
}

// TestBrokenListener has the socket die under the server.
func TestBrokenListener(t *testing.T) {
	l := newPipes()
	close(l.closed)
	a := NewAdmin(netip.MustParseAddrPort("127.0.0.1:8480"), slog.New(slog.DiscardHandler))
	a.listener = brokenListener{l}
	if err := a.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type brokenListener struct{ *pipes }

func (brokenListener) Close() error { return nil }
