package rig

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// Ports that no other test of this run was given, below the ephemeral range and none of causeway's own. A run begins
// where its pid says, so that two runs on one machine seldom meet; where they do, a port in use is passed over.
const firstPort, lastPort, portsPerRun = 12000, 19999, 2000

var (
	portBase = firstPort + os.Getpid()%((lastPort+1-firstPort)/portsPerRun)*portsPerRun
	nextPort atomic.Int32
)

// Port hands out one port, which is even.
func Port(t testing.TB) int {
	t.Helper()
	return Ports(t, 1)
}

// Ports hands out n ports in a row and returns the first, which is even.
func Ports(t testing.TB, n int) int {
	t.Helper()
	n += n % 2
	for {
		p := portBase + int(nextPort.Add(int32(n))) - n
		if p+n > portBase+portsPerRun {
			t.Fatal("the tests have used up their ports")
		}
		if free(p, n) {
			return p
		}
	}
}

// free says whether n ports from first are unused on 127.0.0.1, by UDP and by TCP.
func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			return false
		}
		c.Close()
		l, err := net.Listen("tcp", address)
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
