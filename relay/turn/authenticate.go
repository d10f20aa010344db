package turn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"causeway/relay/auth"
)

// passwordAlgorithms is the value of PASSWORD-ALGORITHMS: SHA-256, then MD5, neither with parameters (RFC 8489
// section 14.11). The order is the server's preference.
var passwordAlgorithms = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(
	binary.BigEndian.AppendUint16(nil, uint16(auth.SHA256)), 0), uint16(auth.MD5)), 0)

// authenticate is the long-term credential mechanism (RFC 8489 section 9.2.4). It sends the error itself.
//
// The nonce is checked first: it costs one hash, proves that the sender receives at its address, and keeps everything
// dearer from whoever does not.
func (m *Machine) authenticate(r *request) bool {
	r.sha1, r.sha256 = m.msg.HasIntegrity()
	if !r.sha1 && !r.sha256 {
		m.challenge(r, CodeUnauthenticated)
		return false
	}
	name, hasName := m.msg.Get(AttrUsername)
	hash, hasHash := m.msg.Get(AttrUserhash)
	_, hasRealm := m.msg.Get(AttrRealm)
	nonce, hasNonce := m.msg.Get(AttrNonce)
	if !hasName && !hasHash || !hasRealm || !hasNonce {
		m.plainError(r, CodeBadRequest)
		return false
	}
	if !m.nonceIsFresh(r, nonce) {
		m.vouch(r)
		m.challenge(r, CodeStaleNonce)
		return false
	}
	if !m.algorithm(r, nonce) {
		m.plainError(r, CodeBadRequest)
		return false
	}
	if !m.checkRealm() || !m.verify(r, name, hash, hasName) {
		m.challenge(r, CodeUnauthenticated)
		return false
	}
	// RFC 8656 section 19: 441 is for every request but Allocate, which says 437 of a five-tuple that somebody has.
	if r.alloc != nil && r.alloc.name != r.identity.Name && m.msg.Method != MethodAllocate {
		m.replyError(r, CodeWrongCredentials, nil)
		return false
	}
	return true
}

func (m *Machine) nonceIsFresh(r *request, nonce []byte) bool {
	return m.cfg.Nonces.Check(nonce, r.now, m.nonceClient(r.source)) == auth.Fresh
}

// vouch takes the reply to a client's old nonce out of the budget of the unproven if its request is good but for that:
// it has an allocation at this very five-tuple. Otherwise whoever used up the budget of a network would end its calls,
// since no allocation could be refreshed.
func (m *Machine) vouch(r *request) {
	if a := r.alloc; a != nil && m.intact(r, a.key[:a.keyLen]) {
		r.key = a.key[:a.keyLen]
	}
}

// intact reports whether every integrity that a request has was made with a key.
func (m *Machine) intact(r *request, key []byte) bool {
	if r.sha256 && !m.msg.CheckIntegritySHA256(key) {
		return false
	}
	return !r.sha1 || m.msg.CheckIntegrity(key)
}

// nonceClient is what a nonce is bound to. The port belongs to it where it can't differ between requests: the data
// connections of RFC 6062 come from ports of their own.
func (m *Machine) nonceClient(s Source) netip.AddrPort {
	if s.Transport.Stream() {
		return netip.AddrPortFrom(s.Client.Addr(), 0)
	}
	return s.Client
}

// checkRealm refuses another realm than ours, whose key could not be the right one.
func (m *Machine) checkRealm() bool {
	realm, _ := m.msg.Get(AttrRealm)
	return string(realm) == m.cfg.Realm
}

// algorithm decides which hash made the client's key, and refuses a request in which somebody struck the better
// algorithms from the offer (RFC 8489 section 9.2.4).
func (m *Machine) algorithm(r *request, nonce []byte) bool {
	r.alg = auth.MD5
	list, hasList := m.msg.Get(AttrPasswordAlgorithms)
	chosen, hasChosen := m.msg.Get(AttrPasswordAlgorithm)
	if !m.cfg.Nonces.Algorithms(nonce) || !hasList && !hasChosen {
		return true // a client of RFC 5389
	}
	if !hasList || !hasChosen || !bytes.Equal(list, passwordAlgorithms) || len(chosen) < 4 {
		return false
	}
	r.alg = auth.Algorithm(binary.BigEndian.Uint16(chosen))
	return r.alg == auth.MD5 || r.alg == auth.SHA256
}

