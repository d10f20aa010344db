package turn

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// model is what the RFCs say a relay knows, kept in the plainest way: maps, with the time at which each thing ends, and
// nothing that happens by itself. It answers each request with a code.
type model struct {
	now         time.Time
	cfg         Config
	allocations []*modelAllocation
	held        map[Token]modelPort
	perUser     int // allocations
	inAll       int
}

type modelAllocation struct {
	user        string
	source      Source
	next        Source // zero: it has not moved
	families    map[Family]time.Time
	permissions map[netip.Addr]time.Time
	channels    map[uint16]modelChannel
	tcp, mobile bool
	ticket      string
}

type modelChannel struct {
	peer netip.AddrPort
	ends time.Time
}

type modelPort struct {
	family Family
	user   string
	ends   time.Time
}

// modelAllocate is what an Allocate asks for.
type modelAllocate struct {
	protocol, requested byte // requested 0: no attribute
	additional, mobile  bool
	even, reserve       bool
	token               []byte // nil: no attribute
	lifetime            int    // -1: no attribute
	shut                [families]bool
}

// expire drops what has ended.
func (m *model) expire() {
	over := func(ends time.Time) bool { return !m.now.Before(ends) }
	for _, a := range m.allocations {
		maps.DeleteFunc(a.families, func(_ Family, ends time.Time) bool { return over(ends) })
		maps.DeleteFunc(a.permissions, func(_ netip.Addr, ends time.Time) bool { return over(ends) })
		maps.DeleteFunc(a.channels, func(_ uint16, c modelChannel) bool { return over(c.ends) })
		a.tidy()
	}
	m.allocations = slices.DeleteFunc(m.allocations, func(a *modelAllocation) bool { return len(a.families) == 0 })
	maps.DeleteFunc(m.held, func(_ Token, p modelPort) bool { return over(p.ends) })
}

// tidy drops what belongs to a family that has gone.
func (a *modelAllocation) tidy() {
	gone := func(addr netip.Addr) bool {
		_, ok := a.families[FamilyOf(addr)]
		return !ok
	}
	maps.DeleteFunc(a.permissions, func(addr netip.Addr, _ time.Time) bool { return gone(addr) })
	maps.DeleteFunc(a.channels, func(_ uint16, c modelChannel) bool { return gone(c.peer.Addr()) })
}

// at returns the allocation of a five-tuple.
func (m *model) at(source Source) *modelAllocation {
	for _, a := range m.allocations {
		if a.source == source || a.next == source {
			return a
		}
	}
	return nil
}

func (m *model) remove(a *modelAllocation) {
	m.allocations = slices.DeleteFunc(m.allocations, func(b *modelAllocation) bool { return a == b })
}

func (m *model) count(user string) (n int) {
	for _, a := range m.allocations {
		if a.user == user || user == "" {
			n++
		}
	}
	return n
}

// granted returns the lifetime that is given for one that is asked for: never less than the default, nor more than the
// maximum.
func (m *model) granted(asked int) time.Duration {
	d := time.Duration(asked) * time.Second
	switch {
	case asked < 0 || d < m.cfg.DefaultLifetime:
		return m.cfg.DefaultLifetime
	case d > m.cfg.MaxLifetime:
		return m.cfg.MaxLifetime
	default:
		return d
	}
}

// allocate is RFC 8656 section 7.2 and RFC 6062 section 5.1, in the order of their checks.
func (m *model) allocate(user string, at Source, q modelAllocate) int {
	isTCP := q.protocol == protocolTCP
	if m.at(at) != nil {
		return 437
	}
	if q.protocol != protocolUDP && !isTCP {
		return 442
	}
	if isTCP && (!at.Transport.Stream() || q.even || q.token != nil || q.additional) {
		return 400
	}
	if q.token != nil && (q.even || q.requested != 0 || q.additional) {
		return 400
	}
	if q.additional && (q.requested != 0 || q.reserve) {
		return 400
	}
	if q.requested > 2 {
		return 440
	}
	if m.count(user) >= m.perUser {
		return 486
	}
	if m.count("") >= m.inAll {
		return 508
	}
	var wanted []Family
	switch {
	case q.token != nil:
		port, ok := m.held[Token(q.token)]
		if !ok || port.user != user {
			return 508
		}
		delete(m.held, Token(q.token))
		wanted = []Family{port.family}
		q.shut = [families]bool{}
	case q.additional:
		wanted = []Family{IPv4, IPv6}
	case q.requested == familyIPv6:
		wanted = []Family{IPv6}
	default:
		wanted = []Family{IPv4}
	}
	a := &modelAllocation{
		user: user, source: at, tcp: isTCP, mobile: q.mobile,
		families: map[Family]time.Time{}, permissions: map[netip.Addr]time.Time{}, channels: map[uint16]modelChannel{},
	}
	for _, f := range wanted {
		if !q.shut[f] {
			a.families[f] = m.now.Add(m.granted(q.lifetime))
		}
	}
	if len(a.families) == 0 {
		return 508
	}
	m.allocations = append(m.allocations, a)
	return 0
}

