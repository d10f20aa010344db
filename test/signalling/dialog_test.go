package signalling

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// call is one dialog of an agent, in either role (RFC 3261 12).
type call struct {
	t       testing.TB
	a       *agent
	id      string   // Call-ID
	local   string   // From of what we send, tag and all
	remote  string   // To of what we send; without a tag until a response brought one
	target  string   // remote target (12.2.1.2)
	contact string   // our own Contact URI
	routes  []string // route set, in the order of traversal
	number  int      // CSeq of our last request
	via     string   // sent-by in our Via
	over    *link    // where requests go; nil: causeway's listener, or the connection there is

	invite *message // the last INVITE, ours or theirs
	sdp    sdp      // our side of the session
	audio  *audio
}

// newTag is a token for tags, branches and Call-IDs.
func newTag() string { return strings.ToLower(rand.Text()[:12]) }

// dial prepares a call to a number. Nothing is sent.
func (a *agent) dial(number string) *call {
	a.t.Helper()
	c := a.newCall()
	c.id = newTag() + "@" + a.local.Addr().String()
	c.local = fmt.Sprintf(`"Caller" <sip:+14255550100@%s>;tag=%s`, a.domain(), newTag())
	c.target = fmt.Sprintf("sip:%s@%s;transport=%s", number, a.peer, a.network)
	c.remote = fmt.Sprintf("<sip:%s@%s>", number, a.domain())
	return c
}

// domain is a host name that belongs to the agent's side, and must not be seen on the other.
func (a *agent) domain() string { return a.side + ".example" }

func (a *agent) newCall() *call {
	a.t.Helper()
	c := &call{t: a.t, a: a, via: a.local.String()}
	c.contact = fmt.Sprintf("sip:%s@%s;transport=%s", a.side, a.local, a.network)
	c.audio = newAudio(a.t, a.local.Addr())
	c.sdp = newSDP(c.audio)
	return c
}

// incoming waits for an INVITE to a number and is its callee. Nothing is answered.
func (a *agent) incoming(number string) *call {
	a.t.Helper()
	invite := a.await(patience, "INVITE to "+number, func(m *message) bool {
		return m.code() == 0 && m.method() == "INVITE" && m.tag("To") == "" && user(m.uri()) == number
	})
	c := a.newCall()
	c.id, c.invite, c.over = invite.callID(), invite, invite.over
	c.local = invite.header("To") + ";tag=" + newTag()
	c.remote = invite.header("From")
	c.target = address(invite.header("Contact"))
	c.routes = list(invite, "Record-Route")
	c.number = 1000
	return c
}

// list is a header whose values are a list, one a line or with commas, in order.
func list(m *message, name string) []string {
	var all []string
	for _, v := range m.all(name) {
		for one := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(one))
		}
	}
	return all
}

// tag is the tag of a From or To value.
func tag(value string) string { return parameter(value, "tag") }

// request writes the next request of the dialog. ACK and CANCEL take the number of the INVITE.
func (c *call) request(method, body string, headers ...string) string {
	number := c.number
	if method != "ACK" && method != "CANCEL" {
		c.number++
		number = c.number
	}
	return c.write(method, number, "z9hG4bK"+newTag(), body, headers...)
}

// write writes a request with everything given.
func (c *call) write(method string, number int, branch, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", method, c.target)
	fmt.Fprintf(&b, "Via: SIP/2.0/%s %s;branch=%s;rport\r\n", strings.ToUpper(c.a.network), c.via, branch)
	for _, r := range c.routes {
		fmt.Fprintf(&b, "Route: %s\r\n", r)
	}
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Max-Forwards:") }) {
		b.WriteString("Max-Forwards: 70\r\n")
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", c.local, c.remote, c.id, number, method)
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Contact:") }) &&
		slices.Contains([]string{"INVITE", "UPDATE"}, method) {
		fmt.Fprintf(&b, "Contact: <%s>\r\n", c.contact)
	}
	finish(&b, body, headers)
	return b.String()
}

// send sends text and returns it as the message that it is.
func (c *call) send(text string) *message {
	c.t.Helper()
	c.a.send(text, c.over)
	m, err := parseMessage(text)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// sendInvite sends an INVITE, the first or one in the dialog.
func (c *call) sendInvite(body string, headers ...string) *message {
	c.t.Helper()
	c.invite = c.send(c.request("INVITE", body, headers...))
	return c.invite
}

// respond answers a request. The status is "180 Ringing". A response that makes a dialog has the Contact.
func (c *call) respond(req *message, status, body string, headers ...string) {
	c.t.Helper()
	c.a.respond(req, c.response(req, status, body, headers...))
}

func (c *call) response(req *message, status, body string, headers ...string) string {
	if _, method := req.seq(); (method == "INVITE" || method == "UPDATE") && status < "3" && !strings.HasPrefix(status, "100") &&
		!slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Contact:") }) {
		headers = append([]string{fmt.Sprintf("Contact: <%s>", c.contact)}, headers...)
	}
	return answerWith(req, status, tag(c.local), body, headers...)
}

