package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
	"causeway/test/rig/sipp"
)

// What the gateway answers reaches the caller as it was: the same code, at
// once, with the Reason that says why in the telephone network's words.
func TestFailureCodesReachTheCaller(t *testing.T) {
	tr := startTrunk(t, sippLab())
	before := tr.holdings()
	cases := []struct {
		code    int
		phrase  string
		reason  string
		headers []string
	}{
		{404, "Not Found", `Q.850;cause=1;text="Unallocated (unassigned) number"`, nil},
		{480, "Temporarily Unavailable", "Q.850;cause=18", nil},
		{484, "Address Incomplete", "Q.850;cause=28", nil},
		{486, "Busy Here", `Q.850;cause=17;text="User busy"`, nil},
		{503, "Service Unavailable", "Q.850;cause=34", []string{"Retry-After: 30"}},
		{603, "Decline", "Q.850;cause=21", nil},
		{486, "Busy, says the PBX", "", nil},
	}
	for i, c := range cases {
		t.Run(fmt.Sprintf("%d %s", c.code, c.phrase), func(t *testing.T) {
			headers := c.headers
			if c.reason != "" {
				headers = append([]string{"Reason: " + c.reason}, headers...)
			}
			tr := tr.in(t)
			gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_refuses", Code: c.code, Phrase: c.phrase, Headers: headers})
			began := time.Now()
			caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_refused", Code: c.code})
			caller.Finished(10 * time.Second)
			gateway.Finished(10 * time.Second)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the failure took %v", took)
			}
			final := caller.Got(fmt.Sprintf("SIP/2.0 %d", c.code))
			if got := final.First(); got != fmt.Sprintf("SIP/2.0 %d %s", c.code, c.phrase) {
				t.Errorf("the caller got %q", got)
			}
			if got := final.Header("Reason"); got != c.reason {
				t.Errorf("the caller got Reason %q, want %q", got, c.reason)
			}
			if c.code == 503 && final.Header("Retry-After") != "30" {
				t.Errorf("the caller got Retry-After %q", final.Header("Retry-After"))
			}
			r := tr.recorded(i+1, 5*time.Second)[i]
			if r.Code != c.code || r.Reason != c.phrase || r.EndedBy != "gateway" || r.Answer != nil {
				t.Errorf("record: %d %q ended by %s, answer %v", r.Code, r.Reason, r.EndedBy, r.Answer)
			}
			if c.reason == "" && r.ReasonHeader != nil || c.reason != "" && (r.ReasonHeader == nil || *r.ReasonHeader != c.reason) {
				t.Errorf("record: reason_header %v, want %q", value(r.ReasonHeader), c.reason)
			}
		})
	}
	tr.settled(before, 45*time.Second)
}

// in is the trunk for the span of a subtest.
func (tr trunk) in(t *testing.T) trunk {
	s := *tr.server
	s.t, s.Causeway = t, s.Causeway.In(t)
	tr.server = &s
	return tr
}

// A failure of the pool's next hop reaches a caller at the gateway.
func TestFailureCodesReachTheGateway(t *testing.T) {
	tr := startTrunk(t, sippLab())
	pool := startSIPp(t, tr.poolWaits(), scenario{File: "gateway_refuses", Code: 486, Phrase: "Busy Here", Headers: []string{"Reason: Q.850;cause=17"}})
	gateway := startSIPp(t, tr.gatewayCalls(), scenario{File: "caller_refused", Code: 486})
	gateway.Finished(10 * time.Second)
	pool.Finished(10 * time.Second)
	if got := gateway.Got("SIP/2.0 486").Header("Reason"); got != "Q.850;cause=17" {
		t.Errorf("the gateway got Reason %q", got)
	}
	if r := tr.recorded(1, 5*time.Second)[0]; r.Code != 486 || r.Direction != "gateway_to_pool" || r.EndedBy != "pool" {
		t.Errorf("record: %+v", r)
	}
}

func TestCallerCancels(t *testing.T) {
	for _, side := range []string{"pool", "gateway"} {
		t.Run("from the "+side, func(t *testing.T) {
			tr := startTrunk(t, sippLab())
			before := tr.holdings()
			from, to := tr.poolCalls(), tr.gatewayWaits()
			if side == "gateway" {
				from, to = tr.gatewayCalls(), tr.poolWaits()
			}
			callee := startSIPp(t, to, scenario{File: "gateway_rings"})
			caller := startSIPp(t, from, scenario{File: "caller_cancels", Hold: 500})
			caller.Finished(10 * time.Second)
			callee.Finished(10 * time.Second)
			r := tr.recorded(1, 5*time.Second)[0]
			if r.Code != 487 || r.EndedBy != side || r.Provisional == nil || r.Answer != nil {
				t.Errorf("record: code %d ended by %s, provisional %v, answer %v", r.Code, r.EndedBy, r.Provisional, r.Answer)
			}
			tr.settled(before, 45*time.Second)
		})
	}
}

