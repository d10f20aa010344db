package auth

import (
	"net/netip"
	"testing"
)

// Each value of federation, each side, each operation: the table of the manual.
func TestFederation(t *testing.T) {
	const y, n = true, false
	external, internal, own := "8.8.8.8:9", "10.0.0.5:9", "8.8.4.4:50000"
	for _, tt := range []struct {
		f                          Federation
		peer                       string
		class                      Class
		udpIn, udpOut, tcpOut, tcp bool
	}{
		{Closed, external, ClassExternal, n, n, n, n},
		{Closed, internal, ClassInternal, y, y, y, y},
		{Closed, own, ClassOwn, y, y, y, y},
		{R2, external, ClassExternal, n, n, y, n},
		{R2, internal, ClassInternal, y, y, y, y},
		{R2, own, ClassOwn, y, y, y, y},
		{Legacy, external, ClassExternal, y, y, y, y},
		{Legacy, internal, ClassInternal, y, y, y, y},
		{Legacy, own, ClassOwn, y, y, y, y},
		{Federation(9), external, ClassExternal, n, n, n, n},
	} {
		p := policy(t, PolicyOptions{
			Federation:    tt.f,
			Allow:         prefixes("8.8.8.8/32"),
			InternalAllow: prefixes("10.0.0.0/24"),
			Relay:         []netip.Addr{netip.MustParseAddr("8.8.4.4")},
			Ports:         [2]uint16{50000, 59999},
		})
		peer := netip.MustParseAddrPort(tt.peer)
		want := map[Op]bool{UDPIn: tt.udpIn, UDPOut: tt.udpOut, TCPConnect: tt.tcpOut, TCPAccept: tt.tcp}
		for op, want := range want {
			d := p.Endpoint(peer, op)
			if d.Allowed != want || d.Class != tt.class {
				t.Errorf("%v, %v, %v: %+v, want %v", tt.f, tt.class, op, d, want)
			}
			if !want && d.Rule != "federation "+tt.f.String() {
				t.Errorf("%v, %v, %v: rule %q", tt.f, tt.class, op, d.Rule)
			}
			if got := p.Address(peer.Addr(), op.Set()).Allowed; got != want {
				t.Errorf("%v, %v, %v: a permission is %v, want %v", tt.f, tt.class, op, got, want)
			}
		}
		udp, tcp := UDPIn.Set()|UDPOut.Set(), TCPConnect.Set()|TCPAccept.Set()
		for ops, want := range map[Ops]bool{udp: tt.udpIn || tt.udpOut, tcp: tt.tcpOut || tt.tcp, udp | tcp: tt.udpOut || tt.tcpOut, 0: false} {
			if got := p.Address(peer.Addr(), ops).Allowed; got != want {
				t.Errorf("%v, %v, operations %b: a permission is %v, want %v", tt.f, tt.class, ops, got, want)
			}
		}
		if p.Endpoint(peer, opCount).Allowed || p.Endpoint(peer, 255).Allowed {
			t.Errorf("%v, %v: an operation that does not exist is allowed", tt.f, tt.class)
		}
	}
}

func TestParseFederation(t *testing.T) {
	for text, want := range map[string]Federation{"closed": Closed, "r2": R2, "legacy": Legacy} {
		if got, err := ParseFederation(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Legacy", "open", "unknown"} {
		if got, err := ParseFederation(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestNamesOfOpsAndClasses(t *testing.T) {
	for op, want := range map[Op]string{UDPIn: "UDP in", UDPOut: "UDP out", TCPConnect: "TCP connect", TCPAccept: "TCP accept", opCount: "unknown"} {
		if got := op.String(); got != want {
			t.Errorf("%d is %q, want %q", op, got, want)
		}
	}
	for c, want := range map[Class]string{ClassExternal: "external", ClassInternal: "internal", ClassOwn: "own", 9: "unknown"} {
		if got := c.String(); got != want {
			t.Errorf("%d is %q, want %q", c, got, want)
		}
	}
}
