package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The message types of the indications that carry data (RFC 8656 section 17).
const (
	typeSend = 0x0016
	typeData = 0x0017
)

// What is wrong with a Send indication that is a well-formed message.
var (
	// ErrNotSend: it is another message.
	ErrNotSend = errors.New("no Send indication")
	// ErrUnknownAttribute: it has an attribute that would have to be understood.
	ErrUnknownAttribute = errors.New("unknown attribute that has to be understood")
	// ErrOversize: data does not fit a Data indication.
	ErrOversize = errors.New("data too long for a Data indication")
)

// knownToSend has a bit for each attribute below 0x40 that a Send indication may have. What is not its own is known, and
// ignored there (RFC 8489 section 6.3.2).
const knownToSend uint64 = 1<<AttrXORPeerAddress | 1<<AttrData | 1<<AttrDontFragment |
	1<<AttrMappedAddress | 1<<AttrXORMappedAddress | 1<<AttrXORRelayedAddress | 1<<AttrErrorCode |
	1<<AttrUnknownAttributes | 1<<AttrUsername | 1<<AttrUserhash | 1<<AttrRealm | 1<<AttrNonce |
	1<<AttrPasswordAlgorithm | 1<<AttrMessageIntegrity | 1<<AttrMessageIntegritySHA256 | 1<<AttrChannelNumber |
	1<<AttrLifetime | 1<<AttrRequestedAddressFamily | 1<<AttrRequestedTransport | 1<<AttrEvenPort |
	1<<AttrReservationToken | 1<<AttrConnectionID

// IsSend reports whether a STUN message is a Send indication, for [ParseSend].
func IsSend(b []byte) bool { return len(b) >= 2 && binary.BigEndian.Uint16(b) == typeSend }

// ParseSend reads a whole Send indication (RFC 8656 section 11.2): where its data goes, the data, and whether it must not
// be fragmented. The data lies in b and has b's end as its capacity's, so that it begins at cap(b)-cap(data). It is what
// Message would say, without the index that does not pay for messages of which two attributes are read.
//
// An indication has no integrity to check; the errors beside those of [Message.Parse] are [ErrNotSend],
// [ErrNoAttribute], [ErrBadAttribute] and [ErrUnknownAttribute]. None of them is answered.
func ParseSend(b []byte) (peer netip.AddrPort, data []byte, dontFragment bool, err error) {
	if err := checkHeader(b); err != nil {
		return peer, nil, false, err
	}
	if !IsSend(b) {
		return peer, nil, false, ErrNotSend
	}
	var address []byte
	var unknown, sealed bool
	for at := headerSize; at < len(b); {
		a, n, next := attribute(b, at)
		if next > len(b) {
			return peer, nil, false, ErrMalformed
		}
		value := b[at+attrHeaderSize:][:n]
		switch {
		case a == AttrFingerprint:
			if next != len(b) || !fingerprinted(b, at, n) {
				return peer, nil, false, ErrBadFingerprint
			}
		case sealed:
		case a == AttrXORPeerAddress && address == nil:
			address = value
		case a == AttrData && data == nil:
			data = value
		case a == AttrDontFragment:
			dontFragment = true
		case a == AttrMessageIntegrity, a == AttrMessageIntegritySHA256:
			sealed = true
		case a.required() && (a >= 64 || knownToSend>>a&1 == 0):
			unknown = true
		}
		at = next
	}
	switch {
	case unknown:
		return peer, nil, false, ErrUnknownAttribute
	case address == nil, data == nil:
		return peer, nil, false, ErrNoAttribute
	}
	peer, err = parseXORAddr(address, (*TransactionID)(b[8:headerSize]))
	if err != nil {
		return peer, nil, false, err
	}
	return peer, data, dontFragment, nil
}

// DataIndicationHeaderSize returns how many bytes of a Data indication are in front of the data that came from peer.
func DataIndicationHeaderSize(peer netip.Addr) int {
	return headerSize + attrHeaderSize + addrSize(peer) + attrHeaderSize
}

// PutDataIndication makes n bytes of data that came from peer a Data indication (RFC 8656 section 11.3), by writing what
// is in front of them to head, which has the length that [DataIndicationHeaderSize] says. The caller pads the data with
// zeros to [PaddedLen] bytes. The error is [ErrOversize], and nothing was written then: a datagram of UDP may be longer
// than what a STUN message can say.
func PutDataIndication(head []byte, id TransactionID, peer netip.AddrPort, n int) error {
	length := len(head) - headerSize + PaddedLen(n)
	if length > MaxMessageSize-headerSize {
		return ErrOversize
	}
	binary.BigEndian.PutUint32(head, typeData<<16|uint32(length))
	binary.BigEndian.PutUint32(head[4:], magicCookie)
	copy(head[8:], id[:])
	address := head[headerSize : len(head)-attrHeaderSize]
	binary.BigEndian.PutUint32(address, uint32(AttrXORPeerAddress)<<16|uint32(len(address)-attrHeaderSize))
	putXORAddr(address[attrHeaderSize:], peer, &id)
	binary.BigEndian.PutUint32(head[len(head)-attrHeaderSize:], uint32(AttrData)<<16|uint32(n))
	return nil
}
