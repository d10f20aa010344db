package auth

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func policy(t testing.TB, o PolicyOptions) *Policy {
	t.Helper()
	p, err := NewPolicy(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// prefixes reads a list.
func prefixes(text string) []netip.Prefix {
	var all []netip.Prefix
	for f := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParsePrefix(f))
	}
	return all
}

func addrs(text string) []netip.Addr {
	var all []netip.Addr
	for f := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParseAddr(f))
	}
	return all
}

// edge is a relay behind a 1:1 NAT with an internal side.
func edge() PolicyOptions {
	return PolicyOptions{
		Federation:    Legacy,
		Deny:          prefixes("8.8.0.0/16 10.0.0.0/8 2a00:1450::/32"),
		Allow:         prefixes("172.16.5.0/24 8.8.8.0/24 fd00:1::/32"),
		InternalAllow: prefixes("192.168.0.0/16 7.0.0.0/8 10.9.0.1/32"),
		InternalDeny:  prefixes("192.168.66.0/24 7.7.0.0/16"),
		Host:          addrs("192.168.0.2 172.16.5.2 10.0.0.5 127.0.0.1 ::1 fe80::1%eth0 2a01::2"),
		Relay:         addrs("10.0.0.5 9.0.0.9 2a01::1"),
		Ports:         [2]uint16{50000, 59999},
	}
}

