package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
	"causeway/test/rig/sipp"
)

// sippLab is a causeway whose pool side speaks TCP without encryption, because
// Debian's SIPp has neither TLS nor SRTP.
func sippLab(more ...string) lab {
	return lab{PoolSRTP: "rejected", More: indent(more)}
}

// indent puts lines below `mediation:`.
func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if l != "" {
			b.WriteString("  " + l + "\n")
		}
	}
	return b.String()
}

// trunk is causeway between two SIPps: the addresses that each needs.
type trunk struct {
	*server
	gatewayPort, poolPort int    // where the SIPps are, on 127.0.0.3 and 127.0.0.1
	gatewayNetwork        string // SIPp's -t on the gateway's side
}

func startTrunk(t *testing.T, l lab) trunk {
	t.Helper()
	tr := trunk{gatewayPort: rig.Port(t), poolPort: rig.Port(t)}
	if len(l.PoolListen) == 0 {
		l.PoolListen = []string{fmt.Sprintf("tcp://127.0.0.1:%d", rig.Port(t))}
	}
	if l.GatewayNetwork == "" {
		l.GatewayNetwork = "tcp"
	}
	tr.gatewayNetwork = map[string]string{"tcp": "t1", "udp": "u1"}[l.GatewayNetwork]
	l.GatewayListen = fmt.Sprintf("%s://127.0.0.2:%d", l.GatewayNetwork, rig.Port(t))
	l.GatewayPeer = fmt.Sprintf("sip:127.0.0.3:%d;transport=%s", tr.gatewayPort, l.GatewayNetwork)
	l.NextHop = fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp", tr.poolPort)
	tr.server = start(t, l)
	return tr
}

// Roles of SIPp around a trunk.
func (tr trunk) gatewayWaits() sipp.Role {
	return sipp.Role{Name: "gateway", IP: "127.0.0.3", Port: tr.gatewayPort, Transport: tr.gatewayNetwork}
}
func (tr trunk) gatewayCalls() sipp.Role {
	return sipp.Role{Name: "gateway", IP: "127.0.0.3", Port: tr.gatewayPort, Transport: tr.gatewayNetwork, Target: tr.gateway()}
}
func (tr trunk) poolWaits() sipp.Role {
	return sipp.Role{Name: "pool", IP: "127.0.0.1", Port: tr.poolPort, Transport: "t1"}
}
func (tr trunk) poolCalls() sipp.Role {
	return sipp.Role{Name: "pool", IP: "127.0.0.1", Port: tr.poolPort, Transport: "t1", Target: tr.pool()}
}

// userPart is the user of the first URI in a header or request line: what is
// between the scheme and the "@" or, for tel:, the end.
func userPart(s string) string {
	for _, scheme := range []string{"sips:", "sip:", "tel:"} {
		if _, rest, ok := strings.Cut(s, scheme); ok {
			if end := strings.IndexAny(rest, "@>"); end >= 0 {
				rest = rest[:end]
			}
			return rest
		}
	}
	return ""
}

