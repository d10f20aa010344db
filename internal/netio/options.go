package netio

import (
	"os"

	"golang.org/x/sys/unix"
)

// option is one integer socket option.
type option struct {
	name         string
	level, which int
	value        int
}

// setOptions prepares a socket that is not bound yet.
func setOptions(fd int, v6 bool, o Options) error {
	var room [8]option // so that a relay which opens thousands of ports leaves nothing to collect
	options := append(familyOptions(room[:0], v6, o), option{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1})
	if o.ReusePort || o.Connect.IsValid() {
		options = append(options, option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	for _, opt := range options {
		if err := unix.SetsockoptInt(fd, opt.level, opt.which, opt.value); err != nil {
			return os.NewSyscallError("setsockopt "+opt.name, err)
		}
	}
	if o.ReceiveBuffer > 0 {
		return setReceiveBuffer(fd, o.ReceiveBuffer)
	}
	return nil
}

// familyOptions appends those that IPv4 and IPv6 name differently.
func familyOptions(options []option, v6 bool, o Options) []option {
	tos := int(o.DSCP) << 2 // the lower two bits are ECN's (RFC 3168 section 5)
	if v6 {
		options = append(options,
			option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			option{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			option{"IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos})
		if o.Fields {
			options = append(options,
				option{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
				option{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1})
		}
		return options
	}
	options = append(options,
		option{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1},
		option{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, tos})
	if o.Fields {
		options = append(options,
			option{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
			option{"IP_RECVTTL", unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
			option{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT})
	}
	return options
}

// setReceiveBuffer asks for a size beyond the system's limit, and without the
// privilege for that, for what the limit allows. The kernel doubles what it is
// given, to have room for its own.
func setReceiveBuffer(fd, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size/2) == nil {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_RCVBUF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size/2))
}
