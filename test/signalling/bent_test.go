package signalling

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// RFC 3261 13.2.2.4, 13.2.1: a 200 that cannot be used is acknowledged and ended, and the caller hears a failure soon.
func TestUnusableAnswer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for name, answer := range map[string]func(b *call) string{
			"none":                func(*call) string { return "" },
			"garbage":             func(*call) string { return "v=0\r\ngarbage" },
			"audio refused":       func(b *call) string { b.sdp.port = 0; return b.sdp.String() },
			"a codec not offered": func(b *call) string { b.sdp.formats = "18"; return b.sdp.String() },
			"encryption":          func(b *call) string { return strings.Replace(b.sdp.String(), "RTP/AVP", "RTP/SAVP", 1) },
			"two media for one": func(b *call) string {
				return strings.Replace(b.sdp.String(), "m=audio", "m=video 0 RTP/AVP 34\r\nm=audio", 1)
			},
			"an address of no use": func(b *call) string { return strings.Replace(b.sdp.String(), "c=IN IP4 ", "c=IN IP4 999.", 1) },
		} {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.respond(b.invite, "200 OK", answer(b))
			b.expect("ACK")
			m := p.caller.await(patience, "final response to an answer with "+name, func(m *message) bool { return m.callID() == a.id && m.code() >= 200 })
			if m.code() == 200 {
				if name != "two media for one" {
					t.Errorf("an answer with %s reached the caller as 200", name)
				}
				a.establish(m)
				a.ack(m, "")
				p.hangUp(a, b)
				continue
			}
			a.ackFailure(m)
			b.byes()
		}
	})
}

// RFC 3261 13.2.1, RFC 6337 2.2: the answer is in an unreliable 183 alone, the 200 has none; or the 200 has another one: the
// call stands, and media goes where it was told last, or first.
func TestAnswersInTwoResponses(t *testing.T) {
	t.Parallel()
	for _, second := range []string{"none", "the same", "another port"} {
		t.Run(second, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a := p.caller.dial(number)
				a.sendInvite(a.sdp.String())
				b := p.callee.incoming(number)
				b.respond(b.invite, "183 Session Progress", b.sdp.String())
				early := a.expect("183 INVITE")
				began := time.Now()
				hear(t, a, b, early.body, 0, 0, began)
				switch second {
				case "none":
					b.respond(b.invite, "200 OK", "")
				case "another port":
					b.audio = newAudio(t, b.a.local.Addr())
					b.sdp.port = int(b.audio.local().Port())
					b.sdp.version++
					b.respond(b.invite, "200 OK", b.sdp.String())
				default:
					b.respond(b.invite, "200 OK", b.sdp.String())
				}
				b.expect("ACK")
				a.answered()
				began = time.Now()
				hear(t, a, b, early.body, 0, 0, began)
				hear(t, b, a, b.invite.body, 0, 0, began)
				p.hangUp(a, b)
			})
		})
	}
}

// RFC 3261 12.1.2, 8.2.6.2: responses of old peers: no tag, no Contact in the 180; a Contact without a user, a port or angle brackets.
func TestResponsesOfOldPeers(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for _, contact := range []string{"<sip:" + p.callee.local.Addr().String() + ">", "sip:x@" + p.callee.local.String(), "\"A, B\" <sip:x@" + p.callee.local.String() + ";x=y>;expires=5"} {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.a.respond(b.invite, answerTo(b.invite, "180 Ringing", ""))
			a.expect("180 INVITE")
			b.respond(b.invite, "200 OK", b.sdp.String(), "Contact: "+contact)
			b.expect("ACK")
			a.answered()
			p.hangUp(a, b)
		}
		// Even without a tag in the 200 (RFC 2543).
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.a.respond(b.invite, answerWith(b.invite, "200 OK", "", b.sdp.String(), "Contact: <"+b.contact+">"))
		b.expect("ACK")
		a.answered()
		b.local = strings.Split(b.local, ";tag=")[0]
		p.hangUp(a, b)
	})
}

