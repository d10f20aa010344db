package media

import "encoding/binary"

// fixedHeader is the length of an RTP header without CSRCs and extension, in
// bytes (RFC 3550 section 5.1).
const fixedHeader = 12

// header is what a bridge needs of an RTP header:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---+-+-+-------+-+-------------+-------------------------------+
//	|V=2|P|X|  CC   |M|     PT      |        sequence number        |
//	+---+-+-+-------+-+-------------+-------------------------------+
//	|                           timestamp                           |
//	+---------------------------------------------------------------+
//	|           synchronization source (SSRC) identifier            |
//	+---------------------------------------------------------------+
//	|        CC contributing sources, extension if X, payload       |
type header struct {
	marker    bool
	padded    bool
	payload   uint8 // payload type
	sequence  uint16
	timestamp uint32
	ssrc      uint32
	length    int // of everything before the payload, in bytes
}

// parseHeader reads the header and checks that it lies within the packet.
func parseHeader(b []byte) (h header, drop Drop) {
	if len(b) < fixedHeader {
		return h, dropShort
	}
	if b[0]>>6 != 2 {
		return h, dropVersion
	}
	h = header{
		marker:    b[1]&0x80 != 0,
		padded:    b[0]&0x20 != 0,
		payload:   b[1] & 0x7f,
		sequence:  binary.BigEndian.Uint16(b[2:]),
		timestamp: binary.BigEndian.Uint32(b[4:]),
		ssrc:      binary.BigEndian.Uint32(b[8:]),
		length:    fixedHeader + 4*int(b[0]&0x0f),
	}
	if b[0]&0x10 != 0 {
		if len(b) < h.length+4 {
			return h, dropMalformed
		}
		h.length += 4 + 4*int(binary.BigEndian.Uint16(b[h.length+2:]))
	}
	if len(b) < h.length {
		return h, dropMalformed
	}
	return h, passed
}

// payloadEnd returns where the payload ends, which padding may cut short; ok is
// false if the padding is longer than what there is (RFC 3550 section 5.1). The
// padding of a protected packet can be read only once it is opened.
func (h *header) payloadEnd(b []byte) (end int, ok bool) {
	if !h.padded {
		return len(b), true
	}
	if len(b) == h.length {
		return 0, false
	}
	pad := int(b[len(b)-1])
	end = len(b) - pad
	return end, pad > 0 && end >= h.length
}

// put writes the header, without CSRCs, extension or padding, to the first
// [fixedHeader] bytes of b.
func (h *header) put(b []byte) {
	b[0] = 2 << 6
	b[1] = h.payload
	if h.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.sequence)
	binary.BigEndian.PutUint32(b[4:], h.timestamp)
	binary.BigEndian.PutUint32(b[8:], h.ssrc)
}

// isRTCP tells RTCP from RTP where both come to one port (RFC 5761 section 4).
func isRTCP(b []byte) bool { return len(b) > 1 && b[0]>>6 == 2 && isRTCPType(b[1]) }

// isRTCPType reports whether the second byte of a packet is one of RTCP's packet
// types rather than RTP's marker and payload type (RFC 5761 section 4).
func isRTCPType(b byte) bool { return b >= 192 && b <= 223 }
