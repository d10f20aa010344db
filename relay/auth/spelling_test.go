package auth

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// spellings are the ways to write an IPv4 address as an IPv6 one, each as text with the address in it: %[1]s dotted,
// %[2]s as two groups, %[3]s inverted.
var spellings = []struct {
	form, format string
	bits         int // the prefix that an IPv6 rule needs for the form
}{
	{"IPv4-mapped", "::ffff:%[1]s", 96},
	{"IPv4-compatible", "::%[1]s", 96},
	{"IPv4-translated", "::ffff:0:%[1]s", 96},
	{"NAT64", "64:ff9b::%[1]s", 96},
	{"local-use NAT64", "64:ff9b:1::%[1]s", 96},
	{"local-use NAT64", "64:ff9b:1:abcd::%[1]s", 96},
	{"6to4", "2002:%[2]s::1", 48},
	{"6to4", "2002:%[2]s:7:a:b:c:d", 48},
	{"6to4", "2002:808:808::5efe:%[1]s", 48}, // a second address, behind a harmless one
	{"6to4", "2002:%[2]s::5efe:8.8.8.8", 48},
	{"Teredo", "2001:0:808:808:8000:63bf:%[3]s", 96}, // client
	{"Teredo", "2001:0:%[2]s:8000:63bf:f7f7:f7f7", 64},
	{"ISATAP", "2a00:1450::5efe:%[1]s", 96},
	{"ISATAP", "2a00:1450::200:5efe:%[1]s", 96},
}

// spell writes a in IPv6.
func spell(format string, a netip.Addr) netip.Addr {
	b := a.As4()
	return netip.MustParseAddr(fmt.Sprintf(format+"%.0[1]s%.0[2]s%.0[3]s", a,
		fmt.Sprintf("%x:%x", uint(b[0])<<8|uint(b[1]), uint(b[2])<<8|uint(b[3])),
		fmt.Sprintf("%x:%x", uint(^b[0])<<8|uint(^b[1]), uint(^b[2])<<8|uint(^b[3]))))
}

// Every special range in every encoding, with every IPv6 address allowed that a rule can allow.
func TestSpecialRangesInEverySpelling(t *testing.T) {
	for _, o := range []PolicyOptions{
		{Federation: Legacy},
		{Federation: Legacy, Allow: prefixes("::/0 ::/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/96 64:ff9b:1:abcd::/96 2002::/16 2001::/32 2a00:1450::/32")},
		{Federation: Legacy, InternalAllow: prefixes("::/0 ::/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/96 64:ff9b:1:abcd::/96 2002::/16 2001::/32 2a00:1450::/32")},
	} {
		p := policy(t, o)
		for prefix := range specials(t) {
			if !prefix.Addr().Is4() {
				continue
			}
			for _, a := range []netip.Addr{prefix.Addr(), last(prefix)} {
				for _, s := range spellings {
					if s.format == "::%[1]s" && (a == netip.MustParseAddr("0.0.0.0")) {
						continue // that is ::
					}
					if d := p.Endpoint(netip.AddrPortFrom(spell(s.format, a), 9), UDPOut); d.Allowed {
						t.Errorf("%s as %s (%s): %+v", a, spell(s.format, a), s.form, d)
					}
				}
			}
		}
	}
}

// Deny wins over everything in every encoding: whatever else is allowed, on whichever side.
func TestDenyWinsInEverySpelling(t *testing.T) {
	victim := netip.MustParseAddr("9.9.9.9")
	for _, s := range spellings {
		a := spell(s.format, victim)
		exactly, err := a.Prefix(128)
		if err != nil {
			t.Fatal(err)
		}
		all := prefixes("0.0.0.0/0 9.9.9.0/24 ::/0")
		if !a.Is4In6() {
			all = append(all, exactly)
		}
		for name, o := range map[string]PolicyOptions{
			"deny":          {Deny: prefixes("9.9.9.9/32"), Allow: all},
			"internal deny": {InternalDeny: prefixes("9.9.9.9/32"), Allow: all, InternalAllow: all},
			"deny itself":   {Deny: []netip.Prefix{exactly}, Allow: all},
		} {
			o.Federation = Legacy
			if name == "deny itself" && a.Is4In6() {
				continue // written as IPv4
			}
			if d := policy(t, o).Endpoint(netip.AddrPortFrom(a, 9), UDPOut); d.Allowed || !strings.Contains(d.Rule, "deny ") {
				t.Errorf("%s, %s (%s): %+v", name, a, s.form, d)
			}
		}
	}
}

