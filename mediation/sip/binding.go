package sip

import (
	"cmp"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// granted is the time that a 2xx gives our binding, which may be one among
// several (10.2.4): its own parameter, else the Expires header, else what we
// asked for. Some registrars write the binding's address anew; then the
// shortest time of all is the safe one.
func (r *Registration) granted(res *sip.Response) time.Duration {
	whole, ok := seconds(res, "Expires")
	if !ok {
		whole = r.ask
	}
	shortest := time.Duration(-1)
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		expires := whole
		for _, key := range c.Params.Keys() {
			if value, _ := c.Params.Get(key); strings.EqualFold(key, "expires") {
				if d, ok := parseSeconds(value); ok {
					expires = d
				}
			}
		}
		if sameBinding(&c.Address, &r.contact) {
			return expires
		}
		if shortest < 0 || expires < shortest {
			shortest = expires
		}
	}
	if shortest >= 0 {
		return shortest
	}
	return whole
}

// sameBinding compares two Contact URIs by what makes a binding: user, host
// and port (a part of RFC 3261 19.1.4; registrars drop and add parameters).
func sameBinding(a, b *sip.Uri) bool {
	port := func(u *sip.Uri) int {
		transport, _ := u.UriParams.Get("transport")
		standard := 5060
		if strings.EqualFold(u.Scheme, "sips") || strings.EqualFold(transport, "tls") {
			standard = 5061
		}
		return cmp.Or(u.Port, standard)
	}
	return a.User == b.User && strings.EqualFold(strings.Trim(a.Host, "[]"), strings.Trim(b.Host, "[]")) && port(a) == port(b)
}

// seconds is a header's value in delta-seconds; what follows the number, a
// comment or parameters of Retry-After, is passed over.
func seconds(res *sip.Response, name string) (time.Duration, bool) {
	h := res.GetHeader(name)
	if h == nil {
		return 0, false
	}
	return parseSeconds(h.Value())
}

// parseSeconds reads delta-seconds (RFC 3261 25.1), which end at 2^32-1
// (20.19).
func parseSeconds(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	if end == 0 {
		return 0, false
	}
	n := uint64(0)
	for _, digit := range s[:end] {
		n = min(n*10+uint64(digit-'0'), 1<<32-1)
	}
	return time.Duration(n) * time.Second, true
}
