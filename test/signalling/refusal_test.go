package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/test/rig/sipp"
)

// served are the methods that causeway takes.
var served = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "PRACK", "INFO"}

// RFC 3261 8.2, 11, 12.2.2: what cannot be served has its precise answer, outside a dialog.
func TestRefusedOutsideADialog(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for _, c := range []struct {
			name    string
			method  string
			change  func(c *call)
			body    string
			headers []string
			code    int
			want    string // header that the refusal has
			value   string // that is in it
		}{
			{name: "8.2.2.3 an extension unknown", method: "INVITE", headers: []string{"Require: 100rel, frobnicate"}, code: 420, want: "Unsupported", value: "frobnicate"},
			{name: "8.2.2.3 an extension unknown, BYE", method: "OPTIONS", headers: []string{"Require: frobnicate"}, code: 420, want: "Unsupported", value: "frobnicate"},
			{name: "8.2.3 a body unknown", method: "INVITE", body: "hello", headers: []string{"Content-Type: text/plain"}, code: 415, want: "Accept", value: "application/sdp"},
			{name: "8.2.3 a body encoded", method: "INVITE", body: "hello", headers: []string{"Content-Type: application/sdp", "Content-Encoding: gzip"}, code: 415, want: "Accept-Encoding"},
			{name: "8.2.1 MESSAGE", method: "MESSAGE", code: 405, want: "Allow", value: "INVITE"},
			{name: "8.2.1 SUBSCRIBE", method: "SUBSCRIBE", headers: []string{"Event: presence"}, code: 405, want: "Allow", value: "INVITE"},
			{name: "8.2.1 PUBLISH", method: "PUBLISH", headers: []string{"Event: presence"}, code: 405, want: "Allow", value: "INVITE"},
			{name: "8.2.1 REGISTER", method: "REGISTER", code: 405, want: "Allow", value: "INVITE"},
			{name: "8.2.1 REFER", method: "REFER", headers: []string{"Refer-To: <sip:x@y>", "Contact: <sip:x@127.0.0.1>"}, code: 405, want: "Allow", value: "INVITE"},
			{name: "21.5.2 a method unknown", method: "FROBNICATE", code: 501},
			{name: "8.2.2.1 a scheme unknown", method: "INVITE", change: func(c *call) { c.target = "http://example.com" }, code: 416},
			{name: "8.2.6, 16.3 no hop left", method: "INVITE", headers: []string{"Max-Forwards: 0"}, code: 483},
			{name: "12.2.2 BYE for no dialog", method: "BYE", change: tagged, code: 481},
			{name: "12.2.2 re-INVITE for no dialog", method: "INVITE", change: tagged, code: 481},
			{name: "RFC 3311 UPDATE for no dialog", method: "UPDATE", change: tagged, code: 481},
			{name: "RFC 3262 PRACK for no dialog", method: "PRACK", change: tagged, headers: []string{"RAck: 1 1 INVITE"}, code: 481},
			{name: "RFC 6086 INFO for no dialog", method: "INFO", change: tagged, code: 481},
			{name: "15.1.2 BYE without a tag", method: "BYE", code: 481},
			{name: "9.2 CANCEL for nothing", method: "CANCEL", code: 481},
		} {
			a := p.caller.dial(number)
			if c.change != nil {
				c.change(a)
			}
			body := c.body
			if body == "" && c.method == "INVITE" {
				body = a.sdp.String()
			}
			a.number = 1
			req := a.send(a.request(c.method, body, c.headers...))
			res := a.a.await(patience, fmt.Sprintf("%d to %s", c.code, c.name), func(m *message) bool {
				return m.callID() == a.id && m.code() >= 200
			})
			if res.code() != c.code {
				t.Errorf("%s: %s, want %d", c.name, res.first, c.code)
			}
			if c.want != "" && !contains(strings.Join(res.all(c.want), ","), strings.ToLower(c.value)) || c.want != "" && len(res.all(c.want)) == 0 {
				t.Errorf("%s: the refusal has %s: %v, want %q in it", c.name, c.want, res.all(c.want), c.value)
			}
			if c.code == 405 {
				for _, m := range served {
					if !res.names("Allow", m) {
						t.Errorf("%s: Allow %v lacks %s", c.name, res.all("Allow"), m)
					}
				}
			}
			if res.tag("To") == "" {
				t.Errorf("%s: the response has no To tag (8.2.6.2)", c.name)
			}
			if c.method == "INVITE" {
				a.invite = req
				a.ackFailure(res)
			}
		}
		a, b := p.talking()
		p.hangUp(a, b)
	})
}

