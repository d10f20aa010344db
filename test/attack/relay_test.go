package attack

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"causeway/test/rig"
)

// Whom the relay under attack knows. The realm has the twelve characters that the bound on its replies is stated for.
const (
	realm      = "example.test"
	alice      = "alice"
	bob        = "bob"
	restSecret = "newest"
)

var passwords = map[string]string{alice: "secret", bob: "hunter2"}

// Where everybody is. Clients and attackers are in different /24 networks, because replies to strangers are rationed by
// those; peers are in one that the relay may reach.
var (
	home       = netip.MustParseAddr("127.3.0.1")
	elsewhere  = netip.MustParseAddr("127.4.0.1")
	friend     = netip.MustParseAddr("127.8.0.1")
	peerPrefix = "127.8.0.0/16"
)

// settings are what a relay under attack has besides what all of them have.
type settings struct {
	limits  string // entries of relay.limits
	relay   string // lines below relay:
	ports   string // relay.ports
	allow   string // relay.peers.allow besides the network of the peers
	checked bool   // with the race detector; such a relay's memory says nothing
}

// Each relay has an address of its own, so that no port that one of them gets is missing where another wants it. A run
// begins where its pid says, so that two runs on one machine seldom meet.
var relays atomic.Int32

const file = `state_dir: %[1]s/state
admin: {listen: "%[2]s"}
log: {level: info, format: json}
relay:
  realm: ` + realm + `
  workers: 2
  listen: ["udp://%[3]s:%[4]d", "tcp://%[3]s:%[4]d", "tls://%[3]s:%[5]d", "dtls://%[3]s:%[5]d"]
  relay_addresses: ["%[3]s", "::1"]
  tls: {certificate: %[6]s, key: %[7]s}
  ports: %[8]s
  users: {alice: secret, bob: hunter2}
  rest_secrets: [` + restSecret + `]
  lifetime: {default: 2m, max: 1h}
  peers: {allow: [%[9]s]}
  limits: {%[10]s}
%[11]s`

// relay is a causeway under attack.
type relay struct {
	*rig.Process
	t       *testing.T
	checked bool
	host    netip.Addr
	open    netip.AddrPort // UDP and TCP, and TLS by TCP
	secure  netip.AddrPort // TLS and DTLS
	admin   netip.AddrPort
	http    *http.Client
}

// start runs causeway. At the end of the test it is stopped as an operator would, and must have left nothing: exit code
// 0, no panic, no data race.
func start(t *testing.T, o settings) *relay {
	t.Helper()
	dir := t.TempDir()
	r := &relay{t: t, checked: o.checked, http: &http.Client{Timeout: 10 * time.Second}}
	r.host = netip.AddrFrom4([4]byte{127, 2, byte(os.Getpid()), byte(relays.Add(1))})
	r.open = netip.AddrPortFrom(r.host, uint16(rig.Port(t)))
	r.secure = netip.AddrPortFrom(r.host, uint16(rig.Port(t)))
	r.admin = netip.AddrPortFrom(r.host, uint16(rig.Port(t)))
	if o.ports == "" {
		o.ports = "50000-59999"
	}
	allow := peerPrefix
	if o.allow != "" {
		allow += ", " + o.allow
	}
	text := fmt.Sprintf(file, dir, r.admin, r.host, r.open.Port(), r.secure.Port(), certs.Cert, certs.Key, o.ports,
		allow, o.limits, o.relay)
	path := filepath.Join(dir, "causeway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := binaries.Plain
	if o.checked {
		binary = binaries.Checked
	}
	// With little garbage kept, what is resident is what is held.
	r.Process = rig.Spawn(t, dir, "causeway", []string{"GOGC=20"}, binary, "serve", "-c", path)
	t.Cleanup(r.finish)
	rig.Eventually(t, 30*time.Second, "causeway starts", func() string {
		if !r.Running() {
			t.Fatalf("causeway ended at once: %v\n%s", r.Wait(0), r.Output())
		}
		status, body, err := r.get("/readyz")
		if err != nil {
			return err.Error()
		}
		if status != http.StatusOK {
			return fmt.Sprintf("not ready: %d %s", status, body)
		}
		return ""
	})
	return r
}

func (r *relay) finish() {
	if !r.Running() {
		r.t.Errorf("causeway ended during the attack: %v", r.Wait(0))
	} else if err := r.Stop(syscall.SIGTERM, 20*time.Second); err != nil {
		r.t.Errorf("causeway on SIGTERM: %v", err)
	}
	for _, bad := range []string{"DATA RACE", "panic", "fatal error", "goroutine 1 ["} {
		if out := r.Output(); strings.Contains(out, bad) {
			at := strings.Index(out, bad)
			r.t.Errorf("causeway printed %q:\n%s", bad, rig.Tail(out[at:min(len(out), at+4000)], 4000))
			break
		}
	}
}

func (r *relay) get(path string) (status int, body string, err error) {
	resp, err := r.http.Get("http://" + r.admin.String() + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, string(data), err
}

// metrics are the series of /metrics, named as they are printed.
type metrics map[string]float64

func (r *relay) metrics() metrics {
	r.t.Helper()
	status, body, err := r.get("/metrics")
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("/metrics: %d %v", status, err)
	}
	all := metrics{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line)[at+1:], 64)
		if err != nil {
			r.t.Fatalf("/metrics: %q: %v", line, err)
		}
		all[line[:at]] = v
	}
	return all
}

