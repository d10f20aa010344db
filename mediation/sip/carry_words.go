package sip

import (
	"strconv"
	"strings"
)

// reasons is Reason (RFC 3326 2). A value of another protocol, and one that
// says neither cause nor text, is left out.
func (c *crossing) reasons(value string, most int) (shown []string, more, ok bool) {
	type reason struct {
		protocol string
		params   params
	}
	list, more, ok := listOf(value, most, func(p *scanner) (r reason, ok bool) {
		if r.protocol, ok = p.token(); ok {
			r.params, ok = p.params()
		}
		return r, ok
	})
	for _, r := range list {
		if v := c.reason(r.protocol, r.params); v != "" {
			shown = append(shown, v)
		}
	}
	return shown, more, ok
}

func (c *crossing) reason(protocol string, ps params) string {
	var least, most int
	switch {
	case strings.EqualFold(protocol, "Q.850"):
		protocol, least, most = "Q.850", 1, 127
	case strings.EqualFold(protocol, "SIP"):
		protocol, least, most = "SIP", 200, 699
	default:
		return ""
	}
	out := protocol
	if ps.has("cause") {
		n, ok := digits(ps.get("cause"), 3)
		if !ok || n < least || n > most {
			c.withhold(WithheldMalformed)
			return ""
		}
		out += ";cause=" + strconv.Itoa(n)
	}
	if text, ok := c.phrase(ps.get("text")); ok {
		out += ";text=" + quote(text)
	}
	if out == protocol {
		return ""
	}
	if l := strings.ToUpper(ps.get("location")); protocol == "Q.850" && reasonLocations[l] {
		out += ";location=" + l
	}
	return out
}

// reasonLocations are where a cause came from (RFC 8606 3).
var reasonLocations = words("U LPN LN TN RLN RPN INTL BI")

// privacy is Privacy (RFC 3323 4.2): words behind semicolons, and, against it,
// commas.
func (c *crossing) privacy(value string, most int) (shown []string, more, ok bool) {
	shown, more, ok = knownWords(strings.ReplaceAll(value, ";", ","), most, privacyWords)
	if len(shown) > 1 {
		shown = []string{strings.Join(shown, ";")}
	}
	return shown, more, ok
}

var privacyWords = words("header session user none critical id history")

// earlyMedia is P-Early-Media (RFC 5009 8).
func (c *crossing) earlyMedia(value string, most int) (shown []string, more, ok bool) {
	return knownWords(value, most, earlyMediaWords)
}

var earlyMediaWords = words("sendrecv sendonly recvonly inactive gated supported")

// knownWords are those words of a list of tokens that are known, once each.
func knownWords(value string, most int, known map[string]bool) (shown []string, more, ok bool) {
	all, more, ok := listOf(value, most, (*scanner).token)
	seen := map[string]bool{}
	for _, word := range all {
		if word = strings.ToLower(word); known[word] && !seen[word] {
			seen[word] = true
			shown = append(shown, word)
		}
	}
	return shown, more, ok
}

// words is the set of the words in s.
func words(s string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(s) {
		set[word] = true
	}
	return set
}

// maxUserData bounds the data of one User-to-User value, in bytes: twice over
// what ISDN carries, in hexadecimal (128 octets, ITU-T Q.931 4.5.30).
const maxUserData = 512

// userToUser is User-to-User (RFC 7433 4.1).
func (c *crossing) userToUser(value string, most int) (shown []string, more, ok bool) {
	type userData struct {
		data   string
		quoted bool
		params params
	}
	list, more, ok := listOf(value, most, func(p *scanner) (u userData, ok bool) {
		if u.quoted = p.next() == '"'; u.quoted {
			u.data, ok = p.quoted()
		} else {
			u.data, ok = p.token()
		}
		if ok {
			u.params, ok = p.params()
		}
		return u, ok
	})
	for _, u := range list {
		encoding := strings.ToLower(u.params.get("encoding"))
		switch {
		case encoding == "hex" && !isHexData(u.data):
			c.withhold(WithheldMalformed)
			continue
		case len(u.data) > maxUserData:
			c.withhold(WithheldTooMuch)
			continue
		case c.hidden.in(u.data):
			c.withhold(WithheldAddress)
			continue
		}
		out := u.data
		if u.quoted {
			out = quote(out)
		}
		for _, name := range []string{"purpose", "content", "encoding"} {
			if v := u.params.get(name); isToken(v) && !c.hidden.in(v) {
				out += ";" + name + "=" + v
			}
		}
		shown = append(shown, out)
	}
	return shown, more, ok
}

func isHexData(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return len(s) > 0 && len(s)%2 == 0
}

// warnings is Warning (RFC 3261 20.43). One whose text must not be shown says
// nothing that its code does not, and is left out.
func (c *crossing) warnings(value string, most int) (shown []string, more, ok bool) {
	type warning struct {
		code int
		text string
	}
	list, more, ok := listOf(value, most, func(p *scanner) (w warning, ok bool) {
		if w.code, ok = digits(p.while(isDigit), 3); !ok || w.code < 300 || w.code > 399 || p.next() != ' ' {
			return w, false
		}
		p.space()
		// hostport or a pseudonym, which is a token.
		if agent := p.while(func(b byte) bool { return isTokenByte(b) || strings.IndexByte("[]:", b) >= 0 }); agent == "" || p.next() != ' ' {
			return w, false
		}
		p.space()
		w.text, ok = p.quoted()
		return w, ok
	})
	for _, w := range list {
		if text, ok := c.phrase(w.text); ok {
			shown = append(shown, strconv.Itoa(w.code)+" "+c.localHost+" "+quote(text))
		}
	}
	return shown, more, ok
}

// retryAfter is Retry-After (RFC 3261 20.33): delta-seconds, a comment and
// parameters.
func (c *crossing) retryAfter(value string, most int) (shown []string, more, ok bool) {
	list, more, ok := listOf(value, most, func(p *scanner) (string, bool) {
		seconds, ok := digits(p.while(isDigit), maxDelta)
		if !ok {
			return "", false
		}
		p.space()
		if p.next() == '(' && !p.comment() {
			return "", false
		}
		ps, ok := p.params()
		out := strconv.Itoa(seconds)
		if ps.has("duration") {
			n, valid := digits(ps.get("duration"), maxDelta)
			if ok = ok && valid; ok {
				out += ";duration=" + strconv.Itoa(n)
			}
		}
		return out, ok
	})
	return list, more, ok
}

// maxDelta bounds the digits of a number of seconds: 11 days are enough for
// everybody, and none overflows.
const maxDelta = 6

// digits is a number of at most most digits.
func digits(s string, most int) (int, bool) {
	if len(s) == 0 || len(s) > most || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
