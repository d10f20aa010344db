package proxies

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/test/rig"
)

// Who is where in the network of a test.
const (
	poolSide    = 1 // of causeway
	gatewaySide = 2
	gateway     = 3
	proxy       = 4
	alice       = 5 // users of the pool
	bob         = 6
)

// side is what the pool or the gateway section of a configuration says.
type side struct {
	Listen  []string // "tls://127.0.0.1:5061"; the gateway side has one
	Peer    string   // next_hop of the pool, peer of the gateway
	SRTP    string
	TLS     rig.PKI  // none when Cert is empty
	CRL     string   // file
	Name    string   // tls.name
	Clients string   // tls.clients
	More    []string // further lines below the side
}

// configuration is that of one causeway.
type configuration struct {
	Net    rig.Network
	Binary string // default: with the race detector
	Name   string // default: causeway

	LogLevel string

	Pool, Gateway side

	PoolPeers []string
	Media     [2]string // addresses of the pool's and the gateway side's media
	Ports     string
	More      []string // further lines below mediation:
}

// quiet turns a side's heartbeat off, so that what a proxy or a gateway sees are calls.
const quiet = "heartbeat: {interval: 0s}"

// standard is a causeway on the first addresses of a network: pool by TLS, gateway by TCP, media on ports that nobody
// else of that network uses.
func standard(t *testing.T, net rig.Network) configuration {
	t.Helper()
	return configuration{
		Net: net, Binary: binaries.Checked, Name: "causeway", LogLevel: "debug", Ports: "61000-61099",
		Pool: side{
			Listen: []string{fmt.Sprintf("tls://%s:5061", net.Addr(poolSide))}, SRTP: "required",
			Peer: fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(proxy)), TLS: everyone(t, net), More: []string{quiet},
		},
		PoolPeers: []string{net.String()},
		Gateway: side{
			Listen: []string{fmt.Sprintf("tcp://%s:5060", net.Addr(gatewaySide))}, SRTP: "rejected",
			Peer: fmt.Sprintf("sip:%s:5060;transport=tcp", net.Addr(gateway)), More: []string{quiet},
		},
		Media: [2]string{net.Addr(poolSide).String(), net.Addr(gatewaySide).String()},
	}
}

// shared keeps one certificate for each network.
var shared sync.Map // rig.Network to func() (rig.PKI, error)