// RFC 3261 18.2.1, 18.2.2, RFC 3581: responses go to where a request says that they should: with rport to the port that it came
// from, without it to the port in its Via, at the address that it came from, whatever host the Via names.
func TestWhereResponsesGo(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: p.caller.local.Addr().AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		send := func(via string) *call {
			a := p.caller.dial(number)
			text := a.request("OPTIONS", "")
			text = strings.Replace(text, "Via: SIP/2.0/UDP "+a.via, "Via: SIP/2.0/UDP "+via, 1)
			if !strings.Contains(via, "rport") {
				text = strings.Replace(text, ";rport", "", 1)
			} else {
				text = strings.Replace(text, ";rport;", ";", 1)
			}
			if _, err := socket.WriteToUDPAddrPort([]byte(text), a.a.peer); err != nil {
				t.Fatal(err)
			}
			return a
		}
		for _, via := range []string{p.caller.local.String(), "host.invalid:5060", "192.0.2.77"} {
			a := send(via)
			res := a.expect("200 OPTIONS")
			if got := parameter(res.header("Via"), "received"); via != p.caller.local.String() && got != p.caller.local.Addr().String() {
				t.Errorf("Via %s came back as %s", via, res.header("Via"))
			}
		}
		a := send("192.0.2.77;rport")
		_ = socket.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		n, _, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("no response at the port that the request with rport came from: %v", err)
		}
		res, err := parseMessage(string(buf[:n]))
		if err != nil || res.callID() != a.id || parameter(res.header("Via"), "received") != p.caller.local.Addr().String() {
			t.Errorf("%v:\n%s", err, buf[:n])
		}
	})
}

// RFC 3261 8.2.6.2, 18.2.1: with proxies in between every Via comes back, in order.
func TestViasComeBack(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		far := []string{"SIP/2.0/TLS one.invalid:5061;branch=z9hG4bKone", "SIP/2.0/UDP two.invalid;branch=z9hG4bKtwo, SIP/2.0/TCP three.invalid;branch=z9hG4bKthree"}
		a.sendInvite(a.sdp.String(), "Via: "+far[0], "Via: "+far[1])
		b := p.callee.incoming(number)
		b.ring()
		res := a.expect("180 INVITE")
		got := list(res, "Via")
		if len(got) != 4 || !strings.HasPrefix(got[1], "SIP/2.0/TLS one") || !strings.HasPrefix(got[2], "SIP/2.0/UDP two") || !strings.HasPrefix(got[3], "SIP/2.0/TCP three") {
			t.Errorf("Vias of the 180: %v", got)
		}
		b.refuse("486 Busy Here")
		a.ackFailure(a.expect("486 INVITE"))
	})
}

// RFC 3261 17.2.3: a caller of RFC 2543 times, whose branches have no magic cookie: its ACK and CANCEL are matched all the same.
func TestBranchesWithoutTheCookie(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		old := func(c *call, method string, n int, remote, target string) string {
			r, tg := c.remote, c.target
			c.remote, c.target = remote, target
			text := strings.Replace(c.write(method, n, "1", ""), ";rport", "", 1)
			c.remote, c.target = r, tg
			return text
		}
		a := p.caller.dial(number)
		invite := strings.Replace(a.write("INVITE", 1, "1", a.sdp.String()), ";rport", "", 1)
		a.number = 1
		a.invite = a.send(invite)
		a.send(invite)
		b := p.callee.incoming(number)
		b.ring()
		a.expect("180 INVITE")
		a.send(old(a, "CANCEL", 1, a.remote, a.target))
		a.expect("200 CANCEL")
		res := a.expect("487 INVITE")
		a.send(old(a, "ACK", 1, res.header("To"), a.target))
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")

		a = p.caller.dial(number)
		a.number = 1
		a.invite = a.send(strings.Replace(a.write("INVITE", 1, "1", a.sdp.String()), ";rport", "", 1))
		b = p.callee.incoming(number)
		b.answer()
		res = a.expect("200 INVITE")
		a.establish(res)
		a.send(old(a, "ACK", 1, a.remote, a.target))
		time.Sleep(700 * time.Millisecond)
		p.hangUp(b, a)
	})
}

// RFC 3261 12.2.2: what is nearly of a dialog is not of it: the wrong tag of either side has 481, and an ACK with the wrong number
// acknowledges nothing.
func TestNearlyOfTheDialog(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.answer()
		res := a.expect("200 INVITE")
		a.establish(res)
		seq, _ := res.seq()
		a.send(a.write("ACK", seq+1, "z9hG4bK"+newTag(), ""))
		local := a.local
		a.local += "x"
		a.send(a.write("ACK", seq, "z9hG4bK"+newTag(), ""))
		a.local = local
		rig.Eventually(t, patience, "the 200 is repeated after an ACK with another number, and one with another tag", func() string {
			if len(a.a.times(a.of("200 INVITE"))) < 3 {
				return "not yet"
			}
			return ""
		})
		a.ack(res, "")
		for _, c := range []*call{a, b} {
			for _, bend := range []func(local, remote string) (string, string){
				func(l, r string) (string, string) { return l + "x", r },
				func(l, r string) (string, string) { return l, r + "x" },
				func(l, r string) (string, string) { return r, l },
				func(l, r string) (string, string) { return l, strings.Split(r, ";tag=")[0] },
			} {
				local, remote := c.local, c.remote
				c.local, c.remote = bend(local, remote)
				c.send(c.request("BYE", ""))
				c.local, c.remote = local, remote
				c.expect("481 BYE")
			}
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 15: a callee must not hang up before it has answered; the INVITE is still its own to end.
func TestByeOfTheCalleeWhileRinging(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		b.send(b.request("BYE", ""))
		b.a.await(patience, "answer to BYE", func(m *message) bool { return b.is(m, "4xx BYE") || b.is(m, "2xx BYE") })
		b.refuse("480 Temporarily Unavailable")
		res := a.a.await(patience, "end", func(m *message) bool { return a.is(m, "4xx INVITE") })
		a.ackFailure(res)
	})
}

