package netio

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// socketPort is a port with a socket of its own.
type socketPort struct {
	worker *socketWorker
	local  netip.AddrPort
	fd     int
	v6     bool

	receiver Receiver // nil until attached
	closed   bool
	overflow uint32 // the kernel's count at the last datagram
	counters PortCounters
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
	p := &socketPort{worker: w, local: local, fd: fd, v6: family == unix.AF_INET6}
	if err := p.bind(sa, o); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("listen on %s: %w", local, err)
	}
	return p, nil
}

// bind sets the options first, so that no datagram gets in without its time.
func (p *socketPort) bind(sa unix.Sockaddr, o Options) error {
	type option struct {
		name         string
		level, which int
		value        int
	}
	tos := int(o.DSCP) << 2 // the lower two bits are ECN's (RFC 3168 section 5)
	options := []option{
		{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1},
	}
	if p.v6 {
		options = append(options,
			option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			option{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			option{"IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos})
	} else {
		options = append(options,
			option{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1},
			option{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, tos})
	}
	for _, opt := range options {
		if err := unix.SetsockoptInt(p.fd, opt.level, opt.which, opt.value); err != nil {
			return os.NewSyscallError("setsockopt "+opt.name, err)
		}
	}
	if err := unix.Bind(p.fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if p.local.Port() == 0 {
		return p.learnPort()
	}
	return nil
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

func (p *socketPort) Local() netip.AddrPort  { return p.local }
func (p *socketPort) Counters() PortCounters { return p.counters }

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

func (p *socketPort) Send(pk *Packet, to netip.AddrPort) {
	b := pk.Buf
	pk.Buf = nil
	if p.closed {
		p.counters.Unsent++
		p.worker.pool.Put(b)
		return
	}
	p.worker.out.push(p, b, to)
}

func (p *socketPort) Close() {
	if p.closed {
		return
	}
	if p.receiver != nil {
		p.worker.out.flush()
		p.worker.remove(p)
	}
	p.closed = true
	closeFD(p.fd)
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

// closeFD closes a descriptor that nobody reads from or writes to any more, so
// that no error of closing could matter.
func closeFD(fd int) { _ = unix.Close(fd) }
