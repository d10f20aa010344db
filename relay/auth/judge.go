package auth

import "net/netip"

// anyPort: the decision is about an address.
const anyPort = -1

// Address decides about a permission, which has no port: whether any of the operations could be done with some port of
// the address.
func (p *Policy) Address(a netip.Addr, ops Ops) Decision { return p.judge(a, anyPort, ops) }

// Endpoint decides about one operation with one address and port.
func (p *Policy) Endpoint(a netip.AddrPort, op Op) Decision {
	if a.Port() == 0 {
		return Decision{Rule: ruleNoPort}
	}
	return p.judge(a.Addr(), int(a.Port()), op.Set())
}

// judge puts the decisions of the lists and of federation together.
func (p *Policy) judge(a netip.Addr, port int, ops Ops) Decision {
	if !a.IsValid() || a.Zone() != "" {
		return Decision{Rule: ruleInvalid}
	}
	var d Decision
	var inside embedded
	f := p.facts(a)
	if form := inside.find(a); form != formNone {
		d = p.spelled(a, *f, form, &inside)
	} else {
		d = p.plain(a, f, f[listRelay] != 0 && p.isOwn(a, port, ops))
	}
	if d.Allowed && p.federation.Allows(d.Class)&ops == 0 {
		return Decision{Class: d.Class, Rule: p.closed}
	}
	return d
}

func (p *Policy) facts(a netip.Addr) *facts {
	if a.Is4() {
		return p.v4.find(number(a))
	}
	return p.v6.find(number(a))
}

// isOwn reports whether a relay address is a relayed address with a port. Of a permission, only that it can be is known.
func (p *Policy) isOwn(a netip.Addr, port int, ops Ops) bool {
	switch {
	case port == anyPort:
		return p.ports[1] != 0
	case port < int(p.ports[0]) || port > int(p.ports[1]):
		return false
	default:
		return p.held == nil || p.held(a, uint16(port), ops&tcpOps != 0)
	}
}

// plain judges an address by the ranges that it is in itself.
func (p *Policy) plain(a netip.Addr, f *facts, own bool) Decision {
	switch {
	case own:
		return p.own(f)
	case f[listInternalDeny] != 0:
		return p.decide(false, ClassInternal, f[listInternalDeny])
	case f[listInternalAllow] != 0:
		if p.hidden(a, f, f[listInternalAllow]) {
			return Decision{Class: ClassInternal, Rule: ruleHost}
		}
		return p.decide(true, ClassInternal, f[listInternalAllow])
	case f[listDeny] != 0:
		return p.decide(false, ClassExternal, f[listDeny])
	case f[listAllow] == 0 && f[listSpecial] != 0:
		return p.decide(false, ClassExternal, f[listSpecial])
	case p.hidden(a, f, f[listAllow]):
		return Decision{Rule: ruleHost}
	case f[listAllow] != 0:
		return p.decide(true, ClassExternal, f[listAllow])
	default:
		return Decision{Allowed: true, Rule: ruleDefault}
	}
}

// own judges a relayed address of this relay. A denied network around it is not meant for it: its clients could not
// talk to each other.
func (p *Policy) own(f *facts) Decision {
	for _, l := range [...]list{listDeny, listInternalDeny} {
		if i := f[l]; p.rules[i].single {
			return p.decide(false, ClassOwn, i)
		}
	}
	return Decision{Allowed: true, Class: ClassOwn, Rule: ruleOwn}
}

// hidden reports whether an address is one of this host's that the allowing rule, if there is one, does not open.
func (p *Policy) hidden(a netip.Addr, f *facts, allow uint16) bool {
	if f[listHost] == 0 && f[listRelay] == 0 {
		return false
	}
	return allow == 0 || !p.rules[allow].single && !a.IsLoopback()
}

// spelled judges an address with IPv4 addresses inside. f is a copy.
func (p *Policy) spelled(a netip.Addr, f facts, form form, inside *embedded) Decision {
	if f[listInternalDeny] != 0 || f[listDeny] != 0 {
		f[listInternalAllow] = 0 // what either list denies is denied in this spelling, whichever side it is on
		return p.plain(a, &f, false)
	}
	// A wider rule means the networks around, not what is behind this one's translator or tunnel.
	for _, l := range [...]list{listAllow, listInternalAllow} {
		if p.rules[f[l]].prefix.Bits() < forms[form].bits {
			f[l] = 0
		}
	}
	if form == formNAT64Local {
		return p.localNAT64(a, &f)
	}
	for _, in := range inside.addrs[:inside.n] {
		g := p.facts(in)
		d := p.plain(in, g, false)
		if !d.Allowed || form.translates() && (g[listAllow] != 0 || g[listInternalAllow] != 0) {
			d.Form = forms[form].name
			return d
		}
	}
	return p.plain(a, &f, false)
}

// localNAT64 judges an address of 64:ff9b:1::/48. Only a rule can tell where the IPv4 address is; one that can't has
// each place looked at.
func (p *Policy) localNAT64(a netip.Addr, f *facts) Decision {
	for _, l := range [...]list{listAllow, listInternalAllow} {
		if f[l] == 0 {
			continue
		}
		bits := p.rules[f[l]].prefix.Bits()
		known := bits == 48 || bits == 56 || bits == 64 || bits == 96
		for _, place := range [...]int{48, 56, 64, 96} {
			if known && place != bits {
				continue
			}
			in := localNAT64(a, place)
			if d := p.plain(in, p.facts(in), false); !d.Allowed {
				d.Form = forms[formNAT64Local].name
				return d
			}
		}
	}
	return p.plain(a, f, false)
}

func (p *Policy) decide(allowed bool, c Class, i uint16) Decision {
	return Decision{Allowed: allowed, Class: c, Rule: p.rules[i].text}
}
