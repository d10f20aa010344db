package signalling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// changes are what a peer may want of an established session. want is the direction that causeway has to answer, told
// what the other side is to hear of it, nothing when that stays as it was.
var changes = []struct {
	name    string
	offer   func(c *call)
	answer  []string // directions, any of them
	carried string   // direction that the other side is offered; "" for nothing
}{
	{"hold by sendonly", func(c *call) { c.sdp.direction = "sendonly" }, []string{"recvonly", "inactive"}, "sendonly"},
	{"resume", func(c *call) { c.sdp.direction = "sendrecv" }, []string{"sendrecv"}, "sendrecv"},
	{"hold by inactive", func(c *call) { c.sdp.direction = "inactive" }, []string{"inactive"}, "inactive"},
	{"resume without a word", func(c *call) { c.sdp.direction = "" }, []string{"sendrecv"}, "sendrecv"},
	{"recvonly", func(c *call) { c.sdp.direction = "recvonly" }, []string{"sendonly"}, "recvonly"},
	{"resume again", func(c *call) { c.sdp.direction = "sendrecv" }, []string{"sendrecv"}, "sendrecv"},
}

// sides names the two legs of a call, for tests that go from either.
func sides(a, b *call) []struct {
	name       string
	from, peer *call
} {
	return []struct {
		name       string
		from, peer *call
	}{{"caller", a, b}, {"callee", b, a}}
}

// withMethods runs a test by re-INVITE and by UPDATE, in both call directions. Toward peers that do not allow UPDATE
// causeway must not use it (RFC 3311 5.1), hence the second kind of peers.
func withMethods(t *testing.T, test func(t *testing.T, p parties, method string, a, b *call)) {
	t.Helper()
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a, b := p.talking("Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, " + method)
				test(t, p, method, a, b)
				p.hangUp(a, b)
			})
		})
	}
}

// reoffered waits for causeway's offer to a leg, by re-INVITE or, when the peer allows it, UPDATE.
func (c *call) reoffered(method string) *message {
	c.t.Helper()
	return c.a.await(patience, "new offer", func(m *message) bool {
		return c.is(m, "INVITE") || method == "UPDATE" && c.is(m, "UPDATE") && m.body != ""
	})
}

// RFC 3261 14, RFC 3311, RFC 3264 8.4: hold and resume from either side, one after the other in one call, carried to the
// other side; the description's origin stays and its version grows (RFC 3264 8).
func TestHoldAndResume(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			id, last := origin(p.given(peer))
			for _, c := range changes {
				c.offer(from)
				from.sdp.version++
				req := from.send(from.request(method, from.sdp.String()))
				offer := peer.reoffered(method)
				peer.answerReoffer(offer)
				res := from.expect("200 " + method)
				if method == "INVITE" {
					from.invite = req
					from.ack(res, "")
				}
				if got := direction(res.body); !strings.Contains(strings.Join(c.answer, " "), got) {
					t.Errorf("%s of the %s was answered %s, want %v", c.name, side.name, got, c.answer)
				}
				if got := direction(offer.body); got != c.carried {
					t.Errorf("%s of the %s reached the other side as %s, want %s", c.name, side.name, got, c.carried)
				}
				nowID, now := origin(offer.body)
				if nowID != id || now <= last && len(now) <= len(last) {
					t.Errorf("%s: origin %s %s after %s %s", c.name, nowID, now, id, last)
				}
				last = now
			}
		}
	})
}

// RFC 3264 8.4, RFC 2543: the old hold by c=0.0.0.0. The other side hears of a hold, and of no such address.
func TestHoldByZeroAddress(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			for _, hold := range []bool{true, false} {
				from.sdp.version++
				text := from.sdp.String()
				if hold {
					text = strings.Replace(text, "c=IN IP4 "+from.sdp.address.String(), "c=IN IP4 0.0.0.0", 1)
				}
				req := from.send(from.request(method, text))
				offer := peer.reoffered(method)
				if strings.Contains(offer.body, "c=IN IP4 0.0.0.0") {
					t.Errorf("the other side of the %s was given 0.0.0.0:\n%s", side.name, offer.body)
				}
				want := map[bool]string{true: "sendonly inactive", false: "sendrecv"}[hold]
				if got := direction(offer.body); !strings.Contains(want, got) {
					t.Errorf("hold %v of the %s reached the other side as %s, want %s", hold, side.name, got, want)
				}
				peer.answerReoffer(offer)
				res := from.expect("200 " + method)
				if method == "INVITE" {
					from.invite = req
					from.ack(res, "")
				}
				if !hold {
					hear(t, peer, from, p.given(peer), 0, 0, time.Now())
				}
			}
		}
	})
}

