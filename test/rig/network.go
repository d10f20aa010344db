package rig

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
)

// Network is a /24 of loopback that no other test of this run was given, so that each of its addresses has every port:
// the well-known ones, and whole ranges for media. Programs that bind a port on all addresses, or that leave from the
// address the kernel prefers, which is 127.0.0.1, take theirs from Port instead.
type Network struct{ a, b byte }

var networks atomic.Int32

// A run has so many networks: four times 250.
const perOctet, octetsPerRun, firstOctet, octets = 250, 4, 64, 128

// NewNetwork hands out a network. A run begins where its pid says, so that two runs on one machine seldom meet.
func NewNetwork(t testing.TB) Network {
	t.Helper()
	n := int(networks.Add(1)) - 1
	if n >= perOctet*octetsPerRun {
		t.Fatal("the tests have used up their networks")
	}
	run := os.Getpid() % (octets / octetsPerRun)
	return Network{byte(firstOctet + run*octetsPerRun + n/perOctet), byte(1 + n%perOctet)}
}

// Addr is an address of the network, its last byte given.
func (n Network) Addr(host byte) netip.Addr { return netip.AddrFrom4([4]byte{127, n.a, n.b, host}) }

// String is the network as a prefix: 127.a.b.0/24.
func (n Network) String() string { return fmt.Sprintf("%s/24", n.Addr(0)) }
