package proxies

import (
	"context"
	"crypto/tls"
	"fmt"
	stdnet "net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// Who of the pool may connect: with a certificate where one is required, by the address or the certificate's name that
// pool.peers has, and without one where that is no matter (tls.clients).
func TestClientsOfThePool(t *testing.T) {
	t.Parallel()
	const name = "fe1.example.test"
	byAddress, byName := false, true
	for _, c := range []struct {
		clients string
		byName  bool // how pool.peers has it
		shows   *rig.Identity
		drop    string // "": it may call
	}{
		{"required", byAddress, &rig.Identity{CommonName: "somebody"}, ""},
		{"required", byAddress, nil, "certificate_missing"},
		{"required", byAddress, &rig.Identity{CommonName: "late", Expired: true}, "certificate_expired"},
		{"optional", byAddress, nil, ""},
		{"optional", byAddress, &rig.Identity{CommonName: "late", Expired: true}, "certificate_expired"},
		{"off", byAddress, nil, ""},
		{"off", byAddress, &rig.Identity{CommonName: "late", Expired: true}, ""}, // it is never asked
		{"required", byName, &rig.Identity{CommonName: "front end", Names: []string{name}}, ""},
		{"required", byName, &rig.Identity{CommonName: "FE1.example.test"}, ""},
		{"required", byName, &rig.Identity{CommonName: "fe2.example.test"}, "peer_not_allowed"},
		{"required", byName, &rig.Identity{CommonName: "*.example.test"}, "peer_not_allowed"},
		{"optional", byName, nil, "peer_not_allowed"},
	} {
		shown := "nothing"
		if c.shows != nil {
			shown = c.shows.CommonName
		}
		t.Run(fmt.Sprintf("%s, by name %v, shows %s", c.clients, c.byName, shown), func(t *testing.T) {
			t.Parallel()
			net := rig.NewNetwork(t)
			config := standard(t, net)
			config.Pool.Clients = c.clients
			config.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(bob)) // somebody else
			config.PoolPeers = []string{net.Addr(alice).String()}
			if c.byName {
				config.PoolPeers = []string{name}
			}
			s := start(t, config)
			gatewayAt(t, net, nil)
			own := identity(t, everyone(t, net))
			own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
			if c.shows != nil {
				files, err := issue(*c.shows)
				if err != nil {
					t.Fatal(err)
				}
				pair := identity(t, files).Certificates[0]
				own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			caller := startEndpoint(t, ua.Config{
				Name: "alice", Listen: fmt.Sprintf("tls://%s:5061", net.Addr(alice)), TLS: own, SRTP: ua.AES80, Audio: sine(poolTone),
			}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			call, err := caller.Call(ctx, fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, net.Addr(poolSide)), ua.Options{From: poolNumber})
			if c.drop == "" {
				if err != nil {
					t.Fatalf("the call: %v, drops %q", err, s.drops())
				}
				if err := call.Hangup(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Error("the call was answered")
			}
			if s.dropped("pool", c.drop) == 0 {
				t.Errorf("dropped %q, want %s", s.drops(), c.drop)
			}
		})
	}
}

// The certificate of a gateway has to carry its configured name exactly, in the common name or as an alternative name,
// be signed by the authority, in date and not revoked (seed G8; RFC 5922 7). Otherwise there is no link, in either
// direction, and the log of the one that refuses says why, with the name that was found.
func TestCertificatesOfTheGateway(t *testing.T) {
	t.Parallel()
	elsewhere, err := rig.NewAuthority(filepath.Join(t.TempDir(), "tls"), "another authority")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		id      rig.Identity // of the second causeway
		stray   bool         // from another authority
		revoked bool
		drop    string   // counted by the first; "": it is good
		inward  string   // when the second connects, if not the same
		words   []string // of the line that it logs
	}{
		{name: "name as common name", id: rig.Identity{CommonName: nameB}},
		{name: "name as alternative name", id: rig.Identity{CommonName: "gateway 7", Names: []string{"other.example.test", nameB}}},
		{name: "case of names", id: rig.Identity{CommonName: "B.Example.TEST"}},
		{name: "another name", id: rig.Identity{CommonName: "c.example.test", Names: []string{"c.example.test"}},
			drop: "certificate_name", words: []string{"c.example.test", nameB}},
		{name: "a wildcard", id: rig.Identity{CommonName: "*.example.test", Names: []string{"*.example.test"}},
			drop: "certificate_name", words: []string{"*.example.test", nameB}},
		{name: "a name below it", id: rig.Identity{CommonName: "x." + nameB, Names: []string{"x." + nameB}},
			drop: "certificate_name", words: []string{"x." + nameB}},
		{name: "its address alone", id: rig.Identity{CommonName: "b"}, drop: "certificate_name", words: []string{nameB}},
		{name: "revoked", id: rig.Identity{CommonName: nameB}, revoked: true, drop: "certificate_revoked", words: []string{nameB}},
		// As a client it shows nothing to one that does not name its authority (RFC 8446 4.4.2.3).
		{name: "another authority", id: rig.Identity{CommonName: nameB}, stray: true, drop: "certificate_chain", inward: "certificate_missing",
			words: []string{"another authority"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := setPair(t, "tls", func(a, b *configuration) {
				if c.id.CommonName == "b" {
					c.id.Addresses = []string{b.Net.Addr(second + gatewaySide).String()}
				}
				by := authority
				if c.stray {
					by = elsewhere
				}
				files, err := by.Issue(fmt.Sprintf("b%d", issued.Add(1)), c.id)
				if err != nil {
					t.Fatal(err)
				}
				files.CA = authority.CA // what it trusts itself
				b.Gateway.TLS = files
				// A list that names somebody else lets everybody through.
				others, err := issue(rig.Identity{CommonName: "somebody"})
				if err != nil {
					t.Fatal(err)
				}
				revoked := []rig.PKI{others}
				if c.revoked {
					revoked = append(revoked, files)
				}
				if a.Gateway.CRL, err = authority.Revoke(fmt.Sprintf("crl%d", issued.Add(1)), revoked...); err != nil {
					t.Fatal(err)
				}
			})
			if c.drop == "" {
				for _, fromBob := range []bool{false, true} {
					placed, taken := p.call(t, fromBob)
					hangUp(t, placed, taken)
				}
				return
			}
			// The second shows it as a server, then as a client.
			if _, err := p.alice.Call(t.Context(), p.target(0, gatewayNumber), ua.Options{From: poolNumber}); err == nil || !strings.Contains(err.Error(), "503") {
				t.Errorf("the call to it: %v, want 503", err)
			}
			counted := refusals(t, p.a, c.drop, c.words, 0)
			if _, err := p.bob.Call(t.Context(), p.target(second, poolNumber), ua.Options{From: gatewayNumber}); err == nil || !strings.Contains(err.Error(), "503") {
				t.Errorf("the call from it: %v, want 503", err)
			}
			if c.inward != "" {
				c.drop, c.words, counted = c.inward, []string{c.inward}, 0
			}
			refusals(t, p.a, c.drop, c.words, counted)
		})
	}
}

// A gateway whose certificate is out of date. No causeway starts with one, so this is another's.
func TestCertificateOutOfDate(t *testing.T) {
	t.Parallel()
	net, dns := rig.NewNetwork(t), rig.NewDNS(t)
	c := linked(t, net, dns, "tls", nameA, nameB, 0)
	dns.Host(nameB, net.Addr(gateway).String())
	s := start(t, c)
	files, err := issue(rig.Identity{CommonName: nameB, Expired: true})
	if err != nil {
		t.Fatal(err)
	}
	caller := userAt(t, net, alice, "alice", poolTone, nil)
	config := identity(t, files)
	startEndpoint(t, ua.Config{Name: "gateway", Listen: fmt.Sprintf("tls://%s:5060", net.Addr(gateway)), TLS: config}, nil)
	target := fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, net.Addr(poolSide))
	if _, err := caller.Call(t.Context(), target, ua.Options{From: poolNumber}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the call to it: %v, want 503", err)
	}
	counted := refusals(t, s, "certificate_expired", []string{nameB}, 0)
	config.ServerName = nameA
	from := &stdnet.Dialer{LocalAddr: &stdnet.TCPAddr{IP: net.Addr(gateway).AsSlice()}}
	conn, err := tls.DialWithDialer(from, "tcp", fmt.Sprintf("%s:5060", net.Addr(gatewaySide)), config)
	if err == nil { // TLS 1.3 tells a client after its own end of the handshake
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || os.IsTimeout(err) {
		t.Errorf("the connection from it was not refused: %v", err)
	}
	refusals(t, s, "certificate_expired", []string{nameB}, counted)
}

// refusals waits until a causeway has counted more than before of a drop of the gateway side, and looks for a warning in
// its log with all the words. It returns the count.
func refusals(t *testing.T, s *causeway, drop string, words []string, before float64) float64 {
	t.Helper()
	var counted float64
	rig.Eventually(t, 5*time.Second, "the refusal is counted", func() string {
		if counted = s.dropped("gateway", drop); counted > before {
			return ""
		}
		return strings.Join(append(s.drops(), s.logged("WARN")...), "\n")
	})
	if lines := s.logged(append(words, `"level":"WARN"`)...); len(lines) == 0 {
		t.Errorf("no warning has the words %q: %s", words, strings.Join(s.logged("WARN"), "\n"))
	}
	return counted
}
