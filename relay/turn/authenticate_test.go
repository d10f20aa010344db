package turn

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"net/netip"
	"slices"
	"testing"

	"causeway/relay/auth"
)

// TestPasswordAlgorithms: every way to authenticate that RFC 8489 has, through a whole allocation; the answers are
// sealed as the requests are.
func TestPasswordAlgorithms(t *testing.T) {
	for _, modern := range []bool{false, true} {
		for _, alg := range []auth.Algorithm{auth.MD5, auth.SHA256} {
			for _, hashed := range []bool{false, true} {
				for _, fingerprint := range []bool{false, true} {
					if !modern && alg != auth.MD5 {
						continue
					}
					r := newRig(t)
					c := r.alice(home)
					c.modern, c.alg, c.hashed, c.fingerprint = modern, alg, hashed, fingerprint
					c.allocate(ticket(nil))
					c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
					c.must(403, MethodCreatePermission, to(forbidden))
					c.must(0, MethodRefresh)
					c.must(0, MethodRefresh, lifetime(0))
				}
			}
		}
	}
}

// TestBidDown: RFC 8489 section 9.2.4: who strikes the better algorithm from the offer on its way to the client gives
// himself away, because the client sends the offer back under its integrity.
func TestBidDown(t *testing.T) {
	offer := []byte{0, 2, 0, 0, 0, 1, 0, 0}
	tests := []struct {
		name   string
		list   []byte // PASSWORD-ALGORITHMS; nil: none
		chosen []byte // PASSWORD-ALGORITHM; nil: none
		want   int
	}{
		{"as offered", offer, []byte{0, 2, 0, 0}, 0},
		{"MD5 of the offer", offer, []byte{0, 1, 0, 0}, 0},
		{"neither", nil, nil, 0}, // a client of RFC 5389
		{"SHA-256 struck", []byte{0, 1, 0, 0}, []byte{0, 1, 0, 0}, 400},
		{"MD5 struck", []byte{0, 2, 0, 0}, []byte{0, 2, 0, 0}, 400},
		{"order changed", []byte{0, 1, 0, 0, 0, 2, 0, 0}, []byte{0, 1, 0, 0}, 400},
		{"one added", append(slices.Clone(offer), 0, 3, 0, 0), []byte{0, 1, 0, 0}, 400},
		{"empty offer", []byte{}, []byte{0, 1, 0, 0}, 400},
		{"no choice", offer, nil, 400},
		{"no offer", nil, []byte{0, 2, 0, 0}, 400},
		{"choice that was not offered", offer, []byte{0, 3, 0, 0}, 400},
		{"choice 0", offer, []byte{0, 0, 0, 0}, 400},
		{"short choice", offer, []byte{0, 2}, 400},
		{"empty choice", offer, []byte{}, 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			c := r.alice(home)
			c.ask(MethodRefresh)
			var out Composer
			out.Begin(MethodAllocate, ClassRequest, c.id())
			udp()(&out)
			c.identify(&out)
			alg := auth.MD5
			if test.list != nil {
				out.Add(AttrPasswordAlgorithms, test.list)
			}
			if test.chosen != nil {
				out.Add(AttrPasswordAlgorithm, test.chosen)
				if len(test.chosen) == 4 && test.chosen[1] == 2 {
					alg = auth.SHA256
				}
			}
			key := auth.Key(nil, alg, c.user, c.realm, c.password)
			if a := c.send(bytes.Clone(out.Seal(key, false, true, false))); a.oracle == nil || a.code != test.want {
				t.Errorf("got %v, want code %d", a, test.want)
			}
			if (r.session(home) != nil) != (test.want == 0) {
				t.Error("the allocation is not what the code says")
			}
		})
	}
}

// TestBothIntegrities: both have to be right where both are sent, and the answer has both.
func TestBothIntegrities(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.ask(MethodRefresh)
	var out Composer
	out.Begin(MethodAllocate, ClassRequest, c.id())
	udp()(&out)
	c.identify(&out)
	b := bytes.Clone(out.Seal(c.key(), true, true, false))
	for _, at := range []int{len(b) - 1, len(b) - 36 - 1} { // the last byte of each
		b[at] ^= 1
		if a := c.send(b); a.code != 401 {
			t.Errorf("with byte %d wrong: %v", at, a)
		}
		b[at] ^= 1
	}
	var m mac
	out.Begin(MethodAllocate, ClassRequest, c.id())
	udp()(&out)
	c.identify(&out)
	half := bytes.Clone(out.Seal([]byte("another key"), true, false, false))
	half = extended(half, attr(AttrMessageIntegritySHA256, m.sum256(c.key(), half)...))
	if a := c.send(half); a.code != 401 {
		t.Errorf("with the second right and the first not: %v", a)
	}
	a := c.send(b)
	if a.code != 0 || !a.verify(AttrMessageIntegrity, sha1.New, c.key()) ||
		!a.verify(AttrMessageIntegritySHA256, sha256.New, c.key()) {
		t.Errorf("got %v: %x", a, a.raw)
	}
}

// TestUserhash: who allocated with a hash may go on with a name, and the other way around; hashes are of static users
// alone, and offered when there are no others.
func TestUserhash(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.hashed = true
	c.allocate()
	if c.nonce[12] != 'D' { // bits 0 and 1: algorithms and anonymity
		t.Errorf("the nonce's features are %q", c.nonce[9:13])
	}
	c.hashed = false
	c.must(0, MethodRefresh)
	c.hashed = true
	c.must(0, MethodRefresh)

	r = newRig(t, func(s *setup) { s.secrets = []string{"rest"} })
	c = r.alice(home)
	c.allocate()
	if c.nonce[12] != 'B' {
		t.Errorf("with other users, the nonce's features are %q", c.nonce[9:13])
	}
	for _, value := range [][]byte{nil, make([]byte, 31), make([]byte, 33), make([]byte, 32)} {
		var out Composer
		out.Begin(MethodRefresh, ClassRequest, c.id())
		out.Add(AttrUserhash, value)
		out.AddString(AttrRealm, c.realm)
		out.Add(AttrNonce, c.nonce)
		if a := c.send(bytes.Clone(out.Seal(c.key(), true, false, false))); a.code != 401 {
			t.Errorf("a hash of %d bytes got %v", len(value), a)
		}
	}
}

