package attack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"causeway/relay/turn"
	"causeway/test/rig"
)

// TestSlowStreams: a connection that keeps a place and makes nothing of it is closed in its time, whatever little it
// does. Those who come by TCP and TLS meanwhile find the relay as quick as ever.
func TestSlowStreams(t *testing.T) {
	t.Parallel()
	const each = 20
	r := start(t, settings{limits: unlimited})
	hello := clientHello(t)
	r.whileServing(t, func(t *testing.T) {
		request := r.udpClient(t, elsewhere).plain(turn.MethodBinding)
		endless := claiming(append(clone(request), make([]byte, 64)...), 64)
		kinds := []struct {
			name   string
			secure bool // by the port for TLS alone
			do     func(conn net.Conn)
			reason string
		}{
			{"not a byte", false, func(net.Conn) {}, "no_first_byte"},
			{"half a header", false, write(request[:10]), "no_first_frame"},
			{"a header without its message", false, write(claiming(request, 64)), "no_first_frame"},
			{"a byte a second", false, drip(endless), "no_first_frame"},
			{"a byte of TLS", false, write(hello[:1]), "handshake_timeout"},
			{"half a ClientHello", false, write(hello[:len(hello)/2]), "handshake_timeout"},
			{"a ClientHello and no more", false, write(hello), "handshake_timeout"},
			{"a ClientHello, a byte a second", false, drip(hello), "handshake_timeout"},
			{"TLS port, not a byte", true, func(net.Conn) {}, "no_first_byte"},
			{"TLS port, half a ClientHello", true, write(hello[:len(hello)/2]), "handshake_timeout"},
			{"a second message that never ends", false, write(append(clone(request), request[:19]...)), "slow_frame"},
			{"ChannelData that never ends", false, write([]byte{0x40, 0, 4, 0, 1}), "no_first_frame"},
			{"TLS and no message", false, func(conn net.Conn) { _ = tls.Client(conn, tlsConfig(t)).Handshake() }, "no_first_frame"},
		}
		want := counts{}
		for _, k := range kinds {
			listener := r.tcp()
			if k.secure {
				listener = r.tls()
			}
			want[ended(listener, k.reason)] += each
		}
		r.counting(t, want, func() {
			for i, k := range kinds {
				to := r.open
				if k.secure {
					to = r.secure
				}
				for range each {
					conn := dialTCP(t, netip.AddrFrom4([4]byte{127, 66, 1 + byte(i), 1}), to)
					go k.do(conn)
				}
			}
		})
	})
}

// TestSlowStreamsTakeNoPlace: while as many slow connections as one network may have are open, clients of other networks
// come and go by TCP and TLS.
func TestSlowStreamsTakeNoPlace(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited})
	r.whileServing(t, func(t *testing.T) {
		for range 250 {
			go drip(make([]byte, 100))(dialTCP(t, netip.MustParseAddr("127.66.0.1"), r.open))
		}
		for range 10 {
			r.visit(t, r.tcpClient(t, home))
			r.visit(t, r.tlsClient(t, home))
		}
	})
}

// TestTooManyStreams: one network has so many connections and no more, and all together as well. Those that are refused
// cost nothing, and a place that becomes free is anybody's.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	const each, all, refusals = 8, 20, 200
	r := start(t, settings{limits: unlimited + ", tcp_clients_per_prefix: 8, tcp_clients: 20"})
	from := func(network byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 66, network, 1}) }
	r.whileServing(t, func(t *testing.T) {
		var open []*client
		// Having said something, they may stay for a minute.
		enter := func(c *client) {
			c.barrier()
			open = append(open, c)
		}
		refuse := func(reason string, from func() netip.Addr) {
			t.Helper()
			r.counting(t, counts{ended(r.tcp(), reason): refusals}, func() {
				for range refusals {
					if got := turnedAway(from(), r.open); got != "" {
						t.Fatalf("a connection too many: %s", got)
					}
				}
			})
		}
		for range each {
			enter(r.tcpClient(t, from(1)))
		}
		refuse("too_many_from_prefix", func() netip.Addr { return from(1) })
		r.visit(t, r.tcpClient(t, home))
		for i := len(open); i < all; i++ {
			enter(r.tlsClient(t, from(byte(i))))
		}
		network := byte(100)
		refuse("too_many_clients", func() netip.Addr { network++; return from(network) })
		open[0].conn.Close()
		time.Sleep(100 * time.Millisecond)
		r.visit(t, r.tcpClient(t, home))
	})
}

