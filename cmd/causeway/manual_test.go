package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/internal/conf"
	"causeway/internal/netio"
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

// TestManualNamesEveryMetricOfTheRelay holds the operator's manual to what a
// relay with every kind of listener publishes: names, and the reasons of what
// is dropped, refused and ended.
func TestManualNamesEveryMetricOfTheRelay(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "manual.md"))
	if err != nil {
		t.Fatal(err)
	}
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
	registry := prometheus.NewRegistry()
	registry.MustRegister(edge, issuer)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 30 {
		t.Errorf("only %d metrics", len(families))
	}
	missing := map[string]bool{}
	for _, f := range families {
		names := []string{f.GetName()}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" || l.GetName() == "outcome" {
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
