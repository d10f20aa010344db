package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/internal/conf"
	"causeway/internal/netio"
	"causeway/mediation"
	"causeway/relay"
	"causeway/relay/auth"
	"causeway/relay/issue"
)

// freePort returns a port that nothing listens on now, by UDP and by TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// labels of metrics whose values the manual has to explain: the others are the caller's, such as addresses and codes.
var explained = []string{"reason", "outcome", "result", "phase", "state", "event"}

// holdsManual reports the names of metrics, and the values of their explained labels, that docs/manual.md does not have.
func holdsManual(t *testing.T, least int, collectors ...prometheus.Collector) {
	t.Helper()
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "manual.md"))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < least {
		t.Errorf("only %d metrics", len(families))
	}
	missing := map[string]bool{}
	for _, f := range families {
		names := []string{f.GetName()}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if slices.Contains(explained, l.GetName()) {
					names = append(names, l.GetValue())
				}
			}
		}
		for _, name := range names {
			if !strings.Contains(string(manual), "`"+name+"`") && !missing[name] {
				missing[name] = true
				t.Errorf("docs/manual.md does not name %s of %s", name, f.GetName())
			}
		}
	}
}

// TestManualNamesEveryMetricOfTheRelay holds the operator's manual to what a
// relay with every kind of listener publishes: names, and the reasons of what
// is dropped, refused and ended.
func TestManualNamesEveryMetricOfTheRelay(t *testing.T) {
	lab, err := conf.Lab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys := lab.Relay
	cfg, _, err := conf.Parse("relay.yaml", fmt.Appendf(nil, `
relay:
  realm: example.org
  listen: [udp://127.0.0.1:%d, tcp://127.0.0.1:%d, tls://127.0.0.1:%d, dtls://127.0.0.1:%d]
  tls: {certificate: %s, key: %s}
  credentials: {certificate: %s, key: %s}
  workers: 1
  ports: 20000-20001
`, freePort(t), freePort(t), freePort(t), freePort(t), keys.TLS.Certificate, keys.TLS.Key, keys.Credentials.Certificate, keys.Credentials.Key))
	if err != nil {
		t.Fatal(err)
	}
	edge, err := relay.New(relay.Config{Relay: cfg.Relay, Engine: netio.Sockets(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	issuer, err := issue.New(issue.Options{Authority: keys.TLS.CA, Log: slog.New(slog.DiscardHandler), Issuer: issue.Issuer{Signer: &auth.Signer{}}})
	if err != nil {
		t.Fatal(err)
	}
	holdsManual(t, 30, edge, issuer)
}

// TestManualNamesEveryMetricOfMediation is the same for a Mediation Server that
// has every kind of peer.
func TestManualNamesEveryMetricOfMediation(t *testing.T) {
	lab, err := conf.Lab(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := lab.Mediation.Pool.TLS
	certificate := fmt.Sprintf("{certificate: %s, key: %s, ca: %s}", files.Certificate, files.Key, files.CA)
	cfg, _, err := conf.Parse("mediation.yaml", fmt.Appendf(nil, `
mediation:
  pool:
    listen: [tls://127.0.0.1:%d, tcp://127.0.0.1:%d, udp://127.0.0.1:%d]
    peers: [127.0.0.1, localhost]
    next_hop: "sip:127.0.0.1:%d"
    tls: %s
  gateway:
    listen: tls://127.0.0.2:%d
    peer: "sip:127.0.0.3:%d;transport=tls"
    tls: %s
    auth: {username: trunk, password: secret}
    register: {aor: "sip:trunk@127.0.0.3"}
  ports: 20100-20199
`, freePort(t), freePort(t), freePort(t), freePort(t), certificate, freePort(t), freePort(t), certificate))
	if err != nil {
		t.Fatal(err)
	}
	server, err := mediation.New(mediation.Config{Mediation: cfg.Mediation, Log: slog.New(slog.DiscardHandler), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	holdsManual(t, 20, server)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := errors.Join(server.Run(ended), server.RunMedia(ended)); err != nil {
		t.Error(err)
	}
}

// TestManualNamesEveryCommand: each line of the help stands in the manual.
func TestManualNamesEveryCommand(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "manual.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if code := run([]string{"--help"}, streams{&out, &out}); code != exitDone {
		t.Fatalf("exit %d", code)
	}
	n := 0
	_, commands, _ := strings.Cut(out.String(), "Commands:\n")
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") || len(words) == 0 {
			continue
		}
		n++
		if !strings.Contains(string(manual), "`causeway "+words[0]) {
			t.Errorf("docs/manual.md does not name the command %s", words[0])
		}
	}
	if n < 7 {
		t.Errorf("%d commands in\n%s", n, out.String())
	}
}
