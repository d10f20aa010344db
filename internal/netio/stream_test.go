package netio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A connection leaves from the address that a listener has, to several peers, while
// others come in by it (RFC 6062 section 5).
func TestStreams(t *testing.T) {
	for _, local := range []netip.Addr{v4, v6} {
		t.Run(local.String(), func(t *testing.T) {
			needs(t, local)
			l, err := ListenStream(netip.AddrPortFrom(local, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			relayed := l.Addr().(*net.TCPAddr).AddrPort()
			if relayed.Addr() != local || relayed.Port() == 0 {
				t.Fatalf("listening on %v", relayed)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for range 2 {
				peer, err := ListenStream(netip.AddrPortFrom(local, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				c, err := DialStream(ctx, relayed, peer.Addr().(*net.TCPAddr).AddrPort())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				converse(t, c, accept(t, peer), relayed)
			}
			in, err := net.Dial("tcp", relayed.String())
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			converse(t, in, accept(t, l), in.LocalAddr().(*net.TCPAddr).AddrPort())
		})
	}
}

func accept(t *testing.T, l *net.TCPListener) net.Conn {
	t.Helper()
	l.SetDeadline(time.Now().Add(10 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// converse checks that what one end says the other hears, from the address given.
func converse(t *testing.T, one, other net.Conn, from netip.AddrPort) {
	t.Helper()
	if got := other.RemoteAddr().(*net.TCPAddr).AddrPort(); got != from {
		t.Errorf("the connection comes from %v, want %v", got, from)
	}
	if _, err := io.WriteString(one, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	other.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(other, b); err != nil || string(b) != "hello" {
		t.Errorf("heard %q, %v", b, err)
	}
}

func TestStreamErrors(t *testing.T) {
	l, err := ListenStream(netip.AddrPortFrom(v4, 0))
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	to := peer.Addr().(*net.TCPAddr).AddrPort()
	c, err := DialStream(t.Context(), at, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := DialStream(t.Context(), at, to); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a second connection between two addresses: %v, want EADDRNOTAVAIL", err)
	}
	if _, err := ListenStream(to); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening on a taken address: %v, want EADDRINUSE", err)
	}
	l.Close()
	if _, err := DialStream(t.Context(), netip.AddrPortFrom(v4, 0), at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling nobody: %v, want ECONNREFUSED", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialStream(done, netip.AddrPortFrom(v4, 0), to); !errors.Is(err, context.Canceled) {
		t.Errorf("dialling when it is over: %v", err)
	}
	mapped := netip.MustParseAddrPort("[::ffff:127.0.0.1]:0")
	if _, err := ListenStream(mapped); err == nil {
		t.Error("listening on an IPv4-mapped address")
	}
	if _, err := DialStream(t.Context(), mapped, to); err == nil {
		t.Error("dialling from an IPv4-mapped address")
	}
	if _, err := DialStream(t.Context(), netip.AddrPortFrom(v4, 0), netip.AddrPort{}); err == nil {
		t.Error("dialling no address")
	}
}

func TestHostAddresses(t *testing.T) {
	got, err := HostAddresses()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(got, v4) || !slices.IsSortedFunc(got, netip.Addr.Compare) {
		t.Errorf("addresses %v", got)
	}
	for i, a := range got {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || i > 0 && a == got[i-1] {
			t.Errorf("address %v", a)
		}
	}
}

// What nobody reads goes with the connection that it was written to, soon after.
func TestCloseStream(t *testing.T) {
	l, err := ListenStream(netip.AddrPortFrom(v4, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reader, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	c := accept(t, l).(*net.TCPConn)
	c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for b := make([]byte, 1<<20); err == nil; {
		_, err = c.Write(b)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := CloseStream(c, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for left(t, c) {
		if time.Now().After(deadline) {
			t.Fatal("the kernel keeps what nobody reads")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := CloseStream(c, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("again: %v", err)
	}
}

// left reports whether the kernel has the local end of a connection still.
func left(t *testing.T, c net.Conn) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	return bytes.Contains(table, fmt.Appendf(nil, ":%04X 0100007F:%04X ", local.Port, remote.Port))
}