// tagged makes a call look as if it had a dialog.
func tagged(c *call) { c.remote += ";tag=" + newTag() }

// RFC 3261 12.2.2, 8.2, 14.2: the same inside a dialog, and the call is none the worse. REFER is refused, with no
// subscription behind it (RFC 3515 2.4.4), and a BYE after it served (mediation-anchors 4: BYE during REFER).
func TestRefusedInADialog(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, leg := range []*call{a, b} {
			for _, c := range []struct {
				name, method, body string
				headers            []string
				codes              string
				want               string
			}{
				{name: "REFER", method: "REFER", headers: []string{"Refer-To: <sip:+14255550199@" + leg.a.domain() + ">", "Contact: <" + leg.contact + ">"}, codes: "403 405 501 603"},
				{name: "REFER with Replaces", method: "REFER", headers: []string{"Refer-To: <sip:x@y?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>", "Contact: <" + leg.contact + ">"}, codes: "403 405 501 603"},
				{name: "SUBSCRIBE", method: "SUBSCRIBE", headers: []string{"Event: dialog"}, codes: "405 489", want: "Allow"},
				{name: "NOTIFY", method: "NOTIFY", headers: []string{"Event: refer", "Subscription-State: active"}, codes: "405 481 489"},
				{name: "MESSAGE", method: "MESSAGE", body: "hello", headers: []string{"Content-Type: text/plain"}, codes: "405", want: "Allow"},
				{name: "a method unknown", method: "FROBNICATE", codes: "501"},
				{name: "an extension unknown", method: "UPDATE", headers: []string{"Require: frobnicate"}, codes: "420", want: "Unsupported"},
				{name: "an extension unknown, BYE", method: "BYE", headers: []string{"Require: frobnicate"}, codes: "420", want: "Unsupported"},
				{name: "a body unknown", method: "UPDATE", body: "hello", headers: []string{"Content-Type: text/plain"}, codes: "415", want: "Accept"},
				{name: "INFO of a kind unknown", method: "INFO", body: "<x/>", headers: []string{"Content-Type: application/x-unheard-of"}, codes: "415", want: "Accept"},
			} {
				leg.send(leg.request(c.method, c.body, c.headers...))
				res := leg.a.await(patience, "answer to "+c.name, func(m *message) bool {
					return m.callID() == leg.id && m.code() >= 200 && m.method() == c.method
				})
				if !strings.Contains(c.codes, fmt.Sprint(res.code())) {
					t.Errorf("%s: %s, want %s", c.name, res.first, c.codes)
				}
				if c.want != "" && res.header(c.want) == "" {
					t.Errorf("%s: the refusal has no %s:\n%s", c.name, c.want, res.raw)
				}
			}
			if res := func() *message { leg.send(leg.request("OPTIONS", "")); return leg.expect("200 OPTIONS") }(); res.header("Allow") == "" {
				t.Errorf("200 to OPTIONS in the dialog has no Allow:\n%s", res.raw)
			}
		}
		time.Sleep(200 * time.Millisecond)
		a.none("NOTIFY", "and REFER was refused")
		b.none("NOTIFY", "and REFER was refused")
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		a.send(a.request("REFER", "", "Refer-To: <sip:x@y>", "Contact: <"+a.contact+">"))
		a.send(a.request("BYE", ""))
		a.expect("200 BYE")
		p.caller.quiet(func(m *message) bool { return m.method() == "REFER" })
		b.byes()
	})
}

