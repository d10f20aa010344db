package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"causeway/test/rig"
)

// lab is the configuration of one causeway under test. Zero fields get a port
// of their own or the default that the template shows.
type lab struct {
	PoolListen    []string // "tls://127.0.0.1:PORT"
	PoolSRTP      string
	NextHop       string // "sip:127.0.0.1:PORT;transport=tls"
	GatewayListen string
	GatewayPeer   string
	GatewaySRTP   string
	// GatewayNetwork is tcp (default) or udp, for startTrunk.
	GatewayNetwork string
	Media          string // port range of its own on the two media addresses
	More           string // further lines below mediation:
	Plain          bool   // without the race detector, for load

	Dir   string
	Admin string // HOST:PORT
	TLS   rig.PKI
}

var labFile = template.Must(template.New("lab").Parse(`state_dir: {{.Dir}}/state
admin: {listen: {{.Admin}}}
log: {level: debug, format: json}
mediation:
  pool:
    listen: [{{range $i, $l := .PoolListen}}{{if $i}}, {{end}}"{{$l}}"{{end}}]
    media_address: 127.0.0.1
    srtp: {{.PoolSRTP}}
    peers: [127.0.0.1]
    next_hop: "{{.NextHop}}"
    tls: {certificate: {{.TLS.Cert}}, key: {{.TLS.Key}}, ca: {{.TLS.CA}}}
  gateway:
    listen: {{.GatewayListen}}
    peer: "{{.GatewayPeer}}"
    media_address: 127.0.0.2
    srtp: {{.GatewaySRTP}}
  ports: {{.Media}}
{{.More}}`))

// nextMedia slices the media ports, so that tests can run side by side. They
// lie above the ephemeral ports, which the peers use for their own look-ups.
var nextMedia atomic.Int32

func mediaPorts(t *testing.T, pairs int) string {
	t.Helper()
	last := 61000 + int(nextMedia.Add(int32(2*pairs)))
	if last > 65000 {
		t.Fatal("the tests have used up the media ports")
	}
	return fmt.Sprintf("%d-%d", last-2*pairs, last-1)
}

// server is a running causeway.
type server struct {
	*rig.Process
	t *testing.T
	lab
}