func TestPolicyDecisions(t *testing.T) {
	p := policy(t, edge())
	for _, tt := range []struct {
		peer  string
		want  bool
		class Class
		rule  string
		form  string
	}{
		{"1.1.1.1:9", true, ClassExternal, "built-in: global unicast", ""},
		{"[2606:4700::1]:9", true, ClassExternal, "built-in: global unicast", ""},
		{"8.8.8.8:9", false, ClassExternal, "peers.deny 8.8.0.0/16", ""}, // deny, then allow
		{"[2a00:1450::1]:9", false, ClassExternal, "peers.deny 2a00:1450::/32", ""},
		{"172.16.5.1:9", true, ClassExternal, "peers.allow 172.16.5.0/24", ""},
		{"172.16.6.1:9", false, ClassExternal, "built-in: private use (RFC 1918)", ""},
		{"[fd00:1::1]:9", true, ClassExternal, "peers.allow fd00:1::/32", ""},
		{"[fd00:2::1]:9", false, ClassExternal, "built-in: unique local (RFC 4193)", ""},
		{"169.254.169.254:80", false, ClassExternal, "built-in: link-local and metadata (RFC 3927)", ""},
		{"127.0.0.1:9", false, ClassExternal, "built-in: loopback (RFC 1122)", ""},
		{"[::1]:9", false, ClassExternal, "built-in: loopback (RFC 4291)", ""},
		{"0.0.0.0:9", false, ClassExternal, "built-in: unspecified (RFC 1122)", ""},
		{"224.0.0.1:9", false, ClassExternal, "built-in: multicast (RFC 5771)", ""},
		// The internal side.
		{"192.168.1.1:9", true, ClassInternal, "internal.peers.allow 192.168.0.0/16", ""},
		{"192.168.66.1:9", false, ClassInternal, "internal.peers.deny 192.168.66.0/24", ""},
		{"7.1.0.1:9", true, ClassInternal, "internal.peers.allow 7.0.0.0/8", ""},
		{"7.7.0.1:9", false, ClassInternal, "internal.peers.deny 7.7.0.0/16", ""}, // not external by being denied
		{"10.9.0.1:9", true, ClassInternal, "internal.peers.allow 10.9.0.1/32", ""},
		{"10.9.0.2:9", false, ClassExternal, "peers.deny 10.0.0.0/8", ""},
		// This host: a network that is allowed or denied does not mean it.
		{"192.168.0.2:22", false, ClassInternal, "built-in: this host's other sockets", ""},
		{"172.16.5.2:22", false, ClassExternal, "built-in: this host's other sockets", ""},
		{"[2a01::2]:22", false, ClassExternal, "built-in: this host's other sockets", ""},
		{"10.0.0.5:50000", true, ClassOwn, "built-in: own relayed address", ""},
		{"10.0.0.5:59999", true, ClassOwn, "built-in: own relayed address", ""},
		{"10.0.0.5:49999", false, ClassExternal, "peers.deny 10.0.0.0/8", ""},
		{"10.0.0.5:60000", false, ClassExternal, "peers.deny 10.0.0.0/8", ""},
		{"9.0.0.9:50001", true, ClassOwn, "built-in: own relayed address", ""},
		{"9.0.0.9:3478", false, ClassExternal, "built-in: this host's other sockets", ""},
		{"[2a01::1]:50000", true, ClassOwn, "built-in: own relayed address", ""},
		{"[2a01::1]:443", false, ClassExternal, "built-in: this host's other sockets", ""},
		{"[2a01::2]:50000", false, ClassExternal, "built-in: this host's other sockets", ""}, // relays nothing
		{"[fe80::1]:9", false, ClassExternal, "built-in: link-local (RFC 4291)", ""},
		// Other spellings.
		{"[::ffff:10.9.0.1]:9", true, ClassInternal, "internal.peers.allow 10.9.0.1/32", "IPv4-mapped"},
		{"[::ffff:8.8.8.8]:9", false, ClassExternal, "peers.deny 8.8.0.0/16", "IPv4-mapped"},
		{"[::ffff:1.1.1.1]:9", false, ClassExternal, "built-in: IPv4-mapped (RFC 4291)", ""},
		{"[64:ff9b::7f00:1]:9", false, ClassExternal, "built-in: loopback (RFC 1122)", "NAT64"},
		{"[64:ff9b::1.1.1.1]:9", false, ClassExternal, "built-in: IPv4-IPv6 translation (RFC 6052)", ""},
		{"[64:ff9b:1::1.1.1.1]:9", false, ClassExternal, "built-in: local-use IPv4-IPv6 translation (RFC 8215)", ""},
		{"[2002:a09:1::1]:9", false, ClassExternal, "built-in: 6to4 (RFC 3056)", ""}, // a tunnel's other end is not that peer
		{"[2001:0:101:101:8000:63bf:8000:fffe]:9", false, ClassExternal, "built-in: loopback (RFC 1122)", "Teredo"},
		{"[2606:4700::5efe:169.254.169.254]:80", false, ClassExternal, "built-in: link-local and metadata (RFC 3927)", "ISATAP"},
		{"[2606:4700::5efe:1.1.1.1]:80", true, ClassExternal, "built-in: global unicast", ""},
		{"[::ffff:9.0.0.9]:50001", false, ClassExternal, "built-in: this host's other sockets", "IPv4-mapped"},
		{"[2002:900:9::1]:50001", false, ClassExternal, "built-in: this host's other sockets", "6to4"},
		{"[2606:4700::5efe:10.0.0.5]:50001", false, ClassExternal, "peers.deny 10.0.0.0/8", "ISATAP"},
		// What is no address.
		{"1.1.1.1:0", false, ClassExternal, "built-in: port 0", ""},
		{"[fe80::1%eth0]:9", false, ClassExternal, "built-in: not a plain IP address", ""},
		{"[2606:4700::1%1]:9", false, ClassExternal, "built-in: not a plain IP address", ""},
	} {
		want := Decision{Allowed: tt.want, Class: tt.class, Rule: tt.rule, Form: tt.form}
		for op := range opCount {
			if got := p.Endpoint(netip.MustParseAddrPort(tt.peer), op); got != want {
				t.Errorf("%s: %+v, want %+v", tt.peer, got, want)
			}
		}
	}
	if d := p.Endpoint(netip.AddrPortFrom(netip.Addr{}, 9), UDPOut); d.Allowed || d.Rule != ruleInvalid {
		t.Errorf("no address: %+v", d)
	}
	if d := p.Address(netip.Addr{}, allOps); d.Allowed {
		t.Errorf("no address: %+v", d)
	}
}

