package conf

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	gatewayPeer = `peer: "sip:198.51.100.20:5060"`
	maxCalls    = "  max_calls: 1000\n"
	poolPeers   = "peers: [192.0.2.0/24]"
	poolTLS     = "      ca: ca.pem\n"
)

// gatewayTLS makes the gateway link of valid one over TLS.
var gatewayTLS = []string{"listen: tcp://198.51.100.10:5060", "listen: tls://198.51.100.10:5060"}

const gatewaySection = `
    tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem%s}`

func TestSignallingSettings(t *testing.T) {
	text := strings.NewReplacer(
		poolPeers, "peers: [192.0.2.0/24, 198.51.100.7, FE1.example.org., 'fe2.example.org']\n    heartbeat: {interval: 0s}\n    reliable_provisionals: false",
		poolTLS, "      ca: ca.pem\n      clients: required\n",
		gatewayPeer, `peer: sip:gw.example.org
    heartbeat: {interval: 10s, failures: 2, successes: 5}
    auth: {username: trunk, password: "se cret"}
    register: {registrar: "sip:trunk.example.org", aor: "sip:+14255550100@trunk.example.org", expires: 10m}`,
		maxCalls, `  max_calls: 1000
  max_call_rate: 50
  resolver: 192.0.2.53
  limits: {connections: 10, unproven_connections: 5, prove_within: 5s, message_size: 8192, headers: 64}
  session_timer: {expires: 10m, min: 2m}
`).Replace(valid)
	cfg, _, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(text), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := cfg.Mediation
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"prefixes", fmt.Sprint(m.Pool.PeerPrefixes()), "[192.0.2.0/24 198.51.100.7/32]"},
		{"names", fmt.Sprint(m.Pool.PeerNames()), "[fe1.example.org fe2.example.org]"},
		{"peers", fmt.Sprint(m.Pool.Peers), "[192.0.2.0/24 198.51.100.7 fe1.example.org fe2.example.org]"},
		{"pool heartbeat", m.Pool.Heartbeat, Heartbeat{0, 3, 1}},
		{"pool 100rel", m.Pool.ReliableProvisionals, false},
		{"gateway 100rel", m.Gateway.ReliableProvisionals, true},
		{"pool clients", m.Pool.TLS.Clients, ClientsRequired},
		{"gateway clients", m.Gateway.TLS.Clients, ClientsRequired},
		{"gateway", m.Gateway.Peer, SIPURI{Host: "gw.example.org", Transport: "tcp"}},
		{"gateway heartbeat", m.Gateway.Heartbeat, Heartbeat{10 * time.Second, 2, 5}},
		{"user", m.Gateway.Auth.Username, "trunk"},
		{"password", m.Gateway.Auth.Password.Reveal(), "se cret"},
		{"registrar", m.Gateway.Register.Registrar, SIPURI{Host: "trunk.example.org", Transport: "tcp"}},
		{"aor", m.Gateway.Register.AOR, SIPURI{Host: "trunk.example.org", User: "+14255550100"}},
		{"aor as text", m.Gateway.Register.AOR.String(), "sip:+14255550100@trunk.example.org"},
		{"expires", m.Gateway.Register.Expires, 10 * time.Minute},
		{"rate", m.MaxCallRate, 50},
		{"resolver", m.Resolver, netip.MustParseAddrPort("192.0.2.53:53")},
		{"limits", m.Limits, SIPLimits{10, 5, 5 * time.Second, 8192, 64}},
		{"timer", m.SessionTimer, SessionTimer{10 * time.Minute, 2 * time.Minute}},
		{"looked up", fmt.Sprint(m.LookedUp()), "[fe1.example.org fe2.example.org gw.example.org]"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if out := cfg.String() + fmt.Sprintf("%+v %#v", m.Gateway.Auth, *m.Gateway.Auth); strings.Contains(out, "se cret") || !strings.Contains(out, "auth.password = [redacted]") {
		t.Errorf("the password is not hidden: %s", out)
	}
}

// TestRegistrarOfThePeer leaves the registrar out.
func TestRegistrarOfThePeer(t *testing.T) {
	text := replace(t, gatewayPeer, gatewayPeer+`
    auth: {username: a, password: b}
    register: {aor: "sip:a@[2001:db8::1]:5070"}`)
	cfg, _, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(text), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := cfg.Mediation.Gateway.Register
	if r.Registrar != cfg.Mediation.Gateway.Peer || r.Expires != time.Hour || r.AOR.String() != "sip:a@[2001:db8::1]:5070" {
		t.Errorf("got %+v", r)
	}
}

