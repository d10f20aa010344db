package sip

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// BenchmarkCrossing is what an INVITE costs on its way from one side to the
// other: an ordinary one, and the largest that means no good.
func BenchmarkCrossing(b *testing.B) {
	hostile := strings.Repeat("sip:", 16000)
	for name, headers := range map[string][]Header{
		"ordinary": {{"P-Asserted-Identity", sample["P-Asserted-Identity"]}, {"Diversion", sample["Diversion"]}, {"Privacy", "id"}},
		"schemes":  {{"X", hostile}},
		"ats":      {{"X", strings.Repeat("@", 60000)}},
		"slashes":  {{"X", strings.Repeat("/", 60000)}},
		"escapes":  {{"X", strings.Repeat("%25", 20000)}},
		"texts":    {{"X", manyHosts(120)}, {"Reason", strings.Repeat(`Q.850;text="`+strings.Repeat("h1 ", 40)+`",`, 60) + "SIP"}},
		"history":  {{"X", manyHosts(120)}, {"History-Info", strings.Repeat(`"`+strings.Repeat("h1 ", 40)+`"<sip:a@b>;index=1,`, 55) + "<sip:a@b>;index=1"}},
	} {
		b.Run(name, func(b *testing.B) {
			req := messageOf(b, "INVITE", headers...).(*sip.Request)
			for b.Loop() {
				Numbering{}.ToGateway(PartiesOf(req), gatewayHop, "192.0.2.2")
			}
		})
	}
}