// own returns the allocation that a request is about, or the code that refuses it. A client heard from where it moved
// has moved.
func (m *model) own(user string, at Source) (*modelAllocation, int) {
	a := m.at(at)
	switch {
	case a == nil:
		return nil, 437
	case a.user != user:
		return nil, 441
	}
	m.heard(at)
	return a, 0
}

func (m *model) heard(at Source) {
	if a := m.at(at); a != nil && a.next == at {
		a.source, a.next = at, Source{}
	}
}

// refresh is RFC 8656 section 8.2.
func (m *model) refresh(user string, at Source, asked int, family byte) int {
	a, code := m.own(user, at)
	if code != 0 {
		return code
	}
	which := []Family{IPv4, IPv6}
	if family != 0 {
		which = []Family{Family(family - 1)}
		if _, ok := a.families[which[0]]; !ok {
			return 443
		}
	}
	for _, f := range which {
		if _, ok := a.families[f]; !ok {
			continue
		}
		if asked == 0 {
			delete(a.families, f)
		} else {
			a.families[f] = m.now.Add(m.granted(asked))
		}
	}
	a.tidy()
	if len(a.families) == 0 {
		m.remove(a)
	}
	return 0
}

// move is RFC 8016 section 3.2.2.
func (m *model) move(user string, at Source, ticket string, of *modelAllocation, asked int) int {
	here := m.at(at)
	switch {
	case here != nil && here.user != user:
		return 441
	case here != nil && here != of:
		return 437
	case !slices.Contains(m.allocations, of):
		return 437
	case of.user != user:
		return 441
	case here != nil, ticket != of.ticket, asked == 0, of.tcp && !at.Transport.Stream():
		return 400
	}
	if of.source.Client.IsValid() {
		of.next = at
	} else {
		of.source = at // its old one is gone
	}
	for f := range of.families {
		of.families[f] = m.now.Add(m.granted(asked))
	}
	return 0
}

// mayReach returns the code that refuses a peer's address.
func (m *model) mayReach(a *modelAllocation, peer netip.Addr) int {
	if _, ok := a.families[FamilyOf(peer)]; !ok {
		return 443
	}
	if peer == forbidden.Addr() {
		return 403
	}
	return 0
}

// permit is RFC 8656 section 10.2.
func (m *model) permit(user string, at Source, peers []netip.AddrPort) int {
	a, code := m.own(user, at)
	if code != 0 {
		return code
	}
	if len(peers) == 0 {
		return 400
	}
	after := maps.Clone(a.permissions)
	for _, peer := range peers {
		if code := m.mayReach(a, peer.Addr()); code != 0 {
			return code
		}
		after[peer.Addr()] = m.now.Add(300 * time.Second)
	}
	if len(after) > m.cfg.MaxPermissions {
		return 508
	}
	a.permissions = after
	return 0
}

// bind is RFC 8656 section 12.2.
func (m *model) bind(user string, at Source, number uint16, peer netip.AddrPort) int {
	a, code := m.own(user, at)
	if code != 0 {
		return code
	}
	if number < 0x4000 || number > 0x4FFF || a.tcp {
		return 400
	}
	for n, c := range a.channels {
		if (n == number) != (c.peer == peer) {
			return 400
		}
	}
	if code := m.mayReach(a, peer.Addr()); code != 0 {
		return code
	}
	_, bound := a.channels[number]
	_, permitted := a.permissions[peer.Addr()]
	if !bound && len(a.channels) >= m.cfg.MaxChannels || !permitted && len(a.permissions) >= m.cfg.MaxPermissions {
		return 508
	}
	a.channels[number] = modelChannel{peer, m.now.Add(600 * time.Second)}
	a.permissions[peer.Addr()] = m.now.Add(300 * time.Second)
	return 0
}

// disconnect is the end of a client's stream.
func (m *model) disconnect(at Source) {
	a := m.at(at)
	switch {
	case a == nil:
	case a.next == at:
		a.next = Source{}
	case a.next != Source{}:
		a.source, a.next = a.next, Source{}
	case a.mobile: // until it comes back with its ticket, it has no five-tuple
		a.source = Source{Transport: at.Transport}
	default:
		m.remove(a)
	}
}
