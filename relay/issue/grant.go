package issue

import (
	"time"

	"causeway/relay/auth"
)

// Issuer makes credentials with the newest key and within the bounds of the configuration.
type Issuer struct {
	Signer   *auth.Signer
	Lifetime time.Duration // when none is asked for
	Max      time.Duration // when more is asked for
}

// Grant is a credential and what it was granted for.
type Grant struct {
	auth.Credential
	User     string
	Lifetime time.Duration
	Clamped  bool // more than the maximum was asked for
}

// Answer is a grant as the server and the command line tell it.
type Answer struct {
	Username        string    `json:"username"`
	Password        string    `json:"password"`
	Expires         time.Time `json:"expires"`
	LifetimeSeconds int64     `json:"lifetime_seconds"`
	LifetimeClamped bool      `json:"lifetime_clamped"` // more was asked for
	URIs            []string  `json:"uris"`             // where the credential can be used
}

// Answer adds to a grant where it can be used.
func (g Grant) Answer(uris []string) Answer {
	return Answer{
		Username: g.Username, Password: g.Password, Expires: g.Expires.UTC(),
		LifetimeSeconds: int64(g.Lifetime / time.Second), LifetimeClamped: g.Clamped, URIs: append([]string{}, uris...),
	}
}

// Grant makes a credential for user, good from now for so many seconds; 0 stands for the configured lifetime. The
// errors are those of [auth.Signer.Issue].
func (i Issuer) Grant(now time.Time, user string, seconds int64) (Grant, error) {
	lifetime, clamped := i.Lifetime, false
	if seconds != 0 {
		clamped = seconds > int64(i.Max/time.Second)
		lifetime = min(time.Duration(seconds)*time.Second, i.Max)
		if clamped {
			lifetime = i.Max // the product may have overflowed
		}
	}
	credential, err := i.Signer.Issue(now, user, lifetime)
	if err != nil {
		return Grant{}, err
	}
	return Grant{Credential: credential, User: user, Lifetime: lifetime, Clamped: clamped}, nil
}
