package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/relay/turn"
)

func option(t *testing.T, conn *net.UDPConn, level, name, value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), level, name, value) }); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// fields reads a datagram with the TOS and TTL of its header.
func fields(t *testing.T, conn *net.UDPConn) (b []byte, tos, ttl int) {
	t.Helper()
	option(t, conn, syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1)
	option(t, conn, syscall.IPPROTO_IP, syscall.IP_RECVTTL, 1)
	b, control := make([]byte, 2048), make([]byte, 256)
	_ = conn.SetReadDeadline(time.Now().Add(answerWait))
	n, cn, _, _, err := conn.ReadMsgUDPAddrPort(b, control)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := syscall.ParseSocketControlMessage(control[:cn])
	if err != nil {
		t.Fatal(err)
	}
	tos, ttl = -1, -1
	for _, m := range messages {
		switch m.Header.Type {
		case syscall.IP_TOS:
			tos = int(m.Data[0])
		case syscall.IP_TTL:
			ttl = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return b[:n], tos, ttl
}

// TestHeaderFieldsAreCarried: DSCP and ECN go through (RFC 8656 section 14), the TTL is one less, and what has none left
// goes no further (RFC 5766 section 12, and RFC 8656 section 13 of the hop limit).
func TestHeaderFieldsAreCarried(t *testing.T) {
	const efCapable = 46<<2 | 2   // EF, from an ECN-capable transport
	const afCongested = 34<<2 | 3 // AF41, congestion experienced
	r, server := start(t, plain)
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()
	c.bind(0x4000, p.addr)

	option(t, p.conn, syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1)
	option(t, p.conn, syscall.IPPROTO_IP, syscall.IP_RECVTTL, 1)
	option(t, c.conn, syscall.IPPROTO_IP, syscall.IP_TOS, efCapable)
	option(t, c.conn, syscall.IPPROTO_IP, syscall.IP_TTL, 17)
	c.sendChannel(0x4000, []byte("to the peer"))
	if b, tos, ttl := fields(t, p.conn); string(b) != "to the peer" || tos != efCapable || ttl != 16 {
		t.Errorf("%q with TOS %#x, TTL %d", b, tos, ttl)
	}
	c.sendTo(p.addr, []byte("by Send"))
	if b, tos, ttl := fields(t, p.conn); string(b) != "by Send" || tos != efCapable || ttl != 16 {
		t.Errorf("%q with TOS %#x, TTL %d", b, tos, ttl)
	}

	option(t, c.conn, syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1)
	option(t, c.conn, syscall.IPPROTO_IP, syscall.IP_RECVTTL, 1)
	option(t, p.conn, syscall.IPPROTO_IP, syscall.IP_TOS, afCongested)
	option(t, p.conn, syscall.IPPROTO_IP, syscall.IP_TTL, 99)
	p.send([]byte("to the client"), relayed)
	if b, tos, ttl := fields(t, c.conn); string(b[4:]) != "to the client" || tos != afCongested || ttl != 98 {
		t.Errorf("%q with TOS %#x, TTL %d", b, tos, ttl)
	}

	option(t, c.conn, syscall.IPPROTO_IP, syscall.IP_TTL, 1)
	c.sendChannel(0x4000, []byte("at its end"))
	p.nothing()
	option(t, p.conn, syscall.IPPROTO_IP, syscall.IP_TTL, 1)
	p.send([]byte("at its end"), relayed)
	c.nothing()
	listener := "udp://" + server.String()
	if a, b := metric(t, r, "packets_dropped_total", listener, "hop_limit"),
		metric(t, r, "packets_dropped_total", "relay_ports", "hop_limit"); a != 1 || b != 1 {
		t.Errorf("hop limits counted: %g and %g", a, b)
	}
}

// TestICMPIsTold: a peer's closed port comes back as a Data indication with ICMP (RFC 8656 section 11.5).
func TestICMPIsTold(t *testing.T) {
	_, server := start(t, plain)
	c := newClient(t, server, "alice", "secret")
	c.allocate()
	gone := freePort(t)
	c.permit(gone)
	c.sendTo(gone, []byte("anybody?"))
	m := c.indication()
	icmp, ok := m.Get(turn.AttrICMP)
	peer, err := m.Addr(peerAddress)
	// Type 3, code 3: 7 and 9 bits of the second half-word (RFC 8656 section 18.13).
	if !ok || !bytes.Equal(icmp, []byte{0, 0, 3 << 1, 3, 0, 0, 0, 0}) || err != nil || peer != gone {
		t.Fatalf("ICMP %x of %s, %v", icmp, peer, err)
	}
	if _, hasData := m.Get(turn.AttrData); hasData {
		t.Error("it has DATA")
	}
}

// namespaceMTU is that of the loopback which inNamespace makes.
const namespaceMTU = 1400

// inNamespace runs the calling test in a process with a network of its own, since the relay's sockets are opened on
// threads that a test cannot choose. It returns true in that process and false, when that has ended, in this one.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "CAUSEWAY_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		narrowLoopback(t)
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), mark+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := child.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("no network namespace here: %v", err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func narrowLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	loopback.SetUint32(namespaceMTU)
	mtu := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, loopback)
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := errors.Join(mtu, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback)); err != nil {
		t.Fatal(err)
	}
}

