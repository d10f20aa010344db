package transport

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func tlsServer(raw net.Conn, config *tls.Config) *tls.Conn { return tls.Server(raw, config) }

// TestIdentityOfPeers: who is believed, in either role, and why not.
func TestIdentityOfPeers(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	namesake := newAuthority(t, "ours") // another key of the same name
	between := ours.below(t, "between")
	gw := certificate{cn: "gw.example.org"}
	hour := time.Now().Add(time.Hour)
	revoked := ours.issue(t, gw)
	fine := ours.issue(t, gw)
	const none = dropCount
	for _, c := range []struct {
		name string
		cert tls.Certificate
		opts IdentityOptions
		drop Drop
		says string
	}{
		{"its common name", fine, IdentityOptions{}, none, ""},
		{"in other letters", ours.issue(t, certificate{cn: "GW.Example.ORG"}), IdentityOptions{}, none, ""},
		{"a subject alternative name", ours.issue(t, certificate{cn: "x", dns: []string{"a.example.org", "gw.example.org"}}), IdentityOptions{}, none, ""},
		{"the common name beside others", ours.issue(t, certificate{cn: "gw.example.org", dns: []string{"a.example.org"}}), IdentityOptions{}, none, ""},
		{"a sip uri", ours.issue(t, certificate{uris: []string{"sip:gw.example.org"}}), IdentityOptions{}, none, ""},
		{"a user's sip uri", ours.issue(t, certificate{uris: []string{"sip:gw@gw.example.org"}}), IdentityOptions{}, DropCertificateName, "gw.example.org exactly"},
		{"a uri of another kind", ours.issue(t, certificate{uris: []string{"im:gw.example.org"}}), IdentityOptions{}, DropCertificateName, "im:gw.example.org"},
		{"another name", ours.issue(t, certificate{cn: "evil.example.org", dns: []string{"other.example.org"}}), IdentityOptions{},
			DropCertificateName, `carries CN "evil.example.org", DNS "other.example.org", expected is gw.example.org exactly`},
		{"a wildcard", ours.issue(t, certificate{cn: "*.example.org", dns: []string{"*.example.org"}}), IdentityOptions{}, DropCertificateName, `"*.example.org"`},
		{"a longer name", ours.issue(t, certificate{cn: "gw.example.org.evil.net", dns: []string{"xgw.example.org"}}), IdentityOptions{}, DropCertificateName, "expected is gw.example.org"},
		{"a name and a zero octet", ours.issue(t, certificate{cn: "gw.example.org\x00.evil.net"}), IdentityOptions{}, DropCertificateName, "expected"},
		{"no name", ours.issue(t, certificate{ips: nil}), IdentityOptions{}, DropCertificateName, "no name"},
		{"one name of two", ours.issue(t, certificate{dns: []string{"gw2.example.org", "gw.example.org"}}), IdentityOptions{Names: []string{"gw1.example.org", "gw2.example.org"}}, none, ""},
		{"none of two", fine, IdentityOptions{Names: []string{"gw1.example.org", "gw2.example.org"}}, DropCertificateName, "gw1.example.org or gw2.example.org"},
		{"another authority", others.issue(t, gw), IdentityOptions{}, DropCertificateChain, `issued by "CN=others"`},
		{"an authority of the same name", namesake.issue(t, gw), IdentityOptions{}, DropCertificateChain, "gw.example.org"},
		{"an authority in between, shown", between.issue(t, gw, between.cert), IdentityOptions{}, none, ""},
		{"an authority in between, not shown", between.issue(t, gw), IdentityOptions{}, DropCertificateChain, `"CN=between"`},
		{"a leaf that plays authority", fakeAuthority(t, ours, gw), IdentityOptions{}, DropCertificateChain, "gw.example.org"},
		{"out of date", ours.issue(t, certificate{cn: "gw.example.org", notAfter: time.Now().Add(-time.Minute)}), IdentityOptions{}, DropCertificateExpired, "is valid from"},
		{"not yet valid", ours.issue(t, certificate{cn: "gw.example.org", notBefore: time.Now().Add(time.Minute)}), IdentityOptions{}, DropCertificateExpired, "is valid from"},
		{"no usage of TLS", ours.issue(t, certificate{cn: "gw.example.org", usages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}), IdentityOptions{}, DropCertificateChain, "usage"},
		{"not revoked", fine, IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.list(t, hour, revoked))}, none, ""},
		{"not revoked, DER", fine, IdentityOptions{CRL: writeFile(t, ours.list(t, hour, revoked))}, none, ""},
		{"revoked", revoked, IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.list(t, hour, revoked))}, DropCertificateRevoked, "is revoked"},
		{"revoked, DER", revoked, IdentityOptions{CRL: writeFile(t, ours.list(t, hour, revoked))}, DropCertificateRevoked, "is revoked"},
		{"revoked by the second list", revoked, IdentityOptions{CRL: writePEM(t, "X509 CRL", others.list(t, hour), ours.list(t, hour, revoked))}, DropCertificateRevoked, "is revoked"},
		{"revoked by the second list, DER", revoked, IdentityOptions{CRL: writeFile(t, append(others.list(t, hour), ours.list(t, hour, revoked)...))}, DropCertificateRevoked, "is revoked"},
		{"revoked by a list that expired", revoked, IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.list(t, time.Now().Add(-time.Minute), revoked))}, DropCertificateRevoked, "is revoked"},
		{"the list expired", fine, IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.list(t, time.Now().Add(-time.Minute)))}, DropCertificateRevocation, "has expired"},
		{"a list of another authority alone", fine, IdentityOptions{CRL: writePEM(t, "X509 CRL", others.list(t, hour))}, DropCertificateRevocation, "there is no revocation list"},
		{"no list of the authority in between", between.issue(t, gw, between.cert), IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.list(t, hour))}, DropCertificateRevocation, `"CN=between"`},
		{"a list of the authority in between", between.issue(t, gw, between.cert), IdentityOptions{CRL: writePEM(t, "X509 CRL", between.list(t, hour))}, none, ""},
		{"the authority in between is revoked", between.issue(t, gw, between.cert), IdentityOptions{CRL: writePEM(t, "X509 CRL", between.list(t, hour), ours.list(t, hour, tls.Certificate{Leaf: between.cert}))}, DropCertificateRevoked, `CN "between"`},
		{"a list of the authority in between by another key", between.issue(t, gw, between.cert), IdentityOptions{CRL: writePEM(t, "X509 CRL", ours.below(t, "between").list(t, hour))}, DropCertificateRevocation, "another key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.CA, c.opts.ClientAuth = ours.file, tls.RequireAndVerifyClientCert
			if c.opts.Names == nil {
				c.opts.Names = []string{"gw.example.org"}
			}
			server, client := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), c.opts)

			// The peer calls us.
			s := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
			conn := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()), &tls.Config{InsecureSkipVerify: true,
				// Shown whatever authorities the server names.
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }})
			defer conn.Close()
			_, _ = conn.Write([]byte(options(1)))
			outcome(t, s, c.drop, c.says)
			if c.drop != none {
				if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the connection stays open: %v", err)
				}
			}

			// We call the peer, and expect any of the names.
			listener, to := stalledTLS(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				raw, err := listener.Accept()
				if err != nil {
					return
				}
				conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{c.cert}})
				defer conn.Close()
				_, _ = conn.Write([]byte(options(1)))
				_, _ = conn.Read(make([]byte, 1))
			}()
			u := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = client })
			dialled := "gw.example.org"
			if len(c.opts.Names) > 1 {
				dialled = "gw2.example.org"
			}
			if f, err := u.Dial(t.Context(), "tls", to, dialled); (err == nil) != (c.drop == none) {
				t.Errorf("dialled %v: %v", f, err)
			} else if err == nil && !u.Live(f) {
				t.Error("dialled, and not live")
			}
			if len(c.opts.Names) == 1 || c.drop == none {
				outcome(t, u, c.drop, c.says)
			}
			u.Close()
			<-done
		})
	}
}

