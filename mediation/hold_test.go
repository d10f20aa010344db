package mediation

import (
	"fmt"
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// phone is the slow oracle of one peer: a user agent of RFC 3264 that knows
// what its user wants, and what it may do by the last offer and answer.
type phone struct {
	who     party
	s       *fakeSession
	hold    string // "", one of the directions, or "zero" for c=0.0.0.0
	version int
	may     flow // by the last offer and answer
}

// wants is what the phone's user wants: to send, to receive.
func (p *phone) wants() flow {
	switch p.hold {
	case "":
		return flow{true, true}
	case "zero", "sendonly":
		return flow{send: true}
	case "recvonly":
		return flow{receive: true}
	}
	return flow{}
}

func (p *phone) write(direction flow) []byte {
	p.version++
	d := describe{version: p.version, port: 4000 + 10*int(p.who), direction: direction.String()}
	if p.hold == "zero" {
		d.addr = "0.0.0.0"
		if direction == (flow{send: true}) {
			d.direction = "" // hold of old: it says sendrecv, and means the address
		}
	}
	return d.text()
}

// answer answers an offer of the call's, by RFC 3264 6.1.
func (p *phone) answer(t tester, offer []byte) []byte {
	theirs := attribute(t, offer)
	p.may = flow{send: p.wants().send && theirs.receive, receive: p.wants().receive && theirs.send}
	return p.write(p.may)
}

// change makes the phone's user want something else and offers it.
func (p *phone) change(t tester, hold string) {
	p.hold = hold
	p.s.offer(p.write(p.wants()))
	if p.s.failure != nil {
		t.Fatalf("%s's %q refused: %v", p.who, hold, p.s.failure)
	}
	theirs := attribute(t, p.s.local)
	if theirs.send && !p.wants().receive || theirs.receive && !p.wants().send {
		t.Errorf("%s offered %s and was answered %s", p.who, p.wants(), theirs)
	}
	p.may = flow{send: p.wants().send && theirs.receive, receive: p.wants().receive && theirs.send}
}

// attribute is the direction that a description of the call's names, read
// without the code under test.
func attribute(t tester, text []byte) flow {
	t.Helper()
	for name, f := range map[string]flow{"sendrecv": {true, true}, "sendonly": {send: true}, "recvonly": {receive: true}, "inactive": {}} {
		if strings.Contains(string(text), "a="+name+"\r\n") {
			return f
		}
	}
	t.Fatalf("no direction in %s", text)
	return flow{}
}

// wires are the offers of the call's that its peers have not answered yet.
func settle(t tester, r *rig, phones *[2]*phone) {
	t.Helper()
	for range 20 {
		quiet := true
		for _, p := range phones {
			if p.s.offering {
				quiet = false
				r.event(p.who, sip.Event{Kind: sip.OfferAnswered, SDP: p.answer(t, p.s.local)})
			}
		}
		if quiet {
			return
		}
	}
	t.Fatal("the call never comes to rest")
}

// check compares who may send with what the two users want, and the bridge
// with it.
func check(t tester, r *rig, phones *[2]*phone, doing string) {
	t.Helper()
	for i, p := range phones {
		far := phones[1-i]
		want := flow{send: p.wants().send && far.wants().receive, receive: p.wants().receive && far.wants().send}
		if p.may != want {
			t.Errorf("%s: the %s may %s, its users want %s", doing, p.who, p.may, want)
		}
		leg := r.bridge.legs[r.call.legs[i].side]
		if (len(leg.Send) > 0) != want.receive {
			t.Errorf("%s: toward the %s the bridge sends %v, it receives %t", doing, p.who, leg.Send, want.receive)
		}
		if leg.Remote.IsValid() == (p.hold == "zero") {
			t.Errorf("%s: toward the %s the bridge sends to %s", doing, p.who, leg.Remote)
		}
		if held := r.call.legs[i].held(); held != (p.hold != "") {
			t.Errorf("%s: the %s holds: %t", doing, p.who, held)
		}
	}
	for _, s := range r.sessions {
		if len(s.wrong) > 0 {
			t.Errorf("%s: wrong orders on the %s's leg: %v", doing, s.who, s.wrong)
		}
	}
}

func connected(t tester, o rigOptions) (*rig, *[2]*phone) {
	t.Helper()
	if o.pool == "" {
		o.pool, o.gateway = conf.SRTPRejected, conf.SRTPRejected
	}
	o.offer = describe{}.text()
	r := newRig(t, o)
	r.connect(describe{port: 4010}.text(), nil)
	phones := &[2]*phone{{who: theCaller, s: r.sessions[theCaller]}, {who: theCallee, s: r.sessions[theCallee]}}
	for _, p := range phones {
		p.may = bothWays
	}
	return r, phones
}

var holds = []string{"sendonly", "recvonly", "inactive", "zero"}

// TestHold: either side holds in each of the four ways, the other may hold as
// well, and they resume in either order; after every step whoever both users
// allow to send may send, and nobody else (RFC 3264 8.4).
func TestHold(t *testing.T) {
	for _, first := range either {
		for _, one := range holds {
			for _, two := range append([]string{""}, holds...) {
				for _, order := range either {
					name := fmt.Sprintf("%s %s, then %q, %s resumes first", first, one, two, order)
					t.Run(name, func(t *testing.T) {
						r, phones := connected(t, rigOptions{})
						step := func(p party, hold string) {
							phones[p].change(t, hold)
							settle(t, r, phones)
							check(t, r, phones, fmt.Sprintf("%s %q", p, hold))
						}
						step(first, one)
						if two != "" {
							step(first.other(), two)
						}
						step(order, "")
						step(order.other(), "")
						if len(r.call.record.Legs) != 0 || r.call.at() != talking {
							t.Fatal("the call ended")
						}
					})
				}
			}
		}
	}
}

// TestBothHoldAtOnce: both peers' offers are under way before the call has told
// either of them anything.
func TestBothHoldAtOnce(t *testing.T) {
	for _, one := range holds {
		for _, two := range holds {
			r, phones := connected(t, rigOptions{})
			a, b := phones[theCaller], phones[theCallee]
			a.change(t, one) // b is re-offered, and its own offer meets that: 491 to ours
			b.change(t, two)
			r.event(theCallee, sip.Event{Kind: sip.OfferAgain})
			settle(t, r, phones)
			check(t, r, phones, one+" and "+two)
			for _, p := range phones {
				p.change(t, "")
				settle(t, r, phones)
			}
			check(t, r, phones, "resumed")
		}
	}
}

// TestGlare: our re-offer meets the peer's, which wants what it always wanted;
// when the wait after 491 is over, it hears what it has not heard (RFC 3261 14.1).
func TestGlare(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	a, b := phones[theCaller], phones[theCallee]
	a.change(t, "sendonly")
	b.s.offering = false // 491
	b.change(t, "")
	if b.s.offering || r.call.legs[theCallee].exchange != weOffered {
		t.Fatal("offered again before the wait was over")
	}
	r.event(theCallee, sip.Event{Kind: sip.OfferAgain})
	if !b.s.offering || attribute(t, b.s.local) != (flow{send: true}) {
		t.Fatalf("not offered again: %s", b.s.local)
	}
	settle(t, r, phones)
	check(t, r, phones, "after glare")
	if n := r.count(r.srv.counters.offers[1], offerCrossed); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestHoldOfOld: c=0.0.0.0 is shown to the other side by an attribute and an
// address that is there, never as it came (RFC 3264 8.4).
func TestHoldOfOld(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	phones[theCaller].change(t, "zero")
	b := string(r.sessions[theCallee].local)
	if !strings.Contains(b, "a=sendonly") || strings.Contains(b, "0.0.0.0") || !strings.Contains(b, "c=IN IP4 127.0.0.2") {
		t.Errorf("shown as\n%s", b)
	}
	d, err := sdp.Parse(r.sessions[theCaller].local)
	if err != nil || d.Audio.Direction != "recvonly" || !d.Audio.Remote.IsValid() {
		t.Errorf("answered %v", d)
	}
	settle(t, r, phones)
	if got := r.call.summary.Load().Held; len(got) != 1 || got[0] != "pool" {
		t.Errorf("held %v", got)
	}
	phones[theCaller].change(t, "inactive") // another hold of the same side is no other hold
	if r.call.record.Holds != 1 || r.srv.counters.holds[0].Load() != 1 {
		t.Errorf("%d holds, %d counted", r.call.record.Holds, r.srv.counters.holds[0].Load())
	}
}

// TestPeersThatNeverRest: two peers that answer every offer with something
// else do not keep the call busy for ever.
func TestPeersThatNeverRest(t *testing.T) {
	r, phones := connected(t, rigOptions{})
	answers := [2]map[string]string{
		theCaller: {"sendrecv": "recvonly", "recvonly": "sendonly"},
		theCallee: {"sendrecv": "sendrecv", "recvonly": "inactive"},
	}
	phones[theCaller].change(t, "recvonly")
	for range 40 {
		for _, p := range phones {
			if p.s.offering {
				direction := answers[p.who][attribute(t, p.s.local).String()]
				r.event(p.who, sip.Event{Kind: sip.OfferAnswered, SDP: describe{direction: direction}.text()})
			}
		}
	}
	for _, p := range phones {
		if p.s.offering {
			t.Error("still offering")
		}
	}
	if endless := r.count(r.srv.counters.offers[0], offerEndless) + r.count(r.srv.counters.offers[1], offerEndless); endless == 0 || r.call.carried > maxCarried {
		t.Errorf("%d re-offers, %d not made", r.call.carried, endless)
	}
}
