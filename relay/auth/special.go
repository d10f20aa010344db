package auth

import "net/netip"

// special is one range that no peer may be in unless it is allowed by name.
type special struct {
	prefix string
	name   string
	by     string
}

// special4 is the IANA IPv4 Special-Purpose Address Registry (RFC 6890, as of 2025), whole, and multicast, which has a
// registry of its own. That a range is globally reachable is no reason to relay to it: it serves a protocol's anycast,
// not somebody's phone.
var special4 = []special{
	{"0.0.0.0/8", "this network", "RFC 791"},
	{"0.0.0.0/32", "unspecified", "RFC 1122"},
	{"10.0.0.0/8", "private use", "RFC 1918"},
	{"100.64.0.0/10", "shared address space", "RFC 6598"},
	{"127.0.0.0/8", "loopback", "RFC 1122"},
	{"169.254.0.0/16", "link-local and metadata", "RFC 3927"},
	{"172.16.0.0/12", "private use", "RFC 1918"},
	{"192.0.0.0/24", "IETF protocol assignments", "RFC 6890"},
	{"192.0.0.0/29", "IPv4 service continuity", "RFC 7335"},
	{"192.0.0.8/32", "IPv4 dummy address", "RFC 7600"},
	{"192.0.0.9/32", "port control anycast", "RFC 7723"},
	{"192.0.0.10/32", "TURN anycast", "RFC 8155"},
	{"192.0.0.170/32", "NAT64 discovery", "RFC 8880"},
	{"192.0.0.171/32", "NAT64 discovery", "RFC 8880"},
	{"192.0.2.0/24", "documentation", "RFC 5737"},
	{"192.31.196.0/24", "AS112", "RFC 7535"},
	{"192.52.193.0/24", "AMT", "RFC 7450"},
	{"192.88.99.0/24", "6to4 relay anycast", "RFC 7526"},
	{"192.88.99.2/32", "6a44 relay anycast", "RFC 6751"},
	{"192.168.0.0/16", "private use", "RFC 1918"},
	{"192.175.48.0/24", "AS112", "RFC 7534"},
	{"198.18.0.0/15", "benchmarking", "RFC 2544"},
	{"198.51.100.0/24", "documentation", "RFC 5737"},
	{"203.0.113.0/24", "documentation", "RFC 5737"},
	{"224.0.0.0/4", "multicast", "RFC 5771"},
	{"240.0.0.0/4", "reserved", "RFC 1112"},
	{"255.255.255.255/32", "limited broadcast", "RFC 919"},
}

// special6 is the IANA IPv6 Special-Purpose Address Registry, whole, and around it the IANA IPv6 address space: what is
// not global unicast (2000::/3, the entry without a name) is nobody's.
var special6 = []special{
	{"::/0", "not global unicast", "RFC 4291"},
	{"2000::/3", "", ""},
	{"::/128", "unspecified", "RFC 4291"},
	{"::1/128", "loopback", "RFC 4291"},
	{"::/96", "IPv4-compatible", "RFC 4291"},
	{"::ffff:0:0/96", "IPv4-mapped", "RFC 4291"},
	{"::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"},
	{"64:ff9b::/96", "IPv4-IPv6 translation", "RFC 6052"},
	{"64:ff9b:1::/48", "local-use IPv4-IPv6 translation", "RFC 8215"},
	{"100::/64", "discard-only", "RFC 6666"},
	{"100:0:0:1::/64", "dummy prefix", "RFC 9780"},
	{"2001::/23", "IETF protocol assignments", "RFC 2928"},
	{"2001::/32", "Teredo", "RFC 4380"},
	{"2001:1::1/128", "port control anycast", "RFC 7723"},
	{"2001:1::2/128", "TURN anycast", "RFC 8155"},
	{"2001:1::3/128", "DNS-SD registration anycast", "RFC 9665"},
	{"2001:2::/48", "benchmarking", "RFC 5180"},
	{"2001:3::/32", "AMT", "RFC 7450"},
	{"2001:4:112::/48", "AS112", "RFC 7535"},
	{"2001:10::/28", "ORCHID", "RFC 4843"},
	{"2001:20::/28", "ORCHIDv2", "RFC 7343"},
	{"2001:30::/28", "drone remote identification", "RFC 9374"},
	{"2001:db8::/32", "documentation", "RFC 3849"},
	{"2002::/16", "6to4", "RFC 3056"},
	{"2620:4f:8000::/48", "AS112", "RFC 7534"},
	{"3fff::/20", "documentation", "RFC 9637"},
	{"5f00::/16", "segment routing", "RFC 9602"},
	{"fc00::/7", "unique local", "RFC 4193"},
	{"fe80::/10", "link-local", "RFC 4291"},
	{"fec0::/10", "site-local", "RFC 3879"},
	{"ff00::/8", "multicast", "RFC 4291"},
}

// specialRules are both tables as rules; the entry without a name lifts the one around it.
func specialRules() []rule {
	rules := make([]rule, 0, len(special4)+len(special6))
	for _, table := range [][]special{special4, special6} {
		for _, s := range table {
			r := rule{prefix: netip.MustParsePrefix(s.prefix)}
			if s.name != "" {
				r.text = builtIn + s.name + " (" + s.by + ")"
			}
			rules = append(rules, r)
		}
	}
	return rules
}
