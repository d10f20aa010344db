package turn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// A mobility ticket is the allocation's ID, a serial number that makes each ticket the last, and a tag over both
// (RFC 8016 leaves the form to the server). It says nothing about the client and needs no secrecy: it is good only
// together with the credentials of its allocation.
//
// It is text of 32 characters because coturn's client keeps it as a string of at most so many.
const (
	ticketBody  = 8 + 4
	ticketTag   = 12
	ticketBytes = ticketBody + ticketTag
	ticketSize  = ticketBytes / 3 * 4
)

// ticketText gives each ticket one text: there are no bits to spare.
var ticketText = base64.RawURLEncoding

func (m *Machine) addTicket(a *allocation) {
	var b [ticketBytes]byte
	binary.BigEndian.PutUint64(b[:], uint64(a.id))
	binary.BigEndian.PutUint32(b[8:], a.ticket)
	copy(b[ticketBody:], m.ticketTag(b[:ticketBody]))
	var text [ticketSize]byte
	ticketText.Encode(text[:], b[:])
	m.out.Add(AttrMobilityTicket, text[:])
}

func (m *Machine) ticketTag(body []byte) []byte {
	mac := hmac.New(sha256.New, m.cfg.TicketKey[:])
	mac.Write(body)
	return mac.Sum(nil)[:ticketTag]
}

// readTicket returns what a ticket says, if it is one of ours.
func (m *Machine) readTicket(text []byte) (id ID, serial uint32, ok bool) {
	var b [ticketBytes]byte
	if len(text) != ticketSize {
		return 0, 0, false
	}
	if _, err := ticketText.Decode(b[:], text); err != nil || !hmac.Equal(m.ticketTag(b[:ticketBody]), b[ticketBody:]) {
		return 0, 0, false
	}
	return ID(binary.BigEndian.Uint64(b[:])), binary.BigEndian.Uint32(b[8:]), true
}

// forwarded hands a Refresh to the worker that its ticket names, and looks up the allocation of one that is ours, so
// that it is authenticated by the allocation's own key.
func (m *Machine) forwarded(r *request) bool {
	ticket, ok := m.msg.Get(AttrMobilityTicket)
	if !ok || !m.cfg.Mobility || r.alloc != nil {
		return false
	}
	id, _, ok := m.readTicket(ticket)
	if !ok {
		return false
	}
	if id.Worker() != m.cfg.Worker {
		// Tickets can be kept for ever. A nonce cannot, and shows that the sender receives.
		if nonce, ok := m.msg.Get(AttrNonce); !ok || !m.nonceIsFresh(r, nonce) {
			return false
		}
		m.act(Action{Kind: Forward, ID: id, To: r.source})
		return true
	}
	if a := m.current(m.byID[id], r.nano); a != nil && a.open && a.mobile {
		r.alloc = a
	}
	return false
}

// move is RFC 8016 section 3.2.2. Both five-tuples work until the client is heard from the new one, so that nothing in
// flight is lost.
func (m *Machine) move(r *request, ticket []byte) {
	if !m.cfg.Mobility {
		m.replyError(r, CodeMobilityForbidden, nil)
		return
	}
	id, serial, ok := m.readTicket(ticket)
	lifetime, okLifetime := m.lifetimeWanted()
	if !ok || !okLifetime {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	a := r.alloc
	switch {
	case a == nil || a.id != id:
		m.replyError(r, CodeAllocationMismatch, nil)
		return
	case a.ticket > 0 && a.moved == m.msg.ID && r.source == a.latest():
		m.replyMoved(r, a) // the answer got lost
		return
	case serial != a.ticket || r.source == a.source || a.hasNext() && r.source == *a.next, lifetime == 0,
		r.source.Transport.Stream() != a.source.Transport.Stream() && a.tcp != nil:
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	if a.hasNext() {
		delete(m.sources, a.next.tuple()) // it moved again before it was heard
	}
	a.next = new(r.source)
	a.moved = m.msg.ID
	a.ticket++
	a.lifetime = a.extend(r.nano, lifetime, families)
	m.sources[r.source.tuple()] = a
	m.schedule(a)
	m.act(Action{Kind: Move, ID: a.id, To: r.source})
	if !a.source.Client.IsValid() {
		m.heard(a, r.source) // its stream has closed: there is no old five-tuple to keep
	}
	m.replyMoved(r, a)
}

func (m *Machine) replyMoved(r *request, a *allocation) {
	m.stats.Successes++
	m.success()
	m.out.AddUint32(AttrLifetime, a.lifetime)
	m.addTicket(a)
	m.send(r)
}

// heard settles a client that moved at its new five-tuple once it is heard from there.
func (m *Machine) heard(a *allocation, from Source) {
	if !a.hasNext() || from != *a.next {
		return
	}
	delete(m.sources, a.source.tuple())
	a.source, a.next = from, nil
	m.act(Action{Kind: Settle, ID: a.id, To: a.source})
}

// Heard is for what is forwarded without the machine: a client sent data from the five-tuple that it moved to.
func (m *Machine) Heard(id ID, from Source) []Action {
	m.begin()
	if a := m.byID[id]; a != nil {
		m.heard(a, from)
	}
	return m.actions
}

// lost drops the one of two five-tuples whose stream has closed.
func (m *Machine) lost(a *allocation, source Source) {
	delete(m.sources, source.tuple())
	if source == a.source {
		a.source = *a.next
	}
	a.next = nil
	m.act(Action{Kind: Settle, ID: a.id, To: a.source})
}
