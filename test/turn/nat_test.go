package turn

import (
	"strconv"
	"testing"

	"causeway/test/rig"
)

// TestBehindNATs brings up sessions between two clients, each behind a NAT of its own, and with a peer behind a NAT
// that knows nothing of TURN.
func TestBehindNATs(t *testing.T) {
	for _, nats := range [][2]nat{{cone, cone}, {cone, symmetric}, {symmetric, symmetric}} {
		t.Run(nats[0].name+" and "+nats[1].name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, nats)
			s := start(t, setup{
				Namespace: n.public, Hosts: []string{relayAddress, secondAddress}, LegacyChannels: true,
				Allow: []string{publicNetwork1, publicNetwork2},
			})
			ended := uclientBehind(t, s, n.clients)
			relays := []string{joinHost(relayAddress, s.Open), joinHost(secondAddress, s.Open)}
			for i, kind := range nats {
				mapsLike(t, n.visitor(t, n.clients[i]), relays, kind)
			}
			for _, transport := range []string{"udp", "tcp"} {
				a, b := n.visitor(t, n.clients[0]), n.visitor(t, n.clients[1])
				clientToClient(t, s, a, b, Allocation{Transport: transport, Relay: relays[0]})
				peerToClient(t, a, n.visitor(t, n.clients[1]), relays)
			}
			ended()
		})
	}
}

// mapsLike fails the test if a NAT is not of the kind that it is meant to be.
func mapsLike(t *testing.T, v guest, relays []string, kind nat) {
	t.Helper()
	var mapped []string
	v.do("Mapped", relays, &mapped)
	if same := mapped[0] == mapped[1]; same != (kind == cone) {
		t.Fatalf("a %s NAT maps one socket to %v", kind.name, mapped)
	}
}

// clientToClient has two allocations, each behind a NAT, exchange messages.
func clientToClient(t *testing.T, s *subject, a, b guest, how Allocation) {
	t.Helper()
	const messages = 100
	var relayedA, relayedB string
	a.do("Allocate", how, &relayedA)
	b.do("Allocate", how, &relayedB)
	s.isRelayed(t, relayedA)
	s.isRelayed(t, relayedB)
	a.do("Permit", relayedB, &struct{}{})
	b.do("Permit", relayedA, &struct{}{})
	var atA, atB int
	waitA := a.begin("Exchange", Exchange{Relayed: true, Peer: relayedB, Messages: messages}, &atA)
	b.do("Exchange", Exchange{Relayed: true, Peer: relayedA, Messages: messages}, &atB)
	waitA()
	if atA != messages || atB != messages {
		t.Errorf("%s: of %d messages each way %d and %d came", how.Transport, messages, atA, atB)
	}
}

// peerToClient has a peer behind the other NAT send to the allocation of a client, and the client answer. The client
// knows the address of that NAT; the port is the one that the peer's messages come from.
func peerToClient(t *testing.T, client, peer guest, relays []string) {
	t.Helper()
	const messages = 50
	var mapped []string
	peer.do("Mapped", relays[:1], &mapped)
	client.do("Permit", mapped[0], &struct{}{})
	wait := client.begin("Reflect", messages, &struct{}{})
	var relayed string
	client.do("Relayed", struct{}{}, &relayed)
	var back int
	peer.do("Exchange", Exchange{Peer: relayed, Messages: messages}, &back)
	wait()
	if back != messages {
		t.Errorf("of %d messages of a peer behind a NAT %d came back", messages, back)
	}
}

// uclientBehind runs coturn's client behind each NAT, and returns what waits for the ends.
func uclientBehind(t *testing.T, s *subject, namespaces [2]string) (ended func()) {
	t.Helper()
	path := rig.Need(t, "turnutils_uclient", "coturn")
	var runs []uclient
	for _, namespace := range namespaces {
		runs = append(runs, uclient{t: t, Process: rig.Spawn(t, t.TempDir(), "uclient", nil, "ip", "netns", "exec", namespace, path,
			"-v", "-y", "-c", "-n", strconv.Itoa(messages), "-p", strconv.Itoa(s.Open), "-u", user, "-w", password, relayAddress)})
	}
	return func() {
		t.Helper()
		for _, u := range runs {
			if got := u.totals(); got != (totals{sent: 2 * messages, received: 2 * messages}) {
				t.Errorf("uclient behind a NAT: %+v, want nothing lost", got)
			}
			for _, a := range u.relayed() {
				s.isRelayed(t, a)
			}
		}
	}
}
