package transport

import (
	"net/netip"
	"slices"
)

// pool is the connections of a Layer, by flow and by address. Layer.mu guards
// it.
type pool struct {
	byID     map[uint64]*conn     // established and not ended
	byRemote map[endpoint][]*conn // the same, oldest first
	unproven []*conn              // made by peers, without a valid request or still in their handshake; oldest first
	accepted int                  // made by peers, handshakes included, their goroutines not ended
	dialled  int                  // made by us, attempts included
}

// endpoint is where a connection leads.
type endpoint struct {
	network string
	remote  netip.AddrPort
}

func newPool() pool { return pool{byID: map[uint64]*conn{}, byRemote: map[endpoint][]*conn{}} }

func (p *pool) all() []*conn {
	all := make([]*conn, 0, len(p.byID))
	for _, c := range p.byID {
		all = append(all, c)
	}
	return all
}

func (p *pool) add(c *conn) {
	p.byID[c.flow.ID] = c
	at := endpoint{c.flow.Network, c.flow.Remote}
	p.byRemote[at] = append(p.byRemote[at], c)
}

// remove forgets a connection that ends; it may be called again.
func (p *pool) remove(c *conn) {
	p.settled(c)
	if _, ok := p.byID[c.flow.ID]; !ok {
		return
	}
	delete(p.byID, c.flow.ID)
	at := endpoint{c.flow.Network, c.flow.Remote}
	if left := slices.DeleteFunc(p.byRemote[at], func(o *conn) bool { return o == c }); len(left) > 0 {
		p.byRemote[at] = left
	} else {
		delete(p.byRemote, at)
	}
}

// settled takes a connection out of those that have yet to prove themselves.
func (p *pool) settled(c *conn) {
	if i := slices.Index(p.unproven, c); i >= 0 {
		p.unproven = slices.Delete(p.unproven, i, i+1)
	}
}

// newest is the youngest connection to an address that fits; nil: none.
func (p *pool) newest(at endpoint, fits func(*conn) bool) *conn {
	for _, c := range slices.Backward(p.byRemote[at]) {
		if fits(c) {
			return c
		}
	}
	return nil
}

// displaced is the connection that makes room for a new one: the oldest
// unproven one of the address that has most of them, so that one host does
// not shut the others out.
func (p *pool) displaced() *conn {
	from := map[netip.Addr]int{}
	most := 0
	for _, c := range p.unproven {
		from[c.flow.Remote.Addr()]++
		most = max(most, from[c.flow.Remote.Addr()])
	}
	for _, c := range p.unproven {
		if from[c.flow.Remote.Addr()] == most {
			return c
		}
	}
	return nil
}
