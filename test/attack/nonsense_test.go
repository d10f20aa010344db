package attack

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"causeway/relay/turn"
)

// largest is the longest datagram that UDP over IPv4 carries.
const largest = 65507

// nonsense is a datagram that is dropped, and what it is counted as.
type nonsense struct {
	name   string
	b      []byte
	reason string
}

// TestNonsense: what is no message, or says of itself what is not so, is not answered and has a name.
func TestNonsense(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		c := r.udpClient(t, elsewhere).meet()
		c.allocate()
		sink := listenUDP(t, netip.AddrPortFrom(friend, 0))
		c.must(turn.MethodChannelBind, channel(0x4000), peer(addrOf(sink)))
		without := r.udpClient(t, elsewhere)

		drops := func(name string, c *client, counter string, datagrams ...[]byte) {
			t.Helper()
			t.Run(name, func(t *testing.T) {
				c.t = t
				r.counting(t, counts{counter: len(datagrams)}, func() {
					for i, b := range datagrams {
						c.send(b)
						if i%500 == 499 {
							c.barrier() // lest they overflow the queue
						}
					}
					c.barrier()
				})
				if len(c.waits) > 0 {
					t.Errorf("answered with %x", c.waits[0])
					c.waits = nil
				}
			})
		}
		for _, x := range c.broken() {
			drops(x.name, c, ignored("malformed"), x.b)
		}
		for _, x := range c.foreign() {
			drops(x.name, c, dropped(r.udp(), "not_turn"), x.b)
		}
		for _, x := range c.badSends(addrOf(sink)) {
			drops(x.name, c, dropped(r.udp(), x.reason), x.b)
		}
		drops("nothing", c, dropped(r.udp(), "not_turn"), []byte{})
		drops("up to nineteen zeros", c, dropped(r.udp(), "not_turn"), prefixes(make([]byte, 19), 1)...)
		drops("up to seven bytes of a request", c, dropped(r.udp(), "not_turn"), prefixes(c.plain(turn.MethodBinding)[:7], 1)...)
		drops("up to nineteen bytes of a request", c, ignored("malformed"), prefixes(c.plain(turn.MethodBinding)[:19], 8)...)
		drops("up to three bytes of ChannelData", c, dropped(r.udp(), "not_turn"), prefixes([]byte{0x40, 0, 0}, 1)...)

		var unbound, lying [][]byte
		for n := uint16(0x4001); n < 0x8000; n++ {
			unbound = append(unbound, c.channelData(n, []byte("anybody?")))
		}
		payload := c.channelData(0x4000, make([]byte, 160))
		for _, n := range []int{0, 1, 155, 156, 161, 164, 165, 1000, 65535} {
			lying = append(lying, claiming(payload, n))
		}
		drops("ChannelData for every channel that is not bound", c, dropped(r.udp(), "no_channel"), unbound...)
		drops("ChannelData of another length", c, dropped(r.udp(), "bad_channel_data"), lying...)
		drops("ChannelData without an allocation", without, dropped(r.udp(), "no_allocation"), unbound[:500]...)
		drops("Send without an allocation", without, dropped(r.udp(), "no_allocation"),
			without.indication(peer(addrOf(sink)), data([]byte("x"))))

		drops("a method that nobody knows", c, ignored("method"), c.plain(0x0FF), c.plain(0xFFF))
		drops("requests for clients", c, ignored("method"), c.plain(turn.MethodSend), c.plain(turn.MethodData))
		drops("responses", c, ignored("response"), of(c.plain(turn.MethodAllocate), 0x01, 0x03), of(c.plain(turn.MethodAllocate), 0x01, 0x13))
		drops("indications for clients", c, ignored("indication"), of(c.plain(turn.MethodData), 0x00, 0x17),
			of(c.plain(turn.MethodAllocate), 0x00, 0x13), of(c.plain(turn.MethodConnectionAttempt), 0x00, 0x1C))

		_ = sink.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _, err := sink.ReadFromUDPAddrPort(make([]byte, 1<<16)); err == nil {
			t.Errorf("a peer got %d bytes", n)
		}
	})
}

