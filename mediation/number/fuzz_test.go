package number

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The seeds stand in testdata/fuzz.

func FuzzNormalize(f *testing.F) {
	p := mustCompile(f, append(redmond, longDistance, fourDigitExtension, offHook9425, offHookFiveDigits)...)
	f.Fuzz(func(t *testing.T, s string) {
		got := p.Normalize(s)
		switch {
		case got.E164 != IsE164(got.Number):
			t.Errorf("Normalize(%q) = %+v: E164 is not what IsE164 says", s, got)
		case got.Rule == "" && got.Number != s:
			t.Errorf("Normalize(%q) = %+v: changed without a rule", s, got)
		case got.E164 && p.Normalize(got.Number) != (Result{Number: got.Number, E164: true}):
			t.Errorf("Normalize(%q) = %+v: not idempotent", s, got)
		case utf8.ValidString(s) && !utf8.ValidString(got.Number):
			t.Errorf("Normalize(%q) = %+v: invalid UTF-8 from valid", s, got)
		}
	})
}

func FuzzStripPlus(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		got := StripPlus(s)
		if got != s && "+"+got != s {
			t.Errorf("StripPlus(%q) = %q: more than the plus changed", s, got)
		}
		if StripPlus(got) != got {
			t.Errorf("StripPlus(%q) = %q: not idempotent", s, got)
		}
		if number, _ := SplitUser(s); IsE164(number) && strings.HasPrefix(got, "+") {
			t.Errorf("StripPlus(%q) = %q: the plus is still there", s, got)
		}
	})
}

func FuzzSplitUser(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		number, params := SplitUser(s)
		if number+params != s {
			t.Errorf("SplitUser(%q) = %q, %q: something is lost", s, number, params)
		}
		if strings.Contains(number, ";") || params != "" && params[0] != ';' {
			t.Errorf("SplitUser(%q) = %q, %q: split at the wrong place", s, number, params)
		}
		if HasEnterpriseContext(s) != HasEnterpriseContext(params) {
			t.Errorf("HasEnterpriseContext(%q) depends on the number", s)
		}
		if HasEnterpriseContext(s) && !strings.Contains(strings.ToUpper(s), "ENTERPRISE") {
			t.Errorf("HasEnterpriseContext(%q) out of nothing", s)
		}
	})
}