// RFC 3264 5.1, 8.4: what a held side sends does not arrive, and what the holder sends, its music, does.
func TestMediaDuringHold(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			began := time.Now()
			hear(t, from, peer, p.given(from), 0, 0, began)
			hear(t, peer, from, p.given(peer), 0, 0, began)
			p.hold(from, peer, "sendonly")
			began = time.Now()
			peer.audio.send(mediaAt(t, p.given(peer)), 0, 20)
			if n := from.audio.count(0, began.Add(60*time.Millisecond)); n != 0 {
				t.Errorf("the %s holds the call and heard %d packets", side.name, n)
			}
			hear(t, from, peer, p.given(from), 0, 0, began)
			p.hold(from, peer, "sendrecv")
			began = time.Now()
			hear(t, from, peer, p.given(from), 0, 0, began)
			hear(t, peer, from, p.given(peer), 0, 0, began)
		}
		p.hangUp(a, b)
	})
}

// hold changes the direction by re-INVITE from one leg and lets the other agree.
func (p parties) hold(from, peer *call, direction string) {
	p.t.Helper()
	from.sdp.direction = direction
	from.sdp.version++
	from.sendInvite(from.sdp.String())
	peer.answerReoffer(peer.reoffered("INVITE"))
	from.ack(from.expect("200 INVITE"), "")
}

// RFC 3261 14.1, RFC 3264 8.3: codec, port and address change on one side, and the other side need not hear of it
// (mediation-anchors 4: media redirected when a re-INVITE changes the port).
func TestCodecPortAndAddressChange(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			began := time.Now()
			hear(t, peer, from, p.given(peer), 0, 0, began)

			from.sdp.formats = "8 101"
			res := from.change(method)
			if got := formats(res.body); len(got) == 0 || got[0] != "8" {
				t.Errorf("an offer of PCMA was answered with %v", got)
			}
			began = time.Now()
			hear(t, peer, from, p.given(peer), 0, 8, began)
			hear(t, from, peer, res.body, 8, anyG711, began)

			old := from.audio
			from.audio = newAudio(t, from.a.local.Addr())
			from.sdp.port = int(from.audio.local().Port())
			res = from.change(method)
			began = time.Now()
			hear(t, peer, from, p.given(peer), 0, 8, began)
			hear(t, from, peer, res.body, 8, anyG711, began)
			if n := old.count(8, began.Add(60*time.Millisecond)); n != 0 {
				t.Errorf("the old port of the %s still heard %d packets", side.name, n)
			}

			from.audio = newAudio(t, p.otherOf(from))
			from.sdp.address, from.sdp.port = from.audio.local().Addr(), int(from.audio.local().Port())
			res = from.change(method)
			began = time.Now()
			hear(t, peer, from, p.given(peer), 0, 8, began)
			hear(t, from, peer, res.body, 8, anyG711, began)

			from.sdp.formats = "0 8 101"
			from.change(method)
			hear(t, peer, from, p.given(peer), 0, 0, time.Now())
		}
	})
}

// RFC 3264 8.3.2: the codec changes on one side to one that the other side has not agreed to: causeway converts.
func TestCodecChangeIsConverted(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			peer.sdp.formats = "0 101"
			peer.change(method)
			from.sdp.formats = "8 101"
			res := from.change(method)
			began := time.Now()
			hear(t, peer, from, p.given(peer), 0, 8, began)
			hear(t, from, peer, res.body, 8, 0, began)
			peer.sdp.formats, from.sdp.formats = "0 8 101", "0 8 101"
			peer.change(method)
			from.change(method)
		}
	})
}

// RFC 3261 14.1, 14.2: a re-INVITE without an offer asks for one; the answer comes with the ACK. What is offered is the
// session as it stands, with the same origin (RFC 6337 5.2.5).
func TestReinviteWithoutOffer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			before, _ := origin(p.given(from))
			from.sendInvite("")
			res := from.expect("200 INVITE")
			if id, _ := origin(res.body); id != before || direction(res.body) != "sendrecv" {
				t.Errorf("the offer in the 200 has origin %s, before %s, and %s:\n%s", id, before, direction(res.body), res.body)
			}
			from.audio = newAudio(t, from.a.local.Addr())
			from.sdp.port = int(from.audio.local().Port())
			from.sdp.version++
			from.ack(res, from.sdp.String())
			began := time.Now()
			hear(t, peer, from, p.given(peer), 0, 0, began)
			hear(t, from, peer, res.body, 0, 0, began)
		}
		p.hangUp(b, a)
	})
}

