package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"causeway/mediation/number"
)

// checker judges a decoded configuration as a whole. Values that could not be read are left out of the judgement.
type checker struct {
	*report
	cfg  *Config
	host host
}

func (c checker) check() {
	if len(c.errors) == 0 && c.cfg.Relay == nil && c.cfg.Mediation == nil {
		c.errorAt(Position{File: c.file, Line: 1, Column: 1}, "no role would run; add a relay or a mediation section")
	}
	if c.given("state_dir") && c.cfg.StateDir == "" {
		c.errorf("state_dir", "is empty; name the folder for records and keys, or remove the key for /var/lib/causeway")
	}
	if c.cfg.Relay != nil {
		c.relay(c.cfg.Relay)
	}
	if c.cfg.Mediation != nil {
		c.pool(&c.cfg.Mediation.Pool)
		c.gateway(&c.cfg.Mediation.Gateway)
		c.bothSides(c.cfg.Mediation)
		c.signalling(c.cfg.Mediation)
		c.locationProfile(c.cfg.Mediation.LocationProfile)
	}
	if admin := c.cfg.Admin.Listen; c.sound("admin.listen") && !admin.Addr().IsLoopback() {
		c.warnf("admin.listen", "%s is no loopback address: whoever reaches it reads call records and ends allocations without a password; keep it on 127.0.0.1, or let a firewall guard it", admin)
	}
	c.listeners()
	c.ports()
	c.certificates()
}

func (c checker) pool(p *PoolSide) {
	c.notEmpty("mediation.pool.listen", len(p.Listen))
	c.notEmpty("mediation.pool.peers", len(p.Peers))
	for i, peer := range p.Peers {
		if path := fmt.Sprintf("mediation.pool.peers[%d]", i); c.sound(path) && peer.Prefix.IsValid() && peer.Prefix.Bits() == 0 {
			c.warnf(path, "%s lets every host place calls to the telephone network; name the hosts of the pool", peer)
		}
	}
	for i := range p.Listen {
		c.readableKeys(fmt.Sprintf("mediation.pool.listen[%d]", i), p.Listen[i].Network, p.SRTP)
	}
	c.sameFamily("mediation.pool.next_hop", p.NextHop, "mediation.pool.listen", p.Listen...)
	c.peerIsNotUs("mediation.pool.next_hop", p.NextHop)
	c.underscore("mediation.pool.next_hop", p.NextHop)
	c.heard(p)
}

func (c checker) gateway(g *GatewaySide) {
	const listen, peer = "mediation.gateway.listen", "mediation.gateway.peer"
	c.readableKeys(listen, g.Listen.Network, g.SRTP)
	c.sameFamily(peer, g.Peer, listen, g.Listen)
	c.peerIsNotUs(peer, g.Peer)
	c.underscore(peer, g.Peer)
	if !c.sound(listen, peer) {
		return
	}
	switch ours, theirs := g.Listen.Network, g.Peer.Transport; {
	case ours == theirs:
	case ours == "tls" || theirs == "tls":
		c.errorf(peer, "uses %s and mediation.gateway.listen uses %s; both directions of a gateway link are TLS or neither is, so change one of them", theirs, ours)
	case theirs == "udp":
		c.errorf(peer, "uses udp and mediation.gateway.listen uses %s: datagrams leave from the listener's own socket, so write the same in both", ours)
	default:
		c.warnf(peer, "uses %s and mediation.gateway.listen uses %s: few gateways answer on another transport than they were called on; write the same in both", theirs, ours)
	}
}

// heard checks that the pool's next hop can be spoken to, and can speak back, by the transport that it is called on.
func (c checker) heard(p *PoolSide) {
	const path, listen = "mediation.pool.next_hop", "mediation.pool.listen"
	network := p.NextHop.Transport
	if !c.sound(path, listen) || len(p.Listen) == 0 || slices.ContainsFunc(p.Listen, func(l Listen) bool { return l.Network == network }) {
		return
	}
	if network == "udp" {
		c.errorf(path, "uses udp and no entry of %s does: datagrams leave from a listener's own socket, so add a udp:// listener or use another transport", listen)
		return
	}
	c.warnf(path, "uses %s and no entry of %s does: what the next hop sends in a call on a connection of its own has to come by another transport; add a %s:// listener", network, listen, network)
}

