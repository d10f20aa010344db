package attack

import (
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

// unlimited lifts the ration of replies to strangers, which has a test of its own.
const unlimited = "unauthenticated_replies: 100000, unauthenticated_burst: 100000"

// tried is one request that has to be refused.
type tried struct {
	name    string
	message []byte
	code    int
	refused string // the reason that is counted besides, if any
}

// refuses tries them one after another. Whoever is not known gets no more than a hundred bytes.
func (r *relay) refuses(t *testing.T, c *client, list []tried) {
	for _, x := range list {
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			want := counts{answered(x.code): 1}
			if x.refused != "" {
				want[refused(x.refused)] = 1
			}
			r.counting(t, want, func() {
				a := c.exchange(x.message)
				if a.code != x.code {
					t.Errorf("answered with %d, want %d", a.code, x.code)
				}
				if len(a.raw) > 100 {
					t.Errorf("%d bytes to somebody unproven", len(a.raw))
				}
			})
		})
	}
}

// TestForgedCredentials: without the password there is no allocation.
func TestForgedCredentials(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		for _, modern := range []bool{false, true} {
			t.Run(map[bool]string{false: "SHA-1", true: "SHA-256"}[modern], func(t *testing.T) {
				c := r.udpClient(t, elsewhere).meet()
				c.modern = modern
				r.refuses(t, c, forgedIntegrity(c))
				r.refuses(t, c, forgedNames(c))
				r.refuses(t, c, forgedAlgorithms(c))
			})
		}
		t.Run("a bit of each byte", func(t *testing.T) {
			c := r.udpClient(t, elsewhere).meet()
			good := c.request(turn.MethodAllocate, relayUDP)
			for i := range good {
				bad := slices.Clone(good)
				bad[i] ^= 1 << (i % 8)
				c.send(bad)
			}
			c.barrier()
			for _, b := range c.waits {
				if b[0] == 0x01 && b[1] == 0x03 {
					t.Errorf("a changed Allocate request succeeded: %x", b)
				}
			}
			if all := r.allocations(); len(all) != 1 {
				t.Errorf("there are %d allocations, want that of the bystander alone", len(all))
			}
		})
	})
}

func forgedIntegrity(c *client) []tried {
	a, size := turn.AttrMessageIntegrity, 20
	if c.modern {
		a, size = turn.AttrMessageIntegritySHA256, 32
	}
	allocate := func() []byte { return c.request(turn.MethodAllocate, relayUDP) }
	by := func(password string) []byte {
		was := c.pass
		defer func() { c.pass = was }()
		c.pass = password
		return allocate()
	}
	with := func(value func(true []byte) []byte) []byte {
		b := allocate()
		return behind(without(b, size), a, value(last(b, size)))
	}
	return []tried{
		{"another password", by("Secret"), 401, "integrity"},
		{"no password", by(""), 401, "integrity"},
		{"another user's password", by(passwords[bob]), 401, "integrity"},
		{"no integrity", without(allocate(), size), 401, ""},
		{"integrity of no bytes", with(func([]byte) []byte { return nil }), 401, "integrity"},
		{"integrity of zeros", with(func([]byte) []byte { return make([]byte, size) }), 401, "integrity"},
		{"the first four bytes", with(func(b []byte) []byte { return b[:4] }), 401, "integrity"},
		{"the first sixteen bytes", with(func(b []byte) []byte { return b[:16] }), 401, "integrity"},
		{"bytes too many", with(func(b []byte) []byte { return append(slices.Clone(b), 0, 0, 0, 0) }), 401, "integrity"},
		{"another message's", with(func([]byte) []byte { return last(allocate(), size) }), 401, "integrity"},
		{"an integrity and nothing else", behind(allocate()[:20], a, last(allocate(), size)), 400, ""},
	}
}

func forgedNames(c *client) []tried {
	who := c.credentials()
	request := func(attrs ...attr) []byte {
		return c.sealed(turn.MethodAllocate, append([]attr{relayUDP}, attrs...)...)
	}
	named := func(name string) []byte {
		return request(append([]attr{raw(turn.AttrUsername, []byte(name)...)}, who[1:]...)...)
	}
	expired := *c
	expired.restUser("carol", time.Now().Add(-time.Minute))
	forged := *c
	forged.restUser("carol", time.Now().Add(time.Hour)).pass = "c2VjcmV0"
	later := *c
	later.restUser("carol", time.Now().Add(-time.Minute))
	later.user = strings.Replace(later.user, later.user[:10], "9999999999", 1)
	return []tried{
		{"no name", request(omit(who, 0)...), 400, ""},
		{"no realm", request(omit(who, 1)...), 400, ""},
		{"no nonce", request(omit(who, 2)...), 400, ""},
		{"nobody's name", named("mallory"), 401, "user"},
		{"an empty name", named(""), 401, "user"},
		{"a name of 508 bytes", named(strings.Repeat("a", 508)), 401, "user"},
		{"a name with a zero", named("alice\x00"), 401, "user"},
		{"a name in capitals", named("ALICE"), 401, "user"},
		{"nobody's hash", request(append([]attr{raw(turn.AttrUserhash, make([]byte, 32)...)}, who[1:]...)...), 401, "user"},
		{"a hash of four bytes", request(append([]attr{raw(turn.AttrUserhash, 1, 2, 3, 4)}, who[1:]...)...), 401, "user"},
		{"another realm", request(append([]attr{who[0], raw(turn.AttrRealm, []byte("example.test.")...)}, who[2:]...)...), 401, ""},
		{"an expired credential", expired.request(turn.MethodAllocate, relayUDP), 401, "expired"},
		{"a credential by another secret", forged.request(turn.MethodAllocate, relayUDP), 401, "integrity"},
		{"a credential made to last", later.request(turn.MethodAllocate, relayUDP), 401, "integrity"},
	}
}

// forgedAlgorithms are what somebody on the path would do to have a weaker hash used (RFC 8489 section 9.2.4).
func forgedAlgorithms(c *client) []tried {
	who := c.credentials()[:3]
	request := func(attrs ...attr) []byte {
		return c.sealed(turn.MethodAllocate, slices.Concat([]attr{relayUDP}, who, attrs)...)
	}
	md5, none := raw(turn.AttrPasswordAlgorithm, 0, 1, 0, 0), raw(turn.AttrPasswordAlgorithm, 0, 9, 0, 0)
	return []tried{
		{"an offer without SHA-256", request(raw(turn.AttrPasswordAlgorithms, 0, 1, 0, 0), md5), 400, ""},
		{"an offer in another order", request(raw(turn.AttrPasswordAlgorithms, 0, 1, 0, 0, 0, 2, 0, 0), chosen), 400, ""},
		{"no offer", request(chosen), 400, ""},
		{"no choice", request(offered), 400, ""},
		{"a choice that was not offered", request(offered, none), 400, ""},
		{"a choice of two bytes", request(offered, raw(turn.AttrPasswordAlgorithm, 0, 2)), 400, ""},
	}
}