// TestDontFragment: what asks for it leaves in one piece or not at all, and is then answered as the router does whose
// link is too narrow: by ICMP with the MTU. What does not ask leaves, in pieces, and so does what asks by UDP with an
// IPv6 address on either side (RFC 8656 section 13).
func TestDontFragment(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	_, server := start(t, `  listen: [LISTEN]
  relay_addresses: [127.0.0.1, "::1"]
  users: {alice: secret}
  peers: {allow: [127.0.0.0/8, "::1/128"]}
`)
	whole := attribute{turn.AttrDontFragment, nil}
	for _, tt := range []struct {
		name, local string
		family      uint32
		header      int
		heeded      bool
	}{
		{"IPv4", "127.0.0.1:0", 1, 20 + 8, true},
		{"IPv6", "[::1]:0", 2, 40 + 8, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := newClient(t, server, "alice", "secret"), newPeer(t, tt.local)
			c.allocate(whole, attribute{turn.AttrRequestedAddressFamily, tt.family << 24})
			c.permit(p.addr)
			fits, tooLong := make([]byte, namespaceMTU-tt.header), make([]byte, namespaceMTU-tt.header+1)
			c.sendTo(p.addr, fits, whole)
			if b, _ := p.receive(); len(b) != len(fits) {
				t.Errorf("%d bytes came, want %d", len(b), len(fits))
			}
			c.sendTo(p.addr, tooLong, whole)
			if tt.heeded {
				m := c.indication()
				icmp, _ := m.Get(turn.AttrICMP)
				// Type and code, 7 and 9 bits of the second half-word (RFC 8656 section 18.13): fragmentation needed (RFC
				// 1191 section 4).
				want := binary.BigEndian.AppendUint32([]byte{0, 0, 3 << 1, 4}, namespaceMTU)
				if peer, err := m.Addr(peerAddress); !bytes.Equal(icmp, want) || err != nil || peer != p.addr {
					t.Errorf("ICMP %x of %s, %v; want %x", icmp, peer, err, want)
				}
				p.nothing()
				c.sendTo(p.addr, tooLong)
			}
			if b, _ := p.receive(); len(b) != len(tooLong) {
				t.Errorf("%d bytes came, want %d", len(b), len(tooLong))
			}
		})
	}
}

