// Package qos says which mark a packet gets on the network: the DSCP values of
// audio and video, and the class that a payload type belongs to.
//
// The package only decides. The mark is put on by the sockets of
// internal/netio.
package qos

// Code points of the differentiated services field, as six-bit values. They
// are not TOS bytes: see [TOS].
const (
	// EF is expedited forwarding (RFC 3246): voice.
	EF = 46
	// AF41 is the first drop precedence of assured forwarding's class 4 (RFC
	// 2597, RFC 4594 section 4.3): interactive video.
	AF41 = 34
	// BestEffort is the default forwarding of unmarked traffic (RFC 2474).
	BestEffort = 0
)

// Class is the service a packet is entitled to.
type Class uint8

// The classes. The zero value marks nothing.
const (
	// Unclassified is for traffic that is neither audio nor video; it stays
	// unmarked.
	Unclassified Class = iota
	// Audio is speech and what travels with it: telephone events, comfort noise
	// and redundant audio.
	Audio
	// Video is moving pictures, with their redundancy.
	Video
)

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case Audio:
		return "audio"
	case Video:
		return "video"
	default:
		return "unclassified"
	}
}

// Marks holds the code point of each class, as six-bit DSCP values from 0 to
// 63. The zero value marks nothing, which is the default of the product.
type Marks struct {
	Audio uint8
	Video uint8
}

// ForCalls returns the marks of a server whose operator turned marking on or
// left it off: EF and AF41, or nothing.
func ForCalls(enabled bool) Marks {
	if !enabled {
		return Marks{}
	}
	return Marks{Audio: EF, Video: AF41}
}

// DSCP returns the code point of a class.
func (m Marks) DSCP(c Class) uint8 {
	switch c {
	case Audio:
		return m.Audio
	case Video:
		return m.Video
	default:
		return BestEffort
	}
}

// TOS returns the byte that carries a code point in the IPv4 TOS field and the
// IPv6 traffic class: the code point in the upper six bits, the two ECN bits
// zero (RFC 2474 section 3, RFC 3168 section 5). Bits above the sixth are
// ignored.
func TOS(dscp uint8) uint8 { return dscp << 2 }
