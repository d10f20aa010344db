package route

import "net/netip"

// few is how many permissions or channels are searched one by one; more have an
// index. Most allocations have one or two of each.
const few = 8

// Path is the forwarding state of one allocation: whom its client may exchange data
// with, and which channel number stands for which peer. Addresses must not be
// IPv4-mapped. The zero value permits nothing.
//
// Bounds are up to the caller.
type Path struct {
	ToPeer   Flow // from the client
	ToClient Flow // from its peers

	permissions []netip.Addr
	channels    []channel
	index       *index // nil while there have been few
}

// channel is one binding. That it knows of its peer's permission makes one look-up
// do for a packet.
type channel struct {
	peer      netip.AddrPort
	number    uint16
	permitted bool
}

// index says where in the slices things are.
type index struct {
	permission map[netip.Addr]int
	number     map[uint16]int
	peer       map[netip.AddrPort]int
}

// Permit gives an address a permission (RFC 8656 section 9). Giving it again
// changes nothing.
func (p *Path) Permit(ip netip.Addr) {
	if _, ok := p.permission(ip); ok {
		return
	}
	p.permissions = append(p.permissions, ip)
	if p.index != nil {
		p.index.permission[ip] = len(p.permissions) - 1
	}
	p.mark(ip, true)
	p.grow()
}

// Revoke takes an address's permission, if it has one. Channels stay bound.
func (p *Path) Revoke(ip netip.Addr) {
	i, ok := p.permission(ip)
	if !ok {
		return
	}
	last := len(p.permissions) - 1
	moved := p.permissions[last]
	p.permissions[i] = moved
	p.permissions = p.permissions[:last]
	if p.index != nil {
		p.index.permission[moved] = i
		delete(p.index.permission, ip)
	}
	p.mark(ip, false)
}

// mark tells the channels to an address about its permission.
func (p *Path) mark(ip netip.Addr, permitted bool) {
	for i := range p.channels {
		if p.channels[i].peer.Addr() == ip {
			p.channels[i].permitted = permitted
		}
	}
}

// Bind has a channel number stand for a peer (RFC 8656 section 12). What either was
// bound to before is unbound. It gives no permission.
func (p *Path) Bind(number uint16, peer netip.AddrPort) {
	if i, ok := p.byNumber(number); ok {
		if p.channels[i].peer == peer {
			return
		}
		p.unbind(i)
	}
	if i, ok := p.byPeer(peer); ok {
		p.unbind(i)
	}
	_, permitted := p.permission(peer.Addr())
	p.channels = append(p.channels, channel{peer, number, permitted})
	if p.index != nil {
		p.index.number[number] = len(p.channels) - 1
		p.index.peer[peer] = len(p.channels) - 1
	}
	p.grow()
}

// Unbind ends a binding, if there is one.
func (p *Path) Unbind(number uint16) {
	if i, ok := p.byNumber(number); ok {
		p.unbind(i)
	}
}

func (p *Path) unbind(i int) {
	gone := p.channels[i]
	last := len(p.channels) - 1
	moved := p.channels[last]
	p.channels[i] = moved
	p.channels = p.channels[:last]
	if p.index != nil {
		p.index.number[moved.number], p.index.peer[moved.peer] = i, i
		delete(p.index.number, gone.number)
		delete(p.index.peer, gone.peer)
	}
}

// grow makes the index when there is more than few of anything.
func (p *Path) grow() {
	if p.index != nil || len(p.permissions) <= few && len(p.channels) <= few {
		return
	}
	p.index = &index{map[netip.Addr]int{}, map[uint16]int{}, map[netip.AddrPort]int{}}
	for i, ip := range p.permissions {
		p.index.permission[ip] = i
	}
	for i, c := range p.channels {
		p.index.number[c.number], p.index.peer[c.peer] = i, i
	}
}

// Channel returns the peer that a channel number stands for. A binding outlives the
// permission that came with it if only the binding is refreshed (RFC 8656 section
// 12), so permitted tells whether the peer has one now.
func (p *Path) Channel(number uint16) (peer netip.AddrPort, permitted, ok bool) {
	i, ok := p.byNumber(number)
	if !ok {
		return netip.AddrPort{}, false, false
	}
	return p.channels[i].peer, p.channels[i].permitted, true
}

// Peer says what to do with data from a peer: number is the channel that is bound
// to it, or 0 for none, in which case the client gets a Data indication (RFC 8656
// section 12.7).
func (p *Path) Peer(from netip.AddrPort) (number uint16, permitted bool) {
	if i, ok := p.byPeer(from); ok {
		return p.channels[i].number, p.channels[i].permitted
	}
	_, permitted = p.permission(from.Addr())
	return 0, permitted
}

// Permitted reports whether an address has a permission.
func (p *Path) Permitted(ip netip.Addr) bool {
	_, ok := p.permission(ip)
	return ok
}

// Permissions returns how many addresses have a permission.
func (p *Path) Permissions() int { return len(p.permissions) }

// Channels returns how many channels are bound.
func (p *Path) Channels() int { return len(p.channels) }

func (p *Path) permission(ip netip.Addr) (at int, ok bool) {
	if p.index != nil {
		at, ok = p.index.permission[ip]
		return at, ok
	}
	for i := range p.permissions {
		if p.permissions[i] == ip {
			return i, true
		}
	}
	return 0, false
}

func (p *Path) byNumber(number uint16) (at int, ok bool) {
	if p.index != nil {
		at, ok = p.index.number[number]
		return at, ok
	}
	for i := range p.channels {
		if p.channels[i].number == number {
			return i, true
		}
	}
	return 0, false
}

func (p *Path) byPeer(peer netip.AddrPort) (at int, ok bool) {
	if p.index != nil {
		at, ok = p.index.peer[peer]
		return at, ok
	}
	for i := range p.channels {
		if p.channels[i].peer == peer {
			return i, true
		}
	}
	return 0, false
}
