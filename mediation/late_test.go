package mediation

import (
	"bytes"
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sip"
)

func late(t *testing.T, pool conf.SRTPPolicy) *rig {
	t.Helper()
	r := newRig(t, rigOptions{pool: pool, gateway: conf.SRTPRejected})
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLateOffer: the callee of an INVITE without an offer is offered all that
// we carry; the caller gets an offer made from its answer with the 200, and the
// ACK brings the caller's (RFC 3261 13.2.1).
func TestLateOffer(t *testing.T) {
	r := late(t, conf.SRTPRequired)
	a, b := r.sessions[theCaller], r.sessions[theCallee]
	if got := parsed(t, b.local); got.Names() != "PCMU/8000, PCMA/8000, telephone-event/8000, CN/8000" || got.Direction != "sendrecv" {
		t.Errorf("the callee was offered\n%s", b.local)
	}
	r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 180})
	if a.local != nil {
		t.Errorf("an offer before anything is known: %s", a.local)
	}
	r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: describe{port: 4010, formats: "8"}.text()})
	offer := parsed(t, a.local)
	if offer.Names() != "PCMA/8000, PCMU/8000" || offer.Proto != "RTP/SAVP" || len(offer.Crypto) != len(profiles) {
		t.Errorf("the caller was offered\n%s", a.local)
	}
	suite := media.AES128_GCM
	answer := describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(2, suite, 'x')}}.text()
	r.event(theCaller, sip.Event{Kind: sip.Confirmed, SDP: answer})
	if r.call.at() != talking {
		t.Fatalf("%s", r.call.at())
	}
	la, lb := r.bridge.legs[0], r.bridge.legs[1]
	if la.SRTP == nil || la.SRTP.Profile != suite || !bytes.Equal(la.SRTP.Remote, keyOf(suite, 'x')) || la.Send[0].Kind != media.PCMU || lb.Send[0].Kind != media.PCMA {
		t.Errorf("legs %+v and %+v", la, lb)
	}
	// From here on only what is in use is offered.
	b.offer(describe{port: 4010, formats: "8", version: 1, direction: "inactive"}.text())
	if again := parsed(t, a.local); len(again.Crypto) != 1 || again.Crypto[0].Tag != 2 || again.Direction != "inactive" {
		t.Errorf("re-offered\n%s", a.local)
	}
}

// TestLateOfferInPRACK: early media from the callee brings our offer early; the
// same goes with the 200, and the answer may come with PRACK (RFC 3262 5).
func TestLateOfferInPRACK(t *testing.T) {
	r := late(t, conf.SRTPRejected)
	a := r.sessions[theCaller]
	r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, SDP: describe{port: 4010}.text(), Fork: "one"})
	first := a.local
	if first == nil {
		t.Fatal("no offer with the 183")
	}
	r.event(theCaller, sip.Event{Kind: sip.OfferAnswered, SDP: describe{}.text()})
	if r.call.legs[theCaller].exchange != stable || !r.bridge.legs[0].Remote.IsValid() {
		t.Fatal("the caller's leg is not set")
	}
	r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: describe{port: 4020}.text(), Fork: "two"})
	if !bytes.Equal(a.local, first) {
		t.Errorf("another offer with the 200:\n%s", a.local)
	}
	r.event(theCaller, sip.Event{Kind: sip.Confirmed})
	if r.call.at() != talking || r.bridge.legs[1].Remote.Port() != 4020 {
		t.Errorf("%s, callee at %s", r.call.at(), r.bridge.legs[1].Remote)
	}
}

