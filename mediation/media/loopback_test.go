package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/qos"
)

// These tests are about real sockets, on the loopback.

var (
	loopPool    = netip.MustParseAddr("127.0.0.1")
	loopGateway = netip.MustParseAddr("127.0.0.2")
	loopPeer    = netip.MustParseAddr("127.0.0.3")
)

// running starts a plane over sockets, until the test ends.
func running(t *testing.T, c Config) *Plane {
	t.Helper()
	if !c.PoolAddr.IsValid() {
		c.PoolAddr, c.GatewayAddr = loopPool, loopGateway
	}
	if c.First == 0 {
		c.First, c.Last = 60000, 64000
	}
	p, err := NewPlane(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return p
}

func peer(t *testing.T, a netip.Addr) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		t.Skipf("no %v here: %v", a, err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func receive(t *testing.T, c *net.UDPConn, oob []byte) (data, control []byte) {
	t.Helper()
	b := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, nc, _, _, err := c.ReadMsgUDPAddrPort(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n], oob[:nc]
}

func mustSet(t *testing.T, b *Bridge, s Side, remote netip.AddrPort) {
	t.Helper()
	leg := plainLeg(s)
	leg.Remote = remote
	if err := b.Set(s, leg); err != nil {
		t.Fatal(err)
	}
}

// The mark of calls is on every packet on the wire, RTP and RTCP, and on none if
// marking is off.
func TestMarksOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name    string
		addr    netip.Addr
		enabled bool
		tos     byte
	}{
		{"IPv4 on", loopPool, true, 0xb8},
		{"IPv4 off", loopPool, false, 0},
		{"IPv6 on", netip.IPv6Loopback(), true, 0xb8},
		{"IPv6 off", netip.IPv6Loopback(), false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool, poolAt := peer(t, tt.addr)
			gateway, gatewayAt := peer(t, tt.addr)
			rtcp, rtcpAt := peer(t, tt.addr)
			p := running(t, Config{PoolAddr: tt.addr, GatewayAddr: tt.addr, Marks: qos.ForCalls(tt.enabled)})
			b, err := p.Open("marks")
			if err != nil {
				t.Fatal(err)
			}
			mustSet(t, b, Pool, poolAt)
			leg := plainLeg(Gateway)
			leg.Remote, leg.RemoteRTCP = gatewayAt, rtcpAt
			if err := b.Set(Gateway, leg); err != nil {
				t.Fatal(err)
			}
			askMarks(t, gateway, tt.addr.Is6())
			askMarks(t, rtcp, tt.addr.Is6())
			if _, err := pool.WriteToUDPAddrPort(talk(1, 7).bytes(), b.Local(Pool)); err != nil {
				t.Fatal(err)
			}
			_, control := receive(t, gateway, make([]byte, 128))
			if got := mark(t, control); got != tt.tos {
				t.Errorf("RTP is marked %#02x, want %#02x", got, tt.tos)
			}
			b.Close()
			_, control = receive(t, rtcp, make([]byte, 128))
			if got := mark(t, control); got != tt.tos {
				t.Errorf("RTCP is marked %#02x, want %#02x", got, tt.tos)
			}
		})
	}
}

