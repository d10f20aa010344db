package auth

import (
	"net/netip"
	"strings"
	"testing"
)

// registry is what the IANA IPv4 and IPv6 Special-Purpose Address Registries list, block and RFC, written down apart
// from the tables that are compiled.
const registry = `
0.0.0.0/8          791
0.0.0.0/32         1122
10.0.0.0/8         1918
100.64.0.0/10      6598
127.0.0.0/8        1122
169.254.0.0/16     3927
172.16.0.0/12      1918
192.0.0.0/24       6890
192.0.0.0/29       7335
192.0.0.8/32       7600
192.0.0.9/32       7723
192.0.0.10/32      8155
192.0.0.170/32     8880
192.0.0.171/32     8880
192.0.2.0/24       5737
192.31.196.0/24    7535
192.52.193.0/24    7450
192.88.99.0/24     7526
192.88.99.2/32     6751
192.168.0.0/16     1918
192.175.48.0/24    7534
198.18.0.0/15      2544
198.51.100.0/24    5737
203.0.113.0/24     5737
240.0.0.0/4        1112
255.255.255.255/32 919

::1/128            4291
::/128             4291
::ffff:0:0/96      4291
64:ff9b::/96       6052
64:ff9b:1::/48     8215
100::/64           6666
100:0:0:1::/64     9780
2001::/23          2928
2001::/32          4380
2001:1::1/128      7723
2001:1::2/128      8155
2001:1::3/128      9665
2001:2::/48        5180
2001:3::/32        7450
2001:4:112::/48    7535
2001:10::/28       4843
2001:20::/28       7343
2001:30::/28       9374
2001:db8::/32      3849
2002::/16          3056
2620:4f:8000::/48  7534
3fff::/20          9637
5f00::/16          9602
fc00::/7           4193
fe80::/10          4291
`

// beyond is what is denied besides: multicast, and of IPv6 everything that is not global unicast.
const beyond = `
224.0.0.0/4        5771
::/96              4291
::ffff:0:0:0/96    2765
fec0::/10          3879
ff00::/8           4291
`

// specials reads the registries: each prefix and its RFC.
func specials(t testing.TB) map[netip.Prefix]string {
	t.Helper()
	all := map[netip.Prefix]string{}
	for line := range strings.Lines(registry + beyond) {
		if fields := strings.Fields(line); len(fields) == 2 {
			all[netip.MustParsePrefix(fields[0])] = "RFC " + fields[1]
		}
	}
	return all
}

// The compiled tables have every block of the registries, with the RFC by which it stands there.
func TestSpecialRangesAreTheRegistries(t *testing.T) {
	want := specials(t)
	got := map[netip.Prefix]string{}
	for _, table := range [][]special{special4, special6} {
		for _, s := range table {
			if s.name != "" && s.prefix != "::/0" {
				got[netip.MustParsePrefix(s.prefix)] = s.by
			}
		}
	}
	for prefix, rfc := range want {
		if got[prefix] != rfc {
			t.Errorf("%s: %q, the registry says %s", prefix, got[prefix], rfc)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d ranges are compiled, the registries have %d", len(got), len(want))
	}
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestSpecialRangesFromEndToEnd(t *testing.T) {
	p := policy(t, PolicyOptions{Federation: Legacy})
	for prefix := range specials(t) {
		middle := last(netip.PrefixFrom(prefix.Addr(), (prefix.Bits()+prefix.Addr().BitLen()+1)/2))
		for _, a := range []netip.Addr{prefix.Addr(), middle, last(prefix)} {
			if d := p.Endpoint(netip.AddrPortFrom(a, 9), UDPOut); d.Allowed || !strings.HasPrefix(d.Rule, builtIn) {
				t.Errorf("%s of %s: %+v", a, prefix, d)
			}
		}
	}
	// The neighbours that are somebody's.
	for _, text := range []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
		"192.31.195.255", "192.31.197.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
		"2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2001:ffff::", "2003::", "2620:4f:7fff::", "2620:4f:8001::",
		"2a00::1", "3ffe:ffff::", "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		if d := p.Endpoint(netip.AddrPortFrom(netip.MustParseAddr(text), 9), UDPOut); !d.Allowed || d.Rule != ruleDefault {
			t.Errorf("%s: %+v", text, d)
		}
	}
	// And those that are nobody's.
	for _, text := range []string{"::1:0:0:0:0", "1fff:ffff::", "4000::", "8000::", "fe00::1", "200::1", "64:ff9b:2::1", "64:ff9a::1"} {
		if d := p.Endpoint(netip.AddrPortFrom(netip.MustParseAddr(text), 9), UDPOut); d.Allowed {
			t.Errorf("%s: %+v", text, d)
		}
	}
}
