package turnload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketBuffer is the receive queue of each socket, in bytes, as far as the system allows it: what the generator is too
// late to read must not look like the server's loss.
const socketBuffer = 1 << 20

// socket is a UDP socket that never blocks. The net package's would each wait in a goroutine of its own, which is dearer
// than what is to be measured.
type socket struct {
	fd    int
	local netip.AddrPort
}

func listen(local netip.AddrPort) (s socket, err error) {
	family := unix.AF_INET
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s, os.NewSyscallError("socket", err)
	}
	if err := s.bind(local); err != nil {
		s.close()
		return s, fmt.Errorf("bind %v: %w", local, err)
	}
	return s, nil
}

func (s *socket) bind(local netip.AddrPort) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVBUF", err)
	}
	if err := unix.Bind(s.fd, sockaddr(local)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(local.Addr(), uint16(bound.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(local.Addr(), uint16(bound.Port))
	}
	return nil
}

func (s *socket) connect(to netip.AddrPort) error {
	return os.NewSyscallError("connect", unix.Connect(s.fd, sockaddr(to)))
}

func (s *socket) close() { _ = unix.Close(s.fd) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// send sends to whom the socket is connected.
func (s *socket) send(b []byte) error {
	_, err := unix.Write(s.fd, b)
	return err
}

func (s *socket) sendTo(b []byte, to unix.Sockaddr) error {
	return unix.Sendto(s.fd, b, unix.MSG_DONTWAIT, to)
}

// transient reports whether an error of sending means that this packet is lost and no more.
func transient(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ECONNREFUSED)
}

// receive reads one datagram; ok is false if there is none.
func (s *socket) receive(b []byte) (n int, ok bool) {
	n, err := unix.Read(s.fd, b)
	return n, err == nil
}

// receiveFrom is receive with the port that the datagram came from. Unlike unix.Recvfrom it needs no memory for that.
func (s *socket) receiveFrom(b []byte) (n int, port uint16, ok bool) {
	var from unix.RawSockaddrInet6 // has the port where IPv4's has it
	size := uint32(unsafe.Sizeof(from))
	got, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, 0, false
	}
	return int(got), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&from.Port))[:]), true
}

// discard empties the receive queue.
func (s *socket) discard(b []byte) {
	for ok := true; ok; {
		_, ok = s.receive(b)
	}
}

// dropped returns how many datagrams did not fit the receive queue since the socket was opened.
func (s *socket) dropped() uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

// poller tells which sockets have something to read.
type poller struct {
	fd     int
	events [256]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: fd}, nil
}

// add has the poller tell of a socket by a number.
func (p *poller) add(s socket, number int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(number)} // the field is any word of the caller's
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &e))
}

// wait goes through the numbers of the sockets that are ready, after waiting for the first as long as that, in whole
// milliseconds; 0 only looks.
func (p *poller) wait(patience time.Duration) iter.Seq[int] {
	return func(yield func(int) bool) {
		n, err := unix.EpollWait(p.fd, p.events[:], int(patience/time.Millisecond))
		if err != nil {
			return // interrupted
		}
		for _, e := range p.events[:n] {
			if !yield(int(e.Fd)) {
				return
			}
		}
	}
}

func (p *poller) close() error { return os.NewSyscallError("close", unix.Close(p.fd)) }
