package sip

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// identities is P-Asserted-Identity (RFC 3325 9.1): a sip or sips URI, a tel
// URI, or one of each. An identity that cannot be shown is left out.
func (c *crossing) identities(value string, most int) (shown []string, more, ok bool) {
	list, more, ok := listOf(value, maxIdentities, (*scanner).nameAddr)
	var seen []string
	for _, a := range list {
		u, ok := c.uri(&a.uri, c.localHost)
		switch {
		case !ok:
			continue
		case u.Scheme == "sip" && u.User == "":
			c.withhold(WithheldAddress) // the identity of a host
			continue
		case slices.Contains(seen, u.Scheme) || len(shown) == most:
			more = true
			continue
		}
		seen = append(seen, u.Scheme)
		if !isAnonymous(&u) && c.number("p_asserted_identity", &u) {
			c.inEnterprise(&u)
		}
		shown = append(shown, c.address(a.name, &u))
	}
	return shown, more, ok
}

// maxIdentities bounds the identities that are looked at.
const maxIdentities = 8

// inEnterprise makes of a number that is not E.164 one of a private plan
// (seed-facts P7, RFC 3966 5.1.5).
func (c *crossing) inEnterprise(u *sip.Uri) {
	if u.Scheme != "tel" {
		*u = *c.enterprise(u.User)
	} else if !strings.Contains(strings.ToLower(u.Raw()), "phone-context=") {
		setUser(u, u.Raw()+";phone-context=enterprise")
	}
}

// address is a name-addr with a scrubbed display name.
func (c *crossing) address(name string, u *sip.Uri) string {
	out := "<" + u.String() + ">"
	if name != "" {
		if name = c.name(name); name != "" {
			out = quote(name) + " " + out
		}
	}
	return out
}

// diversions is Diversion (RFC 5806 5). Who cannot be shown is unknown (RFC 7544
// 6): the chain keeps its length, and its counters their meaning.
func (c *crossing) diversions(value string, most int) (shown []string, more, ok bool) {
	list, more, ok := listOf(value, most, (*scanner).nameAddr)
	for _, a := range list {
		u, name := c.party(&a, "diversion", sip.Uri{Scheme: "sip", User: "unknown", Host: unknownHost})
		var out strings.Builder
		out.WriteString(c.address(name, &u))
		for _, key := range []string{"reason", "counter", "limit", "privacy", "screen"} {
			if v := a.params.get(key); v != "" && c.diversionParam(key, v) {
				if !isToken(v) {
					v = quote(v)
				}
				out.WriteString(";" + key + "=" + v)
			}
		}
		shown = append(shown, out.String())
	}
	return shown, more, ok
}

// diversionParam says whether a parameter of Diversion may be shown.
func (c *crossing) diversionParam(key, value string) bool {
	if key == "counter" || key == "limit" {
		_, ok := digits(value, 2)
		return ok
	}
	_, ok := c.phrase(value)
	return ok
}

// party is an address of a chain as the other side may see it, or stranger
// where it must not.
func (c *crossing) party(a *nameAddr, field string, stranger sip.Uri) (u sip.Uri, name string) {
	u, ok := c.uri(&a.uri, c.localHost)
	if !ok {
		return stranger, ""
	}
	if !isAnonymous(&u) {
		c.number(field, &u)
	}
	return u, a.name
}

// history is History-Info (RFC 7044 5, RFC 4244 4.1). An entry that cannot be
// shown is anonymous, so that the indexes stay whole.
func (c *crossing) history(value string, most int) (shown []string, more, ok bool) {
	list, more, ok := listOf(value, most, func(p *scanner) (nameAddr, bool) {
		a, ok := p.nameAddr()
		return a, ok && isIndex(a.params.get("index"))
	})
	for _, a := range list {
		u, name := c.party(&a, "history_info", sip.Uri{Scheme: "sip", User: "anonymous", Host: anonymousHost})
		if cause := uriParam(&a.uri, "cause"); len(cause) == 3 && u.Scheme == "sip" {
			if n, ok := digits(cause, 3); ok { // RFC 4458 2
				u.UriParams.Add("cause", strconv.Itoa(n))
			}
		}
		u.Headers = c.embedded(a.uri.Headers)
		var out strings.Builder
		out.WriteString(c.address(name, &u))
		for _, key := range []string{"index", "rc", "mp", "np"} {
			if v := a.params.get(key); isIndex(v) && !c.hidden.isAddr(v) {
				out.WriteString(";" + key + "=" + v)
			}
		}
		shown = append(shown, out.String())
	}
	return shown, more, ok
}

// embedded are the headers in a URI of History-Info that are carried: Reason
// (RFC 7044 10.2) and Privacy (10.1).
func (c *crossing) embedded(headers sip.HeaderParams) (out sip.HeaderParams) {
	for _, h := range headers {
		rewrite, name := (*crossing).reasons, "Reason"
		switch {
		case strings.EqualFold(h.K, "Privacy"):
			rewrite, name = (*crossing).privacy, "Privacy"
		case !strings.EqualFold(h.K, "Reason"):
			continue
		}
		shown, more, ok := rewrite(c, unescape(h.V), maxEmbedded)
		if !ok {
			c.withhold(WithheldMalformed)
			continue
		}
		if more {
			c.withhold(WithheldTooMuch)
		}
		if len(shown) > 0 {
			out.Add(name, escapeHeader(strings.Join(shown, ",")))
		}
	}
	return out
}

// maxEmbedded bounds the values of a header in a URI.
const maxEmbedded = 4

// escapeHeader writes s as the value of a header in a URI (RFC 3261 19.1.1,
// hvalue).
func escapeHeader(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if isAlnum(s[i]) || strings.IndexByte("-_.!~*'()", s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			b.WriteString("%" + string(upperHex[s[i]>>4]) + string(upperHex[s[i]&15]))
		}
	}
	return b.String()
}

// isIndex reports whether s is an index-val (RFC 7044 5): numbers with dots
// between them, which we bound.
func isIndex(s string) bool {
	levels := 0
	for level := range strings.SplitSeq(s, ".") {
		if levels++; levels > 32 {
			return false
		}
		if _, ok := digits(level, 4); !ok || len(level) > 1 && level[0] == '0' {
			return false
		}
	}
	return true
}
