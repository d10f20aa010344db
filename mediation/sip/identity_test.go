package sip

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/number"
)

func parties(t *testing.T, target, from, to string) Parties {
	t.Helper()
	var p Parties
	for text, u := range map[string]*sip.Uri{target: &p.RequestURI} {
		if err := sip.ParseUri(text, u); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.From.DisplayName, err = sip.ParseAddressValue(from, &p.From.Address, &p.From.Params); err != nil {
		t.Fatal(err)
	}
	if p.To.DisplayName, err = sip.ParseAddressValue(to, &p.To.Address, &p.To.Params); err != nil {
		t.Fatal(err)
	}
	return p
}

var gatewayHop = Hop{Host: "192.0.2.50", Port: 5060, Network: "tcp"}

// TestPlusTowardTheGateway is seed-facts D4, P2 and P3: the setting touches
// Request-URI, To and From, and nothing else.
func TestPlusTowardTheGateway(t *testing.T) {
	for name, tt := range map[string]struct {
		remove                     bool
		target, from, to           string
		wantTarget, wantFrom, want string
	}{
		"off": {
			false, "sip:+14255550100@pool;user=phone", `"+1 Alice" <sip:+12065550100@pool>;tag=x`, "<sip:+14255550100@pool>",
			"sip:+14255550100@192.0.2.50:5060;user=phone", `"+1 Alice" <sip:+12065550100@192.0.2.2>`, "<sip:+14255550100@192.0.2.50>",
		},
		"on": {
			true, "sip:+14255550100@pool;user=phone", `"+1 Alice" <sip:+12065550100@pool>;tag=x`, "<sip:+14255550100@pool>",
			"sip:14255550100@192.0.2.50:5060;user=phone", `"+1 Alice" <sip:12065550100@192.0.2.2>`, "<sip:14255550100@192.0.2.50>",
		},
		"on, tel": {
			true, "tel:+14255550100;ext=+50", "<tel:+12065550100>;tag=x", "<tel:+14255550100;phone-context=+1>",
			"tel:14255550100;ext=+50", "<tel:12065550100>", "<tel:14255550100;phone-context=+1>",
		},
		"on, parameters behind the number": {
			true, "sip:+14255550100;ext=+5@pool", "<sip:alice+bob@pool>;tag=x", "<sip:+14255550100;ext=+5@pool>",
			"sip:14255550100;ext=+5@192.0.2.50:5060", "<sip:alice+bob@192.0.2.2>", "<sip:14255550100;ext=+5@192.0.2.50>",
		},
		"anonymous stays anonymous": {
			true, "sip:+1@pool", `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`, "<sip:+1@pool>",
			"sip:1@192.0.2.50:5060", `"Anonymous" <sip:anonymous@anonymous.invalid>`, "<sip:1@192.0.2.50>",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := parties(t, tt.target, tt.from, tt.to)
			before := p.From.Address.String()
			out := Numbering{RemovePlus: tt.remove}.ToGateway(p, gatewayHop, "192.0.2.2")
			if got := out.RequestURI.String(); got != tt.wantTarget {
				t.Errorf("Request-URI %s, want %s", got, tt.wantTarget)
			}
			if got := out.From.Value(); got != tt.wantFrom {
				t.Errorf("From %s, want %s", got, tt.wantFrom)
			}
			if got := out.To.Value(); got != tt.want {
				t.Errorf("To %s, want %s", got, tt.want)
			}
			if p.From.Address.String() != before {
				t.Error("the caller's own identities were changed")
			}
		})
	}
}

// TestNumbersFromTheGateway is seed-facts 11.2 (P6 to P8) and D30.
func TestNumbersFromTheGateway(t *testing.T) {
	profile, err := number.Compile([]number.Rule{
		{Name: "4digitExtension", Pattern: `^(\d{4})$`, Translation: "+1425555$1"},
		{Name: "10digitcallingUS", Pattern: `^(\d{10})$`, Translation: "+1$1"},
		{Name: "site", Pattern: `^7(\d{2})$`, Translation: "8$1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	pool := Hop{Host: "192.0.2.1", Port: 5061, Network: "tls"}
	for name, tt := range map[string]struct {
		target, from                     string
		wantTarget, wantFrom, pai, rules string
	}{
		"both become E.164": {
			"sip:0100@192.0.2.2", "<sip:2065550100@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:+12065550100@10.0.0.1>", "", "4digitExtension",
		},
		"E.164 is left alone": {
			"sip:+14255550100@192.0.2.2", "<sip:+12065550100@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:+12065550100@10.0.0.1>", "", "",
		},
		"not E.164 after a rule: asserted": {
			"sip:+14255550100@192.0.2.2", "<sip:712@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:812@10.0.0.1>", "<sip:812;phone-context=enterprise@10.0.0.1;user=phone>", "site",
		},
		"no rule: asserted as it is": {
			"sip:+14255550100@192.0.2.2", "<sip:55@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:55@10.0.0.1>", "<sip:55;phone-context=enterprise@10.0.0.1;user=phone>", "",
		},
		"enterprise context: not normalised": {
			"sip:+14255550100@192.0.2.2", "<sip:0100;phone-context=enterprise@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:0100;phone-context=enterprise@10.0.0.1>", "", "",
		},
		"enterprise context as a URI parameter": {
			"sip:+14255550100@192.0.2.2", "<sip:0100@192.0.2.50;phone-context=enterprise>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:0100@10.0.0.1;phone-context=enterprise>", "", "",
		},
		"a name is no number": {
			"sip:+14255550100@192.0.2.2", "<sip:alice@192.0.2.50>;tag=g",
			"sip:+14255550100@192.0.2.1:5061", "<sip:alice@10.0.0.1>", "", "",
		},
		"tel": {
			"tel:0100", "<tel:2065550100>;tag=g", "tel:+14255550100", "<tel:+12065550100>", "", "4digitExtension",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := Numbering{Profile: profile, RemovePlus: true}.FromGateway(parties(t, tt.target, tt.from, "<"+tt.target+">"), pool, "10.0.0.1")
			if got := out.RequestURI.String(); got != tt.wantTarget {
				t.Errorf("Request-URI %s, want %s", got, tt.wantTarget)
			}
			if got := out.From.Value(); got != tt.wantFrom {
				t.Errorf("From %s, want %s", got, tt.wantFrom)
			}
			pai := ""
			for _, h := range out.Headers {
				pai = h.Value
			}
			if pai != tt.pai {
				t.Errorf("P-Asserted-Identity %q, want %q", pai, tt.pai)
			}
			if tt.rules == "" && len(out.Rules) != 0 || tt.rules != "" && len(out.Rules) == 0 {
				t.Errorf("rules %v, want %q", out.Rules, tt.rules)
			}
		})
	}
}
