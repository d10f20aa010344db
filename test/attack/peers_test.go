package attack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"causeway/relay/turn"
	"causeway/test/rig"
)

// special4 are the first and last addresses of IANA's IPv4 special-purpose registry and of multicast, and addresses in
// them that somebody would like to reach from inside.
var special4 = []string{
	"0.0.0.0", "0.0.0.1", "0.255.255.255", // this network; 0.0.0.0 reaches this host on Linux
	"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", // private
	"100.64.0.0", "100.127.255.255", // shared
	"100.100.100.200", // metadata of a cloud
	"127.0.0.1", "127.255.255.255", "127.0.0.53",
	"169.254.0.0", "169.254.255.255",
	"169.254.169.254", "169.254.170.2", // metadata of clouds
	"192.0.0.0", "192.0.0.255", "192.0.0.192", // protocol assignments; metadata of a cloud
	"192.0.2.0", "192.0.2.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255", // documentation
	"192.31.196.0", "192.31.196.255", "192.52.193.0", "192.52.193.255", "192.175.48.0", "192.175.48.255",
	"192.88.99.0", "192.88.99.255",
	"198.18.0.0", "198.19.255.255", // benchmarks
	"224.0.0.0", "224.0.0.251", "239.255.255.255", // multicast
	"240.0.0.0", "255.255.255.254", "255.255.255.255", // reserved, broadcast
}

// own6 is a relay address here, which TestForbiddenPorts is about.
var own6 = netip.IPv6Loopback()

// special6 are the same of IPv6, and of what is not global unicast.
var special6 = []string{
	"::", "::2", "100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::1",
	"1::1", "4000::1", "8000::1", "e000::1", // nobody's
	"2001::1", "2001:1::1", "2001:1::2", "2001:1::3", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1",
	"2001:1f:ffff::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::1", "2001:db8::", "2001:db8:ffff::1",
	"2002::1", "2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1",
	"fc00::1", "fd00:ec2::254", "fdff:ffff::1", // private; metadata of a cloud
	"fe80::1", "febf:ffff::1", "fec0::1", "feff::1", "ff00::1", "ff02::1", "ff0e::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}

// spellings are the ways to write an IPv4 address in an IPv6 address.
var spellings = []struct {
	name  string
	spell func(a [4]byte) string
}{
	{"mapped", func(a [4]byte) string { return fmt.Sprintf("::ffff:%x:%x", hi(a), lo(a)) }},
	{"compatible", func(a [4]byte) string { return fmt.Sprintf("::%x:%x", hi(a), lo(a)) }},
	{"translated", func(a [4]byte) string { return fmt.Sprintf("::ffff:0:%x:%x", hi(a), lo(a)) }},
	{"NAT64", func(a [4]byte) string { return fmt.Sprintf("64:ff9b::%x:%x", hi(a), lo(a)) }},
	{"local NAT64", func(a [4]byte) string { return fmt.Sprintf("64:ff9b:1::%x:%x", hi(a), lo(a)) }},
	{"6to4", func(a [4]byte) string { return fmt.Sprintf("2002:%x:%x::1", hi(a), lo(a)) }},
	{"Teredo client", func(a [4]byte) string { return fmt.Sprintf("2001:0:808:808:0:ffff:%x:%x", ^hi(a), ^lo(a)) }},
	{"Teredo server", func(a [4]byte) string { return fmt.Sprintf("2001:0:%x:%x:0:ffff:f7f7:f7f7", hi(a), lo(a)) }},
	{"ISATAP", func(a [4]byte) string { return fmt.Sprintf("2606:4700::5efe:%x:%x", hi(a), lo(a)) }},
	{"ISATAP with a global address", func(a [4]byte) string { return fmt.Sprintf("2606:4700::200:5efe:%x:%x", hi(a), lo(a)) }},
}

func hi(a [4]byte) uint16 { return binary.BigEndian.Uint16(a[:]) }
func lo(a [4]byte) uint16 { return binary.BigEndian.Uint16(a[2:]) }

// TestForbiddenPeers: no address that is special, or this host's own, is reached by any way in any spelling.
func TestForbiddenPeers(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		o := r.outbound(t)
		try := func(name string, list []netip.Addr) {
			t.Run(name, func(t *testing.T) { o.all(t, list) })
		}
		var plain4, plain6 []netip.Addr
		for _, a := range special4 {
			plain4 = append(plain4, netip.MustParseAddr(a))
		}
		for _, a := range special6 {
			plain6 = append(plain6, netip.MustParseAddr(a))
		}
		try("IPv4", plain4)
		try("IPv6", plain6)
		for _, s := range spellings {
			var list []netip.Addr
			for _, a := range plain4 {
				if spelled := netip.MustParseAddr(s.spell(a.As4())); spelled != own6 {
					list = append(list, spelled)
				}
			}
			try(s.name, list)
		}
		try("this host", interfaces(t))
	})
}