func askMarks(t *testing.T, c *net.UDPConn, v6 bool) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if v6 {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

func mark(t *testing.T, control []byte) byte {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	return messages[0].Data[0] // the low byte, where it is more than one
}

// A peer whose host says that nobody listens there is counted, and hears what comes
// when somebody does.
func TestUnreachablePeer(t *testing.T) {
	pool, poolAt := peer(t, loopPool)
	gateway, gatewayAt := peer(t, loopPeer)
	p := running(t, Config{})
	b, err := p.Open("unreachable")
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, b, Pool, poolAt)
	mustSet(t, b, Gateway, gatewayAt)
	gateway.Close()
	i := 0
	send := func() {
		i++
		if _, err := pool.WriteToUDPAddrPort(talk(i, 7).bytes(), b.Local(Pool)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for deadline := time.Now().Add(10 * time.Second); b.Stats()[Gateway].Send.Drops["unreachable"] == 0; send() {
		if time.Now().After(deadline) {
			t.Fatalf("drops %v", b.Stats()[Gateway].Send.Drops)
		}
	}
	if n := counter(p, "dropped_packets_total", "gateway", "unreachable"); n == 0 {
		t.Error("the plane did not count it")
	}
	back, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(gatewayAt))
	if err != nil {
		return // somebody else has the port by now
	}
	defer back.Close()
	send()
	if data, _ := receive(t, back, nil); len(data) != fixedHeader+frame {
		t.Errorf("received %x", data)
	}
}

// Every pair of both addresses makes a bridge, and comes back: two thousand calls
// opened, used and closed, twice.
func TestEveryPairIsUsed(t *testing.T) {
	if raceEnabled {
		t.Skip("eight thousand sockets under the race detector take longer than they tell")
	}
	const calls = 2000
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const need = 4*calls + 200
	if limit.Max < need {
		t.Skipf("may open %d files, needs %d", limit.Max, need)
	}
	limit.Cur = max(limit.Cur, need)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	p := running(t, Config{Quarantine: time.Nanosecond})
	far, farAt := peer(t, loopPeer)
	for round := range 2 {
		free := min(p.PortsFree(Pool), p.PortsFree(Gateway))
		if free != calls {
			t.Fatalf("round %d: %d pairs free", round, free)
		}
		bridges := openAll(t, p, calls)
		seen := map[netip.AddrPort]bool{}
		for _, b := range bridges {
			seen[b.Local(Pool)], seen[b.Local(Gateway)] = true, true
		}
		// Ports of this range may belong to outgoing connections of the machine.
		if len(bridges) < calls*9/10 || len(seen) != 2*len(bridges) {
			t.Fatalf("round %d: %d bridges on %d addresses", round, len(bridges), len(seen))
		}
		if len(bridges) == calls {
			if _, err := p.Open("one too many"); !errors.Is(err, ErrNoPorts) {
				t.Errorf("round %d: opening one more: %v", round, err)
			}
		}
		for _, b := range bridges[:50] {
			mustSet(t, b, Pool, farAt)
			mustSet(t, b, Gateway, farAt)
			in := talk(1, 7)
			if _, err := far.WriteToUDPAddrPort(in.bytes(), b.Local(Pool)); err != nil {
				t.Fatal(err)
			}
			data, _ := receive(t, far, nil)
			if !bytes.Equal(data[fixedHeader:], in.body) {
				t.Fatalf("round %d: received %x", round, data)
			}
		}
		for _, b := range bridges {
			b.Close()
		}
		if p.Bridges() != 0 {
			t.Errorf("round %d: %d bridges left", round, p.Bridges())
		}
	}
}

func openAll(t *testing.T, p *Plane, n int) (bridges []*Bridge) {
	t.Helper()
	for i := range n {
		b, err := p.Open(fmt.Sprint("call-", i))
		if errors.Is(err, ErrNoPorts) {
			return bridges
		}
		if err != nil {
			t.Fatal(err)
		}
		bridges = append(bridges, b)
	}
	return bridges
}

// Everything at once, from many goroutines: for the race detector.
func TestConcurrentUse(t *testing.T) {
	p := running(t, Config{Workers: 2, Quarantine: time.Nanosecond})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			far, farAt := peer(t, loopPeer)
			for i := range 10 {
				b, err := p.Open(fmt.Sprint(g, "-", i))
				if err != nil {
					t.Error(err)
					return
				}
				var inner sync.WaitGroup
				inner.Go(func() {
					for n := range 20 {
						mustSet(t, b, Pool, farAt)
						leg := secureLeg(Gateway, profiles[n%3])
						leg.Remote = farAt
						if err := b.Set(Gateway, leg); err != nil {
							t.Error(err)
						}
					}
				})
				inner.Go(func() {
					for n := range 50 {
						far.WriteToUDPAddrPort(talk(n, 7).bytes(), b.Local(Pool))
						far.WriteToUDPAddrPort(talk(n, 7).bytes(), b.Local(Gateway))
					}
				})
				inner.Go(func() {
					for range 10 {
						b.Stats()
						b.Active(Pool)
						p.Counters()
						p.PortsFree(Pool)
					}
				})
				inner.Wait()
				inner.Go(func() { b.Close() })
				inner.Go(func() { b.Close() })
				inner.Wait()
			}
		})
	}
	wg.Wait()
	if p.Bridges() != 0 {
		t.Errorf("%d bridges left", p.Bridges())
	}
}

// A flood of what is not the peer's must not disturb what is (RFC 3711 section
// 9.5.1 has the authentication for that).
func TestFloodOfForgedPackets(t *testing.T) {
	p := running(t, Config{Workers: 1})
	phoneConn, phoneAt := peer(t, loopPeer)
	gateway, gatewayAt := peer(t, loopPeer)
	forger, _ := peer(t, loopPeer) // the phone's address, and another port
	b, err := p.Open("flood")
	if err != nil {
		t.Fatal(err)
	}
	leg := secureLeg(Pool, AES128_CM_80)
	leg.Remote = phoneAt
	if err := b.Set(Pool, leg); err != nil {
		t.Fatal(err)
	}
	mustSet(t, b, Gateway, gatewayAt)
	phone := newPhone(t, leg.SRTP)
	const calls, forged = 100, 100
	for i := range calls {
		for j := range forged {
			bad := talk(i, uint32(1000*i+j)).bytes()
			if _, err := forger.WriteToUDPAddrPort(append(bad, make([]byte, 10)...), b.Local(Pool)); err != nil {
				t.Fatal(err)
			}
		}
		in := talk(i, 7)
		if _, err := phoneConn.WriteToUDPAddrPort(phone.protect(in.bytes()), b.Local(Pool)); err != nil {
			t.Fatal(err)
		}
		data, _ := receive(t, gateway, nil)
		if !bytes.Equal(data[fixedHeader:], in.body) {
			t.Fatalf("packet %d changed", i)
		}
	}
	st := b.Stats()[Pool].Receive
	if st.Packets != calls || *st.Lost != 0 || st.Drops["authentication"] != calls*forged {
		t.Errorf("%+v", st)
	}
}
