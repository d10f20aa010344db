package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

// allocateMobile allocates with a ticket (RFC 8016).
func (c *client) allocateMobile() (relayed netip.AddrPort, ticket []byte) {
	c.t.Helper()
	m := c.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrMobilityTicket, nil})
	relayed, err := m.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	return relayed, ticketOf(c.t, m)
}

// move moves the allocation of a ticket to this client and returns the next ticket. Nothing is heard of the client yet.
func (c *client) move(ticket []byte) []byte {
	c.t.Helper()
	return ticketOf(c.t, c.must(turn.MethodRefresh, attribute{turn.AttrMobilityTicket, ticket}))
}

func (c *client) delete() {
	c.t.Helper()
	c.must(turn.MethodRefresh, attribute{turn.AttrLifetime, uint32(0)})
}

func ticketOf(t *testing.T, m turn.Message) []byte {
	t.Helper()
	ticket, ok := m.Get(turn.AttrMobilityTicket)
	if !ok {
		t.Fatal("no ticket")
	}
	return append([]byte(nil), ticket...)
}

// workerOf returns the number of the worker that has a client's allocation.
func workerOf(t *testing.T, r *Relay, client net.Addr) int {
	t.Helper()
	all, err := r.Allocations()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Client == client.String() {
			id, err := strconv.ParseUint(a.ID, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return turn.ID(id).Worker()
		}
	}
	t.Fatalf("%s has no allocation", client)
	return 0
}