// interfaces are the addresses of this machine.
func interfaces(t *testing.T) (list []netip.Addr) {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if p.Addr() != own6 {
			list = append(list, p.Addr().WithZone(""))
		}
	}
	return list
}

// outbound is a client with an allocation of every kind, and victims that nothing is to reach.
type outbound struct {
	relay    *relay
	udp      *client // both families
	tcp      [2]*client
	victim   *net.UDPConn
	listener <-chan net.Conn
	port     uint16 // of the victims
}

func (r *relay) outbound(t *testing.T) *outbound {
	t.Helper()
	o := &outbound{relay: r, udp: r.udpClient(t, elsewhere).meet()}
	o.udp.allocate(bothIP)
	for i, family := range []attr{number(turn.AttrRequestedAddressFamily, 1<<24), onlyIPv6} {
		o.tcp[i] = r.tcpClient(t, elsewhere).meet()
		o.tcp[i].must(turn.MethodAllocate, relayTCP, family)
	}
	// Not on a relay port, which could be reached.
	at := netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(rig.Port(t)))
	o.victim, o.port = listenUDP(t, at), at.Port()
	_, o.listener = listenTCP(t, at)
	return o
}

// all tries each address by CreatePermission, ChannelBind and Connect, which answer 403, and by Send, which is not
// answered.
func (o *outbound) all(t *testing.T, list []netip.Addr) {
	o.udp.t, o.tcp[0].t, o.tcp[1].t = t, t, t
	want := counts{answered(turn.CodeForbidden): 3 * len(list), dropped(o.relay.udp(), "no_permission"): len(list)}
	o.relay.counting(t, want, func() {
		for _, a := range list {
			p := netip.AddrPortFrom(a, o.port)
			connecting := o.tcp[1]
			if a.Is4() {
				connecting = o.tcp[0]
			}
			for _, got := range []struct {
				by   string
				code int
			}{
				{"CreatePermission", o.udp.ask(turn.MethodCreatePermission, peer(p)).code},
				{"ChannelBind", o.udp.ask(turn.MethodChannelBind, channel(0x4000), peer(p)).code},
				{"Connect", connecting.ask(turn.MethodConnect, peer(p)).code},
			} {
				if got.code != turn.CodeForbidden {
					t.Errorf("%s to %v: %d, want 403", got.by, a, got.code)
				}
			}
			o.udp.send(o.udp.indication(peer(p), data([]byte("hello"))))
		}
		o.udp.barrier()
	})
	o.untouched(t)
}

// untouched fails the test if anything has reached a victim.
func (o *outbound) untouched(t *testing.T) {
	t.Helper()
	_ = o.victim.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, from, err := o.victim.ReadFromUDPAddrPort(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes from %v reached a socket that nothing may reach", n, from)
	}
	select {
	case conn := <-o.listener:
		t.Errorf("%v connected to a socket that nothing may reach", conn.RemoteAddr())
	default:
	}
}

