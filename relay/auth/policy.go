package auth

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// PolicyOptions are what a policy is compiled from. Prefixes have no bits behind their mask.
type PolicyOptions struct {
	// Allow and Deny are about external peers.
	Allow, Deny []netip.Prefix
	// InternalAllow names the internal peers; InternalDeny what is denied on any side.
	InternalAllow, InternalDeny []netip.Prefix
	// Host are addresses of this machine, Relay those that relayed addresses are taken from, bound and advertised.
	Host, Relay []netip.Addr
	// Ports are the first and the last relay port.
	Ports [2]uint16
	// Held reports whether a port of a relay address, within Ports, is a relayed address now: of an allocation that has
	// TCP (RFC 6062) or UDP there. Another program's socket may have a port of that range too, and is none of the relay's.
	// It is called for every packet to or from such a port, by any goroutine: it must neither lock nor allocate. nil is for
	// those who have no relay to ask: every port of the range counts.
	Held func(a netip.Addr, port uint16, tcp bool) bool
	// Federation is what external peers may do.
	Federation Federation
}

// Policy decides which peers the relay may be used to reach. It is compiled when the relay starts and never changes,
// other than by what Held says; deciding allocates nothing.
//
// A peer at one of the relay's own relayed addresses may do everything; a port of the range that is not held at the
// moment is none. A peer that InternalAllow names may too, unless
// InternalDeny does. For every other peer Deny decides, then Allow, then the built-in denials: the IANA special-purpose
// ranges, multicast, what is no global unicast address of IPv6, and the other sockets of this host. What is left may do
// what Federation says.
//
// Rules about networks are not about this host: its own addresses, other than loopback, are opened (Allow,
// InternalAllow) only by rules that name the single address, and its relayed addresses are denied only by such.
//
// IPv4 addresses have other spellings in IPv6. One of those is denied if its IPv6 address is, or any IPv4 address inside
// it. What translates to the IPv4 address (IPv4-mapped, IPv4-compatible, IPv4-translated, NAT64) is allowed by a rule
// about the IPv4 address; every form is allowed by an IPv6 rule within the form's prefix, if the addresses inside pass.
// A rule for local-use NAT64 gives the translator's prefix: its length says where the IPv4 address is.
//
// What is not a plain address, or has a zone or port 0, is denied.
type Policy struct {
	rules      []rule
	lists      [listCount][]uint16
	v4, v6     ranges
	ports      [2]uint16
	held       func(a netip.Addr, port uint16, tcp bool) bool
	federation Federation
	closed     string // the rule when federation decides
}

// Decision is what a policy says of a peer.
type Decision struct {
	Allowed bool
	Class   Class
	// Rule names what decided, for people: "peers.deny 10.0.0.0/8", "built-in: loopback (RFC 1122)".
	Rule string
	// Form is the spelling in which the IPv4 address that decided was found, as of [Canonical]; otherwise empty.
	Form string
}

// Names of rules that are not entries of a list.
const (
	builtIn     = "built-in: "
	ruleOwn     = builtIn + "own relayed address"
	ruleHost    = builtIn + "this host's other sockets"
	ruleDefault = builtIn + "global unicast"
	ruleInvalid = builtIn + "not a plain IP address"
	ruleNoPort  = builtIn + "port 0"
)

// NewPolicy compiles a policy. It fails for prefixes that are invalid, have bits behind their mask or are IPv4 in the
// IPv4-mapped form, for addresses that are invalid, and for an inverted range of ports.
func NewPolicy(o PolicyOptions) (*Policy, error) {
	p := &Policy{
		rules:      make([]rule, 1), // 0 is none
		ports:      o.Ports,
		held:       o.Held,
		federation: o.Federation,
		closed:     "federation " + o.Federation.String(),
	}
	if o.Ports[0] > o.Ports[1] {
		return nil, fmt.Errorf("relay ports %d-%d: the first is behind the last", o.Ports[0], o.Ports[1])
	}
	for _, l := range []struct {
		list     list
		name     string
		prefixes []netip.Prefix
	}{
		{listDeny, "peers.deny", o.Deny},
		{listAllow, "peers.allow", o.Allow},
		{listInternalDeny, "internal.peers.deny", o.InternalDeny},
		{listInternalAllow, "internal.peers.allow", o.InternalAllow},
	} {
		for _, prefix := range l.prefixes {
			if err := plainPrefix(prefix); err != nil {
				return nil, fmt.Errorf("%s %s %w", l.name, prefix, err)
			}
			p.add(l.list, rule{prefix: prefix, text: l.name + " " + prefix.String(), single: prefix.IsSingleIP()})
		}
	}
	for _, r := range specialRules() {
		p.add(listSpecial, r)
	}
	if err := p.addOwn(o); err != nil {
		return nil, err
	}
	if len(p.rules) > math.MaxUint16 {
		return nil, fmt.Errorf("%d rules are more than the %d that a policy can have", len(p.rules), math.MaxUint16)
	}
	p.v4 = compile(&p.lists, p.rules, true)
	p.v6 = compile(&p.lists, p.rules, false)
	return p, nil
}

func (p *Policy) add(l list, r rule) {
	p.lists[l] = append(p.lists[l], uint16(len(p.rules)))
	p.rules = append(p.rules, r)
}

// addOwn adds the addresses of this host.
func (p *Policy) addOwn(o PolicyOptions) error {
	for _, a := range o.Relay {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.Zone() != "" {
			return fmt.Errorf("relay address %s is not the address of a host", a)
		}
		p.add(listRelay, rule{prefix: netip.PrefixFrom(a, a.BitLen()), text: ruleOwn, single: true})
	}
	for _, a := range o.Host {
		a = a.Unmap()
		if !a.IsValid() {
			return errors.New("an address of this host is invalid")
		}
		// A link-local address is this host's on whatever link: PrefixFrom leaves out the zone.
		p.add(listHost, rule{prefix: netip.PrefixFrom(a, a.BitLen()), text: ruleHost, single: true})
	}
	return nil
}

func plainPrefix(prefix netip.Prefix) error {
	switch {
	case !prefix.IsValid():
		return errors.New("is not a prefix")
	case prefix.Masked() != prefix:
		return fmt.Errorf("has bits behind its mask; write %s", prefix.Masked())
	case prefix.Addr().Is4In6() && prefix.Bits() > forms[formMapped].bits:
		return errors.New("is an IPv4 network in an IPv6 form; write the IPv4 network")
	default:
		return nil
	}
}

// Row is one rule of a policy.
type Row struct {
	Prefix  netip.Prefix
	Rule    string
	Allowed bool
}

// Table lists the rules in the order in which they decide. Within one part, the longest prefix that covers a peer is
// the one that a [Decision] names.
func (p *Policy) Table() []Row {
	var rows []Row
	for _, l := range []list{listRelay, listInternalDeny, listInternalAllow, listDeny, listAllow, listSpecial, listHost} {
		for _, i := range p.lists[l] {
			if r := p.rules[i]; r.text != "" {
				allowed := l == listRelay || l == listInternalAllow || l == listAllow
				rows = append(rows, Row{Prefix: r.prefix, Rule: r.text, Allowed: allowed})
			}
		}
	}
	return rows
}
