package mediation

import (
	"slices"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/sip"
)

func ringing(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOnlyCarriedCrosses: of what a peer wrote, the other sees what sip.Carry
// let through, in the message that continues it, and nothing else.
func TestOnlyCarriedCrosses(t *testing.T) {
	const raw = `Q.850;cause=17;text="at 10.1.2.3"`
	crossing := []sip.Header{{Name: "Reason", Value: "Q.850;cause=17"}, {Name: "User-to-User", Value: "00"}}
	rest := crossing[1:]
	for _, carried := range [][]sip.Header{crossing, nil} {
		reason, headers := "", []sip.Header(nil)
		if carried != nil {
			reason, headers = "Q.850;cause=17", rest
		}

		r := ringing(t)
		r.event(theCallee, sip.Event{Kind: sip.Progress, Code: 180, Carried: carried})
		if got := r.sessions[theCaller].carried; !slices.Equal(got, carried) {
			t.Errorf("180 with %v", got)
		}
		r.event(theCallee, sip.Event{Kind: sip.Failed, Reason: raw, Carried: carried, Failure: &sip.Failure{
			Code: 486, Reason: raw, Headers: []sip.Header{{Name: "Retry-After", Value: "5 (10.1.2.3)"}},
		}})
		if f := r.sessions[theCaller].failure; f.Code != 486 || f.Reason != reason || !slices.Equal(f.Headers, headers) {
			t.Errorf("486 as %+v", f)
		}
		if r.call.record.ReasonHeader != raw {
			t.Errorf("recorded %q", r.call.record.ReasonHeader)
		}

		r = ringing(t)
		r.event(theCaller, sip.Event{Kind: sip.Cancelled, Reason: raw, Carried: carried})
		if s := r.sessions[theCallee]; s.reason != reason || !slices.Equal(s.carried, headers) {
			t.Errorf("CANCEL with %q and %v", s.reason, s.carried)
		}

		r, _ = connected(t, rigOptions{})
		r.event(theCallee, sip.Event{Kind: sip.Ended, Reason: raw, Carried: carried})
		if s := r.sessions[theCaller]; s.reason != reason || !slices.Equal(s.carried, headers) {
			t.Errorf("BYE with %q and %v", s.reason, s.carried)
		}
	}
}

// TestDialogLost: a dialog that is gone ends the call, in our words and with the
// code on record (RFC 5057).
func TestDialogLost(t *testing.T) {
	for _, tt := range []struct {
		failure *sip.Failure
		by      string
	}{
		{&sip.Failure{Code: 481, Phrase: "no call at 10.1.2.3"}, "gateway"},
		{&sip.Failure{Code: 408, Local: true}, causeway},
	} {
		r, _ := connected(t, rigOptions{})
		r.event(theCallee, sip.Event{Kind: sip.Ended, Failure: tt.failure})
		want := reasonSIP(tt.failure.Code, (&sip.Failure{Code: tt.failure.Code}).PhraseText())
		if s := r.sessions[theCaller]; !s.ended || s.reason != want {
			t.Errorf("the caller hears %q, want %q", s.reason, want)
		}
		if rec := r.srv.records().records[0]; rec.Code != tt.failure.Code || rec.EndedBy != tt.by {
			t.Errorf("record %d by %s", rec.Code, rec.EndedBy)
		}
	}
}

// TestCalleeVanishes: a callee whose session ends without an answer is 480 to
// the caller, and not a caller that waits for ever.
func TestCalleeVanishes(t *testing.T) {
	r := ringing(t)
	r.event(theCallee, sip.Event{Kind: sip.Ended})
	if f := r.sessions[theCaller].failure; f == nil || f.Code != 480 || r.records() != 1 {
		t.Errorf("%+v, %d records", f, r.records())
	}
}
