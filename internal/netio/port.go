package netio

import (
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketPort is a port with a socket of its own. There may be tens of thousands, so
// that whatever is only needed while packets move belongs to the worker.
type socketPort struct {
	worker   *socketWorker
	local    netip.AddrPort
	receiver Receiver // nil until attached
	counters PortCounters
	fd       int
	drops    uint32 // the kernel's count when it was last read; it wraps

	v6, fields, errors, large bool
	whole                     bool // the socket is set to send IPv4 packets with the DF bit
	closed                    bool
}

// listen opens and binds a socket with everything set that a port needs.
func listen(w *socketWorker, local netip.AddrPort, o Options) (*socketPort, error) {
	if err := checkLocal(local); err != nil {
		return nil, err
	}
	family, sa := sockaddr(local)
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", local, os.NewSyscallError("socket", err))
	}
	p := &socketPort{
		worker: w,
		local:  local,
		fd:     fd,
		v6:     family == unix.AF_INET6,
		fields: o.Fields,
		errors: o.Errors,
		large:  o.Large,
	}
	if err := p.bind(sa, o); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("listen on %s: %w", local, err)
	}
	return p, nil
}

// deafen has a socket take nothing in, by a filter that passes no byte of any packet.
func (p *socketPort) deafen() error {
	pass := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	program := unix.SockFprog{Len: 1, Filter: &pass}
	err := unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

// bind sets the options first, so that no datagram gets in without its time.
func (p *socketPort) bind(sa unix.Sockaddr, o Options) error {
	if err := setOptions(p.fd, p.v6, o); err != nil {
		return err
	}
	if o.Connect.IsValid() {
		// Until it is connected, the socket would get what others are sent.
		if err := p.deafen(); err != nil {
			return err
		}
	}
	if err := unix.Bind(p.fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if o.Connect.IsValid() {
		if err := p.connect(o.Connect); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return os.NewSyscallError("setsockopt SO_DETACH_FILTER", err)
		}
	}
	if p.local.Port() == 0 {
		return p.learnPort()
	}
	return nil
}

func (p *socketPort) connect(peer netip.AddrPort) error {
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	if peer.Addr().Is6() != p.v6 {
		return fmt.Errorf("connect to %s: an address of the other family", peer)
	}
	_, sa := sockaddr(peer)
	return os.NewSyscallError("connect", unix.Connect(p.fd, sa))
}

// learnPort asks which port the kernel chose.
func (p *socketPort) learnPort() error {
	sa, err := unix.Getsockname(p.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	var port int
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = sa.Port
	case *unix.SockaddrInet6:
		port = sa.Port
	}
	p.local = netip.AddrPortFrom(p.local.Addr(), uint16(port))
	return nil
}

func (p *socketPort) Local() netip.AddrPort { return p.local }

func (p *socketPort) Counters() PortCounters {
	if !p.closed {
		p.readDrops()
	}
	return p.counters
}

// readDrops asks the kernel how many datagrams it dropped.
func (p *socketPort) readDrops() {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(p.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < uint32(unsafe.Sizeof(info)) {
		return // a kernel before 4.12; the count stays where it is
	}
	drops := info[unix.SK_MEMINFO_DROPS]
	p.counters.Overflowed += uint64(drops - p.drops)
	p.drops = drops
}

func (p *socketPort) Attach(r Receiver) error {
	if p.closed {
		return fmt.Errorf("attach %s: %w", p.local, os.ErrClosed)
	}
	if p.receiver != nil {
		return fmt.Errorf("attach %s: attached already", p.local)
	}
	p.receiver = r
	return p.worker.add(p)
}

// Adopt implements Worker.
func (w *socketWorker) Adopt(port Port) error {
	p, ok := port.(*socketPort)
	switch {
	case !ok:
		return fmt.Errorf("adopt %s: a port of another engine", port.Local())
	case p.closed:
		return fmt.Errorf("adopt %s: %w", p.local, os.ErrClosed)
	case p.receiver != nil:
		return fmt.Errorf("adopt %s: attached already", p.local)
	}
	p.worker = w
	return nil
}

func (p *socketPort) Send(pk *Packet, to netip.AddrPort) {
	b := pk.Buf
	pk.Buf = nil
	if p.closed {
		p.counters.Unsent++
		p.worker.pool.Put(b)
		return
	}
	p.worker.out.push(p, b, pk, to)
}

func (p *socketPort) Close() {
	if p.closed {
		return
	}
	if p.receiver != nil {
		p.worker.out.flush()
		p.worker.remove(p)
	}
	p.readDrops()
	p.closed = true
	closeFD(p.fd)
}

// closeFD closes a descriptor that nobody reads from or writes to any more, so
// that no error of closing could matter.
func closeFD(fd int) { _ = unix.Close(fd) }
