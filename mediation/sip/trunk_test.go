package sip

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/test/rig"
)

// trunk is a registrar on a TCP socket. It knows one pair of credentials.
type trunk struct {
	mu       sync.Mutex
	bindings []string // Expires of every REGISTER with good credentials
	bad      int      // credentials that were not
	probes   int
}

func newTrunk(t *testing.T, addr netip.AddrPort) *trunk {
	t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	s := &trunk{}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return s
}

// serve answers requests without bodies until the connection ends.
func (s *trunk) serve(conn net.Conn) {
	defer conn.Close()
	var head strings.Builder
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		head.WriteString(lines.Text() + "\r\n")
		if lines.Text() != "" {
			continue
		}
		msg, err := sip.NewParser().ParseSIP([]byte(head.String()))
		head.Reset()
		if req, ok := msg.(*sip.Request); err == nil && ok {
			fmt.Fprint(conn, s.answer(req).String())
		}
	}
}

func (s *trunk) answer(req *sip.Request) *sip.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Method == sip.OPTIONS {
		s.probes++
		return says(req, 200)
	}
	h := req.GetHeader("Authorization")
	if h == nil {
		return says(req, 401, `WWW-Authenticate: Digest realm="trunk", nonce="abc", algorithm=MD5, qop="auth"`,
			`WWW-Authenticate: Digest realm="trunk", nonce="abc", algorithm=SHA-256, qop="auth"`)
	}
	_, rest := cutToken(h.Value())
	p, _, _ := parseAuthParams(rest)
	want := hex256(hex256("trunk", "trunk", "secret"), "abc", p["nc"], p["cnonce"], "auth", hex256(req.Method.String(), req.Recipient.String()))
	if p["response"] != want || p["algorithm"] != "SHA-256" {
		s.bad++
		return says(req, 403)
	}
	s.bindings = append(s.bindings, asked(req))
	return grant(req)
}

func (s *trunk) seen() (bindings []string, bad, probes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.bindings...), s.bad, s.probes
}

// RFC 3263 4.3, RFC 3261 10 and 22 on the wire: SRV records, the first of which
// leads nowhere; OPTIONS finds that out, REGISTER goes to the second, answers
// its challenge, and is taken back at the end.
func TestTrunkOnTheWire(t *testing.T) {
	network := rig.NewNetwork(t)
	ours, dead, alive := network.Addr(1), netip.AddrPortFrom(network.Addr(2), 5070), netip.AddrPortFrom(network.Addr(3), 5080)
	dns := rig.NewDNS(t)
	dns.Service("_sip._tcp.trunk.example.test",
		rig.SRV{Priority: 1, Port: dead.Port(), Target: "a.trunk.example.test"},
		rig.SRV{Priority: 2, Port: alive.Port(), Target: "b.trunk.example.test"})
	dns.Host("a.trunk.example.test", dead.Addr().String())
	dns.Host("b.trunk.example.test", alive.Addr().String())
	provider := newTrunk(t, alive)
	peer, err := locate.New(locate.Config{
		Host: "trunk.example.test", Network: "tcp", Resolver: locate.Resolver(dns.Addr()), Strict: true,
		Heartbeat: locate.Heartbeat{Interval: 200 * time.Millisecond, Failures: 2, Successes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	credentials := &Credentials{"trunk", "secret"}
	e, err := Open(Config{
		Side: "gateway", Listen: []Listener{{Network: "tcp", Addr: netip.AddrPortFrom(ours, 5060)}}, Allow: peer.Allowed,
		Hop: Hop{Host: "trunk.example.test", Network: "tcp"}, Peer: peer, Credentials: credentials,
		Register:  &RegistrationConfig{Registrar: "sip:trunk.example.test", AOR: "sip:+4930@trunk.example.test", Expires: 10 * time.Minute, Credentials: credentials, Peer: peer},
		UserAgent: "causeway/test", Log: slog.New(slog.DiscardHandler),
		Invite: func(*Session) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Serve()
	rig.Eventually(t, 10*time.Second, "the trunk is registered, and its dead address known", func() string {
		s := e.Registration().Status()
		_, _, probes := provider.seen()
		if !s.Registered || s.Target.Addr != alive || probes < 2 || !peer.Up() || peer.Targets()[0].Addr != alive {
			return fmt.Sprintf("registration %+v, %d probes, peer %+v", s, probes, peer.Status())
		}
		return ""
	})
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	bindings, bad, _ := provider.seen()
	if fmt.Sprint(bindings) != "[600 0]" || bad != 0 {
		t.Errorf("the registrar took bindings for %v s and refused %d", bindings, bad)
	}
}
