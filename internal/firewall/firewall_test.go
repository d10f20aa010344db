package firewall

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"causeway/internal/conf"
)

func listen(network, addr string) conf.Listen {
	return conf.Listen{Network: network, Addr: netip.MustParseAddrPort(addr)}
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// full uses every kind of listener, both families and both roles.
func full() *conf.Config {
	return &conf.Config{
		Admin: conf.Admin{Listen: netip.MustParseAddrPort("10.0.0.5:8480")},
		Relay: &conf.Relay{
			Listen: []conf.Listen{listen("udp", "192.0.2.10:3478"), listen("tcp", "192.0.2.10:443"), listen("tls", "[2001:db8::10]:443"), listen("dtls", "192.0.2.10:5349")},
			TLS:    conf.TLS{Certificate: "relay.pem"},
			Ports:  conf.PortRange{First: 50000, Last: 59999},
			RelayAddresses: []netip.Addr{
				netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10"),
			},
			ExternalAddress: netip.MustParseAddr("203.0.113.7"),
			Internal: conf.RelayInternal{
				Listen: []conf.Listen{listen("udp", "10.0.0.5:3478")},
				Peers:  conf.PeerPolicy{Allow: prefixes("10.0.0.16/28", "10.0.1.1/32")},
			},
			Credentials: &conf.RelayCredentials{Listen: netip.MustParseAddrPort("10.0.0.5:5063")},
			Federation:  conf.FederationLegacy,
		},
		Mediation: &conf.Mediation{
			Pool: conf.PoolSide{
				Listen: []conf.Listen{listen("tls", "10.0.2.1:5061"), listen("tcp", "[2001:db8:2::1]:5060")}, MediaAddress: netip.MustParseAddr("10.0.2.1"),
				Peers:   []conf.Peer{{Prefix: netip.MustParsePrefix("10.0.2.0/24")}, {Prefix: netip.MustParsePrefix("2001:db8:2::/64")}},
				NextHop: conf.SIPURI{Host: "pool.example.org", Port: 5061, Transport: "tls"},
			},
			Gateway: conf.GatewaySide{
				Listen: listen("udp", "198.51.100.10:5060"), MediaAddress: netip.MustParseAddr("198.51.100.10"),
				Peer: conf.SIPURI{Host: "198.51.100.20", Port: 5070, Transport: "udp"},
			},
			Ports: conf.PortRange{First: 60000, Last: 64000},
		},
	}
}

func text(t *testing.T, c *conf.Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, "c.yaml", c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// table returns the lines of the table, with single spaces.
func table(text string) []string {
	var lines []string
	_, rest, _ := strings.Cut(text, "PURPOSE\n")
	for line := range strings.Lines(rest) {
		if line == "#\n" {
			break
		}
		lines = append(lines, strings.Join(strings.Fields(line)[1:], " "))
	}
	return lines
}

// rules returns the lines of both chains, without what stands in every one.
func rules(text string) (in, out []string) {
	into := &in
	_, rest, _ := strings.Cut(text, "flush chain inet filter causeway_out\n")
	for line := range strings.Lines(rest) {
		switch line = strings.TrimSpace(line); {
		case line == "chain causeway_out {":
			into = &out
		case strings.Contains(line, "comment "):
			*into = append(*into, line)
		}
	}
	return in, out
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTable(t *testing.T) {
	compare(t, "table", table(text(t, full())), []string{
		"external in UDP 192.0.2.10 port 3478 any clients: STUN and TURN",
		"external in TCP 192.0.2.10 port 443 any clients: STUN and TURN, plain and over TLS",
		"external in TCP 2001:db8::10 port 443 any clients: TURN over TLS",
		"external in UDP 192.0.2.10 port 5349 any clients: TURN over DTLS",
		"external in UDP 192.0.2.10 port 50000-59999 any media: peers of the external side",
		"external out UDP 192.0.2.10 port 50000-59999 any media: peers of the external side",
		"external in TCP 192.0.2.10 port 50000-59999 any media: peers of the external side",
		"external out TCP 192.0.2.10 port 50000-59999 any media: peers of the external side",
		"external in UDP 2001:db8::10 port 50000-59999 any media: peers of the external side",
		"external out UDP 2001:db8::10 port 50000-59999 any media: peers of the external side",
		"external in TCP 2001:db8::10 port 50000-59999 any media: peers of the external side",
		"external out TCP 2001:db8::10 port 50000-59999 any media: peers of the external side",
		"internal in UDP 10.0.0.5 port 3478 any clients: STUN and TURN",
		"internal in UDP 192.0.2.10 port 50000-59999 10.0.0.16/28, 10.0.1.1 media: peers of the internal side",
		"internal out UDP 192.0.2.10 port 50000-59999 10.0.0.16/28, 10.0.1.1 media: peers of the internal side",
		"internal in TCP 192.0.2.10 port 50000-59999 10.0.0.16/28, 10.0.1.1 media: peers of the internal side",
		"internal out TCP 192.0.2.10 port 50000-59999 10.0.0.16/28, 10.0.1.1 media: peers of the internal side",
		"internal in TCP 10.0.0.5 port 5063 any credentials: HTTPS with a client certificate",
		"pool in TCP 10.0.2.1 port 5061 10.0.2.0/24 SIP from the pool",
		"pool in TCP 10.0.2.1 port 5061 pool.example.org SIP from the pool",
		"pool in TCP 2001:db8:2::1 port 5060 2001:db8:2::/64 SIP from the pool",
		"pool in TCP 2001:db8:2::1 port 5060 pool.example.org SIP from the pool",
		"pool out TCP any pool.example.org port 5061 SIP to the pool's next hop",
		"pool in UDP 10.0.2.1 port 60000-64000 any media of calls: RTP and RTCP",
		"pool out UDP 10.0.2.1 port 60000-64000 any media of calls: RTP and RTCP",
		"gateway in UDP 198.51.100.10 port 5060 198.51.100.20 SIP from the gateway",
		"gateway out UDP 198.51.100.10 port 5060 198.51.100.20 port 5070 SIP to the gateway",
		"gateway out TCP any 198.51.100.20 port 5070 SIP to the gateway, too long for UDP",
		"gateway in UDP 198.51.100.10 port 60000-64000 any media of calls: RTP and RTCP",
		"gateway out UDP 198.51.100.10 port 60000-64000 any media of calls: RTP and RTCP",
		"names out UDP any any port 53 DNS: names of SIP peers",
		"names out TCP any any port 53 DNS: names of SIP peers",
		"admin in TCP 10.0.0.5 port 8480 your management network metrics, health, call records: no password guards them",
	})
}

func TestRules(t *testing.T) {
	in, out := rules(text(t, full()))
	compare(t, "in", in, []string{
		`ip daddr 192.0.2.10 udp dport 3478 accept comment "clients: STUN and TURN"`,
		`ip daddr 192.0.2.10 tcp dport 443 accept comment "clients: STUN and TURN, plain and over TLS"`,
		`ip6 daddr 2001:db8::10 tcp dport 443 accept comment "clients: TURN over TLS"`,
		`ip daddr 192.0.2.10 udp dport 5349 accept comment "clients: TURN over DTLS"`,
		`ip daddr 192.0.2.10 udp dport 50000-59999 accept comment "media: peers of the external side"`,
		`ip daddr 192.0.2.10 tcp dport 50000-59999 accept comment "media: peers of the external side"`,
		`ip6 daddr 2001:db8::10 udp dport 50000-59999 accept comment "media: peers of the external side"`,
		`ip6 daddr 2001:db8::10 tcp dport 50000-59999 accept comment "media: peers of the external side"`,
		`ip daddr 10.0.0.5 udp dport 3478 accept comment "clients: STUN and TURN"`,
		`ip daddr 192.0.2.10 ip saddr { 10.0.0.16/28, 10.0.1.1 } udp dport 50000-59999 accept comment "media: peers of the internal side"`,
		`ip daddr 192.0.2.10 ip saddr { 10.0.0.16/28, 10.0.1.1 } tcp dport 50000-59999 accept comment "media: peers of the internal side"`,
		`ip daddr 10.0.0.5 tcp dport 5063 accept comment "credentials: HTTPS with a client certificate"`,
		`ip daddr 10.0.2.1 ip saddr 10.0.2.0/24 tcp dport 5061 accept comment "SIP from the pool"`,
		`# complete the address of pool.example.org: ip daddr 10.0.2.1 ip saddr ADDRESS tcp dport 5061 accept comment "SIP from the pool"`,
		`ip6 daddr 2001:db8:2::1 ip6 saddr 2001:db8:2::/64 tcp dport 5060 accept comment "SIP from the pool"`,
		`# complete the address of pool.example.org: ip6 daddr 2001:db8:2::1 ip6 saddr ADDRESS tcp dport 5060 accept comment "SIP from the pool"`,
		`ip daddr 10.0.2.1 udp dport 60000-64000 accept comment "media of calls: RTP and RTCP"`,
		`ip daddr 198.51.100.10 ip saddr 198.51.100.20 udp dport 5060 accept comment "SIP from the gateway"`,
		`ip daddr 198.51.100.10 udp dport 60000-64000 accept comment "media of calls: RTP and RTCP"`,
		`# complete the address of your management network: ip daddr 10.0.0.5 ip saddr ADDRESS tcp dport 8480 accept comment "metrics, health, call records: no password guards them"`,
	})
	compare(t, "out", out, []string{
		`ip saddr 192.0.2.10 udp sport 50000-59999 accept comment "media: peers of the external side"`,
		`ip saddr 192.0.2.10 tcp sport 50000-59999 accept comment "media: peers of the external side"`,
		`ip6 saddr 2001:db8::10 udp sport 50000-59999 accept comment "media: peers of the external side"`,
		`ip6 saddr 2001:db8::10 tcp sport 50000-59999 accept comment "media: peers of the external side"`,
		`ip saddr 192.0.2.10 ip daddr { 10.0.0.16/28, 10.0.1.1 } udp sport 50000-59999 accept comment "media: peers of the internal side"`,
		`ip saddr 192.0.2.10 ip daddr { 10.0.0.16/28, 10.0.1.1 } tcp sport 50000-59999 accept comment "media: peers of the internal side"`,
		`# complete the address of pool.example.org: ip daddr ADDRESS tcp dport 5061 accept comment "SIP to the pool's next hop"`,
		`ip saddr 10.0.2.1 udp sport 60000-64000 accept comment "media of calls: RTP and RTCP"`,
		`ip saddr 198.51.100.10 ip daddr 198.51.100.20 udp sport 5060 udp dport 5070 accept comment "SIP to the gateway"`,
		`ip daddr 198.51.100.20 tcp dport 5070 accept comment "SIP to the gateway, too long for UDP"`,
		`ip saddr 198.51.100.10 udp sport 60000-64000 accept comment "media of calls: RTP and RTCP"`,
		`udp dport 53 accept comment "DNS: names of SIP peers"`,
		`tcp dport 53 accept comment "DNS: names of SIP peers"`,
	})
}

// TestFederation holds the cells of the manual's table: what passes toward each side for each value of the setting.
func TestFederation(t *testing.T) {
	all := []string{"TCP in", "TCP out", "UDP in", "UDP out"}
	for _, tt := range []struct {
		federation conf.Federation
		external   []string
		note       string
	}{
		{conf.FederationClosed, nil, "federation is closed: ports 50000-59999 stay shut toward the external side."},
		{conf.FederationR2, []string{"TCP out"}, "federation is r2: TCP leaves from ports 50000-59999, and nothing comes in there from the external side."},
		{conf.FederationLegacy, all, "federation is legacy: ports 50000-59999 are open both ways, for UDP and TCP."},
	} {
		c := full()
		c.Relay.Federation = tt.federation
		c.Relay.RelayAddresses = c.Relay.RelayAddresses[:1]
		ways := map[string][]string{}
		for _, p := range Passages(c) {
			if p.HerePorts == c.Relay.Ports {
				ways[p.Side] = append(ways[p.Side], strings.ToUpper(p.Protocol)+" "+string(p.Direction))
			}
		}
		for _, w := range ways {
			slices.Sort(w)
		}
		if !slices.Equal(ways["external"], tt.external) || !slices.Equal(ways["internal"], all) {
			t.Errorf("%s: %v", tt.federation, ways)
		}
		if got := text(t, c); !strings.Contains(got, "# "+tt.note+"\n") {
			t.Errorf("%s: no note %q in\n%s", tt.federation, tt.note, got)
		}
	}
}

func TestNotes(t *testing.T) {
	with := strings.Join(strings.Fields(strings.ReplaceAll(text(t, full()), "\n# ", " ")), " ")
	for _, want := range []string{
		"the NAT has to map 203.0.113.7 to 192.0.2.10 in both directions, for UDP and TCP, with ports unchanged.",
		"Port 5062 is not used: it belongs to the SIP authentication service",
	} {
		if !strings.Contains(with, want) {
			t.Errorf("%q is not in\n%s", want, with)
		}
	}
	c := full()
	c.Relay.ExternalAddress = netip.Addr{}
	if got := text(t, c); strings.Contains(got, "NAT") {
		t.Errorf("a NAT that nobody spoke of in\n%s", got)
	}
	c.Relay = nil
	c.Admin.Listen = netip.MustParseAddrPort("127.0.0.1:8480")
	got := text(t, c)
	for _, unwanted := range []string{"external", "federation", "5062", "admin"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("mediation alone speaks of %q:\n%s", unwanted, got)
		}
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "# HERE") && len(line) > 120 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// TestOtherForms has a gateway by name, one in IPv6 and admin on all addresses.
func TestOtherForms(t *testing.T) {
	c := full()
	c.Relay = nil
	c.Admin.Listen = netip.MustParseAddrPort("0.0.0.0:8480")
	c.Mediation.Gateway.Listen = listen("tcp", "[2001:db8:1::1]:5060")
	c.Mediation.Gateway.Peer = conf.SIPURI{Host: "2001:db8:1::2", Port: 5060, Transport: "tcp"}
	in, out := rules(text(t, c))
	all := strings.Join(append(in, out...), "\n")
	for _, want := range []string{
		`ip6 daddr 2001:db8:1::1 ip6 saddr 2001:db8:1::2 tcp dport 5060 accept comment "SIP from the gateway"`,
		`ip6 daddr 2001:db8:1::2 tcp dport 5060 accept comment "SIP to the gateway"`,
		`# complete the address of your management network: ip saddr ADDRESS tcp dport 8480 accept`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	c.Mediation.Gateway.Peer = conf.SIPURI{Host: "gw.example.org", Transport: "tcp"}
	c.Mediation.Resolver = netip.MustParseAddrPort("[2001:db8::53]:5353")
	c.Mediation.Pool.Peers = append(c.Mediation.Pool.Peers, conf.Peer{Name: "fe1.example.org"}, conf.Peer{Name: "fe2.example.org"})
	in, out = rules(text(t, c))
	all = strings.Join(append(in, out...), "\n")
	for _, want := range []string{
		`# complete the address of gw.example.org: ip6 daddr 2001:db8:1::1 ip6 saddr ADDRESS tcp dport 5060 accept comment "SIP from the gateway"`,
		`# complete the address of gw.example.org: ip daddr ADDRESS meta l4proto tcp accept comment "SIP to the gateway, ports by SRV"`,
		`# complete the address of fe1.example.org, fe2.example.org, pool.example.org: ip daddr 10.0.2.1 ip saddr ADDRESS tcp dport 5061 accept comment "SIP from the pool"`,
		`ip6 daddr 2001:db8::53 udp dport 5353 accept comment "DNS: names of SIP peers"`,
		`ip6 daddr 2001:db8::53 tcp dport 5353 accept comment "DNS: names of SIP peers"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteReportsErrors(t *testing.T) {
	if err := Write(brokenWriter{}, "c.yaml", full()); err == nil {
		t.Error("no error")
	}
}

// TestNFTablesTakesTheRules has nft itself read them, without loading them.
func TestNFTablesTakesTheRules(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skipf("needs nft and root: %v", err)
	}
	if out, err := exec.Command(nft, "list", "ruleset").CombinedOutput(); err != nil {
		t.Skipf("nft may not ask the kernel here: %v: %s", err, out)
	}
	for _, f := range []conf.Federation{conf.FederationClosed, conf.FederationR2, conf.FederationLegacy} {
		c := full()
		c.Relay.Federation = f
		check := exec.Command(nft, "-c", "-f", "-")
		check.Stdin = strings.NewReader(text(t, c))
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", f, err, out, numbered(text(t, c)))
		}
	}
}

func numbered(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		fmt.Fprintf(&b, "%3d %s\n", i+1, line)
	}
	return b.String()
}

// TestNextHopMaySpeak: the next hop is a peer, whether it is listed or not.
func TestNextHopMaySpeak(t *testing.T) {
	for next, want := range map[string]string{
		"10.0.2.7":         "[10.0.2.0/24 2001:db8:2::/64] []",
		"10.9.9.9":         "[10.0.2.0/24 2001:db8:2::/64 10.9.9.9/32] []",
		"Pool.example.org": "[10.0.2.0/24 2001:db8:2::/64] [pool.example.org]",
	} {
		p := full().Mediation.Pool
		p.NextHop.Host = next
		prefixes, hosts := poolPeers(&p)
		if got := fmt.Sprint(prefixes, hosts); got != want {
			t.Errorf("%s: %s, want %s", next, got, want)
		}
	}
}
