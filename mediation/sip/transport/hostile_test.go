package transport

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// request is an OPTIONS request for the tables below, with a placeholder for
// more header fields and one for its body.
func request(extra, body string) string {
	return "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9:5099;rport;branch=z9hG4bKh\r\n" +
		"From: <sip:a@192.0.2.9>;tag=f\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: h\r\nCSeq: 7 OPTIONS\r\n" + extra + "\r\n" + body
}

const good = "Content-Length: 0\r\n"

// TestHostileStreams: what a peer writes, what it reads, what is counted, and
// whether the connection stays (RFC 3261 7.5, 18.3).
func TestHostileStreams(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		answer       string // the status line's beginning; "": none
		drop         Drop
		stays        bool
	}{
		{"no Content-Length", request("", ""), "SIP/2.0 400 ", DropMalformed, false},
		{"two Content-Lengths", request(good+"l: 0\r\n", ""), "SIP/2.0 400 ", DropMalformed, false},
		{"two that differ", request("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"), "SIP/2.0 400 ", DropMalformed, false},
		{"negative Content-Length", request("Content-Length: -5\r\n", ""), "SIP/2.0 400 ", DropMalformed, false},
		{"Content-Length of letters", request("Content-Length: five\r\n", ""), "SIP/2.0 400 ", DropMalformed, false},
		{"Content-Length too small", request("Content-Length: 1\r\n", "v=0\r\n"), "", DropMalformed, false},
		{"body too long", request("Content-Length: 2000000000\r\n", ""), "SIP/2.0 513 ", DropMessageSize, false},
		{"length beyond 64 bits", request("Content-Length: 99999999999999999999999999\r\n", ""), "SIP/2.0 513 ", DropMessageSize, false},
		{"endless header", request("X: "+strings.Repeat("a", 8000), ""), "SIP/2.0 513 ", DropMessageSize, false},
		{"endless head", request(strings.Repeat("X: a\r\n", 2000), ""), "SIP/2.0 513 ", DropMessageSize, false},
		{"endless start line", "OPTIONS sip:" + strings.Repeat("a", 9000), "", DropMessageSize, false},
		{"many headers", request(strings.Repeat("X: a\r\n", 50)+good, ""), "SIP/2.0 513 ", DropHeaderCount, true},
		{"many to a line", request("Route: "+strings.Repeat("<sip:a;lr>,", 50)+"<sip:a;lr>\r\n"+good, ""), "SIP/2.0 513 ", DropHeaderCount, true},
		{"a header without a colon", request("nothing\r\n"+good, ""), "SIP/2.0 400 ", DropMalformed, true},
		{"a bare CR", request("X: a\rb\r\n"+good, ""), "SIP/2.0 400 ", DropMalformed, true},
		{"spaces in the request line", strings.Replace(request(good, ""), " sip:", "  sip:", 1), "SIP/2.0 400 ", DropMalformed, true},
		{"broken ACK", strings.ReplaceAll(request("nothing\r\n"+good, ""), "OPTIONS", "ACK"), "", DropMalformed, true},
		{"broken without From", strings.Replace(request("nothing\r\n"+good, ""), "From", "Form", 1), "", DropMalformed, true},
		{"broken with two Call-IDs", request("nothing\r\ni: other\r\n"+good, ""), "", DropMalformed, true},
		{"broken response", "SIP/2.0 4294967301 x\r\n" + request(good, "")[len("OPTIONS sip:x@127.0.0.1 SIP/2.0\r\n"):], "", DropMalformed, true},
		{"status code 99", "SIP/2.0 99 x\r\nl: 0\r\n\r\n", "", DropMalformed, true},
		{"status code 700", "SIP/2.0 700 x\r\nl: 0\r\n\r\n", "", DropMalformed, true},
		{"HTTP", "GET / HTTP/1.1\r\n", "", DropMalformed, false},
		{"TLS to a tcp port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", DropMalformed, false},
		{"zero octets", "\x00\x00\x00\x00", "", DropMalformed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, "tcp", func(cfg *Config) { cfg.Limits = Limits{MessageSize: 4096, Headers: 30} })
			conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
			write(t, conn, c.stream)
			s.counted(t, c.drop, 1)
			if !c.stays {
				checkAnswer(t, wantEnd(t, conn), c.answer)
				s.end(t)
				return
			}
			write(t, conn, options(9))
			r := s.next(t)
			if err := s.Send(r.flow, []byte("END")); err != nil || r.msg.CallID().Value() != "c9" {
				t.Fatalf("%v, %v", r.msg, err)
			}
			checkAnswer(t, strings.TrimSuffix(want(t, conn, "END"), "END"), c.answer)
		})
	}
}