func TestResolverForms(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.53": "192.0.2.53:53", "192.0.2.53:5353": "192.0.2.53:5353", "'2001:db8::53'": "[2001:db8::53]:53",
		"'[2001:db8::53]:5353'": "[2001:db8::53]:5353", "'[2001:db8::53]'": "[2001:db8::53]:53", "''": "invalid AddrPort",
	} {
		edited := strings.Replace(replace(t, maxCalls, maxCalls+"  resolver: "+text+"\n"), gatewayPeer, "peer: sip:gw.example.org", 1)
		cfg, warnings, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(edited), testHost(), nil)
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %v %v", text, err, warnings)
		} else if got := cfg.Mediation.Resolver.String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestSignallingFaults(t *testing.T) {
	const noServer = " is no address of a server; write one such as 192.0.2.53 or 192.0.2.53:53"
	const noAOR = " is no address of record; write sip:USER@HOST, without parameters"
	checkFaults(t, []faultTest{
		fault("wildcard peer", poolPeers, "peers: [192.0.2.20, «'*.example.org']",
			`mediation.pool.peers[1] "*.example.org" has a wildcard; names are compared with certificates exactly, so write each one`),
		fault("peer with a port", poolPeers, "peers: [«'192.0.2.20:5060']",
			`mediation.pool.peers[0] "192.0.2.20:5060" is neither an IP address nor a network nor a name; write 192.0.2.10, 192.0.2.0/24 or pool.example.org`),
		fault("mistyped address for a peer", poolPeers, "peers: [«192.0.2.256]",
			`mediation.pool.peers[0] "192.0.2.256" is neither an IP address nor a network nor a name; write 192.0.2.10, 192.0.2.0/24 or pool.example.org`),
		{name: "name that no certificate can show", old: poolPeers, broken: "peers: [192.0.2.20, «fe1.example.org]", more: []string{poolTLS, poolTLS + "      clients: off\n"},
			want: []string{"mediation.pool.peers[1] is the name fe1.example.org, which has to stand in a certificate, and mediation.pool.tls.clients is off, so that none is asked for; write clients: optional, or give the address"}},
		fault("certificates of clients", poolTLS, poolTLS+"      clients: «always\n",
			`mediation.pool.tls.clients "always" must be one of required, optional, off`),
		fault("clients of the gateway", gatewayPeer, gatewayPeer+"\n    tls: {«clients: off}",
			"unknown key mediation.gateway.tls.clients; it belongs in mediation.pool.tls"),
		fault("name of the pool", poolTLS, poolTLS+"      «name: fe1.example.org\n",
			"unknown key mediation.pool.tls.name; it belongs in mediation.gateway.tls"),
		fault("revocation for the relay", "key: endpoint.key}", "key: endpoint.key, «crl: x}",
			"unknown key relay.tls.crl; it belongs in mediation.pool.tls or mediation.gateway.tls"),
		fault("fast heartbeat", gatewayPeer, gatewayPeer+"\n    heartbeat: {interval: «500ms}",
			"mediation.gateway.heartbeat.interval is 500ms; write 1s or more, or 0s for no heartbeat"),
		fault("slow heartbeat", poolPeers, poolPeers+"\n    heartbeat: {interval: «2h}",
			`mediation.pool.heartbeat.interval "2h" is too long; the most is 1h`),
		fault("no failures", poolPeers, poolPeers+"\n    heartbeat: {failures: «0}",
			"mediation.pool.heartbeat.failures is 0; it must be a whole number from 1 to 100, in decimal"),
		fault("session timer below the RFC's least", maxCalls, maxCalls+"  session_timer: {min: «60s}\n",
			`mediation.session_timer.min "60s" is too short; the least is 90s`),
		fault("session timer below its least", maxCalls, maxCalls+"  session_timer: {expires: «60s}\n",
			"mediation.session_timer.expires is 1m0s, shorter than the 1m30s of mediation.session_timer.min, the shortest that may be asked for (RFC 4028 section 5: 90s at least); raise it, or write 0s to ask for none"),
		fault("least above the default timer", maxCalls, maxCalls+"  session_timer: {min: «1h}\n",
			"mediation.session_timer.min is 1h0m0s, longer than the 30m0s that we ask for ourselves; lower it or set mediation.session_timer.expires"),
		fault("more unproven connections than connections", maxCalls, maxCalls+"  limits: {connections: 10, unproven_connections: «20}\n",
			"mediation.limits.unproven_connections is 20, more than the 10 of mediation.limits.connections, of which they are a part; lower it"),
		fault("short messages", maxCalls, maxCalls+"  limits: {message_size: «512}\n",
			"mediation.limits.message_size is 512; it must be a whole number from 2048 to 1048576, in decimal"),
		fault("no calls a second", maxCalls, maxCalls+"  max_call_rate: «0\n",
			"mediation.max_call_rate is 0; it must be a whole number from 1 to 100000, in decimal"),
		fault("resolver by name", maxCalls, maxCalls+"  resolver: «ns.example.org\n",
			`mediation.resolver "ns.example.org"`+noServer),
		fault("unspecified resolver", maxCalls, maxCalls+"  resolver: «0.0.0.0:53\n",
			`mediation.resolver "0.0.0.0:53"`+noServer),
		fault("port of the resolver", maxCalls, maxCalls+"  resolver: «192.0.2.53:0\n",
			`mediation.resolver "192.0.2.53:0" has the port "0"; ports are 1 to 65535`),
		fault("empty user", gatewayPeer, gatewayPeer+"\n    auth: {username: «'', password: x}",
			"mediation.gateway.auth.username is empty; write the name that the trunk was set up with, or remove mediation.gateway.auth"),
		fault("empty password", gatewayPeer, gatewayPeer+"\n    auth: {username: x, password: «''}",
			"mediation.gateway.auth.password is empty; write the password that the trunk was set up with, or remove mediation.gateway.auth"),
		fault("password with a line break", gatewayPeer, gatewayPeer+"\n    auth: {username: x, password: «\"a\\nb\"}",
			"mediation.gateway.auth.password has a control character, which no header can carry; correct it"),
		fault("no password", gatewayPeer, gatewayPeer+"\n    «auth: {username: x}",
			"mediation.gateway.auth.password is missing; add the key password"),
		fault("address of record without a user", gatewayPeer, gatewayPeer+"\n    register: {aor: «\"sip:trunk.example.org\"}",
			`mediation.gateway.register.aor "sip:trunk.example.org"`+noAOR),
		fault("address of record with a parameter", gatewayPeer, gatewayPeer+"\n    register: {aor: «\"sip:a@trunk.example.org;transport=tcp\"}",
			`mediation.gateway.register.aor "sip:a@trunk.example.org;transport=tcp"`+noAOR),
		fault("address of record with a password", gatewayPeer, gatewayPeer+"\n    register: {aor: «\"sip:a:b@trunk.example.org\"}",
			`mediation.gateway.register.aor "sip:a:b@trunk.example.org"`+noAOR),
		fault("tel for an address of record", gatewayPeer, gatewayPeer+"\n    register: {aor: «\"tel:+14255550100\"}",
			`mediation.gateway.register.aor "tel:+14255550100"`+noAOR),
		fault("registrar by another transport", gatewayPeer, gatewayPeer+"\n    auth: {username: a, password: b}\n    register: {aor: \"sip:a@b.example.org\", registrar: «\"sip:b.example.org;transport=udp\"}",
			"mediation.gateway.register.registrar uses udp, and requests go to mediation.gateway.peer, which uses tcp; leave the transport out"),
		fault("registration for a second", gatewayPeer, gatewayPeer+"\n    register: {aor: \"sip:a@b.example.org\", expires: «1s}",
			`mediation.gateway.register.expires "1s" is too short; the least is 60s`),
		{name: "another name", old: gatewayPeer, broken: `peer: "sip:gw.example.org;transport=tls"` + fmt.Sprintf(gatewaySection, ", name: «gw2.example.org"), more: gatewayTLS,
			want: []string{"mediation.gateway.tls.name is gw2.example.org, and mediation.gateway.peer is the name gw.example.org already, which its certificate has to carry; remove it, or correct peer"}},
		{name: "wildcard name", old: gatewayPeer, broken: `peer: "sip:198.51.100.20;transport=tls"` + fmt.Sprintf(gatewaySection, ", name: «'*.example.org'"), more: gatewayTLS,
			want: []string{`mediation.gateway.tls.name "*.example.org" has a wildcard; the certificate of a gateway is compared exactly, so write its whole name`}},
		{name: "no name", old: gatewayPeer, broken: `peer: "sip:198.51.100.20;transport=tls"` + fmt.Sprintf(gatewaySection, ", name: «-gw"), more: gatewayTLS,
			want: []string{`mediation.gateway.tls.name "-gw" is no name; write what the certificate has in its subject, such as gw.example.org`}},
	})
}

