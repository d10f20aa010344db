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
	pool    *pkt.Pool
	n       int
	port    [sendBatch]*socketPort
	whole   [sendBatch]bool // not to be fragmented
	buf     [sendBatch]*pkt.Buf
	addr    [sendBatch]rawAddr
	iov     [sendBatch]unix.Iovec
	msg     [sendBatch]mmsghdr
	control [sendBatch][sendControlSize]byte

	refused refusals
}

// push takes over a buffer. pk says what its IP header should have.
func (o *outbox) push(p *socketPort, b *pkt.Buf, pk *Packet, to netip.AddrPort) {
	i := o.n
	size := o.addr[i].set(to, p.v6)
	data := b.Bytes()
	if size == 0 {
		p.counters.Unsent++
		o.pool.Put(b)
		return
	}
	o.port[i], o.buf[i], o.whole[i] = p, b, false
	o.iov[i].Base = unsafe.SliceData(data) // of an empty datagram, too, which is one
	o.iov[i].SetLen(len(data))
	m := &o.msg[i]
	*m = mmsghdr{}
	m.Name = (*byte)(unsafe.Pointer(&o.addr[i]))
	m.Namelen = size
	m.Iov = &o.iov[i]
	m.SetIovlen(1)
	if p.fields {
		o.setFields(i, pk)
	}
	o.n++
	if o.n == sendBatch {
		o.flush()
	}
}

func (o *outbox) setFields(i int, pk *Packet) {
	o.whole[i] = pk.DontFragment
	if n := putFields(&o.control[i], o.port[i].v6, pk); n > 0 {
		o.msg[i].Control = &o.control[i][0]
		o.msg[i].SetControllen(n)
	}
}

// flush writes everything, one call for each run of packets that one socket can
// send alike, and puts the buffers back.
func (o *outbox) flush() {
	for first := 0; first < o.n; {
		end := first + 1
		for end < o.n && o.port[end] == o.port[first] && o.whole[end] == o.whole[first] {
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
// clears it, so each packet gets a second try. A packet that must not be fragmented
// gets none when it is called too long: trying again would have its error queued
// twice.
func (o *outbox) write(first, end int) {
	p, whole := o.port[first], o.whole[first]
	if p.whole != whole && !p.v6 {
		p.setWhole(whole)
	}
	tried := -1
	for first < end {
		n, errno := sendmmsg(p.fd, o.msg[first:end])
		switch {
		case errno == unix.EINTR:
		case errno == 0 && n > 0:
			first += n
		case errno == unix.EMSGSIZE && whole:
			o.refused.note(p, o.addr[first].get())
			p.counters.Unsent++
			first++
		case pending(errno) && tried != first:
			tried = first
		default:
			p.counters.Unsent++
			first++
		}
	}
}

// setWhole has a socket's IPv4 packets go with the DF bit, or without it: for IPv4
// the kernel has no control message for that, as it has for IPv6. It stays so until a packet wants the other: who doesn't want fragments mostly wants none
// at all, and a socket that is left with the DF bit is told of routers that need
// fragments.
func (p *socketPort) setWhole(whole bool) {
	mode := unix.IP_PMTUDISC_DONT
	if whole {
		mode = unix.IP_PMTUDISC_DO
	}
	if unix.SetsockoptInt(p.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode) == nil {
		p.whole = whole
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