// checkAnswer holds an answer to RFC 3261 8.2.6.2; status "" expects none.
func checkAnswer(t *testing.T, got, status string) {
	t.Helper()
	if status == "" {
		if got != "" {
			t.Errorf("answered %q", got)
		}
		return
	}
	msg, err := sip.ParseMessage([]byte(got))
	if err != nil {
		t.Fatalf("answered %q: %v", got, err)
	}
	tag, _ := msg.To().Params.Get("tag")
	received, _ := msg.Via().Params.Get("received")
	branch, _ := msg.Via().Params.Get("branch")
	if !strings.HasPrefix(got, status) || msg.CallID().Value() != "h" || msg.CSeq().SeqNo != 7 || tag == "" ||
		received != "127.0.0.3" || branch != "z9hG4bKh" || strings.Contains(got, "rport;") {
		t.Errorf("answered %q, want %s", got, status)
	}
}

// TestHostileDatagrams: the same over udp, where every datagram is one message
// (RFC 3261 18.3).
func TestHostileDatagrams(t *testing.T) {
	s := open(t, "udp", func(cfg *Config) { cfg.Limits = Limits{MessageSize: 4096, Headers: 30} })
	conn := dialFrom(t, "udp", "127.0.0.3", s.addr())
	for i, c := range []struct {
		name, datagram, answer string
		drop                   Drop
	}{
		{"Content-Length beyond the end", request("Content-Length: 100\r\n", "v=0"), "SIP/2.0 400 ", DropMalformed},
		{"two Content-Lengths", request(good+"l: 0\r\n", ""), "SIP/2.0 400 ", DropMalformed},
		{"negative Content-Length", request("l: -1\r\n", ""), "SIP/2.0 400 ", DropMalformed},
		{"too long", request("", strings.Repeat("x", 5000)), "SIP/2.0 513 ", DropMessageSize},
		{"many headers", request(strings.Repeat("X: a\r\n", 50), ""), "SIP/2.0 513 ", DropHeaderCount},
		{"many to a line", request("Route: "+strings.Repeat("<sip:a;lr>,", 50)+"<sip:a;lr>\r\n", ""), "SIP/2.0 513 ", DropHeaderCount},
		{"no empty line", strings.TrimSuffix(request("", ""), "\r\n"), "SIP/2.0 400 ", DropMalformed},
		{"a response with a number beyond range", "SIP/2.0 200 OK\r\nCSeq: 99999999999 OPTIONS\r\n\r\n", "", DropMalformed},
		{"STUN", "\x01\x01\x00\x00\x21\x12\xa4\x42", "", DropMalformed},
		{"RTP", "\x80" + strings.Repeat("\x00", 171), "", DropMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.drops.Count(c.drop)
			write(t, conn, c.datagram)
			s.counted(t, c.drop, before+1)
			if c.answer != "" {
				checkAnswer(t, readDatagram(t, conn), c.answer)
			}
			write(t, conn, options(i)) // the socket goes on, and no answer is left over
			r := s.next(t)
			if err := s.Send(r.flow, []byte("END")); err != nil {
				t.Fatal(err)
			}
			if got := readDatagram(t, conn); got != "END" {
				t.Errorf("answered %q", got)
			}
		})
	}
}

