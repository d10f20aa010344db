// Package number decides what a telephone number looks like on each side of a mediation server: it turns what a
// gateway sends into E.164 with an ordered list of rules (a location profile), and takes the leading plus away for
// exchanges that refuse it.
//
// It performs no I/O and keeps no state between calls: a Profile is immutable and safe for concurrent use.
package number

import "strings"

// maxE164Digits is the longest international number, country code included (ITU-T E.164 section 6).
const maxE164Digits = 15

// IsE164 reports whether s is a complete international number as SIP writes it: a plus and 1 to 15 ASCII digits of
// which the first is not 0 (no country code starts with 0). Visual separators are not accepted, and neither are
// digits of other scripts, which the .NET class \d lets through a rule.
func IsE164(s string) bool {
	digits, found := strings.CutPrefix(s, "+")
	if !found || len(digits) == 0 || len(digits) > maxE164Digits || digits[0] == '0' {
		return false
	}
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return false
		}
	}
	return true
}

// SplitUser splits the user part of a SIP URI, or what follows "tel:" in a tel URI, into the number and its
// parameters (RFC 3966 section 3). params starts with its semicolon, or is empty; number+params is always user.
func SplitUser(user string) (number, params string) {
	if i := strings.IndexByte(user, ';'); i >= 0 {
		return user[:i], user[i:]
	}
	return user, ""
}

// StripPlus returns user without the plus that starts its number. user is the user part of a SIP URI, or what follows
// "tel:" in a tel URI. Parameters behind the number stay as they are, the plus of a phone-context among them, and a
// plus that starts no number ("+alice", a lone "+") stays too.
func StripPlus(user string) string {
	if number, _ := SplitUser(user); isGlobalNumber(number) {
		return user[1:]
	}
	return user
}

// StripSeparators returns number without its visual separators: "-", ".", "(" and ")" (RFC 3966 section 5.1.1), which
// mean nothing. What is no number stays as it is: a dot in a name means something.
func StripSeparators(number string) string {
	if !strings.ContainsAny(number, separators) {
		return number
	}
	bare := make([]byte, 0, len(number))
	for i := range len(number) {
		switch c := number[i]; {
		case isDigit(c) || c == '*' || c == '#' || c == '+' && i == 0:
			bare = append(bare, c)
		case strings.IndexByte(separators, c) < 0:
			return number
		}
	}
	return string(bare)
}

// separators are the visual separators of RFC 3966 section 3.
const separators = "-.()"

// HasEnterpriseContext reports whether the parameters of user (as SplitUser takes it) hold phone-context=enterprise:
// a number of a private plan, which must not be normalized. Names and values compare without case (RFC 3966
// section 4, section 5.1.5).
func HasEnterpriseContext(user string) bool {
	_, params := SplitUser(user)
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(name, "phone-context") && strings.EqualFold(value, "enterprise") {
			return true
		}
	}
	return false
}

// isGlobalNumber reports whether s is a plus and phone digits with at least one digit among them: RFC 3966 section 3,
// global-number-digits, visual separators included.
func isGlobalNumber(s string) bool {
	if len(s) == 0 || s[0] != '+' {
		return false
	}
	digits := 0
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case c == '-' || c == '.' || c == '(' || c == ')':
		default:
			return false
		}
	}
	return digits > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
