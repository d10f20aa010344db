package interop

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
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
    heartbeat: {interval: 0s} # SIPp takes OPTIONS for a call that goes wrong
    tls: {certificate: {{.TLS.Cert}}, key: {{.TLS.Key}}, ca: {{.TLS.CA}}}
  gateway:
    listen: {{.GatewayListen}}
    peer: "{{.GatewayPeer}}"
    media_address: 127.0.0.2
    srtp: {{.GatewaySRTP}}
    heartbeat: {interval: 0s}
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
	*rig.Causeway
	t *testing.T
	lab
}

// start runs causeway with a configuration until the end of the test, by when
// it must have left nothing behind; see rig.Serve.
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
	binary := binaries.Checked
	return &server{t: t, lab: l, Causeway: rig.Serve(t, binary, l.Dir, text.String(), l.Admin)}
}

// holdings is what calls take while they last and give back.
type holdings struct {
	Goroutines, Descriptors, PoolPorts, GatewayPorts, Calls int
}

func (s *server) holdings() holdings {
	s.t.Helper()
	return holdings{
		Goroutines:   int(s.Metric("go_goroutines")),
		Descriptors:  s.Descriptors(),
		PoolPorts:    int(s.Metric(`causeway_mediation_ports_free{side="pool"}`)),
		GatewayPorts: int(s.Metric(`causeway_mediation_ports_free{side="gateway"}`)),
		Calls:        int(s.Sum("causeway_mediation_calls")),
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

func (s *server) state() string { return filepath.Join(s.Dir, "state") }

// recorded waits for n records and returns them.
func (s *server) recorded(n int, patience time.Duration) []rig.Record {
	s.t.Helper()
	return rig.Recorded(s.t, s.state(), n, patience)
}

// pool and gateway say where the sides listen: HOST:PORT.
func (s *server) pool() string    { return hostport(s.PoolListen[0]) }
func (s *server) gateway() string { return hostport(s.GatewayListen) }

func hostport(listen string) string {
	_, addr, _ := strings.Cut(listen, "://")
	return addr
}
