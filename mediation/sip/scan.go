package sip

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// scanner reads the value of a header by the grammar of RFC 3261 25.1, and no
// more than that: where it is in doubt, the value is malformed. Methods that
// return ok false leave the position undefined.
type scanner struct {
	s string
	i int
}

// space skips LWS, which has no line ends any more.
func (p *scanner) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t') {
		p.i++
	}
}

// next is the byte at the position, 0 at the end; no grammar here has a 0.
func (p *scanner) next() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// eat takes c with the LWS on both sides of it, if it comes next.
func (p *scanner) eat(c byte) bool {
	start := p.i
	p.space()
	if p.next() != c {
		p.i = start
		return false
	}
	p.i++
	p.space()
	return true
}

// while takes the bytes that in has.
func (p *scanner) while(in func(byte) bool) string {
	start := p.i
	for p.i < len(p.s) && in(p.s[p.i]) {
		p.i++
	}
	return p.s[start:p.i]
}

func (p *scanner) token() (string, bool) {
	t := p.while(isTokenByte)
	return t, t != ""
}

func isTokenByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-.!%*_+`'~", c) >= 0
}

// quoted takes a quoted-string and returns what is in it, escapes undone.
func (p *scanner) quoted() (string, bool) {
	if p.next() != '"' {
		return "", false
	}
	p.i++
	var b strings.Builder
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			return b.String(), utf8.ValidString(b.String())
		case c == '\\':
			if p.i++; p.i == len(p.s) || p.s[p.i] >= 0x80 {
				return "", false // quoted-pair is ASCII
			}
			c = p.s[p.i]
			if c < 0x20 && c != '\t' || c == 0x7f {
				return "", false // allowed there, and nothing that is passed on
			}
		case c < 0x20 && c != '\t' || c == 0x7f:
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// quote is the quoted-string of s.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// param is a generic-param: its name in lower case, and its value without the
// quotes it may have had.
type param struct{ name, value string }

// params are looked up by name in lower case.
type params []param

// get is the value of a parameter, "" when it is not there or has none.
func (ps params) get(name string) string {
	for _, p := range ps {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// has says whether a parameter is there.
func (ps params) has(name string) bool {
	return slices.ContainsFunc(ps, func(p param) bool { return p.name == name })
}

// isToken reports whether s is a token (RFC 3261 25.1).
func isToken(s string) bool {
	p := scanner{s: s}
	_, ok := p.token()
	return ok && p.i == len(s)
}

// comment skips a comment: parentheses, nested, with escapes in them.
func (p *scanner) comment() bool {
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '\\':
			p.i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.i++
				return true
			}
		}
	}
	return false
}

// params takes *(SEMI generic-param). A name that comes twice is malformed
// (RFC 3261 7.3.1). Values are tokens, hosts or quoted-strings.
func (p *scanner) params() (params, bool) {
	var out params
	for p.eat(';') {
		name, ok := p.token()
		if !ok || len(out) == maxParams {
			return nil, false
		}
		one := param{name: strings.ToLower(name)}
		if out.has(one.name) {
			return nil, false
		}
		if p.eat('=') {
			if p.next() == '"' {
				one.value, ok = p.quoted()
			} else {
				one.value = p.while(func(c byte) bool { return isTokenByte(c) || c == '[' || c == ']' || c == ':' })
				ok = one.value != ""
			}
			if !ok {
				return nil, false
			}
		}
		out = append(out, one)
	}
	return out, true
}

// maxParams bounds the parameters of one value.
const maxParams = 32

// listOf takes values separated by commas, to the end. A value that comes after
// the first most ones is read, so that the whole is known to be well-formed,
// and not returned; more says whether there was one.
func listOf[T any](s string, most int, one func(*scanner) (T, bool)) (out []T, more, ok bool) {
	p := &scanner{s: s}
	p.space()
	for {
		v, ok := one(p)
		if !ok {
			return nil, false, false
		}
		if len(out) < most {
			out = append(out, v)
		} else {
			more = true
		}
		if p.space(); p.i == len(p.s) {
			return out, more, true
		}
		if !p.eat(',') {
			return nil, false, false
		}
	}
}

// nameAddr is name-addr or addr-spec, with the parameters behind it.
type nameAddr struct {
	name   string // without quotes and escapes
	uri    sip.Uri
	params params
}

// nameAddr takes (name-addr / addr-spec) *(SEMI generic-param), RFC 3261 20.10.
// The URI is sip, sips or tel.
func (p *scanner) nameAddr() (nameAddr, bool) {
	var a nameAddr
	var ok bool
	start := p.i
	if p.next() == '"' {
		if a.name, ok = p.quoted(); !ok {
			return a, false
		}
	} else {
		a.name = strings.TrimRight(p.while(func(c byte) bool { return isTokenByte(c) || c == ' ' || c == '\t' }), " \t")
	}
	p.space()
	var uri string
	if p.next() == '<' {
		p.i++
		uri = p.while(isURIByte)
		if p.next() != '>' {
			return a, false
		}
		p.i++
	} else {
		// addr-spec: a comma, a semicolon or a question mark ends it.
		a.name, p.i = "", start
		uri = p.while(func(c byte) bool { return isURIByte(c) && c != ',' && c != ';' && c != '?' })
	}
	if a.uri, ok = parseURI(uri); !ok {
		return a, false
	}
	a.params, ok = p.params()
	return a, ok
}

// isURIByte has the unreserved and reserved characters of RFC 3986 2, which
// add [ and ] to those of RFC 3261, and the percent sign; # as well, which
// peers write into the numbers of services.
func isURIByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-_.!~*'();/?:@&=+$,[]%#", c) >= 0
}

// parseURI reads a sip, sips or tel URI.
func parseURI(s string) (u sip.Uri, ok bool) {
	for i := range len(s) {
		if !isURIByte(s[i]) || s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return u, false
		}
	}
	if strings.Count(s, "@") > 1 || sip.ParseUri(s, &u) != nil || u.Wildcard {
		return u, false
	}
	switch u.Scheme {
	case "sip", "sips":
		return u, u.Host != "" && u.Port >= 0 && u.Port <= 65535
	case "tel":
		return u, u.Raw() != ""
	}
	return u, false
}