// fakeAuthority shows a certificate that a leaf, which may not, has signed.
func fakeAuthority(t *testing.T, a *authority, c certificate) tls.Certificate {
	leaf := a.issue(t, certificate{cn: "leaf.example.org"})
	fake := &authority{cert: leaf.Leaf, key: leaf.PrivateKey.(*ecdsa.PrivateKey)}
	return fake.issue(t, c, leaf.Leaf)
}

// outcome is one message received, or one drop counted and explained.
func outcome(t *testing.T, s *side, drop Drop, says string) {
	t.Helper()
	if drop == dropCount {
		s.next(t)
		return
	}
	s.counted(t, drop, 1)
	s.drops.Each(func(reason string, n uint64) {
		if n > 0 && reason != drop.String() {
			t.Errorf("%d %s", n, reason)
		}
	})
	if log := strings.ReplaceAll(s.log.String(), `\"`, `"`); !strings.Contains(log, says) || !strings.Contains(log, "level=WARN") {
		t.Errorf("the log does not say %q:\n%s", says, log)
	}
	if len(s.got) != 0 {
		t.Error("a message was taken")
	}
}

// TestClientCertificates: required, optional and off.
func TestClientCertificates(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	const none = dropCount
	for _, c := range []struct {
		name  string
		auth  tls.ClientAuthType
		shown []tls.Certificate
		drop  Drop
		leaf  bool // is passed to AllowPeer
	}{
		{"required and shown", tls.RequireAndVerifyClientCert, []tls.Certificate{ours.issue(t, certificate{cn: "a"})}, none, true},
		{"required and missing", tls.RequireAndVerifyClientCert, nil, DropCertificateMissing, false},
		{"required and strange", tls.RequireAndVerifyClientCert, []tls.Certificate{others.issue(t, certificate{cn: "a"})}, DropCertificateChain, false},
		{"optional and shown", tls.VerifyClientCertIfGiven, []tls.Certificate{ours.issue(t, certificate{cn: "a"})}, none, true},
		{"optional and missing", tls.VerifyClientCertIfGiven, nil, none, false},
		{"optional and strange", tls.VerifyClientCertIfGiven, []tls.Certificate{others.issue(t, certificate{cn: "a"})}, DropCertificateChain, false},
		{"off and shown", tls.NoClientCert, []tls.Certificate{others.issue(t, certificate{cn: "a"})}, none, false},
		{"issued for servers alone", tls.RequireAndVerifyClientCert, []tls.Certificate{ours.issue(t, certificate{cn: "a", usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})}, none, true},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(c.name+" "+tls.VersionName(version), func(t *testing.T) {
				server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file, ClientAuth: c.auth})
				asked := make(chan *x509.Certificate, 1)
				s := open(t, "tls", func(cfg *Config) {
					cfg.ServerTLS = server
					cfg.AllowPeer = func(_ netip.Addr, leaf *x509.Certificate) error {
						asked <- leaf
						return nil
					}
				})
				conn := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()), &tls.Config{
					// Shown whatever authorities the server names.
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						if len(c.shown) == 0 {
							return &tls.Certificate{}, nil
						}
						return &c.shown[0], nil
					},
					InsecureSkipVerify: true, MaxVersion: version,
				})
				defer conn.Close()
				_, _ = conn.Write([]byte(options(1)))
				outcome(t, s, c.drop, "")
				if c.drop == none {
					if leaf := <-asked; (leaf != nil) != c.leaf {
						t.Errorf("AllowPeer got %v", leaf)
					}
				}
			})
		}
	}
}

