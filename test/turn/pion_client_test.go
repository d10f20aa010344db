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
