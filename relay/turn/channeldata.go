package turn

import (
	"encoding/binary"
	"errors"
)

// ChannelHeaderSize is the length of ChannelData's header, in bytes (RFC 8656 section 12.4).
const ChannelHeaderSize = 4

// MaxFrameSize is the length of the longest frame on a stream, in bytes: ChannelData with padding, or a STUN message.
const MaxFrameSize = max(ChannelHeaderSize+0x10000, MaxMessageSize)

// ErrNotChannelData: the bytes don't begin with a channel number.
var ErrNotChannelData = errors.New("no ChannelData")

// ErrNotFrame: a stream holds neither a STUN message nor ChannelData, and can't be read any further.
var ErrNotFrame = errors.New("neither STUN message nor ChannelData")

// Kind is what a datagram or a frame from a client looks like.
type Kind uint8

// The kinds.
const (
	KindOther       Kind = iota
	KindSTUN             // begins like a STUN message, with the magic cookie
	KindChannelData      // begins with a channel number
)

// Classify tells by its first bytes what a datagram or a frame is. Nothing else of it has been looked at.
func Classify(b []byte) Kind {
	switch {
	case len(b) < ChannelHeaderSize:
		return KindOther
	case isChannel(b[0]):
		return KindChannelData
	case b[0] < 0x40 && len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) == magicCookie:
		return KindSTUN
	default:
		return KindOther
	}
}

// isChannel reports whether a first byte is that of a channel number. It takes the whole range of RFC 5766, 0x4000 to
// 0x7FFF, so that a stream's frames keep their lengths; which numbers can be bound is the machine's to say.
func isChannel(first byte) bool { return first&0xC0 == 0x40 }

// ParseChannelData takes ChannelData apart; stream says whether it came as a frame of a byte stream. The data lies in b.
//
// On a stream, b is one frame as [FrameSize] cuts it, padding included. In a datagram the padding is not needed, but
// allowed (RFC 8656 section 12.5). Other lengths than that are [ErrTruncated] or [ErrTrailing].
func ParseChannelData(b []byte, stream bool) (channel uint16, data []byte, err error) {
	if len(b) < ChannelHeaderSize {
		return 0, nil, ErrTruncated
	}
	if !isChannel(b[0]) {
		return 0, nil, ErrNotChannelData
	}
	end := ChannelHeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	padded := PaddedLen(end)
	switch {
	case len(b) < end, stream && len(b) < padded:
		return 0, nil, ErrTruncated
	case len(b) > padded:
		return 0, nil, ErrTrailing
	}
	return binary.BigEndian.Uint16(b), b[ChannelHeaderSize:end:end], nil
}

// PutChannelHeader writes the header in front of n bytes of data, up to 65,535, to the first four bytes of b. On a
// stream, the caller pads the data with zeros to [PaddedLen] bytes.
func PutChannelHeader(b []byte, channel uint16, n int) {
	binary.BigEndian.PutUint32(b, uint32(channel)<<16|uint32(n))
}

// FrameSize returns the length of the STUN message or the ChannelData that begins a stream's bytes b, with padding, in
// bytes, up to [MaxFrameSize]. It is 0 if b has less than the four bytes needed to tell. [ErrNotFrame] means that
// neither begins there, so that nothing can be said about what follows (RFC 8656 section 3.1).
func FrameSize(b []byte) (n int, err error) {
	if len(b) < ChannelHeaderSize {
		return 0, nil
	}
	n = int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case isChannel(b[0]):
		return PaddedLen(ChannelHeaderSize + n), nil
	case b[0] < 0x40 && n%4 == 0:
		return headerSize + n, nil
	default:
		return 0, ErrNotFrame
	}
}
