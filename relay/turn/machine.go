package turn

import (
	"net/netip"
	"time"

	"causeway/internal/wheel"
	"causeway/relay/auth"
)

// tick is how finely a machine's timers are told apart. Nothing expires early, and late by less than this.
const tick = 10 * time.Millisecond

// Machine is the STUN and TURN server of one worker: messages of clients and the time go in, actions come out. It does
// no I/O, reads no clock and starts nothing. It belongs to one goroutine.
//
// Every method that returns actions returns a slice that is the machine's own until its next call.
type Machine struct {
	cfg     Config
	msg     Message
	req     request // that is being handled: here, so that it is not on the heap each time
	out     Composer
	nonce   [64]byte
	unknown [maxUnknown]Attr
	fresh   []netip.Addr // of a CreatePermission request, those that have no permission yet

	sources  map[tuple]*allocation // by current five-tuple, and by the next one of those that move
	byID     map[ID]*allocation
	serial   uint64
	deleted  graves
	reserved reservations
	bind     request // the ConnectionBind whose Attach is being carried out
	bindID   TransactionID
	opening  request // the Allocate whose Open is being carried out
	wanted   Ports
	wheel    *wheel.Wheel[*allocation]

	actions []Action
	arena   []byte // the bytes of this call's replies
	stats   Stats
}

// New returns a machine that has no allocations.
func New(cfg Config, now time.Time) *Machine {
	return &Machine{
		cfg:     cfg,
		sources: make(map[tuple]*allocation),
		byID:    make(map[ID]*allocation),
		wheel:   wheel.New[*allocation](now, tick),
	}
}

// request is one message on its way through the machine.
type request struct {
	now    time.Time
	nano   int64
	source Source
	alloc  *allocation // of the source; nil if it has none

	// Set once it is authenticated.
	identity     auth.Identity
	alg          auth.Algorithm
	key          []byte
	sha1, sha256 bool // which integrity the request had, and the reply gets
	fingerprint  bool
}

// Handle takes one STUN message from a client: a datagram, or a frame of a stream. What is not for a server is counted
// and dropped.
func (m *Machine) Handle(now time.Time, source Source, b []byte) []Action {
	m.begin()
	if err := m.msg.Parse(b); err != nil {
		m.drop(DropMalformed)
		return nil
	}
	r := &m.req
	*r = request{now: now, nano: now.UnixNano(), source: source}
	r.alloc = m.current(m.sources[source.tuple()], r.nano)
	_, r.fingerprint = m.msg.Get(AttrFingerprint)
	switch m.msg.Class {
	case ClassRequest:
		m.handleRequest(r)
	case ClassIndication:
		// A Binding indication keeps a NAT's mapping alive (RFC 8489 section 6.3.2); Send is the forwarding table's.
		if m.msg.Method != MethodBinding {
			m.drop(DropIndication)
		}
	default:
		m.drop(DropResponse) // we send no requests
	}
	return m.actions
}

// current ends what is due of an allocation before a request sees it, so that a request finds it to the nanosecond as
// its lifetimes say: the timers are coarser. It returns nil if the whole allocation was due.
func (m *Machine) current(a *allocation, now int64) *allocation {
	if a == nil || now < a.due {
		return a
	}
	m.expire(a, now)
	return m.byID[a.id]
}

func (m *Machine) handleRequest(r *request) {
	m.stats.request(m.msg.Method)
	switch m.msg.Method {
	case MethodBinding:
		m.binding(r)
		return
	case MethodAllocate, MethodRefresh, MethodCreatePermission, MethodChannelBind, MethodConnect, MethodConnectionBind:
	default:
		// RFC 8489 section 6.3.1 has an unknown method dropped silently.
		m.drop(DropMethod)
		return
	}
	if m.msg.Method == MethodRefresh && m.forwarded(r) {
		return
	}
	if !m.authenticate(r) {
		return
	}
	if list := m.msg.Unknown(m.unknown[:0], understood); len(list) > 0 {
		m.replyError(r, CodeUnknownAttribute, list)
		return
	}
	switch m.msg.Method {
	case MethodAllocate:
		m.allocate(r)
	case MethodRefresh:
		m.refresh(r)
	case MethodConnectionBind:
		m.connectionBind(r)
	default:
		m.within(r)
	}
}

