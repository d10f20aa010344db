package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"causeway/relay/auth"
	"causeway/relay/turn"
)

// The peers of each side in TestFederationOnTheWire.
const (
	externalPeer = "127.0.0.3"
	internalPeer = "127.0.0.2"
)

var transportTCP = attribute{turn.AttrRequestedTransport, uint32(6 << 24)}

// TestFederationOnTheWire holds every cell of the manual's table: for each value of federation and each side that a peer
// can be on, whether datagrams go in and out, and connections are made and taken.
func TestFederationOnTheWire(t *testing.T) {
	all := auth.UDPIn.Set() | auth.UDPOut.Set() | auth.TCPConnect.Set() | auth.TCPAccept.Set()
	for _, tt := range []struct {
		federation string
		external   auth.Ops
	}{
		{"closed", 0},
		{"r2", auth.TCPConnect.Set()},
		{"legacy", all},
	} {
		t.Run(tt.federation, func(t *testing.T) {
			t.Parallel()
			tcp := freePort(t)
			_, udp := start(t, fmt.Sprintf(`  listen: [LISTEN, tcp://%s]
  users: {alice: secret, bob: hidden}
  peers: {allow: [%s]}
  internal: {peers: {allow: [%s]}}
  federation: %s
`, tcp, externalPeer, internalPeer, tt.federation))
			for _, side := range []struct {
				name, host string
				want       auth.Ops
			}{{"external", externalPeer, tt.external}, {"internal", internalPeer, all}} {
				t.Run(side.name, func(t *testing.T) {
					datagrams(t, udp, side.host, side.want)
					connections(t, tcp, side.host, side.want)
				})
			}
			t.Run("own", func(t *testing.T) {
				ownDatagrams(t, udp)
				ownConnections(t, tcp)
			})
		})
	}
}

// code is what a request is answered when it is allowed, or not.
func code(allowed bool) int {
	if allowed {
		return 0
	}
	return 403
}

func datagrams(t *testing.T, server netip.AddrPort, host string, want auth.Ops) {
	in, out := want&auth.UDPIn.Set() != 0, want&auth.UDPOut.Set() != 0
	c, peer := newClient(t, server, "alice", "secret"), newPeer(t, host+":0")
	relayed := c.allocate()
	if _, got := c.request(turn.MethodCreatePermission, attribute{peerAddress, peer.addr}); got != code(in || out) {
		t.Errorf("CreatePermission: %d, want %d", got, code(in || out))
	}
	c.sendTo(peer.addr, []byte("out"))
	if out {
		if data, from := peer.receive(); string(data) != "out" || from != relayed {
			t.Errorf("%q came from %s", data, from)
		}
	} else {
		peer.nothing()
	}
	peer.send([]byte("in"), relayed)
	if in {
		m := c.indication()
		if data, _ := m.Get(turn.AttrData); string(data) != "in" {
			t.Errorf("%q came", data)
		}
	} else {
		c.nothing()
	}
	if _, got := c.request(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4000 << 16)}, attribute{peerAddress, peer.addr}); got != code(out) {
		t.Errorf("ChannelBind: %d, want %d", got, code(out))
	}
}