// RFC 3261 11.2: OPTIONS outside a dialog has what an INVITE would have, and the capabilities.
func TestOptions(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.send(a.request("OPTIONS", "", "Accept: application/sdp"))
		res := a.expect("200 OPTIONS")
		for _, m := range served {
			if !res.names("Allow", m) {
				t.Errorf("Allow %v lacks %s", res.all("Allow"), m)
			}
		}
		for header, token := range map[string]string{"Accept": "application/sdp", "Supported": "timer"} {
			if !res.names(header, token) {
				t.Errorf("%s: %v lacks %s", header, res.all(header), token)
			}
		}
	})
}

// RFC 3261 8.2.2.2: the same request by two ways is one request: the second has 482, the first is served.
func TestMergedRequest(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		first := a.sendInvite(a.sdp.String())
		second := a.write("INVITE", a.number, "z9hG4bK"+newTag(), a.sdp.String())
		merged := a.send(second)
		a.invite = merged
		res := a.expect("482 INVITE")
		if parameter(res.header("Via"), "branch") != parameter(merged.header("Via"), "branch") {
			t.Errorf("482 is of the first request, not of the second:\n%s", res.raw)
		}
		a.ackFailure(res)
		a.invite = first
		b := p.callee.incoming(number)
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3261 13.3.1.3, 21.4.26: an offer of which nothing can be used has 488 with a Warning, and the other side hears of no call.
func TestUnusableOffer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		head, _, _ := strings.Cut(a.sdp.String(), "m=audio")
		for _, media := range []string{
			"m=audio 7000 RTP/AVP 97\r\na=rtpmap:97 speex/8000\r\n",
			"m=video 7000 RTP/AVP 34\r\n",
			"m=audio 7000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "\r\n",
			"m=image 7000 udptl t38\r\n",
		} {
			a := p.caller.dial(number)
			a.sendInvite(head + media)
			if res := a.refused(488); !strings.HasPrefix(res.header("Warning"), "3") {
				t.Errorf("Warning: %q", res.header("Warning"))
			}
		}
	})
}

// RFC 3261 13.3.1.3, 8.1.3: a refusal of the callee reaches the caller with its code and phrase, and a retry of a refused
// INVITE, with the next number, is a call of its own (mediation-anchors 4: retried INVITEs were answered from a cache).
func TestRetryAfterRefusal(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		for range 3 {
			a.sendInvite(a.sdp.String())
			p.callee.incoming(number).refuse("486 Busy, says the PBX")
			if res := a.refused(486); res.first != "SIP/2.0 486 Busy, says the PBX" {
				t.Errorf("the caller heard %q", res.first)
			}
		}
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3261 8.1.3.4, 8.1.3.5, 21.3: every class of refusal ends the caller's INVITE with what says the same; a redirection is
// not followed and gives no address away.
func TestRefusals(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for _, status := range []string{"302 Moved Temporarily", "400 Bad Request", "403 Forbidden", "404 Not Found", "410 Gone", "480 Temporarily Unavailable",
			"484 Address Incomplete", "486 Busy Here", "487 Request Terminated", "488 Not Acceptable Here", "500 Server Internal Error", "503 Service Unavailable",
			"600 Busy Everywhere", "603 Decline", "604 Does Not Exist Anywhere", "699 Whatever"} {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.refuse(status, "Contact: <sip:elsewhere@"+b.a.local.String()+">", "Warning: 399 "+b.a.local.Addr().String()+` "see `+b.a.domain()+`"`)
			res := p.caller.await(patience, "final response", func(m *message) bool { return m.callID() == a.id && m.code() >= 300 })
			a.ackFailure(res)
			if status[0] != '3' && res.first != "SIP/2.0 "+status {
				t.Errorf("%s became %q", status, res.first)
			}
		}
	})
}

