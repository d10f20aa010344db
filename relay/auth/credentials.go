package auth

import (
	"errors"
	"fmt"
	"time"
)

// Why a request's credential was not accepted. All of them are for counters alone: the answer on the wire must be the
// same (401), so that nobody learns which names exist.
var (
	ErrUnknownUser = errors.New("unknown user")
	ErrIntegrity   = errors.New("wrong password")
	ErrExpired     = errors.New("credential has expired")
)

// Bounds of what one request may cost: each secret is one more key and one more check of the message.
const (
	maxSecrets = 16
	maxSigners = 4
)

// Options say which credentials are accepted.
type Options struct {
	Realm string
	// Users are static users and their passwords.
	Users map[string]string
	// RestSecrets are the live secrets of time-limited credentials, the newest first; at most 16.
	RestSecrets []string
	// Signers hold the keys of the A/V authentication certificate: the current one, then those that it replaces; at
	// most 4.
	Signers []*Signer
}

// Credentials knows whom to let in. It keeps nothing about anybody.
type Credentials struct {
	realm   string
	users   map[string]*user
	hashes  map[[UserhashSize]byte]*user
	secrets []string
	signers []*Signer
	nobody  [32]byte // the key of unknown users
}

// user is a static user, with the keys made once.
type user struct {
	name string
	keys [2]key // MD5's, SHA-256's
}

type key struct {
	bytes [32]byte
	n     int
}

// Identity is who sent a request.
type Identity struct {
	// User is whom quotas count: "alice" of "1700000000:alice".
	User string
	// Name is the user name as sent, or that whose hash was sent.
	Name string
	// Expires is the first moment at which the credential is no longer accepted; zero: never.
	Expires time.Time
	// Key[:KeyLen] is the key for the response.
	Key    [32]byte
	KeyLen int
}

// NewCredentials refuses names and passwords that a client could not use; its errors name the user, but no secret.
func NewCredentials(o Options) (*Credentials, error) {
	c := &Credentials{
		realm:   o.Realm,
		users:   make(map[string]*user, len(o.Users)),
		hashes:  make(map[[UserhashSize]byte]*user, len(o.Users)),
		secrets: o.RestSecrets,
		signers: o.Signers,
	}
	if err := opaque(o.Realm); err != nil {
		return nil, fmt.Errorf("realm %q %w", o.Realm, err)
	}
	for name, password := range o.Users {
		if err := opaqueName(name); err != nil {
			return nil, fmt.Errorf("user %q: the name %w", name, err)
		}
		if err := opaque(password); err != nil {
			return nil, fmt.Errorf("user %q: the password %w", name, err)
		}
		u := &user{name: name, keys: [2]key{
			makeKey(MD5, name, o.Realm, password),
			makeKey(SHA256, name, o.Realm, password),
		}}
		c.users[name] = u
		c.hashes[Userhash(name, o.Realm)] = u
	}
	if len(o.RestSecrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets are live at once, %d may be", len(o.RestSecrets), maxSecrets)
	}
	for i, secret := range o.RestSecrets {
		if secret == "" {
			return nil, fmt.Errorf("secret %d %w", i+1, errEmpty)
		}
	}
	if len(o.Signers) > maxSigners {
		return nil, fmt.Errorf("%d signing keys are live at once, %d may be", len(o.Signers), maxSigners)
	}
	return c, nil
}

func makeKey(alg Algorithm, name, realm, password string) key {
	var k key
	k.n = len(Key(k.bytes[:0], alg, name, realm, password))
	return k
}

// StaticOnly reports whether all users are static. Only then may USERHASH be offered: the names of time-limited
// credentials can't be found by their hash.
func (c *Credentials) StaticOnly() bool { return len(c.secrets) == 0 && len(c.signers) == 0 }

// Verify finds whose key makes check true, and calls check with each key that the name could have: one for a static
// user, one for each live secret, newest first. name is USERNAME's value, or nil when userhash is given. check must
// compare in constant time and must not keep the key.
//
// The errors are [ErrUnknownUser], [ErrIntegrity], also for an algorithm that is neither [MD5] nor [SHA256], and
// [ErrExpired]. The latter comes only to who has the password, with the identity, for a caller that lets running calls
// go on. The work is bounded whatever the name, and an unknown name costs a check like a known one.
func (c *Credentials) Verify(now time.Time, name, userhash []byte, alg Algorithm, check func(key []byte) bool) (Identity, error) {
	if alg != MD5 && alg != SHA256 {
		return Identity{}, ErrIntegrity
	}
	var u *user
	switch {
	case name == nil && len(userhash) == UserhashSize:
		u = c.hashes[[UserhashSize]byte(userhash)]
	case len(name) <= MaxName:
		u = c.users[string(name)]
	}
	if u != nil {
		k := &u.keys[alg-MD5]
		if !check(k.bytes[:k.n]) {
			return Identity{}, ErrIntegrity
		}
		return Identity{User: u.name, Name: u.name, Key: k.bytes, KeyLen: k.n}, nil
	}
	if len(name) > 0 && len(name) <= MaxName {
		if isSigned(name) {
			return c.verifySigned(now, string(name), alg, check)
		}
		if len(c.secrets) > 0 {
			if expires, who, ok := parseRestName(name); ok {
				return c.verifyRest(now, string(name), who, expires, alg, check)
			}
		}
	}
	// The time that a known name takes; nobody can have this key, but somebody could guess it, so what check says
	// counts for nothing.
	check(c.nobody[:keyLen(alg)])
	return Identity{}, ErrUnknownUser
}

func keyLen(alg Algorithm) int {
	if alg == MD5 {
		return 16
	}
	return 32
}

// verifyRest tries the live secrets. Every well-formed name is known: whether it was ever issued shows in the password
// alone.
func (c *Credentials) verifyRest(now time.Time, name string, who span, expires time.Time, alg Algorithm, check func([]byte) bool) (Identity, error) {
	for _, secret := range c.secrets {
		k := makeKey(alg, name, c.realm, restPassword(secret, name))
		if check(k.bytes[:k.n]) {
			id := Identity{User: name[who.from:who.to], Name: name, Expires: expires, Key: k.bytes, KeyLen: k.n}
			return id, expired(now, expires)
		}
	}
	return Identity{}, ErrIntegrity
}

// verifySigned refuses names that were not issued here before it makes a key: the name proves itself.
func (c *Credentials) verifySigned(now time.Time, name string, alg Algorithm, check func([]byte) bool) (Identity, error) {
	for _, s := range c.signers {
		who, expires, ok := s.open(name)
		if !ok {
			continue
		}
		k := makeKey(alg, name, c.realm, s.password(name))
		if !check(k.bytes[:k.n]) {
			return Identity{}, ErrIntegrity
		}
		id := Identity{User: who, Name: name, Expires: expires, Key: k.bytes, KeyLen: k.n}
		return id, expired(now, expires)
	}
	return Identity{}, ErrUnknownUser
}

// expired: a credential is good until the second it names, and no longer.
func expired(now, expires time.Time) error {
	if now.Before(expires) {
		return nil
	}
	return ErrExpired
}
