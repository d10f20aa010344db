package turn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	turn3 "github.com/pion/turn/v3"
	turn5 "github.com/pion/turn/v5"
)

// pionClient is what the clients of pion's two majors have in common.
type pionClient interface {
	Listen() error
	SendBindingRequest() (net.Addr, error)
	Allocate() (net.PacketConn, error)
	CreatePermission(peers ...net.Addr) error
	Close()
}

// tcpAllocation is an allocation of RFC 6062, of either major. Data connections are made by the test: v3 cannot, since it
// takes the relay's address for one of UDP.
type tcpAllocation struct {
	net.Listener
	SetDeadline func(time.Time) error
	connect     func(data net.Conn, peer *net.TCPAddr) (net.Conn, error)
	accept      func(data net.Conn) (net.Conn, error)
}

// major is one of the client libraries: v3, which the users of this project named, and the newest.
type major struct {
	name string
	// new makes a client that asks for the family of host where it can ask for one.
	new func(conn net.PacketConn, server, host string, c credential) (pionClient, error)
	tcp func(pionClient) (tcpAllocation, error)
}

var majors = []major{
	{
		name: "v3",
		new: func(conn net.PacketConn, server, _ string, c credential) (pionClient, error) {
			return turn3.NewClient(&turn3.ClientConfig{
				STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: c.name, Password: c.password, Realm: realm,
			})
		},
		tcp: func(c pionClient) (tcpAllocation, error) {
			a, err := c.(*turn3.Client).AllocateTCP()
			if err != nil {
				return tcpAllocation{}, err
			}
			return tcpAllocation{
				Listener: a, SetDeadline: a.SetDeadline,
				connect: func(data net.Conn, peer *net.TCPAddr) (net.Conn, error) { return a.DialTCPWithConn(data, "tcp", peer) },
				accept:  func(data net.Conn) (net.Conn, error) { return a.AcceptTCPWithConn(data) },
			}, nil
		},
	},
	{
		name: "v5",
		new: func(conn net.PacketConn, server, host string, c credential) (pionClient, error) {
			family := turn5.RequestedAddressFamilyIPv4
			if net.ParseIP(host).To4() == nil {
				family = turn5.RequestedAddressFamilyIPv6
			}
			return turn5.NewClient(&turn5.ClientConfig{
				STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: c.name, Password: c.password, Realm: realm,
				RequestedAddressFamily: family,
			})
		},
		tcp: func(c pionClient) (tcpAllocation, error) {
			a, err := c.(*turn5.Client).AllocateTCP()
			if err != nil {
				return tcpAllocation{}, err
			}
			return tcpAllocation{
				Listener: a, SetDeadline: a.SetDeadline,
				connect: func(data net.Conn, peer *net.TCPAddr) (net.Conn, error) { return a.DialTCPWithConn(data, "tcp", peer) },
				accept:  func(data net.Conn) (net.Conn, error) { return a.AcceptTCPWithConn(data) },
			}, nil
		},
	},
}

// credential is a user name and a password.
type credential struct{ name, password string }

// transports of a client to the relay.
var transports = []string{"udp", "tcp", "tls", "dtls"}

// dial reaches the relay from host, and returns a connection that has messages as datagrams.
func (s *subject) dial(t *testing.T, transport, host string) (conn net.PacketConn, server string) {
	t.Helper()
	server = joinHost(host, s.Open)
	if transport == "dtls" {
		server = joinHost(host, s.Closed)
	}
	var err error
	switch transport {
	case "udp":
		conn, err = net.ListenPacket("udp", joinHost(host, 0))
	case "tcp":
		var c net.Conn
		if c, err = net.Dial("tcp", server); err == nil {
			conn = turn5.NewSTUNConn(c)
		}
	case "tls":
		var c net.Conn
		if c, err = tls.Dial("tcp", server, &tls.Config{RootCAs: s.roots(t)}); err == nil {
			conn = turn5.NewSTUNConn(c)
		}
	case "dtls":
		conn, err = s.dialDTLS(t, server)
	}
	if err != nil {
		t.Fatalf("%s to %s: %v", transport, server, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, server
}

func (s *subject) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.TLS.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the test's authority has no certificate")
	}
	return pool
}

func (s *subject) dialDTLS(t *testing.T, server string) (net.PacketConn, error) {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return nil, err
	}
	c, err := dtls.DialWithOptions("udp", to, dtls.WithRootCAs(s.roots(t)), dtls.WithServerName(to.IP.String()))
	if err != nil {
		return nil, err
	}
	return datagrams{c}, nil
}

// datagrams is a connection that keeps datagrams whole, as a net.PacketConn.
type datagrams struct{ net.Conn }

