package netio

import (
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ICMP's ways to say that a packet was too long (RFC 792, RFC 4443 section 3.2).
const (
	icmpUnreachable   = 3
	icmpFragNeeded    = 4
	icmp6PacketTooBig = 2
)

// errorReader is where a worker reads what sockets have in their error queues: the
// address that a packet was sent to, and a sock_extended_err as control message.
type errorReader struct {
	msg     unix.Msghdr
	addr    rawAddr
	control [256]byte
}

// read takes one error off a queue. ok is false when there is none left.
func (r *errorReader) read(fd int) (ok bool) {
	r.addr = rawAddr{}
	r.msg = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&r.addr)),
		Namelen: uint32(unsafe.Sizeof(r.addr.RawSockaddrInet6)),
		Control: &r.control[0],
	}
	r.msg.SetControllen(len(r.control))
	_, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&r.msg)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	return errno == 0
}

// drainErrors empties a socket's error queue, which holds the ICMP errors that
// came back, counts them, and tells the receiver if it asked for that. It stops
// after a while so that nobody's ICMP can hold the worker; the rest makes the port
// ready again.
func (w *socketWorker) drainErrors(p *socketPort, now time.Time) {
	var told ErrorReceiver
	if p.errors {
		told, _ = p.receiver.(ErrorReceiver)
	}
	r := &w.errors
	for n := 0; ; n++ {
		if n == Batch {
			return
		}
		if !r.read(p.fd) {
			break
		}
		e, ok := parseError(r.control[:r.msg.Controllen])
		if !ok {
			continue
		}
		e.Peer = r.addr.get()
		if !e.Local {
			p.counters.Unreachable++
		} else if e.Peer, ok = w.out.refused.take(p, e.Peer); !ok {
			continue
		}
		if told != nil {
			told.Unreachable(now, e)
			if p.closed {
				return
			}
		}
	}
	w.out.refused.forget(p)
	// An error that is pending without anything in the queue would keep the socket
	// ready for ever; reading it clears it.
	_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// parseError finds the error among the control messages. ok is false if it is none
// that a packet of ours met.
func parseError(b []byte) (e ICMP, ok bool) {
	c := controls{b}
	for {
		level, kind, data, more := c.next()
		if !more {
			return ICMP{}, false
		}
		v4 := level == unix.IPPROTO_IP && kind == unix.IP_RECVERR
		v6 := level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR
		if (v4 || v6) && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			return extendedError((*unix.SockExtendedErr)(unsafe.Pointer(&data[0])))
		}
	}
}

func extendedError(x *unix.SockExtendedErr) (e ICMP, ok bool) {
	switch x.Origin {
	case unix.SO_EE_ORIGIN_LOCAL:
		if unix.Errno(x.Errno) != unix.EMSGSIZE {
			return ICMP{}, false
		}
		return ICMP{Local: true, MTU: x.Info}, true
	case unix.SO_EE_ORIGIN_ICMP:
		e = ICMP{Type: x.Type, Code: x.Code}
		if e.Type == icmpUnreachable && e.Code == icmpFragNeeded {
			e.MTU = x.Info
		}
		return e, true
	case unix.SO_EE_ORIGIN_ICMP6:
		e = ICMP{Type: x.Type, Code: x.Code}
		if e.Type == icmp6PacketTooBig {
			e.MTU = x.Info
		}
		return e, true
	}
	return ICMP{}, false
}

// maxRefusals is how many refused packets are remembered between two looks at the
// error queues; of more, nobody is told.
const maxRefusals = sendBatch

// refusals remembers where packets were to go that the host called too long: what
// the kernel queues lacks the port for IPv4, and is queued twice if the packet was
// not the first of its system call.
type refusals []refusal

type refusal struct {
	port *socketPort
	to   netip.AddrPort
}

func (r *refusals) note(p *socketPort, to netip.AddrPort) {
	if len(*r) < maxRefusals {
		*r = append(*r, refusal{p, to})
	}
}

// take returns the oldest refusal of a port to an address, of which the port number
// may be 0, and forgets it.
func (r *refusals) take(p *socketPort, to netip.AddrPort) (netip.AddrPort, bool) {
	for i, x := range *r {
		if x.port == p && x.to.Addr() == to.Addr() && (to.Port() == 0 || x.to == to) {
			*r = slices.Delete(*r, i, i+1)
			return x.to, true
		}
	}
	return netip.AddrPort{}, false
}

// forget drops what is left of a port whose error queue is empty.
func (r *refusals) forget(p *socketPort) {
	if len(*r) > 0 {
		*r = slices.DeleteFunc(*r, func(x refusal) bool { return x.port == p })
	}
}
