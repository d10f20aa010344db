package auth

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Made with: printf %s NAME | openssl dgst -sha1 -hmac north -binary | base64
func TestRestCredential(t *testing.T) {
	for _, tt := range []struct{ user, name, password string }{
		{"alice", "1800000000:alice", "sIm7pn/teO7y3AyXGeXl/xAQR6Q="},
		{"", "1800000000", "4T8K1gDWaxdgRxU6Bb5OYX1vip8="},
	} {
		got := RestCredential("north", tt.user, start.Add(999*time.Millisecond))
		want := Credential{Username: tt.name, Password: tt.password, Expires: start}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestRestSecretsRotate(t *testing.T) {
	newest := credentials(t, Options{RestSecrets: []string{"south", "north"}})
	later := credentials(t, Options{RestSecrets: []string{"west", "south"}})
	for _, tt := range []struct {
		secret        string
		checks        int
		before, after error
	}{
		{"south", 1, nil, nil},
		{"north", 2, nil, ErrIntegrity},
		{"west", 2, ErrIntegrity, nil},
		{"east", 2, ErrIntegrity, ErrIntegrity},
	} {
		for _, alg := range algorithms {
			made := RestCredential(tt.secret, "alice", start.Add(time.Hour))
			who := client{made.Username, made.Password}
			calls := 0
			id, err := who.verify(newest, start, alg, &calls)
			if !errors.Is(err, tt.before) || calls != tt.checks {
				t.Errorf("secret %s: %v after %d checks, want %v after %d", tt.secret, err, calls, tt.before, tt.checks)
			}
			if err == nil && (id.User != "alice" || id.Name != made.Username || !id.Expires.Equal(made.Expires)) {
				t.Errorf("secret %s: %+v", tt.secret, id)
			}
			if _, err := who.verify(later, start, alg, nil); !errors.Is(err, tt.after) {
				t.Errorf("secret %s after rotation: %v, want %v", tt.secret, err, tt.after)
			}
		}
	}
	if newest.StaticOnly() {
		t.Error("StaticOnly with secrets")
	}
}

func TestRestNames(t *testing.T) {
	c := credentials(t, Options{RestSecrets: []string{"north"}, Users: map[string]string{"1900000000:static": "fixed"}})
	for _, tt := range []struct {
		name, user string
		want       error
	}{
		{"1900000000:alice", "alice", nil},
		{"1900000000:a:b", "a:b", nil},
		{"1900000000:sip:alice@example.org", "sip:alice@example.org", nil},
		{"1900000000", "1900000000", nil},
		{"1900000000:", "1900000000:", nil},
		{"0001900000000:alice", "alice", nil},
		{"1900000000:" + matrix, matrix, nil},
		{"999999999999999999:alice", "alice", nil},
		{"0:alice", "", ErrExpired},
		{"1000000000000000000:alice", "", ErrUnknownUser}, // 19 digits
		{strings.Repeat("9", 400) + ":alice", "", ErrUnknownUser},
		{"-1:alice", "", ErrUnknownUser},
		{"+1900000000:alice", "", ErrUnknownUser},
		{" 1900000000:alice", "", ErrUnknownUser},
		{"1900000000 :alice", "", ErrUnknownUser},
		{"19e8:alice", "", ErrUnknownUser},
		{"0x713fb300:alice", "", ErrUnknownUser},
		{"alice:1900000000", "", ErrUnknownUser},
		{":alice", "", ErrUnknownUser},
		{":", "", ErrUnknownUser},
		{"1900000000:al\nice", "", ErrUnknownUser},
		{"1900000000:\xff", "", ErrUnknownUser},
		{"1900000000:" + strings.Repeat("a", MaxName-11), strings.Repeat("a", MaxName-11), nil},
		{"1900000000:" + strings.Repeat("a", MaxName-10), "", ErrUnknownUser},
		{"1900000000:static", "", ErrIntegrity}, // a static user of that name has another password
	} {
		id, err := client{tt.name, restPassword("north", tt.name)}.verify(c, start, MD5, nil)
		if !errors.Is(err, tt.want) || err == nil && id.User != tt.user {
			t.Errorf("%.60q: user %.40q, %v; want %.40q, %v", tt.name, id.User, err, tt.user, tt.want)
		}
	}
	if id, err := (client{"1900000000:static", "fixed"}).verify(c, start, MD5, nil); err != nil || !id.Expires.IsZero() {
		t.Errorf("the static user: %+v, %v", id, err)
	}
}

func TestRestNamesNeedASecret(t *testing.T) {
	c := credentials(t, Options{Users: map[string]string{"alice": "secret"}})
	name := "1900000000:alice"
	if _, err := (client{name, restPassword("", name)}).verify(c, start, MD5, nil); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("%v", err)
	}
}

// An hour of seconds around the end of each kind of credential: good until the second it names, and only who has the
// password hears that it was too late.
func TestCredentialsExpireToTheSecond(t *testing.T) {
	s := ed25519Signer(t, 1)
	c := credentials(t, Options{RestSecrets: []string{"north"}, Signers: []*Signer{s}})
	ends := start.Add(8 * time.Hour)
	issued, err := s.Issue(start, "alice", 8*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, made := range []Credential{RestCredential("north", "alice", ends), issued} {
		if !made.Expires.Equal(ends) {
			t.Fatalf("%s expires at %v, want %v", made.Username, made.Expires, ends)
		}
		good := client{made.Username, made.Password}
		bad := client{made.Username, made.Password + "x"}
		for now := ends.Add(-30 * time.Minute); now.Before(ends.Add(30 * time.Minute)); now = now.Add(time.Second) {
			var want error
			if !now.Before(ends) {
				want = ErrExpired
			}
			id, err := good.verify(c, now, SHA256, nil)
			if !errors.Is(err, want) || id.User != "alice" || id.KeyLen != 32 {
				t.Fatalf("%s at %v: %+v, %v; want %v", made.Username, now.Sub(ends), id, err, want)
			}
			if _, err := bad.verify(c, now, SHA256, nil); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%s with a wrong password at %v: %v", made.Username, now.Sub(ends), err)
			}
		}
		if _, err := good.verify(c, ends.Add(-1), MD5, nil); err != nil {
			t.Errorf("%s a nanosecond before its end: %v", made.Username, err)
		}
		if _, err := good.verify(c, ends, MD5, nil); !errors.Is(err, ErrExpired) {
			t.Errorf("%s at its end: %v", made.Username, err)
		}
	}
}

// A bit more or less in the name or the password, and it is another credential.
func TestRestCredentialWithABitFlipped(t *testing.T) {
	c := credentials(t, Options{RestSecrets: []string{"north"}})
	made := RestCredential("north", "alice", start.Add(time.Hour))
	flipBits(t, c, made)
}

// flipBits checks that no change of one bit of a credential gets in.
func flipBits(t *testing.T, c *Credentials, made Credential) {
	t.Helper()
	for _, alg := range algorithms {
		if _, err := (client{made.Username, made.Password}).verify(c, start, alg, nil); err != nil {
			t.Fatalf("%+v: %v", made, err)
		}
		key := Key(nil, alg, made.Username, realm, made.Password)
		for bit := range len(made.Username) * 8 {
			name := []byte(made.Username)
			name[bit/8] ^= 1 << (bit % 8)
			// With the password's key, and with the key that the changed name would have with this password.
			for _, k := range [][]byte{key, Key(nil, alg, string(name), realm, made.Password)} {
				_, err := c.Verify(start, name, nil, alg, func(got []byte) bool { return bytes.Equal(got, k) })
				if !errors.Is(err, ErrIntegrity) && !errors.Is(err, ErrUnknownUser) {
					t.Errorf("algorithm %d, bit %d of the name flipped (%q): %v", alg, bit, name, err)
				}
			}
		}
		for bit := range len(made.Password) * 8 {
			password := []byte(made.Password)
			password[bit/8] ^= 1 << (bit % 8)
			if _, err := (client{made.Username, string(password)}).verify(c, start, alg, nil); !errors.Is(err, ErrIntegrity) {
				t.Errorf("algorithm %d, bit %d of the password flipped: %v", alg, bit, err)
			}
		}
	}
}

// slowRestName is parseRestName by other means.
func slowRestName(name string) (seconds int64, user string, ok bool) {
	digits, user, colon := strings.Cut(name, ":")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 18 || opaque(name) != nil {
		return 0, "", false
	}
	if !colon || user == "" {
		user = name
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	return seconds, user, err == nil
}
