package signalling

import (
	"fmt"
	"testing"
	"time"

	"causeway/test/rig/sipp"
)

// prack acknowledges a reliable provisional response (RFC 3262 4).
func (c *call) prack(res *message, body string) {
	c.t.Helper()
	c.establish(res)
	number, _ := c.invite.seq()
	c.send(c.request("PRACK", body, fmt.Sprintf("RAck: %s %d INVITE", res.header("RSeq"), number)))
}

// reliable answers a reliable provisional response to the INVITE.
func (c *call) reliable(status string, rseq int, body string, headers ...string) {
	c.t.Helper()
	c.respond(c.invite, status, body, append([]string{"Require: 100rel", fmt.Sprintf("RSeq: %d", rseq)}, headers...)...)
}

// pracked waits for the PRACK of a reliable response, checks which one it acknowledges and answers it.
func (c *call) pracked(rseq int) *message {
	c.t.Helper()
	prack := c.expect("PRACK")
	number, _ := c.invite.seq()
	if got, want := prack.header("RAck"), fmt.Sprintf("%d %d INVITE", rseq, number); got != want {
		c.t.Errorf("RAck: %s, want %s", got, want)
	}
	c.respond(prack, "200 OK", "")
	return prack
}

// RFC 3262 4 (mediation-anchors 5.3 number 6): a callee that answers provisionally and reliably gets a PRACK for each, in
// order, and none for a repetition or for one that is ahead of its turn.
func TestReliableCallee(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		if !b.invite.names("Supported", "100rel") {
			t.Fatalf("the INVITE does not support 100rel:\n%s", b.invite.raw)
		}
		b.reliable("183 Session Progress", 776, b.sdp.String())
		b.pracked(776)
		early := a.expect("183 INVITE")
		began := time.Now()
		hear(t, b, a, b.invite.body, 0, 0, began)
		hear(t, a, b, early.body, 0, 0, began)

		b.reliable("183 Session Progress", 776, b.sdp.String()) // comes again
		b.reliable("180 Ringing", 778, "")                      // one is missing before it
		time.Sleep(300 * time.Millisecond)
		if n := len(b.a.times(b.of("PRACK"))); n != 1 {
			t.Errorf("%d PRACKs, want one", n)
		}
		b.reliable("180 Ringing", 777, "")
		b.pracked(777)
		a.expect("180 INVITE")
		b.respond(b.invite, "200 OK", "") // the answer came with the 183
		b.expect("ACK")
		a.answered()
		hear(t, a, b, p.given(a), 0, 0, time.Now())
		p.hangUp(a, b)
	})
}

// RFC 3262 3: toward a caller that requires it every provisional response above 100 is reliable, numbered one by one, and
// the 2xx waits for the PRACK of one that has the answer. Even where the setting offers it to nobody.
func TestReliableCaller(t *testing.T) {
	t.Parallel()
	off := []string{"reliable_provisionals: false"}
	both(t, setting{poolMore: off, gateMore: off}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel")
		b := p.callee.incoming(number)
		if b.invite.names("Supported", "100rel") {
			t.Error("the INVITE supports 100rel, and the setting says no")
		}
		b.ring()
		ringing := a.expect("180 INVITE")
		if !ringing.names("Require", "100rel") || ringing.header("RSeq") == "" {
			t.Fatalf("180 is not reliable:\n%s", ringing.raw)
		}
		a.prack(ringing, "")
		if ok := a.expect("200 PRACK"); ok.body != "" {
			t.Errorf("200 to PRACK has a body:\n%s", ok.raw)
		}
		b.respond(b.invite, "183 Session Progress", b.sdp.String())
		progress := a.expect("183 INVITE")
		var first, second int
		_, _ = fmt.Sscan(ringing.header("RSeq"), &first)
		_, _ = fmt.Sscan(progress.header("RSeq"), &second)
		if second != first+1 {
			t.Errorf("RSeq %d after %d", second, first)
		}
		if progress.body == "" {
			t.Error("a reliable 183 without the answer that the callee gave")
		}
		b.answer()
		time.Sleep(300 * time.Millisecond)
		a.none("200 INVITE", "before the 183 with the answer had its PRACK")
		a.prack(progress, "")
		a.expect("200 PRACK")
		a.answered()
		began := time.Now()
		hear(t, a, b, progress.body, 0, 0, began)
		hear(t, b, a, p.given(b), 0, 0, began)
		p.hangUp(a, b)
	})
}

