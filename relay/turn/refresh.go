package turn

import "time"

// refresh is RFC 8656 section 8.2, and RFC 8016 section 3.2.2 when it has a ticket.
func (m *Machine) refresh(r *request) {
	if ticket, ok := m.msg.Get(AttrMobilityTicket); ok {
		m.move(r, ticket)
		return
	}
	lifetime, ok := m.lifetimeWanted()
	if !ok {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	if lifetime == 0 && m.deleted.has(r.nano, r.source, m.msg.ID) {
		// The answer to the first one got lost; or it comes late, and the client has another allocation by now.
		m.replyRefreshed(r, 0)
		return
	}
	a := r.alloc
	if a == nil || !a.open {
		m.replyError(r, CodeAllocationMismatch, nil)
		return
	}
	m.heard(a, r.source)
	only, code := m.familyToRefresh(a)
	if code != 0 {
		m.replyError(r, code, nil)
		return
	}
	var told uint32
	if lifetime == 0 {
		m.remove(r, a, only)
	} else {
		told = a.extend(r.nano, lifetime, only)
		m.schedule(a)
	}
	m.replyRefreshed(r, told)
}

// remove deletes one family of an allocation, or all of it.
func (m *Machine) remove(r *request, a *allocation, only Family) {
	m.deleted.add(r.now, r.source, m.msg.ID)
	for f := range families {
		if a.has(f) && (only == families || only == f) {
			m.closeFamily(a, f)
		}
	}
	if !a.has(IPv4) && !a.has(IPv6) {
		m.forget(a)
	} else {
		m.schedule(a)
	}
}

// extend begins the lifetime of one family anew, or of all, and returns how many seconds it has.
func (a *allocation) extend(now int64, lifetime time.Duration, only Family) (told uint32) {
	ends, told := a.grant(now, lifetime)
	for f := range families {
		if a.has(f) && (only == families || only == f) {
			a.ends[f] = ends
		}
	}
	return told
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

func (m *Machine) replyRefreshed(r *request, lifetime uint32) {
	m.stats.Successes++
	m.success()
	m.out.AddUint32(AttrLifetime, lifetime)
	m.send(r)
}

// retransmission is how long a request may be sent again after its first answer: a client of RFC 8489 section 6.2.1
// gives up after 39.5 s.
const retransmission = 40 * time.Second

// gravesKept bounds the memory of deleted allocations. When it is full the oldest goes, and its client, should the
// answer have been lost, sees 437, which means the same.
const gravesKept = 1024

// graves remembers which requests deleted an allocation or a family of one, so that one which is sent again gets the same answer.
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
