package transport

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// cutConn writes what it is given in two halves, the second one when told.
type cutConn struct {
	net.Conn
	cut  bool
	rest chan struct{}
}

func (c *cutConn) Write(b []byte) (int, error) {
	if !c.cut {
		return c.Conn.Write(b)
	}
	c.cut = false
	n, err := c.Conn.Write(b[:len(b)/2])
	if err != nil {
		return n, err
	}
	<-c.rest
	m, err := c.Conn.Write(b[n:])
	return n + m, err
}

// TestDeadlineInATLSRecord: a read that times out in the middle of a record,
// and is taken up again since the connection was used, loses nothing.
func TestDeadlineInATLSRecord(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	const idle = 900 * time.Millisecond
	s := open(t, "tls", func(cfg *Config) { cfg.ServerTLS, cfg.Limits = server, Limits{Idle: idle} })
	raw := &cutConn{Conn: dialFrom(t, "tcp", "127.0.0.3", s.addr()), rest: make(chan struct{})}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	write(t, conn, options(1))
	f := s.next(t).flow
	s.Prove(f)
	raw.cut = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = conn.Write([]byte(options(2)))
	}()
	for range 4 { // past the deadline that the reader has set
		time.Sleep(idle / 3)
		if err := s.Send(f, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	close(raw.rest)
	<-done
	if r := s.next(t); r.flow != f {
		t.Errorf("received on %v", r.flow)
	}
}

// TestKeyUpdate: TLS writes while it reads (RFC 8446 4.6.3), long after the
// deadline of our last write.
func TestKeyUpdate(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil || testing.Short() {
		t.Skip("needs openssl, and some seconds")
	}
	t.Parallel()
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	s := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
	client := exec.Command(openssl, "s_client", "-connect", s.addr().String(), "-quiet", "-no_ign_eof")
	in, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = client.Wait() // whatever it thinks of our certificate
	}()
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}
	say(options(1))
	f := s.next(t).flow
	if err := s.Send(f, []byte(options(3))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(writeTimeout + time.Second/2)
	say("K\n") // a command when it is read alone: update, and ask the other end to
	time.Sleep(time.Second / 2)
	say(options(2))
	if r := s.next(t); r.flow != f || r.msg.CallID().Value() != "c2" {
		t.Errorf("received %v on %v", r.msg, r.flow)
	}
	if err := s.Send(f, []byte(options(3))); err != nil {
		t.Error(err)
	}
}

// TestAnswerBeforeTheEnd: an answer reaches a peer that has more to say when
// its connection is closed.
func TestAnswerBeforeTheEnd(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	for _, network := range []string{"tcp", "tls"} {
		s := open(t, network, func(cfg *Config) { cfg.ServerTLS = server })
		conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
		if network == "tls" {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		write(t, conn, request("Content-Length: 2000000000\r\n", strings.Repeat("v", 200000)))
		if got := wantEnd(t, conn); !strings.HasPrefix(got, "SIP/2.0 513 ") {
			t.Errorf("%s: answered %q", network, got)
		}
	}
}

// TestLocal: what stands in Via and Contact.
func TestLocal(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, _ := identity(t, ours.issue(t, certificate{cn: "us.example.org"}), IdentityOptions{CA: ours.file})
	s := open(t, "udp", func(cfg *Config) {
		cfg.ServerTLS = server
		cfg.Listen = append(cfg.Listen, Listener{"tls", netip.MustParseAddrPort("127.0.0.2:0")})
	})
	for network, want := range map[string]Listener{"udp": s.bound[0], "tls": s.bound[1], "tcp": s.bound[0]} {
		if got := s.Local(network); got != want || got.Addr.Port() == 0 {
			t.Errorf("%s: %v, want %v", network, got, want)
		}
	}
	// Without a listener of its network a connection comes from any of ours.
	b := open(t, "tcp", nil)
	f, err := s.Dial(t.Context(), "tcp", b.addr(), "")
	if err != nil || f.Local.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("dialled from %v, %v", f.Local, err)
	}
	if got, ok := s.Find("tcp", b.addr()); !ok || got != f {
		t.Errorf("found %v, %v", got, ok)
	}
	if got, ok := s.Find("udp", b.addr()); !ok || got.Local != s.bound[0].Addr || got.Remote != b.addr() || !s.Live(got) {
		t.Errorf("found %v, %v", got, ok)
	}
}

