package media

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hand is a SIP party over UDP that is played message by message, for what no honest telephone would say.
type hand struct {
	t    *testing.T
	conn *net.UDPConn
	us   netip.AddrPort
}

// newHand makes the party of one side of a lab.
func (l *lab) newHand(side string) *hand {
	l.t.Helper()
	h := &hand{t: l.t, us: l.at(poolUs, sipPort)}
	at := l.at(poolPhone, sipPort)
	if side == gateway {
		h.us, at = l.at(gateUs, sipPort), l.at(gatePhone, sipPort)
	}
	var err error
	if h.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { h.conn.Close() })
	return h
}

func (h *hand) at() netip.AddrPort { return h.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (h *hand) send(lines ...string) {
	h.t.Helper()
	if _, err := h.conn.WriteToUDPAddrPort([]byte(strings.Join(lines, "\r\n")), h.us); err != nil {
		h.t.Fatal(err)
	}
}

// message waits for one whose first line has a prefix; others are passed over.
func (h *hand) message(prefix string) string {
	h.t.Helper()
	if err := h.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	for {
		n, _, err := h.conn.ReadFromUDPAddrPort(b)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			h.t.Fatalf("no %s came", prefix)
		}
		if err == nil && strings.HasPrefix(string(b[:n]), prefix) {
			return string(b[:n])
		}
	}
}

// lineOf is a header line of a message, all of them if there are several.
func linesOf(message, name string) []string {
	var all []string
	for line := range strings.Lines(message) {
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, name+":") {
			all = append(all, line)
		}
	}
	return all
}

// status is the code of a response.
func status(response string) int {
	code, _ := strconv.Atoi(strings.Fields(response)[1])
	return code
}

// respond answers a request, with a description if there is one.
func (h *hand) respond(request, first, body string) {
	h.t.Helper()
	lines := []string{"SIP/2.0 " + first}
	lines = append(lines, linesOf(request, "Via")...)
	lines = append(lines, linesOf(request, "From")...)
	to := linesOf(request, "To")[0]
	if !strings.Contains(to, ";tag=") {
		to += ";tag=hand"
	}
	lines = append(lines, to)
	lines = append(lines, linesOf(request, "Call-ID")...)
	lines = append(lines, linesOf(request, "CSeq")...)
	h.send(append(lines, h.rest(body)...)...)
}

// rest is the end of every message.
func (h *hand) rest(body string) []string {
	lines := []string{fmt.Sprintf("Contact: <sip:%s;transport=udp>", h.at())}
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	return append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body)
}

// invite calls with a description and returns the final response, acknowledged.
func (h *hand) invite(body string) string {
	h.t.Helper()
	common := func(to string) []string {
		return []string{
			fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKhand%p;rport", h.at(), h), "Max-Forwards: 70",
			fmt.Sprintf("From: <sip:+14255550100@%s>;tag=caller", h.at().Addr()), to, fmt.Sprintf("Call-ID: hand%p", h),
		}
	}
	uri := fmt.Sprintf("sip:+14255550123@%s;transport=udp", h.us)
	lines := append([]string{"INVITE " + uri + " SIP/2.0"}, common("To: <sip:+14255550123@"+h.us.Addr().String()+">")...)
	h.send(append(append(lines, "CSeq: 1 INVITE"), h.rest(body)...)...)
	for {
		response := h.message("SIP/2.0 ")
		if status(response) < 200 {
			continue
		}
		lines = append([]string{"ACK " + uri + " SIP/2.0"}, common(linesOf(response, "To")[0])...)
		h.send(append(lines, "CSeq: 1 ACK", "Content-Length: 0", "", "")...)
		return response
	}
}