// TestAllowPeerDecides instead of Allow on tls listeners, and is counted.
func TestAllowPeerDecides(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file, ClientAuth: tls.VerifyClientCertIfGiven})
	s := open(t, "tls", func(cfg *Config) {
		cfg.ServerTLS = server
		cfg.Allow = func(netip.Addr) bool { return false }
		cfg.AllowPeer = func(_ netip.Addr, leaf *x509.Certificate) error {
			if leaf == nil {
				return errors.New("no peer of this side")
			}
			return nil
		}
	})
	conn := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()), &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	_, _ = conn.Write([]byte(options(1)))
	outcome(t, s, DropPeerNotAllowed, "no peer of this side")
	named := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()), &tls.Config{
		Certificates: []tls.Certificate{ours.issue(t, certificate{cn: "a"})}, InsecureSkipVerify: true})
	defer named.Close()
	write(t, named, options(2))
	s.next(t)
}

// TestDialledName: the name that Dial is given has to be there, beside any of
// the configured ones; without one, the address has to be. A connection made
// for one name is not used for another.
func TestDialledName(t *testing.T) {
	ours := newAuthority(t, "ours")
	both := ours.issue(t, certificate{dns: []string{"a.example.org", "b.example.org"}, ips: []string{"127.0.0.1"}})
	server, _ := identity(t, both, IdentityOptions{CA: ours.file})
	b := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
	_, client := identity(t, tls.Certificate{}, IdentityOptions{CA: ours.file})
	a := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = client })
	flows := map[string]Flow{}
	for _, name := range []string{"a.example.org", "b.example.org", ""} {
		f, err := a.Dial(t.Context(), "tls", b.addr(), name)
		if err != nil {
			t.Fatal(err)
		}
		for other, flow := range flows {
			if flow == f {
				t.Errorf("the connection to %q serves %q", other, name)
			}
		}
		flows[name] = f
		if again, err := a.Dial(t.Context(), "tls", b.addr(), name); err != nil || again != f {
			t.Errorf("%q again: %v, %v", name, again, err)
		}
	}
	if _, err := a.Dial(t.Context(), "tls", b.addr(), "c.example.org"); err == nil {
		t.Error("connected to c")
	}
	a.counted(t, DropCertificateName, 1)
	other := open(t, "tls", func(cfg *Config) {
		cfg.ServerTLS, _ = identity(t, ours.issue(t, certificate{dns: []string{"a.example.org"}, ips: []string{"127.0.0.2"}}), IdentityOptions{CA: ours.file})
	})
	if _, err := a.Dial(t.Context(), "tls", other.addr(), ""); err == nil || !strings.Contains(err.Error(), "127.0.0.1 exactly") {
		t.Errorf("connected to another address: %v", err)
	}
	strict, err := clientWith(ours.file, "b.example.org")
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = strict })
	if _, err := c.Dial(t.Context(), "tls", other.addr(), "a.example.org"); err == nil {
		t.Error("connected to a peer of none of the names")
	}
}