// expect waits for a message of this dialog: a request by its method, "BYE", or a response by code and method,
// "200 INVITE". "18x INVITE" is any such code.
func (c *call) expect(what string) *message {
	c.t.Helper()
	return c.expectWithin(patience, what)
}

func (c *call) expectWithin(within time.Duration, what string) *message {
	c.t.Helper()
	return c.a.await(within, what+" of its call", func(m *message) bool { return c.is(m, what) })
}

// is says whether a message is of this call and what a test calls it.
func (c *call) is(m *message, what string) bool {
	if m.callID() != c.id || m.method() == "" {
		return false
	}
	code, method, response := strings.Cut(what, " ")
	if !response {
		return m.code() == 0 && m.method() == what
	}
	have := fmt.Sprint(m.code())
	if len(code) == 3 && code[1:] == "xx" {
		return have[:1] == code[:1] && m.method() == method
	}
	if len(code) == 3 && code[2] == 'x' {
		return have[:2] == code[:2] && m.method() == method
	}
	return have == code && m.method() == method
}

// none fails the test when such a message was heard.
func (c *call) none(what, why string) {
	c.t.Helper()
	for _, m := range c.a.everything() {
		if c.is(m, what) {
			c.t.Errorf("%s heard %s, %s:\n%s", c.a.side, what, why, m.raw)
		}
	}
}

// establish takes tag, target and route set from a response to our INVITE (RFC 3261 12.1.2).
func (c *call) establish(res *message) {
	c.remote = res.header("To")
	if contact := res.header("Contact"); contact != "" {
		c.target = address(contact)
	}
	c.routes = list(res, "Record-Route")
	slices.Reverse(c.routes)
}

// ring answers 180 to the INVITE.
func (c *call) ring(headers ...string) {
	c.t.Helper()
	c.respond(c.invite, "180 Ringing", "", headers...)
}

// answer answers 200 with our description to the last INVITE and returns the ACK.
func (c *call) answer(headers ...string) *message {
	c.t.Helper()
	c.respond(c.invite, "200 OK", c.sdp.String(), headers...)
	return c.expect("ACK")
}

// answered waits for the 200 to our INVITE and sends its ACK.
func (c *call) answered() *message {
	c.t.Helper()
	res := c.expect("200 INVITE")
	c.establish(res)
	c.ack(res, "")
	return res
}

// ack acknowledges a 2xx (RFC 3261 13.2.2.4).
func (c *call) ack(res *message, body string) {
	c.t.Helper()
	number, _ := res.seq()
	c.send(c.write("ACK", number, "z9hG4bK"+newTag(), body))
}

// refused waits for a failure of our INVITE and acknowledges it (17.1.1.3).
func (c *call) refused(code int) *message {
	c.t.Helper()
	res := c.expect(fmt.Sprintf("%d INVITE", code))
	c.ackFailure(res)
	return res
}

func (c *call) ackFailure(res *message) {
	c.t.Helper()
	number, _ := res.seq()
	remote, target, routes := c.remote, c.target, c.routes
	c.remote, c.target, c.routes = res.header("To"), c.invite.uri(), nil
	c.send(c.write("ACK", number, parameter(c.invite.header("Via"), "branch"), ""))
	c.remote, c.target, c.routes = remote, target, routes
}

// refuse answers a failure to the INVITE and waits for its ACK.
func (c *call) refuse(status string, headers ...string) {
	c.t.Helper()
	c.respond(c.invite, status, "", headers...)
	c.expect("ACK")
}

// cancel writes the CANCEL of our last INVITE (9.1).
func (c *call) cancel(headers ...string) string {
	number, _ := c.invite.seq()
	remote, target := c.remote, c.target
	c.remote, c.target = c.invite.header("To"), c.invite.uri()
	text := c.write("CANCEL", number, parameter(c.invite.header("Via"), "branch"), "", headers...)
	c.remote, c.target = remote, target
	return text
}

// bye hangs up and waits for the answer.
func (c *call) bye(headers ...string) {
	c.t.Helper()
	c.send(c.request("BYE", "", headers...))
	c.expect("200 BYE")
}

// byes waits for the BYE of the other end and answers it.
func (c *call) byes() *message {
	c.t.Helper()
	bye := c.expect("BYE")
	c.respond(bye, "200 OK", "")
	return bye
}

// answerReoffer answers a re-INVITE or UPDATE of causeway with what there is now: the direction is the mirror of what it
// asks for (RFC 3264 6.1).
func (c *call) answerReoffer(req *message) {
	c.t.Helper()
	c.sdp.direction = mirror(direction(req.body))
	c.sdp.version++
	c.respond(req, "200 OK", c.sdp.String())
	if req.method() == "INVITE" {
		c.invite = req
		c.expect("ACK")
	}
}

// change offers our description by re-INVITE or UPDATE and returns the answer.
func (c *call) change(method string, headers ...string) *message {
	c.t.Helper()
	c.sdp.version++
	req := c.send(c.request(method, c.sdp.String(), headers...))
	res := c.expect("200 " + method)
	if method == "INVITE" {
		c.invite = req
		c.ack(res, "")
	}
	return res
}