// RFC 3261 14.1, 14.2: an answer in that ACK which cannot be used ends nothing but the change, or the call; causeway keeps
// no half of it.
func TestReinviteWithoutOfferAnsweredBadly(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		a.sendInvite("")
		res := a.expect("200 INVITE")
		a.ack(res, "")
		// The RFC leaves open what follows. Either the call goes on or both sides hear BYE.
		if bye := a.a.awaitOr(time.Second, a.of("BYE")); bye != nil {
			a.respond(bye, "200 OK", "")
			b.byes()
			return
		}
		began := time.Now()
		hear(t, a, b, res.body, 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3261 14.2: an offer that cannot be taken is refused with 488 and a Warning, and the session stays as it was.
func TestUnusableReoffer(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from, peer := side.from, side.peer
			usual := from.sdp.String()
			for name, offer := range map[string]string{
				"fax alone":          strings.Split(usual, "m=audio")[0] + "m=image 7000 udptl t38\r\n",
				"a codec unknown":    strings.Split(usual, "m=audio")[0] + "m=audio 7000 RTP/AVP 97\r\na=rtpmap:97 speex/8000\r\n",
				"encryption":         strings.Replace(usual, "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "\r\n",
				"no description":     "garbage\r\n",
				"an address of none": strings.Replace(usual, "c=IN IP4 ", "c=IN IP4 999.", 1),
			} {
				req := from.send(from.request(method, offer))
				res := from.a.await(patience, "refusal of "+name, func(m *message) bool {
					return from.is(m, "488 "+method) || from.is(m, "400 "+method)
				})
				if method == "INVITE" {
					from.invite = req
					from.ackFailure(res)
				}
				if res.code() == 488 && res.header("Warning") == "" {
					t.Errorf("%s: 488 without a Warning", name)
				}
			}
			began := time.Now()
			hear(t, peer, from, p.given(peer), 0, 0, began)
			hear(t, from, peer, p.given(from), 0, 0, began)
		}
	})
}

// RFC 3261 14.1: the other side refuses what was carried to it: the session there stays, and nothing of it reaches the side
// that asked. RFC 5057 5.1: 481 and 408 end the call.
func TestReofferRefusedByTheOtherSide(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"488 Not Acceptable Here", "603 Decline", "481 Call/Transaction Does Not Exist", "408 Request Timeout"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			both(t, setting{}, func(t *testing.T, p parties) {
				a, b := p.talking()
				a.sdp.direction = "sendonly"
				a.sdp.version++
				a.sendInvite(a.sdp.String())
				b.invite = b.reoffered("INVITE")
				b.refuse(status)
				a.ack(a.expect("200 INVITE"), "")
				if status < "482" {
					a.byes()
					if status[:3] == "408" { // RFC 3261 12.2.1.2: the dialog ends, BYE or not
						if bye := b.a.awaitOr(time.Second, b.of("BYE")); bye != nil {
							b.respond(bye, "200 OK", "")
						}
						return
					}
					if bye := b.a.awaitOr(300*time.Millisecond, b.of("BYE")); bye != nil {
						b.respond(bye, "200 OK", "")
					}
					return
				}
				time.Sleep(300 * time.Millisecond)
				p.hangUp(b, a)
			})
		})
	}
}

// RFC 3264 8: an offer that changes nothing changes nothing: the same description is answered, the version stays.
func TestRefreshWithoutChange(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for _, side := range sides(a, b) {
			from := side.from
			first := ""
			for i := range 3 {
				req := from.send(from.request(method, from.sdp.String()))
				res := from.expect("200 " + method)
				if method == "INVITE" {
					from.invite = req
					from.ack(res, "")
				}
				id, version := origin(res.body)
				if now := id + " " + version; i == 0 {
					first = now
				} else if now != first {
					t.Errorf("o= was %s and is %s, and nothing changed", first, now)
				}
			}
		}
	})
}

// RFC 3311 5.2: an UPDATE without a description refreshes the target and nothing else.
func TestUpdateWithoutOffer(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking("Allow: INVITE, ACK, CANCEL, BYE, UPDATE")
		for _, c := range []*call{a, b} {
			c.send(c.request("UPDATE", ""))
			if res := c.expect("200 UPDATE"); res.body != "" {
				t.Errorf("200 to an UPDATE without an offer has a description:\n%s", res.raw)
			}
		}
		p.hangUp(a, b)
	})
}

