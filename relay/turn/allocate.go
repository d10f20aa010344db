package turn

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"causeway/relay/auth"
)

// Values of REQUESTED-TRANSPORT and of the address family attributes.
const (
	protocolTCP = 6    // RFC 6062 section 4.1
	protocolUDP = 17   // RFC 8656 section 18.8
	familyIPv4  = 0x01 // RFC 8656 section 18.6
	familyIPv6  = 0x02
)

// allocate is RFC 8656 section 7.2 and RFC 6062 section 5.1.
func (m *Machine) allocate(r *request) {
	if a := r.alloc; a != nil {
		if a.open && a.made == m.msg.ID && a.name == r.identity.Name {
			m.replyAllocated(r, a) // the answer got lost
			return
		}
		m.replyError(r, CodeAllocationMismatch, nil)
		return
	}
	ports, code := m.portsWanted(r)
	if code != 0 {
		m.replyError(r, code, nil)
		return
	}
	ticket, mobile := m.msg.Get(AttrMobilityTicket)
	if mobile && !m.cfg.Mobility {
		m.replyError(r, CodeMobilityForbidden, nil)
		return
	}
	lifetime, ok := m.lifetimeWanted()
	if !ok || len(ticket) > 0 { // RFC 8016 section 3.1.1: the client has none yet
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	if m.cfg.Draining != nil && m.cfg.Draining() {
		m.full(r)
		return
	}
	account, err := m.cfg.Quota.Acquire(r.identity.User)
	switch {
	case errors.Is(err, auth.ErrUserQuota):
		m.replyError(r, CodeAllocationQuota, nil)
		return
	case err != nil:
		m.full(r)
		return
	}
	m.open(r, ports, account, lifetime, mobile)
}

// full tells a client of another server, if there is one of its family, and otherwise that it has to wait.
func (m *Machine) full(r *request) {
	for _, alternate := range m.cfg.Alternates {
		if FamilyOf(alternate.Addr()) == FamilyOf(r.source.Client.Addr()) { // RFC 8489 section 14.15
			m.stats.reply(CodeTryAlternate)
			m.out.Begin(m.msg.Method, ClassError, m.msg.ID)
			m.out.AddError(CodeTryAlternate)
			m.out.AddAddr(AttrAlternateServer, alternate)
			m.send(r)
			return
		}
	}
	m.replyError(r, CodeInsufficientCapacity, nil)
}

// open makes the allocation and asks for its ports.
func (m *Machine) open(r *request, ports Ports, account *auth.Account, lifetime time.Duration, mobile bool) {
	m.serial++
	a := &allocation{
		id:      ID(m.cfg.Worker)<<workerShift | ID(m.serial),
		source:  r.source,
		account: account,
		user:    r.identity.User,
		name:    r.identity.Name,
		key:     r.identity.Key,
		keyLen:  uint8(r.identity.KeyLen),
		alg:     r.alg,
		strict:  m.expiry(r.identity),
		made:    m.msg.ID,
		began:   r.nano,
		due:     never, // until it is open
		mobile:  mobile,
	}
	var ends int64
	ends, a.lifetime = a.grant(r.nano, lifetime)
	if ports.TCP {
		a.tcp = new(connects)
	}
	for f := range families {
		if ports.Families[f] {
			a.ends[f] = ends
		}
	}
	a.timer.Owner = a
	m.sources[a.source.tuple()] = a
	m.byID[a.id] = a
	m.act(Action{Kind: Open, ID: a.id, To: a.source, Ports: ports, Token: ports.Token, User: a.user})
	m.opening = *r
	m.wanted = ports
}

// Opened tells the outcome of the Open that ended the last call's actions.
func (m *Machine) Opened(now time.Time, id ID, o Opened) []Action {
	m.begin()
	a := m.byID[id]
	if a == nil || a.open {
		return nil
	}
	r, wanted := &m.opening, m.wanted
	defer func() { m.opening = request{} }()
	r.key = r.identity.Key[:r.identity.KeyLen] // the copy's own
	a.relayed = o.Relayed
	if !a.has(IPv4) && !a.has(IPv6) {
		m.forget(a)
		if wanted.Reserved {
			m.replyError(r, CodeInsufficientCapacity, nil) // no other server has that port
		} else {
			m.full(r)
		}
		return m.actions
	}
	a.failed = !wanted.Reserved && wanted.Families[IPv4] && wanted.Families[IPv6] && (!a.has(IPv4) || !a.has(IPv6))
	a.open = true
	if wanted.Reserve {
		a.token, a.reserved = o.Token, true
		m.reserve(now.Add(reservationHold), o.Token)
	}
	m.schedule(a)
	if a.source.Transport == UDP {
		// The client has answered our challenge, so that reply was not bounced at anybody.
		m.cfg.Budget.Refund(a.source.Client.Addr())
	}
	m.replyAllocated(r, a)
	return m.actions
}

func (m *Machine) replyAllocated(r *request, a *allocation) {
	m.success()
	for f := range families {
		if a.has(f) {
			m.out.AddAddr(AttrXORRelayedAddress, m.outside(a.relayed[f]))
		}
	}
	m.out.AddUint32(AttrLifetime, a.lifetime)
	if a.reserved {
		m.out.Add(AttrReservationToken, a.token[:])
	}
	if a.failed {
		m.addAddressError(a)
	}
	m.out.AddAddr(AttrXORMappedAddress, r.source.Client)
	if a.mobile {
		m.addTicket(a)
	}
	m.stats.Successes++
	m.send(r)
}

// addAddressError says which family the allocation lacks (RFC 8656 section 18.12).
func (m *Machine) addAddressError(a *allocation) {
	family, f := byte(familyIPv6), IPv6
	if a.has(IPv6) {
		family, f = familyIPv4, IPv4
	}
	code := CodeInsufficientCapacity
	if !m.cfg.Families[f] {
		code = CodeFamilyNotSupported
	}
	m.out.Add(AttrAddressErrorCode, []byte{family, 0, byte(code / 100), byte(code % 100)})
}

// portsWanted reads what kind of relayed addresses a request asks for, or the error code that refuses it. The order
// of the checks is RFC 8656 section 7.2's.
func (m *Machine) portsWanted(r *request) (p Ports, code int) {
	transport, ok := m.msg.Get(AttrRequestedTransport)
	if !ok || len(transport) != 4 {
		return p, CodeBadRequest
	}
	switch transport[0] {
	case protocolUDP:
	case protocolTCP:
		p.TCP = true
	default:
		return p, CodeUnsupportedTransport
	}
	fragment, dont := m.msg.Get(AttrDontFragment)
	even, hasEven := m.msg.Get(AttrEvenPort)
	token, hasToken := m.msg.Get(AttrReservationToken)
	if dont && len(fragment) != 0 || hasEven && len(even) != 1 || hasToken && len(token) != len(p.Token) {
		return p, CodeBadRequest
	}
	if p.TCP {
		// RFC 6062 section 5.1: over a stream, and none of these.
		if !r.source.Transport.Stream() || hasEven || hasToken || dont {
			return p, CodeBadRequest
		}
	}
	p.Even = hasEven
	p.Reserve = hasEven && even[0]&0x80 != 0
	if hasToken {
		p.Reserved, p.Token = true, Token(token)
	}
	code = m.familiesWanted(&p, hasEven, hasToken)
	return p, code
}

// familiesWanted reads REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY.
func (m *Machine) familiesWanted(p *Ports, hasEven, hasToken bool) (code int) {
	requested, hasRequested := m.msg.Get(AttrRequestedAddressFamily)
	additional, hasAdditional := m.msg.Get(AttrAdditionalAddressFamily)
	switch {
	case hasRequested && len(requested) != 4, hasAdditional && len(additional) != 4,
		hasRequested && hasAdditional,
		hasToken && (hasEven || hasRequested || hasAdditional),
		hasAdditional && p.Reserve, hasAdditional && p.TCP,
		hasAdditional && additional[0] != familyIPv6:
		return CodeBadRequest
	case hasToken:
		// The reserved port's family, which only its holder knows.
		p.Families = m.cfg.Families
		return 0
	case hasAdditional:
		p.Families = [families]bool{IPv4: m.cfg.Families[IPv4], IPv6: m.cfg.Families[IPv6]}
		if p.Families == ([families]bool{}) {
			return CodeFamilyNotSupported
		}
		p.Families = [families]bool{IPv4: true, IPv6: true} // what is missing is told by ADDRESS-ERROR-CODE
		return 0
	}
	family := IPv4 // RFC 8656 section 7.2: without the attribute
	if hasRequested {
		switch requested[0] {
		case familyIPv4:
		case familyIPv6:
			family = IPv6
		default:
			return CodeFamilyNotSupported
		}
	}
	if !m.cfg.Families[family] {
		return CodeFamilyNotSupported
	}
	p.Families[family] = true
	return 0
}

// lifetimeWanted reads LIFETIME and clamps it; ok is false if it is malformed. Zero stays zero.
func (m *Machine) lifetimeWanted() (d time.Duration, ok bool) {
	d = m.cfg.DefaultLifetime
	if value, has := m.msg.Get(AttrLifetime); has {
		if len(value) != 4 {
			return 0, false
		}
		asked := time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		if asked == 0 && m.msg.Method == MethodRefresh {
			return 0, true
		}
		// RFC 8656 section 7.2: more than the default, up to the maximum, never less.
		d = min(max(asked, m.cfg.DefaultLifetime), m.cfg.MaxLifetime)
	}
	return d, true
}

// NewToken returns a fresh reservation token.
func NewToken(random io.Reader) (t Token, err error) {
	_, err = io.ReadFull(random, t[:])
	return t, err
}