// TestAcceptedConnectionIsUsed for requests to where it came from, over TLS
// when its certificate is that of the peer that is asked for (RFC 5923 5).
func TestAcceptedConnectionIsUsed(t *testing.T) {
	ours := newAuthority(t, "ours")
	server, client := identity(t, ours.issue(t, certificate{cn: "us.example.org"}),
		IdentityOptions{CA: ours.file, ClientAuth: tls.VerifyClientCertIfGiven})
	s := open(t, "tls", func(cfg *Config) { cfg.ServerTLS, cfg.ClientTLS = server, client })
	shown := ours.issue(t, certificate{cn: "gw.example.org"})
	for _, certs := range [][]tls.Certificate{{shown}, nil} {
		conn := tls.Client(dialFrom(t, "tcp", "127.0.0.3", s.addr()), &tls.Config{Certificates: certs, InsecureSkipVerify: true})
		defer conn.Close()
		write(t, conn, options(1))
		f := s.next(t).flow
		if got, ok := s.Find("tls", f.Remote); !ok || got != f {
			t.Errorf("found %v, %v", got, ok)
		}
		for _, name := range []string{"gw.example.org", "other.example.org", ""} {
			got, err := s.Dial(t.Context(), "tls", f.Remote, name)
			if used := err == nil && got == f; used != (certs != nil && name == "gw.example.org") {
				t.Errorf("%d certificates, asked for %q: %v, %v", len(certs), name, got, err)
			}
		}
	}
}

// TestNewestIsFound: of several connections to one address the youngest is the
// likeliest to be whole.
func TestNewestIsFound(t *testing.T) {
	ours := newAuthority(t, "ours")
	both := ours.issue(t, certificate{dns: []string{"a.example.org", "b.example.org"}})
	server, client := identity(t, both, IdentityOptions{CA: ours.file})
	b := open(t, "tls", func(cfg *Config) { cfg.ServerTLS = server })
	a := open(t, "tcp", func(cfg *Config) { cfg.ClientTLS = client })
	var flows []Flow
	for _, name := range []string{"a.example.org", "b.example.org"} {
		f, err := a.Dial(t.Context(), "tls", b.addr(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := a.Find("tls", b.addr()); !ok || got != f {
			t.Errorf("found %v, the newest is %v", got, f)
		}
		flows = append(flows, f)
	}
	a.End(flows[1], net.ErrClosed)
	if got, ok := a.Find("tls", b.addr()); !ok || got != flows[0] {
		t.Errorf("found %v, left is %v", got, flows[0])
	}
}

// TestTextOfHeaders is read as RFC 3261 25.1 has it, where the parser is not
// asked.
func TestTextOfHeaders(t *testing.T) {
	for to, want := range map[string]bool{
		"<sip:a@b>;tag=x": true, "<sip:a@b;tag=x>": false, "sip:a@b;TAG = x": true, "<sip:a@b>": false,
		`"a;tag=x" <sip:a@b>`: false, "<sip:a@b>;tagged=x": false,
	} {
		if tagged(to) != want {
			t.Errorf("%s has a tag: %v", to, !want)
		}
	}
	f := Flow{Network: "udp", Remote: netip.MustParseAddrPort("192.0.2.1:40000")}
	for via, want := range map[string]string{
		`SIP/2.0/UDP a:1;x="a,\",;rport";branch=b, SIP/2.0/UDP c`: `SIP/2.0/UDP a:1;x="a,\",;rport";branch=b;received=192.0.2.1, SIP/2.0/UDP c`,
		"SIP/2.0/UDP a ; rport ; received=x ;; branch=b":          "SIP/2.0/UDP a;rport=40000;branch=b;received=192.0.2.1",
	} {
		if got, _ := stampText(via, f); got != want {
			t.Errorf("%s became %s, want %s", via, got, want)
		}
	}
}