// RFC 3261 12.1.2, 18.1.1: the callee's Contact asks for another transport than the INVITE came by.
func TestContactWithAnotherTransport(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		p.callee.listen("tcp")
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.contact = strings.Replace(b.contact, "transport=udp", "transport=tcp", 1)
		b.respond(b.invite, "200 OK", b.sdp.String())
		ack := b.expect("ACK")
		if ack.over == nil {
			t.Errorf("ACK came over UDP, and the Contact is %s", b.contact)
		}
		a.answered()
		a.bye()
		b.byes()
	})
}

// RFC 3261 7.3.1, 7.3.3, 20: a caller that writes as it likes: compact names, folded lines, odd case and blanks.
func TestOddSpelling(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		text := a.request("INVITE", a.sdp.String(), "ALLOW: INVITE,ACK ,\tBYE", "Content-Type: Application/SDP ; charset=UTF-8")
		for long, short := range map[string]string{"Via:": "v:", "From:": "f:", "To:": "t:", "Call-ID:": "i:", "Contact:": "m:", "Content-Length:": "l:", "Content-Type:": "c:"} {
			text = strings.Replace(text, "\r\n"+long, "\r\n"+short, 1)
		}
		text = strings.Replace(text, "\r\nCSeq: ", "\r\nCSEQ  :\t ", 1)
		text = strings.Replace(text, "Max-Forwards: 70", "max-forwards:  070", 1)
		text = strings.Replace(text, "\r\nf: ", "\r\nf:\r\n ", 1)
		a.a.send(text, nil)
		a.invite, _ = parseMessage(a.write("INVITE", a.number, parameter(lineOf(text, "v:"), "branch"), ""))
		b := p.callee.incoming(number)
		b.ring()
		a.expect("180 INVITE")
		b.refuse("486 Busy Here")
		a.ackFailure(a.expect("486 INVITE"))
	})
}

// lineOf is the rest of the first line that begins so.
func lineOf(text, start string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, start); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// RFC 3261 8.1.3.1, 21.5.4: nobody is there: over TCP the caller hears so at once, over UDP when the timer has run out, and in
// neither case of whom it was.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp"}, func(t *testing.T, p parties) {
		p.callee.close()
		a := p.caller.dial(number)
		began := time.Now()
		a.sendInvite(a.sdp.String())
		res := a.a.await(patience, "failure", func(m *message) bool { return a.is(m, "5xx INVITE") || a.is(m, "4xx INVITE") })
		a.ackFailure(res)
		if took := res.at.Sub(began); took > 2*time.Second+5*lag.worst(began) {
			t.Errorf("the failure took %v", took)
		}
		if res.code() != 503 && res.code() != 480 && res.code() != 504 && res.code() != 500 {
			t.Errorf("the caller heard %s", res.first)
		}
		if res.header("Warning") == "" && res.header("Reason") == "" {
			t.Errorf("the failure says nothing of why:\n%s", res.raw)
		}
	})
}

// RFC 3261 8.1.3.1, 18.4: the connection to the callee ends while it rings, and while the caller waits for its first response: the
// caller hears a failure, or the callee may answer on another connection; in the end nothing is left.
func TestConnectionEndsWhileRinging(t *testing.T) {
	t.Parallel()
	both(t, setting{pool: "tcp", gateway: "tcp", more: []string{"ring_timeout: 3s"}}, func(t *testing.T, p parties) {
		a, b := p.ringing()
		b.invite.over.Close()
		m := a.a.await(patience, "failure", func(m *message) bool { return a.is(m, "5xx INVITE") || a.is(m, "4xx INVITE") })
		a.ackFailure(m)
		p.callee.quiet(func(m *message) bool { return m.method() == "CANCEL" || m.method() == "BYE" })

		// The caller's own connection ends: nobody is left to hear of the call, and the callee is let go.
		c := p.caller.dial(number)
		c.over = p.caller.connect()
		c.sendInvite(c.sdp.String())
		d := p.callee.incoming(number)
		d.ring()
		c.expect("180 INVITE")
		c.over.Close()
		cancel := d.expect("CANCEL")
		d.respond(cancel, "200 OK", "")
		d.respond(d.invite, "487 Request Terminated", "")
		p.callee.quiet(d.of("ACK"))
		// A response that finds no connection may be sent over a new one to the address in the Via (18.2.2).
		p.caller.quiet(c.of("4xx INVITE"))
		p.caller.quiet(c.of("5xx INVITE"))
	})
}

