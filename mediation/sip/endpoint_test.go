package sip

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"causeway/mediation/sip/transport"
)

func TestMain(m *testing.M) {
	// regexp2 keeps a coarse clock for its match time limit; it stops by itself.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

// peer is an Endpoint under test with its events in one channel.
type peer struct {
	*Endpoint
	addr    netip.AddrPort
	network string
	invites chan *Session
	events  chan Event
}

// everyone is an Allow for loopback peers.
func everyone(netip.Addr) bool { return true }

func newPeer(t *testing.T, network, ip string, allow Allow) *peer {
	t.Helper()
	p := &peer{network: network, invites: make(chan *Session, 8), events: make(chan Event, 64)}
	p.addr = netip.AddrPortFrom(netip.MustParseAddr(ip), freePort(t, network, ip))
	var err error
	p.Endpoint, err = Open(Config{
		Side: "test", Listen: []Listener{{Network: network, Addr: p.addr}}, Allow: allow,
		UserAgent: "causeway/test", Log: slog.New(slog.DiscardHandler),
		Invite: func(s *Session) { s.Own(p.post); p.invites <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		p.Drain(ctx)
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := p.Sessions(); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
	return p
}

func (p *peer) post(ev Event) bool { p.events <- ev; return true }

func freePort(t *testing.T, network, ip string) uint16 {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return uint16(c.LocalAddr().(*net.UDPAddr).Port)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// call sends an INVITE from p to q and returns both ends of it.
func (p *peer) call(t *testing.T, q *peer) (caller, callee *Session) {
	t.Helper()
	caller = p.dial(q)
	select {
	case callee = <-q.invites:
	case <-time.After(5 * time.Second):
		t.Fatal("no INVITE arrived")
	}
	return caller, callee
}

func (p *peer) dial(q *peer) *Session {
	hop := Hop{Host: q.addr.Addr().String(), Port: int(q.addr.Port()), Network: q.network}
	target := sip.Uri{Scheme: "sip", User: "+14255550100", Host: hop.Host, Port: hop.Port}
	from := sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "+12065550100", Host: p.Host()}}
	p.cfg.Hop = hop
	req := p.NewInvite(target, from, sip.ToHeader{Address: target}, 70)
	return p.Invite(req, []byte("v=0\r\n"), p.post)
}

func (p *peer) want(t *testing.T, kind EventKind) Event {
	t.Helper()
	select {
	case ev := <-p.events:
		if ev.Kind != kind {
			t.Fatalf("event %s, want %s (%v)", ev.Kind, kind, ev.Failure)
		}
		return ev
	case <-time.After(5 * time.Second):
		t.Fatalf("no event, want %s", kind)
		return Event{}
	}
}

func (p *peer) quiet(t *testing.T) {
	t.Helper()
	select {
	case ev := <-p.events:
		t.Fatalf("event %s, want none", ev.Kind)
	case <-time.After(50 * time.Millisecond):
	}
}

func overTransports(t *testing.T, f func(t *testing.T, a, b *peer)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			f(t, newPeer(t, network, "127.0.0.1", everyone), newPeer(t, network, "127.0.0.2", everyone))
		})
	}
}

func TestCallAndCallerHangsUp(t *testing.T) { // RFC 3261 13, 15
	overTransports(t, func(t *testing.T, a, b *peer) {
		caller, callee := a.call(t, b)
		if string(callee.SDP()) != "v=0\r\n" {
			t.Errorf("offer %q", callee.SDP())
		}
		callee.Provisional(180, "Ringing", nil)
		if ev := a.want(t, Progress); ev.Code != 180 || ev.SDP != nil {
			t.Errorf("progress %+v", ev)
		}
		if err := callee.Accept([]byte("v=0\r\ns=answer\r\n")); err != nil {
			t.Fatal(err)
		}
		if ev := a.want(t, Answered); !strings.Contains(string(ev.SDP), "answer") {
			t.Errorf("answer %q", ev.SDP)
		}
		caller.Ack(nil)
		b.want(t, Confirmed)
		caller.Bye(`Q.850;cause=16`)
		if ev := b.want(t, Ended); ev.Reason != "Q.850;cause=16" {
			t.Errorf("reason %q", ev.Reason)
		}
		a.quiet(t)
	})
}

