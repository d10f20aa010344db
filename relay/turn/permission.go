package turn

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"causeway/relay/auth"
)

// createPermission is RFC 8656 section 10.2: all of the request's addresses, or none.
func (m *Machine) createPermission(r *request) {
	a := r.alloc
	count, code := 0, 0
	m.fresh = m.fresh[:0]
	m.msg.Each(AttrXORPeerAddress, func(value []byte) {
		count++
		if code != 0 {
			return
		}
		peer, err := m.msg.DecodeXORAddr(value)
		if err != nil {
			code = CodeBadRequest
			return
		}
		addr := m.inside(peer).Addr()
		code = m.mayPermit(a, addr)
		if code == 0 && len(a.permissions)+len(m.fresh) <= m.cfg.MaxPermissions &&
			a.permission(addr) < 0 && !slices.Contains(m.fresh, addr) {
			m.fresh = append(m.fresh, addr)
		}
	})
	switch {
	case count == 0:
		code = CodeBadRequest
	case code == 0 && len(a.permissions)+len(m.fresh) > m.cfg.MaxPermissions:
		code = CodeInsufficientCapacity
	}
	if code != 0 {
		m.replyError(r, code, nil)
		return
	}
	m.msg.Each(AttrXORPeerAddress, func(value []byte) {
		if peer, err := m.msg.DecodeXORAddr(value); err == nil {
			m.permit(a, m.inside(peer).Addr(), r.nano)
		}
	})
	m.schedule(a)
	m.stats.Successes++
	m.success()
	m.send(r)
}

// mayPermit returns the error code that refuses a permission for an address, or 0.
func (m *Machine) mayPermit(a *allocation, addr netip.Addr) int {
	if !a.has(FamilyOf(addr)) {
		return CodePeerFamilyMismatch
	}
	ops := auth.UDPIn.Set() | auth.UDPOut.Set()
	if a.tcp != nil {
		ops = auth.TCPConnect.Set() | auth.TCPAccept.Set()
	}
	if !m.cfg.Policy.Address(addr, ops).Allowed {
		return CodeForbidden
	}
	return 0
}

// permit installs a permission or begins its five minutes anew.
func (m *Machine) permit(a *allocation, addr netip.Addr, now int64) {
	ends := now + int64(permissionLifetime)
	if i := a.permission(addr); i >= 0 {
		a.permissions[i].ends = ends
		return
	}
	a.permissions = append(a.permissions, permission{addr, ends})
	m.act(Action{Kind: Permit, ID: a.id, Peer: netip.AddrPortFrom(addr, 0)})
}

// channelBind is RFC 8656 section 12.2.
func (m *Machine) channelBind(r *request) {
	a := r.alloc
	number, okNumber := m.channelNumber()
	peer, err := m.msg.Addr(AttrXORPeerAddress)
	if !okNumber || err != nil || a.tcp != nil {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	peer = m.inside(peer)
	if code := m.mayBind(a, number, peer); code != 0 {
		m.replyError(r, code, nil)
		return
	}
	m.permit(a, peer.Addr(), r.nano)
	ends := r.nano + int64(channelLifetime)
	if i := a.channelByNumber(number); i >= 0 {
		a.channels[i].ends = ends
	} else {
		a.channels = append(a.channels, channel{peer, ends, number})
		m.act(Action{Kind: BindChannel, ID: a.id, Peer: peer, Channel: number})
	}
	m.schedule(a)
	m.stats.Successes++
	m.success()
	m.send(r)
}

// channelNumber reads CHANNEL-NUMBER, within the range of RFC 8656; what RFC 5766 allows above it is other protocols'
// where several share a port (RFC 7983).
func (m *Machine) channelNumber() (uint16, bool) {
	value, ok := m.msg.Get(AttrChannelNumber)
	if !ok || len(value) != 4 {
		return 0, false
	}
	number := binary.BigEndian.Uint16(value)
	last := uint16(MaxChannel)
	if m.cfg.LegacyChannels {
		last = MaxLegacyChannel
	}
	return number, number >= MinChannel && number <= last
}

// mayBind returns the error code that refuses a channel, or 0.
func (m *Machine) mayBind(a *allocation, number uint16, peer netip.AddrPort) int {
	byNumber, byPeer := a.channelByNumber(number), a.channelByPeer(peer)
	switch {
	case byNumber != byPeer: // one of them is bound to something else
		return CodeBadRequest
	case !a.has(FamilyOf(peer.Addr())):
		return CodePeerFamilyMismatch
	case !m.cfg.Policy.Endpoint(peer, auth.UDPOut).Allowed:
		return CodeForbidden
	case byNumber < 0 && len(a.channels) >= m.cfg.MaxChannels,
		a.permission(peer.Addr()) < 0 && len(a.permissions) >= m.cfg.MaxPermissions:
		return CodeInsufficientCapacity
	default:
		return 0
	}
}
