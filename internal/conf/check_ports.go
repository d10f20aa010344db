package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// endpoint is something that listens.
type endpoint struct {
	path    string
	network string // udp, tcp, tls or dtls
	addr    netip.AddrPort
}

func (e endpoint) datagrams() bool { return Listen{Network: e.network}.Datagrams() }

// endpoints returns all listeners, in the order of the file's sections.
func (c checker) endpoints() []endpoint {
	list := []endpoint{{"admin.listen", "tcp", c.cfg.Admin.Listen}}
	add := func(path string, listen []Listen) {
		for i, l := range listen {
			list = append(list, endpoint{fmt.Sprintf("%s[%d]", path, i), l.Network, l.Addr})
		}
	}
	if r := c.cfg.Relay; r != nil {
		add("relay.listen", r.Listen)
		add("relay.internal.listen", r.Internal.Listen)
		if r.Credentials != nil {
			list = append(list, endpoint{"relay.credentials.listen", "tls", r.Credentials.Listen})
		}
	}
	if m := c.cfg.Mediation; m != nil {
		add("mediation.pool.listen", m.Pool.Listen)
		list = append(list, endpoint{"mediation.gateway.listen", m.Gateway.Listen.Network, m.Gateway.Listen.Addr})
	}
	return slices.DeleteFunc(list, func(e endpoint) bool { return !e.addr.IsValid() || e.addr.Port() == 0 || !c.sound(e.path) })
}

// collides reports whether the kernel would refuse the second of the two.
func (e endpoint) collides(o endpoint) bool {
	return e.datagrams() == o.datagrams() && e.addr.Port() == o.addr.Port() && sharesAddress(e.addr.Addr(), o.addr.Addr())
}

// sharesAddress reports whether sockets on a and b hear the same packets. The unspecified address of IPv6 stands for
// all of IPv4 as well, unless the host was set up otherwise.
func sharesAddress(a, b netip.Addr) bool {
	switch {
	case a == b:
		return true
	case a.IsUnspecified():
		return a.Is6() || b.Is4()
	case b.IsUnspecified():
		return b.Is6() || a.Is4()
	}
	return false
}

// listeners finds addresses that are listened on twice.
func (c checker) listeners() {
	list := c.endpoints()
	for i, e := range list {
		for _, before := range list[:i] {
			if e.collides(before) {
				c.errorf(e.path, "listens on %s, which %s listens on already; change the address or the port of one", e.addr, before.path)
				break
			}
		}
	}
}

// mediaRange is a range of ports and the addresses it is used on.
type mediaRange struct {
	path      string
	ports     PortRange
	addresses []netip.Addr
}

func (c checker) mediaRanges() []mediaRange {
	var ranges []mediaRange
	if r := c.cfg.Relay; r != nil && c.sound("relay.ports") {
		ranges = append(ranges, mediaRange{path: "relay.ports", ports: r.Ports, addresses: r.RelayAddresses})
	}
	if m := c.cfg.Mediation; m != nil && c.sound("mediation.ports") {
		ranges = append(ranges, mediaRange{
			path: "mediation.ports", ports: m.Ports,
			addresses: []netip.Addr{m.Pool.MediaAddress, m.Gateway.MediaAddress},
		})
	}
	return ranges
}

// ports checks the ranges for media against each other, against the listeners and against the kernel's own use.
func (c checker) ports() {
	ranges := c.mediaRanges()
	if len(ranges) == 2 && ranges[0].ports.Overlaps(ranges[1].ports) {
		c.errorf(ranges[1].path, "%s overlaps relay.ports %s; give the roles ranges apart, 50000-59999 and 60000-64000 by default", ranges[1].ports, ranges[0].ports)
	}
	for _, r := range ranges {
		for _, e := range c.endpoints() {
			inside := slices.ContainsFunc(r.addresses, func(a netip.Addr) bool { return a.IsValid() && sharesAddress(a, e.addr.Addr()) })
			if inside && r.ports.Contains(e.addr.Port()) {
				c.errorf(e.path, "listens on %s, a port inside %s %s on the same address; move it out of the range", e.addr, r.path, r.ports)
			}
		}
	}
	if m := c.cfg.Mediation; m != nil && c.sound("mediation.ports") && m.Ports.Pairs() == 0 {
		c.errorf("mediation.ports", "%s holds no even port with the odd one behind it, which RTP and RTCP of a call need; widen the range", m.Ports)
	}
	c.ephemeral(ranges)
}

// ephemeral warns of ranges that the kernel hands out ports from: a port may then be taken when a call needs it. The
// command it advises keeps what is reserved already and covers every range of this file at once.
func (c checker) ephemeral(ranges []mediaRange) {
	kernel, ok := c.host.ephemeralPorts()
	if !ok {
		return
	}
	reserved := c.host.reservedPorts()
	advised, exposed := slices.Clone(reserved), make([]PortRange, len(ranges))
	for i, r := range ranges {
		overlap := PortRange{First: max(kernel.First, r.ports.First), Last: min(kernel.Last, r.ports.Last)}
		if overlap.First <= overlap.Last && !covered(overlap, reserved) {
			exposed[i] = overlap
			advised = append(advised, r.ports)
		}
	}
	for i, r := range ranges {
		if exposed[i] != (PortRange{}) {
			c.warnf(r.path, "%s overlaps %s of the ports the kernel gives to outgoing connections (%s), so another program may hold a port when a call needs it; reserve the range: sysctl -w net.ipv4.ip_local_reserved_ports=%s",
				r.ports, exposed[i], kernel, formatRanges(mergeRanges(advised)))
		}
	}
}

// mergeRanges sorts ranges and joins those that touch.
func mergeRanges(ranges []PortRange) []PortRange {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var merged []PortRange
	for _, r := range ranges {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// covered reports whether every port of r is in ranges.
func covered(r PortRange, ranges []PortRange) bool {
	return slices.ContainsFunc(mergeRanges(ranges), func(m PortRange) bool { return m.Contains(r.First) && m.Contains(r.Last) })
}

// formatRanges writes ranges as the sysctl takes them.
func formatRanges(ranges []PortRange) string {
	words := make([]string, len(ranges))
	for i, r := range ranges {
		words[i] = r.String()
		if r.First == r.Last {
			words[i] = fmt.Sprint(r.First)
		}
	}
	return strings.Join(words, ",")
}
