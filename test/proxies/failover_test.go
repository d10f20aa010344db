package proxies

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// gatewayName is the one gateway of these tests; what DNS makes of it are two addresses, the second of which stands by.
const (
	gatewayName = "gw.example.test"
	standby     = 7 // its address
)

// cluster is a causeway whose gateway is a name, a user of the pool who calls, and the name server.
type cluster struct {
	*causeway
	dns   *rig.DNS
	alice *endpoint
	files rig.PKI
	by    string // network
}

func setCluster(t *testing.T, network string, srv bool, more ...string) *cluster {
	t.Helper()
	net, dns := rig.NewNetwork(t), rig.NewDNS(t)
	first, last := net.Addr(gateway).String(), net.Addr(standby).String()
	c := standard(t, net)
	c.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(alice))
	c.Gateway.Listen = []string{fmt.Sprintf("%s://%s:5060", network, net.Addr(gatewaySide))}
	c.Gateway.Peer = fmt.Sprintf("sip:%s:5060;transport=%s", gatewayName, network)
	if srv {
		c.Gateway.Peer = fmt.Sprintf("sip:%s;transport=%s", gatewayName, network)
		service := map[string]string{"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}[network]
		dns.Service(service+gatewayName,
			rig.SRV{Priority: 20, Weight: 1, Port: 5060, Target: "two." + gatewayName},
			rig.SRV{Priority: 10, Weight: 1, Port: 5060, Target: "one." + gatewayName})
		dns.Host("one."+gatewayName, first)
		dns.Host("two."+gatewayName, last)
	} else {
		dns.Host(gatewayName, first, last)
	}
	c.Gateway.More = more
	if len(more) == 0 {
		c.Gateway.More = []string{quiet}
	}
	c.More = append(c.More, fmt.Sprintf("resolver: %q", dns.Addr()))
	k := &cluster{dns: dns, by: network}
	if network == "tls" {
		files, err := issue(rig.Identity{CommonName: gatewayName, Names: []string{gatewayName}})
		if err != nil {
			t.Fatal(err)
		}
		k.files, c.Gateway.TLS = files, everyone(t, net)
	}
	k.causeway = start(t, c)
	k.alice = userAt(t, net, alice, "alice", poolTone, nil)
	return k
}

// gateway is one of the two.
func (k *cluster) gateway(t *testing.T, host byte, reply ua.Reply) *endpoint {
	t.Helper()
	c := ua.Config{Name: fmt.Sprintf("gateway%d", host), Listen: fmt.Sprintf("%s://%s:5060", k.by, k.Net.Addr(host)), Audio: sine(gatewayTone)}
	if k.by == "tls" {
		c.TLS = identity(t, k.files)
	}
	return startEndpoint(t, c, func(*ua.Call) ua.Reply { return reply })
}

// call places a call and returns what became of it, and how long that took.
func (k *cluster) call(t *testing.T) (*ua.Call, time.Duration, error) {
	t.Helper()
	began := time.Now()
	call, err := k.alice.Call(t.Context(), fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, k.Net.Addr(poolSide)), ua.Options{From: poolNumber})
	return call, time.Since(began), err
}

// reaches places a call that a gateway has to get, soon, and hangs up.
func (k *cluster) reaches(t *testing.T, e *endpoint) {
	t.Helper()
	placed, took, err := k.call(t)
	if err != nil {
		t.Fatal(err)
	}
	if took > 2*time.Second {
		t.Errorf("the call was answered after %v", took)
	}
	taken := e.received(t, time.Second)
	time.Sleep(300 * time.Millisecond)
	hangUp(t, placed, taken)
}

// addresses waits until so many of the gateway's addresses are up and down.
func (k *cluster) addresses(t *testing.T, up, down float64) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, fmt.Sprintf("%v addresses are up and %v down", up, down), func() string {
		u := k.Metric(`causeway_mediation_sip_peer_addresses{side="gateway",state="up"}`)
		d := k.Metric(`causeway_mediation_sip_peer_addresses{side="gateway",state="down"}`)
		if u == up && d == down {
			return ""
		}
		return fmt.Sprintf("%v up, %v down", u, d)
	})
}