// The plus sign on the wire toward the gateway, off and on, in every request
// of the dialog and whoever hangs up.
func TestPlusSignTowardTheGateway(t *testing.T) {
	const display = `"+1 (425) 555-0100, Sales"`
	for _, c := range []struct {
		name        string
		remove      bool
		requestURI  string // one that ends in "@" is completed with causeway's address
		from, to    string
		wantURI     string // user parts
		wantFrom    string
		wantTo      string
		gatewayEnds bool
	}{
		{
			name: "off", requestURI: "sip:+14255550123@", from: "sip:+14255550100@example.com",
			wantURI: "+14255550123", wantFrom: "+14255550100", wantTo: "+14255550123",
		},
		{
			name: "on", remove: true, requestURI: "sip:+14255550123@", from: "sip:+14255550100@example.com",
			wantURI: "14255550123", wantFrom: "14255550100", wantTo: "14255550123",
		},
		{
			name: "on, gateway hangs up", remove: true, requestURI: "sip:+14255550123@", from: "sip:+14255550100@example.com",
			wantURI: "14255550123", wantFrom: "14255550100", wantTo: "14255550123", gatewayEnds: true,
		},
		{
			name: "off, gateway hangs up", requestURI: "sip:+14255550123@", from: "sip:+14255550100@example.com",
			wantURI: "+14255550123", wantFrom: "+14255550100", wantTo: "+14255550123", gatewayEnds: true,
		},
		{
			name: "on, parameters behind the number keep theirs", remove: true,
			requestURI: "sip:+14255550123;ext=+7;phone-context=+1@", from: "sip:+14255550100@example.com",
			wantURI: "14255550123;ext=+7;phone-context=+1", wantFrom: "14255550100", wantTo: "14255550123;ext=+7;phone-context=+1",
		},
		{
			name: "on, a tel URI in To and From", remove: true,
			requestURI: "sip:+14255550123@", from: "tel:+14255550100", to: "tel:+14255550123",
			wantURI: "14255550123", wantFrom: "14255550100", wantTo: "14255550123",
		},
		{
			name: "on, tel URIs everywhere", remove: true,
			requestURI: "tel:+14255550123;ext=7", from: "tel:+14255550100", to: "tel:+14255550123;ext=7",
			wantURI: "14255550123;ext=7", wantFrom: "14255550100", wantTo: "14255550123;ext=7",
		},
		{
			name: "on, a number without a plus", remove: true,
			requestURI: "sip:4255550123@", from: "sip:5000@example.com",
			wantURI: "4255550123", wantFrom: "5000", wantTo: "4255550123",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := startTrunk(t, sippLab(fmt.Sprintf("remove_plus_from_request_uri: %v", c.remove)))
			gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_answers", Ring: 50, Hold: 200, Hangup: c.gatewayEnds})
			uri := c.requestURI
			if strings.HasSuffix(uri, "@") {
				uri += tr.pool()
			}
			to := c.to
			if to == "" {
				to = uri
			}
			caller := startSIPp(t, tr.poolCalls(), scenario{
				File: "caller_talks", Hold: 200, Hangup: c.gatewayEnds,
				RequestURI: uri, From: display + " <" + c.from + ">", To: "<" + to + ">",
			})
			caller.Finished(15 * time.Second)
			gateway.Finished(15 * time.Second)

			invite := gateway.Got("INVITE ")
			ack := gateway.Got("ACK ")
			if got := userPart(invite.URI()); got != c.wantURI {
				t.Errorf("INVITE's Request-URI has user %q, want %q", got, c.wantURI)
			}
			if got := userPart(invite.Header("To")); got != c.wantTo {
				t.Errorf("INVITE's To has user %q, want %q", got, c.wantTo)
			}
			if got := userPart(invite.Header("From")); got != c.wantFrom {
				t.Errorf("INVITE's From has user %q, want %q", got, c.wantFrom)
			}
			if !strings.HasPrefix(invite.Header("From"), display) {
				t.Errorf("the display name changed: From: %s", invite.Header("From"))
			}
			// In the dialog: the same From and To, plus the callee's tag.
			consistent(t, invite, ack)
			if !c.gatewayEnds {
				consistent(t, invite, gateway.Got("BYE "))
			}
			// Toward the caller nothing was changed.
			ok := caller.Got("SIP/2.0 200")
			if got := userPart(ok.Header("To")); got != userPart(to) {
				t.Errorf("the caller's 200 has To user %q, want %q", got, userPart(to))
			}
			if c.gatewayEnds {
				bye := caller.Got("BYE ")
				if userPart(bye.Header("From")) != userPart(to) || userPart(bye.Header("To")) != userPart(c.from) {
					t.Errorf("BYE toward the caller has From %s and To %s", bye.Header("From"), bye.Header("To"))
				}
			}
			r := tr.recorded(1, 5*time.Second)[0]
			if userPart(r.Received.RequestURI) != userPart(uri) || userPart(r.Sent.RequestURI) != c.wantURI {
				t.Errorf("record: received %q, sent %q", r.Received.RequestURI, r.Sent.RequestURI)
			}
			if userPart(r.Sent.From) != c.wantFrom || userPart(r.Sent.To) != c.wantTo {
				t.Errorf("record: sent From %q To %q", r.Sent.From, r.Sent.To)
			}
		})
	}
}