// TestBothFamilies allocates both families at once and talks to a peer of each.
func TestBothFamilies(t *testing.T) {
	_, server := start(t, `  listen: [LISTEN]
  relay_addresses: [127.0.0.1, "::1"]
  users: {alice: secret}
  peers: {allow: [127.0.0.0/8, "::1/128"]}
`)
	c := newClient(t, server, "alice", "secret")
	m := c.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrAdditionalAddressFamily, uint32(2 << 24)})
	var relayed []netip.AddrPort
	m.Each(turn.AttrXORRelayedAddress, func(value []byte) {
		a, err := m.DecodeXORAddr(value)
		if err != nil {
			t.Error(err)
		}
		relayed = append(relayed, a)
	})
	if len(relayed) != 2 || !relayed[0].Addr().Is4() || !relayed[1].Addr().Is6() {
		t.Fatalf("allocated %v", relayed)
	}
	for i, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		p := newPeer(t, local)
		c.permit(p.addr)
		c.sendTo(p.addr, []byte(local))
		if b, from := p.receive(); string(b) != local || from != relayed[i] {
			t.Fatalf("%q from %s", b, from)
		}
		p.send([]byte("back"), relayed[i])
		if peer, err := indicationPeer(c); err != nil || peer != p.addr {
			t.Fatalf("from %s, %v", peer, err)
		}
	}
	// One family goes, the other stays.
	c.must(turn.MethodRefresh, attribute{turn.AttrLifetime, uint32(0)}, attribute{turn.AttrRequestedAddressFamily, uint32(1 << 24)})
	four, six := newPeer(t, "127.0.0.1:0"), newPeer(t, "[::1]:0")
	if _, code := c.request(turn.MethodCreatePermission, attribute{peerAddress, four.addr}); code != 443 {
		t.Errorf("a permission in the family that went: %d", code)
	}
	c.permit(six.addr)
	c.sendTo(six.addr, []byte("still"))
	six.receive()
}

// TestUserRates drops what is over a user's packets a second, by that name.
func TestUserRates(t *testing.T) {
	r, server := start(t, plain+"  limits: {packets_per_second: 50}\n")
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	c.allocate()
	c.bind(0x4000, p.addr)
	const sent = 400
	for range sent {
		c.sendChannel(0x4000, []byte("x"))
	}
	listener := "udp://" + server.String()
	waitFor(t, "every packet's fate", func() bool {
		return metric(t, r, "packets_dropped_total", listener, "user_packets")+metric(t, r, "packets_total", "to_peer") == sent
	})
	if relayed := metric(t, r, "packets_total", "to_peer"); relayed < 10 || relayed > 200 {
		t.Errorf("%g of %d were relayed at 50 a second", relayed, sent)
	}
}

// TestNoncesOfAnArray: with one secret a relay takes the other's nonces, without it it does not.
func TestNoncesOfAnArray(t *testing.T) {
	const shared = plain + "  nonce_secret: shared-by-all-of-the-array\n"
	_, first := start(t, shared)
	_, second := start(t, shared)
	_, other := start(t, plain)
	c := newClient(t, first, "alice", "secret")
	c.allocate()
	for _, server := range []struct {
		addr netip.AddrPort
		want int
	}{{second, 437}, {other, 438}} { // 437: authenticated, and no allocation there
		c.server = server.addr
		b := c.compose(turn.MethodRefresh, turn.ClassRequest)
		c.send(b)
		if _, code := c.answer(turn.TransactionID(b[8:20])); code != server.want {
			t.Errorf("%d, want %d", code, server.want)
		}
	}
}

// TestRelayingNeedsNoMemory counts allocations of the process while packets pass both ways.
func TestRelayingNeedsNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r, server := start(t, plain+"  workers: 1\n")
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()
	c.bind(0x4000, p.addr)
	other := newPeer(t, "127.0.0.1:0") // has a permission and no channel
	frame := append([]byte{0x40, 0, 0, 172}, rtpPacket(1)...)
	send := c.compose(turn.MethodSend, turn.ClassIndication, attribute{peerAddress, other.addr}, attribute{turn.AttrData, rtpPacket(2)})
	pass := func() {
		for range 20 {
			c.send(frame)
			c.send(send)
			p.send(frame, relayed)
			other.send(frame, relayed)
		}
		drain(p.conn, 20)
		drain(other.conn, 20)
		drain(c.conn, 40)
	}
	pass()
	if n := testing.AllocsPerRun(20, pass); n > 4 { // 160 datagrams, and the test's own
		t.Errorf("%g allocations for 160 datagrams", n)
	}
	if got := metric(t, r, "packets_total", "to_client"); got < 800 {
		t.Errorf("only %g packets went to the client", got)
	}
}

var drained [2048]byte

func drain(conn *net.UDPConn, n int) {
	_ = conn.SetReadDeadline(time.Now().Add(answerWait))
	for range n {
		if _, _, err := conn.ReadFromUDPAddrPort(drained[:]); err != nil {
			return
		}
	}
}
