package locate

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"causeway/test/rig"
)

const failure = dnsmessage.RCodeServerFailure

// places are the addresses of the targets.
func places(targets []Target) []string {
	var out []string
	for _, t := range targets {
		out = append(out, t.Addr.String())
	}
	return out
}

func want(t *testing.T, p *Peer, addrs ...string) {
	t.Helper()
	if got := places(p.Targets()); !slices.Equal(got, addrs) {
		t.Errorf("targets %v, want %v", got, addrs)
	}
}

// first draws always the lowest number.
func first() float64 { return 0 }

func peer(t *testing.T, cfg Config) *Peer {
	t.Helper()
	if cfg.Rand == nil {
		cfg.Rand = first
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func named(t *testing.T, d *rig.DNS, port int, network string) *Peer {
	t.Helper()
	return peer(t, Config{Host: "gw.example.test", Port: port, Network: network, Resolver: Resolver(d.Addr())})
}

// RFC 3263 4.2: an address needs no look-up; the port is the one written, or
// the transport's.
func TestAnAddressNeedsNoDNS(t *testing.T) {
	for _, c := range []struct {
		host    string
		port    int
		network string
		want    string
	}{
		{"192.0.2.7", 0, "udp", "192.0.2.7:5060"},
		{"192.0.2.7", 0, "tcp", "192.0.2.7:5060"},
		{"192.0.2.7", 0, "tls", "192.0.2.7:5061"},
		{"192.0.2.7", 5070, "tls", "192.0.2.7:5070"},
		{"[2001:db8::7]", 0, "udp", "[2001:db8::7]:5060"},
		{"::ffff:192.0.2.7", 0, "udp", "192.0.2.7:5060"},
	} {
		p := peer(t, Config{Host: c.host, Port: c.port, Network: c.network, Resolver: noDNS{t}})
		want(t, p, c.want)
		if got := p.Targets()[0]; got.Name != "" || got.Network != c.network {
			t.Errorf("%s: %+v", c.host, got)
		}
	}
	p := peer(t, Config{Host: "192.0.2.7", Network: "tls", Name: "gw.example.test"})
	if got := p.Targets()[0].Name; got != "gw.example.test" {
		t.Errorf("an address with a configured name has %q", got)
	}
	if !p.Allowed(netip.MustParseAddr("::ffff:192.0.2.7")) || p.Allowed(netip.MustParseAddr("192.0.2.8")) {
		t.Error("Allowed")
	}
}

// RFC 3263 4.2: a name with a port is looked up for addresses alone.
func TestANameWithAPortHasNoSRV(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1", "192.0.2.2", "2001:db8::1")
	d.Service("_sip._tcp.gw.example.test", rig.SRV{Port: 1, Target: "elsewhere.example.test"})
	p := named(t, d, 5070, "tcp")
	got := places(p.Targets())
	slices.Sort(got)
	if !slices.Equal(got, []string{"192.0.2.1:5070", "192.0.2.2:5070", "[2001:db8::1]:5070"}) {
		t.Errorf("targets %v", got)
	}
	if n := d.Asked("_sip._tcp.gw.example.test"); n != 0 {
		t.Errorf("asked %d times for SRV", n)
	}
	if name := p.Targets()[0].Name; name != "gw.example.test" {
		t.Errorf("certificate name %q", name)
	}
}

// RFC 3263 4.2: without a port, SRV by transport, in order of priority, and
// the certificate's name stays the peer's (RFC 5922 7.3).
func TestANameWithoutAPortIsFoundBySRV(t *testing.T) {
	for network, service := range map[string]string{"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"} {
		d := rig.NewDNS(t)
		d.Service(service+".gw.example.test",
			rig.SRV{Priority: 20, Port: 5080, Target: "b.example.test"},
			rig.SRV{Priority: 10, Port: 5070, Target: "a.example.test"})
		d.Host("a.example.test", "192.0.2.1")
		d.Host("b.example.test", "192.0.2.2")
		p := named(t, d, 0, network)
		want(t, p, "192.0.2.1:5070", "192.0.2.2:5080")
		if got := p.Targets()[1]; got.Name != "gw.example.test" || got.Network != network {
			t.Errorf("%s: %+v", network, got)
		}
		if n := d.Asked("gw.example.test"); n != 0 {
			t.Errorf("%s: asked %d times for the name's own addresses", network, n)
		}
	}
}

// RFC 3263 4.2: no SRV records: addresses, with the default port.
func TestWithoutSRVRecordsTheDefaultPort(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1")
	want(t, named(t, d, 0, "udp"), "192.0.2.1:5060")
	want(t, named(t, d, 0, "tls"), "192.0.2.1:5061")
	d.Service("_sip._udp.gw.example.test") // the name is there, without data
	want(t, named(t, d, 0, "udp"), "192.0.2.1:5060")
}

// A look-up for SRV that fails says nothing about the default port.
func TestAFailingSRVLookUpIsNoLeaveToGuess(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1")
	d.Fail("_sip._udp.gw.example.test", failure)
	p := named(t, d, 0, "udp")
	want(t, p)
	if p.Up() || p.Allowed(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a peer without addresses is up, or allows one")
	}
}

// RFC 2782: a target of "." says that the service is not there.
func TestSRVMaySayThatThereIsNoService(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1")
	d.Service("_sip._udp.gw.example.test", rig.SRV{Port: 5060, Target: "."})
	p := named(t, d, 0, "udp")
	want(t, p)
	if err := p.resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "no such service") {
		t.Errorf("error %v", err)
	}
}

func TestStrict(t *testing.T) {
	d := rig.NewDNS(t)
	cfg := Config{Host: "gw.example.test", Network: "udp", Resolver: Resolver(d.Addr())}
	if _, err := New(cfg); err != nil {
		t.Errorf("not strict: %v", err)
	}
	cfg.Strict = true
	if _, err := New(cfg); err == nil {
		t.Error("strict, and a name that does not exist is no error")
	}
	for _, bad := range []Config{{Network: "udp"}, {Host: "192.0.2.1", Network: "sctp"}, {Host: "192.0.2.1"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is no error", bad)
		}
	}
}

// RFC 3263 4.2 has the client take the addresses it supports.
func TestUsable(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1", "2001:db8::1")
	p := peer(t, Config{Host: "gw.example.test", Network: "udp", Resolver: Resolver(d.Addr()), Usable: netip.Addr.Is4})
	want(t, p, "192.0.2.1:5060")
	cfg := Config{Host: "gw.example.test", Network: "udp", Resolver: Resolver(d.Addr()), Strict: true, Usable: func(netip.Addr) bool { return false }}
	if _, err := New(cfg); err == nil {
		t.Error("no address can be reached, and that is no error")
	}
}

// One address in two records is one target, where it comes first.
func TestAnAddressIsTriedOnce(t *testing.T) {
	d := rig.NewDNS(t)
	d.Service("_sip._udp.gw.example.test",
		rig.SRV{Priority: 1, Port: 5060, Target: "a.example.test"},
		rig.SRV{Priority: 2, Port: 5060, Target: "b.example.test"})
	d.Host("a.example.test", "192.0.2.1")
	d.Host("b.example.test", "192.0.2.1", "192.0.2.2")
	want(t, named(t, d, 0, "udp"), "192.0.2.1:5060", "192.0.2.2:5060")
}

// What came is kept where a look-up fails, and follows what DNS says where it
// does not.
func TestAddressesFollowDNS(t *testing.T) {
	d := rig.NewDNS(t)
	d.Service("_sip._udp.gw.example.test",
		rig.SRV{Priority: 1, Port: 5060, Target: "a.example.test"},
		rig.SRV{Priority: 2, Port: 5060, Target: "b.example.test"})
	d.Host("a.example.test", "192.0.2.1")
	d.Host("b.example.test", "192.0.2.2")
	p := named(t, d, 0, "udp")
	again := func(wantErr bool) {
		t.Helper()
		if err := p.resolve(t.Context()); (err != nil) != wantErr {
			t.Errorf("look-up: %v", err)
		}
	}
	d.Host("a.example.test", "192.0.2.3")
	again(false)
	want(t, p, "192.0.2.3:5060", "192.0.2.2:5060")
	if p.Allowed(netip.MustParseAddr("192.0.2.1")) || !p.Allowed(netip.MustParseAddr("192.0.2.3")) {
		t.Error("Allowed does not follow")
	}

	d.Fail("a.example.test", failure) // one target of two
	d.Host("b.example.test", "192.0.2.4")
	again(true)
	want(t, p, "192.0.2.3:5060", "192.0.2.4:5060")

	d.Fail("_sip._udp.gw.example.test", failure) // everything
	again(true)
	want(t, p, "192.0.2.3:5060", "192.0.2.4:5060")

	d.Remove("_sip._udp.gw.example.test") // no SRV, no addresses
	again(true)
	want(t, p, "192.0.2.3:5060", "192.0.2.4:5060")

	d.Host("gw.example.test", "192.0.2.5") // no SRV any more
	again(false)
	want(t, p, "192.0.2.5:5060")
}

// What is known of an address stays with it.
func TestHealthStaysWithTheAddress(t *testing.T) {
	d := rig.NewDNS(t)
	d.Host("gw.example.test", "192.0.2.1", "192.0.2.2")
	p := named(t, d, 5060, "udp")
	bad := p.Targets()[0]
	p.Report(bad, errors.New("no answer"))
	d.Host("gw.example.test", "192.0.2.1", "192.0.2.2", "192.0.2.3")
	if err := p.resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.Targets(); len(got) != 3 || got[2] != bad {
		t.Errorf("targets %v, want %v last", places(got), bad.Addr)
	}
}