// of makes a message one of another type.
func of(b []byte, first, second byte) []byte {
	return append([]byte{first, second}, b[2:]...)
}

// prefixes are the first bytes of a datagram, at least so many.
func prefixes(b []byte, from int) (list [][]byte) {
	for n := from; n <= len(b); n++ {
		list = append(list, b[:n])
	}
	return list
}

// broken are messages that lie about their length, or an attribute's, or their fingerprint.
func (c *client) broken() []nonsense {
	good := c.request(turn.MethodAllocate, relayUDP)
	n := len(good) - 20
	c.out.Begin(turn.MethodBinding, turn.ClassRequest, transaction())
	printed := clone(c.out.Seal(nil, false, false, true))
	wrong := clone(printed)
	wrong[len(wrong)-1] ^= 1
	beyond := clone(good)
	binary.BigEndian.PutUint16(beyond[len(beyond)-22:], 24)
	endless := clone(good)
	binary.BigEndian.PutUint16(endless[22:], 0xFFFF)
	return []nonsense{
		{"a length that is too short", claiming(good, n-4), ""},
		{"a length that is too long", claiming(good, n+4), ""},
		{"the longest length", claiming(good, 0xFFFC), ""},
		{"no length", claiming(good, 0), ""},
		{"a length that is no multiple of four", claiming(good, n-1), ""},
		{"half a message", good[:len(good)/2], ""},
		{"a message and its first half", slices.Concat(good, good[:len(good)/2]), ""},
		{"two messages", slices.Concat(good, good), ""},
		{"a last attribute beyond the end", beyond, ""},
		{"a first attribute beyond the end", endless, ""},
		{"an attribute's header and no more", measured(slices.Concat(good, []byte{0x80, 0x22, 0, 1})), ""},
		{"a wrong fingerprint", wrong, ""},
		{"a fingerprint of no bytes", measured(slices.Concat(good, []byte{0x80, 0x28, 0, 0})), ""},
		{"something behind the fingerprint", measured(slices.Concat(printed, []byte{0x80, 0x22, 0, 0})), ""},
		{"a message in the largest datagram", slices.Concat(good, make([]byte, largest-len(good))), ""},
	}
}

