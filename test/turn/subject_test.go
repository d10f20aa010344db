package turn

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"causeway/test/rig"
)

// Whom the relay under test knows. Both servers speak the realm.
const (
	realm    = "example.org"
	user     = "alice"
	password = "secret"
	// restSecret is what turnutils_uclient -W and the like derive their passwords from.
	restSecret = "newest"
	// The range of the relay ports, at both ends included.
	firstRelayPort, lastRelayPort = 50000, 59999
)

// setup is how one relay under test is configured; zero fields get what the templates show.
type setup struct {
	// Hosts are the addresses that it listens and relays on: 127.0.0.1 and ::1 if empty.
	Hosts []string
	// Namespace is where it runs, "" for the test's own.
	Namespace string
	// Allow are the peers that the built-in denials would refuse: loopback if empty.
	Allow []string
	// Rest asks coturn for time-limited credentials; it cannot have static users as well. causeway has both, and those of
	// A/V authentication, unless StaticAlone.
	Rest, StaticAlone bool
	// MaxLifetime is the longest life of an allocation without a refresh.
	MaxLifetime time.Duration
	// Plain leaves out the race detector, for figures of memory.
	Plain bool
	// LegacyChannels allows the channel numbers of RFC 5766, as coturn 4.6 always does.
	LegacyChannels bool
	// More are further lines below relay:, for causeway alone.
	More string

	Dir   string
	Admin string // HOST:PORT
	TLS   rig.PKI
	// Issuer is the A/V authentication certificate.
	Issuer rig.PKI
	// Open takes UDP, TCP and TLS; Closed takes TLS alone, and DTLS.
	Open, Closed int
	Ports        string
}

var causewayFile = template.Must(template.New("causeway").Funcs(template.FuncMap{"join": joinHost}).Parse(`state_dir: {{.Dir}}/state
admin: {listen: {{.Admin}}}
log: {level: debug, format: json}
relay:
  realm: ` + realm + `
  listen:
{{- range .Hosts}}
    - "udp://{{join . $.Open}}"
    - "tcp://{{join . $.Open}}"
    - "tls://{{join . $.Closed}}"
    - "dtls://{{join . $.Closed}}"
{{- end}}
  tls: {certificate: {{.TLS.Cert}}, key: {{.TLS.Key}}}
  ports: {{.Ports}}
  users: {` + user + `: ` + password + `}
{{- if not .StaticAlone}}
  credentials: {certificate: {{.Issuer.Cert}}, key: {{.Issuer.Key}}}
  rest_secrets: [` + restSecret + `, previous]
{{- end}}
  lifetime: {default: 1m, max: {{.MaxLifetime}}}
  mobility: true
  legacy_channels: {{.LegacyChannels}}
  peers: {allow: [{{range $i, $p := .Allow}}{{if $i}}, {{end}}"{{$p}}"{{end}}]}
  limits: {allocations_per_user: 10000}
{{.More}}`))

var coturnFile = template.Must(template.New("coturn").Parse(`{{range .Hosts}}listening-ip={{.}}
relay-ip={{.}}
{{end}}listening-port={{.Open}}
tls-listening-port={{.Closed}}
min-port={{.First}}
max-port={{.Last}}
realm=` + realm + `
{{if .Rest}}use-auth-secret
static-auth-secret=` + restSecret + `
{{else}}lt-cred-mech
user=` + user + `:` + password + `
{{end}}max-allocate-lifetime={{.Seconds}}
cert={{.TLS.Cert}}
pkey={{.TLS.Key}}
fingerprint
allow-loopback-peers
mobility
no-cli
log-file=stdout
simple-log
pidfile={{.Dir}}/turnserver.pid
userdb={{.Dir}}/turndb
`))

// First, Last and Seconds are what coturn's file wants of a setup.
func (s setup) First() string    { first, _, _ := strings.Cut(s.Ports, "-"); return first }
func (s setup) Last() string     { _, last, _ := strings.Cut(s.Ports, "-"); return last }
func (s setup) Seconds() float64 { return s.MaxLifetime.Seconds() }

