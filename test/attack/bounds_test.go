package attack

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"causeway/relay/turn"
)

// TestPendingConnectionsAreBounded: peer connections that nobody binds are so many and no more, for one allocation and in
// all, whoever opens them; they go with their allocation.
func TestPendingConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const each, all = 16, 24 // relay/stream's bound for one allocation, and ours for all
	r := start(t, settings{limits: unlimited + ", pending_connections: 24"})
	r.whileServing(t, func(t *testing.T) {
		var peers []netip.AddrPort
		for range all + 1 {
			p, _ := listenTCP(t, netip.AddrPortFrom(friend, 0))
			peers = append(peers, p)
		}
		var clients []*client
		for range 2 {
			c := r.tcpClient(t, elsewhere).meet()
			c.must(turn.MethodAllocate, relayTCP)
			clients = append(clients, c)
		}
		want := func(c *client, p netip.AddrPort, code int) {
			t.Helper()
			if got := c.ask(turn.MethodConnect, peer(p)).code; got != code {
				t.Errorf("Connect to %v: %d, want %d", p, got, code)
			}
		}
		for _, p := range peers[:each] {
			want(clients[0], p, 0)
		}
		for range 100 {
			want(clients[0], peers[each], turn.CodeInsufficientCapacity)
		}
		want(clients[0], peers[0], turn.CodeConnectionExists)
		for _, p := range peers[:all-each] {
			want(clients[1], p, 0)
		}
		for range 100 {
			want(clients[1], peers[all], turn.CodeInsufficientCapacity)
		}
		if got := r.holdings().Pending; got != all {
			t.Errorf("%d connections are pending, want %d", got, all)
		}
		clients[0].must(turn.MethodRefresh, lifetime(0))
		if got := r.holdings().Pending; got != all-each {
			t.Errorf("%d connections are pending when one allocation has gone, want %d", got, all-each)
		}
		t.Run("by peers", func(t *testing.T) { r.eagerPeer(t, each) })
	})
}

// eagerPeer opens connections to a client that does not want them.
func (r *relay) eagerPeer(t *testing.T, most int) {
	c := r.tcpClient(t, elsewhere).meet()
	a := c.must(turn.MethodAllocate, relayTCP)
	relayed, err := a.msg.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		t.Fatal(err)
	}
	c.must(turn.MethodCreatePermission, peer(netip.AddrPortFrom(friend, 1)))
	const tries = 200
	r.counting(t, counts{connections("accepted"): most, connections("refused"): tries - most}, func() {
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(friend, 0))}
		for range tries {
			// One that is turned away may find that out while it connects.
			if conn, err := d.Dial("tcp", relayed.String()); err == nil {
				defer conn.Close()
			}
		}
	})
	c.barrier()
	if len(c.waits) != most {
		t.Errorf("the client was told of %d connections, want %d", len(c.waits), most)
	}
}

// TestFloodByUser: a user has the packets and bytes a second that one may have, be it with one allocation or with
// several, and others theirs.
func TestFloodByUser(t *testing.T) {
	t.Parallel()
	const (
		packets, size = 1000, 400
		sends         = 8000
	)
	for _, x := range []struct{ name, limits, reason string }{
		{"packets", "packets_per_second: 1000, bytes_per_second: 0", "user_packets"},
		{"bytes", "packets_per_second: 0, bytes_per_second: 400000", "user_bytes"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, settings{limits: x.limits})
			r.whileServing(t, func(t *testing.T) {
				sink := listenUDP(t, netip.AddrPortFrom(friend, 0))
				_ = sink.SetReadBuffer(8 << 20)
				var clients []*client
				for range 4 {
					c := r.udpClient(t, elsewhere).meet().as(bob)
					c.allocate()
					c.must(turn.MethodChannelBind, channel(0x4000), peer(addrOf(sink)))
					clients = append(clients, c)
				}
				before, began := r.metrics(), time.Now()
				for i := range sends {
					c := clients[i%len(clients)]
					c.send(c.channelData(0x4000, make([]byte, size)))
				}
				for _, c := range clients {
					c.barrier()
				}
				got := passed(before, r.metrics())
				relayed := 0
				for _, c := range clients {
					relayed += r.allocation(t, c.local()).ToPeer.Packets
				}
				// A bucket holds a second's worth, and a second's more comes while it empties, or whatever the time has been.
				most := int(packets * (time.Since(began).Seconds() + 1))
				if relayed == 0 || relayed > most {
					t.Errorf("%d packets were relayed, want no more than %d", relayed, most)
				}
				if lost := got[dropped(r.udp(), x.reason)]; lost+relayed != sends || len(got) != 1 {
					t.Errorf("%d packets were sent, %d relayed, and of the others is said: %v", sends, relayed, got)
				}
				t.Logf("%d of %d packets were relayed", relayed, sends)
			})
		})
	}
}