// RFC 3261 8.2.2.2, 12: calls that share a Call-ID and differ in the tag are different calls.
func TestTwoCallsWithOneCallID(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		c := p.caller.dial("+14255550124")
		c.id = a.id
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		c.sendInvite(c.sdp.String())
		d := p.callee.incoming("+14255550124")
		mine := func(x *call, what string) *message {
			return p.caller.await(patience, what, func(m *message) bool { return x.is(m, what) && m.tag("From") == tag(x.local) })
		}
		b.respond(b.invite, "200 OK", b.sdp.String())
		d.respond(d.invite, "200 OK", d.sdp.String())
		for _, x := range []*call{a, c} {
			res := mine(x, "200 INVITE")
			x.establish(res)
			x.ack(res, "")
		}
		b.expect("ACK")
		d.expect("ACK")
		a.send(a.request("BYE", ""))
		mine(a, "200 BYE")
		b.byes()
		time.Sleep(200 * time.Millisecond)
		d.none("BYE", "and the other call hung up")
		c.send(c.request("BYE", ""))
		mine(c, "200 BYE")
		d.byes()
	})
}

// RFC 3261 8.1.1.3, 12.1.1, 13.3.1: an INVITE that lacks what a dialog needs has 400, and one of RFC 2543 times, without a tag in
// From, has either that or is served.
func TestIncompleteInvites(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for name, bend := range map[string]func(a *call, text string) string{
			"no Contact": func(a *call, text string) string { return without(text, "Contact") },
			"a Contact of no use": func(a *call, text string) string {
				return strings.Replace(text, "Contact: <sip:", "Contact: <mailto:", 1)
			},
			"a CSeq of another":   func(a *call, text string) string { return strings.Replace(text, "CSeq: 1 INVITE", "CSeq: 1 BYE", 1) },
			"a CSeq of no number": func(a *call, text string) string { return strings.Replace(text, "CSeq: 1 INVITE", "CSeq: x INVITE", 1) },
			"a CSeq beyond 2**31": func(a *call, text string) string {
				return strings.Replace(text, "CSeq: 1 INVITE", "CSeq: 4294967296 INVITE", 1)
			},
			"two Call-IDs": func(a *call, text string) string {
				return strings.Replace(text, "\r\nCSeq", "\r\nCall-ID: other\r\nCSeq", 1)
			},
			"Max-Forwards of none": func(a *call, text string) string {
				return strings.Replace(text, "Max-Forwards: 70", "Max-Forwards: x", 1)
			},
			"version 3": func(a *call, text string) string { return strings.Replace(text, " SIP/2.0\r\n", " SIP/3.0\r\n", 1) },
		} {
			a := p.caller.dial(number)
			a.a.send(bend(a, a.request("INVITE", a.sdp.String())), nil)
			res := a.a.awaitOr(2*time.Second, func(m *message) bool {
				// Which of two Call-IDs an answer repeats is open.
				return (strings.Contains(m.raw, a.id) || strings.Contains(m.raw, "Call-ID: other")) && m.code() >= 400
			})
			if res == nil {
				// Dropped, then with a name.
				if p.dropped(p.caller.side, "malformed")+p.dropped(p.caller.side, "invalid") == 0 {
					t.Errorf("%s: neither answer nor a named drop", name)
				}
				continue
			}
			if !slices.Contains([]int{400, 416, 505}, res.code()) {
				t.Errorf("%s: %s", name, res.first)
			}
		}
		// That the callee heard of none of them is looked at in the end.
		p.caller.quiet(func(m *message) bool { return m.code() == 400 })
		a := p.caller.dial(number)
		a.local = strings.Split(a.local, ";tag=")[0]
		a.sendInvite(a.sdp.String())
		m := a.a.await(patience, "final response", func(m *message) bool { return a.is(m, "4xx INVITE") || a.is(m, "100 INVITE") })
		if m.code() == 100 {
			b := p.callee.incoming(number)
			b.answer()
			a.answered()
			p.hangUp(a, b)
		} else {
			a.ackFailure(m)
		}
	})
}

// without is a message without its headers of a name.
func without(text, name string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+":") {
			b.WriteString(line)
		}
	}
	return b.String()
}
