package sip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Peers that break the rules, by accident or on purpose. Each of these once
// hurt more than its own call.

// rawCallee is a TCP peer whose messages the test writes itself.
func rawCallee(t *testing.T) (net.Listener, *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, &peer{network: "tcp", addr: l.Addr().(*net.TCPAddr).AddrPort()}
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// respond answers req with a status line and the headers it needs.
func respond(t *testing.T, conn net.Conn, status, req string) {
	t.Helper()
	writeLines(t, conn, status, headerLine(req, "Via"), headerLine(req, "From"), headerLine(req, "To")+";tag=callee",
		headerLine(req, "Call-ID"), headerLine(req, "CSeq"), "Contact: <sip:127.0.0.2:9;transport=tcp>", "Content-Length: 0")
}

func TestResponsesWithoutHeaders(t *testing.T) {
	a := newPeer(t, "tcp", "127.0.0.1", everyone)
	l, callee := rawCallee(t)
	a.dial(callee)
	conn := accept(t, l)
	req := readSome(t, conn)
	incomplete := func(status string) {
		writeLines(t, conn, status, headerLine(req, "Via"), headerLine(req, "CSeq"), "Content-Length: 0")
	}
	incomplete("SIP/2.0 180 Ringing")
	a.quiet(t)
	if got := a.Drops().Count(DropInvalid); got != 1 {
		t.Errorf("%d counted as invalid, want 1", got)
	}
	incomplete("SIP/2.0 486 Busy") // final all the same: nothing will follow it
	a.want(t, Failed)
	if got := a.Drops().Count(DropPanic); got != 0 {
		t.Errorf("%d panics", got)
	}
}

func TestReasonPhraseDoesNotCross(t *testing.T) { // header injection by a bare LF
	a := newPeer(t, "tcp", "127.0.0.1", everyone)
	l, callee := rawCallee(t)
	a.dial(callee)
	conn := accept(t, l)
	req := readSome(t, conn)
	respond(t, conn, "SIP/2.0 180 Ring\nX-Injected: 1", req)
	if ev := a.want(t, Progress); ev.Phrase != "" {
		t.Errorf("phrase %q", ev.Phrase)
	}
	respond(t, conn, "SIP/2.0 486 Busy\nX-Injected: 1", req)
	if ev := a.want(t, Failed); ev.Failure.Phrase != "" {
		t.Errorf("phrase %q", ev.Failure.Phrase)
	}
}

func TestByeBeforeTheAnswer(t *testing.T) { // RFC 3261 15: not the callee's to send
	a := newPeer(t, "tcp", "127.0.0.1", everyone)
	l, callee := rawCallee(t)
	a.dial(callee)
	conn := accept(t, l)
	req := readSome(t, conn)
	respond(t, conn, "SIP/2.0 180 Ringing", req)
	a.want(t, Progress)
	writeLines(t, conn, "BYE sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.2:9;branch=z9hG4bKearly",
		strings.Replace(headerLine(req, "To"), "To:", "From:", 1)+";tag=callee", strings.Replace(headerLine(req, "From"), "From:", "To:", 1),
		headerLine(req, "Call-ID"), "CSeq: 1 BYE", "Max-Forwards: 70", "Content-Length: 0")
	if res := readSome(t, conn); !strings.HasPrefix(res, "SIP/2.0 481") {
		t.Errorf("BYE answered %.30q", res)
	}
	respond(t, conn, "SIP/2.0 486 Busy", req)
	if ev := a.want(t, Failed); ev.Failure.Code != 486 {
		t.Errorf("%v", ev.Failure)
	}
}

func numbered(method string, i int) []string {
	return []string{
		method + " sip:+1@127.0.0.1 SIP/2.0", fmt.Sprintf("Via: SIP/2.0/TCP 127.0.0.3:9;rport;branch=z9hG4bKn%d", i),
		"From: <sip:x@127.0.0.3>;tag=raw", "To: <sip:+1@127.0.0.1>", fmt.Sprintf("Call-ID: n%d", i), "CSeq: 1 " + method,
		"Contact: <sip:x@127.0.0.3:9>", "Max-Forwards: 70", "Content-Length: 0",
	}
}

// TestCancelInOneSegment: INVITE and CANCEL arrive together, a hundred times.
func TestCancelInOneSegment(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	for i := range 100 {
		both := append(append(numbered("INVITE", i), "", ""), numbered("CANCEL", i)...)
		writeLines(t, conn, both...)
		for got := ""; !strings.Contains(got, "SIP/2.0 487"); {
			more := readSome(t, conn)
			if got += more; more == "" || strings.Contains(got, "SIP/2.0 481") {
				t.Fatalf("call %d: %q", i, got)
			}
		}
		<-p.invites
		p.want(t, Cancelled)
		ack := numbered("ACK", i)
		writeLines(t, conn, ack...)
	}
}

// TestCallersThatVanish: the connection closes right behind the INVITE; the
// owner hears of every one.
func TestCallersThatVanish(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	const callers = 50
	for i := range callers {
		conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
		writeLines(t, conn, numbered("INVITE", i)...)
		conn.Close()
	}
	sessions, ended := 0, 0
	for quiet := time.After(3 * time.Second); ended < callers; {
		select {
		case <-p.invites:
			sessions++
		case ev := <-p.events:
			if ev.Kind == Cancelled {
				ended++
			}
		case <-quiet:
			// A request whose connection was gone before it was read never
			// became a session.
			if ended != sessions {
				t.Fatalf("%d sessions, %d ended", sessions, ended)
			}
			return
		}
	}
}

func only3(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.3") }

// established is a call from 127.0.0.3, answered and confirmed, with a Contact.
func established(t *testing.T, p *peer, conn net.Conn, contact string) *Session {
	t.Helper()
	lines := numbered("INVITE", 1)
	lines[6] = "Contact: <" + contact + ">"
	exchange(t, conn, lines...)
	s := <-p.invites
	if err := s.Accept([]byte("v=0\r\n")); err != nil {
		t.Fatal(err)
	}
	to := headerLine(readSome(t, conn), "To")
	ack := numbered("ACK", 2)
	ack[3], ack[4] = to, "Call-ID: n1"
	writeLines(t, conn, ack...)
	p.want(t, Confirmed)
	return s
}

// TestContactOpensNoSocket: a Contact with another transport must not make us
// listen on one, where nobody is turned away.
func TestContactOpensNoSocket(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", only3)
	conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	s := established(t, p, conn, "sip:x@127.0.0.3:9;transport=udp")
	conn.Close()
	time.Sleep(50 * time.Millisecond)
	s.Bye("")
	stranger := dialFrom(t, "udp", "127.0.0.66", p.addr)
	writeLines(t, stranger, rawInvite("hole", "7")...)
	_ = stranger.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := stranger.Read(make([]byte, 100)); n > 0 || err == nil {
		t.Errorf("a stranger was answered over UDP (%v)", err)
	}
}

// TestContactAimsAtNobody: in-dialog requests go to peers alone.
func TestContactAimsAtNobody(t *testing.T) {
	victim, err := net.ListenPacket("udp", "127.0.0.99:0")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	for _, host := range []string{victim.LocalAddr().String(), "localhost:" + strings.Split(victim.LocalAddr().String(), ":")[1]} {
		p := newPeer(t, "udp", "127.0.0.1", only3)
		conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
		s := established(t, p, conn, "sip:x@"+host)
		s.Bye("")
		if req := readSome(t, conn); !strings.HasPrefix(req, "BYE ") {
			t.Errorf("the peer got %.30q, want our BYE", req)
		}
	}
	_ = victim.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, from, _ := victim.ReadFrom(make([]byte, 100)); n > 0 {
		t.Errorf("somebody who is no peer got %d bytes from %s", n, from)
	}
}

// TestViaAimsAtNobody: a response whose connection is gone goes back to where
// the request came from, not to what its Via says (RFC 3261 18.2.2).
func TestViaAimsAtNobody(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", only3)
	victim, err := net.Listen("tcp", "127.0.0.99:0")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	for i := range 50 {
		conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
		lines := optionsLines("tcp")
		lines[1] = fmt.Sprintf("Via: SIP/2.0/TCP %s;branch=z9hG4bKv%d", victim.Addr(), i)
		writeLines(t, conn, lines...)
		conn.Close()
	}
	_ = victim.(*net.TCPListener).SetDeadline(time.Now().Add(300 * time.Millisecond))
	if conn, err := victim.Accept(); err == nil {
		conn.Close()
		t.Error("a connection was made to somebody who is no peer")
	}
}

// TestPeerThatDoesNotRead must not hold Close.
func TestPeerThatDoesNotRead(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	for i := range 20000 {
		lines := optionsLines("tcp")
		lines[1] = fmt.Sprintf("Via: SIP/2.0/TCP 127.0.0.3:9;branch=z9hG4bKo%d;rport", i)
		_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
			break // both directions are full
		}
	}
	closed := make(chan struct{})
	go func() { _ = p.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(8 * time.Second):
		t.Error("one peer that does not read holds Close")
		conn.Close()
		<-closed
	}
}

func TestCrew(t *testing.T) {
	panics := make(chan any, 1)
	c := crew{panicked: func(p any, _ []byte) { panics <- p }}
	c.wait(context.Background()) // nobody to wait for
	release := make(chan struct{})
	c.run(func() { <-release })
	c.run(func() { panic("one of them") })
	if p := <-panics; p != "one of them" {
		t.Errorf("panic %v", p)
	}
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	c.wait(short)
	close(release)
	c.wait(context.Background())
	c.stop()
	if c.run(func() { t.Error("ran after stop") }) {
		t.Error("started after stop")
	}
}