// The same by SIPp: each refusal, outside a dialog and inside one.
func TestSIPpRefusals(t *testing.T) {
	t.Parallel()
	once := script(nil)
	for _, c := range []struct {
		name string
		say  step
		code string
		want check
		ack  bool
	}{
		{"420", invites(usual(), "Require: frobnicate"), "420", check{"Unsupported", "frobnicate"}, true},
		{"483", invitesWith("Max-Forwards: 0", usual()), "483", check{}, true},
		{"415", invites("hello\n\n", "Content-Type: text/plain"), "415", check{"Accept", "application/sdp"}, true},
		{"488", invites(sippAudio(1, "18", "")), "488", check{"Warning", "399|30[0-9]"}, true},
		{"405", outside("MESSAGE"), "405", check{"Allow", "INVITE"}, false},
		{"481 to BYE", outside("BYE"), "481", check{}, false},
		{"481 to CANCEL", outside("CANCEL"), "481", check{}, false},
		{"481 to a re-INVITE", outside("INVITE", "tag"), "481", check{}, true},
		{"200 to OPTIONS", outside("OPTIONS"), "200", check{"Allow", "UPDATE"}, false},
	} {
		var checks []check
		if c.want.header != "" {
			checks = append(checks, c.want)
		}
		s := script{c.say, mayHear("100"), hears(c.code, checks...)}
		if c.ack {
			s = append(s, acksFailure())
		}
		play(t, c.name, setting{}, s, once, nil)
	}

	for _, c := range []struct {
		name string
		say  step
		code string
		ack  bool
	}{
		{"REFER", sends("REFER", "", "Refer-To: <sip:x@y>", "Contact: <sip:x@[local_ip]:[local_port];transport=[transport]>"), "405|403|501|603", false},
		{"stale BYE", stale("BYE"), "500", false},
		{"488 to a re-INVITE", sends("INVITE", sippAudio(2, "18", "")), "488", true},
		{"420 to UPDATE", sends("UPDATE", "", "Require: frobnicate"), "420", false},
	} {
		code, _, _ := strings.Cut(c.code, "|")
		refused := script{c.say}
		if c.ack {
			refused = append(refused, mayHear("100"))
		}
		refused = append(refused, hears(code))
		if c.ack {
			refused = append(refused, acksFailure())
		}
		during := steps(refused...)
		play(t, c.name+" of the caller", setting{},
			script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(100 * time.Millisecond), during, sends("BYE", ""), hears("200")},
			script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")}, nil)
		play(t, c.name+" of the callee", setting{},
			script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), hears("BYE"), answers("200 OK", "")},
			script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), waits(100 * time.Millisecond), during, sends("BYE", ""), hears("200")}, nil)
	}
	play(t, "refused by the callee", setting{},
		script{invites(usual()), mayHear("100"), hears("486"), acksFailure()},
		script{hears("INVITE"), answers("486 Busy Here", ""), hears("ACK")},
		func(t *testing.T, _ *lab, caller, _ *sipp.Peer) {
			if got := caller.Got("SIP/2.0 486").First(); got != "SIP/2.0 486 Busy Here" {
				t.Errorf("the caller heard %q", got)
			}
		})
}

// outside is a request for no dialog; "tag" makes it look as if it had one.
func outside(method string, tag ...string) step {
	return func(w *scenario) {
		w.caller, w.number, w.invite = true, 1, 1
		to := fmt.Sprintf("To: <sip:%s@%s.example>", number, w.side)
		if len(tag) > 0 {
			to += ";tag=nobody"
		}
		w.sent(true, "", method+" sip:"+number+"@[remote_ip]:[remote_port] SIP/2.0", sippVia, "Max-Forwards: 70", "From: "+w.me(), to, "Call-ID: [call_id]",
			"CSeq: 1 "+method, w.contact())
	}
}

// invitesWith is an INVITE with its own Max-Forwards.
func invitesWith(maxForwards, body string) step {
	return func(w *scenario) {
		w.caller, w.number, w.invite = true, 1, 1
		w.sent(true, body, "INVITE sip:"+number+"@[remote_ip]:[remote_port] SIP/2.0", sippVia, maxForwards, "From: "+w.me(),
			fmt.Sprintf("To: <sip:%s@%s.example>", number, w.side), "Call-ID: [call_id]", "CSeq: 1 INVITE", w.contact())
	}
}

// stale sends a request with a number that is lower than one before.
func stale(method string) step {
	return func(w *scenario) {
		sends("OPTIONS", "")(w)
		hears("200")(w)
		w.request(method, w.number-1, "")
	}
}
