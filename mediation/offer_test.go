package mediation

import (
	"bytes"
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// keyOf is a key of a peer's, one for each letter.
func keyOf(p media.Profile, letter byte) []byte { return bytes.Repeat([]byte{letter}, p.KeyLen()) }

func cryptoLine(tag int, p media.Profile, letter byte) string {
	return "crypto:" + sdp.Crypto{Tag: tag, Suite: p.String(), Key: keyOf(p, letter)}.String()
}

// secured is a call whose caller, on the pool's side, has SRTP in use by suite.
func secured(t *testing.T, policy conf.SRTPPolicy, proto string, suite media.Profile) *rig {
	t.Helper()
	d := describe{proto: proto}
	if suite != 0 {
		d.attrs = []string{cryptoLine(1, suite, 'a')}
	}
	r := newRig(t, rigOptions{offer: d.text(), pool: policy, gateway: conf.SRTPRejected})
	r.connect(describe{port: 4010}.text(), nil)
	if on := r.call.legs[theCaller].sec.on; on != (suite != 0) {
		t.Fatalf("SRTP on: %t", on)
	}
	return r
}

// TestReofferSecurity is the table of what a leg has against what its peer
// offers next: SRTP is never given up, the policy holds for every offer, and a
// refusal is 488 with a Warning that leaves the leg as it was (RFC 3261 14.2).
func TestReofferSecurity(t *testing.T) {
	const keep, refuse, rekey, suite, up = "keep", "refuse", "rekey", "suite", "up"
	cm, gcm := media.AES128_CM_80, media.AES128_GCM
	for _, tt := range []struct {
		name   string
		policy conf.SRTPPolicy
		proto  string // in use
		has    media.Profile
		offer  describe
		want   string
	}{
		{"the same again", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, cm, 'a')}}, keep},
		{"new key", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, cm, 'b')}}, rekey},
		{"new key, another tag", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(7, cm, 'b')}}, rekey},
		{"other suite", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, gcm, 'b')}}, suite},
		{"other suite first", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, gcm, 'b'), cryptoLine(2, cm, 'a')}}, keep},
		{"plain, required", "required", "RTP/SAVP", cm, describe{}, refuse},
		{"AVP with crypto, required", "required", "RTP/SAVP", cm, describe{attrs: []string{cryptoLine(1, cm, 'a')}}, refuse},
		{"plain, optional", "optional", "RTP/SAVP", cm, describe{}, refuse},
		{"AVP with crypto, optional", "optional", "RTP/SAVP", cm, describe{attrs: []string{cryptoLine(1, cm, 'a')}}, keep},
		{"plain after AVP with crypto", "optional", "RTP/AVP", cm, describe{}, refuse},
		{"SAVP after AVP with crypto", "optional", "RTP/AVP", cm, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, cm, 'a')}}, keep},
		{"SAVP without crypto", "optional", "RTP/SAVP", cm, describe{proto: "RTP/SAVP"}, refuse},
		{"our own key", "required", "RTP/SAVP", cm, describe{proto: "RTP/SAVP", attrs: []string{"ours"}}, refuse},
		{"plain stays plain", "optional", "RTP/AVP", 0, describe{}, keep},
		{"plain takes SRTP up", "optional", "RTP/AVP", 0, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, cm, 'a')}}, up},
		{"SAVP, rejected", "rejected", "RTP/AVP", 0, describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, cm, 'a')}}, refuse},
		{"AVP with crypto, rejected", "rejected", "RTP/AVP", 0, describe{attrs: []string{cryptoLine(1, cm, 'a')}}, keep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := secured(t, tt.policy, tt.proto, tt.has)
			leg, s := &r.call.legs[theCaller], r.sessions[theCaller]
			had, said, media := leg.sec, s.local, r.bridge.legs[0]
			if len(tt.offer.attrs) == 1 && tt.offer.attrs[0] == "ours" {
				tt.offer.attrs[0] = "crypto:" + had.local.String()
			}
			s.offer(tt.offer.text())
			if tt.want == refuse {
				if s.failure == nil || s.failure.Code != 488 || s.failure.Warning == "" || r.call.at() != talking {
					t.Fatalf("failure %+v, call %s", s.failure, r.call.at())
				}
				if leg.sec.suite() != had.suite() || !bytes.Equal(said, leg.said) || (r.bridge.legs[0].SRTP == nil) != (media.SRTP == nil) {
					t.Error("the leg changed")
				}
				return
			}
			if s.failure != nil {
				t.Fatalf("refused: %s", s.failure.Warning)
			}
			a := parsed(t, s.local)
			sameKey := bytes.Equal(leg.sec.local.Key, had.local.Key)
			switch tt.want {
			case keep:
				if leg.sec.on != had.on || !sameKey || !bytes.Equal(leg.sec.remote.Key, had.remote.Key) {
					t.Errorf("keys changed: %+v after %+v", leg.sec, had)
				}
			case rekey:
				if !sameKey || leg.sec.profile != had.profile || bytes.Equal(leg.sec.remote.Key, had.remote.Key) {
					t.Error("our key must stay, the peer's must be new")
				}
			case suite:
				if sameKey || leg.sec.profile != gcm {
					t.Errorf("%s with the same key: %t", leg.sec.profile, sameKey)
				}
			case up:
				if !leg.sec.on {
					t.Error("plain")
				}
			}
			if leg.sec.on && (len(a.Crypto) != 1 || a.Crypto[0].Tag != leg.sec.remote.Tag || a.Proto != parsed(t, tt.offer.text()).Proto) {
				t.Errorf("answered %s with %+v", a.Proto, a.Crypto)
			}
		})
	}
}

