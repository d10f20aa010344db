package netio

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

// controlSize is room for the two control messages that a port asks for: the
// arrival time and the overflow count.
const controlSize = 128

// inbox is where a worker receives: a buffer, an address and control messages
// for each slot, and the structures that tell the kernel where they are. Slots
// whose buffer a receiver sent on get a fresh one.
type inbox struct {
	pool    *pkt.Pool
	packet  [Batch]Packet
	addr    [Batch]rawAddr
	iov     [Batch]unix.Iovec
	control [Batch][controlSize]byte
	msg     [Batch]mmsghdr
}

func (in *inbox) init(pool *pkt.Pool) {
	in.pool = pool
	for i := range Batch {
		in.refill(i)
		in.ready(i)
	}
}

// refill puts a buffer into a slot.
func (in *inbox) refill(i int) {
	b := in.pool.Get()
	in.packet[i].Buf = b
	in.iov[i].Base = &b.Room()[0]
	in.iov[i].SetLen(pkt.MaxDatagram)
}

// ready fills in what the kernel overwrites in a slot that it uses.
func (in *inbox) ready(i int) {
	in.packet[i].Buf.Use(0, 0)
	m := &in.msg[i]
	*m = mmsghdr{}
	m.Name = (*byte)(unsafe.Pointer(&in.addr[i]))
	m.Namelen = uint32(unsafe.Sizeof(in.addr[i].RawSockaddrInet6))
	m.Iov = &in.iov[i]
	m.SetIovlen(1)
	m.Control = &in.control[i][0]
	m.SetControllen(controlSize)
}

// receive reads a batch from a port and hands it to the port's receiver. A port
// with more than a batch stays ready.
func (in *inbox) receive(p *socketPort, now time.Time) {
	n, errno := recvmmsg(p.fd, in.msg[:])
	if errno != 0 || n <= 0 {
		// Nothing there, or the error of a packet sent earlier, which the error queue
		// tells more about.
		return
	}
	for i := range n {
		in.take(p, i, now)
	}
	p.receiver.Receive(now, in.packet[:n])
	for i := range n {
		if in.packet[i].Buf == nil {
			in.refill(i)
		}
		in.ready(i)
	}
}

// take turns what the kernel wrote into a packet.
func (in *inbox) take(p *socketPort, i int, now time.Time) {
	m, pk := &in.msg[i], &in.packet[i]
	pk.Buf.Use(0, int(m.n))
	pk.From = in.addr[i].get()
	pk.Cut = m.Flags&unix.MSG_TRUNC != 0
	pk.At = 0
	in.readControl(p, i)
	if pk.At == 0 {
		pk.At = now.UnixNano()
	}
}

// readControl walks the control messages of a slot.
func (in *inbox) readControl(p *socketPort, i int) {
	size := uintptr(in.msg[i].Controllen)
	for at := uintptr(0); at+unix.SizeofCmsghdr <= size; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&in.control[i][at]))
		length := uintptr(h.Len)
		if length < unix.SizeofCmsghdr || at+length > size {
			return
		}
		if h.Level == unix.SOL_SOCKET {
			in.readSocketControl(p, i, h.Type, in.control[i][at+uintptr(unix.CmsgLen(0)):at+length])
		}
		at += uintptr(unix.CmsgSpace(int(length) - unix.CmsgLen(0)))
	}
}

func (in *inbox) readSocketControl(p *socketPort, i int, kind int32, data []byte) {
	switch {
	case kind == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
		in.packet[i].At = (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
	case kind == unix.SO_RXQ_OVFL && len(data) >= 4:
		dropped := *(*uint32)(unsafe.Pointer(&data[0]))
		p.counters.Overflowed += uint64(dropped - p.overflow) // the kernel's count wraps
		p.overflow = dropped
	}
}

// drainErrors empties a socket's error queue, which holds the ICMP errors that
// came back, and counts them. It stops after a while so that nobody's ICMP can
// hold the worker; the rest makes the port ready again.
func drainErrors(p *socketPort, m *mmsghdr) {
	for range Batch {
		*m = mmsghdr{}
		_, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(p.fd),
			uintptr(unsafe.Pointer(&m.Msghdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			break
		}
		p.counters.Unreachable++
	}
	// An error that is pending without anything in the queue would keep the socket
	// ready for ever; reading it clears it.
	_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

func recvmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
