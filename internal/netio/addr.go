package netio

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkLocal refuses addresses that a port can't be bound to. Zones are refused
// because a received address with one would need memory for its name.
func checkLocal(local netip.AddrPort) error {
	switch a := local.Addr(); {
	case !a.IsValid():
		return fmt.Errorf("listen on %s: not an address", local)
	case a.Is4In6():
		return fmt.Errorf("listen on %s: an IPv4 address in IPv6 clothes", local)
	case a.Zone() != "":
		return fmt.Errorf("listen on %s: addresses with a zone are not supported", local)
	}
	return nil
}

// rawAddr is room for a socket address of either family.
type rawAddr struct {
	unix.RawSockaddrInet6
}

// set writes an address for the kernel and returns its length in bytes; 0 if it
// is not of the family that the socket has.
func (r *rawAddr) set(to netip.AddrPort, v6 bool) uint32 {
	a := to.Addr().Unmap()
	switch {
	case v6 && a.Is6():
		r.RawSockaddrInet6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16()}
		setPort(&r.Port, to.Port())
		return unix.SizeofSockaddrInet6
	case !v6 && a.Is4():
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(r))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
		setPort(&sa.Port, to.Port())
		return unix.SizeofSockaddrInet4
	}
	return 0
}

// get reads an address that the kernel wrote.
func (r *rawAddr) get() netip.AddrPort {
	if r.Family == unix.AF_INET {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(r))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), getPort(&sa.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(r.Addr).Unmap(), getPort(&r.Port))
}

// Ports stand in network byte order in a field that Go sees as a native number.

func setPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}

func getPort(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

func sockaddr(local netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a := local.Addr(); a.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(local.Port()), Addr: a.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16()}
}
