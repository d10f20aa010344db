package turn

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"causeway/relay/auth"
)

// client is a TURN client, which reads answers with the slow reader of this package's tests.
type client struct {
	rig            *rig
	source         Source
	user, password string

	// How it authenticates.
	alg         auth.Algorithm // PASSWORD-ALGORITHM, if modern
	modern      bool           // of RFC 8489: PASSWORD-ALGORITHM and MESSAGE-INTEGRITY-SHA256
	hashed      bool           // USERHASH instead of USERNAME
	fingerprint bool

	// What the server told it.
	realm      string
	nonce      []byte
	algorithms []byte

	last uint64 // of the transaction IDs
}

// client makes a client of RFC 5389, as most are.
func (r *rig) client(at Source, user, password string) *client {
	return &client{rig: r, source: at, user: user, password: password, alg: auth.MD5}
}

func (r *rig) alice(at Source) *client { return r.client(at, "alice", "secret") }

// answer is a response.
type answer struct {
	code int // 0: success
	raw  []byte
	*oracle
}

func (a answer) String() string {
	if a.oracle == nil {
		return "no answer"
	}
	return fmt.Sprintf("code %d of method %d", a.code, a.method)
}

// value returns an attribute's value; nil if it has none.
func (a answer) value(typ Attr) []byte {
	v, _ := a.get(typ)
	return v.value
}

// seconds returns LIFETIME.
func (a answer) lifetime() int {
	v := a.value(AttrLifetime)
	if len(v) != 4 {
		return -1
	}
	return int(binary.BigEndian.Uint32(v))
}

// relayed returns the addresses in XOR-RELAYED-ADDRESS.
func (a answer) relayed() (list []netip.AddrPort) {
	for _, v := range a.open {
		if v.typ == AttrXORRelayedAddress {
			addr, _ := a.address(v.value)
			list = append(list, addr)
		}
	}
	return list
}

// with adds something to a request.
type with func(*Composer)

func raw(a Attr, value ...byte) with { return func(c *Composer) { c.Add(a, value) } }
func lifetime(seconds uint32) with   { return func(c *Composer) { c.AddUint32(AttrLifetime, seconds) } }
func to(peer netip.AddrPort) with    { return func(c *Composer) { c.AddAddr(AttrXORPeerAddress, peer) } }
func channelNumber(n uint16) with {
	return func(c *Composer) { c.AddUint32(AttrChannelNumber, uint32(n)<<16) }
}
func transport(protocol byte) with       { return raw(AttrRequestedTransport, protocol, 0, 0, 0) }
func requestedFamily(f byte) with        { return raw(AttrRequestedAddressFamily, f, 0, 0, 0) }
func additionalFamily(f byte) with       { return raw(AttrAdditionalAddressFamily, f, 0, 0, 0) }
func evenPort(r byte) with               { return raw(AttrEvenPort, r) }
func reservationToken(token []byte) with { return raw(AttrReservationToken, token...) }
func ticket(value []byte) with           { return raw(AttrMobilityTicket, value...) }
func connectionID(n uint32) with         { return func(c *Composer) { c.AddUint32(AttrConnectionID, n) } }
func udp() with                          { return transport(protocolUDP) }
func tcp() with                          { return transport(protocolTCP) }
func passwordAlgorithm(alg uint16) with {
	return raw(AttrPasswordAlgorithm, byte(alg>>8), byte(alg), 0, 0)
}

// id returns a new transaction ID.
func (c *client) id() TransactionID {
	c.last++
	sum := sha256.Sum256(fmt.Append(nil, c.source, c.user, c.last))
	return TransactionID(sum[:12])
}

func (c *client) key() []byte {
	alg := auth.MD5
	if c.modern {
		alg = c.alg
	}
	return auth.Key(nil, alg, c.user, c.realm, c.password)
}

// build makes a request with all that authenticates it, as far as the server has told.
func (c *client) build(method Method, id TransactionID, parts ...with) []byte {
	var out Composer
	out.Begin(method, ClassRequest, id)
	for _, add := range parts {
		add(&out)
	}
	if c.nonce == nil {
		return slices.Clone(out.Seal(nil, false, false, c.fingerprint))
	}
	c.identify(&out)
	return slices.Clone(out.Seal(c.key(), !c.modern, c.modern, c.fingerprint))
}

