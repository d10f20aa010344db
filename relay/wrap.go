package relay

import (
	"encoding/binary"
	"net/netip"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

const (
	// maxUDP is the longest datagram that UDP over IPv4 carries; IPv6's is 20 bytes longer, which nobody misses.
	maxUDP = 65507
	// maxDTLS is the longest record that DTLS carries (RFC 6347 section 4.1, RFC 5246 section 6.2.1).
	maxDTLS = 1 << 14
)

// longest is how long a message to a client may be.
func longest(t turn.Transport) int {
	switch t {
	case turn.DTLS:
		return maxDTLS
	case turn.TCP, turn.TLS:
		return turn.MaxFrameSize
	default:
		return maxUDP
	}
}

// wrap puts what the client's side needs around a peer's datagram, in place; false if the result would be too long to
// send. A stream's ChannelData is padded (RFC 8656 section 12.5).
func (w *worker) wrap(p *netio.Packet, channel uint16, to turn.Transport) bool {
	n := p.Buf.Len()
	if channel != 0 {
		if n+turn.ChannelHeaderSize > longest(to) {
			return false
		}
		turn.PutChannelHeader(p.Buf.Prepend(turn.ChannelHeaderSize), channel, n)
		if to.Stream() {
			clear(p.Buf.Extend(padding(n)))
		}
		return true
	}
	peer := w.outside(p.From)
	head := turn.DataIndicationHeaderSize(peer.Addr())
	if n+head+padding(n) > longest(to) {
		return false
	}
	clear(p.Buf.Extend(padding(n)))
	w.indications++
	binary.BigEndian.PutUint64(w.transaction[4:], w.indications)
	return turn.PutDataIndication(p.Buf.Prepend(head), w.transaction, peer, n) == nil
}

// padding is how many bytes bring n to a multiple of four.
func padding(n int) int { return -n & 3 }

// outside returns how the world knows a peer: a relayed address of our own by the address in front of the NAT.
func (w *worker) outside(peer netip.AddrPort) netip.AddrPort {
	return w.relay.aliases[turn.FamilyOf(peer.Addr())].Outside(peer)
}

// inside is the reverse of outside.
func (w *worker) inside(peer netip.AddrPort) netip.AddrPort {
	return w.relay.aliases[turn.FamilyOf(peer.Addr())].Inside(peer)
}
