package srtp

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// party is one end of a call's signalling, over UDP, played by hand.
type party struct {
	t    *testing.T
	conn *net.UDPConn
	us   netip.AddrPort

	id, from, to string // Call-ID, and From and To with what stands in them as we write them
	target       string // request URI within the dialog
	cseq         int
}

func (s *stage) party(host, us byte) *party {
	s.t.Helper()
	p := &party{t: s.t, us: s.at(us)}
	var err error
	if p.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.at(host))); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { p.conn.Close() })
	p.id = fmt.Sprintf("%p@%s", p, p.at().Addr())
	p.from = fmt.Sprintf("<sip:+14255550100@%s>;tag=%p", p.at().Addr(), p)
	p.to = fmt.Sprintf("<sip:+14255550123@%s>", p.us.Addr())
	p.target = fmt.Sprintf("sip:+14255550123@%s;transport=udp", p.us)
	return p
}

func (p *party) at() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *party) send(lines []string, body string) {
	p.t.Helper()
	lines = append(lines, fmt.Sprintf("Contact: <sip:party@%s;transport=udp>", p.at()), "Allow: INVITE, ACK, CANCEL, BYE")
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body)
	if _, err := p.conn.WriteToUDPAddrPort([]byte(strings.Join(lines, "\r\n")), p.us); err != nil {
		p.t.Fatal(err)
	}
}

func (p *party) request(method, cseq string, body string) {
	p.t.Helper()
	p.send([]string{
		method + " " + p.target + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%d%s%p;rport", p.at(), p.cseq, method, p),
		"Max-Forwards: 70", "From: " + p.from, "To: " + p.to, "Call-ID: " + p.id, "CSeq: " + cseq,
	}, body)
}

// await reads messages until one begins so.
func (p *party) await(prefix string) string {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	for {
		n, err := p.conn.Read(b)
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", prefix, err)
		}
		if strings.HasPrefix(string(b[:n]), prefix) {
			return string(b[:n])
		}
	}
}

// header is the value of the first line of a name.
func header(message, name string) string {
	for line := range strings.Lines(message) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func body(message string) string {
	_, b, _ := strings.Cut(message, "\r\n\r\n")
	return b
}

// invite calls, or offers again, and returns the answer.
func (p *party) invite(offer string) string {
	p.t.Helper()
	p.cseq++
	p.request("INVITE", fmt.Sprintf("%d INVITE", p.cseq), offer)
	for {
		response := p.await("SIP/2.0 ")
		code, _ := strconv.Atoi(strings.Fields(response)[1])
		if code < 200 || header(response, "CSeq") != fmt.Sprintf("%d INVITE", p.cseq) {
			continue
		}
		p.to = header(response, "To")
		if code != 200 {
			p.t.Fatalf("refused:\n%s", response)
		}
		if contact := header(response, "Contact"); contact != "" {
			p.target = strings.Trim(contact[strings.IndexByte(contact, '<')+1:], ">")
		}
		p.request("ACK", fmt.Sprintf("%d ACK", p.cseq), "")
		return body(response)
	}
}

func (p *party) bye() {
	p.t.Helper()
	p.cseq++
	p.request("BYE", fmt.Sprintf("%d BYE", p.cseq), "")
	p.await("SIP/2.0 200")
}

// answer waits for a call and answers it with what accept makes of its offer.
func (p *party) answer(accept func(offer string) string) {
	p.t.Helper()
	request := p.await("INVITE ")
	to := header(request, "To") + fmt.Sprintf(";tag=%p", p)
	p.from, p.to, p.id = to, header(request, "From"), header(request, "Call-ID")
	contact := header(request, "Contact")
	p.target = strings.Trim(contact[strings.IndexByte(contact, '<')+1:], ">")
	p.send([]string{
		"SIP/2.0 200 OK", "Via: " + header(request, "Via"), "From: " + p.to, "To: " + to, "Call-ID: " + p.id, "CSeq: " + header(request, "CSeq"),
	}, accept(body(request)))
	p.await("ACK ")
}

// description is a session description with one line of a=crypto.
func description(version int, rtp netip.AddrPort, crypto, direction string) string {
	return fmt.Sprintf("v=0\r\no=party 1 %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/SAVP 0\r\n"+
		"a=rtpmap:0 PCMU/8000\r\na=crypto:%s\r\na=%s\r\n", version, rtp.Addr(), rtp.Addr(), rtp.Port(), crypto, direction)
}

// protection is one direction's, as one a=crypto line has it.
type protection struct {
	tag, suite string
	key, mki   string // in hex
}

func (p protection) String() string {
	key, _ := hex.DecodeString(p.key)
	text := fmt.Sprintf("%s %s inline:%s|2^31", p.tag, p.suite, base64.StdEncoding.EncodeToString(key))
	if p.mki != "" {
		value, _ := strconv.ParseUint(p.mki, 16, 64)
		text += fmt.Sprintf("|%d:%d", value, len(p.mki)/2)
	}
	return text
}

// protections reads the a=crypto lines of a description of causeway's.
func protections(t *testing.T, text string) (all []protection) {
	t.Helper()
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "a=crypto:")
		if !ok {
			continue
		}
		f := strings.Fields(value)
		info := strings.Split(strings.TrimPrefix(f[2], "inline:"), "|")
		key, err := base64.StdEncoding.DecodeString(info[0])
		if err != nil || len(f) != 3 {
			t.Fatalf("%s: %v", line, err)
		}
		p := protection{tag: f[0], suite: f[1], key: hex.EncodeToString(key)}
		if len(info) > 1 {
			value, length, _ := strings.Cut(info[len(info)-1], ":")
			v, _ := strconv.ParseUint(value, 10, 64)
			n, _ := strconv.Atoi(length)
			p.mki = fmt.Sprintf("%0*x", 2*n, v)
		}
		all = append(all, p)
	}
	return all
}

// mediaAt is where a description wants its RTP.
func mediaAt(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	var addr, port string
	for line := range strings.Lines(text) {
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
		t.Fatalf("no media address in\n%s", text)
	}
	return at
}