// foreign are other protocols' datagrams.
func (c *client) foreign() []nonsense {
	cookie := c.plain(turn.MethodBinding)
	cookie[4] ^= 1
	return []nonsense{
		{"STUN of RFC 3489", cookie, ""},
		{"RTP", append([]byte{0x80, 0, 0, 1}, make([]byte, 168)...), ""},
		{"RTCP", append([]byte{0x81, 200, 0, 1}, make([]byte, 24)...), ""},
		{"DTLS", append([]byte{22, 254, 253}, make([]byte, 60)...), ""},
		{"DNS", append([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x07example\x04test\x00\x00\x01\x00\x01"...), ""},
		{"QUIC", append([]byte{0xC3, 0, 0, 0, 1}, make([]byte, 1195)...), ""},
		{"the largest datagram of zeros", make([]byte, largest), ""},
		{"the largest datagram of ones", bytes.Repeat([]byte{0xFF}, largest), ""},
	}
}

// badSends are Send indications that nothing can be done with.
func (c *client) badSends(p netip.AddrPort) []nonsense {
	x := data([]byte("x"))
	return []nonsense{
		{"Send to nobody", c.indication(x), "bad_send"},
		{"Send of nothing", c.indication(peer(p)), "bad_send"},
		{"Send to an address of no family", c.indication(raw(turn.AttrXORPeerAddress, 0, 9, 1, 2, 3, 4, 5, 6), x), "bad_send"},
		{"Send to an address of three bytes", c.indication(raw(turn.AttrXORPeerAddress, 0, 1, 1), x), "bad_send"},
		{"Send to an IPv4 address of IPv6's length", c.indication(raw(turn.AttrXORPeerAddress, append([]byte{0, 1}, make([]byte, 18)...)...), x), "bad_send"},
		{"Send with something that has to be understood", c.indication(peer(p), x, raw(0x7F00)), "bad_send"},
		{"Send behind an integrity", c.indication(raw(turn.AttrMessageIntegrity, make([]byte, 20)...), peer(p), x), "bad_send"},
		{"Send of another length", claiming(c.indication(peer(p), x), 400), "bad_send"},
		{"Send to port 0", c.indication(peer(netip.AddrPortFrom(p.Addr(), 0)), x), "policy"},
		{"Send to an IPv6 peer", c.indication(peer(netip.MustParseAddrPort("[2606:4700::1]:9")), x), "no_permission"},
	}
}

// TestLargestDatagrams: they are relayed whole, or dropped with a name when what is put around them makes them too long,
// and never cut.
func TestLargestDatagrams(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		type kind struct {
			name string
			come func(testing.TB, netip.Addr) *client
			wrap func(c *client, p netip.AddrPort, payload []byte) []byte // Send or ChannelData
			max  int                                                      // bytes of payload in a datagram or frame
			bind bool
		}
		send := func(c *client, p netip.AddrPort, payload []byte) []byte { return c.indication(peer(p), data(payload)) }
		inChannel := func(c *client, _ netip.AddrPort, payload []byte) []byte { return c.channelData(0x4000, payload) }
		for _, k := range []kind{
			{"Send, UDP", r.udpClient, send, largest - 36 - 3, false}, // header, address, DATA's header; padding
			{"ChannelData, UDP", r.udpClient, inChannel, largest - 4, true},
			{"Send, TCP", r.tcpClient, send, 65552 - 36, false},
			{"ChannelData, TCP", r.tcpClient, inChannel, 65535, true},
			{"ChannelData, TLS", r.tlsClient, inChannel, 65535, true},
		} {
			t.Run(k.name, func(t *testing.T) {
				conn := listenUDP(t, netip.AddrPortFrom(friend, 0))
				p := addrOf(conn)
				c := k.come(t, elsewhere).meet()
				relayed := c.allocate()
				c.must(turn.MethodCreatePermission, peer(p))
				if k.bind {
					c.must(turn.MethodChannelBind, channel(0x4000), peer(p))
				}
				listener := r.udp()
				if c.in != nil {
					listener = r.tcp()
				}
				for _, n := range []int{0, 1, 1472, 2048, 8972, k.max - 1, k.max} {
					payload := bytes.Repeat([]byte{byte(n)}, n)
					if n > largest {
						r.counting(t, counts{dropped(listener, "oversize"): 1}, func() { c.send(k.wrap(c, p, payload)); c.barrier() })
						continue
					}
					r.counting(t, counts{}, func() {
						c.send(k.wrap(c, p, payload))
						if got := next(t, conn); !bytes.Equal(got, payload) {
							t.Errorf("the peer got %d bytes of %d", len(got), n)
						}
					})
				}
				for _, n := range []int{0, 1, 1472, 2048, 8972, largest - 40, largest - 4, largest} {
					payload := bytes.Repeat([]byte{byte(n)}, n)
					whole := c.in != nil || k.bind && n <= largest-4 || n <= largest-40
					want := counts{}
					if !whole {
						want[dropped(relayPort, "oversize")] = 1
					}
					r.counting(t, want, func() {
						if _, err := conn.WriteToUDPAddrPort(payload, relayed); err != nil {
							t.Fatal(err)
						}
					})
					if whole {
						if got := c.relayed(t); !bytes.Equal(got, payload) {
							t.Errorf("the client got %d bytes of %d", len(got), n)
						}
					}
				}
			})
		}
	})
}

// next is the next datagram that a peer gets.
func next(t *testing.T, conn *net.UDPConn) []byte {
	t.Helper()
	buf := make([]byte, 1<<16)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// relayed is the payload of the next message from a peer.
func (c *client) relayed(t *testing.T) []byte {
	t.Helper()
	b := c.message()
	if turn.Classify(b) == turn.KindChannelData {
		_, payload, err := turn.ParseChannelData(b, c.in != nil)
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	var m turn.Message
	if err := m.Parse(b); err != nil || m.Method != turn.MethodData {
		t.Fatalf("%v, method %v", err, m.Method)
	}
	payload, ok := m.Get(turn.AttrData)
	if !ok {
		t.Fatal("a Data indication without data")
	}
	return payload
}