func clientWith(ca string, names ...string) (*tls.Config, error) {
	_, client, err := Identity(IdentityOptions{CA: ca, Names: names})
	return client, err
}

// TestPlainClientConfiguration: a tls.Config that is not Identity's verifies
// as crypto/tls does.
func TestPlainClientConfiguration(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{dns: []string{"a.example.org"}}), IdentityOptions{CA: ours.file})
	b := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	a := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = &tls.Config{RootCAs: roots} })
	if _, err := a.Dial(t.Context(), "tls", b.addr(), "a.example.org"); err != nil {
		t.Error(err)
	}
	if _, err := a.Dial(t.Context(), "tls", b.addr(), "b.example.org"); err == nil {
		t.Error("connected to b")
	}
	a.counted(t, DropCertificateName, 1)
}

// TestNoSessionIsResumed: what a certificate was worth at its first handshake,
// it need not be at the next.
func TestNoSessionIsResumed(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	s := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1)
		for i := range 2 {
			conn := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()),
				&tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache, ServerName: "us.example.org", MaxVersion: version})
			write(t, conn, options(i))
			if err := s.Send(s.next(t).flow, []byte("END")); err != nil {
				t.Fatal(err)
			}
			want(t, conn, "END") // with what tickets came before it
			if conn.ConnectionState().DidResume {
				t.Errorf("%s: resumed", tls.VersionName(version))
			}
			conn.Close()
		}
	}
}

// TestHandshakeIsBounded: a peer that does not finish it has no connection for
// long, and what it sent in its place is no message.
func TestHandshakeIsBounded(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	s := open(t, "tls", func(cfg *Config) {
		cfg.ServerTLS, cfg.Limits = server, Limits{Unproven: 2}
	})
	plain := dialFrom(t, "tcp", "127.0.0.3", s.addr())
	write(t, plain, options(1))
	s.counted(t, DropTLSHandshake, 1)
	_ = wantEnd(t, plain)
	for i := range 5 { // silent ones displace each other
		conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
		s.counted(t, DropUnproven, uint64(max(0, i-1)))
		defer conn.Close()
	}
	if st := s.Stats(); st.Unproven != 2 || st.Connections != 0 {
		t.Errorf("%+v", st)
	}
	if n := s.drops.Count(DropTLSHandshake); n != 1 {
		t.Errorf("%d handshakes counted as failed, want 1: displaced ones have a name of their own", n)
	}
}

