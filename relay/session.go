package relay

import (
	"net/netip"
	"time"

	"causeway/internal/netio"
	"causeway/relay/auth"
	"causeway/relay/route"
	"causeway/relay/stream"
	"causeway/relay/turn"
)

// session is what forwarding needs of one allocation; the protocol's side of it is in the worker's turn.Machine. It
// belongs to its worker.
type session struct {
	worker *worker
	id     turn.ID
	path   route.Path
	lease  auth.Lease

	// The client: a UDP listener and an address, or a stream.
	listener *listener
	conn     *stream.Conn
	source   turn.Source
	claimed  netio.Port // of this worker's, for a client that the kernel would give to another; nil if there is none
	moving   *moving    // nil: nowhere

	ends [2]relayEnd // by turn.Family
	tcp  *tcpSession // RFC 6062; nil for UDP
}

// moving is where a client moves to (RFC 8016), until it is heard from there.
type moving struct {
	to      turn.Source
	claimed netio.Port // as a session's
}

// relayEnd is one relayed transport address and the receiver of what peers send to it.
type relayEnd struct {
	session *session
	port    netio.Port
}

// toPeer sends n bytes of data, which begin at off in the packet, to a peer that the caller has found permitted. What a
// stream client sends has no TTL and TOS of its own, so it leaves with the host's (RFC 8656 section 15).
func (s *session) toPeer(now int64, p *netio.Packet, peer netip.AddrPort, off, n int, fates *Fates) {
	end := &s.ends[turn.FamilyOf(peer.Addr())]
	switch {
	case end.port == nil:
		fates[NoFamily]++
		return
	case n > maxUDP: // a stream's frame holds more
		fates[Oversize]++
		return
	case p.TTL == 1:
		fates[HopLimit]++
		return
	case !s.spend(now, n, fates):
		return
	}
	p.Buf.Trim(off)
	p.Buf.Resize(n)
	if p.TTL > 0 {
		p.TTL-- // RFC 8656 section 13; from IPv4 to IPv4, of which it says nothing, as in RFC 5766 section 12
	}
	s.path.ToPeer.Feed(p.At, p.Buf.Bytes())
	end.port.Send(p, peer)
}

// transport is how the client is reached.
func (s *session) transport() turn.Transport {
	if s.conn == nil {
		return turn.UDP
	}
	return s.conn.Transport()
}

// spend takes a packet from the rates of the user.
func (s *session) spend(now int64, n int, fates *Fates) bool {
	switch s.lease.Spend(now, n) {
	case auth.OverPackets:
		fates[UserPackets]++
	case auth.OverBytes:
		fates[UserBytes]++
	case auth.OverBandwidth:
		fates[Bandwidth]++
	default:
		return true
	}
	return false
}

// Receive takes what peers sent to a relayed address. A panic ends the allocation, and nothing else.
func (e *relayEnd) Receive(now time.Time, batch []netio.Packet) {
	defer e.session.guard(now)
	nano := now.UnixNano()
	for i := range batch {
		e.session.toClient(nano, &batch[i])
	}
}

// guard is deferred around what is done for one allocation alone.
func (s *session) guard(now time.Time) {
	p := recover()
	if p == nil {
		return
	}
	s.worker.panicked(p, "allocation", formatID(s.id))
	actions, _ := s.worker.machine.Kill(s.id)
	s.worker.do(now, actions)
}

// toClient wraps a peer's datagram for the client: in ChannelData if a channel is bound to the peer, otherwise in a
// Data indication (RFC 8656 sections 11.3 and 12.7).
func (s *session) toClient(now int64, p *netio.Packet) {
	w, fates := s.worker, &s.worker.peerFates
	channel, permitted := s.path.Peer(p.From)
	switch {
	case !permitted:
		fates[NoPermission]++
		return
	case (channel == 0 || w.relay.lapsed(p.From)) && !w.relay.policy.Endpoint(p.From, auth.UDPIn).Allowed:
		fates[Policy]++
		return
	case p.Cut:
		fates[Oversize]++
		return
	case p.TTL == 1:
		fates[HopLimit]++
		return
	}
	n := p.Buf.Len()
	if !s.spend(now, n, fates) {
		return
	}
	payload := p.Buf.Bytes()
	switch {
	case !w.wrap(p, channel, s.transport()):
		fates[Oversize]++
	case s.conn != nil:
		if !s.conn.Send(p.Buf.Bytes(), stream.Media) {
			fates[ClientQueue]++
			return
		}
		s.path.ToClient.Feed(p.At, payload)
	case s.listener == nil:
		fates[ClientGone]++
	default:
		if p.TTL > 0 {
			p.TTL--
		}
		s.path.ToClient.Feed(p.At, payload)
		s.listener.port.Send(p, s.source.Client)
	}
}

// Unreachable tells the client what ICMP said about a packet of its own (RFC 8656 section 11.5). Nobody vouches for
// ICMP, so it changes nothing here; and only a peer with a permission is worth the client's time.
func (e *relayEnd) Unreachable(now time.Time, icmp netio.ICMP) {
	s := e.session
	defer s.guard(now)
	if !s.path.Permitted(icmp.Peer.Addr()) {
		s.worker.peerFates[NoPermission]++
		return
	}
	if icmp.Local { // the host's own interface is the link that the packet did not fit
		icmp.Type, icmp.Code = 3, 4 // fragmentation needed (RFC 1191 section 4)
		if icmp.Peer.Addr().Is6() {
			icmp.Type, icmp.Code = 2, 0 // packet too big (RFC 4443 section 3.2)
		}
	}
	s.worker.do(now, s.worker.machine.Unreachable(s.id, icmp.Peer, icmp.Type, icmp.Code, icmp.MTU))
}
