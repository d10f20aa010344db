package sip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transport"
)

// Where requests and responses of a dialog go.

// openPeer is a peer on cfg's listeners, of which the first is its address.
func openPeer(t *testing.T, cfg Config) *peer {
	t.Helper()
	p := &peer{network: cfg.Listen[0].Network, addr: cfg.Listen[0].Addr, invites: make(chan *Session, 8), events: make(chan Event, 64)}
	cfg.Side, cfg.Allow, cfg.UserAgent, cfg.Log = "test", everyone, "causeway/test", slog.New(slog.DiscardHandler)
	cfg.Invite = func(s *Session) { s.Own(p.post); p.invites <- s }
	var err error
	if p.Endpoint, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	p.Serve()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// listenerOn is a listener of network on a free port of ip.
func listenerOn(t *testing.T, network, ip string) Listener {
	t.Helper()
	return Listener{Network: network, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), freePort(t, network, ip))}
}

func packets(t *testing.T, ip string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func streams(t *testing.T, ip string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	return l.(*net.TCPListener)
}

func portOf(a net.Addr) int { return int(netip.MustParseAddrPort(a.String()).Port()) }

// agree answers req, which came by conn, with 200.
func agree(t *testing.T, conn net.Conn, req string) {
	t.Helper()
	writeLines(t, conn, "SIP/2.0 200 OK", headerLine(req, "Via"), headerLine(req, "From"), headerLine(req, "To"),
		headerLine(req, "Call-ID"), headerLine(req, "CSeq"), "Content-Length: 0")
}

// confirmed is a call from conn by udp, answered and confirmed, and what its
// requests have in common.
func confirmed(t *testing.T, p *peer, conn net.Conn, contact string) (s *Session, in func(method, proto string, seq int) []string) {
	t.Helper()
	inv := rawInvite("first", "1")
	inv[6] = "Contact: <" + contact + ">"
	exchange(t, conn, inv...)
	s = <-p.invites
	_ = s.Accept([]byte("v=0\r\n"))
	to := headerLine(readSome(t, conn), "To")
	in = func(method, proto string, seq int) []string {
		return []string{
			method + " sip:127.0.0.1 SIP/2.0", fmt.Sprintf("Via: SIP/2.0/%s 127.0.0.3:9;rport;branch=z9hG4bK%s%d", proto, method, seq),
			inv[2], to, inv[4], fmt.Sprintf("CSeq: %d %s", seq, method), "Max-Forwards: 70", "Content-Length: 0",
		}
	}
	writeLines(t, conn, in("ACK", "UDP", 1)...)
	p.want(t, Confirmed)
	return s, in
}

// elsewhere is a configured next hop that has no part in a call.
func elsewhere(t *testing.T, p *peer) {
	t.Helper()
	other := packets(t, "127.0.0.9")
	p.cfg.Hop = Hop{Host: "127.0.0.9", Port: portOf(other.LocalAddr()), Network: "udp"}
	t.Cleanup(func() {
		_ = other.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		b := make([]byte, 2048)
		if n, _, _ := other.ReadFrom(b); n > 0 {
			t.Errorf("the configured next hop, another host, got %.60q", b[:n])
		}
	})
}

// TestDialogKeepsItsNetwork: one request by TCP, as a long one has to be (RFC
// 3261 18.1.1), takes a udp dialog nowhere else (12.2.1.1).
func TestDialogKeepsItsNetwork(t *testing.T) {
	udp := listenerOn(t, "udp", "127.0.0.1")
	p := openPeer(t, Config{Listen: []Listener{udp, {Network: "tcp", Addr: udp.Addr}}})
	elsewhere(t, p)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	s, in := confirmed(t, p, conn, "sip:x@pbx.example.org:5060")
	tcp := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	if res := exchange(t, tcp, in("OPTIONS", "TCP", 2)...); !strings.HasPrefix(res, "SIP/2.0 200") {
		t.Fatalf("%.40q", res)
	}
	s.Bye("")
	bye := readSome(t, conn)
	if !strings.HasPrefix(bye, "BYE ") {
		t.Fatalf("the peer got %.40q, want our BYE", bye)
	}
	agree(t, conn, bye)
}

// TestTCPGoesToTheDialogsPeer: a request of a udp dialog that has to go by TCP
// (RFC 3261 18.1.1, RFC 3263 4.1) goes to the host of the dialog, though a name
// in Contact is nobody we know.
func TestTCPGoesToTheDialogsPeer(t *testing.T) {
	for _, transport := range []string{";transport=tcp", ""} {
		p := newPeer(t, "udp", "127.0.0.1", everyone)
		elsewhere(t, p)
		conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
		l := streams(t, "127.0.0.3")
		s, _ := confirmed(t, p, conn, fmt.Sprintf("sip:x@pbx.example.org:%d%s", portOf(l.Addr()), transport))
		want := "BYE "
		if transport == "" {
			want = "INVITE "
			if err := s.Reoffer(bytes.Repeat([]byte("a=x\r\n"), 300)); err != nil {
				t.Fatal(err)
			}
		} else {
			s.Bye("")
		}
		back := accept(t, l)
		req := readSome(t, back)
		if !strings.HasPrefix(req, want) {
			t.Errorf("%q: %.40q, want %s", transport, req, want)
		}
		if transport == "" {
			respond(t, back, "SIP/2.0 488 No", req)
			p.want(t, OfferRefused)
			s.Bye("")
			req = readSome(t, conn)
			agree(t, conn, req)
			continue
		}
		agree(t, back, req)
	}
}

// TestAckOfAPeerWithoutTCP: a Contact that asks for TCP where none is taken
// costs no call; what is short goes by udp (RFC 3261 18.1.1, last paragraph).
func TestAckOfAPeerWithoutTCP(t *testing.T) {
	a := newPeer(t, "udp", "127.0.0.1", everyone)
	callee := packets(t, "127.0.0.2")
	to := callee.LocalAddr().(*net.UDPAddr).AddrPort()
	caller := a.dial(&peer{network: "udp", addr: to})
	b := make([]byte, 8192)
	next := func(method string) (*sip.Request, net.Addr) {
		_ = callee.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, from, err := callee.ReadFrom(b)
		if err != nil {
			t.Fatalf("no %s: %v", method, err)
		}
		msg, err := sip.ParseMessage(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		req, ok := msg.(*sip.Request)
		if !ok || string(req.Method) != method {
			t.Fatalf("got %.40q, want %s", b[:n], method)
		}
		return req, from
	}
	answer := func(req *sip.Request, from net.Addr) {
		res := sip.NewResponseFromRequest(req, 200, "OK", nil)
		res.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:%s;transport=tcp>", to)))
		_, _ = callee.WriteTo([]byte(res.String()), from)
	}
	answer(next("INVITE"))
	a.want(t, Answered)
	caller.Ack(nil)
	next("ACK")
	caller.Bye("")
	answer(next("BYE"))
}

// TestAnswerFindsTheCallerAgain: a TCP connection that is lost while the call
// rings takes the call with it, and the caller hears of that on a new one, to
// the port of its Via (RFC 3261 18.2.2).
func TestAnswerFindsTheCallerAgain(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	l := streams(t, "127.0.0.3")
	conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	inv := numbered("INVITE", 1)
	inv[1] = fmt.Sprintf("Via: SIP/2.0/TCP %s;branch=z9hG4bKback", l.Addr())
	exchange(t, conn, inv...)
	s := <-p.invites
	s.Provisional(180, "", nil)
	readSome(t, conn)
	conn.Close()
	p.want(t, Cancelled)
	if res := readSome(t, accept(t, l)); !strings.HasPrefix(res, "SIP/2.0 487") || headerLine(res, "Call-ID") != "Call-ID: n1" {
		t.Errorf("on the new connection: %.60q", res)
	}
}

// TestLookingForAConnectionForgetsNobody: a request that finds its connection
// ended leaves the note alone by which others are told of the end (RFC 3261
// 17.1.4), and makes none itself.
func TestLookingForAConnectionForgetsNobody(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	ending := transport.Flow{Network: "tcp", Remote: netip.MustParseAddrPort("127.0.0.3:9"), ID: 1 << 40}
	if p.use(ending) || len(p.used) != 0 {
		t.Errorf("%d notes of a connection that has ended", len(p.used))
	}
	p.used[ending] = struct{}{} // by a session that waits
	if _, noted := p.used[ending]; p.use(ending) || !noted || len(p.used) != 1 {
		t.Error("the note of somebody else is gone")
	}
}

// TestLongInvitesTakeNobodyDown: what cannot be sent because of our own rules
// says nothing of the gateway (RFC 3261 18.1.1); three in a row would have
// every call refused.
func TestLongInvitesTakeNobodyDown(t *testing.T) {
	gateway := packets(t, "127.0.0.2") // takes no TCP
	hop := Hop{Host: "127.0.0.2", Port: portOf(gateway.LocalAddr()), Network: "udp"}
	lp, err := locate.New(locate.Config{
		Host: hop.Host, Port: hop.Port, Network: hop.Network, Log: slog.New(slog.DiscardHandler),
		Heartbeat: locate.Heartbeat{Interval: time.Hour, Failures: 3, Successes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := openPeer(t, Config{Listen: []Listener{listenerOn(t, "udp", "127.0.0.1")}, Hop: hop, Peer: lp})
	target := sip.Uri{Scheme: "sip", User: "1", Host: hop.Host, Port: hop.Port}
	from := sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "2", Host: "127.0.0.1"}}
	for range 4 {
		req := p.NewInvite(target, from, sip.ToHeader{Address: target}, 70,
			Header{"History-Info", strings.Repeat("<sip:1@127.0.0.2>;index=1, ", 60)})
		p.Invite(req, []byte("v=0\r\n"), p.post)
		if ev := p.want(t, Failed); ev.Failure.Code != 513 || ev.Failure.PhraseText() == "Server Failure" {
			t.Errorf("%d %s", ev.Failure.Code, ev.Failure.PhraseText())
		}
	}
	if !lp.Up() {
		t.Error("the gateway counts as down")
	}
}