// RFC 3262 3: a PRACK for nothing, and one for what has had its PRACK, has 481; the call is none the worse.
func TestPrackForNothing(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel")
		b := p.callee.incoming(number)
		b.ring()
		ringing := a.expect("180 INVITE")
		a.establish(ringing)
		for _, rack := range []string{"4711 1 INVITE", ringing.header("RSeq") + " 99 INVITE", ringing.header("RSeq") + " 1 UPDATE"} {
			a.send(a.request("PRACK", "", "RAck: "+rack))
			a.expect("481 PRACK")
		}
		a.send(a.request("PRACK", ""))
		if res := a.expect("4xx PRACK"); res.code() != 400 && res.code() != 481 {
			t.Errorf("PRACK without RAck: %s", res.first)
		}
		a.number--
		a.prack(ringing, "")
		a.number++
		a.a.await(patience, "answer to PRACK", func(m *message) bool { return a.is(m, "2xx PRACK") || a.is(m, "5xx PRACK") })
		a.prack(ringing, "")
		a.a.await(patience, "answer to PRACK", func(m *message) bool { return a.is(m, "200 PRACK") || a.is(m, "481 PRACK") })
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}

// RFC 3262 5, RFC 3261 13.2.1: a late offer with reliable responses: the offer may be in the 183, the answer then is in its
// PRACK, and the call is settled before the 200.
func TestLateOfferInReliableProvisional(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite("", "Require: 100rel")
		b := p.callee.incoming(number)
		b.respond(b.invite, "183 Session Progress", b.sdp.String())
		progress := a.expect("183 INVITE")
		if progress.body == "" {
			// The offer is then in the 200; the 183 is reliable all the same.
			a.prack(progress, "")
			a.expect("200 PRACK")
			toA, toB := lateOffer(t, a, b)
			flows(t, a, b, toA, toB)
			p.hangUp(a, b)
			return
		}
		a.prack(progress, a.sdp.String())
		a.expect("200 PRACK")
		b.respond(b.invite, "200 OK", b.sdp.String())
		res := a.answered()
		if res.body != "" {
			t.Errorf("the 200 has a description, and the exchange was over (RFC 6337 2.2):\n%s", res.raw)
		}
		b.expect("ACK")
		flows(t, a, b, progress.body, p.given(b))
		p.hangUp(a, b)
	})
}

// RFC 3262 4, RFC 3311 5.1: UPDATE in the early dialog after a reliable answer, from either side.
func TestUpdateInTheEarlyDialog(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		allow := "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK"
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel", allow)
		b := p.callee.incoming(number)
		b.reliable("183 Session Progress", 1, b.sdp.String(), allow)
		b.pracked(1)
		progress := a.expect("183 INVITE")
		a.prack(progress, "")
		a.expect("200 PRACK")
		for _, c := range []*call{a, b} {
			c.audio = newAudio(t, c.a.local.Addr())
			c.sdp.port = int(c.audio.local().Port())
			c.change("UPDATE")
		}
		began := time.Now()
		hear(t, a, b, p.given(a), 0, 0, began)
		hear(t, b, a, p.given(b), 0, 0, began)
		b.respond(b.invite, "200 OK", "")
		b.expect("ACK")
		number, _ := a.invite.seq()
		res := a.expect("200 INVITE")
		a.establish(res)
		a.send(a.write("ACK", number, "z9hG4bK"+newTag(), ""))
		p.hangUp(b, a)
	})
}

// RFC 3262 3, RFC 3261 9: CANCEL while a reliable response waits for its PRACK.
func TestCancelDuringReliableProvisional(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel")
		b := p.callee.incoming(number)
		b.reliable("180 Ringing", 1, "")
		b.pracked(1)
		a.expect("180 INVITE")
		a.send(a.cancel())
		a.expect("200 CANCEL")
		a.refused(487)
		b.respond(b.expect("CANCEL"), "200 OK", "")
		b.refuse("487 Request Terminated")
	})
}