func TestCalleeHangsUp(t *testing.T) {
	overTransports(t, func(t *testing.T, a, b *peer) {
		caller, callee := a.call(t, b)
		_ = callee.Accept([]byte("v=0\r\n"))
		a.want(t, Answered)
		caller.Ack(nil)
		b.want(t, Confirmed)
		callee.Bye("")
		a.want(t, Ended)
	})
}

func TestByeWaitsForTheAck(t *testing.T) { // RFC 3261 15: the callee's BYE
	overTransports(t, func(t *testing.T, a, b *peer) {
		caller, callee := a.call(t, b)
		_ = callee.Accept([]byte("v=0\r\n"))
		a.want(t, Answered)
		callee.Bye("")
		a.quiet(t)
		caller.Ack(nil)
		a.want(t, Ended)
	})
}

func TestRejected(t *testing.T) { // RFC 3326: the Reason crosses
	overTransports(t, func(t *testing.T, a, b *peer) {
		_, callee := a.call(t, b)
		callee.Reject(&Failure{Code: 486, Reason: "Q.850;cause=17", Warning: "line \"1\" is busy"})
		ev := a.want(t, Failed)
		if ev.Failure.Code != 486 || ev.Failure.Reason != "Q.850;cause=17" || ev.Failure.Local {
			t.Errorf("failure %+v", ev.Failure)
		}
	})
}

func TestCancelled(t *testing.T) { // RFC 3261 9
	overTransports(t, func(t *testing.T, a, b *peer) {
		caller, callee := a.call(t, b)
		callee.Provisional(180, "", nil)
		a.want(t, Progress)
		caller.Cancel("SIP;cause=200")
		if ev := b.want(t, Cancelled); ev.Reason != "SIP;cause=200" {
			t.Errorf("reason %q", ev.Reason)
		}
		if ev := a.want(t, Failed); ev.Failure.Code != 487 {
			t.Errorf("failure %+v", ev.Failure)
		}
		if err := callee.Accept(nil); err == nil {
			t.Error("a cancelled session was accepted")
		}
	})
}

// TestCancelWaitsForAProvisional is RFC 3261 9.1; 100 is one.
func TestCancelBeforeAnything(t *testing.T) {
	overTransports(t, func(t *testing.T, a, b *peer) {
		caller := a.dial(b)
		caller.Cancel("")
		ev := a.want(t, Failed)
		if ev.Failure.Code != 487 {
			t.Errorf("failure %+v", ev.Failure)
		}
		select { // when the INVITE was out already, it is cancelled
		case <-b.invites:
			b.want(t, Cancelled)
		case <-time.After(100 * time.Millisecond):
		}
	})
}

func TestUnreachable(t *testing.T) { // RFC 3261 8.1.3.1
	a := newPeer(t, "tcp", "127.0.0.1", everyone)
	gone := &peer{network: "tcp", addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freePort(t, "tcp", "127.0.0.2"))}
	a.dial(gone)
	if ev := a.want(t, Failed); ev.Failure.Code != 503 || !ev.Failure.Local {
		t.Errorf("failure %+v", ev.Failure)
	}
}

func TestStrangersAreDropped(t *testing.T) {
	only2 := func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.2") }
	for _, network := range []string{"udp", "tcp"} {
		p := newPeer(t, network, "127.0.0.1", only2)
		conn := dialFrom(t, network, "127.0.0.3", p.addr)
		writeLines(t, conn, optionsLines(network)...)
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := conn.Read(make([]byte, 100)); n > 0 {
			t.Errorf("%s: a stranger got an answer (%v)", network, err)
		}
		if got := p.Drops().Count(transport.DropPeerNotAllowed); got != 1 {
			t.Errorf("%s: %d drops, want 1", network, got)
		}
	}
}

