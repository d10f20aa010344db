package turn

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestUclientNegativeModes lets coturn's client misbehave in each of its ways, side by side against one relay: wrong
// channel numbers and connection ids (-N), one message in ten with up to nine bytes thrown anew (-R), connections
// dropped in the middle (-B), allocations made in haste and left (-O), data without permission (-I), and all of it
// together as coturn's own attack scripts do. The relay stays up, serves the next client without loss, and holds no
// more than before.
//
// What uclient itself does of a refused or mangled request is its own affair: it ends with an error at some, and at
// others waits for ever for an answer or for the end of a frame whose length it mangled. Such a run is ended after a
// while; what each row asserts is what must have happened by then.
func TestUclientNegativeModes(t *testing.T) {
	t.Parallel()
	s := start(t, setup{Plain: true, LegacyChannels: true})
	// Clients by DTLS that are ended here leave a connection that the relay drops after an idle minute. They get a relay
	// of their own, which nobody waits for.
	forDTLS := start(t, setup{LegacyChannels: true})
	peer := strconv.Itoa(reflector(t, "127.0.0.1"))
	toPeer := func(flags ...string) []string { return append([]string{"-e", "127.0.0.1", "-r", peer}, flags...) }
	loses := func(t *testing.T, u uclient) {
		if got := u.totals(); got.sent == 0 || got.received > got.sent {
			t.Errorf("%+v", got)
		}
	}
	serves := func(t *testing.T, patience string) {
		u := s.uclient(t, "127.0.0.1", s.Open, "-y", "-n", strconv.Itoa(messages))
		if got := u.totals(); got != (totals{sent: 4 * messages, received: 4 * messages}) {
			t.Errorf("%s: %+v, want %d sent and received and none lost", patience, got, 4*messages)
		}
	}

	serves(t, "before")
	var before holdings
	if !coturnUnderTest {
		s.endAllocations()
		before = s.holdings()
	}

	t.Run("side by side", func(t *testing.T) {
		for _, c := range []struct {
			name  string
			args  []string
			dtls  bool
			times int // runs; one if 0
			check func(t *testing.T, u uclient)
		}{
			// The second channel for the same peer has another number.
			{name: "wrong channels, udp", args: toPeer("-N"), times: 3, check: refused("channel bind: error 400")},
			{name: "wrong channels, tcp", args: toPeer("-N", "-t"), times: 3, check: refused("channel bind: error 400")},
			// One number for each peer, wherever in the range.
			{name: "random channels", args: []string{"-y", "-N"}, times: 3},
			// coturn drops the connection that binds an unknown id, others answer 400; uclient goes on for ever either way.
			{name: "wrong connection ids", args: []string{"-T", "-N"}},
			{name: "without permissions", args: []string{"-y", "-c", "-s", "-I"}, check: func(t *testing.T, u uclient) {
				if got := u.totals(); got != (totals{sent: 2 * messages, lost: 2 * messages}) {
					t.Errorf("%+v, want %d sent and every one dropped", got, 2*messages)
				}
			}},
			{name: "mangled, udp channels", args: toPeer("-R"), times: 3},
			{name: "mangled, udp send", args: toPeer("-R", "-s"), times: 3},
			{name: "mangled, client to client", args: []string{"-y", "-R"}, times: 2},
			{name: "mangled, tcp", args: toPeer("-R", "-t"), times: 3},
			{name: "mangled, tls", args: toPeer("-R", "-t", "-S"), times: 2},
			{name: "mangled, dtls", args: toPeer("-R", "-S"), dtls: true, times: 2},
			{name: "mangled, tcp allocations", args: []string{"-T", "-R"}, times: 2},
			{name: "mangled, ipv6 and mobility", args: []string{"-y", "-R", "-x", "-M"}, times: 2},
			{name: "disconnects, udp", args: toPeer("-B", "-m", "20", "-z", "2", "-n", "2000"), check: loses},
			{name: "disconnects, tcp", args: toPeer("-B", "-m", "20", "-z", "2", "-n", "2000", "-t"), check: loses},
			{name: "haste, udp", args: toPeer("-O", "-m", "100")},
			{name: "haste, tcp", args: toPeer("-O", "-m", "100", "-t")},
			{name: "haste, tcp allocations", args: []string{"-O", "-T", "-m", "50"}},
			{name: "everything, udp", args: toPeer("-B", "-N", "-R", "-G", "-g", "-m", "10"), times: 2},
			{name: "everything, tcp", args: toPeer("-B", "-N", "-R", "-G", "-g", "-m", "10", "-t"), times: 2},
			{name: "everything, tls and tcp allocations", args: []string{"-B", "-N", "-R", "-G", "-T", "-S", "-y", "-g", "-m", "10"}},
		} {
			for range max(c.times, 1) {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					relay, port := s, s.Open
					if c.dtls {
						relay, port = forDTLS, forDTLS.Closed
					}
					args := c.args
					if !slices.Contains(args, "-n") {
						args = append(args, "-n", strconv.Itoa(messages))
					}
					u := relay.uclient(t, "127.0.0.1", port, args...)
					if c.check != nil {
						c.check(t, u)
						return
					}
					if err := u.Wait(12 * time.Second); err != nil {
						u.Kill()
					}
				})
			}
		}
	})

	serves(t, "after")
	if !coturnUnderTest {
		const slack = 32 << 20 // the heap has grown to what a hundred clients at once need
		s.settled(before, slack)
	}
}

// refused returns a check that the client has ended because of an answer.
func refused(answer string) func(t *testing.T, u uclient) {
	return func(t *testing.T, u uclient) {
		t.Helper()
		if err := u.Wait(20 * time.Second); err == nil || u.Running() {
			t.Errorf("uclient ended with %v, want an error", err)
		}
		if !strings.Contains(u.Output(), answer) {
			t.Errorf("uclient did not print %q", answer)
		}
	}
}