// Which rules open a spelling: those about the IPv4 address if it is nothing but another spelling of it; those about
// the IPv6 prefix, no wider than the form's own, if what is inside passes as well.
func TestAllowInEverySpelling(t *testing.T) {
	public, private := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("10.1.2.3")
	allowed := func(a netip.Addr, allow ...netip.Prefix) bool {
		p := policy(t, PolicyOptions{Federation: Legacy, Allow: allow})
		return p.Endpoint(netip.AddrPortFrom(a, 9), UDPOut).Allowed
	}
	for _, s := range spellings {
		isatap, mapped := s.form == "ISATAP", s.form == "IPv4-mapped"
		another := strings.HasPrefix(s.form, "IPv4-") || s.form == "NAT64"
		a, b := spell(s.format, public), spell(s.format, private)
		own := func(a netip.Addr) netip.Prefix { p, _ := a.Prefix(s.bits); return p }
		for _, tt := range []struct {
			name string
			got  bool
			want bool
		}{
			{"public, nothing allowed", allowed(a), isatap},
			{"public, its IPv4 allowed", allowed(a, prefixes("9.9.9.0/24")...), another || isatap},
			{"public, all IPv6 allowed", allowed(a, prefixes("::/0")...), isatap},
			{"private, nothing allowed", allowed(b), false},
			{"private, its IPv4 allowed", allowed(b, prefixes("10.0.0.0/8")...), another || isatap},
			{"private, all IPv6 allowed", allowed(b, prefixes("::/0")...), false},
		} {
			if tt.got != tt.want {
				t.Errorf("%s (%s): %s: %v", a, s.form, tt.name, tt.got)
			}
		}
		if mapped {
			continue // no IPv6 rule can name it
		}
		for _, tt := range []struct {
			name string
			got  bool
			want bool
		}{
			{"public, its prefix allowed", allowed(a, own(a)), true},
			{"private, its prefix allowed", allowed(b, own(b)), false},
			{"private, its prefix and IPv4 allowed", allowed(b, append(prefixes("10.0.0.0/8"), own(b))...), true},
		} {
			if tt.got != tt.want {
				t.Errorf("%s (%s): %s: %v", a, s.form, tt.name, tt.got)
			}
		}
	}
}

// The length of a translator's prefix says where the IPv4 address is, and everything else is no address at all.
func TestLocalNAT64Rules(t *testing.T) {
	const suffix = "64:ff9b:1:" // 8.8.8.8 and 10.1.2.3 at each place
	for _, tt := range []struct {
		addr, allow string
		want        bool
	}{
		{"808:8:800::", "/48", true},
		{"a01:2:300::", "/48", false},
		{"808:8:800:a01:203", "/48", true}, // the suffix is nothing
		{"8:8:808::", "/56", true},
		{"a:1:203::", "/56", false},
		{"0:8:808:800:0", "/64", true},
		{"0:a:102:300:0", "/64", false},
		{":8.8.8.8", "/96", true},
		{":10.1.2.3", "/96", false},
		{"808:8:800::", "/128", false}, // no length of a prefix: every place counts, and some are no host's
		{":8.8.8.8", "/128", false},
		{"808:8:808:808:808", "/128", true},
		{"a01:2:308:808:808", "/128", false},
		{":8.8.8.8", "/47", false},
		{":8.8.8.8", "/32", false},
	} {
		a := netip.MustParseAddr(suffix + tt.addr)
		allow, err := netip.ParsePrefix(a.String() + tt.allow)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []PolicyOptions{{Allow: []netip.Prefix{allow.Masked()}}, {InternalAllow: []netip.Prefix{allow.Masked()}}} {
			o.Federation = Legacy
			if d := policy(t, o).Endpoint(netip.AddrPortFrom(a, 9), UDPOut); d.Allowed != tt.want {
				t.Errorf("%s with %s allowed: %+v, want %v", a, allow.Masked(), d, tt.want)
			}
		}
	}
	if d := policy(t, PolicyOptions{Federation: Legacy}).Endpoint(netip.MustParseAddrPort("[64:ff9b:1::8.8.8.8]:9"), UDPOut); d.Allowed {
		t.Errorf("without a rule: %+v", d)
	}
}