func dialFrom(t *testing.T, network, ip string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(ip)}
	}
	conn, err := d.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func writeLines(t *testing.T, conn net.Conn, lines ...string) {
	t.Helper()
	if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
}

func optionsLines(network string) []string {
	return []string{
		"OPTIONS sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/" + strings.ToUpper(network) + " 127.0.0.3:9;branch=z9hG4bKo;rport",
		"From: <sip:x@127.0.0.3>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: o1", "CSeq: 1 OPTIONS", "Max-Forwards: 0", "Content-Length: 0",
	}
}

// exchange sends lines and returns the first answer.
func exchange(t *testing.T, conn net.Conn, lines ...string) string {
	t.Helper()
	writeLines(t, conn, lines...)
	return readSome(t, conn)
}

func readSome(t *testing.T, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 8192)
	n, err := conn.Read(buf)
	if err != nil && !os.IsTimeout(err) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestOptionsAnswered(t *testing.T) { // RFC 3261 11.2
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	res := exchange(t, conn, optionsLines("udp")...)
	for _, want := range []string{"SIP/2.0 200 OK", "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS", "Accept: application/sdp"} {
		if !strings.Contains(res, want) {
			t.Errorf("answer lacks %q:\n%s", want, res)
		}
	}
}

func rawInvite(branch, cseq string) []string {
	return []string{
		"INVITE sip:+1@127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.3:9;rport;branch=z9hG4bK" + branch,
		"From: <sip:x@127.0.0.3>;tag=raw", "To: <sip:+1@127.0.0.1>", "Call-ID: raw1", "CSeq: " + cseq + " INVITE",
		"Contact: <sip:x@127.0.0.3:9>", "Max-Forwards: 70", "Content-Length: 0",
	}
}

func TestMergedRequest(t *testing.T) { // RFC 3261 8.2.2.2
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	if res := exchange(t, conn, rawInvite("m1", "1")...); !strings.Contains(res, "SIP/2.0 100") {
		t.Fatalf("first: %s", res)
	}
	if res := exchange(t, conn, rawInvite("m2", "1")...); !strings.Contains(res, "SIP/2.0 482") {
		t.Errorf("the same request by another path: %s", res)
	}
	s := <-p.invites
	s.Reject(&Failure{Code: 486})
	if res := readSome(t, conn); !strings.Contains(res, "SIP/2.0 486") {
		t.Errorf("%s", res)
	}
}

// TestAnswerIsRetransmitted is RFC 3261 13.3.1.4: 200 again after T1 until an
// ACK comes, over UDP; the caller here never acknowledges at first.
func TestAnswerIsRetransmitted(t *testing.T) {
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	exchange(t, conn, rawInvite("r1", "1")...)
	s := <-p.invites
	if err := s.Accept([]byte("v=0\r\n")); err != nil {
		t.Fatal(err)
	}
	first := readSome(t, conn)
	second := readSome(t, conn)
	if !strings.Contains(first, "SIP/2.0 200") || first != second {
		t.Fatalf("not the same 200 twice:\n%s\n%s", first, second)
	}
	to := headerLine(first, "To")
	ack := []string{
		"ACK sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.3:9;rport;branch=z9hG4bKack", "From: <sip:x@127.0.0.3>;tag=raw",
		to, "Call-ID: raw1", "CSeq: 1 ACK", "Max-Forwards: 70", "Content-Length: 0",
	}
	writeLines(t, conn, ack...)
	p.want(t, Confirmed)

	inDialog := func(method, cseq, fromTag string) string {
		return exchange(t, conn, method+" sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.3:9;rport;branch=z9hG4bK"+method+cseq+fromTag,
			"From: <sip:x@127.0.0.3>;tag="+fromTag, to, "Call-ID: raw1", "CSeq: "+cseq+" "+method,
			"Contact: <sip:x@127.0.0.3:9>", "Max-Forwards: 70", "Content-Length: 0")
	}
	for _, tt := range []struct{ method, cseq, tag, want string }{
		{"REFER", "5", "raw", "SIP/2.0 405"},    // 8.2.1
		{"INFO", "5", "raw", "SIP/2.0 200"},     // RFC 6086
		{"OPTIONS", "4", "raw", "SIP/2.0 500"},  // 12.2.2: lower CSeq
		{"OPTIONS", "6", "raw", "SIP/2.0 200"},  // 11
		{"BYE", "7", "stranger", "SIP/2.0 481"}, // 12.2.2: another tag
		{"BYE", "8", "raw", "SIP/2.0 200"},
		{"BYE", "9", "raw", "SIP/2.0 481"},
	} {
		res := inDialog(tt.method, tt.cseq, tt.tag)
		for strings.HasPrefix(res, "SIP/2.0 100") {
			res = readSome(t, conn)
		}
		if !strings.HasPrefix(res, tt.want) {
			t.Errorf("%s %s: %.60s, want %s", tt.method, tt.cseq, res, tt.want)
		}
	}
	p.want(t, Ended)
}