// everyone is the one certificate that is good for the first addresses of a network.
func everyone(t *testing.T, net rig.Network) rig.PKI {
	t.Helper()
	made, _ := shared.LoadOrStore(net, sync.OnceValues(func() (rig.PKI, error) {
		var addresses []string
		for host := range byte(20) {
			addresses = append(addresses, net.Addr(host+1).String())
		}
		return issue(rig.Identity{CommonName: "everyone", Names: []string{"localhost"}, Addresses: addresses})
	}))
	files, err := made.(func() (rig.PKI, error))()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var issued atomic.Int32

// issue has the authority of all tests issue a certificate.
func issue(id rig.Identity) (rig.PKI, error) {
	return authority.Issue(fmt.Sprintf("%d", issued.Add(1)), id)
}

// yaml writes the configuration for a causeway that keeps its state below dir.
func (c *configuration) yaml(dir, admin string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir: %s/state\nadmin: {listen: %q}\nlog: {level: %s, format: json}\n", dir, admin, c.LogLevel)
	fmt.Fprintf(&b, "mediation:\n  ports: %s\n", c.Ports)
	for _, line := range c.More {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "  pool:\n    listen: [%s]\n    peers: [%s]\n    next_hop: %q\n    media_address: %s\n",
		quoted(c.Pool.Listen), quoted(c.PoolPeers), c.Pool.Peer, c.Media[0])
	c.Pool.write(&b)
	fmt.Fprintf(&b, "  gateway:\n    listen: %s\n    peer: %q\n    media_address: %s\n", quoted(c.Gateway.Listen), c.Gateway.Peer, c.Media[1])
	c.Gateway.write(&b)
	return b.String()
}

func (s *side) write(b *strings.Builder) {
	fmt.Fprintf(b, "    srtp: %s\n", s.SRTP)
	if s.TLS.Cert != "" {
		fmt.Fprintf(b, "    tls:\n      certificate: %s\n      key: %s\n      ca: %s\n", s.TLS.Cert, s.TLS.Key, s.TLS.CA)
		for key, value := range map[string]string{"crl": s.CRL, "name": s.Name, "clients": s.Clients} {
			if value != "" {
				fmt.Fprintf(b, "      %s: %q\n", key, value)
			}
		}
	}
	for _, line := range s.More {
		fmt.Fprintf(b, "    %s\n", line)
	}
}

func quoted(all []string) string {
	var each []string
	for _, s := range all {
		each = append(each, fmt.Sprintf("%q", s))
	}
	return strings.Join(each, ", ")
}

// causeway is a running one. Its methods belong to the test's goroutine.
type causeway struct {
	*rig.Causeway
	configuration
	t     *testing.T
	state string
}

func start(t *testing.T, c configuration) *causeway {
	t.Helper()
	dir := t.TempDir()
	admin := fmt.Sprintf("%s:8480", c.Media[0])
	s := &causeway{t: t, configuration: c, state: filepath.Join(dir, "state")}
	s.Causeway = rig.Serve(t, c.Binary, dir, c.yaml(dir, admin), admin)
	s.Process.Name = c.Name
	return s
}

// dropped counts what a side's signalling has dropped for a reason.
func (s *causeway) dropped(side, reason string) float64 {
	s.t.Helper()
	return s.Metric(fmt.Sprintf("causeway_mediation_sip_dropped_total{reason=%q,side=%q}", reason, side))
}

// drops are the reasons of both sides that were counted.
func (s *causeway) drops() []string {
	s.t.Helper()
	var all []string
	for series, n := range s.Metrics() {
		if strings.HasPrefix(series, "causeway_mediation_sip_dropped_total") && n > 0 {
			all = append(all, fmt.Sprint(series, " ", n))
		}
	}
	return all
}

// logged returns the lines of the log so far that have every one of the words.
func (s *causeway) logged(words ...string) []string {
	var found []string
	for line := range strings.Lines(s.Output()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// recorded waits for n records and returns them.
func (s *causeway) recorded(n int) []rig.Record {
	s.t.Helper()
	return rig.Recorded(s.t, s.state, n, 10*time.Second)
}

// holdings is what calls take while they last and give back.
type holdings struct {
	Goroutines, Descriptors, PoolPorts, GatewayPorts, Calls, Sessions int
}

func (s *causeway) holdings() holdings {
	s.t.Helper()
	return holdings{
		Goroutines:   int(s.Metric("go_goroutines")),
		Descriptors:  s.Descriptors(),
		PoolPorts:    int(s.Metric(`causeway_mediation_ports_free{side="pool"}`)),
		GatewayPorts: int(s.Metric(`causeway_mediation_ports_free{side="gateway"}`)),
		Calls:        int(s.Sum("causeway_mediation_calls")),
		Sessions:     int(s.Sum("causeway_mediation_sip_sessions")),
	}
}

// settled waits until everything that calls took has come back. Of links, connections that were not there before and
// that peers keep open, each is a descriptor and up to three goroutines. A connection that the scrape itself opened may
// still be closing, hence one more; a leak per call is at least one of each for every call of the test.
func (s *causeway) settled(before holdings, links int, patience time.Duration) {
	s.t.Helper()
	rig.Eventually(s.t, patience, "what the calls took comes back", func() string {
		now := s.holdings()
		if now.Goroutines <= before.Goroutines+3*links+2 && now.Descriptors <= before.Descriptors+links+1 &&
			now.PoolPorts == before.PoolPorts && now.GatewayPorts == before.GatewayPorts &&
			now.Calls == 0 && now.Sessions == 0 {
			return ""
		}
		return fmt.Sprintf("%+v, before %+v", now, before)
	})
}
