package signalling

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/test/rig/sipp"
)

// script is what one SIPp does in one call, step by step. It is written out as a SIPp scenario.
type script []step

// step writes one piece of a scenario.
type step func(w *scenario)

// scenario is a SIPp scenario while it is written.
type scenario struct {
	strings.Builder
	side    string // pool or gateway
	other   string // a second address of the side
	caller  bool   // begins with an INVITE of its own
	number  int    // CSeq of the last request sent
	invite  int    // CSeq of the last INVITE sent
	heard   string // method of the last request received
	settled bool   // the first INVITE has had its final response
	saved   map[string]bool
	alone   bool // nothing of a call is stored
}

// sent writes a <send> with lines of a message, its length and its body.
func (w *scenario) sent(retransmit bool, body string, lines ...string) {
	attribute := ""
	if retransmit {
		attribute = ` retrans="500"`
	}
	fmt.Fprintf(w, "<send%s><![CDATA[\n", attribute)
	for _, line := range lines {
		if line != "" {
			w.WriteString(line + "\n")
		}
	}
	if body != "" {
		if !strings.Contains(strings.Join(lines, "\n"), "Content-Type:") {
			w.WriteString("Content-Type: application/sdp\n")
		}
		w.WriteString("Content-Length: [len]\n\n" + body)
	} else {
		w.WriteString("Content-Length: 0\n\n")
	}
	w.WriteString("]]></send>\n")
}

// me and peer are From and To of what is sent inside the dialog.
func (w *scenario) me() string {
	if w.caller {
		return fmt.Sprintf(`"Caller" <sip:+14255550100@%s.example>;tag=[pid]caller`, w.side)
	}
	return `[$to];tag=[pid]callee`
}

func (w *scenario) peer() string {
	if w.caller {
		return fmt.Sprintf("<sip:%s@%s.example>[peer_tag_param]", number, w.side)
	}
	return "[$from]"
}

func (w *scenario) target() string {
	if w.caller {
		return "[next_url]"
	}
	return "[$target]"
}

func (w *scenario) contact() string {
	return fmt.Sprintf("Contact: <sip:%s@[local_ip]:[local_port];transport=[transport]>", w.side)
}

const sippVia = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"

// invites sends the first INVITE.
func invites(body string, headers ...string) step {
	return func(w *scenario) {
		w.caller, w.number, w.invite = true, 1, 1
		lines := append([]string{
			"INVITE sip:" + number + "@[remote_ip]:[remote_port] SIP/2.0", sippVia, "Max-Forwards: 70",
			"From: " + w.me(), fmt.Sprintf("To: <sip:%s@%s.example>", number, w.side), "Call-ID: [call_id]", "CSeq: 1 INVITE",
			w.contact(),
		}, headers...)
		w.sent(true, body, lines...)
	}
}

// sends sends a request inside the dialog.
func sends(method, body string, headers ...string) step {
	return func(w *scenario) {
		w.number++
		if method == "INVITE" {
			w.invite = w.number
		}
		w.request(method, w.number, body, headers...)
	}
}

func (w *scenario) request(method string, number int, body string, headers ...string) {
	lines := []string{
		method + " " + w.target() + " SIP/2.0", sippVia, "Max-Forwards: 70", "From: " + w.me(), "To: " + w.peer(), "Call-ID: [call_id]",
		fmt.Sprintf("CSeq: %d %s", number, method),
	}
	if method == "INVITE" || method == "UPDATE" {
		lines = append(lines, w.contact())
	}
	w.sent(method != "ACK", body, append(lines, headers...)...)
}

// acks acknowledges the 2xx to the last INVITE.
func acks(body string) step {
	return func(w *scenario) { w.request("ACK", w.invite, body) }
}

// acksFailure acknowledges a failure of the INVITE, in its transaction (RFC 3261 17.1.1.3).
func acksFailure() step {
	return func(w *scenario) {
		uri := "sip:" + number + "@[remote_ip]:[remote_port]"
		if w.settled {
			uri = w.target()
		}
		w.sent(false, "", "ACK "+uri+" SIP/2.0", "[last_Via:]", "Max-Forwards: 70", "[last_From:]", "[last_To:]",
			"Call-ID: [call_id]", fmt.Sprintf("CSeq: %d ACK", w.invite))
	}
}