// The first address of the gateway does not take calls: the next one does, for the same call (RFC 3263 4.3), whether
// nobody is there or somebody answers 503.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network string
		srv     bool
		busy    bool // the first answers 503; otherwise it is not there
	}{
		{"tcp", true, false}, {"tcp", true, true}, {"tcp", false, false}, {"tls", true, false}, {"tls", true, true},
		{"udp", true, true}, {"udp", false, true},
	} {
		t.Run(fmt.Sprintf("%s, srv %v, 503 %v", c.network, c.srv, c.busy), func(t *testing.T) {
			t.Parallel()
			k := setCluster(t, c.network, c.srv)
			before := k.holdings()
			var first *endpoint
			if c.busy {
				first = k.gateway(t, gateway, ua.Reply{Ring: -1, Code: 503})
			}
			last := k.gateway(t, standby, ua.Reply{Answer: 50 * time.Millisecond})
			for range 3 {
				k.reaches(t, last)
				if first != nil {
					first.received(t, time.Second)
				}
			}
			for _, r := range k.recorded(3) {
				if r.Code != 200 || r.EndedBy != "pool" {
					t.Errorf("record: %d ended by %s", r.Code, r.EndedBy)
				}
			}
			k.settled(before, 3, 45*time.Second)
		})
	}
}

// Nobody takes calls: the caller hears what the last one said, and is not kept waiting.
func TestFailoverRunsOut(t *testing.T) {
	t.Parallel()
	k := setCluster(t, "tcp", true)
	refusing := ua.Reply{Ring: -1, Code: 503, Headers: []ua.Header{{Name: "Retry-After", Value: "17"}}}
	one, two := k.gateway(t, gateway, refusing), k.gateway(t, standby, refusing)
	_, took, err := k.call(t)
	var refused *ua.ResponseError
	if !errors.As(err, &refused) || refused.Code != 503 || took > time.Second {
		t.Fatalf("after %v: %v", took, err)
	}
	if got := refused.Final().Get("Retry-After"); got != "17" {
		t.Errorf("Retry-After %q, want what the gateway said", got)
	}
	one.received(t, time.Second)
	two.received(t, time.Second)
}

// beat is a heartbeat that finds in two seconds what the default finds in a minute and a half.
const beat = "heartbeat: {interval: 1s, failures: 2, successes: 1}"

// The heartbeat marks addresses: calls go to the first that is up, at once, and back to it when it has come back. While
// none is up, calls are refused at once with Retry-After, /readyz says why, and so does a metric.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			k := setCluster(t, network, true, beat)
			answer := ua.Reply{Answer: 50 * time.Millisecond}
			one, two := k.gateway(t, gateway, answer), k.gateway(t, standby, answer)
			k.addresses(t, 2, 0)
			k.reaches(t, one)

			one.stop()
			revive := func() {}
			if network == "udp" {
				revive = blackHole(t, fmt.Sprintf("%s:5060", k.Net.Addr(gateway)))
			}
			k.addresses(t, 1, 1)
			k.reaches(t, two)
			if status, body, err := k.Get("/readyz"); status != http.StatusOK {
				t.Errorf("/readyz with one address of two: %d %s %v", status, body, err)
			}

			two.stop()
			k.addresses(t, 0, 2)
			if status, body, err := k.Get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "gateway") {
				t.Errorf("/readyz without a gateway: %d %q %v", status, body, err)
			}
			if up := k.Metric(`causeway_mediation_sip_peer_up{side="gateway"}`); up != 0 {
				t.Errorf("sip_peer_up is %v", up)
			}
			_, took, err := k.call(t)
			var refused *ua.ResponseError
			if !errors.As(err, &refused) || refused.Code != 503 || refused.Final().Get("Retry-After") == "" || took > 500*time.Millisecond {
				t.Errorf("a call without a gateway, after %v: %v", took, err)
			}

			two = k.gateway(t, standby, answer)
			k.addresses(t, 1, 1)
			k.reaches(t, two)
			revive()
			one = k.gateway(t, gateway, answer)
			k.addresses(t, 2, 0)
			k.reaches(t, one)
			if status, body, err := k.Get("/readyz"); status != http.StatusOK {
				t.Errorf("/readyz with the gateway back: %d %s %v", status, body, err)
			}
		})
	}
}

// blackHole takes datagrams and says nothing, until it is told to end.
func blackHole(t *testing.T, address string) (end func()) {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func() { conn.Close() }
}

// Either address of the gateway may call, and nobody else on its side.
func TestEveryAddressOfTheGatewayMayCall(t *testing.T) {
	t.Parallel()
	k := setCluster(t, "tcp", true)
	for _, host := range []byte{gateway, standby} {
		e := k.gateway(t, host, ua.Reply{})
		placed := e.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, k.Net.Addr(gatewaySide)), ua.Options{From: gatewayNumber})
		hangUp(t, placed, k.alice.received(t, time.Second))
	}
	stranger := k.gateway(t, standby+1, ua.Reply{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := stranger.Call(ctx, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, k.Net.Addr(gatewaySide)), ua.Options{}); err == nil {
		t.Error("a stranger's call was answered")
	}
	if n := k.dropped("gateway", "peer_not_allowed"); n == 0 {
		t.Errorf("the stranger was not counted: %q", k.drops())
	}
}
