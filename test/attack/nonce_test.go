package attack

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"causeway/relay/turn"
)

// TestForeignNonces: a nonce is good for the address that it was given to, at the relay that gave it. Whoever has heard
// one on its way, or a whole request, can't use it from where they are.
func TestForeignNonces(t *testing.T) {
	t.Parallel()
	r, other := start(t, settings{limits: unlimited}), start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		victim := r.udpClient(t, elsewhere).meet()
		connected := r.tcpClient(t, elsewhere).meet()
		allocate := func(nonce []byte) []byte {
			c := *victim
			c.nonce = nonce
			return c.request(turn.MethodAllocate, relayUDP)
		}
		thief := netip.MustParseAddr("127.66.0.1")

		t.Run("of another relay", func(t *testing.T) {
			there := other.udpClient(t, elsewhere).meet()
			at := there.local()
			there.conn.Close()
			r.stale(t, r.udpFrom(t, at), allocate(there.nonce))
		})
		t.Run("of another address", func(t *testing.T) {
			at := netip.AddrPortFrom(thief, victim.local().Port())
			r.stale(t, r.udpFrom(t, at), allocate(victim.nonce))
		})
		t.Run("of another port", func(t *testing.T) {
			r.stale(t, r.udpClient(t, elsewhere), allocate(victim.nonce))
		})
		t.Run("of a datagram, on a stream", func(t *testing.T) {
			r.stale(t, r.tcpClient(t, elsewhere), allocate(victim.nonce))
		})
		t.Run("of a stream, in a datagram", func(t *testing.T) {
			r.stale(t, r.udpClient(t, elsewhere), allocate(connected.nonce))
		})
		t.Run("of another address's stream", func(t *testing.T) {
			r.stale(t, r.tcpClient(t, thief), allocate(connected.nonce))
		})
		t.Run("made up", func(t *testing.T) {
			for _, nonce := range madeUp(victim.nonce) {
				r.stale(t, victim, allocate(nonce))
			}
		})
		// What is wrong with the requests above is the nonce alone. A stream's is good for the address's other streams,
		// from which the data connections of RFC 6062 come.
		t.Run("its own", func(t *testing.T) {
			victim.t, connected.t = t, t
			victim.allocate()
			second := r.tcpClient(t, elsewhere)
			second.nonce = connected.nonce
			second.allocate()
		})
	})
}

// stale makes a request that is right but for its nonce. It gets another nonce and no more.
func (r *relay) stale(t *testing.T, c *client, request []byte) {
	t.Helper()
	c.t = t
	r.counting(t, counts{answered(turn.CodeStaleNonce): 1}, func() {
		a := c.exchange(request)
		if a.code != turn.CodeStaleNonce {
			t.Errorf("answered with %d, want 438", a.code)
		}
		if len(a.raw) > 100 {
			t.Errorf("%d bytes to somebody unproven", len(a.raw))
		}
		var asked turn.Message
		if err := asked.Parse(request); err != nil {
			t.Fatal(err)
		}
		was, _ := asked.Get(turn.AttrNonce)
		if nonce, ok := a.msg.Get(turn.AttrNonce); !ok || bytes.Equal(nonce, was) {
			t.Errorf("the new nonce is %q", nonce)
		}
	})
}

// madeUp are nonces that somebody would try who knows what ours look like.
func madeUp(good []byte) [][]byte {
	list := [][]byte{
		{}, []byte("x"), []byte(strings.Repeat("n", 763)), good[:13], good[:len(good)-1], append(slices.Clone(good), 'A'),
		bytes.ToUpper(good), []byte("obMatJos2AAAA" + strings.Repeat("A", len(good)-13)),
		slices.Concat(good[:9], []byte("AAAA"), good[13:]), // without the security features: the bid down
		slices.Concat(good[:9], []byte("////"), good[13:]), // with every one
	}
	for i := range good {
		changed := slices.Clone(good)
		changed[i] ^= 1
		list = append(list, changed)
	}
	return list
}
