package attack

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"causeway/relay/turn"
)

// The peers of the federation table: one of the organisation's own network, and one of a partner.
var (
	internalPeer = netip.MustParseAddr("127.0.0.20")
	externalPeer = netip.MustParseAddr("127.0.0.30")
)

// operation is a column of the table.
type operation struct {
	name string
	try  func(f *federation, t *testing.T, p netip.Addr, open bool)
}

var operations = []operation{
	{"UDP in", (*federation).udpIn},
	{"UDP out", (*federation).udpOut},
	{"TCP Connect", (*federation).connect},
	{"TCP accept", (*federation).accept},
}

// TestFederation shows each cell of the manual's table on the wire: what the relay does with peers of either side, and
// with the relayed addresses of its own clients, by transport, direction and the setting.
func TestFederation(t *testing.T) {
	t.Parallel()
	all := [4]bool{true, true, true, true}
	for _, row := range []struct {
		setting  string
		external [4]bool // by operation
	}{
		{"closed", [4]bool{}},
		{"r2", [4]bool{2: true}},
		{"legacy", all},
	} {
		t.Run(row.setting, func(t *testing.T) {
			t.Parallel()
			r := start(t, settings{
				limits: unlimited,
				relay:  fmt.Sprintf("  federation: %s\n  internal: {peers: {allow: [%s]}}", row.setting, internalPeer),
				allow:  externalPeer.String(),
			})
			for i, o := range operations {
				for _, side := range []struct {
					name string
					peer netip.Addr
					open bool
				}{
					{"internal", internalPeer, true},
					{"external", externalPeer, row.external[i]},
					{"own", r.host, true},
				} {
					t.Run(o.name+", "+side.name, func(t *testing.T) {
						o.try(&federation{relay: r}, t, side.peer, side.open)
					})
				}
			}
		})
	}
}

// federation is one cell being tried.
type federation struct{ relay *relay }

// far is the other end of a cell: a peer of its own, or, at the relay's own address, another client of the relay.
type far struct {
	addr   netip.AddrPort
	conn   *net.UDPConn // a peer's socket
	client *client      // the other client
}

func (f *federation) own(p netip.Addr) bool { return p == f.relay.host }

// udpFar makes an other end that has let near in.
func (f *federation) udpFar(t *testing.T, p netip.Addr, near netip.AddrPort) far {
	t.Helper()
	if !f.own(p) {
		conn := listenUDP(t, netip.AddrPortFrom(p, 0))
		return far{addr: addrOf(conn), conn: conn}
	}
	c := f.relay.udpClient(t, elsewhere).meet().as(bob)
	relayed := c.allocate()
	c.must(turn.MethodCreatePermission, peer(near))
	return far{addr: relayed, client: c}
}

// send has the other end send to a relayed address.
func (o far) send(t *testing.T, to netip.AddrPort, payload string) {
	t.Helper()
	if o.client != nil {
		o.client.send(o.client.indication(peer(to), data([]byte(payload))))
		return
	}
	if _, err := o.conn.WriteToUDPAddrPort([]byte(payload), to); err != nil {
		t.Fatal(err)
	}
}

// got is what has come to the other end, "" if that is nothing.
func (o far) got(t *testing.T, open bool) string {
	t.Helper()
	if o.client != nil {
		return string(o.client.relayed(t))
	}
	wait := 50 * time.Millisecond // the counters have said that nothing was sent
	if open {
		wait = patience
	}
	buf := make([]byte, 1500)
	_ = o.conn.SetReadDeadline(time.Now().Add(wait))
	n, _, err := o.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// permit asks for a permission, which is given if anything that the allocation can do with the peer is open.
func (f *federation) permit(t *testing.T, c *client, p netip.AddrPort, open bool) {
	t.Helper()
	want := 0
	if !open {
		want = turn.CodeForbidden
	}
	if code := c.ask(turn.MethodCreatePermission, peer(p)).code; code != want {
		t.Errorf("CreatePermission for %v: %d, want %d", p, code, want)
	}
}

func (f *federation) udpOut(t *testing.T, p netip.Addr, open bool) {
	c := f.relay.udpClient(t, home).meet()
	relayed := c.allocate()
	o := f.udpFar(t, p, relayed)
	f.permit(t, c, o.addr, open)
	bind := c.ask(turn.MethodChannelBind, channel(0x4000), peer(o.addr)).code
	if open != (bind == 0) || !open && bind != turn.CodeForbidden {
		t.Errorf("ChannelBind to %v: %d", o.addr, bind)
	}
	want := counts{}
	if !open {
		want = counts{dropped(f.relay.udp(), "no_permission"): 1, dropped(f.relay.udp(), "no_channel"): 1}
	}
	f.relay.counting(t, want, func() {
		c.send(c.indication(peer(o.addr), data([]byte("by Send"))))
		c.send(c.channelData(0x4000, []byte("by channel")))
		c.barrier()
	})
	for _, payload := range []string{"by Send", "by channel"} {
		if !open {
			payload = ""
		}
		if got := o.got(t, open); got != payload {
			t.Errorf("the peer got %q, want %q", got, payload)
		}
	}
}

func (f *federation) udpIn(t *testing.T, p netip.Addr, open bool) {
	c := f.relay.udpClient(t, home).meet()
	relayed := c.allocate()
	o := f.udpFar(t, p, relayed)
	f.permit(t, c, o.addr, open)
	want := counts{}
	if !open {
		want = counts{dropped(relayPort, "no_permission"): 1}
	}
	f.relay.counting(t, want, func() { o.send(t, relayed, "hello") })
	if open {
		if got := string(c.relayed(t)); got != "hello" {
			t.Errorf("the client got %q", got)
		}
		return
	}
	c.barrier()
	if len(c.waits) > 0 {
		t.Errorf("the client got %x", c.waits[0])
	}
}

// tcpClient returns a client with a TCP allocation, and its relayed address.
func (f *federation) tcpClient(t *testing.T, user string) (*client, netip.AddrPort) {
	t.Helper()
	c := f.relay.tcpClient(t, home).meet().as(user)
	a := c.must(turn.MethodAllocate, relayTCP)
	relayed, err := a.msg.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		t.Fatal(err)
	}
	return c, relayed
}