// TestAnswerNeverDowngrades: neither an answer to an offer of ours nor that of
// a fork whose early answer had SRTP may leave it out.
func TestAnswerNeverDowngrades(t *testing.T) {
	suite := media.AES128_CM_80
	early := describe{port: 4010, attrs: []string{cryptoLine(1, suite, 'b')}}.text()
	plain := describe{port: 4010}.text()
	start := func(t *testing.T) *rig {
		r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPOptional})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 183, SDP: early, Fork: "one"})
		if !r.call.legs[theCallee].sec.on {
			t.Fatal("early media is plain")
		}
		return r
	}
	t.Run("the same fork", func(t *testing.T) {
		r := start(t)
		r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: plain, Fork: "one"})
		if r.call.at() != over || r.sessions[theCaller].failure.Code != 488 || !strings.Contains(r.sessions[theCallee].reason, "488") {
			t.Errorf("%s", r.call.at())
		}
	})
	t.Run("another fork has its own terms (RFC 8643)", func(t *testing.T) {
		r := start(t)
		r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: plain, Fork: "two"})
		if r.call.at() != answered || r.call.legs[theCallee].sec.on {
			t.Errorf("%s", r.call.at())
		}
	})
	t.Run("a re-offer of ours", func(t *testing.T) {
		r := start(t)
		r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: early, Fork: "one"})
		r.event(theCaller, sip.Event{Kind: sip.Confirmed})
		ours := r.call.legs[theCallee].sec.local
		r.sessions[theCaller].offer(describe{version: 1, direction: "sendonly"}.text())
		b := parsed(t, r.sessions[theCallee].local)
		if len(b.Crypto) != 1 || b.Crypto[0].String() != ours.String() {
			t.Errorf("re-offered %+v, want the suite and key in use", b.Crypto)
		}
		r.event(theCallee, sip.Event{Kind: sip.OfferAnswered, SDP: describe{port: 4010, direction: "recvonly"}.text()})
		if leg := r.bridge.legs[1]; leg.SRTP == nil || r.call.at() != talking {
			t.Error("the leg is plain now, or the call ended")
		}
		if n := r.count(r.srv.counters.offers[1], answerUnusable); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// TestReofferAbsorbed: address, port and codec of one leg are nothing to the
// other; the o= line keeps its id and counts changes (RFC 3264 8).
func TestReofferAbsorbed(t *testing.T) {
	r, _ := connected(t, rigOptions{})
	a, b := r.sessions[theCaller], r.sessions[theCallee]
	id, version := origin(t, a.local)
	untouched := len(b.orders)

	a.offer(describe{}.text()) // a refresh
	if i, v := origin(t, a.local); i != id || v != version {
		t.Errorf("a refresh is answered o= %d %d, want %d %d", i, v, id, version)
	}
	a.offer(describe{version: 1, addr: "127.0.0.8", port: 5000}.text())
	if got := r.bridge.legs[0].Remote.String(); got != "127.0.0.8:5000" {
		t.Errorf("sending to %s", got)
	}
	a.offer(describe{version: 2, formats: "8"}.text())
	if i, v := origin(t, a.local); i != id || v != version+1 {
		t.Errorf("a new codec is answered o= %d %d, want %d %d", i, v, id, version+1)
	}
	if got := parsed(t, a.local).Names(); got != "PCMA/8000" {
		t.Errorf("answered %s", got)
	}
	if len(b.orders) != untouched || r.call.legs[theCallee].send[0].Name != "PCMU" {
		t.Errorf("the other leg was told %v", b.orders[untouched:])
	}
	// What may still be on its way is taken.
	if n := len(r.bridge.legs[0].Receive); n != 2 {
		t.Errorf("takes %v", r.bridge.legs[0].Receive)
	}
	if r.call.record.Reoffers != 3 {
		t.Errorf("%d re-offers recorded", r.call.record.Reoffers)
	}
}