func readDatagram(t *testing.T, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestBodyEndsWithContentLength: what follows the body in a datagram is not
// part of it (RFC 3261 18.3).
func TestBodyEndsWithContentLength(t *testing.T) {
	s := open(t, "udp", nil)
	conn := dialFrom(t, "udp", "127.0.0.3", s.addr())
	write(t, conn, "\r\n"+request("Content-Length: 3\r\n", "abcdef"))
	if got := s.next(t).msg.Body(); string(got) != "abc" {
		t.Errorf("body %q", got)
	}
	write(t, conn, request("", "abcdef"))
	if got := s.next(t).msg.Body(); string(got) != "abcdef" {
		t.Errorf("body %q", got)
	}
}

// TestStrangersAreNotHeard: an address that is not allowed costs a look at it.
func TestStrangersAreNotHeard(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		s := open(t, network, func(cfg *Config) {
			cfg.Allow = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.3") }
		})
		stranger := dialFrom(t, network, "127.0.0.66", s.addr())
		_, _ = stranger.Write([]byte(options(1))) // closed already, maybe
		s.counted(t, DropPeerNotAllowed, 1)
		if network == "tcp" {
			_ = wantEnd(t, stranger)
		}
		write(t, dialFrom(t, network, "127.0.0.3", s.addr()), options(2))
		if r := s.next(t); r.msg.CallID().Value() != "c2" {
			t.Errorf("%s: received %v", network, r.msg)
		}
		if _, err := s.Dial(t.Context(), network, netip.MustParseAddrPort("127.0.0.66:9"), ""); err == nil || !strings.Contains(err.Error(), ErrNotAllowed.Error()) {
			t.Errorf("dialled a stranger: %v", err)
		}
	}
}

// TestPings: RFC 5626 3.5.1 on streams; on udp what keeps a NAT open is heard
// and not answered.
func TestPings(t *testing.T) {
	s := open(t, "tcp", nil)
	conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
	write(t, conn, "\r\n")
	write(t, conn, options(1)) // one CRLF before it is ignored
	f := s.next(t).flow
	write(t, conn, "\r")
	time.Sleep(time.Millisecond)
	write(t, conn, "\n\r\n")
	if got := want(t, conn, "\r\n"); got != "\r\n" {
		t.Errorf("the pong is %q", got)
	}
	if err := s.Send(f, []byte("END")); err != nil {
		t.Fatal(err)
	}
	if got := want(t, conn, "END"); got != "END" || s.Stats().Keepalives != 1 {
		t.Errorf("one ping was answered with more: %q; %d counted", got, s.Stats().Keepalives)
	}

	u := open(t, "udp", nil)
	conn = dialFrom(t, "udp", "127.0.0.3", u.addr())
	for _, datagram := range []string{"", "\x00", "\r\n", "\r\n\r\n", "\x00\x00\x00\x00"} {
		write(t, conn, datagram)
	}
	write(t, conn, options(2))
	f = u.next(t).flow
	if err := u.Send(f, []byte("END")); err != nil {
		t.Fatal(err)
	}
	if got := readDatagram(t, conn); got != "END" || u.Stats().Keepalives != 5 {
		t.Errorf("a keepalive was answered with %q; %d counted", got, u.Stats().Keepalives)
	}
	u.drops.Each(func(reason string, n uint64) {
		if n != 0 {
			t.Errorf("%d %s", n, reason)
		}
	})
}

// TestPanicsCostOneMessage: faults of those above do not end what is below.
func TestPanicsCostOneMessage(t *testing.T) {
	var s *side
	s = open(t, "tcp", func(cfg *Config) {
		cfg.Receive = func(msg sip.Message, f Flow) {
			if msg.CallID() != nil && msg.CallID().Value() == "c1" {
				panic("Receive")
			}
			s.got <- received{msg, f}
		}
		cfg.Lost = func(f Flow, err error) {
			s.lost <- lost{f, err}
			panic("Lost")
		}
	})
	conn := dialFrom(t, "tcp", "127.0.0.3", s.addr())
	write(t, conn, options(1)+options(2))
	if r := s.next(t); r.msg.CallID().Value() != "c2" {
		t.Errorf("received %v", r.msg)
	}
	conn.Close()
	s.end(t)
	s.counted(t, DropPanic, 2)
}

