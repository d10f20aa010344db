// Package firewall says what the firewalls around a host have to let through for a configuration, and nothing more: as
// a table for those who set them up by hand, and as nftables rules for this host's own.
package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"causeway/internal/conf"
)

// Direction is which way the first packet goes, seen from this host.
type Direction string

// The directions.
const (
	In  Direction = "in"
	Out Direction = "out"
)

// Passage is one kind of traffic that has to pass. What answers it, and ICMP errors about it, have to pass too.
type Passage struct {
	Side      string // external or internal of the relay, pool or gateway of mediation, admin, names
	Direction Direction
	Protocol  string     // udp or tcp
	Here      netip.Addr // of this host; zero: whichever it takes
	HerePorts conf.PortRange
	There     []netip.Prefix // none: anybody
	// Who stands for There where the configuration has no address: the name of a host, or words.
	Who        string
	TherePorts conf.PortRange
	Purpose    string
}

// anyPort is the range of a port that nobody can know in advance.
var anyPort conf.PortRange

func port(p uint16) conf.PortRange { return conf.PortRange{First: p, Last: p} }

// Passages lists what a configuration needs, in the order of its sections.
func Passages(c *conf.Config) []Passage {
	var all []Passage
	if c.Relay != nil {
		all = append(all, relayPassages(c.Relay)...)
	}
	if c.Mediation != nil {
		all = append(all, mediationPassages(c.Mediation)...)
	}
	if admin := c.Admin.Listen; !admin.Addr().IsLoopback() {
		all = append(all, Passage{
			Side: "admin", Direction: In, Protocol: "tcp", Here: specific(admin.Addr()), HerePorts: port(admin.Port()),
			Who: "your management network", Purpose: "metrics, health, call records: no password guards them",
		})
	}
	return all
}

// specific is the zero Addr for the address that stands for all.
func specific(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func relayPassages(r *conf.Relay) []Passage {
	all := clients("external", r.Listen, r.TLS.Certificate != "")
	for _, relayed := range r.RelayAddresses {
		all = append(all, peers("external", r, relayed, nil, "media: peers of the external side", external(r.Federation))...)
	}
	all = append(all, clients("internal", r.Internal.Listen, r.TLS.Certificate != "")...)
	for _, relayed := range r.RelayAddresses {
		if allowed := sameFamily(relayed, r.Internal.Peers.Allow); len(allowed) > 0 {
			all = append(all, peers("internal", r, relayed, allowed, "media: peers of the internal side", everything)...)
		}
	}
	if k := r.Credentials; k != nil && k.Listen.IsValid() {
		all = append(all, Passage{
			Side: "internal", Direction: In, Protocol: "tcp", Here: k.Listen.Addr(), HerePorts: port(k.Listen.Port()),
			Purpose: "credentials: HTTPS with a client certificate",
		})
	}
	return all
}

// clients are the passages of listeners.
func clients(side string, listen []conf.Listen, certificate bool) []Passage {
	var all []Passage
	for _, l := range listen {
		p := Passage{Side: side, Direction: In, Protocol: "tcp", Here: l.Addr.Addr(), HerePorts: port(l.Addr.Port())}
		if l.Datagrams() {
			p.Protocol = "udp"
		}
		switch {
		case l.Network == "udp":
			p.Purpose = "clients: STUN and TURN"
		case l.Network == "dtls":
			p.Purpose = "clients: TURN over DTLS"
		case l.Network == "tls":
			p.Purpose = "clients: TURN over TLS"
		case certificate:
			p.Purpose = "clients: STUN and TURN, plain and over TLS"
		default:
			p.Purpose = "clients: STUN and TURN, plain"
		}
		all = append(all, p)
	}
	return all
}

// way is one transport in one direction over the relay ports.
type way struct {
	protocol  string
	direction Direction
}

// everything is what peers of the internal side may do.
var everything = []way{{"udp", In}, {"udp", Out}, {"tcp", In}, {"tcp", Out}}

// external is what federation leaves to peers of the external side.
func external(f conf.Federation) []way {
	switch f {
	case conf.FederationLegacy:
		return everything
	case conf.FederationR2:
		return []way{{"tcp", Out}}
	default:
		return nil
	}
}

func peers(side string, r *conf.Relay, relayed netip.Addr, there []netip.Prefix, purpose string, ways []way) []Passage {
	var all []Passage
	for _, w := range ways {
		all = append(all, Passage{
			Side: side, Direction: w.direction, Protocol: w.protocol, Here: relayed, HerePorts: r.Ports,
			There: there, TherePorts: anyPort, Purpose: purpose,
		})
	}
	return all
}

func mediationPassages(m *conf.Mediation) []Passage {
	var all []Passage
	prefixes, hosts := poolPeers(&m.Pool)
	for _, l := range m.Pool.Listen {
		if from := sameFamily(l.Addr.Addr(), prefixes); len(from) > 0 {
			all = append(all, sip("pool", l, from, "", "SIP from the pool"))
		}
		if len(hosts) > 0 {
			all = append(all, sip("pool", l, nil, strings.Join(hosts, ", "), "SIP from the pool"))
		}
	}
	all = append(all, call("pool", m.Pool.NextHop, m.Pool.Listen, "SIP to the pool's next hop")...)
	all = append(all, media("pool", m.Pool.MediaAddress, m.Ports)...)
	from, who := host(m.Gateway.Peer)
	all = append(all, sip("gateway", m.Gateway.Listen, from, who, "SIP from the gateway"))
	all = append(all, call("gateway", m.Gateway.Peer, []conf.Listen{m.Gateway.Listen}, "SIP to the gateway")...)
	all = append(all, media("gateway", m.Gateway.MediaAddress, m.Ports)...)
	return append(all, names(m)...)
}

// poolPeers are those who send to the pool side: its peers, and the next hop.
func poolPeers(p *conf.PoolSide) (prefixes []netip.Prefix, hosts []string) {
	prefixes, hosts = p.PeerPrefixes(), p.PeerNames()
	next, name := host(p.NextHop)
	if name = strings.ToLower(name); name != "" && !slices.Contains(hosts, name) {
		hosts = append(hosts, name)
	}
	for _, n := range next {
		if !slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(n.Addr()) }) {
			prefixes = append(prefixes, n)
		}
	}
	return prefixes, hosts
}

