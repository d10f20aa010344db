package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ListenStream listens for TCP connections on a local address, port 0 meaning any,
// from which [DialStream] can leave at the same time (RFC 6062 section 5). Errors
// wrap the system's.
func ListenStream(local netip.AddrPort) (*net.TCPListener, error) {
	if err := checkLocal(local); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: shareAddress}
	config.SetMultipathTCP(false) // MPTCP sockets don't share an address with plain ones
	l, err := config.Listen(context.Background(), "tcp", local.String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// DialStream opens a TCP connection to a peer from a local address, which may be
// one that [ListenStream] has. It gives up when ctx is done.
func DialStream(ctx context.Context, local, peer netip.AddrPort) (*net.TCPConn, error) {
	if err := checkLocal(local); err != nil {
		return nil, err
	}
	if !peer.IsValid() {
		return nil, fmt.Errorf("dial %s: not an address", peer)
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Control: shareAddress}
	dialer.SetMultipathTCP(false)
	c, err := dialer.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// CloseStream closes a connection. What was written to it still goes to its other
// end, in order, but not for ever: when the other end has taken nothing for the
// time given, a multiple of a millisecond, the kernel drops the rest. After a plain
// Close the kernel is patient for minutes, with up to megabytes for each connection
// whose other end does not read.
func CloseStream(c *net.TCPConn, patience time.Duration) error {
	err := setOption(c, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
	return errors.Join(err, c.Close())
}

func setOption(c syscall.Conn, level, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, failed)
}

// shareAddress lets sockets of this user have one address.
func shareAddress(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1); failed != nil {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", failed)
}

// Probe reports whether a local address of "udp" or "tcp" could be had by one socket alone. Sockets that are opened to
// be shared, as those of [ListenStream] and [Options].ReusePort, don't find out that another process has the address, if
// it shares it as well.
func Probe(network string, local netip.AddrPort) error {
	if network == "udp" {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
	if err != nil {
		return err
	}
	return l.Close()
}

// HostAddresses returns the addresses of all of the host's interfaces, sorted and
// without zones.
func HostAddresses() ([]netip.Addr, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this host: %w", err)
	}
	addresses := make([]netip.Addr, 0, len(interfaces))
	for _, i := range interfaces {
		network, ok := i.(*net.IPNet)
		if !ok {
			continue
		}
		if a, ok := netip.AddrFromSlice(network.IP); ok {
			addresses = append(addresses, a.Unmap())
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses), nil
}
