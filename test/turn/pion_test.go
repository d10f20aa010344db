package turn

import (
	"fmt"
	"testing"
	"time"
)

// Messages that a pion client exchanges in one test: the first go by Send and Data, the rest by the channel that it
// binds meanwhile.
const exchanged = 60

// TestPionClients lets both majors reach a peer, and each other, over every transport, IPv6 where they have it.
func TestPionClients(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		for _, transport := range transports {
			for _, host := range []string{"127.0.0.1", "::1"} {
				if host == "::1" && m.name == "v3" {
					continue // asks for no family, and gets IPv4
				}
				t.Run(fmt.Sprintf("%s %s %s", m.name, transport, host), func(t *testing.T) {
					t.Parallel()
					c := s.client(t, m, transport, host, credential{user, password})
					mapped, err := c.SendBindingRequest()
					if err != nil {
						t.Fatalf("Binding: %v", err)
					}
					if got := addrPort(mapped).Addr().String(); got != host {
						t.Errorf("mapped address %v, want one of %s", mapped, host)
					}
					relayed, peer := allocate(t, s, c), socket(t, host)
					if err := c.CreatePermission(peer.LocalAddr()); err != nil {
						t.Fatalf("CreatePermission: %v", err)
					}
					// The peer may speak first: the permission is there.
					if err := deliver(peer, relayed, []byte("first")); err != nil {
						t.Fatalf("peer to client: %v", err)
					}
					exchange(t, relayed, peer, exchanged)

					// Two clients of one relay: relayed address to relayed address.
					other := s.client(t, m, transport, host, credential{user, password})
					second := allocate(t, s, other)
					if err := other.CreatePermission(relayed.LocalAddr()); err != nil {
						t.Fatalf("CreatePermission: %v", err)
					}
					exchange(t, relayed, second, exchanged)
				})
			}
		}
	}
}

// A peer without a permission is not heard; with one it is.
func TestPionPermission(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := s.client(t, m, "udp", "127.0.0.1", credential{user, password})
			relayed, peer := allocate(t, s, c), socket(t, "127.0.0.1")
			if _, err := peer.WriteTo([]byte("unasked"), relayed.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := relayed.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, _, err := relayed.ReadFrom(make([]byte, 100)); err == nil {
				t.Errorf("%d bytes came without a permission", n)
			}
			if err := c.CreatePermission(peer.LocalAddr()); err != nil {
				t.Fatalf("CreatePermission: %v", err)
			}
			if err := deliver(peer, relayed, []byte("asked for")); err != nil {
				t.Fatalf("peer to client: %v", err)
			}
		})
	}
}

// An allocation outlives its lifetime by what its client does about it: a refresh at half time.
func TestPionRefreshes(t *testing.T) {
	t.Parallel()
	const lifetime = time.Minute // the shortest that the configuration takes
	s := start(t, setup{MaxLifetime: lifetime})
	for _, m := range majors {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := s.client(t, m, "udp", "127.0.0.1", credential{user, password})
			relayed, peer := allocate(t, s, c), socket(t, "127.0.0.1")
			for began := time.Now(); time.Since(began) < lifetime+5*time.Second; time.Sleep(10 * time.Second) {
				exchange(t, relayed, peer, 2)
			}
			exchange(t, relayed, peer, 2)
		})
	}
}

// TestPionCredentials takes a name and a password from each source.
func TestPionCredentials(t *testing.T) {
	t.Parallel()
	for _, source := range credentialSources {
		t.Run(source.name, func(t *testing.T) {
			if source.causewayAlone {
				onlyCauseway(t)
			}
			t.Parallel()
			s := start(t, source.setup)
			c := source.credential(t, s)
			for _, m := range majors {
				for _, transport := range []string{"udp", "tls"} {
					client := s.client(t, m, transport, "127.0.0.1", c)
					relayed, peer := allocate(t, s, client), socket(t, "127.0.0.1")
					exchange(t, relayed, peer, 3)
				}
				wrong := s.client(t, m, "udp", "127.0.0.1", credential{c.name, c.password + "x"})
				if relayed, err := wrong.Allocate(); err == nil {
					relayed.Close()
					t.Errorf("%s: allocation with a wrong password", m.name)
				}
			}
		})
	}
}
