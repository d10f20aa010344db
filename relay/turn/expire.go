package turn

import (
	"net/netip"
	"slices"
	"time"

	"causeway/internal/wheel"
)

// schedule sets the one timer of an allocation to whatever of it expires first.
func (m *Machine) schedule(a *allocation) {
	a.due = a.deadline()
	m.wheel.Schedule(&a.timer, time.Unix(0, a.due))
}

// Expire ends what is due: allocations, permissions, channels and reservations.
func (m *Machine) Expire(now time.Time) []Action {
	m.begin()
	m.wheel.Advance(now, func(t *wheel.Timer[*allocation]) {
		if t.Owner == nil {
			m.expireReservations(now)
			return
		}
		m.expire(t.Owner, now.UnixNano())
	})
	return m.actions
}

func (m *Machine) expire(a *allocation, now int64) {
	for f := range families {
		if a.has(f) && a.ends[f] <= now {
			m.closeFamily(a, f)
		}
	}
	if !a.has(IPv4) && !a.has(IPv6) {
		m.stats.Expired++
		m.forget(a)
		return
	}
	a.channels = slices.DeleteFunc(a.channels, func(c channel) bool {
		if c.ends > now {
			return false
		}
		m.act(Action{Kind: UnbindChannel, ID: a.id, Peer: c.peer, Channel: c.number})
		return true
	})
	a.permissions = slices.DeleteFunc(a.permissions, func(p permission) bool {
		if p.ends > now {
			return false
		}
		m.revoke(a, p)
		return true
	})
	m.schedule(a)
}

// closeFamily takes one relayed address from an allocation. If it was the last, the caller forgets the allocation.
func (m *Machine) closeFamily(a *allocation, f Family) {
	a.relayed[f] = netip.AddrPort{}
	a.ends[f] = 0
	if !a.has(IPv4) && !a.has(IPv6) {
		return
	}
	m.act(Action{Kind: CloseFamily, ID: a.id, Family: f})
	a.channels = slices.DeleteFunc(a.channels, func(c channel) bool {
		if FamilyOf(c.peer.Addr()) != f {
			return false
		}
		m.act(Action{Kind: UnbindChannel, ID: a.id, Peer: c.peer, Channel: c.number})
		return true
	})
	a.permissions = slices.DeleteFunc(a.permissions, func(p permission) bool {
		if FamilyOf(p.addr) != f {
			return false
		}
		m.revoke(a, p)
		return true
	})
}

// forget ends an allocation.
func (m *Machine) forget(a *allocation) {
	m.wheel.Stop(&a.timer)
	delete(m.sources, a.source.tuple())
	if a.hasNext() {
		delete(m.sources, a.next.tuple())
	}
	delete(m.byID, a.id)
	a.account.Release()
	a.account = nil
	a.relayed = [families]netip.AddrPort{}
	a.open = false
	m.act(Action{Kind: Close, ID: a.id, To: a.source})
}

// Kill ends an allocation from outside and reports whether there was one.
func (m *Machine) Kill(id ID) ([]Action, bool) {
	m.begin()
	a := m.byID[id]
	if a == nil {
		return nil, false
	}
	m.forget(a)
	return m.actions, true
}

// Disconnected ends the allocation of a client whose stream has closed (RFC 8656 section 3.1), unless it holds a
// ticket to come back with (RFC 8016).
func (m *Machine) Disconnected(source Source) []Action {
	m.begin()
	a := m.sources[source.tuple()]
	switch {
	case a == nil:
	case a.hasNext():
		m.lost(a, source)
	case a.mobile:
		// It lives until its lifetime ends, without a five-tuple: that one may soon be another client's. What is sent to its
		// client meanwhile is lost.
		delete(m.sources, source.tuple())
		a.source = Source{Transport: source.Transport}
		m.act(Action{Kind: Settle, ID: a.id, To: a.source})
	default:
		m.forget(a)
	}
	return m.actions
}

// reservations are the ports held for RESERVATION-TOKEN. They all wait equally long, so the oldest is the first due.
type reservations struct {
	queue []reservation
	timer wheel.Timer[*allocation] // owned by no allocation
}

type reservation struct {
	ends  time.Time
	token Token
}

// reserve starts the time of a reservation.
func (m *Machine) reserve(ends time.Time, token Token) {
	m.reserved.queue = append(m.reserved.queue, reservation{ends, token})
	if len(m.reserved.queue) == 1 {
		m.wheel.Schedule(&m.reserved.timer, ends)
	}
}

func (m *Machine) expireReservations(now time.Time) {
	q := m.reserved.queue
	for len(q) > 0 && !q[0].ends.After(now) {
		m.act(Action{Kind: Release, Token: q[0].token})
		q = q[1:]
	}
	m.reserved.queue = slices.Clone(q)
	if len(q) > 0 {
		m.wheel.Schedule(&m.reserved.timer, q[0].ends)
	}
}

func (m *Machine) revoke(a *allocation, p permission) {
	m.act(Action{Kind: Revoke, ID: a.id, Peer: netip.AddrPortFrom(p.addr, 0)})
}
