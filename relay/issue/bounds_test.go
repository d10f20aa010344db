package issue

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConnectionsAreBounded(t *testing.T) {
	r := run(t, &clock{})
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	dial := func(host int) net.Conn {
		t.Helper()
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(host))}}
		c, err := from.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		return c
	}
	// One host has no more than its share, and then others have theirs until there are no more.
	host := 10
	for n := range maxConnections {
		if n > 0 && n%maxFromHost == 0 {
			host++
		}
		dial(host)
	}
	for _, host := range []int{10, 100} {
		beyond := dial(host)
		beyond.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := beyond.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection beyond the bound: %v", err)
		}
	}
	if m := r.metrics(); m["refused_total connections"] != 2 {
		t.Errorf("metrics %v", m)
	}
	for _, c := range idle {
		c.Close()
	}
	// Their places are free again, a moment later.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := r.frontEnd().Post(r.url("/credentials"), "application/json", strings.NewReader(`{"user":"alice"}`))
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestOneHostDoesNotShutOthersOut has a host with as many connections as it may have.
func TestOneHostDoesNotShutOthersOut(t *testing.T) {
	t.Parallel()
	r := run(t, &clock{})
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 10)}}
	for range 2 * maxConnections {
		c, err := from.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	response, err := r.frontEnd().Post(r.url("/credentials"), "application/json", strings.NewReader(`{"user":"alice"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// TestSlowClientsAreCutOff has a client that connects and says nothing.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	r := run(t, &clock{})
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(2 * headerTimeout))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the connection closed", err)
	}
}

// TestStopWithOpenConnections: the server ends though clients hold connections, in and before the handshake.
func TestStopWithOpenConnections(t *testing.T) {
	t.Parallel()
	r := run(t, &clock{})
	silent, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := r.frontEnd()
	c.Transport.(*http.Transport).DisableKeepAlives = false
	if status, _, text := r.post(c, `{"user":"alice"}`); status != http.StatusOK {
		t.Fatal(text)
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*stopTimeout {
		t.Errorf("took %v", took)
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	o := Options{Listen: netip.MustParseAddrPort(taken.Addr().String()), Authority: file, Log: slog.New(slog.DiscardHandler)}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "relay.credentials.tls.ca: open "+file) {
		t.Errorf("without authority: %v", err)
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil || err.Error() != "relay.credentials.tls.ca: "+file+": no certificate in it" {
		t.Errorf("with an empty authority: %v", err)
	}
	if err := os.WriteFile(file, newAuthority(t, "a").pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "open the credentials server: ") {
		t.Errorf("on a port in use: %v", err)
	}
	if s.Addr().IsValid() {
		t.Errorf("listens on %v", s.Addr())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
