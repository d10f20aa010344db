package mediation

import (
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sip"
)

const muxLine, rsizeLine = "a=rtcp-mux\r\n", "a=rtcp-rsize\r\n"

// Who offers rtcp-mux gets it, on either side; who does not has RTCP on a port of
// its own (RFC 5761 5.1.1). The same goes for reduced size (RFC 5506 5).
func TestMuxIsTakenUp(t *testing.T) {
	for _, from := range []media.Side{media.Pool, media.Gateway} {
		for _, attrs := range [][]string{nil, {"rtcp-mux"}, {"rtcp-rsize"}, {"rtcp-mux", "rtcp-rsize"}} {
			r := newRig(t, rigOptions{pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
			r.call = newCall(r.srv, "call", incoming{from: from, offer: describe{attrs: attrs}.text()}, r.sessions[theCaller])
			r.connect(describe{port: 4010}.text(), nil)
			all := strings.Join(attrs, " ")
			mux, rsize := strings.Contains(all, "mux"), strings.Contains(all, "rsize")
			answer := string(r.sessions[theCaller].local)
			if strings.Contains(answer, muxLine) != mux || strings.Contains(answer, rsizeLine) != rsize {
				t.Errorf("%s offers %q and is answered\n%s", sideNames[from], all, answer)
			}
			if leg := r.bridge.legs[from]; leg.Mux != mux || leg.ReducedSize != rsize {
				t.Errorf("%s offers %q: %+v", sideNames[from], all, leg)
			}
			if leg := r.bridge.legs[other(from)]; leg.Mux || leg.ReducedSize {
				t.Errorf("the other leg takes it over: %+v", leg)
			}
		}
	}
}

// Our own offers ask the pool for it, and not the gateway. An answer without it has
// RTCP on its own port, and one that takes what was not offered changes nothing.
func TestMuxIsOfferedToThePool(t *testing.T) {
	for _, to := range []media.Side{media.Pool, media.Gateway} {
		for _, answer := range [][]string{nil, {"rtcp-mux"}, {"rtcp-mux", "rtcp-rsize"}} {
			in := incoming{from: other(to), offer: describe{}.text()}
			r := newRig(t, rigOptions{pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
			r.call = newCall(r.srv, "call", in, r.sessions[theCaller])
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			offer := string(r.sessions[theCallee].local)
			if strings.Contains(offer, muxLine) != (to == media.Pool) || strings.Contains(offer, rsizeLine) {
				t.Errorf("the %s is offered\n%s", sideNames[to], offer)
			}
			r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: describe{port: 4010, attrs: answer}.text()})
			r.event(theCaller, sip.Event{Kind: sip.Confirmed})
			want := to == media.Pool && answer != nil
			if leg := r.bridge.legs[to]; leg.Mux != want || leg.ReducedSize {
				t.Errorf("the %s answers %v: %+v", sideNames[to], answer, leg)
			}
			// A re-offer asks for the same as before.
			r.sessions[theCaller].offer(describe{version: 1, direction: "sendonly"}.text())
			if again := string(r.sessions[theCallee].local); strings.Contains(again, muxLine) != (to == media.Pool) {
				t.Errorf("the %s is re-offered\n%s", sideNames[to], again)
			}
		}
	}
}

// A number of before that looks like RTCP is given up when a re-offer brings
// rtcp-mux.
func TestMuxIsAgreedLater(t *testing.T) {
	r := newRig(t, rigOptions{offer: describe{formats: "0 72", attrs: []string{"rtpmap:72 telephone-event/8000", "rtcp-mux"}}.text(),
		pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
	r.connect(describe{port: 4010, formats: "0 101", attrs: []string{"rtpmap:101 telephone-event/8000"}}.text(), nil)
	a := r.sessions[theCaller]
	if strings.Contains(string(a.local), muxLine) || r.bridge.legs[0].Mux {
		t.Errorf("mux beside payload type 72:\n%s", a.local)
	}
	a.offer(describe{version: 1, attrs: []string{"rtcp-mux"}}.text())
	leg := r.bridge.legs[0]
	if a.failure != nil || !strings.Contains(string(a.local), muxLine) || !leg.Mux {
		t.Fatalf("refused %v, answered\n%s", a.failure, a.local)
	}
	for _, p := range leg.Receive {
		if p.Type == 72 {
			t.Errorf("takes %v", leg.Receive)
		}
	}
	a.offer(describe{version: 2}.text())
	if strings.Contains(string(a.local), muxLine) || r.bridge.legs[0].Mux {
		t.Errorf("still there when the offer has it no more:\n%s", a.local)
	}
}

// The settings reach the bridge, each its own side.
func TestLearningIsASides(t *testing.T) {
	for setting, want := range map[conf.Learning]media.Learning{
		conf.LearnStrict: media.Strict, conf.LearnSameIP: media.SameIP, conf.LearnNAT: media.NAT, "": media.SameIP,
	} {
		if got := learningOf(setting); got != want {
			t.Errorf("%q is %d", setting, got)
		}
	}
	r := newRig(t, rigOptions{pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
	r.srv.sides[media.Pool].learns, r.srv.sides[media.Gateway].learns = media.NAT, media.Strict
	r.call = newCall(r.srv, "call", incoming{from: media.Pool, offer: describe{}.text()}, r.sessions[theCaller])
	r.connect(describe{port: 4010}.text(), nil)
	if r.bridge.legs[media.Pool].Learning != media.NAT || r.bridge.legs[media.Gateway].Learning != media.Strict {
		t.Errorf("legs %+v", r.bridge.legs)
	}
}