// names is the DNS that looking up peers needs: TCP for answers too long for UDP (RFC 7766).
func names(m *conf.Mediation) []Passage {
	if len(m.LookedUp()) == 0 {
		return nil
	}
	p := Passage{Side: "names", Direction: Out, Protocol: "udp", TherePorts: port(53), Purpose: "DNS: names of SIP peers"}
	if r := m.Resolver; r.IsValid() {
		p.There, p.TherePorts = []netip.Prefix{netip.PrefixFrom(r.Addr(), r.Addr().BitLen())}, port(r.Port())
	}
	overTCP := p
	overTCP.Protocol = "tcp"
	return []Passage{p, overTCP}
}

// sip is what arrives at a SIP listener.
func sip(side string, l conf.Listen, from []netip.Prefix, who, purpose string) Passage {
	p := Passage{
		Side: side, Direction: In, Protocol: "tcp", Here: l.Addr.Addr(), HerePorts: port(l.Addr.Port()),
		There: from, Who: who, Purpose: purpose,
	}
	if l.Datagrams() {
		p.Protocol = "udp"
	}
	return p
}

// call is what is sent to a SIP peer: from a listener over UDP, from a port of the kernel's otherwise. A peer without a
// port has those that its SRV records name. What is too long for UDP goes over TCP (RFC 3261 section 18.1.1).
func call(side string, peer conf.SIPURI, listen []conf.Listen, purpose string) []Passage {
	p := Passage{Side: side, Direction: Out, Protocol: "tcp", TherePorts: port(uint16(peer.Port)), Purpose: purpose}
	if peer.Port == 0 {
		p.TherePorts, p.Purpose = anyPort, purpose+", ports by SRV"
	}
	p.There, p.Who = host(peer)
	if peer.Transport != "udp" {
		return []Passage{p}
	}
	long := p
	long.Purpose += ", too long for UDP"
	p.Protocol = "udp"
	for _, l := range listen {
		if l.Datagrams() {
			p.Here, p.HerePorts = l.Addr.Addr(), port(l.Addr.Port())
			break
		}
	}
	return []Passage{p, long}
}

// host is where a SIP peer is: an address or a name.
func host(u conf.SIPURI) (there []netip.Prefix, who string) {
	if a, ok := u.Addr(); ok {
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, ""
	}
	return nil, u.Host
}

func media(side string, here netip.Addr, ports conf.PortRange) []Passage {
	p := Passage{Side: side, Direction: In, Protocol: "udp", Here: here, HerePorts: ports, Purpose: "media of calls: RTP and RTCP"}
	out := p
	out.Direction = Out
	return []Passage{p, out}
}

// sameFamily picks the networks that packets to and from a can be of.
func sameFamily(a netip.Addr, prefixes []netip.Prefix) []netip.Prefix {
	var same []netip.Prefix
	for _, p := range prefixes {
		if p.Addr().Is4() == a.Is4() {
			same = append(same, p)
		}
	}
	return same
}

// formatPorts writes a range as tables and nftables have it.
func formatPorts(r conf.PortRange) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return r.String()
}

// formatPrefix leaves out the length that names a single host.
func formatPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func formatPrefixes(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = formatPrefix(p)
	}
	return strings.Join(words, ", ")
}
