package relay

import (
	"net/netip"
	"time"

	"causeway/internal/netio"
	"causeway/relay/auth"
	"causeway/relay/route"
	"causeway/relay/turn"
)

// listener is one worker's socket of one UDP listener, and whose clients come by it.
type listener struct {
	worker  *worker
	number  uint8
	port    netio.Port
	clients route.Table[*session]
	fates   Fates
}

// Receive takes what clients sent. A packet that makes us panic is lost, and nothing else.
func (l *listener) Receive(now time.Time, batch []netio.Packet) {
	for next := 0; next < len(batch); {
		next = l.receive(now, batch, next)
	}
}

// receive handles the batch from an index on, and returns where to go on after a panic.
func (l *listener) receive(now time.Time, batch []netio.Packet, i int) (next int) {
	defer func() {
		if p := recover(); p != nil {
			l.worker.panicked(p, "client", batch[i].From)
			next = i + 1
		}
	}()
	nano := now.UnixNano()
	for ; i < len(batch); i++ {
		p := &batch[i]
		switch {
		case p.Cut:
			l.fates[Oversize]++
		case p.From.Port() == 0:
			l.fates[BadSource]++
		default:
			l.take(now, nano, p)
		}
	}
	return i
}

func (l *listener) take(now time.Time, nano int64, p *netio.Packet) {
	b := p.Buf.Bytes()
	switch turn.Classify(b) {
	case turn.KindChannelData:
		s, ok := l.clients.Get(p.From)
		if !ok {
			l.fates[NoAllocation]++
			return
		}
		if p.From != s.source.Client || l != s.listener {
			l.worker.heard(s, turn.Source{Client: p.From, Listener: l.number, Transport: turn.UDP})
		}
		s.channelData(nano, p, false, &l.fates)
	case turn.KindSTUN:
		if turn.IsSend(b) {
			s, ok := l.clients.Get(p.From)
			if !ok {
				l.fates[NoAllocation]++
				return
			}
			if p.From != s.source.Client || l != s.listener {
				l.worker.heard(s, turn.Source{Client: p.From, Listener: l.number, Transport: turn.UDP})
			}
			s.sendIndication(nano, p, &l.fates)
			return
		}
		l.worker.handle(now, turn.Source{Client: p.From, Listener: l.number, Transport: turn.UDP}, b)
	default:
		l.fates[NotTURN]++
	}
}

// channelData relays a ChannelData message to the peer that its number stands for (RFC 8656 section 12.6).
func (s *session) channelData(now int64, p *netio.Packet, stream bool, fates *Fates) {
	number, data, err := turn.ParseChannelData(p.Buf.Bytes(), stream)
	if err != nil {
		fates[BadChannelData]++
		return
	}
	peer, _, ok := s.path.Channel(number) // RFC 8656 section 12.6 asks for no permission besides
	if !ok {
		fates[NoChannel]++
		return
	}
	if r := s.worker.relay; r.lapsed(peer) && !r.policy.Endpoint(peer, auth.UDPOut).Allowed {
		fates[Policy]++
		return
	}
	s.toPeer(now, p, peer, turn.ChannelHeaderSize, len(data), fates)
}

// sendIndication relays a Send indication (RFC 8656 section 11.2).
func (s *session) sendIndication(now int64, p *netio.Packet, fates *Fates) {
	b := p.Buf.Bytes()
	peer, data, dontFragment, err := turn.ParseSend(b)
	if err != nil {
		fates[BadSend]++
		return
	}
	peer = s.worker.inside(peer)
	switch {
	case s.tcp != nil:
		fates[TCPAllocation]++
		return
	case !s.path.Permitted(peer.Addr()):
		fates[NoPermission]++
		return
	case !s.worker.relay.policy.Endpoint(peer, auth.UDPOut).Allowed:
		fates[Policy]++
		return
	}
	// RFC 8656 section 13: from datagrams to datagrams it means nothing where either side is IPv6.
	p.DontFragment = dontFragment &&
		(s.source.Transport != turn.UDP || peer.Addr().Is4() && p.From.Addr().Is4())
	s.toPeer(now, p, peer, cap(b)-cap(data), len(data), fates)
}

// send sends a message of our own making to a client.
func (l *listener) send(b []byte, to netip.AddrPort) {
	p := &l.worker.packet
	*p = netio.Packet{Buf: l.worker.net.Buffer()}
	p.Buf.Fill(b) // the machine's messages are all shorter than a buffer
	l.port.Send(p, to)
}