// cancels gives the first INVITE up (9.1).
func cancels(headers ...string) step {
	return func(w *scenario) {
		lines := append([]string{
			"CANCEL sip:" + number + "@[remote_ip]:[remote_port] SIP/2.0", "[last_Via:]", "Max-Forwards: 70", "From: " + w.me(),
			fmt.Sprintf("To: <sip:%s@%s.example>", number, w.side), "Call-ID: [call_id]", fmt.Sprintf("CSeq: %d CANCEL", w.invite),
		}, headers...)
		w.sent(true, "", lines...)
	}
}

// check has SIPp itself fail the call when a header, or the body where it is "", does not match.
type check struct{ header, pattern string }

// hears waits for a message: a request by its method, a response by its code.
func hears(what string, checks ...check) step { return heard(what, "", checks) }

// mayHear takes a message that need not come before the next one that has to.
func mayHear(what string) step { return heard(what, ` optional="true"`, nil) }

func heard(what, attributes string, checks []check) step {
	return func(w *scenario) {
		kind := "request"
		if what[0] >= '0' && what[0] <= '9' {
			kind = "response"
		} else {
			w.heard = what
		}
		if what == "200" && w.caller && !w.settled || what == "INVITE" {
			attributes += ` rrs="true"`
		}
		fmt.Fprintf(w, "<recv %s=%q%s crlf=\"true\"><action>\n", kind, what, attributes)
		unused := false
		if what == "INVITE" && !w.caller && !w.settled {
			w.WriteString(`<ereg regexp="[^&lt;]*&lt;[^&gt;]*&gt;.*" search_in="hdr" header="From:" check_it="true" assign_to="from"/>` + "\n")
			w.WriteString(`<ereg regexp=".*" search_in="hdr" header="To:" check_it="true" assign_to="to"/>` + "\n")
			w.WriteString(`<ereg regexp="&lt;(.*)&gt;" search_in="hdr" header="Contact:" check_it="true" assign_to="_,target"/>` + "\n")
			unused = true
		}
		if kind == "request" && what != "ACK" {
			// What a response needs that is not sent at once.
			w.WriteString(`<ereg regexp=".*" search_in="hdr" header="Via:" check_it="true" assign_to="via` + what + `"/>` + "\n")
			w.WriteString(`<ereg regexp=".*" search_in="hdr" header="CSeq:" check_it="true" assign_to="cseq` + what + `"/>` + "\n")
			w.saved[what] = true
		}
		for _, c := range checks {
			unused = true
			where := fmt.Sprintf(`search_in="hdr" header="%s:"`, c.header)
			if c.header == "" {
				where = `search_in="body"`
			}
			fmt.Fprintf(w, `<ereg regexp="%s" %s check_it="true" assign_to="_"/>`+"\n", escaped(c.pattern), where)
		}
		w.WriteString("</action></recv>\n")
		if unused {
			w.WriteString(`<Reference variables="_"/>` + "\n")
		}
		if kind == "response" && what >= "200" && w.caller {
			w.settled = true
		}
	}
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// answers responds to the request heard last.
func answers(status, body string, headers ...string) step {
	return func(w *scenario) {
		w.respond(w.heard, "[last_Via:]", "[last_CSeq:]", "[pid]callee", status, body, headers)
	}
}

// answersAs is answers by another fork: with a tag of its own, to the INVITE.
func answersAs(tag, status, body string, headers ...string) step {
	return func(w *scenario) {
		w.respond("INVITE", "Via:[$viaINVITE]", "CSeq:[$cseqINVITE]", tag, status, body, headers)
		w.settled = false
	}
}

// answersTo responds to a request that was not the last one heard.
func answersTo(method, status, body string, headers ...string) step {
	return func(w *scenario) {
		w.respond(method, "Via:[$via"+method+"]", "CSeq:[$cseq"+method+"]", "[pid]callee", status, body, headers)
	}
}

func (w *scenario) respond(method, via, cseq, tag, status, body string, headers []string) {
	lines := []string{"SIP/2.0 " + status, via, "[last_Record-Route:]", "[last_From:]"}
	switch {
	case status[0] == '1' && status[1] == '0', w.caller || w.settled && method != "INVITE", w.settled:
		lines = append(lines, "[last_To:]")
	case method == "INVITE":
		lines = append(lines, "To:[$to];tag="+tag)
	case method == "CANCEL":
		lines = append(lines, "[last_To:];tag="+tag)
	default: // PRACK and UPDATE in an early dialog have the tag
		lines = append(lines, "[last_To:]")
	}
	lines = append(lines, "Call-ID: [call_id]", cseq)
	if (method == "INVITE" || method == "UPDATE") && status[0] < '3' && status[:3] != "100" {
		lines = append(lines, w.contact())
	}
	final := method == "INVITE" && status[0] >= '2'
	w.sent(final, body, append(lines, headers...)...)
	if final && !w.caller {
		w.settled = true
	}
}

// waits does nothing for a while.
func waits(d time.Duration) step {
	return func(w *scenario) { fmt.Fprintf(w, "<pause milliseconds=\"%d\"/>\n", d.Milliseconds()) }
}

// steps is several as one.
func steps(all ...step) step {
	return func(w *scenario) {
		for _, s := range all {
			s(w)
		}
	}
}

// xml is the scenario of a SIPp on a side.
func (s script) xml(side, other string) (text string, caller bool) {
	w := &scenario{side: side, other: other, number: 1000, saved: map[string]bool{}}
	w.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"" + side + "\">\n")
	for _, step := range s {
		step(w)
	}
	// SIPp insists that what it stores is used.
	for method := range w.saved {
		fmt.Fprintf(w, "<Reference variables=\"via%s,cseq%s\"/>\n", method, method)
	}
	if !w.caller && !w.alone {
		w.WriteString(`<Reference variables="from,to,target"/>` + "\n")
	}
	w.WriteString("</scenario>\n")
	return w.String(), w.caller
}