// identify adds what says who the client is.
func (c *client) identify(out *Composer) {
	if c.hashed {
		hash := auth.Userhash(c.user, c.realm)
		out.Add(AttrUserhash, hash[:])
	} else {
		out.AddString(AttrUsername, c.user)
	}
	out.AddString(AttrRealm, c.realm)
	out.Add(AttrNonce, c.nonce)
	if c.modern {
		out.Add(AttrPasswordAlgorithms, c.algorithms)
		passwordAlgorithm(uint16(c.alg))(out)
	}
}

// send sends bytes and returns the one answer to them, or none.
func (c *client) send(b []byte) (a answer) {
	c.rig.t.Helper()
	replies := c.rig.handle(c.source, b)
	switch {
	case len(replies) == 0:
		return answer{}
	case len(replies) > 1:
		c.rig.t.Fatalf("%d replies to one request", len(replies))
	case replies[0].to != c.source:
		c.rig.t.Fatalf("the reply went to %v", replies[0].to)
	}
	return c.read(replies[0].b, b)
}

// read reads the response to a request.
func (c *client) read(b, request []byte) (a answer) {
	c.rig.t.Helper()
	o, err := readOracle(b)
	if err != nil {
		c.rig.t.Fatalf("the reply is no STUN message: %x", b)
	}
	a = answer{oracle: o, raw: b}
	asked, err := readOracle(request)
	switch {
	case err != nil:
		c.rig.t.Fatalf("a reply to what is no STUN message")
	case string(o.id) != string(asked.id) || o.method != asked.method:
		c.rig.t.Fatalf("a reply to another request")
	}
	_, wanted := asked.get(AttrFingerprint)
	if _, has := o.get(AttrFingerprint); has != wanted {
		c.rig.t.Fatalf("FINGERPRINT in the request: %v, in the response: %v", wanted, has)
	}
	switch o.class {
	case int(ClassSuccess):
	case int(ClassError):
		v := a.value(AttrErrorCode)
		if len(v) != 4 || v[0] != 0 || v[1] != 0 || v[2] < 3 || v[2] > 6 || v[3] > 99 {
			c.rig.t.Fatalf("ERROR-CODE is %x", v)
		}
		a.code = int(v[2])*100 + int(v[3])
	default:
		c.rig.t.Fatalf("a response of class %d", o.class)
	}
	return a
}

// sealed reports whether a response has the integrity that the client's requests have, and no other.
func (c *client) sealed(a answer) bool {
	_, has1 := a.get(AttrMessageIntegrity)
	_, has256 := a.get(AttrMessageIntegritySHA256)
	if c.modern {
		return !has1 && has256 && a.verify(AttrMessageIntegritySHA256, sha256.New, c.key())
	}
	return has1 && !has256 && a.verify(AttrMessageIntegrity, sha1.New, c.key())
}

// learn takes what a challenge tells.
func (c *client) learn(a answer) {
	c.realm = string(a.value(AttrRealm))
	c.nonce = slices.Clone(a.value(AttrNonce))
	c.algorithms = slices.Clone(a.value(AttrPasswordAlgorithms))
}

// ask sends a request, again with a new nonce if it is challenged, and verifies the answer's integrity.
func (c *client) ask(method Method, parts ...with) answer {
	c.rig.t.Helper()
	return c.repeat(c.build(method, c.id(), parts...), method, parts...)
}

// repeat sends a request that was built before.
func (c *client) repeat(b []byte, method Method, parts ...with) answer {
	c.rig.t.Helper()
	a := c.send(b)
	if a.oracle != nil && (a.code == CodeUnauthenticated && c.nonce == nil || a.code == CodeStaleNonce) {
		c.learn(a)
		a = c.send(c.build(method, c.id(), parts...))
	}
	if a.oracle != nil && a.code != CodeUnauthenticated && a.code != CodeStaleNonce && !c.sealed(a) {
		c.rig.t.Fatalf("%v is not sealed with the client's key", a)
	}
	return a
}

// must is ask, and the test ends unless the answer has this code.
func (c *client) must(code int, method Method, parts ...with) answer {
	c.rig.t.Helper()
	a := c.ask(method, parts...)
	if a.oracle == nil || a.code != code {
		c.rig.t.Fatalf("method %v got %v, want code %d", method, a, code)
	}
	return a
}

// allocate makes a UDP allocation.
func (c *client) allocate(parts ...with) answer {
	c.rig.t.Helper()
	return c.must(0, MethodAllocate, append([]with{udp()}, parts...)...)
}
