package netio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages carry beside a datagram what is not in it. On receiving, a port
// asks for at most three: arrival time (a timespec), TOS and TTL (integers). On
// sending there are at most three integers: traffic class, hop limit and
// IPV6_DONTFRAG.
const (
	controlHeader      = unix.SizeofCmsghdr // a multiple of the alignment on 64-bit systems
	controlInt         = controlHeader + 8  // an integer's message with its padding
	receiveControlSize = 128
	sendControlSize    = 3 * controlInt
)

// controls walks control messages. It needs no memory.
type controls struct{ rest []byte }

// next returns the next message, or ok false at the end or at nonsense.
func (c *controls) next() (level, kind int32, data []byte, ok bool) {
	if len(c.rest) < controlHeader {
		return 0, 0, nil, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.rest[0]))
	length := int(h.Len)
	if length < controlHeader || length > len(c.rest) {
		return 0, 0, nil, false
	}
	data = c.rest[controlHeader:length]
	c.rest = c.rest[min(unix.CmsgSpace(len(data)), len(c.rest)):]
	return h.Level, h.Type, data, true
}

// readControl takes what a packet's control messages say.
func readControl(b []byte, pk *Packet) {
	c := controls{b}
	for {
		level, kind, data, ok := c.next()
		if !ok {
			return
		}
		switch level {
		case unix.SOL_SOCKET:
			if kind == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				pk.At = (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
			}
		case unix.IPPROTO_IP:
			readField(pk, data, kind == unix.IP_TOS, kind == unix.IP_TTL)
		case unix.IPPROTO_IPV6:
			readField(pk, data, kind == unix.IPV6_TCLASS, kind == unix.IPV6_HOPLIMIT)
		}
	}
}

// readField takes a field of the IP header. The kernel gives IPv4's TOS as a byte
// and everything else as an int.
func readField(pk *Packet, data []byte, tos, ttl bool) {
	var value uint8
	switch {
	case len(data) >= 4:
		value = uint8(*(*int32)(unsafe.Pointer(&data[0])))
	case len(data) == 1:
		value = data[0]
	default:
		return
	}
	switch {
	case tos:
		pk.TOS = value
	case ttl:
		pk.TTL = value
	}
}

// putFields writes the control messages for what a packet wants in its IP header,
// and returns their length. Zero stands for the port's default.
func putFields(b *[sendControlSize]byte, v6 bool, pk *Packet) int {
	n := 0
	put := func(level, kind, value int32) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
		*h = unix.Cmsghdr{Len: controlHeader + 4, Level: level, Type: kind}
		*(*int32)(unsafe.Pointer(&b[n+controlHeader])) = value
		n += controlInt
	}
	level, tos, ttl := int32(unix.IPPROTO_IP), int32(unix.IP_TOS), int32(unix.IP_TTL)
	if v6 {
		level, tos, ttl = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_HOPLIMIT
	}
	if pk.TOS != 0 {
		put(level, tos, int32(pk.TOS))
	}
	if pk.TTL != 0 {
		put(level, ttl, int32(pk.TTL))
	}
	if pk.DontFragment && v6 {
		put(level, unix.IPV6_DONTFRAG, 1)
	}
	return n
}