func TestSignallingWarnings(t *testing.T) {
	tcpPool := []string{"listen: [tls://192.0.2.10:5061]", "listen: [udp://192.0.2.10:5060]", ";transport=tls", ";transport=udp", "srtp: required", "srtp: rejected"}
	checkWarnings(t, []faultTest{
		{name: "peer by name without TLS", old: poolPeers, broken: "peers: [192.0.2.20, «fe1.example.org]", more: tcpPool,
			want: []string{"mediation.pool.peers[1] fe1.example.org is looked up by DNS, since no listener of this side is tls: whoever can forge an answer of the name server can place calls to the telephone network; listen on tls, or give addresses"}},
		fault("underscore in a peer", poolPeers, "peers: [192.0.2.20, «fe_1.example.org]",
			`mediation.pool.peers[1] has an underscore in the name "fe_1.example.org": many name servers and certificates do not allow it; use a hyphen`),
		{name: "clients off with tcp beside", old: poolPeers, broken: "peers: [192.0.2.20, fe1.example.org]",
			more: []string{poolTLS, poolTLS + "      clients: off\n", "listen: [tls://192.0.2.10:5061]", "listen: [tls://192.0.2.10:5061, tcp://192.0.2.10:5060]", "srtp: required", "srtp: rejected"}},
		fault("digest in the clear", gatewayPeer, gatewayPeer+"\n    auth: «{username: x, password: y}",
			"mediation.gateway.auth goes over tcp: whoever listens on the way can try passwords against what is sent, and alter requests; use tls where the trunk has it"),
		fault("registration without a password", gatewayPeer, gatewayPeer+"\n    register: «{aor: \"sip:a@trunk.example.org\"}",
			"mediation.gateway.register stands without mediation.gateway.auth: nearly every registrar asks for a name and a password; add auth: {username: NAME, password: PASSWORD}"),
		{name: "digest over TLS", old: gatewayPeer, more: gatewayTLS,
			broken: `peer: "sip:gw.example.org;transport=tls"` + fmt.Sprintf(gatewaySection, ", name: GW.example.org") + "\n    auth: {username: x, password: y}"},
		fault("name without TLS", gatewayPeer, gatewayPeer+fmt.Sprintf(gatewaySection, ", name: «gw.example.org"),
			"mediation.gateway.tls.name is of no use: mediation.gateway.peer uses tcp, which shows no certificate; remove it"),
		fault("resolver for nothing", maxCalls, maxCalls+"  resolver: «192.0.2.53\n",
			"mediation.resolver is of no use: every peer is given by its address, so nothing is looked up; remove it"),
		fault("short ring", maxCalls, maxCalls+"  ring_timeout: «10s\n",
			"mediation.ring_timeout 10s is shorter than the 32s that a peer has for its first answer (RFC 3261, timer B), so calls to a slow peer end before it is known to be away; write 32s or more"),
		{name: "fewer connections than may be unproven", old: maxCalls, broken: maxCalls + "  limits: {connections: 10}\n"},
		{name: "no session timer", old: maxCalls, broken: maxCalls + "  session_timer: {expires: 0s, min: 2h}\n"},
	})
}

func TestLookedUp(t *testing.T) {
	m := &Mediation{
		Pool: PoolSide{
			Listen: []Listen{{Network: "tls"}}, Peers: []Peer{{Name: "a.example.org"}, {Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
			NextHop: SIPURI{Host: "Pool.example.org."},
		},
		Gateway: GatewaySide{Peer: SIPURI{Host: "pool.example.org"}},
	}
	if got := m.LookedUp(); !slices.Equal(got, []string{"a.example.org", "pool.example.org"}) {
		t.Errorf("got %v", got)
	}
}
