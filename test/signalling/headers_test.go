package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// carriedHeaders are what one side says of a call and the other may know (docs/headers.md), each as the other side is to see
// it: HOST is a host of the sender's, which must not cross.
var carriedHeaders = []struct {
	header, value string
	want          []string // all in what arrives
}{
	{"P-Asserted-Identity", `"Alice" <sip:+14255550111@HOST>`, []string{"Alice", "+14255550111"}}, // RFC 3325 9.1
	{"Privacy", "id", []string{"id"}}, // RFC 3323, 3325 9.3
	{"Diversion", "<sip:+14255550112@HOST>;reason=user-busy;counter=2;privacy=off", []string{"+14255550112", "user-busy", "counter=2"}}, // RFC 5806
	{"History-Info", "<sip:+14255550113@HOST>;index=1", []string{"+14255550113", "index=1"}},                                            // RFC 7044
	{"User-to-User", "56a390f3d2b7310023a2;encoding=hex;purpose=isdn-uui", []string{"56a390f3d2b7310023a2", "encoding=hex"}},            // RFC 7433
}

// RFC 3325, 3323, 5806, 7044, 7433, 3326: what crosses in INVITE, in both directions, with every host of the sender's side
// replaced. That none is left is looked at in all that each side heard, in every test.
func TestHeadersOfInvite(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		for _, host := range []string{p.caller.domain(), p.caller.local.Addr().String(), p.caller.local.String()} {
			var headers []string
			for _, h := range carriedHeaders {
				headers = append(headers, h.header+": "+strings.ReplaceAll(h.value, "HOST", host))
			}
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String(), append(headers, secrets(p.caller)...)...)
			b := p.callee.incoming(number)
			for _, h := range carriedHeaders {
				for _, want := range h.want {
					if got := b.invite.header(h.header); !strings.Contains(got, want) {
						t.Errorf("%s: %q has no %q (sent with the host %s)", h.header, got, want, host)
					}
				}
			}
			for _, gone := range []string{"X-Internal", "Call-Info", "Alert-Info", "Subject", "Organization", "Authorization", "P-Charging-Vector", "Geolocation", "Identity"} {
				if got := b.invite.header(gone); got != "" {
					t.Errorf("%s crossed: %s", gone, got)
				}
			}
			b.answer()
			a.answered()
			p.hangUp(a, b)
		}
	})
}

// secrets are headers that stay on their side.
func secrets(a *agent) []string {
	at := a.local.Addr().String()
	return []string{
		"X-Internal: " + at, "Call-Info: <http://" + at + "/photo>;purpose=icon", "Alert-Info: <http://" + at + "/ring>", "Subject: " + a.domain(),
		"Organization: " + a.domain(), `Authorization: Digest username="u", realm="` + a.domain() + `", nonce="n", uri="sip:x", response="r"`,
		"P-Charging-Vector: icid-value=1;icid-generated-at=" + at, "Geolocation: <http://" + a.domain() + "/here>", "Server: pbx at " + at,
		"Record-Route: <sip:" + at + ":5060;lr>", "Reply-To: <sip:x@" + a.domain() + ">",
	}
}

// RFC 3326, 6432: Reason crosses in BYE, CANCEL and failures, in its Q.850 and in its SIP form, from either side.
func TestReasonCrosses(t *testing.T) {
	t.Parallel()
	const q850 = `Q.850;cause=17;text="User busy"`
	both(t, setting{}, func(t *testing.T, p parties) {
		arrives := func(where string, m *message) {
			if got := m.header("Reason"); got != q850 {
				t.Errorf("%s has Reason %q, want %q", where, got, q850)
			}
		}
		a, b := p.ringing()
		b.refuse("486 Busy Here", "Reason: "+q850)
		arrives("486", a.refused(486))

		a, b = p.ringing()
		a.send(a.cancel("Reason: " + q850))
		a.expect("200 CANCEL")
		a.refused(487)
		cancel := b.expect("CANCEL")
		arrives("CANCEL", cancel)
		b.respond(cancel, "200 OK", "")
		b.refuse("487 Request Terminated")

		for i := range 2 {
			a, b = p.talking()
			from, to := a, b
			if i == 1 {
				from, to = b, a
			}
			from.send(from.request("BYE", "", "Reason: "+q850, "Reason: SIP;cause=200;text=\"at "+from.a.local.Addr().String()+"\""))
			from.expect("200 BYE")
			bye := to.byes()
			if got := strings.Join(bye.all("Reason"), ", "); !strings.Contains(got, "Q.850;cause=17") {
				t.Errorf("BYE has Reason %q", got)
			}
		}
	})
}

// RFC 3261 20.43, 20.33, 21: what a refusal says, without the addresses that stand in it. Whatever a callee writes into the
// texts of its responses, no address of it is read on the other side.
func TestTextsOfRefusalsAreClean(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		at, domain := p.callee.local.Addr().String(), p.callee.domain()
		for _, phrase := range []string{"No route to " + at, "Ask " + domain, "See sip:x@" + p.callee.local.String(), "Busy Here"} {
			a := p.caller.dial(number)
			a.sendInvite(a.sdp.String())
			b := p.callee.incoming(number)
			b.respond(b.invite, "180 Ringing at "+at, "", "Server: "+domain, "Alert-Info: <http://"+at+">")
			a.expect("180 INVITE")
			b.refuse("486 "+phrase, "Warning: 399 "+at+` "no route from `+at+` to `+domain+`"`, "Retry-After: 30 (ask "+domain+")",
				`Reason: Q.850;cause=21;text="refused by `+at+`"`, "Error-Info: <http://"+domain+"/sorry>", "Contact: <sip:other@"+at+">")
			res := a.refused(486)
			if got := res.header("Reason"); !strings.HasPrefix(got, "Q.850;cause=21") {
				t.Errorf("Reason: %q", got)
			}
			if phrase == "Busy Here" && res.first != "SIP/2.0 486 Busy Here" {
				t.Errorf("the phrase became %q", res.first)
			}
		}
	})
}