// verify finds the key that the request was made with. The key of an allocation is its own from then on: what happens
// to the credential later does not cut a call.
func (m *Machine) verify(r *request, name, hash []byte, named bool) bool {
	check := func(key []byte) bool { return m.intact(r, key) }
	if a := r.alloc; a != nil && named && string(name) == a.name && r.alg == a.alg {
		if key := a.key[:a.keyLen]; check(key) {
			r.identity = auth.Identity{User: a.user, Name: a.name, Key: a.key, KeyLen: int(a.keyLen)}
			r.key = r.identity.Key[:a.keyLen]
			return true
		}
	}
	if !named {
		name = nil
	} else {
		hash = nil
	}
	identity, err := m.cfg.Credentials.Verify(r.now, name, hash, r.alg, check)
	switch {
	case errors.Is(err, auth.ErrExpired):
		m.stats.Refused[RefusedExpired]++
		return false
	case errors.Is(err, auth.ErrUnknownUser):
		m.stats.Refused[RefusedUser]++
		return false
	case err != nil:
		m.stats.Refused[RefusedIntegrity]++
		return false
	}
	r.identity = identity
	r.key = r.identity.Key[:r.identity.KeyLen]
	return true
}

// challenge sends what a client needs to authenticate, and no byte more: whoever asked may not be where the answer
// goes (RFC 8489 section 9.2.4).
func (m *Machine) challenge(r *request, code int) {
	if !m.afford(r) {
		return
	}
	m.stats.reply(code)
	m.out.Begin(m.msg.Method, ClassError, m.msg.ID)
	m.out.AddError(code)
	m.out.AddString(AttrRealm, m.cfg.Realm)
	m.out.Add(AttrNonce, m.cfg.Nonces.Append(m.nonce[:0], r.now, m.nonceClient(r.source)))
	m.out.Add(AttrPasswordAlgorithms, passwordAlgorithms)
	m.sendUnsealed(r)
}

// plainError is an error to somebody unproven.
func (m *Machine) plainError(r *request, code int) {
	if !m.afford(r) {
		return
	}
	m.stats.reply(code)
	m.out.Begin(m.msg.Method, ClassError, m.msg.ID)
	m.out.AddError(code)
	m.sendUnsealed(r)
}

// replyError is an error to a client that has proven itself, or to a Binding request.
func (m *Machine) replyError(r *request, code int, unknown []Attr) {
	if !m.afford(r) {
		return
	}
	m.stats.reply(code)
	m.out.Begin(m.msg.Method, ClassError, m.msg.ID)
	m.out.AddError(code)
	if len(unknown) > 0 {
		m.out.AddUnknown(unknown)
	}
	m.send(r)
}

// success begins a success response.
func (m *Machine) success() { m.out.Begin(m.msg.Method, ClassSuccess, m.msg.ID) }

// send finishes the message being composed, sealed in the way that the request was.
func (m *Machine) send(r *request) {
	if r.key == nil {
		m.sendUnsealed(r)
		return
	}
	m.queue(r.source, m.out.Seal(r.key, r.sha1, r.sha256, r.fingerprint))
}

func (m *Machine) sendUnsealed(r *request) {
	m.queue(r.source, m.out.Seal(nil, false, false, r.fingerprint))
}

// queue copies a message to where it stays until the machine's next call.
func (m *Machine) queue(to Source, b []byte) {
	at := len(m.arena)
	m.arena = append(m.arena, b...)
	m.act(Action{Kind: Reply, To: to, Message: m.arena[at:len(m.arena):len(m.arena)]})
}

// expiry is when a credential ends the allocation made with it.
func (m *Machine) expiry(identity auth.Identity) int64 {
	if !m.cfg.StrictExpiry || identity.Expires.IsZero() {
		return never
	}
	return identity.Expires.UnixNano()
}
