package signalling

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// sdp is a session description of an agent (RFC 4566), written by hand.
type sdp struct {
	version   int
	address   netip.Addr
	port      int
	formats   string // "0 8 101"
	direction string
	extra     []string // attributes
}

func newSDP(a *audio) sdp {
	return sdp{version: 1, address: a.local().Addr(), port: int(a.local().Port()), formats: "0 8 101", direction: "sendrecv"}
}

var formatNames = map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000", "101": "telephone-event/8000"}

func (s sdp) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 4711 %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\n",
		s.version, s.address, s.address, s.port, s.formats)
	for f := range strings.FieldsSeq(s.formats) {
		fmt.Fprintf(&b, "a=rtpmap:%s %s\r\n", f, formatNames[f])
	}
	if strings.Contains(s.formats, "101") {
		b.WriteString("a=fmtp:101 0-15\r\n")
	}
	for _, line := range s.extra {
		b.WriteString(line + "\r\n")
	}
	if s.direction != "" {
		b.WriteString("a=" + s.direction + "\r\n")
	}
	return b.String()
}

// direction is what a description says of its audio; sendrecv when it says nothing (RFC 3264 5.1).
func direction(body string) string {
	for line := range strings.Lines(body) {
		switch d := strings.TrimPrefix(strings.TrimSpace(line), "a="); d {
		case "sendrecv", "sendonly", "recvonly", "inactive":
			return d
		}
	}
	return "sendrecv"
}

// mirror is the direction as the other end sees it.
func mirror(d string) string {
	switch d {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return d
}

// origin is the o= line's session id and version.
func origin(body string) (id, version string) {
	for line := range strings.Lines(body) {
		if f := strings.Fields(line); len(f) == 6 && strings.HasPrefix(line, "o=") {
			return f[1], f[2]
		}
	}
	return "", ""
}

// formats are the payload types of the m=audio line.
func formats(body string) []string {
	for line := range strings.Lines(body) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == "m=audio" {
			return f[3:]
		}
	}
	return nil
}

// mediaAt is where a description wants its audio.
func mediaAt(t testing.TB, body string) netip.AddrPort {
	t.Helper()
	var addr, port string
	for line := range strings.Lines(body) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "c=IN":
			addr = f[2]
		case len(f) > 3 && f[0] == "m=audio":
			port = f[1]
		}
	}
	at, err := netip.ParseAddrPort(addr + ":" + port)
	if err != nil {
		t.Fatalf("no media address in\n%s", body)
	}
	return at
}

// audio is an RTP endpoint that sends G.711 of one constant octet and remembers what it hears.
type audio struct {
	t    testing.TB
	conn *net.UDPConn
	seq  uint16
	ssrc uint32

	mu     sync.Mutex // guards the following
	heard  []packet
	reader sync.WaitGroup
}

// packet is one RTP packet heard.
type packet struct {
	at      time.Time
	kind    byte // payload type
	payload []byte
	stamp   uint32
	marker  bool
}

func newAudio(t testing.TB, addr netip.Addr) *audio {
	t.Helper()
	for port := uint16(7000); port < 7200; port += 2 {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil {
			continue
		}
		a := &audio{t: t, conn: conn, ssrc: uint32(time.Now().UnixNano())}
		a.reader.Go(a.read)
		t.Cleanup(func() { conn.Close(); a.reader.Wait() })
		return a
	}
	t.Fatalf("no RTP port on %v", addr)
	return nil
}

func (a *audio) local() netip.AddrPort { return a.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (a *audio) read() {
	buf := make([]byte, 2048)
	for {
		n, _, err := a.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if n < 12 || buf[0]>>6 != 2 {
			continue
		}
		p := packet{at: time.Now(), kind: buf[1] & 0x7f, marker: buf[1]&0x80 != 0,
			stamp: binary.BigEndian.Uint32(buf[4:]), payload: append([]byte{}, buf[12:n]...)}
		a.mu.Lock()
		a.heard = append(a.heard, p)
		a.mu.Unlock()
	}
}

// send sends n packets of 20 ms of a payload type to an address, in real time.
func (a *audio) send(to netip.AddrPort, kind byte, n int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range n {
		a.seq++
		p := make([]byte, 172)
		p[0], p[1] = 0x80, kind
		binary.BigEndian.PutUint16(p[2:], a.seq)
		binary.BigEndian.PutUint32(p[4:], uint32(a.seq)*160)
		binary.BigEndian.PutUint32(p[8:], a.ssrc)
		for i := range p[12:] {
			p[12+i] = 0xd5 ^ byte(i)
		}
		_, _ = a.conn.WriteToUDPAddrPort(p, to)
		<-tick.C
	}
}

// count is how many packets of a payload type have been heard since a time.
func (a *audio) count(kind byte, since time.Time) int {
	n := 0
	for _, p := range a.packets(since) {
		if p.kind == kind {
			n++
		}
	}
	return n
}

func (a *audio) packets(since time.Time) []packet {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []packet
	for _, p := range a.heard {
		if !p.at.Before(since) {
			all = append(all, p)
		}
	}
	return all
}

// anyG711 is a payload type to wait for that is either PCMU or PCMA.
const anyG711 = 255

// hear sends audio of a payload type from one side, to where causeway said, until the other has heard some of the type
// that it should be there.
func hear(t *testing.T, from, to *call, given string, kind, want byte, since time.Time) {
	t.Helper()
	count := func() int {
		if want == anyG711 {
			return to.audio.count(0, since) + to.audio.count(8, since)
		}
		return to.audio.count(want, since)
	}
	at := mediaAt(t, given)
	for range 20 {
		from.audio.send(at, kind, 5)
		if count() >= 3 {
			return
		}
	}
	t.Errorf("%s sent 100 packets of payload type %d to %v, and %s heard %d of type %d", from.a.side, kind, at, to.a.side, count(), want)
}