// bothSides checks what the two sides of the bridge have to agree on.
func (c checker) bothSides(m *Mediation) {
	const pool, gateway = "mediation.pool.media_address", "mediation.gateway.media_address"
	poolSource, gatewaySource := c.sourceOf(pool, "mediation.pool.listen"), c.sourceOf(gateway, "mediation.gateway.listen")
	if !c.sound(poolSource, gatewaySource) {
		return
	}
	a, b := m.Pool.MediaAddress, m.Gateway.MediaAddress
	if !a.IsValid() || !b.IsValid() {
		return
	}
	if a.Is4() != b.Is4() {
		c.errorf(gatewaySource, "puts media on %s and %s puts it on %s; both sides must be IPv4 or both IPv6", b, poolSource, a)
		return
	}
	pairs := m.Ports.Pairs()
	if a == b {
		c.warnf(gatewaySource, "puts the media of both sides on the one address %s (single-NIC): calls of the pool and of the telephone network are then separated by port numbers alone; give each side an address of its own", a)
		pairs /= 2
	}
	if c.sound("mediation.ports", "mediation.max_calls") && m.MaxCalls > pairs {
		c.warnf("mediation.max_calls", "%d is more than the %d calls that mediation.ports %s has room for; widen the range or lower the limit", m.MaxCalls, pairs, m.Ports)
	}
}

// sourceOf is path when it stands in the file, and otherwise the path its value was taken from.
func (c checker) sourceOf(path, otherwise string) string {
	if c.given(path) {
		return path
	}
	return otherwise
}

func (c checker) locationProfile(rules []Rule) {
	names := map[string]int{}
	for i, rule := range rules {
		path := fmt.Sprintf("mediation.location_profile[%d]", i)
		if !c.sound(path) {
			continue
		}
		if first, twice := names[rule.Name]; twice {
			c.errorf(path+".name", "%q is the name of rule %d as well, and reports could not tell them apart; rename one", rule.Name, first+1)
		}
		names[rule.Name] = i
		if _, err := number.Compile([]number.Rule{{Name: rule.Name, Pattern: rule.Pattern}}); err != nil {
			c.errorf(path+".pattern", "%q cannot be used: %v; correct the regular expression (.NET syntax)", rule.Pattern, reason(err))
			continue
		}
		if _, err := number.Compile([]number.Rule{number.Rule(rule)}); err != nil {
			c.errorf(path+".translation", "%q cannot be used: %v; groups are written $1 or ${1}", rule.Translation, reason(err))
		}
	}
}

// reason takes the name of the rule off an error of package number: the position says which rule it is.
func reason(err error) error {
	if rule, ok := errors.AsType[*number.RuleError](err); ok {
		return rule.Err
	}
	return err
}

func (c checker) notEmpty(path string, n int) {
	if c.sound(path) && n == 0 {
		c.errorf(path, "is empty; give at least one entry")
	}
}

// readableKeys warns when SDES keys would cross the network in the clear (RFC 4568 section 10).
func (c checker) readableKeys(path, network string, policy SRTPPolicy) {
	if c.sound(path) && network != "" && network != "tls" && policy != SRTPRejected {
		c.warnf(path, "is %s, and srtp on this side is %s: the media keys travel in the signalling, readable by everyone on the way; listen on tls", network, policy)
	}
}

func (c checker) underscore(path string, u SIPURI) {
	if _, isAddr := u.Addr(); c.sound(path) && !isAddr && strings.Contains(u.Host, "_") {
		c.warnf(path, "has an underscore in the name %q: many name servers and certificates do not allow it; use a hyphen", u.Host)
	}
}

// sameFamily reports a peer that none of the listeners could answer.
func (c checker) sameFamily(path string, u SIPURI, listenPath string, listen ...Listen) {
	addr, isAddr := u.Addr()
	if !isAddr || !c.sound(path, listenPath) || len(listen) == 0 {
		return
	}
	for _, l := range listen {
		if l.Addr.Addr().Is4() == addr.Is4() {
			return
		}
	}
	c.errorf(path, "is at %s and %s is at %s; both must be IPv4 or both IPv6", addr, listenPath, listen[0].Addr.Addr())
}

// peerIsNotUs finds calls that would come straight back.
func (c checker) peerIsNotUs(path string, u SIPURI) {
	addr, isAddr := u.Addr()
	if !isAddr || !c.sound(path) {
		return
	}
	target := netip.AddrPortFrom(addr, uint16(u.Port))
	for _, own := range c.endpoints() {
		if own.addr == target && own.datagrams() == (u.Transport == "udp") {
			c.errorf(path, "is %s, which is %s of this causeway, so calls would come back to it; write the address of the peer", target, own.path)
			return
		}
	}
}