// TestRevocationIsReadAnew when its file changes, and kept when the new one
// is of no use.
func TestRevocationIsReadAnew(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	cert := ours.issue(t, certificate{cn: "gw.example.org"})
	chain := [][]*x509.Certificate{{cert.Leaf, ours.cert}}
	now := time.Now()
	hour := now.Add(time.Hour)
	path := writePEM(t, "X509 CRL", ours.list(t, hour))
	r, err := loadRevocation(path, []*x509.Certificate{ours.cert}, func() time.Time { return now }, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.check(chain); err != nil {
		t.Fatal(err)
	}
	write(ours.list(t, hour, cert))
	if err := r.check(chain); err != nil {
		t.Errorf("read before its time: %v", err)
	}
	now = now.Add(crlInterval)
	if err := r.check(chain); dropOf(err) != DropCertificateRevoked {
		t.Errorf("after the change: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("no list"), newAuthority(t, "ours").list(t, hour)} {
		write(bad)
		now = now.Add(crlInterval)
		if err := r.check(chain); dropOf(err) != DropCertificateRevoked {
			t.Errorf("after %d bytes of nonsense: %v", len(bad), err)
		}
	}
	write(append(others.list(t, hour), ours.list(t, hour)...))
	now = now.Add(crlInterval)
	if err := r.check(chain); err != nil {
		t.Errorf("no longer revoked: %v", err)
	}
	for what, at := range map[string]time.Time{"after the list expired": hour.Add(time.Second), "before it began": hour.Add(-3 * time.Hour)} {
		now = at
		if err := r.check(chain); dropOf(err) != DropCertificateRevocation {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestIdentityRefuses files and names that cannot be right.
func TestIdentityRefuses(t *testing.T) {
	ours := newAuthority(t, "ours")
	hour := time.Now().Add(time.Hour)
	part := func() []byte { // a list with a critical extension, as deltas have
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: hour,
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}}
		der, err := x509.CreateRevocationList(rand.Reader, template, ours.cert, ours.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, c := range []struct {
		opts IdentityOptions
		want string
	}{
		{IdentityOptions{Names: []string{"*.example.org"}}, "*.example.org"},
		{IdentityOptions{Names: []string{""}}, `""`},
		{IdentityOptions{CA: "/nowhere"}, "/nowhere"},
		{IdentityOptions{CA: writeFile(t, []byte("nothing"))}, "no certificate"},
		{IdentityOptions{CA: writePEM(t, "CERTIFICATE", []byte("nothing"))}, "authorities"},
		{IdentityOptions{Certificate: "/nowhere", Key: "/nowhere"}, "/nowhere"},
		{IdentityOptions{CRL: "/nowhere"}, "/nowhere"},
		{IdentityOptions{CRL: writeFile(t, nil)}, "no list"},
		{IdentityOptions{CRL: writePEM(t, "CERTIFICATE", ours.cert.Raw)}, "no list"},
		{IdentityOptions{CRL: writeFile(t, []byte("nothing"))}, "revocation lists"},
		{IdentityOptions{CA: ours.file, CRL: writeFile(t, newAuthority(t, "ours").list(t, hour))}, "not signed"},
		{IdentityOptions{CA: ours.file, CRL: writeFile(t, part())}, "lists in parts"},
	} {
		if _, _, err := Identity(c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.opts, err, c.want)
		}
	}
	if server, client, err := Identity(IdentityOptions{CA: ours.file}); server != nil || client == nil || err != nil {
		t.Errorf("without a certificate: %v, %v, %v", server, client, err)
	}
}

// TestNamesInTheLogAreBounded: a certificate does not write our log.
func TestNamesInTheLogAreBounded(t *testing.T) {
	var dns []string
	for range 500 {
		dns = append(dns, strings.Repeat("a", 60)+"\nlevel=ERROR")
	}
	got := namesOf(&x509.Certificate{DNSNames: dns, Subject: pkix.Name{CommonName: strings.Repeat("x", 1<<16)}})
	if len(got) > 1500 || strings.Contains(got, "\n") || !strings.Contains(got, "493 more") {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
}

// TestEveryDropHasAName, and no two the same.
func TestEveryDropHasAName(t *testing.T) {
	seen := map[string]bool{}
	(&Drops{}).Each(func(reason string, _ uint64) {
		if reason == "" || seen[reason] {
			t.Errorf("a drop is called %q", reason)
		}
		seen[reason] = true
	})
}
