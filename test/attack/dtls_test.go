package attack

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"causeway/relay/turn"
)

// dtlsClient is a client that has made a DTLS handshake.
func (r *relay) dtlsClient(t testing.TB, from netip.Addr) *client {
	t.Helper()
	socket := listenUDP(t, netip.AddrPortFrom(from, 0))
	conn, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(r.secure), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, buf: make([]byte, 1<<16), user: alice, pass: passwords[alice]}
}

// dtlsHello is what a DTLS client says first.
func dtlsHello(t *testing.T) []byte {
	t.Helper()
	sink, socket := listenUDP(t, netip.AddrPortFrom(friend, 0)), listenUDP(t, netip.AddrPortFrom(friend, 0))
	conn, err := dtls.ClientWithOptions(socket, sink.LocalAddr(), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = conn.HandshakeContext(ctx) }()
	hello := bytes.Clone(next(t, sink))
	cancel()
	<-done
	_ = conn.Close()
	return hello
}

// TestHellosOfStrangers: what a ClientHello draws is shorter than itself and comes once, for it may have come in a
// victim's name. Those who never come back with their cookie are forgotten, and take no place of those who share their
// network: clients by TCP, TLS and DTLS.
func TestHellosOfStrangers(t *testing.T) {
	t.Parallel()
	const networks, each = 4, 600
	r := start(t, settings{limits: unlimited})
	hello := dtlsHello(t)
	r.whileServing(t, func(t *testing.T) {
		victim := listenUDP(t, netip.AddrPortFrom(elsewhere, 0))
		if _, err := victim.WriteToUDPAddrPort(hello, r.secure); err != nil {
			t.Fatal(err)
		}
		var drawn int
		_ = victim.SetReadDeadline(time.Now().Add(7 * time.Second)) // longer than it is remembered
		for buf := make([]byte, 1<<16); ; {
			n, _, err := victim.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			drawn += n
		}
		if drawn == 0 || drawn > len(hello) {
			t.Errorf("a ClientHello of %d bytes drew %d", len(hello), drawn)
		}
		t.Logf("%5d bytes in, %3d bytes out, %.2f times as much", len(hello), drawn, float64(drawn)/float64(len(hello)))
	})
	r.whileServing(t, func(t *testing.T) {
		began := r.holdings()
		for n := range byte(networks) {
			at := netip.AddrFrom4([4]byte{127, 66, n, 1})
			for range each {
				socket := listenUDP(t, netip.AddrPortFrom(at, 0))
				if _, err := socket.WriteToUDPAddrPort(hello, r.secure); err != nil {
					t.Fatal(err)
				}
				socket.Close()
			}
			r.visit(t, r.tcpClient(t, at))
			r.visit(t, r.tlsClient(t, at))
			r.visit(t, r.dtlsClient(t, at))
		}
		if now := r.holdings(); now.Goroutines > began.Goroutines+5*256 {
			t.Errorf("%d goroutines, %d before", now.Goroutines, began.Goroutines)
		}
	})
}

// TestLargestDatagramsOverDTLS: a record carries 16 KB, and what is longer is dropped by name; it does not end the
// connection.
func TestLargestDatagramsOverDTLS(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		c := r.dtlsClient(t, elsewhere).meet()
		conn := listenUDP(t, netip.AddrPortFrom(friend, 0))
		relayed := c.allocate()
		c.must(turn.MethodChannelBind, channel(0x4000), peer(addrOf(conn)))
		for _, n := range []int{0, 1, 1472, 4000} {
			payload := bytes.Repeat([]byte{byte(n)}, n)
			c.send(c.channelData(0x4000, payload))
			if got := next(t, conn); !bytes.Equal(got, payload) {
				t.Errorf("the peer got %d bytes of %d", len(got), n)
			}
			if _, err := conn.WriteToUDPAddrPort(payload, relayed); err != nil {
				t.Fatal(err)
			}
			if got := c.relayed(t); !bytes.Equal(got, payload) {
				t.Errorf("the client got %d bytes of %d", len(got), n)
			}
		}
		r.counting(t, counts{streamDropped(r.dtls(), "datagram_too_long"): 1}, func() {
			c.send(c.channelData(0x4000, make([]byte, 9000)))
		})
		for _, n := range []int{16381, 20000, 50000, largest} {
			r.counting(t, counts{dropped(relayPort, "oversize"): 1}, func() {
				if _, err := conn.WriteToUDPAddrPort(make([]byte, n), relayed); err != nil {
					t.Fatal(err)
				}
			})
		}
		c.must(turn.MethodRefresh, lifetime(0))
	})
}

// TestFloodOfHellos: answers to hellos are drawn from the same ration as those to other strangers' requests, whether the
// hellos come from one port or from many.
func TestFloodOfHellos(t *testing.T) {
	t.Parallel()
	const each = 3000
	hello := dtlsHello(t)
	for _, x := range []struct {
		name    string
		sockets int
	}{
		{"from one port", 1},
		{"from ten ports", 10},
		{"from three thousand ports", each},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, settings{})
			r.whileServing(t, func(t *testing.T) {
				began, replies, n := time.Now(), make(chan int, each+1), 0
				for range x.sockets {
					socket := listenUDP(t, netip.AddrPortFrom(netip.MustParseAddr("127.66.0.1"), 0))
					for range each / x.sockets {
						if _, err := socket.WriteToUDPAddrPort(hello, r.secure); err != nil {
							t.Fatal(err)
						}
					}
					_ = socket.SetReadDeadline(time.Now().Add(7 * time.Second))
					go func() {
						got, buf := 0, make([]byte, 1500)
						for {
							if _, _, err := socket.ReadFromUDPAddrPort(buf); err != nil {
								break
							}
							got++
						}
						replies <- got
					}()
				}
				for range x.sockets {
					n += <-replies
				}
				allowed := int(repliesAtOnce + repliesASecond*(time.Since(began).Seconds()+1))
				if n == 0 || n > allowed {
					t.Errorf("%d hellos drew %d answers, allowed are %d", each, n, allowed)
				}
				t.Logf("%d hellos drew %d answers", each, n)
			})
		})
	}
}
