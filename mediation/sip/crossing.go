package sip

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/number"
)

// crossing is one message on its way from one side to the other.
type crossing struct {
	n         Numbering
	toGateway bool
	localHost string // our own on the side it goes to
	hidden    hidden
	rules     []string // of the location profile, that fired: "field: rule"
}

// crossing is of msg, which may be nil.
func (n Numbering) crossing(msg sip.Message, toGateway bool, localHost string) *crossing {
	return &crossing{n: n, toGateway: toGateway, localHost: localHost, hidden: hiddenIn(msg, n.Hide)}
}

func (c *crossing) withhold(why WithheldReason) { c.n.Withheld.add(why) }

// readdress gives the URIs the hosts of the side they go to, and takes from
// them and from the display names what names a host.
func (c *crossing) readdress(p Parties, peer Hop) Parties {
	out := Parties{invite: p.invite}
	out.RequestURI, _ = c.uri(&p.RequestURI, peer.Host)
	if isSIP(&out.RequestURI) {
		out.RequestURI.Port = peer.Port
	}
	out.To.Address, _ = c.uri(&p.To.Address, peer.Host)
	out.From.Address, _ = c.uri(&p.From.Address, c.localHost)
	out.To.DisplayName = c.escapedName(p.To.DisplayName)
	out.From.DisplayName = c.escapedName(p.From.DisplayName)
	return out
}

// escapedName is a display name as sipgo keeps it, without the quotes around it
// and with the escapes in it.
func (c *crossing) escapedName(s string) string {
	if s == "" {
		return ""
	}
	p := &scanner{s: `"` + s + `"`}
	plain, ok := p.quoted()
	if !ok || p.i < len(p.s) {
		c.withhold(WithheldMalformed)
		return ""
	}
	shown := quote(c.name(plain))
	return shown[1 : len(shown)-1]
}

// name is a display name as the other side may see it, "" when it must not.
func (c *crossing) name(s string) string {
	shown, why, ok := c.hidden.name(s)
	if !ok {
		c.withhold(why)
	}
	return shown
}

// phrase is a text for people as the other side may see it.
func (c *crossing) phrase(s string) (string, bool) {
	shown, why, ok := c.hidden.phrase(s)
	if !ok {
		c.withhold(why)
	}
	return shown, ok && shown != ""
}

// Hosts that stand for "no identity" and are no addresses: RFC 3323 4.1.1.3,
// RFC 7544 6.
const (
	anonymousHost = "anonymous.invalid"
	unknownHost   = "unknown.invalid"
)

func isAnonymous(u *sip.Uri) bool {
	return isSIP(u) && (strings.EqualFold(u.Host, anonymousHost) || strings.EqualFold(u.Host, unknownHost))
}

// uri is u as the other side may see it: at host and without a port, with the
// user part and what says of which kind that is. A sips: URI becomes sip:,
// because the next hop's transport is ours to choose; a tel: URI stays one. When
// the user part names an address, or the scheme is another, ok is false and the
// URI is that of the host alone.
func (c *crossing) uri(u *sip.Uri, host string) (out sip.Uri, ok bool) {
	out = sip.Uri{Scheme: "sip", Host: host}
	switch {
	case u.Scheme == "tel":
		user, ok := c.user(u.Raw())
		if ok = ok && isTelNumber(user); ok {
			out = sip.Uri{Scheme: "tel"}
			setUser(&out, user)
		} else {
			c.withhold(WithheldAddress)
		}
		return out, ok
	case !isSIP(u):
		c.withhold(WithheldAddress)
		return out, false
	}
	if isAnonymous(u) {
		out.Host = strings.ToLower(u.Host)
	}
	if u.User == "" {
		return out, true
	}
	if out.User, ok = c.user(u.User); !ok {
		c.withhold(WithheldAddress)
		return out, false
	}
	switch kind := strings.ToLower(uriParam(u, "user")); kind {
	case "phone", "ip", "dialstring": // RFC 3261 19.1.1, RFC 4967
		out.UriParams.Add("user", kind)
	}
	if v := uriParam(u, "phone-context"); v != "" && c.userParam(v) {
		out.UriParams.Add("phone-context", v)
	}
	return out, true
}

// uriParam is the value of a URI parameter, whose name compares without case
// (RFC 3261 19.1.4), "" when there is none.
func uriParam(u *sip.Uri, name string) string {
	for _, p := range u.UriParams {
		if strings.EqualFold(p.K, name) {
			return p.V
		}
	}
	return ""
}

// userParams are the parameters behind a number that mean the same on both
// sides: of RFC 3966 4, RFC 4694 4, and the calling party's category. Those that
// name a trunk or its owner are not among them (tgrp, trunk-context: RFC 4904).
var userParams = map[string]bool{
	"ext": true, "isub": true, "phone-context": true, "postd": true,
	"npdi": true, "rn": true, "cic": true, "cpc": true, "oli": true, "isup-oli": true,
}

// user is a user part, or what follows "tel:", as the other side may see it:
// what stands behind an @, escaped or not, and unknown parameters are taken
// away. ok is false when nothing is left to show, or what is left names a host.
func (c *crossing) user(s string) (user string, ok bool) {
	name, params := number.SplitUser(s)
	for i := range len(name) {
		if name[i] == '@' || strings.HasPrefix(name[i:], "%40") {
			name = name[:i]
			break
		}
	}
	if name == "" || c.hidden.in(name) {
		return "", false
	}
	user = canonicalUser(name)
	for one := range strings.SplitSeq(strings.TrimPrefix(params, ";"), ";") {
		key, value, _ := strings.Cut(one, "=")
		if userParams[strings.ToLower(key)] && c.userParam(value) {
			user += ";" + one
		}
	}
	return user, true
}

// userParam says whether the value of a parameter of a user part may be shown.
func (c *crossing) userParam(value string) bool {
	for i := range len(value) {
		if !isUserByte(value[i]) || value[i] == ';' {
			return false
		}
	}
	return !c.hidden.in(value)
}

// canonicalUser writes a user part with escapes where the grammar wants them,
// and nowhere else, as far as that leaves its meaning: an escaped reserved
// character stays escaped, but for the plus (RFC 3261 19.1.4, seed-facts P5).
func canonicalUser(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		ch, escaped := s[i], false
		if ch == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			ch, escaped = unhex(s[i+1])<<4|unhex(s[i+2]), true
			i += 2
		}
		if isAlnum(ch) || strings.IndexByte("-_.!~*'()+", ch) >= 0 || !escaped && isUserByte(ch) {
			b.WriteByte(ch)
		} else {
			b.WriteString("%" + string(upperHex[ch>>4]) + string(upperHex[ch&15]))
		}
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// isUserByte has what may stand in a user part unescaped (RFC 3261 25.1), and #,
// which peers write into the numbers of services.
func isUserByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-_.!~*'()&=+$,;?/#", c) >= 0
}

// isTelNumber reports whether the number of a tel: URI is made of phone digits
// (RFC 3966 3).
func isTelNumber(user string) bool {
	num, _ := number.SplitUser(user)
	num = strings.TrimPrefix(number.StripSeparators(num), "+")
	for i := range len(num) {
		if !isHex(num[i]) && num[i] != '*' && num[i] != '#' {
			return false
		}
	}
	return num != ""
}
