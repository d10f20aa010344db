package turn

import "time"

// refresh is RFC 8656 section 8.2, and RFC 8016 section 3.2.2 when it has a ticket.
func (m *Machine) refresh(r *request) {
	if ticket, ok := m.msg.Get(AttrMobilityTicket); ok {
		m.move(r, ticket)
		return
	}
	lifetime, ok := m.lifetimeWanted(r)
	if !ok {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	a := r.alloc
	if a == nil || !a.open {
		if lifetime == 0 && m.deleted.has(r.nano, r.source, m.msg.ID) {
			m.replyRefreshed(r, 0) // the answer to the first one got lost
			return
		}
		m.replyError(r, CodeAllocationMismatch, nil)
		return
	}
	only, code := m.familyToRefresh(a)
	if code != 0 {
		m.replyError(r, code, nil)
		return
	}
	m.heard(a, r.source)
	for f := range families {
		if !a.has(f) || only < families && only != f {
			continue
		}
		if lifetime == 0 {
			m.closeFamily(a, f)
		} else {
			a.ends[f] = r.nano + int64(lifetime)
		}
	}
	if !a.has(IPv4) && !a.has(IPv6) {
		m.deleted.add(r.now, r.source, m.msg.ID)
		m.forget(a)
	} else {
		m.schedule(a)
	}
	m.replyRefreshed(r, lifetime)
}

// familyToRefresh reads REQUESTED-ADDRESS-FAMILY: the family that a Refresh is limited to, or families for all.
func (m *Machine) familyToRefresh(a *allocation) (only Family, code int) {
	value, ok := m.msg.Get(AttrRequestedAddressFamily)
	if !ok {
		return families, 0
	}
	if len(value) != 4 {
		return 0, CodeBadRequest
	}
	switch value[0] {
	case familyIPv4:
		only = IPv4
	case familyIPv6:
		only = IPv6
	default:
		return 0, CodePeerFamilyMismatch
	}
	if !a.has(only) {
		return 0, CodePeerFamilyMismatch // RFC 8656 section 8.2
	}
	return only, 0
}

func (m *Machine) replyRefreshed(r *request, lifetime time.Duration) {
	m.stats.Successes++
	m.success(r)
	m.out.AddUint32(AttrLifetime, seconds(lifetime))
	m.send(r)
}

// retransmission is how long a request may be sent again after its first answer: a client of RFC 8489 section 6.2.1
// gives up after 39.5 s.
const retransmission = 40 * time.Second

// gravesKept bounds the memory of deleted allocations. When it is full the oldest goes, and its client, should the
// answer have been lost, sees 437, which means the same.
const gravesKept = 256

// graves remembers which requests deleted an allocation, so that one which is sent again gets the same answer.
type graves struct {
	ring []grave
	at   int
}

type grave struct {
	source Source
	id     TransactionID
	ends   int64
}

func (g *graves) add(now time.Time, source Source, id TransactionID) {
	entry := grave{source, id, now.Add(retransmission).UnixNano()}
	if len(g.ring) < gravesKept {
		g.ring = append(g.ring, entry)
		return
	}
	g.ring[g.at] = entry
	g.at = (g.at + 1) % gravesKept
}

func (g *graves) has(now int64, source Source, id TransactionID) bool {
	for i := range g.ring {
		if e := &g.ring[i]; e.id == id && e.source == source && now < e.ends {
			return true
		}
	}
	return false
}
