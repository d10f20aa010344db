package sip

import (
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
}

// PartiesOf are the identities of an INVITE as it came.
func PartiesOf(req *sip.Request) Parties {
	return Parties{RequestURI: *req.Recipient.Clone(), From: *cloneFrom(req.From()), To: *cloneTo(req.To())}
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
	out := p.readdress(peer, localHost)
	if n.RemovePlus {
		for _, u := range []*sip.Uri{&out.RequestURI, &out.From.Address, &out.To.Address} {
			editUser(u, number.StripPlus)
		}
	}
	return out
}

// FromGateway is how a call from the gateway is presented to the pool: the
// numbers of Request-URI, To and From in E.164 where the location profile can
// make them so. A From number that stays outside E.164 is asserted with
// phone-context=enterprise, so that the pool looks it up as a private one.
func (n Numbering) FromGateway(p Parties, peer Hop, localHost string) Parties {
	out := p.readdress(peer, localHost)
	n.normalize(&out, "request_uri", &out.RequestURI)
	n.normalize(&out, "to", &out.To.Address)
	if out.anonymous() {
		return out // no number: the caller withheld it
	}
	if private := n.normalize(&out, "from", &out.From.Address); private != "" {
		num, params := number.SplitUser(private)
		if !strings.Contains(strings.ToLower(params), "phone-context=") {
			params += ";phone-context=enterprise"
		}
		out.Headers = append(out.Headers, Header{
			"P-Asserted-Identity", "<sip:" + num + params + "@" + localHost + ";user=phone>",
		})
	}
	return out
}

// normalize rewrites u's number by the location profile and returns the user
// part when it is a number that is still not E.164.
func (n Numbering) normalize(p *Parties, field string, u *sip.Uri) (private string) {
	user := userOf(u)
	if context, ok := u.UriParams.Get("phone-context"); number.HasEnterpriseContext(user) || ok && strings.EqualFold(context, "enterprise") {
		return ""
	}
	num, params := number.SplitUser(user)
	if !dialable(num) {
		return "" // a name, or nobody: there is no number to make E.164
	}
	if n.Profile != nil {
		result := n.Profile.Normalize(num)
		if result.Rule != "" {
			p.Rules = append(p.Rules, field+": "+result.Rule)
		}
		num = result.Number
		setUser(u, num+params)
	}
	if number.IsE164(num) {
		return ""
	}
	return num + params
}

// dialable says whether s is made of what can be dialled.
func dialable(s string) bool {
	s = strings.TrimPrefix(s, "+")
	return s != "" && strings.Trim(s, "0123456789*#") == ""
}

// readdress gives the URIs the hosts of the side they go to.
func (p Parties) readdress(peer Hop, localHost string) Parties {
	out := p
	out.Rules, out.Headers = nil, nil
	out.RequestURI = readdress(p.RequestURI, peer.Host, peer.Port)
	out.To.Address = readdress(p.To.Address, peer.Host, 0)
	out.From.Address = readdress(p.From.Address, localHost, 0)
	if p.anonymous() {
		out.From.Address = sip.Uri{Scheme: "sip", User: p.From.Address.User, Host: anonymousHost}
	}
	out.To.Params, out.From.Params = nil, nil
	return out
}

func (p Parties) anonymous() bool {
	return isSIP(&p.From.Address) && strings.EqualFold(p.From.Address.Host, anonymousHost)
}

// anonymousHost stands for "no identity" and is no address (RFC 3323 4.1.1.3).
const anonymousHost = "anonymous.invalid"

// readdress keeps scheme, user and user=phone of a SIP URI, and leaves other
// schemes alone: a tel: URI has no host. A sips: URI becomes sip:, because
// the next hop's transport is ours to choose.
func readdress(u sip.Uri, host string, port int) sip.Uri {
	if !isSIP(&u) {
		return *u.Clone()
	}
	out := sip.Uri{Scheme: "sip", User: u.User, Host: host, Port: port}
	if v, ok := u.UriParams.Get("user"); ok {
		out.UriParams.Add("user", v)
	}
	if v, ok := u.UriParams.Get("phone-context"); ok {
		out.UriParams.Add("phone-context", v)
	}
	return out
}

// userOf is the part of a URI that holds the number: the user part, or all
// of a tel: URI behind its scheme.
func userOf(u *sip.Uri) string {
	if u.Scheme == "tel" {
		return u.Raw()
	}
	return u.User
}

func editUser(u *sip.Uri, edit func(string) string) {
	if user := userOf(u); user != "" {
		setUser(u, edit(user))
	}
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