// attempt waits until a client is told of a peer's connection, and binds it (RFC 6062 section 4.4).
func (f *federation) attempt(t *testing.T, c *client) net.Conn {
	t.Helper()
	var m turn.Message
	if err := m.Parse(c.message()); err != nil || m.Method != turn.MethodConnectionAttempt {
		t.Fatalf("method %v, %v", m.Method, err)
	}
	id, err := m.Uint32(turn.AttrConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	return f.bind(t, c.user, id)
}

// bind makes a data connection.
func (f *federation) bind(t *testing.T, user string, id uint32) net.Conn {
	t.Helper()
	c := f.relay.tcpClient(t, home).meet().as(user)
	c.must(turn.MethodConnectionBind, number(turn.AttrConnectionID, id))
	return c.conn
}

func (f *federation) connect(t *testing.T, p netip.Addr, open bool) {
	c, relayed := f.tcpClient(t, alice)
	var (
		to       netip.AddrPort
		accepted <-chan net.Conn
		other    *client
	)
	if f.own(p) {
		other, to = f.tcpClient(t, bob)
		other.must(turn.MethodCreatePermission, peer(relayed))
	} else {
		to, accepted = listenTCP(t, netip.AddrPortFrom(p, 0))
	}
	a := c.ask(turn.MethodConnect, peer(to))
	if !open {
		if a.code != turn.CodeForbidden {
			t.Errorf("Connect to %v: %d, want 403", to, a.code)
		}
		select {
		case conn := <-accepted:
			t.Errorf("%v has connected to the peer", conn.RemoteAddr())
		case <-time.After(50 * time.Millisecond):
		}
		return
	}
	if a.code != 0 {
		t.Fatalf("Connect to %v: %d", to, a.code)
	}
	id, err := a.msg.Uint32(turn.AttrConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	near := f.bind(t, alice, id)
	if other != nil {
		talk(t, near, f.attempt(t, other))
	} else {
		talk(t, near, <-accepted)
	}
}

// accept is about connections that peers open. That takes a permission, which an address gets with which anything is
// open: with r2 a partner has one for the sake of Connect.
func (f *federation) accept(t *testing.T, p netip.Addr, open bool) {
	c, relayed := f.tcpClient(t, alice)
	if f.own(p) {
		other, from := f.tcpClient(t, bob)
		f.permit(t, c, from, true)
		a := other.must(turn.MethodConnect, peer(relayed))
		id, err := a.msg.Uint32(turn.AttrConnectionID)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, f.attempt(t, c), f.bind(t, bob, id))
		return
	}
	_ = c.ask(turn.MethodCreatePermission, peer(netip.AddrPortFrom(p, 1)))
	if open {
		there := dialTCP(t, p, relayed)
		talk(t, f.attempt(t, c), there)
		return
	}
	f.relay.counting(t, counts{connections("forbidden"): 1, dropped(relayPort, "no_permission"): 1}, func() {
		if got := turnedAway(p, relayed); got != "" {
			t.Errorf("%v: %s", p, got)
		}
	})
	c.barrier()
	if len(c.waits) > 0 {
		t.Errorf("the client was told of %x", c.waits[0])
	}
}

// talk passes a word each way.
func talk(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := way[0].Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		_ = way[1].SetReadDeadline(time.Now().Add(patience))
		if _, err := way[1].Read(got); err != nil || string(got) != "word" {
			t.Errorf("%q came, %v", got, err)
		}
	}
}
