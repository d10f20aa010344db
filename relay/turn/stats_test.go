package turn

import (
	"errors"
	"testing"
)

// TestNames: what is counted by a name has one of its own, since metrics would be added up or refused otherwise.
func TestNames(t *testing.T) {
	names := map[string][]string{}
	for _, m := range Methods() {
		names["method"] = append(names["method"], m.String())
	}
	for _, m := range []Method{MethodSend, MethodData, MethodConnectionAttempt} {
		names["method"] = append(names["method"], m.String())
	}
	for _, r := range Refusals() {
		names["refusal"] = append(names["refusal"], r.String())
	}
	for _, d := range Drops() {
		names["drop"] = append(names["drop"], d.String())
	}
	for _, transport := range []Transport{UDP, TCP, TLS, DTLS} {
		names["transport"] = append(names["transport"], transport.String())
	}
	for what, list := range names {
		seen := map[string]bool{}
		for _, name := range list {
			if name == "" || name == "unknown" || seen[name] {
				t.Errorf("%s %q of %v", what, name, list)
			}
			seen[name] = true
		}
	}
	if len(names["refusal"]) != int(refusals) || len(names["drop"]) != int(drops) {
		t.Errorf("some have no name: %v", names)
	}
	if Transport(99).String() != "unknown" || Method(99).String() != "unknown" {
		t.Error("what there is not has a name")
	}
}

// TestStatsAdd: every counter is added up.
func TestStatsAdd(t *testing.T) {
	var one, sum Stats
	fill := func(counters []uint64, from uint64) {
		for i := range counters {
			counters[i] = from + uint64(i)
		}
	}
	fill(one.Requests[:], 1)
	fill(one.Errors[:], 100)
	fill(one.Drops[:], 200)
	fill(one.Refused[:], 300)
	one.Successes, one.Expired = 400, 500
	sum.Add(one)
	if sum != one {
		t.Errorf("got %+v, want %+v", sum, one)
	}
	sum.Add(one)
	if sum.Requests[3] != 2*one.Requests[3] || sum.Errors[3] != 2*one.Errors[3] || sum.Drops[1] != 2*one.Drops[1] ||
		sum.Refused[1] != 2*one.Refused[1] || sum.Successes != 800 || sum.Expired != 1000 {
		t.Errorf("got %+v", sum)
	}
}

// TestStatsOfACall: what a call counts.
func TestStatsOfACall(t *testing.T) {
	r := newRig(t)
	c := r.alice(home)
	c.allocate()
	c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
	c.must(403, MethodCreatePermission, to(forbidden))
	c.must(0, MethodRefresh, lifetime(0))
	got := r.m.Stats()
	var want Stats
	want.Requests[MethodAllocate], want.Requests[MethodRefresh] = 2, 1 // the first Allocate was challenged
	want.Requests[MethodChannelBind], want.Requests[MethodCreatePermission] = 1, 1
	want.reply(401)
	want.reply(403)
	want.Successes = 3
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var coded codeError
	if !errors.As(ErrCapacity, &coded) || coded != 508 || ErrCapacity.Error() != "error code 508" {
		t.Errorf("ErrCapacity is %v", ErrCapacity)
	}
}
