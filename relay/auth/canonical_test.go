package auth

import (
	"net/netip"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ in, out, form string }{
		{"192.0.2.1", "192.0.2.1", ""},
		{"2001:db8::1", "2001:db8::1", ""},
		{"::", "::", ""},
		{"::1", "::1", ""},
		{"::2", "0.0.0.2", "IPv4-compatible"},
		{"::127.0.0.1", "127.0.0.1", "IPv4-compatible"},
		{"::ffff:127.0.0.1", "127.0.0.1", "IPv4-mapped"},
		{"::ffff:0:127.0.0.1", "127.0.0.1", "IPv4-translated"},
		{"::fffe:127.0.0.1", "::fffe:127.0.0.1", ""},
		{"::1:127.0.0.1", "::1:127.0.0.1", ""},
		{"64:ff9b::10.1.2.3", "10.1.2.3", "NAT64"},
		{"64:ff9b::1:10.1.2.3", "64:ff9b::1:10.1.2.3", ""},
		{"64:ff9b:0:1::10.1.2.3", "64:ff9b:0:1::10.1.2.3", ""},
		{"64:ff9b:1::10.1.2.3", "10.1.2.3", "local-use NAT64"},
		{"64:ff9b:1:ffff:ffff:ffff:a01:203", "10.1.2.3", "local-use NAT64"},
		{"64:ff9b:2::10.1.2.3", "64:ff9b:2::10.1.2.3", ""},
		{"2002:a01:203::1", "10.1.2.3", "6to4"},
		{"2002:a01:203:ffff:ffff:ffff:ffff:ffff", "10.1.2.3", "6to4"},
		{"2002:808:808::5efe:10.1.2.3", "8.8.8.8", "6to4"},
		// The example of RFC 4380 section 4: server 65.54.227.120, client 192.0.2.45.
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45", "Teredo"},
		{"2001:1::1", "2001:1::1", ""},
		{"fe80::5efe:10.1.2.3", "10.1.2.3", "ISATAP"},
		{"fe80::200:5efe:10.1.2.3", "10.1.2.3", "ISATAP"},
		{"2606:4700::300:5efe:10.1.2.3", "10.1.2.3", "ISATAP"},
		{"::5efe:10.1.2.3", "10.1.2.3", "ISATAP"},
		{"2606:4700::400:5efe:10.1.2.3", "2606:4700::400:5efe:10.1.2.3", ""},
		{"2606:4700::5eff:10.1.2.3", "2606:4700::5eff:10.1.2.3", ""},
	} {
		out, form := Canonical(netip.MustParseAddr(tt.in))
		if out != netip.MustParseAddr(tt.out) || form != tt.form {
			t.Errorf("Canonical(%s) = %s, %q; want %s, %q", tt.in, out, form, tt.out, tt.form)
		}
	}
	if out, form := Canonical(netip.Addr{}); out.IsValid() || form != "" {
		t.Errorf("Canonical of nothing = %v, %q", out, form)
	}
}

// The examples of RFC 6052 section 2.4, with 64:ff9b:1::/48 for the documentation prefix: 192.0.2.33.
func TestLocalNAT64(t *testing.T) {
	for _, tt := range []struct {
		in   string
		bits int
	}{
		{"64:ff9b:1:c000:2:2100::", 48},
		{"64:ff9b:1:1c0:0:221::", 56},
		{"64:ff9b:1:122:c0:2:2100::", 64},
		{"64:ff9b:1:122:344::192.0.2.33", 96},
	} {
		if got := localNAT64(netip.MustParseAddr(tt.in), tt.bits); got != netip.MustParseAddr("192.0.2.33") {
			t.Errorf("%s/%d has %s inside", tt.in, tt.bits, got)
		}
	}
}
