package interop

import (
	"testing"
	"time"
)

// The signalling load that the project promises: 100 calls a second for 30 s,
// each 5 s long, so that 500 are up at once. None may fail, every one leaves
// its record, and afterwards causeway holds what it held before.
func TestHundredCallsASecond(t *testing.T) {
	const (
		rate  = 100 // calls a second
		calls = 30 * rate
		hold  = 5000 // ms
	)
	l := sippLab()
	l.Plain = true
	l.Media = mediaPorts(t, 1500) // 500 in use, 500 in quarantine, and some that others have
	tr := startTrunk(t, l)
	before := tr.holdings()

	patience := 3 * time.Minute
	gateway := tr.gatewayWaits()
	gateway.Calls, gateway.Quiet, gateway.Patience = calls, true, patience
	caller := tr.poolCalls()
	caller.Calls, caller.Quiet, caller.Patience, caller.Rate = calls, true, patience, rate

	pstn := startSIPp(t, gateway, scenario{File: "gateway_answers"})
	began := time.Now()
	pool := startSIPp(t, caller, scenario{File: "caller_talks", Hold: hold})
	peak := 0.0
	for pool.Running() && time.Since(began) < patience {
		peak = max(peak, tr.Sum("causeway_mediation_calls"))
		time.Sleep(time.Second)
	}
	took := time.Since(began)
	pool.Finished(time.Second)
	pstn.Finished(10 * time.Second)
	// 30 s to place them, 5 s for the last: more means that set-up was slow.
	if took > 60*time.Second {
		t.Errorf("%d calls took %v, want about 36 s", calls, took)
	}
	if peak < 300 {
		t.Errorf("at most %v calls were up at once, which is no load of %d a second", peak, rate)
	}

	failed := 0
	for _, r := range tr.recorded(calls, 10*time.Second) {
		if r.Code != 200 || r.Answer == nil || r.EndedBy != "pool" {
			failed++
			if failed <= 5 {
				t.Errorf("record: %d %s, ended by %s", r.Code, r.Reason, r.EndedBy)
			}
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d calls failed", failed, calls)
	}
	tr.settled(before, time.Minute)
	t.Logf("%d calls in %v, %v at once; before %+v, after %+v", calls, took.Round(time.Millisecond), peak, before, tr.holdings())
}
