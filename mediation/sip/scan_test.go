package sip

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

// The grammar of RFC 3261 25.1 once more, as regular expressions: the slow and
// obvious reading beside the scanner's.
const (
	reLWS    = `[ \t]*`
	reToken  = "[A-Za-z0-9\\-.!%*_+`'~]+"
	reQuoted = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*"`
	reParam  = reToken + `(?:` + reLWS + `=` + reLWS + `(?:` + reQuoted + "|[A-Za-z0-9\\-.!%*_+`'~\\[\\]:]+" + `))?`
	reParams = `(?:` + reLWS + `;` + reLWS + reParam + `)*`
	reURI    = `[A-Za-z0-9\-_.!~*'();/?:@&=+$,\[\]%#]+`
	reSpec   = `[A-Za-z0-9\-_.!~*'()/:@&=+$\[\]%#]+`
	reNames  = "[A-Za-z0-9\\-.!%*_+`'~ \\t]*"
)

func listRE(one string) *regexp.Regexp {
	return regexp.MustCompile(`^` + reLWS + one + `(?:` + reLWS + `,` + reLWS + one + `)*` + reLWS + `$`)
}

var (
	reasonRE   = listRE(reToken + reParams)
	nameAddrRE = listRE(`(?:(?:` + reQuoted + `|` + reNames + `)` + reLWS + `<` + reURI + `>|` + reSpec + `)` + reParams)
)