// TestUnusableReoffers are refused with 488 and a Warning; the call goes on as
// it was (RFC 3261 14.2).
func TestUnusableReoffers(t *testing.T) {
	for name, offer := range map[string][]byte{
		"T.38":             []byte("v=0\r\no=peer 7 2 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=image 4000 udptl t38\r\na=T38FaxVersion:0\r\n"),
		"audio off":        describe{port: -1}.text(),
		"no codec of ours": describe{formats: "9"}.text(),
		"not SDP":          []byte("hello"),
		"IPv6":             bytes.Replace(describe{}.text(), []byte("c=IN IP4 127.0.0.9"), []byte("c=IN IP6 ::1"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			offer := bytes.Replace(offer, []byte("m=audio -1"), []byte("m=audio 0"), 1)
			for _, p := range either {
				r, phones := connected(t, rigOptions{})
				s, before := r.sessions[p], r.bridge.legs
				s.offer(offer)
				if s.failure == nil || s.failure.Code != 488 || s.failure.Warning == "" || !s.failure.Local {
					t.Fatalf("%+v", s.failure)
				}
				if r.call.at() != talking || r.bridge.legs[0].Remote != before[0].Remote || r.bridge.legs[1].Remote != before[1].Remote {
					t.Error("the call changed")
				}
				check(t, r, phones, name)
			}
		})
	}
}

// TestLinesStay: a re-offer of ours has as many m= lines as the session, each
// in its place (RFC 3264 8).
func TestLinesStay(t *testing.T) {
	r := newRig(t, rigOptions{
		offer: describe{more: "m=video 4002 RTP/AVP 96\r\n"}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected,
	})
	r.connect(describe{port: 4010}.text(), nil)
	r.sessions[theCallee].offer(describe{port: 4010, version: 1, direction: "inactive"}.text())
	text := string(r.sessions[theCaller].local)
	if !strings.Contains(text, "m=audio 60000 RTP/AVP 0\r\n") || !strings.Contains(text, "m=video 0 RTP/AVP 96\r\n") || !strings.Contains(text, "a=inactive\r\n") {
		t.Errorf("re-offered\n%s", text)
	}
}

// TestAskedForAnOffer: a re-INVITE without an offer gets one of all that we
// carry, numbers kept; the answer sets the leg (RFC 3261 14.2, RFC 6337 4.1).
func TestAskedForAnOffer(t *testing.T) {
	events := []string{"rtpmap:97 telephone-event/8000"}
	r := newRig(t, rigOptions{
		offer: describe{formats: "8 97", attrs: events}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected,
	})
	r.connect(describe{port: 4010, formats: "8 97", attrs: events}.text(), nil)
	s := r.sessions[theCaller]
	s.offer(nil)
	a := parsed(t, s.local)
	if f, ok := a.Find("telephone-event", 8000); a.Names() != "PCMU/8000, PCMA/8000, telephone-event/8000, CN/8000" || !ok || f.Type != 97 {
		t.Errorf("offered %s", s.local)
	}
	r.event(theCaller, sip.Event{Kind: sip.OfferAnswered, SDP: describe{version: 1, addr: "127.0.0.7", formats: "0"}.text()})
	if l := r.bridge.legs[0]; l.Remote.Addr().String() != "127.0.0.7" || l.Send[0].Kind != media.PCMU || r.call.legs[theCaller].exchange != stable {
		t.Errorf("leg %+v", l)
	}
	s.offer(nil)
	r.event(theCaller, sip.Event{Kind: sip.OfferRefused}) // no answer in the ACK
	if l := r.bridge.legs[0]; l.Remote.Addr().String() != "127.0.0.7" || r.call.at() != talking || r.call.legs[theCaller].exchange != stable {
		t.Errorf("leg %+v", l)
	}
}

