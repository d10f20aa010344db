package conf

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// timerB is how long an INVITE waits for its first answer (RFC 3261 section 17.1.1.2: 64*T1).
const timerB = 32 * time.Second

// signalling checks what the sides' sessions, limits and watches are set to.
func (c checker) signalling(m *Mediation) {
	c.peerNames(&m.Pool)
	c.heartbeat("mediation.pool.heartbeat", m.Pool.Heartbeat)
	c.heartbeat("mediation.gateway.heartbeat", m.Gateway.Heartbeat)
	c.sessionTimer("mediation.session_timer", m.SessionTimer)
	c.gatewayName(&m.Gateway)
	c.digest(&m.Gateway)
	c.registration(&m.Gateway)
	if path := "mediation.ring_timeout"; c.sound(path) && m.RingTimeout < timerB {
		c.warnf(path, "%s is shorter than the %s that a peer has for its first answer (RFC 3261, timer B), so calls to a slow peer end before it is known to be away; write %s or more", m.RingTimeout, timerB, timerB)
	}
	c.media(m)
	const limits = "mediation.limits"
	if path := limits + ".unproven_connections"; c.given(path) && c.sound(limits) && m.Limits.UnprovenConnections > m.Limits.Connections {
		c.errorf(path, "is %d, more than the %d of %s.connections, of which they are a part; lower it", m.Limits.UnprovenConnections, m.Limits.Connections, limits)
	}
	if path := "mediation.resolver"; m.Resolver.IsValid() && c.sound("mediation") && len(m.LookedUp()) == 0 {
		c.warnf(path, "is of no use: every peer is given by its address, so nothing is looked up; remove it")
	}
}

// reportsApart is the longest time between two RTCP reports of a peer that keeps to RFC 3550 section 6.2, rounded up.
const reportsApart = 10 * time.Second

// media checks what is believed of a call's media.
func (c checker) media(m *Mediation) {
	for _, side := range []struct {
		path     string
		policy   SRTPPolicy
		learning Learning
	}{{"mediation.pool", m.Pool.SRTP, m.Pool.Learning}, {"mediation.gateway", m.Gateway.SRTP, m.Gateway.Learning}} {
		switch path := side.path + ".learning"; {
		case !c.given(path) || !c.sound(path, side.path+".srtp"):
		case side.policy == SRTPRequired && side.learning != LearnSameIP:
			c.warnf(path, "is of no use: every call on this side is encrypted, and a source is believed for its key; remove it")
		case side.learning == LearnNAT:
			c.warnf(path, "takes the first source of plain RTP after the answer for the peer, whoever it is; use it for peers behind a NAT alone, and let a firewall keep others from mediation.ports")
		}
	}
	const path = "mediation.media_timeout"
	switch {
	case !c.sound(path):
	case m.MediaTimeout > 0 && m.MediaTimeout < reportsApart:
		c.errorf(path, "is %s, shorter than pauses of a peer that sends nothing through silence; write %s or more, or 0s to let calls last without media", m.MediaTimeout, reportsApart)
	case m.MediaTimeout == 0 && c.given(path+"_needs_rtcp"):
		c.warnf(path+"_needs_rtcp", "is of no use: %s is off; remove it", path)
	}
}

// peerNames checks peers of the pool that are given by name: how they would be known.
func (c checker) peerNames(p *PoolSide) {
	const listen, clients = "mediation.pool.listen", "mediation.pool.tls.clients"
	for i, peer := range p.Peers {
		path := fmt.Sprintf("mediation.pool.peers[%d]", i)
		if peer.Name == "" || !c.sound(path, listen) {
			continue
		}
		c.underscore(path, SIPURI{Host: peer.Name})
		tls, plain := p.listensBy()
		switch {
		case !tls:
			c.warnf(path, "%s is looked up by DNS, since no listener of this side is tls: whoever can forge an answer of the name server can place calls to the telephone network; listen on tls, or give addresses", peer.Name)
		case !plain && c.sound(clients) && p.TLS.Clients == ClientsOff:
			c.errorf(path, "is the name %s, which has to stand in a certificate, and %s is off, so that none is asked for; write clients: optional, or give the address", peer.Name, clients)
		}
	}
}

func (c checker) heartbeat(path string, h Heartbeat) {
	if path += ".interval"; c.sound(path) && h.Interval > 0 && h.Interval < time.Second {
		c.errorf(path, "is %s; write 1s or more, or 0s for no heartbeat", h.Interval)
	}
}