// valueOf draws a value that is often by the grammar of one: its parts in their
// order, with a part too much, missing or wrong here and there.
func valueOf(t *rapid.T, one func(*rapid.T) string) string {
	wrong := rapid.SampledFrom([]string{`"`, `\`, "\x01", "\xff", ";", ",", "=", "<", ">", "@", "é", "(", " "})
	values := make([]string, rapid.IntRange(1, 3).Draw(t, "values"))
	for i := range values {
		values[i] = one(t)
		for j := range rapid.IntRange(0, 3).Draw(t, "params") {
			values[i] += rapid.SampledFrom([]string{";", " ; "}).Draw(t, "semicolon") + fmt.Sprintf("p%d", j) +
				rapid.SampledFrom([]string{"", "=16", " = x", `="a \" b"`, `="é"`, "=[::1]:5"}).Draw(t, "value")
		}
	}
	s := strings.Join(values, rapid.SampledFrom([]string{",", ", ", "\t,"}).Draw(t, "comma"))
	if rapid.Bool().Draw(t, "spoilt") {
		at := rapid.IntRange(0, len(s)).Draw(t, "at")
		s = s[:at] + wrong.Draw(t, "wrong") + s[min(len(s), at+rapid.IntRange(0, 2).Draw(t, "lost")):]
	}
	return s
}

// TestScannerKnowsTheGrammar: the scanner takes what the grammar makes, and
// nothing else.
func TestScannerKnowsTheGrammar(t *testing.T) {
	took := map[string]int{}
	check := func(t *rapid.T, what, s string, ok bool, grammar *regexp.Regexp) {
		want := grammar.MatchString(s) && utf8.ValidString(s) && !parameterTwice(s) && (what == "token" || urisAreSIP(s))
		if ok != want {
			t.Fatalf("%s %q: taken %v, by the grammar %v", what, s, ok, want)
		}
		took[fmt.Sprint(what, ok)]++
	}
	rapid.Check(t, func(t *rapid.T) {
		s := valueOf(t, func(t *rapid.T) string { return rapid.SampledFrom([]string{"Q.850", "SIP", "x"}).Draw(t, "protocol") })
		_, _, ok := listOf(s, 100, func(p *scanner) (params, bool) {
			if _, ok := p.token(); !ok {
				return nil, false
			}
			return p.params()
		})
		check(t, "token", s, ok, reasonRE)
		s = valueOf(t, func(t *rapid.T) string {
			name := rapid.SampledFrom([]string{"", "Alice", "Alice  Ng ", `"é, <x>"`, `"a\"b" `}).Draw(t, "name")
			return name + rapid.SampledFrom([]string{"<sip:a@b>", "<sip:a@b;c=d?e=f,g>", "<tel:+1;x=y>", "<sips:[::1]:5>"}).Draw(t, "uri")
		})
		_, _, ok = listOf(s, 100, (*scanner).nameAddr)
		check(t, "name-addr", s, ok, nameAddrRE)
		s = valueOf(t, func(t *rapid.T) string { return rapid.SampledFrom([]string{"sip:a@b", "tel:+1"}).Draw(t, "spec") })
		_, _, ok = listOf(s, 100, (*scanner).nameAddr)
		check(t, "addr-spec", s, ok, nameAddrRE)
	})
	if len(took) != 6 {
		t.Errorf("taken and refused: %v", took)
	}
}

// urisAreSIP says whether the URI of each value is one that parseURI takes.
func urisAreSIP(s string) bool {
	for _, value := range regexp.MustCompile("(?:"+reQuoted+"|<[^>]*>|[^,])+").FindAllString(s, -1) {
		value = regexp.MustCompile(reQuoted).ReplaceAllString(value, "")
		uri, _, _ := strings.Cut(strings.TrimSpace(value), ";")
		if in := regexp.MustCompile("<([^>]*)>").FindStringSubmatch(value); in != nil {
			uri = in[1]
		}
		if _, ok := parseURI(strings.TrimSpace(uri)); !ok {
			return false
		}
	}
	return true
}

// parameterTwice finds a parameter name that comes twice in one value.
func parameterTwice(s string) bool {
	quoted := regexp.MustCompile(reQuoted + `|<[^>]*>`)
	for value := range strings.SplitSeq(quoted.ReplaceAllString(s, "q"), ",") {
		seen := map[string]bool{}
		for i, p := range strings.Split(value, ";") {
			name, _, _ := strings.Cut(p, "=")
			name = strings.TrimSpace(name)
			if i > 0 && seen[name] {
				return true
			}
			seen[name] = i > 0
		}
	}
	return false
}

// TestQuotedStrings: what is written is read as it was.
func TestQuotedStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		p := &scanner{s: quote(s) + "x"}
		got, ok := p.quoted()
		if fit := !hasControl(s) && utf8.ValidString(s); ok != fit || fit && (got != s || p.i != len(p.s)-1) {
			t.Fatalf("%q as %s: %q, %v", s, quote(s), got, ok)
		}
	})
}

// TestEveryAddressIsFound: whatever netip reads as an address, wherever it
// stands in a text, is found.
func TestEveryAddressIsFound(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"1", "12", "255", "256", "0", "00", ".", ".", ".", ":", ":", "::", "a", "ff", "x", " ", "-", "%", "[", "]", "2001:db8", "1.2.3", "::1"})
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(pieces, 0, 14).Draw(t, "text"), "")
		var h hidden
		if h.in(s) {
			found++
			return
		}
		for i := range s {
			for j := i + 2; j <= len(s); j++ {
				if addr, err := netip.ParseAddr(s[i:j]); err == nil {
					t.Fatalf("%q has %v in it", s, addr)
				}
			}
		}
	})
	if found == 0 {
		t.Error("no text had an address in it")
	}
}

// carryKinds are the kinds of message that FuzzCarry chooses from.
var carryKinds = []string{"INVITE", "183", "200", "486", "BYE", "CANCEL"}

// FuzzCarry gives one header any value. What comes out is by the grammar, names
// no host of the message, and stays as it is when it crosses again. The seeds
// stand in testdata/fuzz.
func FuzzCarry(f *testing.F) {
	profile := siteProfile(f)
	f.Fuzz(func(t *testing.T, header, kind uint8, toGateway bool, value string) {
		line := &carriedHeaders[int(header)%len(carriedHeaders)]
		msg := messageOf(t, carryKinds[int(kind)%len(carryKinds)])
		msg.AppendHeader(sip.NewHeader(line.name, value))
		n := Numbering{RemovePlus: true, Profile: profile}
		for _, h := range Carry(msg, toGateway, n, gatewayHop, "our.host.test") {
			if hasControl(h.Value) || !utf8.ValidString(h.Value) {
				t.Fatalf("%q became %q", value, h.Value)
			}
			re := reasonRE
			switch h.Name {
			case assertedIdentity, "Diversion", "History-Info":
				re = nameAddrRE
			case "User-to-User":
				re = listRE(`(?:` + reToken + `|` + reQuoted + `)` + reParams)
			case "Warning":
				re = listRE(`[0-9]{3} ` + reToken + ` ` + reQuoted)
			}
			if !re.MatchString(h.Value) {
				t.Fatalf("%q became %q, which is not by the grammar", value, h.Value)
			}
			plain := strings.ToLower(unescape(h.Value))
			if strings.Contains(plain, "trunk.example.net") || strings.Contains(plain, "198.51.100.7") || holdsWord(plain, "gwbox7") {
				t.Fatalf("%q became %q, which names a host of the message", value, h.Value)
			}
			again := messageOf(t, carryKinds[int(kind)%len(carryKinds)], h)
			if twice := Carry(again, toGateway, n, gatewayHop, "our.host.test"); len(twice) != 1 || twice[0] != h {
				t.Fatalf("%q became %q, and then %q", value, h.Value, twice)
			}
		}
	})
}