// The same by SIPp: 100rel required by the callee, and by the caller.
func TestSIPpReliableProvisionals(t *testing.T) {
	t.Parallel()
	rack := `<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="rseq"/>`
	hearsReliable := func(code string) step {
		return func(w *scenario) {
			fmt.Fprintf(w, "<recv response=%q rrs=\"true\"><action>%s</action></recv>\n", code, rack)
		}
	}
	pracks := sends("PRACK", "", "RAck: [$rseq] 1 INVITE")
	play(t, "callee", setting{},
		script{invites(usual()), mayHear("100"), hears("183", check{"", "m=audio"}), hears("180"), hears("200"), acks(""), waits(200 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{
			hears("INVITE", check{"Supported", "100rel"}),
			answers("183 Session Progress", usual(), "Require: 100rel", "RSeq: 17"), hears("PRACK", check{"RAck", "17 1 INVITE"}), answers("200 OK", ""),
			waits(200 * time.Millisecond),
			answersTo("INVITE", "180 Ringing", "", "Require: 100rel", "RSeq: 18"), hears("PRACK", check{"RAck", "18 1 INVITE"}), answers("200 OK", ""),
			waits(200 * time.Millisecond), answersTo("INVITE", "200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", ""),
		}, nil)
	play(t, "caller", setting{},
		script{invites(usual(), "Require: 100rel"), mayHear("100"), hearsReliable("180"), pracks, hears("200"), hearsReliable("183"), pracks, hears("200"),
			hears("200"), acks(""), waits(200 * time.Millisecond), sends("BYE", ""), hears("200")},
		script{hears("INVITE"), answers("180 Ringing", ""), waits(400 * time.Millisecond), answers("183 Session Progress", usual()), waits(400 * time.Millisecond),
			answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", "")},
		func(t *testing.T, _ *lab, caller, _ *sipp.Peer) {
			if !contains(caller.Got("SIP/2.0 180").Header("Require"), "100rel") {
				t.Error("180 does not require 100rel")
			}
		})
}

// RFC 3262 4, RFC 3261 13.2.2.4: two forks answer reliably, each in its own numbering: each has its PRACK in its own dialog. The
// caller, which requires it too, has heard the first answer by then, and it stays; media is the fork's that answers.
func TestReliableForks(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel")
		one := p.callee.incoming(number).fork("one")
		two := one.fork("two")
		for i, f := range []*call{one, two} {
			f.reliable("183 Session Progress", 100*(i+1), f.sdp.String())
			prack := f.hears("PRACK")
			seq, _ := f.invite.seq()
			if want := fmt.Sprintf("%d %d INVITE", 100*(i+1), seq); prack.header("RAck") != want || prack.uri() != f.contact {
				t.Errorf("PRACK to fork %d: %s with RAck %q, want %s and %q", i+1, prack.uri(), prack.header("RAck"), f.contact, want)
			}
			f.respond(prack, "200 OK", "")
		}
		early := a.expect("183 INVITE")
		a.prack(early, "")
		a.expect("200 PRACK")
		if again := a.a.awaitOr(500*time.Millisecond, a.of("183 INVITE")); again != nil {
			a.prack(again, "")
			a.expect("200 PRACK")
		}
		two.respond(two.invite, "200 OK", "")
		two.hears("ACK")
		res := a.answered()
		if res.body != "" {
			t.Errorf("offer and answer were over, and the 200 has a description:\n%s", res.body)
		}
		began := time.Now()
		hear(t, a, two, early.body, 0, 0, began)
		if n := one.audio.count(0, began.Add(60*time.Millisecond)); n != 0 {
			t.Errorf("the other fork heard %d packets", n)
		}
		p.hangUp(a, two)
	})
}

// RFC 3262 5: an offer in PRACK is answered in its 200.
func TestOfferInPrack(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String(), "Require: 100rel")
		b := p.callee.incoming(number)
		b.respond(b.invite, "183 Session Progress", b.sdp.String())
		progress := a.expect("183 INVITE")
		a.audio = newAudio(t, a.a.local.Addr())
		a.sdp.port = int(a.audio.local().Port())
		a.sdp.version++
		a.prack(progress, a.sdp.String())
		ok := a.expect("200 PRACK")
		if ok.body == "" {
			t.Fatalf("the offer in the PRACK has no answer:\n%s", ok.raw)
		}
		began := time.Now()
		hear(t, b, a, b.invite.body, 0, 0, began)
		hear(t, a, b, ok.body, 0, 0, began)
		b.answer()
		a.answered()
		p.hangUp(a, b)
	})
}
