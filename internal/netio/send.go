package netio

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

// sendBatch is how many packets a worker collects before it writes them. Past 64
// a larger batch saves nothing more: the kernel's own work on each packet is
// nine tenths of sending it.
const sendBatch = 64

// mmsghdr is the kernel's struct mmsghdr: a message and how much of it was moved.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// outbox collects packets, and writes those of one socket with one call. The
// message structures point into the outbox itself and are filled in place, so
// that sending needs no memory.
type outbox struct {
	pool *pkt.Pool
	n    int
	port [sendBatch]*socketPort
	buf  [sendBatch]*pkt.Buf
	addr [sendBatch]rawAddr
	iov  [sendBatch]unix.Iovec
	msg  [sendBatch]mmsghdr
}

// push takes over a buffer.
func (o *outbox) push(p *socketPort, b *pkt.Buf, to netip.AddrPort) {
	i := o.n
	size := o.addr[i].set(to, p.v6)
	data := b.Bytes()
	if size == 0 || len(data) == 0 {
		p.counters.Unsent++
		o.pool.Put(b)
		return
	}
	o.port[i], o.buf[i] = p, b
	o.iov[i].Base = &data[0]
	o.iov[i].SetLen(len(data))
	o.msg[i] = mmsghdr{}
	o.msg[i].Name = (*byte)(unsafe.Pointer(&o.addr[i]))
	o.msg[i].Namelen = size
	o.msg[i].Iov = &o.iov[i]
	o.msg[i].SetIovlen(1)
	o.n++
	if o.n == sendBatch {
		o.flush()
	}
}

// flush writes everything, one call for each run of packets of one socket, and
// puts the buffers back.
func (o *outbox) flush() {
	for first := 0; first < o.n; {
		end := first + 1
		for end < o.n && o.port[end] == o.port[first] {
			end++
		}
		o.write(first, end)
		first = end
	}
	for i := range o.n {
		o.pool.Put(o.buf[i])
		o.port[i], o.buf[i] = nil, nil
		o.iov[i].Base = nil
	}
	o.n = 0
}

// write sends the packets from first to end, all of one socket. A packet that is
// refused is counted and left out; the others still go.
//
// An error may be one that the socket had pending from a packet sent before
// (ICMP's, through IP_RECVERR), which the kernel reports instead of sending. That
// clears it, so each packet gets a second try.
func (o *outbox) write(first, end int) {
	p := o.port[first]
	tried := -1
	for first < end {
		n, errno := sendmmsg(p.fd, o.msg[first:end])
		switch {
		case errno == unix.EINTR:
		case errno == 0 && n > 0:
			first += n
		case pending(errno) && tried != first:
			tried = first
		default:
			p.counters.Unsent++
			first++
		}
	}
}

// pending reports whether an error can be the answer to an earlier packet.
func pending(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EMSGSIZE, unix.EACCES, unix.EOPNOTSUPP, unix.ENONET:
		return true
	default:
		return false
	}
}

func sendmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