func (c checker) sessionTimer(section string, t SessionTimer) {
	if !c.sound(section) || t.Expires == 0 || t.Expires >= t.Min {
		return
	}
	if path := section + ".expires"; c.given(path) {
		c.errorf(path, "is %s, shorter than the %s of %s.min, the shortest that may be asked for (RFC 4028 section 5: 90s at least); raise it, or write 0s to ask for none", t.Expires, t.Min, section)
		return
	}
	c.errorf(section+".min", "is %s, longer than the %s that we ask for ourselves; lower it or set %s.expires", t.Min, t.Expires, section)
}

// gatewayName checks what the gateway's certificate has to carry.
func (c checker) gatewayName(g *GatewaySide) {
	const path, peer = "mediation.gateway.tls.name", "mediation.gateway.peer"
	if g.TLS.Name == "" || !c.sound(path, peer) {
		return
	}
	_, isAddr := g.Peer.Addr()
	switch {
	case strings.Contains(g.TLS.Name, "*"):
		c.errorf(path, "%q has a wildcard; the certificate of a gateway is compared exactly, so write its whole name", g.TLS.Name)
	case !isHostName(g.TLS.Name):
		c.errorf(path, "%q is no name; write what the certificate has in its subject, such as gw.example.org", g.TLS.Name)
	case !isAddr && !strings.EqualFold(g.TLS.Name, g.Peer.Host):
		c.errorf(path, "is %s, and %s is the name %s already, which its certificate has to carry; remove it, or correct peer", g.TLS.Name, peer, g.Peer.Host)
	case g.Peer.Transport != "tls":
		c.warnf(path, "is of no use: %s uses %s, which shows no certificate; remove it", peer, g.Peer.Transport)
	}
}

func (c checker) digest(g *GatewaySide) {
	const section = "mediation.gateway.auth"
	if g.Auth == nil || !c.sound(section) {
		return
	}
	for _, part := range []struct{ key, what, value string }{
		{"username", "name", g.Auth.Username}, {"password", "password", g.Auth.Password.Reveal()},
	} {
		switch path := section + "." + part.key; {
		case part.value == "":
			c.errorf(path, "is empty; write the %s that the trunk was set up with, or remove %s", part.what, section)
		case strings.ContainsFunc(part.value, func(r rune) bool { return r < 0x20 || r == 0x7f }):
			c.errorf(path, "has a control character, which no header can carry; correct it")
		}
	}
	if c.sound("mediation.gateway.peer") && g.Peer.Transport != "tls" {
		c.warnf(section, "goes over %s: whoever listens on the way can try passwords against what is sent, and alter requests; use tls where the trunk has it", g.Peer.Transport)
	}
}

func (c checker) registration(g *GatewaySide) {
	const section, peer = "mediation.gateway.register", "mediation.gateway.peer"
	r := g.Register
	if r == nil || !c.sound(section, peer) {
		return
	}
	if r.Registrar.Transport != g.Peer.Transport {
		c.errorf(section+".registrar", "uses %s, and requests go to %s, which uses %s; leave the transport out", r.Registrar.Transport, peer, g.Peer.Transport)
	}
	if g.Auth == nil && c.sound("mediation.gateway.auth") {
		c.warnf(section, "stands without mediation.gateway.auth: nearly every registrar asks for a name and a password; add auth: {username: NAME, password: PASSWORD}")
	}
}

// listensBy reports which kinds of listeners the side has.
func (p *PoolSide) listensBy() (tls, plain bool) {
	for _, l := range p.Listen {
		if l.Network == "tls" {
			tls = true
		} else {
			plain = true
		}
	}
	return tls, plain
}

// LookedUp returns the names that are looked up by DNS, each once: those of peers that we send to, and those of the
// pool's peers, which are known by them on tcp and udp, and may be named in the route of a call on tls.
func (m *Mediation) LookedUp() []string {
	var names []string
	add := func(name string) {
		if name = strings.TrimSuffix(strings.ToLower(name), "."); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range m.Pool.PeerNames() {
		add(name)
	}
	for _, u := range []SIPURI{m.Pool.NextHop, m.Gateway.Peer} {
		if _, isAddr := u.Addr(); !isAddr && u.Host != "" {
			add(u.Host)
		}
	}
	return names
}
