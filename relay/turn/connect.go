package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"causeway/relay/auth"
)

// connects are the connections of a TCP allocation that are being made (RFC 6062).
type connects struct{ pending []dial }

// dial is a Connect request whose answer is still out.
type dial struct {
	peer netip.AddrPort
	req  request
	id   TransactionID
}

// connect is RFC 6062 section 5.2.
func (m *Machine) connect(r *request) {
	a := r.alloc
	peer, err := m.msg.Addr(AttrXORPeerAddress)
	if err != nil || a.tcp == nil {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	peer = m.inside(peer)
	switch {
	case !a.has(FamilyOf(peer.Addr())):
		m.replyError(r, CodePeerFamilyMismatch, nil)
		return
	case !m.cfg.Policy.Endpoint(peer, auth.TCPConnect).Allowed:
		m.replyError(r, CodeForbidden, nil)
		return
	}
	if i := slices.IndexFunc(a.tcp.pending, func(d dial) bool { return d.peer == peer }); i >= 0 {
		if a.tcp.pending[i].id != m.msg.ID { // else it was sent again, and the answer comes
			m.replyError(r, CodeConnectionExists, nil)
		}
		return
	}
	a.tcp.pending = append(a.tcp.pending, dial{peer, *r, m.msg.ID})
	m.act(Action{Kind: Dial, ID: a.id, Peer: peer, User: a.user})
}

// Dialed tells the outcome of a Dial: the connection's number, or why there is none. ErrConnectionExists and
// ErrCapacity have codes of their own; the others are 447.
func (m *Machine) Dialed(id ID, peer netip.AddrPort, connection uint32, err error) []Action {
	m.begin()
	a := m.byID[id]
	if a == nil || a.tcp == nil {
		return nil
	}
	i := slices.IndexFunc(a.tcp.pending, func(d dial) bool { return d.peer == peer })
	if i < 0 {
		return nil
	}
	d := a.tcp.pending[i]
	a.tcp.pending = slices.Delete(a.tcp.pending, i, i+1)
	d.req.key = d.req.identity.Key[:d.req.identity.KeyLen] // the copy's own
	if err != nil {
		code := CodeConnectionFailed
		if coded := codeError(0); errors.As(err, &coded) {
			code = int(coded)
		}
		m.stats.reply(code)
		m.out.Begin(MethodConnect, ClassError, d.id)
		m.out.AddError(code)
		m.send(&d.req)
		return m.actions
	}
	m.stats.Successes++
	m.out.Begin(MethodConnect, ClassSuccess, d.id)
	m.out.AddUint32(AttrConnectionID, connection)
	m.send(&d.req)
	return m.actions
}

// MayAccept reports whether a connection that came to the relayed address of a TCP allocation is let in: its peer needs
// a permission (RFC 6062 section 5.3).
func (m *Machine) MayAccept(id ID, peer netip.AddrPort) bool {
	a := m.byID[id]
	return a != nil && a.open && a.tcp != nil && a.permission(peer.Addr()) >= 0 &&
		m.cfg.Policy.Endpoint(peer, auth.TCPAccept).Allowed
}

// Accepted tells the client of a connection that came in and waits under a number (RFC 6062 section 5.3).
func (m *Machine) Accepted(id ID, peer netip.AddrPort, connection uint32) []Action {
	m.begin()
	a := m.byID[id]
	if a == nil {
		return nil
	}
	var transaction TransactionID
	m.random(transaction[:])
	m.out.Begin(MethodConnectionAttempt, ClassIndication, transaction)
	m.out.AddAddr(AttrXORPeerAddress, m.outside(peer))
	m.out.AddUint32(AttrConnectionID, connection)
	m.queue(a.source, m.out.Seal(nil, false, false, false))
	return m.actions
}

// connectionBind is RFC 6062 section 5.4. It comes by a connection of its own, which has no allocation.
func (m *Machine) connectionBind(r *request) {
	value, ok := m.msg.Get(AttrConnectionID)
	if !ok || len(value) != 4 || !r.source.Transport.Stream() || r.alloc != nil {
		m.replyError(r, CodeBadRequest, nil)
		return
	}
	m.bind, m.bindID = *r, m.msg.ID
	m.act(Action{
		Kind: Attach, To: r.source, Connection: binary.BigEndian.Uint32(value), User: r.identity.User,
	})
}

// Attached tells the outcome of the Attach that ended the last call's actions. RFC 6062 section 5.4 answers 400 for a
// connection that does not wait, or not for this user.
func (m *Machine) Attached(ok bool) []Action {
	m.begin()
	r := m.bind
	m.bind = request{}
	if r.now.IsZero() {
		return nil
	}
	r.key = r.identity.Key[:r.identity.KeyLen] // the copy's own
	class := ClassSuccess
	if !ok {
		class = ClassError
		m.stats.reply(CodeBadRequest)
	} else {
		m.stats.Successes++
	}
	m.out.Begin(MethodConnectionBind, class, m.bindID)
	if !ok {
		m.out.AddError(CodeBadRequest)
	}
	m.send(&r)
	return m.actions
}

// random fills b; the system's source does not fail.
func (m *Machine) random(b []byte) {
	if _, err := m.cfg.Random.Read(b); err != nil {
		binary.BigEndian.PutUint64(b, m.serial) // a transaction ID of an indication has nobody to fool
	}
	m.serial++
}

// Info is what is known of one allocation.
type Info struct {
	ID          ID
	Source      Source
	User        string
	Relayed     [families]netip.AddrPort // as clients are told
	TCP         bool
	Began, Ends time.Time
	Permissions []netip.Addr
	Channels    int
}

// Each tells of every allocation, in no order.
func (m *Machine) Each(f func(Info)) {
	for _, a := range m.byID {
		if !a.open {
			continue
		}
		info := Info{
			ID: a.id, Source: a.source, User: a.user, TCP: a.tcp != nil,
			Began: time.Unix(0, a.began), Channels: len(a.channels),
		}
		for family := range families {
			if a.has(family) {
				info.Relayed[family] = m.outside(a.relayed[family])
				info.Ends = time.Unix(0, max(a.ends[family], info.Ends.UnixNano()))
			}
		}
		for _, p := range a.permissions {
			info.Permissions = append(info.Permissions, p.addr)
		}
		f(info)
	}
}