func connections(t *testing.T, server netip.AddrPort, host string, want auth.Ops) {
	connect, accept := want&auth.TCPConnect.Set() != 0, want&auth.TCPAccept.Set() != 0
	c := dialStream(t, server, false)
	relayed := c.allocateTCP()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(host+":0")))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer := l.Addr().(*net.TCPAddr).AddrPort()
	if _, got := c.request(turn.MethodConnect, attribute{peerAddress, peer}); got != code(connect) {
		t.Errorf("Connect: %d, want %d", got, code(connect))
	}
	wait := silence
	if connect {
		wait = answerWait
	}
	_ = l.SetDeadline(time.Now().Add(wait))
	conn, err := l.AcceptTCP()
	switch {
	case connect && err != nil:
		t.Errorf("nobody connects to the peer: %v", err)
	case !connect && !errors.Is(err, os.ErrDeadlineExceeded):
		t.Errorf("the peer got a connection, %v", err)
	case connect:
		if from := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); from != relayed {
			t.Errorf("connected from %s, want %s", from, relayed)
		}
		conn.Close()
	}
	if _, got := c.request(turn.MethodCreatePermission, attribute{peerAddress, peer}); got != code(connect || accept) {
		t.Errorf("CreatePermission: %d, want %d", got, code(connect || accept))
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: answerWait}
	conn2, err := dialer.Dial("tcp", relayed.String())
	if err != nil {
		t.Fatal(err) // the kernel takes it; the relay decides then
	}
	defer conn2.Close()
	if accept {
		if from := c.attempt(); from != netip.MustParseAddrPort(conn2.LocalAddr().String()) {
			t.Errorf("ConnectionAttempt from %s, want %s", from, conn2.LocalAddr())
		}
		return
	}
	_ = conn2.SetReadDeadline(time.Now().Add(answerWait))
	if _, err := conn2.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the peer's connection is not refused: %v", err)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(silence))
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client hears of it: %d bytes, %v", n, err)
	}
}

// ownDatagrams has two clients of the relay be each other's peers.
func ownDatagrams(t *testing.T, server netip.AddrPort) {
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	ra, rb := a.allocate(), b.allocate()
	a.permit(rb)
	b.permit(ra)
	a.sendTo(rb, []byte("there"))
	if from, err := indicationPeer(b); err != nil || from != ra {
		t.Errorf("from %s, %v; want %s", from, err, ra)
	}
	b.bind(0x4000, ra)
	b.sendChannel(0x4000, []byte("and back"))
	if from, err := indicationPeer(a); err != nil || from != rb {
		t.Errorf("from %s, %v; want %s", from, err, rb)
	}
}

// ownConnections connects the TCP allocations of two clients.
func ownConnections(t *testing.T, server netip.AddrPort) {
	a, b := dialStream(t, server, false), dialStream(t, server, false)
	ra, rb := a.allocateTCP(), b.allocateTCP()
	b.must(turn.MethodCreatePermission, attribute{peerAddress, ra})
	if _, got := a.request(turn.MethodConnect, attribute{peerAddress, rb}); got != 0 {
		t.Errorf("Connect: %d", got)
	}
	if from := b.attempt(); from != ra {
		t.Errorf("ConnectionAttempt from %s, want %s", from, ra)
	}
}

func (s *streamConn) allocateTCP() netip.AddrPort {
	s.t.Helper()
	m := s.must(turn.MethodAllocate, transportTCP)
	relayed, err := m.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		s.t.Fatal(err)
	}
	return relayed
}

// request is must for what may be refused; the client knows its nonce already.
func (s *streamConn) request(method turn.Method, attributes ...attribute) (m turn.Message, code int) {
	s.t.Helper()
	_ = s.conn.SetDeadline(time.Now().Add(answerWait))
	if _, err := s.conn.Write(s.compose(method, turn.ClassRequest, attributes...)); err != nil {
		s.t.Fatal(err)
	}
	if err := m.Parse(s.frame()); err != nil {
		s.t.Fatal(err)
	}
	if value, ok := m.Get(turn.AttrErrorCode); ok {
		code = int(value[2])*100 + int(value[3])
	}
	return m, code
}

// attempt returns the peer of the next message, which has to be a ConnectionAttempt indication.
func (s *streamConn) attempt() netip.AddrPort {
	s.t.Helper()
	_ = s.conn.SetDeadline(time.Now().Add(answerWait))
	var m turn.Message
	if err := m.Parse(s.frame()); err != nil || m.Method != turn.MethodConnectionAttempt {
		s.t.Fatalf("%s, %v; want a ConnectionAttempt", m.Method, err)
	}
	from, err := m.Addr(peerAddress)
	if err != nil {
		s.t.Fatal(err)
	}
	return from
}