// consistent checks an in-dialog request against the INVITE of its dialog.
func consistent(t *testing.T, invite, req sipp.Message) {
	t.Helper()
	method := strings.Fields(req.First())[0]
	if req.Header("From") != invite.Header("From") {
		t.Errorf("%s has From %s, the INVITE %s", method, req.Header("From"), invite.Header("From"))
	}
	to, _, tagged := strings.Cut(req.Header("To"), ";tag=")
	if to != invite.Header("To") || !tagged {
		t.Errorf("%s has To %s, the INVITE %s", method, req.Header("To"), invite.Header("To"))
	}
	if req.Header("Call-ID") != invite.Header("Call-ID") {
		t.Errorf("%s has Call-ID %s, the INVITE %s", method, req.Header("Call-ID"), invite.Header("Call-ID"))
	}
}

// CANCEL belongs to the INVITE that went out, with the plus removed from both.
func TestPlusSignInCancel(t *testing.T) {
	tr := startTrunk(t, sippLab("remove_plus_from_request_uri: true"))
	gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_rings"})
	caller := startSIPp(t, tr.poolCalls(), scenario{File: "caller_cancels", Hold: 300})
	caller.Finished(15 * time.Second)
	gateway.Finished(15 * time.Second)
	invite, cancel := gateway.Got("INVITE "), gateway.Got("CANCEL ")
	for _, name := range []string{"From", "To", "Call-ID", "Via"} {
		if cancel.Header(name) != invite.Header(name) {
			t.Errorf("CANCEL has %s %s, the INVITE %s", name, cancel.Header(name), invite.Header(name))
		}
	}
	if cancel.URI() != invite.URI() {
		t.Errorf("CANCEL is for %s, the INVITE for %s", cancel.URI(), invite.URI())
	}
	if got := userPart(invite.URI()); got != "14255550123" {
		t.Errorf("INVITE's Request-URI has user %q", got)
	}
}

// Calls from the gateway: the location profile makes their numbers E.164, and
// the plus rule, though on, leaves them alone.
func TestNumbersFromTheGateway(t *testing.T) {
	profile := []string{
		"remove_plus_from_request_uri: true",
		"location_profile:",
		`  - {name: 4digitExtension, pattern: '^(\d{4})$', translation: '+1425555$1'}`,
		`  - {name: national, pattern: '^([2-9]\d{9})$', translation: '+1$1'}`,
	}
	for _, c := range []struct {
		name, called, calling string
		wantCalled            string
		wantCalling           string
		enterprise            string // P-Asserted-Identity must name this number
	}{
		{"extension calls extension", "5678", "5000", "+14255555678", "+14255555000", ""},
		{"national calls E.164", "+14255550123", "2065551234", "+14255550123", "+12065551234", ""},
		{"E.164 keeps its plus", "+442071838750", "+33155667788", "+442071838750", "+33155667788", ""},
		{"a caller no rule knows", "5678", "55", "+14255555678", "55", "55"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := startTrunk(t, sippLab(profile...))
			pool := startSIPp(t, tr.poolWaits(), scenario{File: "gateway_answers"})
			gateway := startSIPp(t, tr.gatewayCalls(), scenario{
				File: "caller_talks", Hold: 100,
				RequestURI: "sip:" + c.called + "@" + tr.gateway(),
				From:       "<sip:" + c.calling + "@127.0.0.3>",
			})
			gateway.Finished(15 * time.Second)
			pool.Finished(15 * time.Second)
			invite := pool.Got("INVITE ")
			if got := userPart(invite.URI()); got != c.wantCalled {
				t.Errorf("Request-URI toward the pool has user %q, want %q", got, c.wantCalled)
			}
			if got := userPart(invite.Header("From")); strings.TrimSuffix(got, ";phone-context=enterprise") != c.wantCalling {
				t.Errorf("From toward the pool has user %q, want %q", got, c.wantCalling)
			}
			pai := invite.Header("P-Asserted-Identity")
			if c.enterprise == "" {
				if strings.Contains(pai, "phone-context=enterprise") {
					t.Errorf("a number in E.164 has P-Asserted-Identity: %s", pai)
				}
				return
			}
			if !strings.Contains(pai, c.enterprise) || !strings.Contains(pai, "phone-context=enterprise") {
				t.Errorf("P-Asserted-Identity: %q, want %s with phone-context=enterprise", pai, c.enterprise)
			}
		})
	}
}