// within handles the requests that need an allocation.
func (m *Machine) within(r *request) {
	if r.alloc == nil || !r.alloc.open {
		m.replyError(r, CodeAllocationMismatch, nil)
		return
	}
	m.heard(r.alloc, r.source)
	switch m.msg.Method {
	case MethodCreatePermission:
		m.createPermission(r)
	case MethodChannelBind:
		m.channelBind(r)
	default: // MethodConnect
		m.connect(r)
	}
}

// understood are the comprehension-required attributes that mean something to a request.
func understood(a Attr) bool {
	switch a {
	case AttrMappedAddress, AttrUsername, AttrMessageIntegrity, AttrErrorCode, AttrUnknownAttributes, AttrChannelNumber,
		AttrLifetime, AttrXORPeerAddress, AttrData, AttrRealm, AttrNonce, AttrXORRelayedAddress,
		AttrRequestedAddressFamily, AttrEvenPort, AttrRequestedTransport, AttrDontFragment, AttrMessageIntegritySHA256,
		AttrPasswordAlgorithm, AttrUserhash, AttrXORMappedAddress, AttrReservationToken, AttrConnectionID:
		return true
	default:
		return false
	}
}

// understoodByBinding leaves TURN's attributes to TURN, and takes those of an ICE check: an agent that checks a
// candidate pair against this address gets an answer (RFC 8445 section 16.1).
func understoodByBinding(a Attr) bool {
	switch a {
	case AttrMappedAddress, AttrUsername, AttrMessageIntegrity, AttrRealm, AttrNonce, AttrMessageIntegritySHA256,
		AttrPasswordAlgorithm, AttrUserhash, AttrXORMappedAddress, AttrErrorCode, AttrUnknownAttributes,
		AttrPriority, AttrUseCandidate:
		return true
	default:
		return false
	}
}

// binding answers with the client's own address. It needs no credentials (RFC 8489 section 6.3.1).
func (m *Machine) binding(r *request) {
	if list := m.msg.Unknown(m.unknown[:0], understoodByBinding); len(list) > 0 {
		m.replyError(r, CodeUnknownAttribute, list)
		return
	}
	if !m.afford(r) {
		return
	}
	m.success()
	m.out.AddAddr(AttrXORMappedAddress, r.source.Client)
	m.send(r)
}

// afford takes a reply to somebody unproven from the budget of where it would go. A stream's client has proven its
// address by its handshake, and a DTLS client by its cookie.
func (m *Machine) afford(r *request) bool {
	if r.key != nil || r.source.Transport != UDP || m.cfg.Budget.Take(r.now, r.source.Client.Addr()) {
		return true
	}
	m.drop(DropBudget)
	return false
}

// begin makes room for the actions of a call.
func (m *Machine) begin() {
	clear(m.actions)
	m.actions = m.actions[:0]
	m.arena = m.arena[:0]
}

func (m *Machine) act(a Action) { m.actions = append(m.actions, a) }

// Next returns when Expire has to be called next; ok is false if nothing is due ever.
func (m *Machine) Next() (at time.Time, ok bool) { return m.wheel.Next() }

// Len returns how many allocations there are.
func (m *Machine) Len() int { return len(m.byID) }

// inside returns whom a peer address of a message means: a relayed address of our own is known to the world by the
// address in front of the NAT, and here by the bound one.
func (m *Machine) inside(peer netip.AddrPort) netip.AddrPort {
	return m.cfg.Advertise[FamilyOf(peer.Addr())].Inside(peer)
}

// outside is the reverse of inside.
func (m *Machine) outside(relayed netip.AddrPort) netip.AddrPort {
	return m.cfg.Advertise[FamilyOf(relayed.Addr())].Outside(relayed)
}

// Account returns the account of an allocation's user; nil if there is no such allocation.
func (m *Machine) Account(id ID) *auth.Account {
	if a := m.byID[id]; a != nil {
		return a.account
	}
	return nil
}