// RFC 3261 12.2.1.2: a re-INVITE or UPDATE, and the response to one, may bring a new Contact; what comes later goes there
// (mediation-anchors 5.3 number 4: BYE built from the Contact of the first INVITE).
func TestTargetRefresh(t *testing.T) {
	t.Parallel()
	withMethods(t, func(t *testing.T, p parties, method string, a, b *call) {
		for i, side := range sides(a, b) {
			from, peer := side.from, side.peer
			from.contact = fmt.Sprintf("sip:moved%d@%s;transport=%s", i, from.a.local, from.a.network)
			from.change(method)
			p.hold(peer, from, "inactive")
			if got := from.invite.uri(); got != from.contact {
				t.Errorf("after %s of the %s a request went to %s, want %s", method, side.name, got, from.contact)
			}
			p.hold(peer, from, "sendrecv")
			// The response to a request of causeway moves it too.
			from.contact = fmt.Sprintf("sip:again%d@%s;transport=%s", i, from.a.local, from.a.network)
			p.hold(peer, from, "inactive")
			p.hold(peer, from, "sendrecv")
			if got := from.invite.uri(); got != from.contact {
				t.Errorf("after the 200 of the %s a request went to %s, want %s", side.name, got, from.contact)
			}
		}
	})
}

// RFC 3261 12.2.1.2, 18: over UDP the new Contact is where the datagrams go, port and all.
func TestTargetRefreshMovesThePort(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a, b := p.talking()
		for _, c := range []*call{a, b} {
			second := newAgent(t, c.a.side, "udp", withPort(c.a.local, 5070), c.a.peer)
			c.contact = fmt.Sprintf("sip:moved@%s;transport=udp", second.local)
			c.change("INVITE")
			c.a, c.via = second, second.local.String()
		}
		p.hangUp(a, b)
	})
}

// The same by SIPp: hold and resume in each form, by re-INVITE and by UPDATE, from the caller and from the callee; the codec
// and the port; without an offer.
func TestSIPpChanges(t *testing.T) {
	t.Parallel()
	type change struct {
		name, offer, carried string
	}
	zero := func(version int) string { return sippAudioAt(version, "0.0.0.0", "[media_port]", "0 8 101", "") }
	all := []change{
		{"sendonly", sippAudio(2, "0 8 101", "sendonly"), "a=sendonly"},
		{"resume", sippAudio(3, "0 8 101", "sendrecv"), "a=sendrecv"},
		{"inactive", sippAudio(4, "0 8 101", "inactive"), "a=inactive"},
		{"resume", sippAudio(5, "0 8 101", ""), "a=sendrecv"},
		{"recvonly", sippAudio(6, "0 8 101", "recvonly"), "a=recvonly"},
		{"resume", sippAudio(7, "0 8 101", "sendrecv"), "a=sendrecv"},
		{"c=0.0.0.0", zero(8), "a=sendonly"},
		{"resume", sippAudio(9, "0 8 101", "sendrecv"), "a=sendrecv"},
		{"PCMA", sippAudio(10, "8 101", "sendrecv"), ""},
		{"port", sippAudioAt(11, "[media_ip]", "7010", "8 101", "sendrecv"), ""},
		{"address", sippAudioAt(12, "ADDRESS", "7010", "8 101", "sendrecv"), ""},
	}
	mirrored := map[string]string{"a=sendonly": "recvonly", "a=inactive": "inactive", "a=recvonly": "sendonly", "a=sendrecv": "sendrecv"}
	for _, method := range []string{"INVITE", "UPDATE"} {
		// One side asks for every change, the other agrees.
		asks := func(w *scenario) {
			for _, c := range all {
				offer := strings.ReplaceAll(c.offer, "ADDRESS", w.other)
				sends(method, offer)(w)
				mayHear("100")(w)
				hears("200", check{"", "m=audio [1-9]"})(w)
				if method == "INVITE" {
					acks("")(w)
				}
				waits(150 * time.Millisecond)(w)
			}
			if method == "INVITE" {
				sends("INVITE", "")(w)
				mayHear("100")(w)
				hears("200", check{"", "m=audio [1-9]"})(w)
				acks(sippAudio(13, "0 8 101", "sendrecv"))(w)
				waits(150 * time.Millisecond)(w)
			}
		}
		agrees := func(w *scenario) {
			for i, c := range all {
				if c.carried == "" {
					continue
				}
				hears("INVITE", check{"", c.carried})(w)
				answers("200 OK", sippAudio(i+2, "0 8 101", mirrored[c.carried]))(w)
				hears("ACK")(w)
			}
		}
		play(t, method+" of the caller", setting{},
			script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(150 * time.Millisecond), asks, sends("BYE", ""), hears("200")},
			script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), agrees, hears("BYE"), answers("200 OK", "")}, nil)
		play(t, method+" of the callee", setting{},
			script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), agrees, hears("BYE"), answers("200 OK", "")},
			script{hears("INVITE"), answers("200 OK", usual()), hears("ACK"), waits(150 * time.Millisecond), asks, sends("BYE", ""), hears("200")}, nil)
	}
}