// TestReply: where responses go (RFC 3261 18.2.2, RFC 3581 4).
func TestReply(t *testing.T) {
	udp := Flow{Network: "udp", Local: netip.MustParseAddrPort("127.0.0.1:5060"), Remote: netip.MustParseAddrPort("192.0.2.1:40000")}
	six := udp
	six.Remote = netip.MustParseAddrPort("[2001:db8::1]:40000")
	tcp := udp
	tcp.Network, tcp.ID = "tcp", 7
	l := open(t, "udp", nil)
	for _, c := range []struct {
		flow      Flow
		via, want string // of the parsed request's Via, and where to
		stamped   string
	}{
		{udp, "SIP/2.0/UDP 192.0.2.1:5070;branch=b", "192.0.2.1:5070", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP 192.0.2.1;branch=b", "192.0.2.1:5060", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP 192.0.2.1:5070;rport;branch=b", "192.0.2.1:40000", "rport=40000"},
		{udp, "SIP/2.0/UDP gw.example.org:5070;RPORT=1;branch=b", "192.0.2.1:40000", "RPORT=40000"},
		{udp, "SIP/2.0/UDP 198.51.100.9:5070;received=198.51.100.8;maddr=198.51.100.7", "192.0.2.1:5070", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP 192.0.2.1:5070;Received=198.51.100.8;received=198.51.100.8", "192.0.2.1:5070", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP [2001:db8::9]:5070;branch=b", "192.0.2.1:5070", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP [2001:db8::9];branch=b", "192.0.2.1:5060", "received=192.0.2.1"},
		{udp, "SIP/2.0/UDP 192.0.2.1:99999;branch=b", "192.0.2.1:5060", "received=192.0.2.1"},
		{six, "SIP/2.0/UDP [2001:db8::1]:5070;branch=b", "[2001:db8::1]:5070", "received=2001:db8::1"},
		{tcp, "SIP/2.0/TCP 192.0.2.1:5070;branch=b", "192.0.2.1:40000", "received=192.0.2.1"},
	} {
		head := "OPTIONS sip:x SIP/2.0\r\nVia: " + c.via + ", SIP/2.0/UDP 203.0.113.1;received=203.0.113.2\r\n" +
			"From: <sip:a>;tag=f\r\nTo: <sip:b>\r\nCall-ID: i\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n"
		msg, err := l.parse([]byte(head), c.flow)
		if err != nil {
			t.Fatalf("%s: %v", c.via, err)
		}
		to := Reply(msg.(*sip.Request), c.flow)
		if to.Remote.String() != c.want || to.Local != c.flow.Local || to.ID != c.flow.ID || to.Network != c.flow.Network {
			t.Errorf("%s: response to %v, want %s", c.via, to, c.want)
		}
		if got := msg.Via().Value(); !strings.Contains(got, c.stamped) || strings.Contains(got, "198.51.100.8") {
			t.Errorf("%s became %s", c.via, got)
		}
		// The answer to what cannot be parsed goes the same way.
		response, way, ok := l.answer([]byte(head), 400, c.flow)
		if !ok || way != to {
			t.Errorf("%s: answer to %v, want %v", c.via, way, to)
		}
		if !bytes.Contains(bytes.ToLower(response), []byte(strings.ToLower(c.stamped))) || !bytes.Contains(response, []byte(", SIP/2.0/UDP 203.0.113.1;received=203.0.113.2\r\n")) {
			t.Errorf("%s: answered %q", c.via, response)
		}
	}
}

// FuzzMessage: no datagram makes more of itself than one message or one answer,
// and no answer carries a line of the sender's making.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(request(good, "")))
	f.Add([]byte(request("nothing\r\n"+good, "")))
	f.Add([]byte(strings.Replace(request(good, "x"), ";tag=f", ";tag=f\rX: y", 1)))
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;b=\",\"\r\n\r\n"))
	flow := Flow{Network: "udp", Remote: netip.MustParseAddrPort("192.0.2.1:40000")}
	l, err := Open(Config{Limits: Limits{MessageSize: 2000, Headers: 20}, Drops: &Drops{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = l.parse(b, flow)
		response, _, ok := l.answer(headOf(b), 400, flow)
		if !ok {
			return
		}
		lines := strings.Split(strings.TrimSuffix(string(response), "\r\n\r\n"), "\r\n")
		vias := 0
		for i, line := range lines {
			name, _, _ := strings.Cut(line, ":")
			switch {
			case strings.ContainsAny(line, "\r\n\x00"):
				t.Errorf("line %q", line)
			case i == 0 && line != "SIP/2.0 400 Bad Request":
				t.Errorf("status line %q", line)
			case name == "Via":
				vias++
			}
		}
		if len(lines) != vias+6 || len(response) > len(b)+400 {
			t.Errorf("%q answered %q", b, response)
		}
	})
}