// TestForbiddenPorts: the relay's own address has a permission to give, for two clients of one relay may talk, but only
// its relay ports are reached: neither its listeners nor anything else there, nor may those talk to a client.
func TestForbiddenPorts(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		c, connecting := r.udpClient(t, elsewhere).meet(), r.tcpClient(t, elsewhere).meet()
		connecting6 := r.tcpClient(t, elsewhere).meet()
		relayed := c.allocate(bothIP)
		connecting.must(turn.MethodAllocate, relayTCP)
		connecting6.must(turn.MethodAllocate, relayTCP, onlyIPv6)
		c.must(turn.MethodCreatePermission, peer(netip.AddrPortFrom(r.host, 1)), peer(netip.AddrPortFrom(own6, 1)))
		service := listenUDP(t, netip.AddrPortFrom(r.host, uint16(rig.Port(t))))
		var list []netip.AddrPort
		for _, port := range []uint16{0, 1, 22, 53, r.open.Port(), r.secure.Port(), r.admin.Port(), addrOf(service).Port(), 49999, 60000, 65535} {
			list = append(list, netip.AddrPortFrom(r.host, port), netip.AddrPortFrom(own6, port))
		}
		want := counts{answered(turn.CodeForbidden): 2 * len(list), dropped(r.udp(), "policy"): len(list)}
		r.counting(t, want, func() {
			for _, p := range list {
				connecting := connecting
				if p.Addr().Is6() {
					connecting = connecting6
				}
				if code := c.ask(turn.MethodChannelBind, channel(0x4000), peer(p)).code; code != 403 {
					t.Errorf("ChannelBind to %v: %d, want 403", p, code)
				}
				if code := connecting.ask(turn.MethodConnect, peer(p)).code; code != 403 {
					t.Errorf("Connect to %v: %d, want 403", p, code)
				}
				c.send(c.indication(peer(p), data([]byte("hello"))))
			}
			c.barrier()
		})
		r.counting(t, counts{dropped(relayPort, "policy"): 1}, func() {
			if _, err := service.WriteToUDPAddrPort([]byte("hello"), relayed); err != nil {
				t.Fatal(err)
			}
		})
		// Of a port that cannot be, nothing is known at all.
		peerless := netip.AddrPortFrom(friend, 0)
		if code := c.ask(turn.MethodChannelBind, channel(0x4000), peer(peerless)).code; code != 403 {
			t.Errorf("ChannelBind to port 0: %d, want 403", code)
		}
		if len(c.waits) > 0 {
			t.Errorf("the client got %x", c.waits[0])
		}
	})
}

// TestUnwantedPeers: what comes to a relayed address from somebody without a permission does not come to the client.
func TestUnwantedPeers(t *testing.T) {
	t.Parallel()
	r := start(t, settings{})
	r.whileServing(t, func(t *testing.T) {
		c := r.udpClient(t, elsewhere).meet()
		relayed := c.allocate(bothIP)
		c.must(turn.MethodCreatePermission, peer(netip.AddrPortFrom(friend, 1)))
		list := []netip.Addr{netip.MustParseAddr("127.8.0.2"), netip.MustParseAddr("127.0.0.1"), elsewhere, home}
		const each = 20 // no more than a relay port's queue holds
		r.counting(t, counts{dropped(relayPort, "no_permission"): each * len(list)}, func() {
			for _, a := range list {
				conn := listenUDP(t, netip.AddrPortFrom(a, 0))
				for range each {
					if _, err := conn.WriteToUDPAddrPort(make([]byte, 160), relayed); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
		c.barrier()
		if len(c.waits) > 0 {
			t.Errorf("the client got %x", c.waits[0])
		}
		// A peer's connections need one too.
		passive := r.tcpClient(t, elsewhere).meet()
		a := passive.must(turn.MethodAllocate, relayTCP)
		at, err := a.msg.Addr(turn.AttrXORRelayedAddress)
		if err != nil {
			t.Fatal(err)
		}
		r.counting(t, counts{connections("forbidden"): len(list), dropped(relayPort, "no_permission"): len(list)}, func() {
			for _, a := range list {
				if got := turnedAway(a, at); got != "" {
					t.Errorf("%v, a peer without a permission: %s", a, got)
				}
			}
		})
	})
}

// listenTCP is a peer that takes connections at an address; port 0 is any. They are closed when the test is over.
func listenTCP(t testing.TB, at netip.AddrPort) (netip.AddrPort, <-chan net.Conn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 64)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			accepted <- conn
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), accepted
}

// turnedAway connects and returns what came of it; "" if the connection was reset, be it before connect has seen it.
func turnedAway(from netip.Addr, to netip.AddrPort) string {
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := d.Dial("tcp", to.String())
	if err == nil {
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	if errors.Is(err, syscall.ECONNRESET) {
		return ""
	}
	return fmt.Sprint(err)
}
