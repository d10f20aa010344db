package turn

import "net/netip"

// Types of ICMP errors, and the code of one (RFC 792, RFC 4443 section 3).
const (
	icmpUnreachable    = 3
	icmpFragmentNeeded = 4 // a code of icmpUnreachable
	icmpTimeExceeded   = 11
	icmpv6Unreachable  = 1
	icmpv6TooBig       = 2
	icmpv6TimeExceeded = 3
)

// Unreachable tells a client of an ICMP error about something that it sent to a peer, if it is of a type that RFC 8656
// section 11.5 passes on. The caller has found the peer permitted; mtu is that of the ICMP message, if there is one.
func (m *Machine) Unreachable(id ID, peer netip.AddrPort, icmpType, icmpCode uint8, mtu uint32) []Action {
	m.begin()
	a := m.byID[id]
	if a == nil {
		return nil
	}
	tooBig := icmpType == icmpv6TooBig
	if peer.Addr().Is4() {
		tooBig = icmpType == icmpUnreachable && icmpCode == icmpFragmentNeeded
		if icmpType != icmpUnreachable && icmpType != icmpTimeExceeded {
			return nil
		}
	} else if icmpType < icmpv6Unreachable || icmpType > icmpv6TimeExceeded {
		return nil
	}
	if !tooBig {
		mtu = 0 // RFC 8656 section 18.13
	}
	var transaction TransactionID
	m.random(transaction[:])
	m.out.Begin(MethodData, ClassIndication, transaction)
	m.out.AddAddr(AttrXORPeerAddress, m.outside(peer))
	m.out.AddICMP(icmpType, icmpCode, mtu)
	m.queue(a.source, m.out.Seal(nil, false, false, false))
	return m.actions
}
