package signalling

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// agent is a SIP user agent by hand: every byte that it sends is in the test that sends it, and everything that it hears
// is kept, with its time. It answers nothing by itself but OPTIONS. Its methods belong to the goroutine of its test.
type agent struct {
	t       testing.TB
	side    string         // pool or gateway
	network string         // udp or tcp
	local   netip.AddrPort // where it listens
	peer    netip.AddrPort // causeway's listener on this side

	udp      *net.UDPConn
	listener *net.TCPListener
	readers  sync.WaitGroup

	mu     sync.Mutex // guards the following
	heard  []*message // everything, in order of arrival
	broken []error    // what could not be read as SIP
	more   chan struct{}
	links  []*link
	known  []func(*message) bool // what may be heard without being expected
	mute   bool                  // does not answer OPTIONS
	says   string                // its answer to OPTIONS; "200 OK" when empty
	pings  int                   // OPTIONS outside a dialog, heard so far
	closed bool
}

// link is a TCP connection of an agent.
type link struct {
	*net.TCPConn
	dialled bool
	done    chan struct{} // closed when the other end has ended it
}

// newAgent opens the sockets of an agent and reads them until the end of the test, when everything that it heard must
// have been expected by the test.
func newAgent(t testing.TB, side, network string, local, peer netip.AddrPort) *agent {
	t.Helper()
	a := &agent{t: t, side: side, network: network, local: local, peer: peer, more: make(chan struct{})}
	a.listen(network)
	t.Cleanup(a.finish)
	return a
}

// listen opens the socket for one more network.
func (a *agent) listen(network string) {
	a.t.Helper()
	var err error
	if network == "udp" {
		if a.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(a.local)); err != nil {
			a.t.Fatal(err)
		}
		a.readers.Go(a.readDatagrams)
		return
	}
	if a.listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a.local)); err != nil {
		a.t.Fatal(err)
	}
	a.readers.Go(a.accept)
}

func (a *agent) finish() {
	a.close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, err := range a.broken {
		a.t.Errorf("%s heard what is no SIP: %v", a.side, err)
	}
	for _, m := range a.heard {
		if !m.taken && !m.again && m.code() != 100 && !a.t.Failed() && !a.knownLocked(m) {
			a.t.Errorf("%s heard what no test expected:\n%s", a.side, m.raw)
		}
	}
	if a.t.Failed() {
		a.t.Logf("%s, at %v, heard:\n%s", a.side, a.local, a.ladderLocked())
	}
}

func (a *agent) knownLocked(m *message) bool {
	return slices.ContainsFunc(a.known, func(fits func(*message) bool) bool { return fits(m) })
}

// ladderLocked is what was heard, a line a message.
func (a *agent) ladderLocked() string {
	var b strings.Builder
	for _, m := range a.heard {
		note := ""
		if m.again {
			note = " (again)"
		} else if !m.taken {
			note = " (not expected)"
		}
		fmt.Fprintf(&b, "%s %s | CSeq %s | Call-ID %.12s%s\n", m.at.Format("15:04:05.000"), m.first, m.header("CSeq"), m.callID(), note)
	}
	return b.String()
}

// close ends the agent's sockets and waits for their readers.
func (a *agent) close() {
	a.mu.Lock()
	a.closed = true
	links := a.links
	a.mu.Unlock()
	if a.udp != nil {
		a.udp.Close()
	}
	if a.listener != nil {
		a.listener.Close()
	}
	for _, l := range links {
		l.Close()
	}
	a.readers.Wait()
}

func (a *agent) readDatagrams() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := a.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if strings.TrimSpace(string(buf[:n])) == "" {
			continue // keep-alive
		}
		m, err := parseMessage(string(buf[:n]))
		a.take(m, err, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil)
	}
}

func (a *agent) accept() {
	for {
		c, err := a.listener.AcceptTCP()
		if err != nil {
			return
		}
		a.follow(&link{TCPConn: c, done: make(chan struct{})})
	}
}

// follow reads a connection until it ends.
func (a *agent) follow(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		l.Close()
		return
	}
	a.links = append(a.links, l)
	a.readers.Go(func() {
		defer close(l.done)
		defer l.Close()
		from := l.RemoteAddr().(*net.TCPAddr).AddrPort()
		r := bufio.NewReader(l)
		for {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			a.take(m, nil, from, l)
		}
	})
}

// connect makes a connection to causeway from a port that the kernel chooses.
func (a *agent) connect() *link {
	a.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.local.Addr().AsSlice()}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", a.peer.String())
	if err != nil {
		a.t.Fatal(err)
	}
	l := &link{TCPConn: c.(*net.TCPConn), dialled: true, done: make(chan struct{})}
	a.follow(l)
	return l
}

