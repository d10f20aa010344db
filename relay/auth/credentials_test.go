package auth

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

const realm = "example.org"

// start is when the simulated clocks of these tests begin.
var start = time.Unix(1_800_000_000, 0)

func credentials(t testing.TB, o Options) *Credentials {
	t.Helper()
	if o.Realm == "" {
		o.Realm = realm
	}
	c, err := NewCredentials(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client is somebody with a name and a password.
type client struct{ name, password string }

// verify is a request of the client as far as Verify sees it; calls counts its checks.
func (c client) verify(creds *Credentials, now time.Time, alg Algorithm, calls *int) (Identity, error) {
	want := Key(nil, alg, c.name, realm, c.password)
	return creds.Verify(now, []byte(c.name), nil, alg, func(key []byte) bool {
		if calls != nil {
			*calls++
		}
		return bytes.Equal(key, want)
	})
}

var algorithms = []Algorithm{MD5, SHA256}

func TestStaticUsers(t *testing.T) {
	c := credentials(t, Options{Users: map[string]string{"alice": "secret", matrix: "TheMatrIX", "odd : name": "p:w d"}})
	for _, alg := range algorithms {
		for _, u := range []client{{"alice", "secret"}, {matrix, "TheMatrIX"}, {"odd : name", "p:w d"}} {
			id, err := u.verify(c, start, alg, nil)
			if err != nil || id.User != u.name || id.Name != u.name || !id.Expires.IsZero() {
				t.Errorf("algorithm %d, %q: %+v, %v", alg, u.name, id, err)
			}
			if want := Key(nil, alg, u.name, realm, u.password); !bytes.Equal(id.Key[:id.KeyLen], want) {
				t.Errorf("algorithm %d, %q: key %x, want %x", alg, u.name, id.Key[:id.KeyLen], want)
			}
		}
		for _, u := range []struct {
			client
			want error
		}{
			{client{"alice", "Secret"}, ErrIntegrity},
			{client{"Alice", "secret"}, ErrUnknownUser},
			{client{"alice ", "secret"}, ErrUnknownUser},
			{client{"", "secret"}, ErrUnknownUser},
			{client{"alice\x00", "secret"}, ErrUnknownUser},
			{client{strings.Repeat("a", MaxName+1), "secret"}, ErrUnknownUser},
		} {
			if id, err := u.verify(c, start, alg, nil); !errors.Is(err, u.want) || id != (Identity{}) {
				t.Errorf("algorithm %d, %q with %q: %+v, %v, want %v", alg, u.name, u.password, id, err, u.want)
			}
		}
	}
	if !c.StaticOnly() {
		t.Error("StaticOnly = false")
	}
}

func TestUserhashFindsStaticUsers(t *testing.T) {
	c := credentials(t, Options{Users: map[string]string{"alice": "secret"}, RestSecrets: []string{"north"}})
	want := Key(nil, SHA256, "alice", realm, "secret")
	check := func(key []byte) bool { return bytes.Equal(key, want) }
	hash := Userhash("alice", realm)
	id, err := c.Verify(start, nil, hash[:], SHA256, check)
	if err != nil || id.User != "alice" || id.Name != "alice" {
		t.Errorf("%+v, %v", id, err)
	}
	for bit := range len(hash) * 8 {
		flipped := hash
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, err := c.Verify(start, nil, flipped[:], SHA256, check); !errors.Is(err, ErrUnknownUser) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
	}
	for _, bad := range [][]byte{nil, {}, hash[:31], append(hash[:], 0)} {
		if _, err := c.Verify(start, nil, bad, SHA256, check); !errors.Is(err, ErrUnknownUser) {
			t.Errorf("a hash of %d bytes: %v", len(bad), err)
		}
	}
	other := Userhash("alice", "example.net")
	if _, err := c.Verify(start, nil, other[:], SHA256, check); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("the hash of another realm: %v", err)
	}
}

func TestUnknownAlgorithmIsRefused(t *testing.T) {
	c := credentials(t, Options{Users: map[string]string{"alice": "secret"}})
	for _, alg := range []Algorithm{0, 3, 0xffff} {
		_, err := c.Verify(start, []byte("alice"), nil, alg, func([]byte) bool { return true })
		if !errors.Is(err, ErrIntegrity) {
			t.Errorf("algorithm %d: %v", alg, err)
		}
	}
}

// Whoever measures must not learn which names exist: the message is checked as often, with keys as long. And a check
// that says yes to the key of nobody lets nobody in.
func TestUnknownUsersCostWhatKnownOnesDo(t *testing.T) {
	for _, alg := range algorithms {
		for _, o := range []Options{
			{Users: map[string]string{"alice": "secret"}},
			{Users: map[string]string{"alice": "secret"}, RestSecrets: []string{"north", "south"}},
		} {
			c := credentials(t, o)
			work := func(name string, answer bool) (lengths []int, err error) {
				_, err = c.Verify(start, []byte(name), nil, alg, func(key []byte) bool {
					lengths = append(lengths, len(key))
					return answer
				})
				return lengths, err
			}
			known, _ := work("alice", false)
			unknown, _ := work("malice", false)
			if len(known) != 1 || len(unknown) != 1 || known[0] != unknown[0] {
				t.Errorf("algorithm %d: checks with keys of %v bytes for a known name, %v for an unknown one", alg, known, unknown)
			}
			if _, err := work("malice", true); !errors.Is(err, ErrUnknownUser) {
				t.Errorf("algorithm %d: an unknown user got in: %v", alg, err)
			}
			if len(o.RestSecrets) > 0 {
				issued, _ := work("1900000000:alice", false)
				other, _ := work("1900000000:nobody", false)
				if len(issued) != 2 || len(other) != 2 {
					t.Errorf("algorithm %d: %d and %d checks for time-limited names, want one for each secret", alg, len(issued), len(other))
				}
			}
		}
	}
}

func TestConfiguredTextThatNoClientCanSend(t *testing.T) {
	many := strings.Split(strings.Repeat("x", maxSecrets+1), "")
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"control character in a name", Options{Users: map[string]string{"a\tb": "x"}}, "control character"},
		{"control character in a password", Options{Users: map[string]string{"a": "x\x7f"}}, "control character"},
		{"C1 control in a password", Options{Users: map[string]string{"a": "x\u0085"}}, "control character"},
		{"no-break space", Options{Users: map[string]string{"a": "x\u00a0y"}}, "space other than"},
		{"ideographic space in a name", Options{Users: map[string]string{"a\u3000": "x"}}, "space other than"},
		{"invalid UTF-8", Options{Users: map[string]string{"a": "\xff"}}, "UTF-8"},
		{"empty name", Options{Users: map[string]string{"": "x"}}, "empty"},
		{"empty password", Options{Users: map[string]string{"a": ""}}, "empty"},
		{"name too long", Options{Users: map[string]string{strings.Repeat("a", 509): "x"}}, "longer than 508"},
		{"realm", Options{Realm: "example\n.org"}, "realm"},
		{"empty secret", Options{RestSecrets: []string{"north", ""}}, "secret 2 is empty"},
		{"too many secrets", Options{RestSecrets: many}, "17 secrets"},
		{"too many signers", Options{Signers: make([]*Signer, maxSigners+1)}, "5 signing keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Realm == "" {
				tt.o.Realm = realm
			}
			_, err := NewCredentials(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := NewCredentials(Options{}); err == nil || !strings.Contains(err.Error(), "realm") {
		t.Errorf("no realm: %v", err)
	}
	longest := strings.Repeat("a", MaxName)
	c := credentials(t, Options{Users: map[string]string{longest: "x"}})
	if _, err := (client{longest, "x"}).verify(c, start, SHA256, nil); err != nil {
		t.Errorf("a name of %d bytes: %v", MaxName, err)
	}
}

// A password must not be printed with the error that it causes.
func TestErrorsShowNoPassword(t *testing.T) {
	_, err := NewCredentials(Options{Realm: realm, Users: map[string]string{"alice": "hunter2\x01"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "alice") {
		t.Errorf("error %v", err)
	}
}