// A port of the range that is no relayed address now is judged as any other peer, and as this host's.
func TestPolicyHeldPorts(t *testing.T) {
	type held struct {
		addr string
		port uint16
		tcp  bool
	}
	at := held{"10.0.0.5", 50000, false}
	const other, deny = "built-in: this host's other sockets", "peers.deny 10.0.0.0/8"
	for _, tt := range []struct {
		name  string
		held  []held
		peer  string
		op    Op
		want  bool
		class Class
		rule  string
	}{
		{"held", []held{at}, "10.0.0.5:50000", UDPOut, true, ClassOwn, ruleOwn},
		{"held, from there", []held{at}, "10.0.0.5:50000", UDPIn, true, ClassOwn, ruleOwn},
		{"another port", []held{at}, "10.0.0.5:50001", UDPOut, false, ClassExternal, deny},
		{"another address", []held{at}, "9.0.0.9:50000", UDPOut, false, ClassExternal, other},
		{"what is advertised", []held{{"9.0.0.9", 50000, false}}, "9.0.0.9:50000", UDPOut, true, ClassOwn, ruleOwn},
		{"IPv6", []held{{"2a01::1", 50000, false}}, "[2a01::1]:50000", UDPOut, true, ClassOwn, ruleOwn},
		{"IPv6, not held", []held{at}, "[2a01::1]:50000", UDPIn, false, ClassExternal, other},
		{"UDP alone", []held{at}, "10.0.0.5:50000", TCPConnect, false, ClassExternal, deny},
		{"UDP alone, from there", []held{at}, "10.0.0.5:50000", TCPAccept, false, ClassExternal, deny},
		{"TCP", []held{{"10.0.0.5", 50000, true}}, "10.0.0.5:50000", TCPConnect, true, ClassOwn, ruleOwn},
		{"TCP, from there", []held{{"10.0.0.5", 50000, true}}, "10.0.0.5:50000", TCPAccept, true, ClassOwn, ruleOwn},
		{"TCP alone", []held{{"10.0.0.5", 50000, true}}, "10.0.0.5:50000", UDPOut, false, ClassExternal, deny},
		{"the ends of the range", []held{{"9.0.0.9", 59999, false}}, "9.0.0.9:59999", UDPOut, true, ClassOwn, ruleOwn},
		{"beyond the range", []held{{"9.0.0.9", 60000, false}}, "9.0.0.9:60000", UDPOut, false, ClassExternal, other},
		{"before the range", []held{{"9.0.0.9", 49999, false}}, "9.0.0.9:49999", UDPOut, false, ClassExternal, other},
		{"allowed network, not held", nil, "172.16.5.9:50000", UDPOut, false, ClassExternal, other},
		{"allowed by itself, not held", nil, "8.0.0.7:50000", UDPOut, true, ClassExternal, "peers.allow 8.0.0.7/32"},
		{"internal network, not held", nil, "192.168.0.7:50000", UDPOut, false, ClassInternal, other},
		{"another spelling", []held{at}, "[::ffff:10.0.0.5]:50000", UDPOut, false, ClassExternal, deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := edge()
			o.Allow = append(o.Allow, prefixes("8.0.0.7/32")...)
			o.Relay = append(o.Relay, addrs("172.16.5.9 8.0.0.7 192.168.0.7")...)
			o.Held = func(a netip.Addr, port uint16, tcp bool) bool {
				return slices.Contains(tt.held, held{a.String(), port, tcp})
			}
			d := policy(t, o).Endpoint(netip.MustParseAddrPort(tt.peer), tt.op)
			if d.Allowed != tt.want || d.Class != tt.class || d.Rule != tt.rule {
				t.Errorf("%+v, want %v, %v, %q", d, tt.want, tt.class, tt.rule)
			}
		})
	}
}

// What Held says is asked each time, and federation rules what it does not hold.
func TestPolicyHeldChanges(t *testing.T) {
	var held bool
	o := PolicyOptions{
		Allow: prefixes("9.0.0.9/32"), Relay: addrs("9.0.0.9"), Ports: [2]uint16{50000, 59999},
		Held: func(netip.Addr, uint16, bool) bool { return held },
	}
	p := policy(t, o)
	peer := netip.MustParseAddrPort("9.0.0.9:50000")
	for _, held = range []bool{false, true, false} {
		if d := p.Endpoint(peer, UDPOut); d.Allowed != held {
			t.Errorf("held %v: %+v", held, d)
		}
		if d := p.Address(peer.Addr(), allOps); !d.Allowed || d.Class != ClassOwn {
			t.Errorf("held %v: a permission is %+v", held, d)
		}
	}
	if d := p.Endpoint(peer, UDPOut); d.Rule != "federation closed" {
		t.Errorf("not held: %+v", d)
	}
}

