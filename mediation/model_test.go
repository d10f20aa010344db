package mediation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"causeway/internal/conf"
	"causeway/mediation/sip"
)

// peerModel is the slow oracle of one leg: what a session may tell by the
// promises of *sip.Session, and what was told to it.
type peerModel struct {
	s    *fakeSession
	late bool // the caller's INVITE had no offer
}

// may lists what this leg's session can tell next.
func (m *peerModel) may(who party, c *Call) []sip.EventKind {
	s := m.s
	if s == nil || s.ended {
		return nil
	}
	var out []sip.EventKind
	switch {
	case who == theCallee && s.state == sip.Early:
		out = append(out, sip.Progress, sip.Progress, sip.Answered, sip.Answered, sip.Failed)
	case who == theCaller && s.state == sip.Early:
		out = append(out, sip.Cancelled, sip.Ended)
		if m.late && s.local != nil && !c.legs[theCaller].agreed {
			out = append(out, sip.OfferAnswered) // in PRACK
		}
	case who == theCaller && s.state == sip.Accepted:
		// Cancelled, when the 200 was still held back behind a PRACK.
		out = append(out, sip.Confirmed, sip.Confirmed, sip.Confirmed, sip.Confirmed, sip.Unconfirmed, sip.Ended, sip.Cancelled)
	case s.state == sip.Established:
		out = append(out, sip.Ended, sip.Info, sip.Offered, sip.Offered, sip.Offered)
		if s.offering {
			out = append(out, sip.OfferAnswered, sip.OfferAnswered, sip.OfferRefused)
			if !s.asks {
				out = append(out, sip.OfferAgain) // glare is a re-offer's
			}
		}
	}
	return out
}

// offered are descriptions of every use: good ones more often than bad.
func offerOf(t *rapid.T, who party) []byte {
	d := describe{port: 4000 + 10*int(who), version: rapid.IntRange(1, 1000).Draw(t, "version")}
	d.formats = rapid.SampledFrom([]string{"0", "8", "0 8 101", "9"}).Draw(t, "formats")
	if strings.Contains(d.formats, "101") {
		d.attrs = []string{"rtpmap:101 telephone-event/8000"}
	}
	d.direction = rapid.SampledFrom([]string{"", "sendrecv", "sendonly", "recvonly", "inactive"}).Draw(t, "direction")
	d.addr = rapid.SampledFrom([]string{"127.0.0.9", "127.0.0.8", "0.0.0.0"}).Draw(t, "address")
	d.more = rapid.SampledFrom([]string{"", "", "m=image 4100 udptl t38\r\n"}).Draw(t, "more")
	switch rapid.IntRange(0, 9).Draw(t, "quality") {
	case 0:
		return []byte("nonsense")
	case 1:
		return nil
	}
	return d.text()
}

// TestAnyCall: whatever the two sessions tell, in any order that they may, a
// call ends with both legs ended, one record and its media closed; no order
// goes to a leg that has ended or is in no state for it; the offer states of
// the call are those of its sessions; and it never panics.
func TestAnyCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rigOptions{
			pool:    rapid.SampledFrom([]conf.SRTPPolicy{"optional", "rejected"}).Draw(t, "pool"),
			gateway: rapid.SampledFrom([]conf.SRTPPolicy{"optional", "rejected"}).Draw(t, "gateway"),
		}
		late := rapid.Bool().Draw(t, "late offer")
		if !late {
			o.offer = describe{formats: "0 8 101", attrs: []string{"rtpmap:101 telephone-event/8000"}}.text()
		}
		r := newRig(t, o)
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		models := [2]*peerModel{{s: r.sessions[theCaller], late: late}, {s: r.sessions[theCallee]}}
		for step := range rapid.IntRange(0, 30).Draw(t, "steps") {
			if r.call.at() == over {
				break
			}
			who := party(rapid.IntRange(0, 2).Draw(t, "who"))
			if who == ourselves {
				ours(t, r)
			} else if kinds := models[who].may(who, r.call); len(kinds) > 0 {
				tell(t, r, who, rapid.SampledFrom(kinds).Draw(t, "event"))
			}
			sane(t, r, fmt.Sprintf("step %d", step))
		}
		r.stimulate(ourselves, stopped, sip.Event{Reason: "test"})
		if r.call.at() == cancelling { // the callee's INVITE ends one way or the other
			tell(t, r, theCallee, rapid.SampledFrom([]sip.EventKind{sip.Failed, sip.Answered}).Draw(t, "last"))
		}
		for _, s := range r.sessions {
			if !s.ended && !(s.who == theCallee && s.canceled) {
				t.Errorf("the call is over and the %s's leg is %s", s.who, s.state)
			}
		}
		if r.records() != 1 || r.bridge.closed != 1 || r.call.at() != over {
			t.Errorf("%d records, media closed %d times, %s", r.records(), r.bridge.closed, r.call.at())
		}
		sane(t, r, "at the end")
	})
}