func joinHost(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// subject is a relay under test.
type subject struct {
	*rig.Process
	t *testing.T
	setup
	http *http.Client
}

// start runs the relay under test and waits until it takes clients. At the end of the test causeway is stopped as an
// operator would, and must have left nothing: exit code 0, no panic, no data race.
func start(t *testing.T, s setup) *subject {
	t.Helper()
	s.Dir, s.TLS, s.Issuer = t.TempDir(), certs, issuer
	s.Open, s.Closed = rig.Port(t), rig.Port(t)
	if len(s.Hosts) == 0 {
		s.Hosts = []string{"127.0.0.1", "::1"}
	}
	if len(s.Allow) == 0 {
		s.Allow = []string{"127.0.0.0/8", "::1/128"}
	}
	if s.MaxLifetime == 0 {
		s.MaxLifetime = time.Hour
	}
	if s.Admin == "" {
		s.Admin = joinHost("127.0.0.1", rig.Port(t))
	}
	if s.Ports == "" {
		s.Ports = fmt.Sprintf("%d-%d", firstRelayPort, lastRelayPort)
	}
	sub := &subject{t: t, setup: s, http: &http.Client{Timeout: 5 * time.Second}}
	if coturnUnderTest {
		sub.startCoturn()
	} else {
		sub.startCauseway()
	}
	return sub
}

func (s *subject) startCauseway() {
	s.t.Helper()
	file := s.write("causeway.yaml", causewayFile)
	binary := binaries.Checked
	if s.Plain {
		binary = binaries.Plain
	}
	s.Process = s.spawn("causeway", binary, "serve", "-c", file)
	s.t.Cleanup(s.finish)
	rig.Eventually(s.t, 20*time.Second, "causeway starts", func() string {
		if !s.Running() {
			s.t.Fatalf("causeway ended at once: %v\n%s", s.Wait(0), s.Output())
		}
		if s.Namespace != "" {
			// Its admin server is in there too; the log says when the relay is up.
			return s.binding()
		}
		status, body, err := s.get("/readyz")
		if err != nil {
			return err.Error()
		}
		if status != http.StatusOK {
			return fmt.Sprintf("not ready: %d %s", status, body)
		}
		return ""
	})
}

func (s *subject) startCoturn() {
	s.t.Helper()
	path := rig.Need(s.t, "turnserver", "coturn")
	s.Process = s.spawn("turnserver", path, "-c", s.write("turnserver.conf", coturnFile))
	rig.Eventually(s.t, 10*time.Second, "coturn starts", func() string {
		if !s.Running() {
			s.t.Fatalf("coturn ended at once: %v\n%s", s.Wait(0), s.Output())
		}
		return s.binding()
	})
}

func (s *subject) write(name string, file *template.Template) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := file.Execute(f, s.setup); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// spawn starts a program in the subject's namespace.
func (s *subject) spawn(name, path string, args ...string) *rig.Process {
	s.t.Helper()
	if s.Namespace != "" {
		args = append([]string{"netns", "exec", s.Namespace, path}, args...)
		path = "ip"
	}
	return rig.Spawn(s.t, s.Dir, name, nil, path, args...)
}

// binding says why the kernel has no TCP listener on the relay's ports yet, or "". It looks at the process's own
// namespace. A connection would do as well, but not from outside the namespace.
func (s *subject) binding() string {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", s.PID()))
	if err != nil {
		return err.Error()
	}
	for _, port := range []int{s.Open, s.Closed} {
		if !strings.Contains(string(table), fmt.Sprintf(":%04X 00000000:0000 0A ", port)) {
			return fmt.Sprintf("nothing listens on port %d", port)
		}
	}
	return ""
}

// finish stops causeway and looks at what it leaves.
func (s *subject) finish() {
	if !s.Running() {
		s.t.Errorf("causeway ended during the test: %v", s.Wait(0))
	} else if err := s.Stop(syscall.SIGTERM, 15*time.Second); err != nil {
		s.t.Errorf("causeway on SIGTERM: %v", err)
	}
	for _, bad := range []string{"DATA RACE", "panic", "fatal error", "goroutine 1 ["} {
		if out := s.Output(); strings.Contains(out, bad) {
			at := strings.Index(out, bad)
			s.t.Errorf("causeway printed %q:\n%s", bad, rig.Tail(out[at:min(len(out), at+4000)], 4000))
			break
		}
	}
}

func (s *subject) get(path string) (status int, body string, err error) {
	resp, err := s.http.Get("http://" + s.Admin + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, string(data), err
}

// memory is the resident memory of the relay in bytes.
func (s *subject) memory() int {
	s.t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// isRelayed fails the test unless an address is one that this relay gives away.
func (s *subject) isRelayed(t *testing.T, address string) {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Error(err)
		return
	}
	if a.Port() < firstRelayPort || a.Port() > lastRelayPort {
		t.Errorf("relayed address %v: its port is not in %s", a, s.Ports)
	}
	for _, host := range s.Hosts {
		if a.Addr().Unmap() == netip.MustParseAddr(host) {
			return
		}
	}
	t.Errorf("relayed address %v is none of %v", a, s.Hosts)
}