func (d datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := d.Read(b)
	return n, d.RemoteAddr(), err
}

func (d datagrams) WriteTo(b []byte, _ net.Addr) (int, error) { return d.Write(b) }

// client makes a listening client of a major.
func (s *subject) client(t *testing.T, m major, transport, host string, c credential) pionClient {
	t.Helper()
	conn, server := s.dial(t, transport, host)
	client, err := m.new(conn, server, host, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	return client
}

// allocate makes a UDP allocation, and ends it with the test.
func allocate(t *testing.T, s *subject, c pionClient) net.PacketConn {
	t.Helper()
	relayed, err := c.Allocate()
	if err != nil {
		t.Fatalf("Allocate: %v", err)
	}
	t.Cleanup(func() { relayed.Close() })
	s.isRelayed(t, relayed.LocalAddr().String())
	return relayed
}

// socket opens a UDP socket of a peer.
func socket(t *testing.T, host string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", joinHost(host, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends n messages of growing length from a to b, and each of them back, and looks at every byte and at where
// each came from.
func exchange(t *testing.T, a, b net.PacketConn, n int) {
	t.Helper()
	for i := range n {
		message := bytes.Repeat([]byte{byte(i)}, shortest+i*1200/n)
		for _, way := range []struct{ from, to net.PacketConn }{{a, b}, {b, a}} {
			if err := deliver(way.from, way.to, message); err != nil {
				t.Fatalf("message %d of %d, %d bytes, %v to %v: %v", i, n, len(message),
					way.from.LocalAddr(), way.to.LocalAddr(), err)
			}
		}
	}
}

// shortest message of an exchange: over a stream pion waits for nine bytes before it looks at a frame, so that shorter
// ChannelData stays with it until something else comes.
const shortest = 5

// deliver sends one message and waits for it at the other end.
func deliver(from, to net.PacketConn, message []byte) error {
	if _, err := from.WriteTo(message, to.LocalAddr()); err != nil {
		return err
	}
	if err := to.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	buf := make([]byte, 2000)
	n, source, err := to.ReadFrom(buf)
	if err != nil {
		return err
	}
	if !bytes.Equal(buf[:n], message) {
		return fmt.Errorf("%d bytes came, other than the %d sent", n, len(message))
	}
	if got, want := addrPort(source), addrPort(from.LocalAddr()); got != want {
		return fmt.Errorf("it came from %v", got)
	}
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// Messages that a pion client exchanges in one test: the first go by Send and Data, the rest by the channel that it
// binds meanwhile.
const exchanged = 60

// TestPionClients lets both majors reach a peer, and each other, over every transport, IPv6 where they have it.
func TestPionClients(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		for _, transport := range transports {
			for _, host := range []string{"127.0.0.1", "::1"} {
				if host == "::1" && m.name == "v3" {
					continue // asks for no family, and gets IPv4
				}
				t.Run(fmt.Sprintf("%s %s %s", m.name, transport, host), func(t *testing.T) {
					t.Parallel()
					c := s.client(t, m, transport, host, credential{user, password})
					mapped, err := c.SendBindingRequest()
					if err != nil {
						t.Fatalf("Binding: %v", err)
					}
					if got := addrPort(mapped).Addr().String(); got != host {
						t.Errorf("mapped address %v, want one of %s", mapped, host)
					}
					relayed, peer := allocate(t, s, c), socket(t, host)
					if err := c.CreatePermission(peer.LocalAddr()); err != nil {
						t.Fatalf("CreatePermission: %v", err)
					}
					// The peer may speak first: the permission is there.
					if err := deliver(peer, relayed, []byte("first")); err != nil {
						t.Fatalf("peer to client: %v", err)
					}
					exchange(t, relayed, peer, exchanged)

					// Two clients of one relay: relayed address to relayed address.
					other := s.client(t, m, transport, host, credential{user, password})
					second := allocate(t, s, other)
					if err := other.CreatePermission(relayed.LocalAddr()); err != nil {
						t.Fatalf("CreatePermission: %v", err)
					}
					exchange(t, relayed, second, exchanged)
				})
			}
		}
	}
}

// A peer without a permission is not heard; with one it is.
func TestPionPermission(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := s.client(t, m, "udp", "127.0.0.1", credential{user, password})
			relayed, peer := allocate(t, s, c), socket(t, "127.0.0.1")
			if _, err := peer.WriteTo([]byte("unasked"), relayed.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := relayed.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, _, err := relayed.ReadFrom(make([]byte, 100)); err == nil {
				t.Errorf("%d bytes came without a permission", n)
			}
			if err := c.CreatePermission(peer.LocalAddr()); err != nil {
				t.Fatalf("CreatePermission: %v", err)
			}
			if err := deliver(peer, relayed, []byte("asked for")); err != nil {
				t.Fatalf("peer to client: %v", err)
			}
		})
	}
}

