package sip

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxAuthParams and maxAuthValue bound a challenge that is answered, in
	// parameters and in bytes of one value: what it says comes back in our
	// request, which may have to fit into a datagram.
	maxAuthParams = 32
	maxAuthValue  = 1024
)

var errMalformedChallenge = errors.New("malformed challenge")

// parseChallenges reads the value of a WWW-Authenticate or Proxy-Authenticate
// header (RFC 3261 25.1) and returns the Digest challenges that can be
// answered; the error tells of those that cannot. Other schemes are passed
// over, with what follows them.
func parseChallenges(value string) ([]challenge, error) {
	var found []challenge
	var why []error
	for {
		scheme, rest := cutToken(value)
		if !strings.EqualFold(scheme, "Digest") {
			return found, errors.Join(why...)
		}
		params, next, err := parseAuthParams(rest)
		if err != nil {
			return found, errors.Join(append(why, err)...)
		}
		if c := newChallenge(params); c.unanswerable(params) == nil {
			c.count = 1
			found = append(found, c)
		} else {
			why = append(why, c.unanswerable(params))
		}
		value = next
	}
}

// newChallenge takes what it knows from params.
func newChallenge(params map[string]string) challenge {
	c := challenge{
		realm: params["realm"], nonce: params["nonce"], opaque: params["opaque"], algorithm: params["algorithm"],
		stale:    strings.EqualFold(params["stale"], "true"),
		userhash: strings.EqualFold(params["userhash"], "true"),
		qop:      slices.Contains(qualities(params["qop"]), "auth"),
	}
	_, c.hasOpaque = params["opaque"]
	return c
}

// qualities are the values of a qop list.
func qualities(qop string) []string {
	return strings.FieldsFunc(strings.ToLower(qop), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// unanswerable says why a challenge is not answered; nil when it can be.
func (c challenge) unanswerable(params map[string]string) error {
	_, hasRealm := params["realm"]
	_, beyond := cutToken(c.algorithm) // it goes back as a token
	switch {
	case !hasRealm || c.nonce == "":
		return fmt.Errorf("%w: without realm or nonce", errMalformedChallenge)
	case c.method().new == nil || beyond != "":
		return fmt.Errorf("algorithm %q is not known", c.algorithm)
	case !c.qop && len(qualities(params["qop"])) > 0:
		return fmt.Errorf("qop %q has no auth, and we do not offer auth-int", params["qop"])
	case !c.qop && c.method().session:
		return fmt.Errorf("algorithm %q without qop has no cnonce", c.algorithm)
	}
	return nil
}

// parseAuthParams reads the parameters of one challenge, or of credentials, by
// their names in lower case. Values are what stood between the quotes, escapes
// included. rest begins with the next scheme, or is empty. A parameter that
// comes twice, or that cannot be repeated as it is, is an error.
func parseAuthParams(s string) (params map[string]string, rest string, err error) {
	params = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		name, after := cutToken(s)
		switch {
		case s == "":
			return params, "", nil
		case name == "":
			return nil, "", fmt.Errorf("%w: a parameter without a name", errMalformedChallenge)
		}
		after = strings.TrimLeft(after, " \t")
		if !strings.HasPrefix(after, "=") {
			return params, s, nil
		}
		value, after, ok := cutValue(strings.TrimLeft(after[1:], " \t"))
		name = strings.ToLower(name)
		if _, twice := params[name]; !ok || twice || len(params) == maxAuthParams || len(value) > maxAuthValue {
			return nil, "", fmt.Errorf("%w: parameter %q", errMalformedChallenge, name)
		}
		params[name] = value
		s = after
	}
}

// cutValue takes a quoted string or a token, and more than a token may hold:
// nonces come without quotes now and then.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t,")
		if end < 0 {
			end = len(s)
		}
		value, rest = s[:end], s[end:]
		return value, rest, !strings.ContainsAny(value, `"\`) && !hasControl(value)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:], !hasControl(s[1:i])
		}
	}
	return "", "", false
}

// cutToken takes a token (RFC 3261 25.1) off the front of s.
func cutToken(s string) (token, rest string) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.!%*_+`'~", r))
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}