// ours is something of our own; a stop comes seldom.
func ours(t *rapid.T, r *rig) {
	switch rapid.IntRange(0, 30).Draw(t, "ours") {
	case 0:
		r.stimulate(ourselves, stopped, sip.Event{Reason: "test"})
	case 1:
		r.stimulate(ourselves, ringTimeout, sip.Event{})
	}
}

func tell(t *rapid.T, r *rig, who party, kind sip.EventKind) {
	s := r.sessions[who]
	ev := sip.Event{Kind: kind}
	switch kind {
	case sip.Progress:
		ev.Code = rapid.SampledFrom([]int{180, 183}).Draw(t, "code")
		ev.Fork = rapid.SampledFrom([]string{"one", "two"}).Draw(t, "fork")
		ev.SDP = offerOf(t, who)
	case sip.Answered:
		ev.Code, ev.Fork, ev.SDP = 200, rapid.SampledFrom([]string{"one", "two"}).Draw(t, "fork"), offerOf(t, who)
	case sip.Failed:
		ev.Failure = &sip.Failure{Code: rapid.SampledFrom([]int{302, 407, 486, 503}).Draw(t, "code")}
	case sip.Offered:
		if s.owed || s.offering {
			return // the session refuses what crosses
		}
		s.offer(offerOf(t, who))
		if s.owed {
			t.Errorf("the %s's offer has no answer", who)
		}
		return
	case sip.Confirmed, sip.OfferAnswered:
		ev.SDP = offerOf(t, who)
		if kind == sip.OfferAnswered && ev.SDP == nil {
			ev.Kind = sip.OfferRefused // a session tells an answer that is missing so
		}
	case sip.OfferRefused, sip.Unconfirmed, sip.Cancelled, sip.OfferAgain:
	case sip.Ended:
		if rapid.Bool().Draw(t, "lost") && s.state == sip.Established {
			ev.Failure = &sip.Failure{Code: 481}
		}
	case sip.Info:
		ev.Type, ev.Body = "application/dtmf-relay", []byte("Signal=5\r\nDuration=100\r\n")
	}
	r.event(who, ev)
}

// sane holds what is true after every step.
func sane(t *rapid.T, r *rig, when string) {
	for _, s := range r.sessions {
		if len(s.wrong) > 0 {
			t.Fatalf("%s: wrong orders on the %s's leg: %v after %v", when, s.who, s.wrong, s.orders)
		}
		if r.call.at() != talking {
			continue
		}
		l := &r.call.legs[s.who]
		if (l.exchange == weOffered) != s.offering {
			t.Fatalf("%s: the %s's leg is %s, the session has an offer of ours: %t", when, s.who, l.exchange, s.offering)
		}
		want := r.call.legs[s.who.other()].will
		if l.exchange == stable && l.told != want && (l.refused == nil || *l.refused != want) {
			t.Fatalf("%s: the %s heard %s, the other wants %s, and nothing is done", when, s.who, l.told, want)
		}
		if sends := len(r.bridge.legs[l.side].Send) > 0; sends != l.ours.send {
			t.Fatalf("%s: toward the %s the bridge sends: %t, agreed is %s", when, s.who, sends, l.ours)
		}
	}
	if done := slices.Contains([]phase{cancelling, over}, r.call.at()); done != (r.records() == 1) || r.records() > 1 {
		t.Fatalf("%s: %s with %d records", when, r.call.at(), r.records())
	}
}

// TestAnyEvents: events that no session would tell, in any phase, harm nothing
// but that one call: it does not panic and writes one record.
func TestAnyEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			who := party(rapid.IntRange(0, 1).Draw(t, "who"))
			ev := sip.Event{
				Kind: sip.EventKind(rapid.IntRange(0, int(sip.Info)).Draw(t, "kind")), Failure: &sip.Failure{Code: 500},
				SDP: offerOf(t, who), Type: "application/dtmf", Body: []byte("1"),
			}
			if r.call.at() != over {
				r.call.react(who, stimulus(ev.Kind), ev)
			}
		}
		if r.call.at() != over {
			r.call.react(ourselves, stopped, sip.Event{})
		}
		if n := r.records(); n != 1 {
			t.Errorf("%d records", n)
		}
	})
}
