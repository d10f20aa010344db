package auth

import (
	"crypto/hmac"
	"crypto/sha1" // what issuers of TURN REST credentials use
	"encoding/base64"
	"strconv"
	"time"
)

// The time-limited credentials of draft-uberti-behave-turn-rest-00, in the form that coturn made common: the user name
// is the Unix time at which it expires, in decimal, and after a colon the user; the password is the base64 of
// HMAC-SHA1 over the name with a secret that issuer and relay share.

// maxDigits keeps the time within what fits an int64 without a check per digit.
const maxDigits = 18

// Credential is what a client needs to authenticate.
type Credential struct {
	Username, Password string
	// Expires is the first moment at which it is not accepted.
	Expires time.Time
}

// RestCredential makes a time-limited credential with a shared secret. user may be empty: then the name is the time
// alone. Fractions of a second of expires are cut.
func RestCredential(secret, user string, expires time.Time) Credential {
	name := strconv.FormatInt(expires.Unix(), 10)
	if user != "" {
		name += ":" + user
	}
	return Credential{Username: name, Password: restPassword(secret, name), Expires: time.Unix(expires.Unix(), 0)}
}

func restPassword(secret, name string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// span is a part of a name.
type span struct{ from, to int }

// parseRestName reads "time:user" and "time". The user of a name without one is the whole name: such users can only be
// told apart by what they were given.
func parseRestName(name []byte) (expires time.Time, user span, ok bool) {
	var seconds int64
	i := 0
	for i < len(name) && '0' <= name[i] && name[i] <= '9' {
		if i == maxDigits {
			return time.Time{}, span{}, false
		}
		seconds = seconds*10 + int64(name[i]-'0')
		i++
	}
	whole := span{0, len(name)}
	switch {
	case i == 0, i < len(name) && name[i] != ':', opaque(string(name)) != nil:
		return time.Time{}, span{}, false
	case i+1 < len(name):
		whole.from = i + 1
	}
	return time.Unix(seconds, 0), whole, true
}