func headerLine(msg, name string) string {
	for line := range strings.SplitSeq(msg, "\r\n") {
		if strings.HasPrefix(line, name+":") {
			return line
		}
	}
	return ""
}

// TestAckInTransaction: some peers send the ACK of a 2xx with the INVITE's
// branch; it counts all the same.
func TestAckWithTheInvitesBranch(t *testing.T) {
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	exchange(t, conn, rawInvite("same", "1")...)
	s := <-p.invites
	_ = s.Accept([]byte("v=0\r\n"))
	to := headerLine(readSome(t, conn), "To")
	writeLines(t, conn, "ACK sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.3:9;rport;branch=z9hG4bKsame",
		"From: <sip:x@127.0.0.3>;tag=raw", to, "Call-ID: raw1", "CSeq: 1 ACK", "Max-Forwards: 70", "Content-Length: 0")
	p.want(t, Confirmed)
}

func TestMalformedIsCounted(t *testing.T) {
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	writeLines(t, conn, "this is not SIP at all")
	if res := exchange(t, conn, optionsLines("udp")...); !strings.Contains(res, "200 OK") {
		t.Fatalf("not served after garbage: %s", res)
	}
	if got := p.Drops().Count(transport.DropMalformed); got != 1 {
		t.Errorf("%d malformed, want 1", got)
	}
}

// TestByeRightBehindTheAnswer: 200 and BYE leave the callee in one write; the
// caller must see an answer and then its end.
func TestByeRightBehindTheAnswer(t *testing.T) {
	a := newPeer(t, "tcp", "127.0.0.1", everyone)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	callee := &peer{network: "tcp", addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var conn net.Conn
	for i := range 20 {
		s := a.dial(callee)
		if i == 0 {
			if conn, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		req := readSome(t, conn)
		res := strings.Join([]string{
			"SIP/2.0 200 OK", headerLine(req, "Via"), headerLine(req, "From"), headerLine(req, "To") + ";tag=callee",
			headerLine(req, "Call-ID"), headerLine(req, "CSeq"), "Contact: <sip:127.0.0.2:9;transport=tcp>", "Content-Length: 0", "", "",
		}, "\r\n")
		from := strings.Replace(headerLine(req, "To"), "To:", "From:", 1) + ";tag=callee"
		bye := strings.Join([]string{
			"BYE sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.2:9;branch=z9hG4bK" + newTag(), from,
			strings.Replace(headerLine(req, "From"), "From:", "To:", 1), headerLine(req, "Call-ID"), "CSeq: 1 BYE",
			"Max-Forwards: 70", "Content-Length: 0", "", "",
		}, "\r\n")
		if _, err := conn.Write([]byte(res + bye)); err != nil {
			t.Fatal(err)
		}
		a.want(t, Answered)
		a.want(t, Ended)
		s.Ack(nil) // it went out before the BYE was served
		got := readSome(t, conn)
		for !strings.Contains(got, "ACK sip:") || !strings.Contains(got, "SIP/2.0 200") {
			more := readSome(t, conn)
			if got += more; more == "" {
				t.Fatalf("the 200 and BYE were answered with %q", got)
			}
		}
	}
}
