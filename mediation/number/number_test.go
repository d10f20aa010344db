package number

import "testing"

func TestIsE164(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{"+14255550100", true},
		{"+1", true},
		{"+123456789012345", true},   // 15 digits, the longest
		{"+1234567890123456", false}, // 16
		{"+", false},
		{"", false},
		{"14255550100", false},
		{"+04255550100", false}, // no country code starts with 0
		{"++14255550100", false},
		{"+1-425-555-0100", false},
		{"+1425555010a", false},
		{"+1425555٠١٠٠", false}, // Arabic-Indic digits
		{"+١", false},
		{"+14255550100\n", false},
		{" +14255550100", false},
	} {
		if got := IsE164(tt.in); got != tt.want {
			t.Errorf("IsE164(%q) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestStripPlus(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"+14255550100", "14255550100"},
		{"14255550100", "14255550100"},
		{"+14255550100;ext=50100", "14255550100;ext=50100"},
		{"+14255550100;ext=1;phone-context=+1", "14255550100;ext=1;phone-context=+1"},
		{"5550100;phone-context=+1425", "5550100;phone-context=+1425"},
		{"+1-425-555-0100", "1-425-555-0100"},
		{"+(1)425.555.0100", "(1)425.555.0100"},
		{"++14255550100", "++14255550100"},
		{"1+4255550100", "1+4255550100"},
		{"+", "+"},
		{"+-", "+-"},
		{"+;ext=1", "+;ext=1"},
		{"+alice", "+alice"},
		{"+1alice", "+1alice"},
		{"alice", "alice"},
		{"", ""},
		{"%2B14255550100", "%2B14255550100"}, // escaped characters are not supported in URIs
		{"+911", "911"},
	} {
		if got := StripPlus(tt.in); got != tt.want {
			t.Errorf("StripPlus(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestStripSeparators(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"+1-425-555-0100", "+14255550100"},
		{"(425)555.0100", "4255550100"},
		{"+(1)425.555.0100", "+14255550100"},
		{"*31#-0100", "*31#0100"},
		{"14255550100", "14255550100"},
		{"1-800-FLOWERS", "1-800-FLOWERS"},
		{"alice.smith", "alice.smith"},
		{"1+425-555", "1+425-555"},
		{"--", ""},
		{"", ""},
	} {
		if got := StripSeparators(tt.in); got != tt.want {
			t.Errorf("StripSeparators(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if got := StripSeparators(tt.want); got != tt.want {
			t.Errorf("StripSeparators(%q) = %q: not idempotent", tt.want, got)
		}
	}
}

func TestSplitUser(t *testing.T) {
	for _, tt := range []struct{ in, number, params string }{
		{"+14255550100;ext=50100", "+14255550100", ";ext=50100"},
		{"5550100", "5550100", ""},
		{"5550100;", "5550100", ";"},
		{"5550100;a=1;b", "5550100", ";a=1;b"},
		{";phone-context=enterprise", "", ";phone-context=enterprise"},
		{"", "", ""},
	} {
		number, params := SplitUser(tt.in)
		if number != tt.number || params != tt.params {
			t.Errorf("SplitUser(%q) = %q, %q, want %q, %q", tt.in, number, params, tt.number, tt.params)
		}
	}
}

func TestHasEnterpriseContext(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{"5550100;phone-context=enterprise", true},
		{"5550100;ext=1;phone-context=enterprise", true},
		{"5550100;Phone-Context=Enterprise;ext=1", true},
		{"5550100;phone-context=enterprise.example.org", false},
		{"5550100;phone-context=+1425", false},
		{"5550100;phone-context", false},
		{"5550100;x-phone-context=enterprise", false},
		{"phone-context=enterprise", false}, // a user name, no parameter
		{"5550100", false},
		{"", false},
	} {
		if got := HasEnterpriseContext(tt.in); got != tt.want {
			t.Errorf("HasEnterpriseContext(%q) = %v, want %v", tt.in, got, tt.want)
		}
	}
}
