package number

import (
	"errors"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
)

func mustCompile(t testing.TB, rules ...Rule) *Profile {
	t.Helper()
	p, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPrintedRules(t *testing.T) {
	for _, tt := range []struct {
		rule     Rule
		in, want string
	}{
		{fourDigitExtension, "0100", "+14255550100"},
		{fiveDigitExtension, "50100", "+14255550100"},
		{sevenDigitsRedmond, "5550100", "+14255550100"},
		{sevenDigitsDallas, "5550100", "+19725550100"},
		{tenDigitsUS, "2065550100", "+12065550100"},
		{longDistancePrint, "12145550100", "+2145550100"}, // printed wrong: the country code is lost
		{longDistance, "12145550100", "+12145550100"},
		{internationalUS, "01191445550100", "+91445550100"},
		{redmondOperator, "0", "+14255550100"},
		{redmondSitePrefix, "62220100", "+14255550100"},
		{newYorkSitePrefix, "63330100", "+12025550100"},
		{dallasSitePrefix, "64440100", "+19725550100"},
		{offHook9425, "94255550100", "+14255550100"},
		{offHookFiveDigits, "90101", "+12535590101"},
		{offHookFiveDigits, "94255", "+12535594255"}, // the fifth digit of 94255550100 already matches
	} {
		got := mustCompile(t, tt.rule).Normalize(tt.in)
		want := Result{Number: tt.want, Rule: tt.rule.Name, E164: true}
		if got != want {
			t.Errorf("%s: Normalize(%q) = %+v, want %+v", tt.rule.Name, tt.in, got, want)
		}
	}
}

func TestRedmondProfile(t *testing.T) {
	p := mustCompile(t, redmond...)
	for _, tt := range []struct {
		in   string
		want Result
	}{
		{"50100", Result{"+14255550100", "5digitExtension", true, false}},
		{"5550100", Result{"+14255550100", "7digitcallingRedmond", true, false}},
		{"2065550100", Result{"+12065550100", "10digitcallingUS", true, false}},
		{"01191445550100", Result{"+91445550100", "IntlCallingUS", true, false}},
		{"62220100", Result{"+14255550100", "RedmondSitePrefix", true, false}},
		{"63330100", Result{"+12025550100", "NYSitePrefix", true, false}},
		{"64440100", Result{"+19725550100", "DallasSitePrefix", true, false}},
		{"0", Result{"+14255550100", "RedmondOperator", true, false}},
		// Seven digits that start with 011 fit two rules; the order decides.
		{"0115550", Result{"+14250115550", "7digitcallingRedmond", true, false}},
		// Ten digits that start with 011, too.
		{"0115550100", Result{"+10115550100", "10digitcallingUS", true, false}},
		// The profile has no rule for these.
		{"0100", Result{"0100", "", false, false}},
		{"12145550100", Result{"12145550100", "", false, false}},
		{"alice", Result{"alice", "", false, false}},
		{"", Result{"", "", false, false}},
		// A rule may fire and still not give E.164.
		{"0110", Result{"+0", "IntlCallingUS", false, false}},
		{"011", Result{"+", "IntlCallingUS", false, false}},
		{"011044", Result{"+044", "IntlCallingUS", false, false}},
		// E.164 is left alone.
		{"+14255550100", Result{"+14255550100", "", true, false}},
	} {
		if got := p.Normalize(tt.in); got != tt.want {
			t.Errorf("Normalize(%q) = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestOrderDecides(t *testing.T) {
	international := mustCompile(t, internationalUS, sevenDigitsRedmond)
	if got := international.Normalize("0115550"); got.Number != "+5550" || got.Rule != "IntlCallingUS" {
		t.Errorf("the first rule that matches must win, got %+v", got)
	}
}

func TestNormalizeIsIdempotentOnE164(t *testing.T) {
	// A rule that would match E.164 as well must not be asked.
	p := mustCompile(t, Rule{"anything", `^\+?(\d*)$`, `+9$1`})
	once := p.Normalize("14255550100")
	twice := p.Normalize(once.Number)
	if once.Number != "+914255550100" || twice.Number != once.Number || twice.Rule != "" || !twice.E164 {
		t.Errorf("once %+v, twice %+v", once, twice)
	}
}

func TestTranslationAsDotNet(t *testing.T) {
	for _, tt := range []struct{ name, pattern, translation, in, want string }{
		{"group then digits", `^(\d{4})$`, `+1425555$1`, "0100", "+14255550100"},
		{"digits right behind a group", `^(\d{4})$`, `+1425555${1}0`, "0100", "+142555501000"},
		{"$10 without a tenth group is text", `^(\d{4})$`, `+1$10`, "0100", "+1$10"},
		{"$10 with a tenth group", `^(\d)(\d)(\d)(\d)(\d)(\d)(\d)(\d)(\d)(\d)$`, `+$10$1`, "1234567890", "+01"},
		{"$2 without a second group is text", `^(\d{4})$`, `+$2`, "0100", "+$2"},
		{"named group", `^(?<ext>\d{4})$`, `+1425555${ext}`, "0100", "+14255550100"},
		{"sparse group numbers", `^(?<7>\d)(?<3>\d)$`, `+$3$7`, "12", "+21"},
		{"whole match", `^\d{4}$`, `+1425555$&`, "0100", "+14255550100"},
		{"group zero", `^\d{4}$`, `+1425555$0`, "0100", "+14255550100"},
		{"dollar", `^(\d{4})$`, `$$$1`, "0100", "$0100"},
		{"left and right", `5`, "<$`|$'>", "152", "1<1|2>2"},
		{"last group", `^(\d)(\d)$`, `+$+`, "12", "+2"},
		{"whole input", `^1`, `+$_,`, "12", "+12,2"},
		{"group that took no part", `^(9)?(\d{4})$`, `+$1$2`, "0100", "+0100"},
		{"unanchored: what does not match stays", `^9`, ``, "90100", "0100"},
		{"every match is replaced", `-`, ``, "425-555-0100", "4255550100"},
		{"empty matches", `\d*`, `x`, "a1", "xaxx"},
		{"negative look-ahead", `^(?!1900)(\d+)$`, `+$1`, "12035550100", "+12035550100"},
		{"look-behind", `(?<=^00)(\d+)$`, `$1`, "0044", "0044"},
		{"digits of another script match", `^(\d{4})$`, `+1425555$1`, "٠١٠٠", "+1425555٠١٠٠"},
	} {
		got := mustCompile(t, Rule{tt.name, tt.pattern, tt.translation}).Normalize(tt.in)
		if got.Number != tt.want || got.Rule != tt.name || got.E164 != IsE164(tt.want) {
			t.Errorf("%s: %s -> %s on %q gave %+v, want %q", tt.name, tt.pattern, tt.translation, tt.in, got, tt.want)
		}
	}
}

func TestForeignDigitsAreNotE164(t *testing.T) {
	if got := mustCompile(t, fourDigitExtension).Normalize("٠١٠٠"); got.E164 {
		t.Errorf("%+v is not a number a telephone network knows", got)
	}
}

func TestRoutePatterns(t *testing.T) {
	const (
		universal = `^\+?(\d*)$`
		redmondR  = `^\+1(425|206|253)(\d{7})$`
		dallasR   = `^\+1(972|214|469)(\d{7})$`
		newYorkR  = `^\+1(212|646|917)(\d{7})$`
		emergency = `^911$`
		intl      = `^\+([2-9])(\d*)$`
		blocking  = `^\+?(?!(1900|1411))(\d*)$`
	)
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{universal, []string{"+14255550100", "911", "", "+"}, []string{"++1", "alice", "+1 425"}},
		{redmondR, []string{"+14255550100", "+12065550100", "+12535550100"}, []string{"+12145550100", "14255550100", "+142555501000"}},
		{dallasR, []string{"+12145550100", "+19725550100", "+14695550100"}, []string{"+14255550100", "+12035550100"}},
		{newYorkR, []string{"+12125550100", "+16465550100", "+19175550100"}, []string{"+12025550100"}},
		{emergency, []string{"911"}, []string{"+911", "9110", ""}},
		{intl, []string{"+91445550100", "+2"}, []string{"+14255550100", "91445550100", "+"}},
		{blocking, []string{"+12035550100", "911", "", "+"}, []string{"+19005550100", "19005550100", "+14115550100"}},
	} {
		p := mustCompile(t, Rule{"route", tt.pattern, `routed`})
		for _, in := range tt.yes {
			if !matches(t, p, in) {
				t.Errorf("%s must match %q", tt.pattern, in)
			}
		}
		for _, in := range tt.no {
			if matches(t, p, in) {
				t.Errorf("%s must not match %q", tt.pattern, in)
			}
		}
	}
}

// matches asks the pattern itself: Normalize leaves E.164 alone.
func matches(t *testing.T, p *Profile, in string) bool {
	t.Helper()
	_, matched, err := p.rules[0].apply(in)
	if err != nil {
		t.Fatal(err)
	}
	return matched
}

func TestMatchLimit(t *testing.T) {
	// 2^60 ways to split the digits: without a limit this test would not end.
	catastrophic := Rule{"catastrophic", `^(\d+)+$`, `+$1`}
	p := mustCompile(t, catastrophic, Rule{"anything", `^.*$`, `+1`})
	in := strings.Repeat("1", 60) + "x"
	if got, want := p.Normalize(in), (Result{Number: in, TimedOut: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// The limit may also strike after a first match; nothing of it may come out.
	later := mustCompile(t, Rule{"later", `^1|(\d+)+$`, `+`})
	if got, want := later.Normalize(in), (Result{Number: in, TimedOut: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLongNumbersAreLeftAlone(t *testing.T) {
	p := mustCompile(t, Rule{"anything", `^.*$`, `+1`})
	longest := strings.Repeat("1", maxLength)
	if got := p.Normalize(longest); got.Number != "+1" {
		t.Errorf("%d bytes: %+v", len(longest), got)
	}
	if got, want := p.Normalize(longest+"1"), (Result{Number: longest + "1"}); got != want {
		t.Errorf("%d bytes: %+v", len(longest)+1, got)
	}
}

func TestCompileErrorsNameTheRule(t *testing.T) {
	_, err := Compile([]Rule{
		fourDigitExtension,
		{"open group", `^(\d{4}$`, `+$1`},
		{"no pattern", ``, `+1`},
		{"huge group", `^(\d)$`, `$99999999999`},
	})
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{`rule 2 "open group": pattern: `, `rule 3 "no pattern": the pattern is empty`, `rule 4 "huge group": translation: `} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	rule, ok := errors.AsType[*RuleError](err)
	if !ok || rule.Index != 1 || rule.Name != "open group" {
		t.Errorf("want the first wrong rule as a *RuleError, got %#v", rule)
	}
}

func TestNoProfile(t *testing.T) {
	var none *Profile
	for _, p := range []*Profile{none, {}, mustCompile(t)} {
		if got, want := p.Normalize("0100"), (Result{Number: "0100"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := p.Normalize("+14255550100"); !got.E164 {
			t.Errorf("E.164 without rules: %+v", got)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	p := mustCompile(t, redmond...)
	t.Cleanup(regexp2.StopTimeoutClock)
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 200 {
				if got := p.Normalize("5550100"); got.Number != "+14255550100" {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}
