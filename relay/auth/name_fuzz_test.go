package auth

import (
	"errors"
	"testing"
	"time"
)

// FuzzName sends names without a password: nobody gets in, nothing panics, the work is bounded, and time-limited names
// are read as the slow way reads them. The seeds stand in testdata/fuzz.
func FuzzName(f *testing.F) {
	s := ed25519Signer(f, 1)
	c := credentials(f, Options{
		Users:       map[string]string{"alice": "secret"},
		RestSecrets: []string{"north", "south"},
		Signers:     []*Signer{s},
	})
	f.Fuzz(func(t *testing.T, name []byte) {
		for _, alg := range algorithms {
			calls := 0
			id, err := c.Verify(start, name, nil, alg, func([]byte) bool { calls++; return false })
			if !errors.Is(err, ErrUnknownUser) && !errors.Is(err, ErrIntegrity) || id != (Identity{}) {
				t.Errorf("%q: %+v, %v", name, id, err)
			}
			if calls > len(c.secrets) {
				t.Errorf("%q: %d checks", name, calls)
			}
		}
		expires, who, ok := parseRestName(name)
		seconds, user, want := slowRestName(string(name))
		if ok != want || ok && (!expires.Equal(time.Unix(seconds, 0)) || string(name[who.from:who.to]) != user) {
			t.Errorf("parseRestName(%q) = %v, %v, %v; want %d, %q, %v", name, expires, who, ok, seconds, user, want)
		}
		if who, _, ok := s.open(string(name)); ok {
			if made, err := s.Issue(start, who, time.Hour); err != nil {
				t.Errorf("%q was opened as %q, which Issue refuses: %v (%v)", name, who, err, made)
			}
		}
	})
}