// A permission has no port: for a relayed address it is granted, since some port is one of the relay's.
func TestPolicyPermissions(t *testing.T) {
	o := edge()
	for _, tt := range []struct {
		addr  string
		want  bool
		class Class
	}{
		{"10.0.0.5", true, ClassOwn},
		{"9.0.0.9", true, ClassOwn},
		{"2a01::1", true, ClassOwn},
		{"2a01::2", false, ClassExternal},
		{"192.168.0.2", false, ClassInternal},
		{"192.168.0.3", true, ClassInternal},
		{"1.1.1.1", true, ClassExternal},
		{"::ffff:10.0.0.5", false, ClassExternal},
	} {
		d := policy(t, o).Address(netip.MustParseAddr(tt.addr), allOps)
		if d.Allowed != tt.want || d.Class != tt.class {
			t.Errorf("%s: %+v, want %v, %v", tt.addr, d, tt.want, tt.class)
		}
	}
	o.Ports = [2]uint16{}
	if d := policy(t, o).Address(netip.MustParseAddr("9.0.0.9"), allOps); d.Allowed {
		t.Errorf("an own address without relay ports: %+v", d)
	}
}

// Rules that name this host's addresses one by one mean them.
func TestPolicyRulesAboutThisHost(t *testing.T) {
	base := PolicyOptions{
		Federation: Legacy,
		Host:       addrs("127.0.0.1 ::1 10.0.0.2 2a01::2 fe80::1%eth0"),
		Relay:      addrs("10.0.0.5 127.0.0.1"),
		Ports:      [2]uint16{50000, 59999},
	}
	for _, tt := range []struct {
		peer, allow, internalAllow, deny, internalDeny string
		want                                           bool
	}{
		{peer: "10.0.0.2:9", allow: "10.0.0.0/8"},
		{peer: "10.0.0.2:9", allow: "10.0.0.2/32", want: true},
		{peer: "10.0.0.2:9", allow: "10.0.0.0/8 10.0.0.2/32", want: true},
		{peer: "10.0.0.2:9", internalAllow: "10.0.0.0/8"},
		{peer: "10.0.0.2:9", internalAllow: "10.0.0.2/32", want: true},
		{peer: "10.0.0.2:9", internalAllow: "10.0.0.2/32", internalDeny: "10.0.0.0/8"},
		{peer: "10.0.0.2:9", allow: "10.0.0.2/32", deny: "10.0.0.0/8"},
		{peer: "[2a01::2]:9", allow: "2a01::/16"},
		{peer: "[2a01::2]:9", allow: "2a01::2/128", want: true},
		{peer: "[fe80::1]:9", allow: "fe80::/10"},
		{peer: "[fe80::2]:9", allow: "fe80::/10", want: true},
		// Loopback is nothing but this host: a rule about it means it. The lab lives by that.
		{peer: "127.0.0.1:9", allow: "127.0.0.0/8", want: true},
		{peer: "127.0.0.1:9", internalAllow: "127.0.0.0/8", want: true},
		{peer: "[::1]:9", allow: "::1/128", want: true},
		{peer: "127.0.0.1:9", allow: "127.0.0.0/8", deny: "127.0.0.1/32"},
		// Relayed addresses.
		{peer: "10.0.0.5:50000", want: true},
		{peer: "10.0.0.5:50000", deny: "10.0.0.0/8", want: true},
		{peer: "10.0.0.5:50000", internalDeny: "10.0.0.0/8", want: true},
		{peer: "10.0.0.5:50000", deny: "10.0.0.5/32"},
		{peer: "10.0.0.5:50000", internalDeny: "10.0.0.5/32"},
		{peer: "10.0.0.5:3478", allow: "10.0.0.0/8"},
		{peer: "10.0.0.5:3478", allow: "10.0.0.5/32", want: true},
		{peer: "127.0.0.1:50000", want: true},
		{peer: "127.0.0.1:49999"},
	} {
		o := base
		o.Allow, o.InternalAllow = prefixes(tt.allow), prefixes(tt.internalAllow)
		o.Deny, o.InternalDeny = prefixes(tt.deny), prefixes(tt.internalDeny)
		if d := policy(t, o).Endpoint(netip.MustParseAddrPort(tt.peer), UDPOut); d.Allowed != tt.want {
			t.Errorf("%+v: %+v", tt, d)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	bits := netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 8)
	mapped := netip.MustParsePrefix("::ffff:10.0.0.0/104")
	for _, tt := range []struct {
		name string
		o    PolicyOptions
		want string
	}{
		{"an invalid prefix", PolicyOptions{Deny: []netip.Prefix{{}}}, "peers.deny"},
		{"bits behind the mask", PolicyOptions{Allow: []netip.Prefix{bits}}, "peers.allow 10.0.0.1/8 has bits behind its mask; write 10.0.0.0/8"},
		{"a mapped network", PolicyOptions{Allow: []netip.Prefix{mapped}}, "write the IPv4 network"},
		{"a mapped network, denied", PolicyOptions{InternalDeny: []netip.Prefix{mapped}}, "internal.peers.deny"},
		{"a mapped network, internal", PolicyOptions{InternalAllow: []netip.Prefix{mapped}}, "internal.peers.allow"},
		{"no relay address", PolicyOptions{Relay: []netip.Addr{{}}}, "relay address"},
		{"the unspecified address", PolicyOptions{Relay: addrs("0.0.0.0")}, "relay address 0.0.0.0"},
		{"a zone", PolicyOptions{Relay: addrs("fe80::1%eth0")}, "relay address"},
		{"no host address", PolicyOptions{Host: []netip.Addr{{}}}, "address of this host"},
		{"inverted ports", PolicyOptions{Ports: [2]uint16{2, 1}}, "relay ports 2-1"},
		{"too many rules", PolicyOptions{Deny: make([]netip.Prefix, 0, 1), Allow: many(65_536)}, "rules"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewPolicy(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// many are single addresses, no two of them neighbours.
func many(n int) []netip.Prefix {
	all := make([]netip.Prefix, n)
	for i := range all {
		all[i] = netip.PrefixFrom(v4(uint32(i)*3+1<<24), 32)
	}
	return all
}

// The lists of bogons that people copy have the whole mapped range in them.
func TestPolicyDenyOfTheMappedRange(t *testing.T) {
	p := policy(t, PolicyOptions{Federation: Legacy, Deny: prefixes("::ffff:0:0/96")})
	if d := p.Endpoint(netip.MustParseAddrPort("1.1.1.1:9"), UDPOut); !d.Allowed {
		t.Errorf("IPv4: %+v", d)
	}
	if d := p.Endpoint(netip.MustParseAddrPort("[::ffff:1.1.1.1]:9"), UDPOut); d.Allowed || d.Rule != "peers.deny ::ffff:0.0.0.0/96" {
		t.Errorf("mapped: %+v", d)
	}
}

func TestPolicyTable(t *testing.T) {
	rows := policy(t, edge()).Table()
	var order []string
	for _, r := range rows {
		kind, _, _ := strings.Cut(r.Rule, " ")
		if len(order) == 0 || order[len(order)-1] != kind {
			order = append(order, kind)
		}
		if !r.Prefix.IsValid() {
			t.Errorf("row %+v", r)
		}
		allowed := strings.Contains(r.Rule, "allow") || r.Rule == ruleOwn
		if r.Allowed != allowed {
			t.Errorf("row %+v", r)
		}
	}
	if got, want := strings.Join(order, ", "), "built-in:, internal.peers.deny, internal.peers.allow, peers.deny, peers.allow, built-in:"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if want := len(special4) + len(special6) - 1 + 3 + 7 + 3 + 3 + 3 + 2; len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
}