// clientAt returns a client of alice's whose packets the kernel gives to a worker. It knows its nonce and has no
// allocation.
func clientAt(t *testing.T, r *Relay, server netip.AddrPort, number int) *client {
	t.Helper()
	for range 100 {
		c := newClient(t, server, "alice", "secret")
		c.allocate()
		is := workerOf(t, r, c.conn.LocalAddr())
		c.delete()
		if is == number {
			return c
		}
		c.conn.Close()
	}
	t.Fatalf("the kernel gives nobody to worker %d", number)
	return nil
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestMovesLeaveNoSockets: what is opened for a client at another worker's address is closed when it has gone on.
func TestMovesLeaveNoSockets(t *testing.T) {
	r, server := start(t, plain+"  workers: 2\n")
	c, p := clientAt(t, r, server, 0), newPeer(t, "127.0.0.1:0")
	_, ticket := c.allocateMobile()
	c.bind(0x4000, p.addr)
	before := descriptors(t)
	for range 8 {
		moved := clientAt(t, r, server, 1)
		ticket = moved.move(ticket)
		moved.sendChannel(0x4000, []byte("here"))
		p.receive()
		c.conn.Close()
		c = moved
	}
	waitFor(t, "one socket more", func() bool { return descriptors(t) == before+1 })
	c.delete()
	waitFor(t, "neither that nor the relayed address's", func() bool { return descriptors(t) == before-1 })
}

// TestMovesNotTaken: who says that it moves, twice, and is heard at neither address, still has the one where it is,
// though the kernel would give all three to another worker; and nothing is kept open for the others.
func TestMovesNotTaken(t *testing.T) {
	r, server := start(t, plain+"  workers: 2\n")
	first, p := clientAt(t, r, server, 0), newPeer(t, "127.0.0.1:0")
	relayed, ticket := first.allocateMobile()
	first.bind(0x4000, p.addr)
	here := clientAt(t, r, server, 1)
	ticket = here.move(ticket)
	before := descriptors(t)
	for round := range byte(4) {
		here.sendChannel(0x4000, []byte{round})
		if b, from := p.receive(); b[0] != round || from != relayed {
			t.Fatalf("%x from %s in round %d", b, from, round)
		}
		p.send([]byte{round}, relayed)
		if b := here.next(); channelOf(b) != 0x4000 || b[4] != round {
			t.Fatalf("%x in round %d", b, round)
		}
		there := clientAt(t, r, server, 1)
		ticket = there.move(ticket)
		there.conn.Close()
	}
	// The address before the one that it is at has no socket any more, and the one that it moves to has.
	waitFor(t, "one socket more", func() bool { return descriptors(t) == before+1 })
}

// TestMovesBetweenListeners: the same address at another listener is another five-tuple, and is heard as one.
func TestMovesBetweenListeners(t *testing.T) {
	second := freePort(t)
	_, first := start(t, strings.Replace(plain, "[LISTEN]", "[LISTEN, udp://"+second.String()+"]", 1)+"  workers: 1\n")
	c, p := newClient(t, first, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed, ticket := c.allocateMobile()
	c.bind(0x4000, p.addr)
	for _, how := range []string{"ChannelData", "Send"} {
		c.server = map[netip.AddrPort]netip.AddrPort{first: second, second: first}[c.server]
		ticket = c.move(ticket)
		if how == "Send" {
			c.sendTo(p.addr, []byte("heard"))
		} else {
			c.sendChannel(0x4000, []byte("heard"))
		}
		p.receive()
		p.send([]byte("back"), relayed)
		_ = c.conn.SetReadDeadline(time.Now().Add(answerWait))
		if n, from, err := c.conn.ReadFromUDPAddrPort(c.buf); err != nil || n != 8 || from != c.server {
			t.Errorf("after %s to %s: %d bytes from %s, %v", how, c.server, n, from, err)
		}
	}
}

// startTwice runs a relay with a UDP and a TCP listener.
func startTwice(t *testing.T, workers int) (r *Relay, udp, tcp netip.AddrPort) {
	t.Helper()
	tcp = freePort(t)
	r, udp = start(t, strings.Replace(plain, "[LISTEN]", "[LISTEN, tcp://"+tcp.String()+"]", 1)+"  workers: "+strconv.Itoa(workers)+"\n")
	return r, udp, tcp
}

// challenged is a new connection that knows its nonce.
func challenged(t *testing.T, server netip.AddrPort) *streamConn {
	t.Helper()
	c := dialStream(t, server, false)
	m, code := c.request(turn.MethodRefresh)
	nonce, ok := m.Get(turn.AttrNonce)
	if code != 401 || !ok {
		t.Fatalf("%d", code)
	}
	c.nonce = append([]byte(nil), nonce...)
	return c
}

// TestStreamsMoveBetweenWorkers: a connection goes over to the worker of its allocation, and the client sends on without
// waiting for that: every frame goes through, in its order.
func TestStreamsMoveBetweenWorkers(t *testing.T) {
	const rounds, frames = 20, 40 // connections are dealt in turn: every second one moves to another worker
	r, udp, tcp := startTwice(t, 2)
	c, p := newClient(t, udp, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed, ticket := c.allocateMobile()
	c.bind(0x4001, p.addr)
	frame := func(number int) []byte { return binary.BigEndian.AppendUint32([]byte{0x40, 1, 0, 4}, uint32(number)) }
	for range rounds {
		s := challenged(t, tcp)
		sending := s.compose(turn.MethodRefresh, turn.ClassRequest, attribute{turn.AttrMobilityTicket, ticket})
		for n := range frames / 2 {
			sending = append(sending, frame(n)...)
		}
		for n := frames / 2; n <= frames; n++ { // some with the request, some while it is handled
			if _, err := s.conn.Write(sending); err != nil {
				t.Fatal(err)
			}
			sending = frame(n)
		}
		var m turn.Message
		if err := m.Parse(s.frame()); err != nil || m.Class != turn.ClassSuccess {
			t.Fatalf("%v, %v", m.Class, err)
		}
		ticket = ticketOf(t, m)
		for n := range frames {
			if b, from := p.receive(); len(b) != 4 || binary.BigEndian.Uint32(b) != uint32(n) || from != relayed {
				t.Fatalf("%x from %s instead of frame %d", b, from, n)
			}
		}
		p.send([]byte("back"), relayed)
		if b := s.frame(); string(b[4:]) != "back" {
			t.Fatalf("%x", b)
		}
		s.conn.Close()
	}
	if n := metric(t, r, "panics_total"); n != 0 {
		t.Errorf("%g panics", n)
	}
}

// TestLongFrameAfterMove: a connection that an allocation has moved to takes the frames of one with an allocation at
// once.
func TestLongFrameAfterMove(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(strconv.Itoa(workers), func(t *testing.T) {
			_, udp, tcp := startTwice(t, workers)
			c, p := newClient(t, udp, "alice", "secret"), newPeer(t, "127.0.0.1:0")
			_, ticket := c.allocateMobile()
			c.bind(0x4001, p.addr)
			for range workers {
				s := challenged(t, tcp)
				m, code := s.request(turn.MethodRefresh, attribute{turn.AttrMobilityTicket, ticket})
				if code != 0 {
					t.Fatalf("%d", code)
				}
				ticket = ticketOf(t, m)
				const long = 3000
				frame := make([]byte, turn.ChannelHeaderSize+long)
				turn.PutChannelHeader(frame, 0x4001, long)
				if _, err := s.conn.Write(frame); err != nil {
					t.Fatal(err)
				}
				if b, _ := p.receive(); len(b) != long {
					t.Errorf("%d bytes came", len(b))
				}
			}
		})
	}
}

// TestAddressOfOneWhoMayComeBack: a client's connection ends and it keeps its allocation; whoever connects from the same
// address and port is nothing to that, and gets one of its own.
func TestAddressOfOneWhoMayComeBack(t *testing.T) {
	r, udp, tcp := startTwice(t, 1)
	local := freePort(t)
	connect := func(user, password string) *streamConn {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Timeout: answerWait}
		conn, err := d.Dial("tcp", tcp.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // so that the address can be had again at once
		_ = conn.SetDeadline(time.Now().Add(answerWait))
		t.Cleanup(func() { conn.Close() })
		return &streamConn{newClient(t, tcp, user, password), conn}
	}
	p := newPeer(t, "127.0.0.1:0")
	alice := connect("alice", "secret")
	m := alice.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrMobilityTicket, nil})
	ticket := ticketOf(t, m)
	relayed, _ := m.Addr(turn.AttrXORRelayedAddress)
	alice.must(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4001 << 16)}, attribute{peerAddress, p.addr})
	alice.conn.Close()
	waitFor(t, "an allocation without a client", func() bool {
		all, err := r.Allocations()
		return err == nil && len(all) == 1 && all[0].Client == ""
	})

	bob := connect("bob", "hidden")
	bob.must(turn.MethodAllocate, transportUDP)
	back := newClient(t, udp, "alice", "secret")
	back.move(ticket)
	back.sendChannel(0x4001, []byte("back"))
	if b, from := p.receive(); string(b) != "back" || from != relayed {
		t.Errorf("%q from %s", b, from)
	}
	bob.must(turn.MethodCreatePermission, attribute{peerAddress, p.addr}) // the other's return took nothing from this one
}

