package ua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// Relay is a TURN server that a call's media goes through.
type Relay struct {
	Server             netip.AddrPort // reached by UDP
	Username, Password string
}

// allocateTime bounds how long an endpoint waits for its relayed address.
const allocateTime = 5 * time.Second

// socket is where RTP or RTCP of a call is sent and received.
type socket interface {
	// read waits for a datagram; class is its traffic class, 0 if that is not known. The error is net.ErrClosed after
	// close.
	read(buf []byte) (n int, class uint8, from netip.AddrPort, err error)
	write(b []byte, to netip.AddrPort) error
	local() netip.AddrPort // what the peer is told
	permit(peer netip.AddrPort) error
	close() error
}

// udpSocket is a socket of the host.
type udpSocket struct {
	conn    *net.UDPConn
	control []byte
}

func newUDPSocket(conn *net.UDPConn) *udpSocket {
	askForMarks(conn)
	return &udpSocket{conn: conn, control: make([]byte, 64)}
}

func (s *udpSocket) read(buf []byte) (int, uint8, netip.AddrPort, error) {
	n, cn, _, from, err := s.conn.ReadMsgUDPAddrPort(buf, s.control)
	return n, trafficClass(s.control[:cn]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (s *udpSocket) write(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}

func (s *udpSocket) local() netip.AddrPort         { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }
func (s *udpSocket) permit(_ netip.AddrPort) error { return nil }
func (s *udpSocket) close() error                  { return s.conn.Close() }

// relayedSocket is an allocation on a relay.
type relayedSocket struct {
	conn   *net.UDPConn // to the relay
	client *turn.Client
	packet net.PacketConn // what the allocation sends and receives
}

// newRelayedSocket allocates. It takes conn over.
func newRelayedSocket(conn *net.UDPConn, r *Relay) (*relayedSocket, error) {
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: r.Server.String(), Username: r.Username, Password: r.Password, Conn: conn, LoggerFactory: quiet,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("relay %s: %w", r.Server, err), conn.Close())
	}
	s := &relayedSocket{conn: conn, client: client}
	if err = client.Listen(); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), allocateTime)
		defer cancel()
		s.packet, err = client.AllocateWithContext(ctx)
	}
	if err != nil {
		client.Close()
		return nil, errors.Join(fmt.Errorf("allocate on relay %s: %w", r.Server, err), conn.Close())
	}
	return s, nil
}

func (s *relayedSocket) read(buf []byte) (int, uint8, netip.AddrPort, error) {
	n, from, err := s.packet.ReadFrom(buf)
	if err != nil {
		return 0, 0, netip.AddrPort{}, net.ErrClosed // its only error
	}
	peer := from.(*net.UDPAddr).AddrPort()
	return n, 0, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), nil
}

func (s *relayedSocket) write(b []byte, to netip.AddrPort) error {
	_, err := s.packet.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

func (s *relayedSocket) local() netip.AddrPort { return s.packet.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *relayedSocket) permit(peer netip.AddrPort) error {
	return s.client.CreatePermission(net.UDPAddrFromAddrPort(peer))
}

// close gives the allocation back.
func (s *relayedSocket) close() error {
	err := s.packet.Close()
	s.client.Close()
	return errors.Join(err, s.conn.Close())
}
