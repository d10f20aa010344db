package sip

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/number"
)

// Hop is where a side's calls go.
type Hop struct {
	Host    string // address or name; IPv6 in brackets
	Port    int
	Network string // udp, tcp, tls
}

// Destination is host:port.
func (h Hop) Destination() string {
	return hostPort(&sip.Uri{Host: h.Host, Port: h.Port}, h.Network)
}

// Parties are the identities of an INVITE.
type Parties struct {
	RequestURI sip.Uri
	From       sip.FromHeader
	To         sip.ToHeader
	// Headers are what goes with them: what Carry lets through of the INVITE,
	// and the P-Asserted-Identity that the rules added.
	Headers []Header
	// Rules names the location profile rules that fired, "field: rule".
	Rules []string

	invite *sip.Request // they are of; nil when there is none
}

// PartiesOf are the identities of an INVITE as it came. They refer to req, which
// must not be changed while they are in use.
func PartiesOf(req *sip.Request) Parties {
	return Parties{RequestURI: *req.Recipient.Clone(), From: *cloneFrom(req.From()), To: *cloneTo(req.To()), invite: req}
}

// Numbering are the number rules of a Mediation Server, and what crosses it.
type Numbering struct {
	// RemovePlus takes the plus from the numbers of calls toward the gateway.
	RemovePlus bool
	// Profile turns the gateway's numbers into E.164; nil leaves them.
	Profile *number.Profile
	// Hide are host names and addresses of either side, without port, as they
	// are configured: no text that names one crosses. The hosts that a message
	// itself names, and every address, are hidden without being listed.
	Hide []string
	// Withheld counts what was left out of what crosses; nil counts nothing.
	Withheld *Withheld
}

// ToGateway is how a call from the pool is presented to the gateway: numbers
// as they came, without their plus where the setting says so; hosts are the
// gateway's and our own, so that no address of one side shows on the other.
func (n Numbering) ToGateway(p Parties, peer Hop, localHost string) Parties {
	c := n.crossing(p.message(), true, localHost)
	out := c.readdress(p, peer)
	for _, u := range []*sip.Uri{&out.RequestURI, &out.From.Address, &out.To.Address} {
		c.number("", u)
	}
	out.Headers, out.Rules = c.carry(p.message()), c.rules
	return out
}

// FromGateway is how a call from the gateway is presented to the pool: the
// numbers of Request-URI, To and From in E.164 where the location profile can
// make them so. A From number that stays outside E.164 is asserted with
// phone-context=enterprise, so that the pool looks it up as a private one,
// unless the gateway has asserted an identity itself.
func (n Numbering) FromGateway(p Parties, peer Hop, localHost string) Parties {
	c := n.crossing(p.message(), false, localHost)
	out := c.readdress(p, peer)
	c.number("request_uri", &out.RequestURI)
	c.number("to", &out.To.Address)
	private := false
	if !isAnonymous(&out.From.Address) { // else there is no number: the caller withheld it
		private = c.number("from", &out.From.Address)
	}
	out.Headers = c.carry(p.message())
	if private && !slices.ContainsFunc(out.Headers, func(h Header) bool { return h.Name == assertedIdentity }) {
		out.Headers = append(out.Headers, Header{assertedIdentity, "<" + c.enterprise(userOf(&out.From.Address)).String() + ">"})
	}
	out.Rules = c.rules
	return out
}

const assertedIdentity = "P-Asserted-Identity"

// message is what the identities came in, nil when there is none.
func (p Parties) message() sip.Message {
	if p.invite == nil {
		return nil
	}
	return p.invite
}

// number gives u's number the form of the side it goes to: toward the gateway
// without its plus where the setting says so, from it in E.164 where the
// location profile can make it so. private: it is a number, and not E.164
// afterwards, and does not say what plan it is of. field names it in the rules
// that fired.
func (c *crossing) number(field string, u *sip.Uri) (private bool) {
	user := userOf(u)
	if c.toGateway {
		if c.n.RemovePlus && user != "" {
			setUser(u, number.StripPlus(user))
		}
		return false
	}
	if number.HasEnterpriseContext(user) || strings.EqualFold(uriParam(u, "phone-context"), "enterprise") {
		return false
	}
	num, params := number.SplitUser(user)
	num = number.StripSeparators(num)
	if !dialable(num) {
		return false // a name, or nobody: there is no number to make E.164
	}
	result := c.n.Profile.Normalize(num)
	if result.Rule != "" {
		c.rules = append(c.rules, field+": "+result.Rule)
	}
	setUser(u, result.Number+params)
	return !number.IsE164(result.Number)
}

// enterprise is a private number as it is asserted: seed-facts P7, RFC 3966
// 5.1.5.
func (c *crossing) enterprise(user string) *sip.Uri {
	num, params := number.SplitUser(user)
	if !strings.Contains(strings.ToLower(params), "phone-context=") {
		params += ";phone-context=enterprise"
	}
	u := &sip.Uri{Scheme: "sip", User: num + params, Host: c.localHost}
	u.UriParams.Add("user", "phone")
	return u
}

// dialable says whether s is made of what can be dialled.
func dialable(s string) bool {
	s = strings.TrimPrefix(s, "+")
	return s != "" && strings.Trim(s, "0123456789*#") == ""
}

// userOf is the part of a URI that holds the number: the user part, or all
// of a tel: URI behind its scheme.
func userOf(u *sip.Uri) string {
	if u.Scheme == "tel" {
		return u.Raw()
	}
	return u.User
}

func setUser(u *sip.Uri, user string) {
	if u.Scheme != "tel" {
		u.User = user
		return
	}
	var tel sip.Uri
	if err := sip.ParseUri("tel:"+user, &tel); err == nil {
		*u = tel
	}
}
