package interop

import (
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// The gateway dies without a word while its phone rings. Over TCP its death
// shows at once; over UDP nothing does, and the caller gives up or is told
// after ring_timeout. Each time the record is whole and the ports are back.
func TestGatewayDiesInSetUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		network string
		setting string
		caller  scenario
		code    int
		by      string
	}{
		{"over tcp", "tcp", "", scenario{File: "caller_refused", Code: 503}, 503, "causeway"},
		{"over udp, the caller gives up", "udp", "", scenario{File: "caller_cancels", Hold: 1500}, 487, "pool"},
		{"over udp, nobody gives up", "udp", "ring_timeout: 2s", scenario{File: "caller_refused", Code: 408}, 408, "causeway"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := sippLab(c.setting)
			l.GatewayNetwork = c.network
			tr := startTrunk(t, l)
			before := tr.holdings()
			gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_rings"})
			caller := startSIPp(t, tr.poolCalls(), c.caller)
			rig.Eventually(t, 5*time.Second, "the phone rings", func() string {
				for _, m := range gateway.Trace() {
					if !m.Received && m.First() == "SIP/2.0 180 Ringing" {
						return ""
					}
				}
				return "no 180 sent"
			})
			gateway.Kill()
			caller.Finished(20 * time.Second)
			died(t, tr, c.code, c.by, false)
			tr.settled(before, time.Minute)
		})
	}
}

// The gateway is not there at all: the caller hears so at once.
func TestGatewayIsNotThere(t *testing.T) {
	tr := startTrunk(t, sippLab())
	before := tr.holdings()
	began := time.Now()
	caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_refused", Code: 503})
	caller.Finished(10 * time.Second)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the caller waited %v for a connection that was refused at once", took)
	}
	died(t, tr, 503, "causeway", false)
	tr.settled(before, time.Minute)
}

// The gateway dies in the middle of a conversation. The caller hangs up and is
// answered; the record shows a whole call.
func TestGatewayDiesInMidCall(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run("over "+network, func(t *testing.T) {
			t.Parallel()
			l := sippLab()
			l.GatewayNetwork = network
			tr := startTrunk(t, l)
			before := tr.holdings()
			gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_answers"})
			caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_talks", Hold: 2000})
			rig.Eventually(t, 5*time.Second, "the call is up", func() string {
				for _, m := range gateway.Trace() {
					if m.Received && strings.HasPrefix(m.Text, "ACK ") {
						return ""
					}
				}
				return "no ACK"
			})
			gateway.Kill()
			caller.Finished(20 * time.Second)
			died(t, tr, 200, "pool", true)
			tr.settled(before, time.Minute)
		})
	}
}

// died checks the record of the one call whose gateway died.
func died(t *testing.T, tr trunk, code int, by string, answered bool) {
	t.Helper()
	r := tr.recorded(1, 10*time.Second)[0]
	if r.Code != code || r.EndedBy != by {
		t.Errorf("record: %d %q ended by %s, want %d by %s", r.Code, r.Reason, r.EndedBy, code, by)
	}
	if r.Invite == nil || r.End == nil || r.End.Before(*r.Invite) {
		t.Errorf("record: invite %v, end %v", r.Invite, r.End)
	}
	if (r.Answer != nil) != answered {
		t.Errorf("record: answer %v", r.Answer)
	}
	if userPart(r.Received.RequestURI) != "+14255550123" || userPart(r.Sent.RequestURI) != "+14255550123" {
		t.Errorf("record: received %q, sent %q", r.Received.RequestURI, r.Sent.RequestURI)
	}
	if len(r.CallIDs) != 2 {
		t.Errorf("record: call_ids %v, want one a side", r.CallIDs)
	}
	if answered && len(r.Legs) != 2 {
		t.Errorf("record: %d legs", len(r.Legs))
	}
}