// TestStreamsThatDoNotRead: what a client does not read is not kept for it. Answers to its requests end the connection,
// and what peers send it is dropped.
func TestStreamsThatDoNotRead(t *testing.T) {
	t.Parallel()
	r := start(t, settings{limits: unlimited + ", packets_per_second: 0, bytes_per_second: 0"})
	r.whileServing(t, func(t *testing.T) {
		t.Run("answers", func(t *testing.T) {
			c := r.tcpClient(t, elsewhere)
			request := c.plain(turn.MethodAllocate) // the shortest whose answer is long
			var many []byte
			for range 1000 {
				many = append(many, request...)
			}
			r.ends(t, r.tcp(), "outbound_queue_full", func() {
				_ = c.conn.SetWriteDeadline(time.Now().Add(2 * patience))
				for sent := 0; ; sent += len(many) {
					if _, err := c.conn.Write(many); errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
						t.Logf("closed after %d KB of requests", sent>>10)
						break
					} else if err != nil {
						t.Fatal(err)
					}
				}
			})
			if left := r.inKernel(t, c); left != "" {
				t.Errorf("the kernel has the connection in %s", left)
			}
		})
		// The relay has written its answers and has nothing more to do with them; the kernel has them, for ten seconds.
		t.Run("answers to somebody who has ended", func(t *testing.T) {
			c := r.tcpClient(t, elsewhere)
			request := c.plain(turn.MethodAllocate)
			for range 10000 {
				c.send(request)
			}
			if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 2*patience, "what nobody reads goes", func() string { return r.inKernel(t, c) })
		})
		t.Run("media", func(t *testing.T) {
			c := r.tcpClient(t, elsewhere).meet()
			relayed := c.allocate()
			conn := listenUDP(t, netip.AddrPortFrom(friend, 0))
			c.must(turn.MethodChannelBind, channel(0x4000), peer(addrOf(conn)))
			before := r.metrics()
			name := prefix + streamDropped(r.tcp(), "outbound_queue_full")
			for deadline := time.Now().Add(patience); r.metrics()[name] == before[name]; {
				for range 500 {
					if _, err := conn.WriteToUDPAddrPort(make([]byte, 1200), relayed); err != nil {
						t.Fatal(err)
					}
				}
				if time.Now().After(deadline) {
					t.Fatal("nothing is dropped")
				}
			}
			// The client is still there, and what it reads now is whole.
			deadline := time.Now().Add(patience)
			id := c.request(turn.MethodRefresh, lifetime(0))
			c.send(id)
			for {
				b, err := c.receive(time.Until(deadline))
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := response(b, id); ok {
					return
				}
				if number, payload, err := turn.ParseChannelData(b, true); err != nil || number != 0x4000 || len(payload) != 1200 {
					t.Fatalf("channel %x with %d bytes, %v", number, len(payload), err)
				}
			}
		})
	})
}

// ends has a connection end for a reason.
func (r *relay) ends(t *testing.T, listener, reason string, attack func()) {
	t.Helper()
	series := prefix + ended(listener, reason)
	before := r.metrics().value(t, series)
	attack()
	rig.Eventually(t, patience, "the connection's end", func() string {
		if got := r.metrics().value(t, series); got != before+1 {
			return fmt.Sprintf("%s is %v, was %v", series, got, before)
		}
		return ""
	})
}

// inKernel says what the kernel still has of the relay's end of a connection.
func (r *relay) inKernel(t *testing.T, c *client) string {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	// Addresses are printed in the machine's own byte order, ports are not.
	ours, theirs := fmt.Sprintf(":%04X", r.open.Port()), fmt.Sprintf(":%04X", c.local().Port())
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasSuffix(f[1], ours) && strings.HasSuffix(f[2], theirs) {
			return "state " + f[3] + ", queues " + f[4]
		}
	}
	return ""
}

func write(b []byte) func(net.Conn) {
	return func(conn net.Conn) { _, _ = conn.Write(b) }
}

// drip writes a byte a second, until the connection is closed.
func drip(b []byte) func(net.Conn) {
	return func(conn net.Conn) {
		for i := range b {
			if _, err := conn.Write(b[i : i+1]); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
}

// clientHello is what a TLS client says first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go func() { _ = tls.Client(there, tlsConfig(t)).Handshake() }()
	head := make([]byte, 5)
	if _, err := io.ReadFull(here, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(here, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}