// TestRefusedHold: a peer that refuses a re-offer is not asked for the same
// again, and is asked when something else is wanted.
func TestRefusedHold(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	b := r.sessions[theCallee]
	phones[theCaller].change(t, "sendonly")
	r.event(theCallee, sip.Event{Kind: sip.OfferRefused, Failure: &sip.Failure{Code: 488}})
	asked := len(b.orders)
	phones[theCaller].change(t, "sendonly") // a refresh while on hold
	phones[theCaller].change(t, "")         // of which the callee has not heard the beginning
	if got := b.orders[asked:]; len(got) != 0 {
		t.Errorf("told %v", got)
	}
	phones[theCaller].change(t, "inactive")
	if !b.offering {
		t.Error("another hold is not offered")
	}
	settle(t, r, phones)
	phones[theCaller].change(t, "")
	settle(t, r, phones)
	check(t, r, phones, "resumed")
	phones[theCaller].change(t, "sendonly")
	if !b.offering {
		t.Error("the same hold is not offered anew after a resume")
	}
}

// TestPendingReoffer: a re-offer that would meet something else on its leg is
// made when the way is free, with what is wanted then.
func TestPendingReoffer(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	b := r.sessions[theCallee]
	b.reoffers = sip.ErrPending
	phones[theCaller].change(t, "sendonly")
	phones[theCaller].change(t, "inactive")
	if n := strings.Count(strings.Join(b.orders, " "), "reoffer"); b.offering || n != 1 {
		t.Fatalf("tried %d times", n)
	}
	_, version := origin(t, b.local)
	b.reoffers = nil
	r.event(theCallee, sip.Event{Kind: sip.OfferAgain})
	if _, v := origin(t, b.local); !b.offering || v != version+1 || attribute(t, b.local) != (flow{}) {
		t.Errorf("offering %t, version %d after %d:\n%s", b.offering, v, version, b.local)
	}
	settle(t, r, phones)
	check(t, r, phones, "after the wait")
}

// TestUnheardWill: an offer of the peer's own leaves no room to say what it has
// not heard; that is still told afterwards.
func TestUnheardWill(t *testing.T) {
	for _, tt := range []struct{ caller, callee string }{{"sendonly", "inactive"}, {"sendonly", "recvonly"}, {"recvonly", "sendonly"}} {
		r, phones := connected(t, rigOptions{})
		a, b := phones[theCaller], phones[theCallee]
		b.s.reoffers = sip.ErrPending
		a.change(t, tt.caller)
		b.s.reoffers = nil
		b.change(t, tt.callee)
		r.event(theCallee, sip.Event{Kind: sip.OfferAgain})
		if !b.s.offering || attribute(t, b.s.local) != a.wants() {
			t.Errorf("%s and %s: offering %t:\n%s", tt.caller, tt.callee, b.s.offering, b.s.local)
		}
		settle(t, r, phones)
		check(t, r, phones, tt.caller+" and "+tt.callee)
	}
}

// TestWithdrawnOffer: a re-INVITE that its CANCEL overtook has changed nothing.
func TestWithdrawnOffer(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	a := r.sessions[theCaller]
	_, version := origin(t, a.local)
	a.gone = true
	a.offer(describe{version: 1, port: 5000, formats: "8", direction: "inactive"}.text())
	a.gone = false
	if l := r.bridge.legs[0]; l.Remote.Port() != 4000 || l.Send[0].Kind != media.PCMU || r.call.record.Holds != 0 || r.call.record.Reoffers != 0 {
		t.Errorf("leg %+v, %d holds", l, r.call.record.Holds)
	}
	check(t, r, phones, "withdrawn")
	a.offer(describe{}.text())
	if _, v := origin(t, a.local); v != version {
		t.Errorf("version %d after %d", v, version)
	}
}

// TestOfferBeforeTheAnswer: an offer inside the early dialog before ours had
// its answer is refused with 491 and nothing changes (RFC 3311 5.2).
func TestOfferBeforeTheAnswer(t *testing.T) {
	for _, p := range either {
		r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		for _, offer := range [][]byte{describe{port: 5000}.text(), nil} {
			r.sessions[p].offer(offer)
			if f := r.sessions[p].failure; f == nil || f.Code != 491 {
				t.Errorf("%s: %v", p, f)
			}
		}
	}
}
