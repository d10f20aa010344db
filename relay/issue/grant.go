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