// RFC 3261 12.1, 16.12: with proxies in between, the route set is the Record-Route, in its order for the callee and reversed for
// the caller; the INVITE goes to the first of it, the remote target stays the Contact (mediation-anchors 4: Record-Route, and
// the ACK sent to where the INVITE went).
func TestRouteSet(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		near := fmt.Sprintf("<sip:%s;lr>", p.caller.local)
		far := "<sip:proxy2." + p.caller.domain() + ";lr>"
		a := p.caller.dial(number)
		a.contact = "sip:hidden@10.1.2.3:5099"
		a.sendInvite(a.sdp.String(), "Record-Route: "+near, "Record-Route: "+far)
		b := p.callee.incoming(number)
		b.contact = "sip:hidden@10.3.2.1:5099"
		nearB := fmt.Sprintf("<sip:%s;lr>", p.callee.local)
		farB := "<sip:proxy2." + p.callee.domain() + ";lr>"
		b.respond(b.invite, "200 OK", b.sdp.String(), "Record-Route: "+farB+", "+nearB)
		ack := b.expect("ACK")
		routed(t, ack, b.contact, nearB, farB)
		a.answered()
		p.hold(a, b, "sendonly")
		routed(t, b.invite, b.contact, nearB, farB)
		b.sdp.direction = "sendrecv"
		p.hold(a, b, "sendrecv")
		b.send(b.request("BYE", ""))
		b.expect("200 BYE")
		routed(t, a.byes(), a.contact, near, far)
	})
}

// routed checks target and route of a request in a dialog.
func routed(t *testing.T, m *message, target string, routes ...string) {
	t.Helper()
	if m.uri() != target {
		t.Errorf("%s is for %s, want %s", m.method(), m.uri(), target)
	}
	if got := strings.Join(list(m, "Route"), " "); got != strings.Join(routes, " ") {
		t.Errorf("%s has the route %s, want %s", m.method(), got, strings.Join(routes, " "))
	}
}

// RFC 3261 12.1.2, 13.2.2.4: ACK and what follows go to the Contact of the 200, not to where the INVITE went, nor to the
// Contact of the 180 (mediation-anchors 4: the destination kept for the ACK).
func TestAckGoesToTheContact(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.ring()
		a.expect("180 INVITE")
		phone := newAgent(t, p.callee.side, "udp", withPort(p.callee.local, 5080), p.callee.peer)
		b.contact = "sip:phone@" + phone.local.String() + ";transport=udp"
		b.respond(b.invite, "200 OK", b.sdp.String())
		b.a, b.via = phone, phone.local.String()
		b.expect("ACK")
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3550 11, RFC 3261 8.1.1.4: small things that each side sees of causeway: an even RTP port, not the last call's
// (mediation-anchors 4: ports drained before they are used again); a Call-ID and tags of its own on each side.
func TestWhatEachCallShows(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		seen := map[string]string{}
		for range 4 {
			a, b := p.talking()
			for _, c := range []*call{a, b} {
				at := mediaAt(t, p.given(c))
				if at.Port()%2 != 0 {
					t.Errorf("%s was given the port %d", c.a.side, at.Port())
				}
				if before, ok := seen[at.String()]; ok {
					t.Errorf("%v was given to %s and then to another call", at, before)
				}
				seen[at.String()] = c.a.side
			}
			if a.id == b.id || tag(a.local) == tag(b.remote) || tag(a.remote) == tag(b.local) {
				t.Errorf("Call-ID or a tag crossed: %s and %s", a.id, b.id)
			}
			p.hangUp(a, b)
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// The same by SIPp: headers of the INVITE, and the Reason of a failure.
func TestSIPpHeaders(t *testing.T) {
	t.Parallel()
	var sent []string
	var wanted []check
	for _, h := range carriedHeaders {
		sent = append(sent, h.header+": "+strings.ReplaceAll(h.value, "HOST", "[local_ip]"))
		for _, w := range h.want {
			wanted = append(wanted, check{h.header, strings.NewReplacer("+", "[+]").Replace(w)})
		}
	}
	play(t, "INVITE", setting{},
		script{invites(usual(), sent...), mayHear("100"), mayHear("180"), hears("200"), acks(""), hears("BYE", check{"Reason", "Q.850;cause=16"}), answers("200 OK", "")},
		script{hears("INVITE", wanted...), answers("200 OK", usual()), hears("ACK"), waits(100 * time.Millisecond), sends("BYE", "", "Reason: Q.850;cause=16"), hears("200")},
		nil)
	play(t, "failure", setting{},
		script{invites(usual()), mayHear("100"), hears("486", check{"Reason", "Q.850;cause=17"}), acksFailure()},
		script{hears("INVITE"), answers("486 Busy Here", "", "Reason: Q.850;cause=17", `Warning: 399 [local_ip] "at [local_ip]"`), hears("ACK")},
		nil)
}