// TestLateOfferUnanswered: without a usable answer both legs end, by BYE with a
// Reason after 200, by 488 and CANCEL before.
func TestLateOfferUnanswered(t *testing.T) {
	for name, answer := range map[string][]byte{
		"nothing": nil, "not SDP": []byte("x"), "no codec of ours": describe{formats: "9"}.text(),
		"SRTP that nobody offered": describe{proto: "RTP/SAVP", attrs: []string{cm80}}.text(),
	} {
		t.Run(name+" in ACK", func(t *testing.T) {
			r := late(t, conf.SRTPRejected)
			r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: describe{port: 4010}.text()})
			r.event(theCaller, sip.Event{Kind: sip.Confirmed, SDP: answer})
			for _, s := range r.sessions {
				if !s.ended || !strings.HasPrefix(s.reason, "SIP;cause=488") {
					t.Errorf("%s: ended %t with %q", s.who, s.ended, s.reason)
				}
			}
			if r.call.at() != over || r.records() != 1 || r.bridge.closed != 1 {
				t.Errorf("%s, %d records, closed %d times", r.call.at(), r.records(), r.bridge.closed)
			}
		})
		t.Run(name+" in PRACK", func(t *testing.T) {
			r := late(t, conf.SRTPRejected)
			r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, SDP: describe{port: 4010}.text()})
			r.event(theCaller, sip.Event{Kind: sip.OfferAnswered, SDP: answer})
			if f := r.sessions[theCaller].failure; f == nil || f.Code != 488 || !r.sessions[theCallee].canceled || r.call.at() != cancelling {
				t.Errorf("%v, %s", f, r.call.at())
			}
			r.event(theCallee, sip.Event{Kind: sip.Failed, Failure: &sip.Failure{Code: 487}})
			if r.call.at() != over || r.records() != 1 {
				t.Errorf("%s, %d records", r.call.at(), r.records())
			}
		})
	}
}

// TestForks: the latest early answer is heard, the 2xx's fork is the callee,
// and one that answered early need not say it again (mediation-anchors 5.3.1).
func TestForks(t *testing.T) {
	start := func(t *testing.T) *rig {
		r := newRig(t, rigOptions{offer: describe{formats: "0 8"}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		for i, fork := range []string{"one", "two", "three"} {
			formats := []string{"0", "8", "8 0"}[i] // of the caller's answer the first stays
			r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, Fork: fork, SDP: describe{port: 4010 + 10*i, formats: formats}.text()})
			if got := int(r.bridge.legs[1].Remote.Port()); got != 4010+10*i {
				t.Errorf("fork %s: hearing port %d", fork, got)
			}
		}
		return r
	}
	for fork, port := range map[string]uint16{"one": 4010, "two": 4020, "three": 4030} {
		r := start(t)
		first := r.sessions[theCaller].local
		r.event(theCallee, sip.Event{Kind: sip.Answered, Fork: fork})
		if r.call.at() != answered || r.call.legs[theCaller].exchange != stable || r.bridge.legs[1].Remote.Port() != port || !bytes.Equal(first, r.sessions[theCaller].local) {
			t.Errorf("fork %s: %s, hearing %s", fork, r.call.at(), r.bridge.legs[1].Remote)
		}
	}
	r := start(t)
	r.event(theCallee, sip.Event{Kind: sip.Answered, Fork: "four"})
	if r.call.at() != over || r.sessions[theCaller].failure.Code != 488 || !r.sessions[theCallee].ended {
		t.Errorf("a fork that never described itself: %s", r.call.at())
	}
	r = start(t)
	for i := range 2 * maxForks {
		r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, Fork: strings.Repeat("x", i+1), SDP: describe{port: 4010}.text()})
	}
	if n := len(r.call.legs[theCallee].early); n != maxForks {
		t.Errorf("%d early dialogs remembered", n)
	}
}

// TestManyProvisionals: any number of provisional responses is passed on
// (mediation-anchors 5.3.2).
func TestManyProvisionals(t *testing.T) {
	r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, SDP: describe{port: 4010}.text()})
	}
	if n := len(r.sessions[theCaller].orders); n != 50 || r.call.at() != inviting {
		t.Errorf("%d passed on, %s", n, r.call.at())
	}
}
