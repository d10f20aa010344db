package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// socket is a udp listener. Everything to and from its peers goes through it.
type socket struct {
	layer *Layer
	pc    *net.UDPConn
	addr  netip.AddrPort
}

// serve reads until the socket is closed.
func (s *socket) serve() {
	l := s.layer
	buf := make([]byte, 1<<16) // as long as a datagram can be
	failed := 0
	for {
		n, from, err := s.pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// An ICMP error of an earlier send says nothing about this socket
			// (udp(7)), but one that stays must not spin.
			if failed++; failed > 1 {
				pause(l.ctx, acceptRetry)
			}
			continue
		}
		failed = 0
		s.datagram(buf[:n], unmapped(from))
	}
}

func (s *socket) datagram(b []byte, from netip.AddrPort) {
	l := s.layer
	if !l.cfg.Allow(from.Addr()) {
		l.note(DropPeerNotAllowed, "udp", from, nil)
		return
	}
	f := Flow{Network: "udp", Local: s.addr, Remote: from}
	if b = trimGap(b); len(b) == 0 {
		l.keepalives.Add(1)
		return
	}
	head := headOf(b)
	fields, _, err := inspect(head)
	switch {
	case len(b) > l.cfg.Limits.MessageSize:
		l.refuse(DropMessageSize, head, 513, f, fmt.Errorf("%d bytes", len(b)))
	case fields > l.cfg.Limits.Headers:
		l.refuse(DropHeaderCount, head, 513, f, fmt.Errorf("more than %d header fields", l.cfg.Limits.Headers))
	case err != nil:
		l.refuse(DropMalformed, head, 400, f, err)
	default:
		l.take(b, len(head), f)
	}
}

// trimGap leaves out what precedes a message in a datagram: nothing but line
// ends and zero octets is what user agents send to keep a NAT open.
func trimGap(b []byte) []byte {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n' || b[0] == 0) {
		b = b[1:]
	}
	return b
}

// send writes one datagram. An error is that of this address, or of the
// message's size; the socket goes on.
func (s *socket) send(to netip.AddrPort, b []byte) error {
	if err := s.pc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return ErrGone
	}
	_, err := s.pc.WriteToUDPAddrPort(b, to)
	if errors.Is(err, net.ErrClosed) {
		return ErrGone
	}
	return err
}