// TestStreamsMoveTwiceAtOnce: requests that name two workers, one behind the other, are all answered by whose they are,
// and leave nothing behind.
func TestStreamsMoveTwiceAtOnce(t *testing.T) {
	r, udp, tcp := startTwice(t, 2)
	var tickets [2][]byte
	for i := range tickets {
		_, tickets[i] = clientAt(t, r, udp, i).allocateMobile()
	}
	for round := range 12 {
		s := challenged(t, tcp)
		first, second := tickets[round/2%2], tickets[1-round/2%2] // whoever has it, it goes to one and to the other
		var sending []byte
		for _, ticket := range [][]byte{first, second} { // refused, since a client that moves can't delete
			sending = append(sending, s.compose(turn.MethodRefresh, turn.ClassRequest,
				attribute{turn.AttrMobilityTicket, ticket}, attribute{turn.AttrLifetime, uint32(0)})...)
		}
		sending = append(sending, s.compose(turn.MethodAllocate, turn.ClassRequest, transportUDP)...)
		if _, err := s.conn.Write(sending); err != nil {
			t.Fatal(err)
		}
		for i, want := range []turn.Class{turn.ClassError, turn.ClassError, turn.ClassSuccess} {
			var m turn.Message
			if err := m.Parse(s.frame()); err != nil || m.Class != want {
				t.Fatalf("round %d, answer %d: %v, %v", round, i, m.Class, err)
			}
		}
		s.conn.Close()
		waitFor(t, "the end of the connection's allocation", func() bool { return metric(t, r, "allocations") == 2 })
	}
	if n := metric(t, r, "panics_total"); n != 0 {
		t.Errorf("%g panics", n)
	}
}
