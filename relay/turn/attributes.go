package turn

import (
	"encoding/binary"
	"net/netip"
)

// Attr is the type of a STUN attribute. Those below 0x8000 have to be understood by whoever gets them (RFC 8489
// section 14).
type Attr uint16

// Attributes of STUN (RFC 8489 section 18.3).
const (
	AttrMappedAddress          Attr = 0x0001
	AttrUsername               Attr = 0x0006
	AttrMessageIntegrity       Attr = 0x0008
	AttrErrorCode              Attr = 0x0009
	AttrUnknownAttributes      Attr = 0x000A
	AttrRealm                  Attr = 0x0014
	AttrNonce                  Attr = 0x0015
	AttrMessageIntegritySHA256 Attr = 0x001C
	AttrPasswordAlgorithm      Attr = 0x001D
	AttrUserhash               Attr = 0x001E
	AttrXORMappedAddress       Attr = 0x0020
	AttrPasswordAlgorithms     Attr = 0x8002
	AttrAlternateDomain        Attr = 0x8003
	AttrSoftware               Attr = 0x8022
	AttrAlternateServer        Attr = 0x8023
	AttrFingerprint            Attr = 0x8028
)

// Attributes of TURN (RFC 8656 section 18).
const (
	AttrChannelNumber           Attr = 0x000C
	AttrLifetime                Attr = 0x000D
	AttrXORPeerAddress          Attr = 0x0012
	AttrData                    Attr = 0x0013
	AttrXORRelayedAddress       Attr = 0x0016
	AttrRequestedAddressFamily  Attr = 0x0017
	AttrEvenPort                Attr = 0x0018
	AttrRequestedTransport      Attr = 0x0019
	AttrDontFragment            Attr = 0x001A
	AttrReservationToken        Attr = 0x0022
	AttrAdditionalAddressFamily Attr = 0x8000
	AttrAddressErrorCode        Attr = 0x8001
	AttrICMP                    Attr = 0x8004
)

// Attributes of TURN's extensions, and of ICE.
const (
	AttrConnectionID   Attr = 0x002A // RFC 6062 section 6.2
	AttrMobilityTicket Attr = 0x8030 // RFC 8016 section 4
	AttrPriority       Attr = 0x0024 // RFC 8445 section 20.1, with the three below
	AttrUseCandidate   Attr = 0x0025
	AttrICEControlled  Attr = 0x8029
	AttrICEControlling Attr = 0x802A
)

// required reports whether an agent that does not know the attribute must refuse the message.
func (a Attr) required() bool { return a < 0x8000 }

// slots is how many attribute types can be found without a search: the first 64 of each half of the number space, which
// hold all that a server reads.
const slots = 128

// slot returns the attribute's place among those; ok is false if it has none.
func (a Attr) slot() (n int, ok bool) {
	return int(a&0x3F | a>>15<<6), a&0x7FC0 == 0
}

// xored reports whether the attribute's address is written XOR'ed with cookie and transaction ID, lest a NAT that
// rewrites addresses in payloads finds it.
func (a Attr) xored() bool {
	return a == AttrXORMappedAddress || a == AttrXORPeerAddress || a == AttrXORRelayedAddress
}

// Families and lengths of addresses in attributes (RFC 8489 section 14.1).
const (
	addressIPv4     = 0x01
	addressIPv6     = 0x02
	addressIPv4Size = 8
	addressIPv6Size = 20
)

// Addr returns the transport address in the first attribute a. An address of family IPv6 stays one, even if it holds
// an IPv4 address. The error is [ErrNoAttribute] or [ErrBadAttribute].
func (m *Message) Addr(a Attr) (netip.AddrPort, error) {
	value, ok := m.Get(a)
	if !ok {
		return netip.AddrPort{}, ErrNoAttribute
	}
	if a.xored() {
		return m.DecodeXORAddr(value)
	}
	return parseAddr(value)
}

// DecodeXORAddr returns the transport address in value, that of an XOR'ed attribute of this message: the value of one of
// several XOR-PEER-ADDRESS found with [Message.Each], say. The error is [ErrBadAttribute].
func (m *Message) DecodeXORAddr(value []byte) (netip.AddrPort, error) {
	return parseXORAddr(value, &m.ID)
}

// Uint32 returns the first attribute a as a number, if its value has four bytes. The error is [ErrNoAttribute] or
// [ErrBadAttribute].
func (m *Message) Uint32(a Attr) (uint32, error) {
	value, ok := m.Get(a)
	if !ok {
		return 0, ErrNoAttribute
	}
	if len(value) != 4 {
		return 0, ErrBadAttribute
	}
	return binary.BigEndian.Uint32(value), nil
}

func parseAddr(value []byte) (netip.AddrPort, error) {
	if len(value) < addressIPv4Size {
		return netip.AddrPort{}, ErrBadAttribute
	}
	port := binary.BigEndian.Uint16(value[2:])
	switch {
	case value[1] == addressIPv4 && len(value) == addressIPv4Size:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(value[4:])), port), nil
	case value[1] == addressIPv6 && len(value) == addressIPv6Size:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(value[4:])), port), nil
	default:
		return netip.AddrPort{}, ErrBadAttribute
	}
}

// parseXORAddr is the inverse of putXORAddr (RFC 8489 section 14.2).
func parseXORAddr(value []byte, id *TransactionID) (netip.AddrPort, error) {
	if len(value) != addressIPv4Size && len(value) != addressIPv6Size {
		return netip.AddrPort{}, ErrBadAttribute
	}
	var plain [addressIPv6Size]byte
	copy(plain[:], value)
	xorAddr(plain[:len(value)], id)
	return parseAddr(plain[:len(value)])
}

// addrSize returns the length of an attribute's value that holds addr.
func addrSize(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return addressIPv4Size
	}
	return addressIPv6Size
}

// putAddr writes addr to value, which has the length that addrSize says.
func putAddr(value []byte, addr netip.AddrPort) {
	value[0] = 0
	binary.BigEndian.PutUint16(value[2:], addr.Port())
	if ip := addr.Addr().Unmap(); ip.Is4() {
		value[1] = addressIPv4
		raw := ip.As4()
		copy(value[4:], raw[:])
	} else {
		value[1] = addressIPv6
		raw := ip.As16()
		copy(value[4:], raw[:])
	}
}

func putXORAddr(value []byte, addr netip.AddrPort, id *TransactionID) {
	putAddr(value, addr)
	xorAddr(value, id)
}

// xorAddr turns a plain value into an XOR'ed one and back.
func xorAddr(value []byte, id *TransactionID) {
	value[2] ^= magicCookie >> 24
	value[3] ^= magicCookie >> 16 & 0xFF
	binary.BigEndian.PutUint32(value[4:], binary.BigEndian.Uint32(value[4:])^magicCookie)
	for i := range value[8:] {
		value[8+i] ^= id[i]
	}
}
