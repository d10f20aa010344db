package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValid(t *testing.T) {
	folder := certificateFolder(t)
	cfg, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(valid), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	m, r := cfg.Mediation, cfg.Relay
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"pool listen", m.Pool.Listen[0].String(), "tls://192.0.2.10:5061"},
		{"pool media", m.Pool.MediaAddress, netip.MustParseAddr("192.0.2.10")},
		{"pool srtp", m.Pool.SRTP, SRTPRequired},
		{"pool peers", m.Pool.Peers[0], Peer{Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
		{"next hop", m.Pool.NextHop, SIPURI{Host: "192.0.2.20", Port: 5061, Transport: "tls"}},
		{"certificate", m.Pool.TLS.Certificate, filepath.Join(folder, "causeway.pem")},
		{"key", m.Pool.TLS.Key, filepath.Join(folder, "causeway.key")},
		{"ca", m.Pool.TLS.CA, filepath.Join(folder, "ca.pem")},
		{"gateway listen", m.Gateway.Listen, Listen{"tcp", netip.MustParseAddrPort("198.51.100.10:5060")}},
		{"peer", m.Gateway.Peer, SIPURI{Host: "198.51.100.20", Port: 5060, Transport: "tcp"}},
		{"gateway srtp", m.Gateway.SRTP, SRTPRejected},
		{"ports", m.Ports, PortRange{60000, 64000}},
		{"max calls", m.MaxCalls, 1000},
		{"remove plus", m.RemovePlus, false},
		{"qos", m.QoSEnabled, false},
		{"ring timeout", m.RingTimeout, 185 * time.Second},
		{"learning", m.Gateway.Learning, LearnSameIP},
		{"media timeout", m.MediaTimeout, time.Minute},
		{"media timeout needs rtcp", m.MediaTimeoutNeedsRTCP, false},
		{"rules", m.LocationProfile[1], Rule{"second", "^0$", "+14255550100"}},
		{"relay listen", r.Listen[1], Listen{"tcp", netip.MustParseAddrPort("192.0.2.30:443")}},
		{"relay ports", r.Ports, PortRange{50000, 59999}},
		{"external address", r.ExternalAddress, netip.Addr{}},
		{"users", r.Users["alice"].Reveal(), "secret"},
		{"federation", r.Federation, FederationLegacy},
		{"admin", cfg.Admin.Listen, netip.MustParseAddrPort("127.0.0.1:8480")},
		{"engine", cfg.Engine, "auto"},
		{"log", cfg.Log, Log{"info", "auto"}},
		{"retention", cfg.Quality.RetentionDays, 60},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestAbsentKeys(t *testing.T) {
	const short = `mediation:
  pool: {listen: ["tcp://[2001:db8::1]"], peers: ["2001:db8::/64"], next_hop: "sip:[2001:db8::2];transport=tcp", srtp: rejected}
  gateway: {listen: "udp://[2001:db8:1::1]", peer: "sip:gw.example.org;transport=udp"}
`
	cfg, warnings, err := parse("c.yaml", []byte(short), testHost(), nil)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	m := cfg.Mediation
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"no relay", cfg.Relay == nil, true},
		{"pool port", m.Pool.Listen[0].String(), "tcp://[2001:db8::1]:5060"},
		{"next hop port", m.Pool.NextHop.String(), "sip:[2001:db8::2]:5060;transport=tcp"},
		{"gateway port", m.Gateway.Listen.String(), "udp://[2001:db8:1::1]:5060"},
		{"peer port", m.Gateway.Peer.String(), "sip:gw.example.org;transport=udp"},
		{"pool media address", m.Pool.MediaAddress, netip.MustParseAddr("2001:db8::1")},
		{"gateway media address", m.Gateway.MediaAddress, netip.MustParseAddr("2001:db8:1::1")},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestDefaultTransports(t *testing.T) {
	text := replace(t, `"sip:192.0.2.20:5061;transport=tls"`, `"sip:192.0.2.20"`)
	cfg, _, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(text), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Mediation.Pool.NextHop; got != (SIPURI{Host: "192.0.2.20", Port: 5061, Transport: "tls"}) {
		t.Errorf("next hop %v", got)
	}
}

// TestTextForms reads the same configuration in the shapes editors leave it in.
func TestTextForms(t *testing.T) {
	folder := certificateFolder(t)
	for name, text := range map[string]string{
		"CRLF":            strings.ReplaceAll(valid, "\n", "\r\n"),
		"byte order mark": "\ufeff" + valid,
		"document start":  "---\n" + valid,
		"comments":        "# first\r\n" + strings.ReplaceAll(valid, "\n", " # é\r\n"),
	} {
		if _, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		broken := strings.Replace(text, "ports: 60000-64000", "ports: 64000-60000", 1)
		_, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(broken), testHost(), nil)
		line := 1 + strings.Count(broken[:strings.Index(broken, "64000-60000")], "\n")
		all, ok := errors.AsType[Errors](err)
		if !ok || len(all) != 1 || all[0].Line != line || all[0].Column != 10 {
			t.Errorf("%s: want one error at %d:10, got %v", name, line, err)
		}
	}
}

func TestLoad(t *testing.T) {
	folder := certificateFolder(t)
	path := filepath.Join(folder, "causeway.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(valid, "tls:\n", "tlss:\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(path)
	want := path + ":20:5: unknown key mediation.pool.tlss; did you mean mediation.pool.tls?"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	missing := filepath.Join(folder, "none.yaml")
	_, _, err = Load(missing)
	want = missing + ":1:1: cannot be read: no such file or directory; give an existing file that this user may read"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestErrorTypes(t *testing.T) {
	_, _, err := parse("c.yaml", []byte("engine: fast\nlog: {level: 3}\n"), testHost(), nil)
	all, ok := errors.AsType[Errors](err)
	if !ok || len(all) != 2 {
		t.Fatalf("want two faults, got %v", err)
	}
	one, ok := errors.AsType[Error](err)
	if !ok || one.File != "c.yaml" || one.Line != 1 || one.Column != 9 {
		t.Errorf("the first fault is %+v", one)
	}
	if want := one.Error() + "\n" + all[1].Error(); err.Error() != want {
		t.Errorf("got %q, want %q", err.Error(), want)
	}
}

// TestColonsInBraces reads items with colons from lists that stand in braces.
func TestColonsInBraces(t *testing.T) {
	const text = `mediation:
  pool: {listen: [tcp://192.0.2.10:5070, "tcp://192.0.2.10:5071", tcp://192.0.2.11], peers: [192.0.2.0/24], next_hop: "sip:192.0.2.20;transport=tcp", srtp: rejected}
  gateway: {listen: tcp://198.51.100.10:5070, peer: sip:198.51.100.20}
`
	cfg, _, err := parse("c.yaml", []byte(text), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(cfg.Mediation.Pool.Listen), "[tcp://192.0.2.10:5070 tcp://192.0.2.10:5071 tcp://192.0.2.11:5060]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, item := range []string{"tcp: 192.0.2.10", `"tcp":192.0.2.10`, "{tcp: 192.0.2.10}"} {
		broken := strings.Replace(text, "tcp://192.0.2.10:5070", item, 1)
		if _, _, err := parse("c.yaml", []byte(broken), testHost(), nil); err == nil || !strings.Contains(err.Error(), "c.yaml:2:19: mediation.pool.listen[0] is a section; it must be text") {
			t.Errorf("%s: got %v", item, err)
		}
	}
}