// take keeps what was heard.
func (a *agent) take(m *message, err error, from netip.AddrPort, over *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.broken = append(a.broken, err)
		return
	}
	m.at, m.from, m.over = time.Now(), from, over
	if m.method() == "OPTIONS" && m.code() == 0 && m.tag("To") == "" {
		a.pings++
		m.taken = true
		if !a.mute && !a.closed {
			_ = a.write(answerTo(m, cmp.Or(a.says, "200 OK"), "me"), from, over)
		}
	}
	m.again = slices.ContainsFunc(a.heard, func(o *message) bool { return o.raw == m.raw })
	a.heard = append(a.heard, m)
	close(a.more)
	a.more = make(chan struct{})
}

// write sends a message on a connection, or as a datagram without one.
func (a *agent) write(text string, to netip.AddrPort, over *link) error {
	if over != nil {
		_, err := over.Write([]byte(text))
		return err
	}
	_, err := a.udp.WriteToUDPAddrPort([]byte(text), to)
	return err
}

// send sends to causeway's listener, or on a connection when over is not nil.
func (a *agent) send(text string, over *link) {
	a.t.Helper()
	if over == nil && a.network == "tcp" {
		over = a.link()
	}
	if err := a.write(text, a.peer, over); err != nil {
		a.t.Fatalf("%s cannot send: %v\n%s", a.side, err, text)
	}
}

// link is a connection to causeway that still stands, made when there is none.
func (a *agent) link() *link {
	a.t.Helper()
	a.mu.Lock()
	links := slices.Clone(a.links)
	a.mu.Unlock()
	for _, l := range links {
		select {
		case <-l.done:
		default:
			return l
		}
	}
	return a.connect()
}

// respond answers a request where it came from (RFC 3261 18.2.2).
func (a *agent) respond(req *message, text string) {
	a.t.Helper()
	if err := a.write(text, req.from, req.over); err != nil {
		a.t.Fatalf("%s cannot answer: %v\n%s", a.side, err, text)
	}
}

// patience is how long a test waits for a message that has to come at once: the machine may be busy.
const patience = 8 * time.Second

// await waits for the first message that nobody has had yet and that fits.
func (a *agent) await(within time.Duration, what string, fits func(*message) bool) *message {
	a.t.Helper()
	m := a.awaitOr(within, fits)
	if m == nil {
		a.mu.Lock()
		ladder := a.ladderLocked()
		a.mu.Unlock()
		a.t.Fatalf("%s heard no %s within %v; it heard:\n%s", a.side, what, within, ladder)
	}
	return m
}

// awaitOr is await that returns nil when nothing fits in time.
func (a *agent) awaitOr(within time.Duration, fits func(*message) bool) *message {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		a.mu.Lock()
		for _, m := range a.heard {
			if !m.taken && !m.again && fits(m) {
				m.taken = true
				a.mu.Unlock()
				return m
			}
		}
		more := a.more
		a.mu.Unlock()
		select {
		case <-more:
		case <-deadline.C:
			return nil
		}
	}
}

// times are when messages that fit were heard, retransmissions among them.
func (a *agent) times(fits func(*message) bool) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []time.Time
	for _, m := range a.heard {
		if fits(m) {
			all = append(all, m.at)
		}
	}
	return all
}

// everything is what was heard so far.
func (a *agent) everything() []*message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.heard)
}

// quiet lets messages be heard, now or later, that a test does not expect, because it cannot know whether they come.
func (a *agent) quiet(fits func(*message) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = append(a.known, fits)
}

// say changes the answer to OPTIONS.
func (a *agent) say(status string) {
	a.mu.Lock()
	a.says = status
	a.mu.Unlock()
}

func (a *agent) setMute(mute bool) {
	a.mu.Lock()
	a.mute = mute
	a.mu.Unlock()
}

// answerTo is a response with the header fields that have to be those of the request (RFC 3261 8.2.6.2). tag is added to
// To when it has none.
func answerTo(req *message, status, tag string, headers ...string) string {
	return answerWith(req, status, tag, "", headers...)
}

func answerWith(req *message, status, tag, body string, headers ...string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for _, name := range []string{"Via", "Record-Route"} {
		for _, v := range req.all(name) {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	to := req.header("To")
	if req.tag("To") == "" && tag != "" {
		to += ";tag=" + tag
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n", req.header("From"), to, req.callID(), req.header("CSeq"))
	finish(&b, body, headers)
	return b.String()
}

// finish writes the headers that a test adds, the length and the body.
func finish(b *strings.Builder, body string, headers []string) {
	typed := false
	for _, h := range headers {
		b.WriteString(h + "\r\n")
		typed = typed || strings.HasPrefix(h, "Content-Type:")
	}
	if body != "" && !typed {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(b, "Content-Length: %d\r\n\r\n%s", len(body), body)
}