// start runs causeway with a configuration and waits until it is ready. At the
// end of the test it is stopped and must have left nothing: exit code 0, no
// panic, no data race, no goroutine that outlived its owner's patience.
func start(t *testing.T, l lab) *server {
	t.Helper()
	l.Dir = t.TempDir()
	l.TLS = certs
	if l.Admin == "" {
		l.Admin = fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	}
	if len(l.PoolListen) == 0 {
		l.PoolListen = []string{fmt.Sprintf("tls://127.0.0.1:%d", rig.Port(t))}
	}
	if l.GatewayListen == "" {
		l.GatewayListen = fmt.Sprintf("tcp://127.0.0.2:%d", rig.Port(t))
	}
	if l.GatewayPeer == "" {
		l.GatewayPeer = fmt.Sprintf("sip:127.0.0.3:%d", rig.Port(t))
	}
	if l.NextHop == "" {
		l.NextHop = fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", rig.Port(t))
	}
	if l.Media == "" {
		l.Media = mediaPorts(t, 10)
	}
	if l.PoolSRTP == "" {
		l.PoolSRTP = "required"
	}
	if l.GatewaySRTP == "" {
		l.GatewaySRTP = "rejected"
	}
	var text bytes.Buffer
	if err := labFile.Execute(&text, l); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(l.Dir, "causeway.yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}

	binary := binaries.Checked
	if l.Plain {
		binary = binaries.Plain
	}
	s := &server{t: t, lab: l, Process: rig.Spawn(t, l.Dir, "causeway", nil, binary, "serve", "-c", file)}
	t.Cleanup(s.finish)
	rig.Eventually(t, 20*time.Second, "causeway starts", func() string {
		if !s.Running() {
			t.Fatalf("causeway ended at once: %v\n%s", s.Wait(0), s.Output())
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
	return s
}

// finish stops causeway as an operator would and looks at what it leaves.
func (s *server) finish() {
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

var client = &http.Client{Timeout: 5 * time.Second}

func (s *server) get(path string) (status int, body string, err error) {
	resp, err := client.Get("http://" + s.Admin + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, string(data), err
}

// metric returns the value of one series, named as it is printed:
// `causeway_mediation_ports_free{side="pool"}`.
func (s *server) metric(series string) float64 {
	s.t.Helper()
	v, ok := s.metrics()[series]
	if !ok {
		s.t.Fatalf("/metrics has no series %s", series)
	}
	return v
}

func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	status, body, err := s.get("/metrics")
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("/metrics: %d %v", status, err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(body) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			all[line[:at]] = v
		}
	}
	return all
}

// sum adds up all series of a metric.
func (s *server) sum(name string) float64 {
	s.t.Helper()
	var total float64
	found := false
	for series, v := range s.metrics() {
		if series == name || strings.HasPrefix(series, name+"{") {
			total += v
			found = true
		}
	}
	if !found {
		s.t.Fatalf("/metrics has no series of %s", name)
	}
	return total
}

// holdings is what calls take while they last and give back.
type holdings struct {
	Goroutines, Descriptors, PoolPorts, GatewayPorts, Calls int
}

func (s *server) holdings() holdings {
	s.t.Helper()
	return holdings{
		Goroutines:   int(s.metric("go_goroutines")),
		Descriptors:  s.Descriptors(),
		PoolPorts:    int(s.metric(`causeway_mediation_ports_free{side="pool"}`)),
		GatewayPorts: int(s.metric(`causeway_mediation_ports_free{side="gateway"}`)),
		Calls:        int(s.sum("causeway_mediation_calls")),
	}
}

// settled waits until everything that calls took has come back. A connection
// that the scrape itself opened may still be closing, hence one descriptor and
// two goroutines of slack; a leak per call is at least one of each for every
// call of the test.
func (s *server) settled(before holdings, patience time.Duration) {
	s.t.Helper()
	rig.Eventually(s.t, patience, "what the calls took comes back", func() string {
		now := s.holdings()
		if now.Goroutines <= before.Goroutines+2 && now.Descriptors <= before.Descriptors+1 &&
			now.PoolPorts == before.PoolPorts && now.GatewayPorts == before.GatewayPorts && now.Calls == 0 {
			return ""
		}
		return fmt.Sprintf("%+v, before %+v", now, before)
	})
}

// record is a line of the spool, as far as the tests look at it. Pointers are
// fields that may be unknown.
type record struct {
	ID        string            `json:"id"`
	Direction string            `json:"direction"`
	CallIDs   map[string]string `json:"call_ids"`
	Received  struct {
		RequestURI string `json:"request_uri"`
		From       string `json:"from"`
		To         string `json:"to"`
	} `json:"received"`
	Sent struct {
		RequestURI string `json:"request_uri"`
		From       string `json:"from"`
		To         string `json:"to"`
	} `json:"sent"`
	Invite       *time.Time `json:"invite"`
	Provisional  *time.Time `json:"first_provisional"`
	Answer       *time.Time `json:"answer"`
	End          *time.Time `json:"end"`
	Code         int        `json:"code"`
	Reason       string     `json:"reason"`
	ReasonHeader *string    `json:"reason_header"`
	EndedBy      string     `json:"ended_by"`
	Legs         []struct {
		Side    string  `json:"side"`
		Codec   string  `json:"codec"`
		SRTP    *string `json:"srtp"`
		Receive stream  `json:"receive"`
		Send    stream  `json:"send"`
	} `json:"legs"`
}

type stream struct {
	Packets   uint64            `json:"packets"`
	Bytes     uint64            `json:"bytes"`
	Lost      *int64            `json:"lost"`
	JitterMS  *float64          `json:"jitter_ms"`
	RoundTrip *float64          `json:"round_trip_ms"`
	Drops     map[string]uint64 `json:"drops"`
}

// records reads the spool. Every line must be a whole record.
func (s *server) records() []record {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, "state", "spool", "calls-*.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []record
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // being written just now
			}
			var r record
			if err := json.Unmarshal(line, &r); err != nil {
				s.t.Fatalf("%s: %v in %s", filepath.Base(name), err, line)
			}
			all = append(all, r)
		}
	}
	return all
}

// recorded waits for n records and returns them.
func (s *server) recorded(n int, patience time.Duration) []record {
	s.t.Helper()
	var got []record
	rig.Eventually(s.t, patience, "the records of the calls arrive in the spool", func() string {
		if got = s.records(); len(got) == n {
			return ""
		}
		return fmt.Sprintf("%d of %d", len(got), n)
	})
	return got
}

// pool and gateway say where the sides listen: HOST:PORT.
func (s *server) pool() string    { return hostport(s.PoolListen[0]) }
func (s *server) gateway() string { return hostport(s.GatewayListen) }

func hostport(listen string) string {
	_, addr, _ := strings.Cut(listen, "://")
	return addr
}
