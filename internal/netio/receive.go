package netio

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

// maxUDP is more than a UDP datagram can carry, in bytes: what its length field
// holds (RFC 768).
const maxUDP = 1<<16 - 1

// inbox is where a worker receives: a buffer, an address and control messages
// for each slot, and the structures that tell the kernel where they are. Slots
// whose buffer a receiver sent on get a fresh one.
type inbox struct {
	pool    *pkt.Pool
	packet  [Batch]Packet
	addr    [Batch]rawAddr
	iov     [Batch][2]unix.Iovec
	control [Batch][receiveControlSize]byte
	msg     [Batch]mmsghdr

	// What doesn't fit a slot's buffer goes on in its part of rest, for ports that
	// receive large datagrams. parts is how many of a slot's iov are in use.
	rest  []byte // nil until a port needs it
	parts int
}

func (in *inbox) init(pool *pkt.Pool) {
	in.pool = pool
	in.parts = 1
	for i := range Batch {
		in.refill(i)
		in.ready(i)
	}
}

// restSize is a slot's part of rest.
const restSize = maxUDP - pkt.MaxDatagram

// enlarge makes the room that large datagrams need. Most of it is never touched and
// so never becomes memory.
func (in *inbox) enlarge() {
	if in.rest != nil {
		return
	}
	in.rest = make([]byte, Batch*restSize)
	for i := range Batch {
		in.iov[i][1].Base = &in.rest[i*restSize]
		in.iov[i][1].SetLen(restSize)
	}
}

// use has the kernel use so many parts of each slot.
func (in *inbox) use(parts int) {
	if in.parts == parts {
		return
	}
	in.parts = parts
	for i := range Batch {
		in.msg[i].SetIovlen(parts)
	}
}

// refill puts a buffer into a slot.
func (in *inbox) refill(i int) {
	b := in.pool.Get()
	b.Use(pkt.Headroom, 0)
	in.packet[i].Buf = b
	in.iov[i][0].Base = &b.Room()[0]
	in.iov[i][0].SetLen(pkt.MaxDatagram)
}

// ready fills in what the kernel overwrites in a slot that it uses.
func (in *inbox) ready(i int) {
	in.packet[i].Buf.Use(pkt.Headroom, 0)
	m := &in.msg[i]
	*m = mmsghdr{}
	m.Name = (*byte)(unsafe.Pointer(&in.addr[i]))
	m.Namelen = uint32(unsafe.Sizeof(in.addr[i].RawSockaddrInet6))
	m.Iov = &in.iov[i][0]
	m.SetIovlen(in.parts)
	m.Control = &in.control[i][0]
	m.SetControllen(receiveControlSize)
}

// receive reads a batch from a port and hands it to the port's receiver. A port
// with more than a batch stays ready.
func (in *inbox) receive(p *socketPort, now time.Time) {
	if p.large {
		in.use(2)
	} else {
		in.use(1)
	}
	n, errno := recvmmsg(p.fd, in.msg[:])
	if errno != 0 || n <= 0 {
		// Nothing there, or the error of a packet sent earlier, which the error queue
		// tells more about.
		return
	}
	for i := range n {
		in.take(i, now)
	}
	p.receiver.Receive(now, in.packet[:n])
	for i := range n {
		switch b := in.packet[i].Buf; {
		case b == nil:
			in.refill(i)
		case b.IsLong():
			in.pool.Put(b)
			in.refill(i)
		}
		in.ready(i)
	}
}

// take turns what the kernel wrote into a packet.
func (in *inbox) take(i int, now time.Time) {
	m, pk := &in.msg[i], &in.packet[i]
	if n := int(m.n); n <= pkt.MaxDatagram {
		pk.Buf.Use(pkt.Headroom, n)
	} else {
		in.join(i, n)
	}
	pk.From = in.addr[i].get()
	pk.Cut = m.Flags&unix.MSG_TRUNC != 0
	pk.At, pk.TOS, pk.TTL, pk.DontFragment = 0, 0, 0, false
	readControl(in.control[i][:m.Controllen], pk)
	if pk.At == 0 {
		pk.At = now.UnixNano()
	}
}

// join makes one long buffer of a slot's two parts.
func (in *inbox) join(i, n int) {
	short := in.packet[i].Buf
	short.Use(pkt.Headroom, pkt.MaxDatagram)
	long := pkt.Long(n)
	copied := copy(long.Bytes(), short.Bytes())
	copy(long.Bytes()[copied:], in.rest[i*restSize:])
	in.pool.Put(short)
	in.packet[i].Buf = long
}

func recvmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