// TestAttributesBehindIntegrityDoNothing: what somebody on the way appends to a request is not acted on (RFC 8489
// section 14.5), nor does it make the request fail.
func TestAttributesBehindIntegrityDoNothing(t *testing.T) {
	for _, modern := range []bool{false, true} {
		r := newRig(t)
		c := r.alice(home)
		c.modern, c.alg = modern, auth.SHA256
		c.allocate()
		appended := func(b []byte, attrs ...[]byte) answer {
			t.Helper()
			return c.send(extended(b, attrs...))
		}
		a := appended(c.build(MethodRefresh, c.id()), attr(AttrLifetime, 0, 0, 0, 0))
		if a.code != 0 || a.lifetime() != 600 || r.session(home) == nil {
			t.Errorf("LIFETIME 0: %v with lifetime %d", a, a.lifetime())
		}
		var id TransactionID
		copy(id[:], "transaction.")
		value := make([]byte, addressIPv4Size)
		putXORAddr(value, other4, &id)
		a = appended(c.build(MethodCreatePermission, id, to(peer4)), attr(AttrXORPeerAddress, value...))
		if got := r.session(home).permitted(); a.code != 0 || len(got) != 1 || got[0] != peer4.Addr() {
			t.Errorf("XOR-PEER-ADDRESS: %v, permitted %v", a, got)
		}
		a = appended(c.build(MethodRefresh, c.id()), attr(0x7777, 1)) // unknown, and has to be understood
		if a.code != 0 {
			t.Errorf("an unknown attribute: %v", a)
		}
		a = appended(c.build(MethodRefresh, c.id()), attr(AttrUsername, []byte("bob")...), attr(AttrNonce, 1))
		if a.code != 0 {
			t.Errorf("another name: %v", a)
		}
		a = appended(c.build(MethodAllocate, c.id()), attr(AttrRequestedTransport, 17, 0, 0, 0))
		if a.code != 437 {
			t.Errorf("what is missing in front: %v", a)
		}
	}
	t.Run("in front of it the first counts", func(t *testing.T) {
		r := newRig(t)
		c := r.alice(home)
		c.allocate(lifetime(700), lifetime(0), raw(AttrRequestedTransport, 99, 0, 0, 0))
		if got := c.must(0, MethodRefresh, lifetime(800), lifetime(0)).lifetime(); got != 800 {
			t.Errorf("lifetime %d", got)
		}
	})
}

// TestNobodyIsRemembered: requests that prove nothing leave nothing, however many there are.
func TestNobodyIsRemembered(t *testing.T) {
	r := newRig(t, func(s *setup) { s.rate, s.burst = 0, 1 })
	known := r.alice(home)
	known.allocate()
	for n := range 1000 {
		c := r.client(Source{Client: netip.AddrPortFrom(other4.Addr(), uint16(n+1))}, "mallory", "guess")
		c.ask(MethodAllocate, udp())
		c.ask(MethodRefresh, lifetime(0), ticket(make([]byte, ticketSize)))
		c.send(c.build(MethodBinding, c.id()))
	}
	if len(r.m.sources) != 1 || len(r.m.byID) != 1 || len(r.m.deleted.ring) != 0 || len(r.m.reserved.queue) != 0 {
		t.Error("something of it was remembered")
	}
	if got := r.m.wheel.Len(); got != 1 {
		t.Errorf("%d timers", got)
	}
}

// TestNotForAServer: what is dropped without an answer, and counted.
func TestNotForAServer(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	good := c.build(MethodRefresh, c.id())
	bad := c.build(MethodRefresh, c.id())
	bad[3] += 4
	broken := fingerprintingEarly(good)
	response := slices.Clone(good)
	response[0] |= 1
	indication := slices.Clone(good)
	indication[1] |= 0x10
	unknown := c.build(Method(0x7F), c.id())
	for _, test := range []struct {
		name string
		b    []byte
		want Drop
	}{
		{"nothing", nil, DropMalformed},
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), DropMalformed},
		{"a lying length", bad, DropMalformed},
		{"half", good[:len(good)/2], DropMalformed},
		{"a wrong fingerprint", broken, DropMalformed},
		{"a response", response, DropResponse},
		{"an indication", indication, DropIndication},
		{"an unknown method", unknown, DropMethod},
		{"Send as a request", c.build(MethodSend, c.id()), DropMethod},
		{"Data as a request", c.build(MethodData, c.id()), DropMethod},
		{"ConnectionAttempt as a request", c.build(MethodConnectionAttempt, c.id()), DropMethod},
	} {
		before := r.m.Stats().Drops
		if replies := r.handle(home, test.b); len(replies) != 0 {
			t.Errorf("%s was answered", test.name)
		}
		want := before
		want[test.want]++
		if got := r.m.Stats().Drops; got != want {
			t.Errorf("%s: drops %v, want %v", test.name, got, want)
		}
	}
	before := r.m.Stats()
	if replies := r.handle(home, message(0x0011)); len(replies) != 0 || r.m.Stats() != before {
		t.Error("a Binding indication, which keeps a NAT's mapping, was answered or counted as dropped")
	}
	for _, d := range Drops() {
		if d.String() == "" {
			t.Errorf("drop %d has no name", d)
		}
	}
}