// An allocation outlives its lifetime by what its client does about it: a refresh at half time.
func TestPionRefreshes(t *testing.T) {
	t.Parallel()
	const lifetime = time.Minute // the shortest that the configuration takes
	s := start(t, setup{MaxLifetime: lifetime})
	for _, m := range majors {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := s.client(t, m, "udp", "127.0.0.1", credential{user, password})
			relayed, peer := allocate(t, s, c), socket(t, "127.0.0.1")
			for began := time.Now(); time.Since(began) < lifetime+5*time.Second; time.Sleep(10 * time.Second) {
				exchange(t, relayed, peer, 2)
			}
			exchange(t, relayed, peer, 2)
		})
	}
}

// stream connects to the relay by TCP.
func (s *subject) stream(t *testing.T, host string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", joinHost(host, s.Open))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPionTCPAllocation makes TCP allocations (RFC 6062): the client connects to a peer, and a peer to the client.
func TestPionTCPAllocation(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		for _, host := range []string{"127.0.0.1", "::1"} {
			if host == "::1" && m.name == "v3" {
				continue // asks for no family, and gets IPv4
			}
			t.Run(m.name+" "+host, func(t *testing.T) {
				t.Parallel()
				c := s.client(t, m, "tcp", host, credential{user, password})
				a, err := m.tcp(c)
				if err != nil {
					t.Fatalf("AllocateTCP: %v", err)
				}
				t.Cleanup(func() { a.Close() })
				s.isRelayed(t, a.Addr().String())

				peer, err := net.Listen("tcp", joinHost(host, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				active, err := a.connect(s.stream(t, host), peer.Addr().(*net.TCPAddr))
				if err != nil {
					t.Fatalf("Connect: %v", err)
				}
				defer active.Close()
				far, err := peer.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer far.Close()
				if got, want := far.RemoteAddr().String(), a.Addr().String(); got != want {
					t.Errorf("the peer sees %s, want the relayed address %s", got, want)
				}
				converse(t, active, far)

				if err := a.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				near, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatalf("peer to %v: %v", a.Addr(), err)
				}
				defer near.Close()
				passive, err := a.accept(s.stream(t, host))
				if err != nil {
					t.Fatalf("ConnectionAttempt: %v", err)
				}
				defer passive.Close()
				converse(t, passive, near)
			})
		}
	}
}

// converse sends a megabyte each way at once (coturn 4.6.1 stalls at times with more than a few buffers full, and gets
// 64 kB), ends one direction after the other, and looks at every byte.
func converse(t *testing.T, a, b net.Conn) {
	t.Helper()
	sent := make([]byte, 1<<20)
	if coturnUnderTest {
		sent = sent[:64<<10]
	}
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	done := make(chan error, 4)
	for _, way := range []struct{ from, to net.Conn }{{a, b}, {b, a}} {
		deadline := time.Now().Add(20 * time.Second)
		if err := way.from.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := way.from.Write(sent)
			done <- err
		}()
		go func() {
			got := make([]byte, len(sent))
			for n := 0; n < len(got); {
				more, err := way.to.Read(got[n:])
				if n += more; err != nil {
					done <- fmt.Errorf("after %d bytes: %w", n, err)
					return
				}
			}
			if !bytes.Equal(got, sent) {
				done <- fmt.Errorf("other bytes came than were sent")
				return
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after the other end closed: %d bytes, %v", n, err)
	}
}

// TestPionCredentials takes a name and a password from each source.
func TestPionCredentials(t *testing.T) {
	t.Parallel()
	for _, source := range credentialSources {
		t.Run(source.name, func(t *testing.T) {
			if source.causewayAlone {
				onlyCauseway(t)
			}
			t.Parallel()
			s := start(t, source.setup)
			c := source.credential(t, s)
			for _, m := range majors {
				for _, transport := range []string{"udp", "tls"} {
					client := s.client(t, m, transport, "127.0.0.1", c)
					relayed, peer := allocate(t, s, client), socket(t, "127.0.0.1")
					exchange(t, relayed, peer, 3)
				}
				wrong := s.client(t, m, "udp", "127.0.0.1", credential{c.name, c.password + "x"})
				if relayed, err := wrong.Allocate(); err == nil {
					relayed.Close()
					t.Errorf("%s: allocation with a wrong password", m.name)
				}
			}
		})
	}
}