// Offers that cannot be taken are refused with a Warning that says why, before
// the gateway hears of the call.
func TestOffersThatAreRefused(t *testing.T) {
	crypto := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40)
	for _, c := range []struct {
		name    string
		policy  string
		sdp     []string
		warning []string // each must be in the Warning
	}{
		{"plain where encryption is required", "required", []string{
			"m=audio 19990 RTP/AVP 0 8",
		}, nil},
		{"encrypted where it is rejected", "rejected", []string{
			"m=audio 19990 RTP/SAVP 0 8", crypto,
		}, nil},
		{"an unknown suite alone", "required", []string{
			"m=audio 19990 RTP/SAVP 0 8", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40),
		}, nil},
		{"RTAudio alone", "rejected", []string{
			"m=audio 19990 RTP/AVP 114 115", "a=rtpmap:114 x-msrta/16000", "a=rtpmap:115 x-msrta/8000",
		}, []string{"x-msrta"}},
		{"no audio", "rejected", []string{
			"m=video 19990 RTP/AVP 34", "a=rtpmap:34 H263/90000",
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := sippLab()
			l.PoolSRTP = c.policy
			tr := startTrunk(t, l)
			before := tr.holdings()
			caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_refused", Code: 488, SDP: c.sdp})
			caller.Finished(10 * time.Second)
			warning := caller.Got("SIP/2.0 488").Header("Warning")
			if warning == "" {
				t.Error("488 without a Warning")
			}
			for _, want := range c.warning {
				if !strings.Contains(strings.ToLower(warning), want) {
					t.Errorf("Warning %q does not name %s", warning, want)
				}
			}
			t.Logf("Warning: %s", warning)
			r := tr.recorded(1, 5*time.Second)[0]
			if r.Code != 488 || r.EndedBy != "causeway" {
				t.Errorf("record: code %d ended by %s", r.Code, r.EndedBy)
			}
			tr.settled(before, 45*time.Second)
		})
	}
}

// What is no audio is answered with port 0, and the call goes on.
func TestOtherMediaIsAnsweredWithPortZero(t *testing.T) {
	tr := startTrunk(t, sippLab())
	gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_answers"})
	caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_talks", Hold: 100, SDP: []string{
		"m=video 19992 RTP/AVP 34", "a=rtpmap:34 H263/90000",
		"m=audio 19990 RTP/AVP 8 0", "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000",
		"m=application 19994 UDP/BFCP *",
	}})
	caller.Finished(10 * time.Second)
	gateway.Finished(10 * time.Second)
	answer := caller.Got("SIP/2.0 200").Body()
	for _, want := range []string{"m=video 0 ", "m=application 0 "} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer has no %q:\n%s", want, answer)
		}
	}
	if strings.Index(answer, "m=video") > strings.Index(answer, "m=audio") {
		t.Errorf("the answer's m= lines are not in the offer's order:\n%s", answer)
	}
	if offered := gateway.Got("INVITE ").Body(); strings.Contains(offered, "m=video") {
		t.Errorf("video was offered to the gateway:\n%s", offered)
	}
}

// One port pair is all there is: the second call gets 503 and is counted.
func TestNoPortsLeft(t *testing.T) {
	l := sippLab()
	l.Media = mediaPorts(t, 1)
	tr := startTrunk(t, l)
	gateway := startSIPp(t, func() sipp.Role { r := tr.gatewayWaits(); r.Calls = 1; return r }(), scenario{File: "gateway_answers"})
	first := startSIPp(t, tr.poolCalls(), scenario{File: "caller_talks", Hold: 3000})
	rig.Eventually(t, 5*time.Second, "the first call is up", func() string {
		if tr.Metric(`causeway_mediation_ports_free{side="pool"}`) == 0 {
			return ""
		}
		return "not taking a port"
	})
	refused := tr.poolCalls()
	refused.Name, refused.Port = "second", rig.Port(t)
	second := startSIPp(t, refused, scenario{File: "caller_refused", Code: 503})
	second.Finished(5 * time.Second)
	if n := tr.Metric("causeway_mediation_ports_exhausted_total"); n != 1 {
		t.Errorf("ports_exhausted_total is %v, want 1", n)
	}
	first.Finished(10 * time.Second)
	gateway.Finished(10 * time.Second)
}