// sippAudio is the usual description of SIPp's audio; direction may be "".
func sippAudio(version int, formats, direction string) string {
	return sippAudioAt(version, "[media_ip]", "[media_port]", formats, direction)
}

func sippAudioAt(version int, address, port, formats, direction string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\no=sipp 1 %d IN IP4 [media_ip]\ns=-\nc=IN IP4 %s\nt=0 0\nm=audio %s RTP/AVP %s\n", version, address, port, formats)
	for f := range strings.FieldsSeq(formats) {
		fmt.Fprintf(&b, "a=rtpmap:%s %s\n", f, formatNames[f])
	}
	if direction != "" {
		b.WriteString("a=" + direction + "\n")
	}
	b.WriteString("\n")
	return b.String()
}

// usual is what SIPp offers and answers where it does not matter.
func usual() string { return sippAudio(1, "0 8 101", "") }

// sipp runs a script on a side of the lab.
func (l *lab) sipp(t testing.TB, side string, s script, more ...string) *sipp.Peer {
	t.Helper()
	return l.sippAt(t, side, sipPort, s, more...)
}

// sippAt is sipp on a port of its own.
func (l *lab) sippAt(t testing.TB, side string, port int, s script, more ...string) *sipp.Peer {
	t.Helper()
	other := l.net.Addr(poolOther)
	if side == gatewaySide {
		other = l.net.Addr(gateOther)
	}
	text, caller := s.xml(side, other.String())
	r := sipp.Role{Name: side, IP: l.net.Addr(poolPeer).String(), Port: port, MediaPort: 7000 + 10*(port-sipPort), More: more}
	network, us := l.pool, l.at(poolUs)
	if side == gatewaySide {
		r.IP, network, us = l.net.Addr(gatePeer).String(), l.gateway, l.at(gateUs)
	}
	r.Transport = map[string]string{"udp": "u1", "tcp": "t1"}[network]
	if caller {
		r.Target = us.String()
	}
	if l.patient {
		r.Patience = 50 * time.Second
	}
	r.More = append(r.More, "-bind_local", "-ci", r.IP)
	return sipp.Start(t, r, text)
}

// play runs two scripts against each other through a causeway of their own, in both call directions. after, which may be
// nil, looks at what they heard.
func play(t *testing.T, name string, s setting, caller, callee script, after func(t *testing.T, l *lab, caller, callee *sipp.Peer)) {
	t.Helper()
	if s.pool == "" {
		s.pool = "tcp" // so that both are played
	}
	for _, direction := range []string{poolToGateway, gatewayToPool} {
		t.Run(name+", "+direction, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, s).start()
			from, to := poolSide, gatewaySide
			if direction == gatewayToPool {
				from, to = to, from
			}
			var b *sipp.Peer
			if len(callee) > 0 {
				b = l.sipp(t, to, callee)
			}
			a := l.sipp(t, from, caller)
			within := 20 * time.Second
			if s.patient {
				within = 45 * time.Second
			}
			a.Finished(within)
			if b != nil {
				b.Finished(within)
				l.hidden(to, textsOf(b))
			}
			l.hidden(from, textsOf(a))
			if after != nil {
				after(t, l, a, b)
			}
			l.idle()
		})
	}
}

// textsOf is what a SIPp heard.
func textsOf(p *sipp.Peer) []string {
	var all []string
	for _, m := range p.Trace() {
		if m.Received {
			all = append(all, m.Text)
		}
	}
	return all
}