// value returns a series that has to be there.
func (m metrics) value(t testing.TB, series string) float64 {
	t.Helper()
	v, ok := m[series]
	if !ok {
		t.Fatalf("/metrics has no series %s", series)
	}
	return v
}

// Names of series, without the prefix that all have.
const (
	prefix    = "causeway_relay_"
	relayPort = "relay_ports"
)

func dropped(listener, reason string) string {
	return fmt.Sprintf("packets_dropped_total{listener=%q,reason=%q}", listener, reason)
}
func ignored(reason string) string { return fmt.Sprintf("messages_dropped_total{reason=%q}", reason) }
func refused(reason string) string {
	return fmt.Sprintf("authentication_refused_total{reason=%q}", reason)
}
func answered(code int) string { return fmt.Sprintf("errors_total{code=\"%d\"}", code) }
func ended(listener, reason string) string {
	return fmt.Sprintf("stream_ended_total{listener=%q,reason=%q}", listener, reason)
}
func streamDropped(listener, reason string) string {
	return fmt.Sprintf("stream_dropped_total{listener=%q,reason=%q}", listener, reason)
}
func connections(outcome string) string { return fmt.Sprintf("connections_total{outcome=%q}", outcome) }

// The labels of the listeners.
func (r *relay) udp() string  { return "udp://" + r.open.String() }
func (r *relay) tcp() string  { return "tcp://" + r.open.String() }
func (r *relay) tls() string  { return "tls://" + r.secure.String() }
func (r *relay) dtls() string { return "dtls://" + r.secure.String() }

// verdicts are the metrics that say why something was refused or came to an end.
var verdicts = []string{
	"packets_dropped_total", "messages_dropped_total", "authentication_refused_total", "errors_total", "stream_ended_total",
	"stream_dropped_total", "connections_total", "panics_total", "port_failures_total", "socket_dropped_total",
	"socket_unsent_total",
}

// counts is how often something is to be counted under each name.
type counts map[string]int

// own are the reasons for which a client itself ends its connection. That is no verdict, and comes when it comes.
var own = []string{`reason="client_closed"`, `reason="connection_lost"`, `reason="data_ended"`}

// passed returns how the verdicts differ between two scrapes.
func passed(before, after metrics) counts {
	d := counts{}
	for series, v := range after {
		name, ours := strings.CutPrefix(series, prefix)
		metric, _, _ := strings.Cut(name, "{")
		if slices.ContainsFunc(own, func(reason string) bool { return strings.Contains(name, reason) }) {
			continue
		}
		if ours && slices.Contains(verdicts, metric) && v != before[series] {
			d[name] = int(v - before[series])
		}
	}
	return d
}

// counting runs an attack. Afterwards exactly what want says has been counted, and nothing under any other name.
func (r *relay) counting(t *testing.T, want counts, attack func()) {
	t.Helper()
	before := r.metrics()
	for name := range want {
		before.value(t, prefix+name) // a name that does not exist would be an error of the test
	}
	attack()
	// Streams end, and peers' packets arrive, in their own time.
	rig.Eventually(t, patience, "the counters", func() string {
		got := passed(before, r.metrics())
		if !maps.Equal(got, want) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		return ""
	})
}

// allocation is one line of /api/v1/allocations, as far as these tests look at it.
type allocation struct {
	ID          string   `json:"id"`
	Client      string   `json:"client"`
	Permissions []string `json:"permissions"`
	Channels    int      `json:"channels"`
	ToPeer      struct {
		Packets int `json:"packets"`
	} `json:"to_peer"`
}

func (r *relay) allocations() []allocation {
	r.t.Helper()
	status, body, err := r.get("/api/v1/allocations")
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("/api/v1/allocations: %d %v", status, err)
	}
	var all []allocation
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		r.t.Fatalf("/api/v1/allocations: %v in %s", err, body)
	}
	return all
}

// allocation returns the allocation of a client.
func (r *relay) allocation(t testing.TB, client netip.AddrPort) allocation {
	t.Helper()
	for _, a := range r.allocations() {
		if a.Client == client.String() {
			return a
		}
	}
	t.Fatalf("%v has no allocation", client)
	return allocation{}
}

// endAllocations ends every allocation, as an operator may.
func (r *relay) endAllocations() {
	r.t.Helper()
	for _, a := range r.allocations() {
		req, err := http.NewRequest(http.MethodDelete, "http://"+r.admin.String()+"/api/v1/allocations/"+a.ID, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		resp, err := r.http.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		resp.Body.Close()
	}
}
