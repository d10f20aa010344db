package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names that a Signer makes: "v1.<key>.<time>.<user>.<tag>", where key is the signer's KeyID, time the Unix time
// of expiry in decimal, user the user's name in unpadded base64url, and tag the unpadded base64url of the first 16
// bytes of HMAC-SHA256 over everything in front of the tag's dot. The password is the unpadded base64url of the first
// 24 bytes of HMAC-SHA256 over the whole name with another key. A relay with the same private key can check both and
// needs no memory of whom they were given to.
const (
	signedPrefix    = "v1."
	signedFields    = 5
	keyIDBytes      = 6
	tagBytes        = 16
	passwordBytes   = 24
	maxSignedUser   = 255 // bytes, so that the name stays below MaxName
	maxSignedTime   = 12  // digits
	hkdfPurpose     = "causeway A/V authentication v1: "
	purposeID       = hkdfPurpose + "key id"
	purposeTag      = hkdfPurpose + "user name"
	purposePassword = hkdfPurpose + "password"
)

// Signer issues and checks the credentials of A/V authentication with secrets derived from the private key of the A/V
// authentication certificate, so that every server that holds the key accepts what any of them issued.
type Signer struct {
	id          string
	tagKey      []byte
	passwordKey []byte
}

// NewSigner takes a private key, RSA, ECDSA or Ed25519, in DER: PKCS #8, PKCS #1 or SEC 1. The same key makes the same
// signer in whichever form it is stored.
func NewSigner(privateKeyDER []byte) (*Signer, error) {
	material, err := keyMaterial(privateKeyDER)
	if err != nil {
		return nil, err
	}
	derive := func(purpose string, n int) []byte {
		if err != nil {
			return nil
		}
		var out []byte
		out, err = hkdf.Key(sha256.New, material, nil, purpose, n)
		return out
	}
	s := &Signer{
		id:          base64.RawURLEncoding.EncodeToString(derive(purposeID, keyIDBytes)),
		tagKey:      derive(purposeTag, sha256.Size),
		passwordKey: derive(purposePassword, sha256.Size),
	}
	if err != nil {
		return nil, fmt.Errorf("derive secrets from the private key: %w", err)
	}
	return s, nil
}

// KeyID names the key without giving anything of it away. It is part of every name that the signer issues.
func (s *Signer) KeyID() string { return s.id }

// String keeps the secrets out of whatever is printed.
func (s *Signer) String() string { return "signer " + s.id }

// GoString is String.
func (s *Signer) GoString() string { return s.String() }

// Issue makes the credential of a user, good from now for lifetime, of which the end is cut to a whole second. It
// fails for an empty user, one of more than 255 bytes, one that RFC 8265 does not allow, and for a lifetime of less
// than a second.
func (s *Signer) Issue(now time.Time, user string, lifetime time.Duration) (Credential, error) {
	if err := opaque(user); err != nil {
		return Credential{}, fmt.Errorf("user %q %w", user, err)
	}
	if len(user) > maxSignedUser {
		return Credential{}, fmt.Errorf("user is longer than %d bytes", maxSignedUser)
	}
	if lifetime < time.Second {
		return Credential{}, fmt.Errorf("lifetime %v is less than a second", lifetime)
	}
	expires := now.Add(lifetime).Unix()
	name := signedPrefix + s.id + "." + strconv.FormatInt(expires, 10) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(user))
	name += "." + s.tag(name)
	return Credential{Username: name, Password: s.password(name), Expires: time.Unix(expires, 0)}, nil
}

// isSigned reports whether a name claims to be one of a Signer's.
func isSigned(name []byte) bool { return bytes.HasPrefix(name, []byte(signedPrefix)) }

// open reads a name that this signer issued, and refuses every other.
func (s *Signer) open(name string) (user string, expires time.Time, ok bool) {
	fields := strings.SplitN(name, ".", signedFields+1)
	if len(fields) != signedFields || fields[1] != s.id {
		return "", time.Time{}, false
	}
	tag := fields[4]
	want := s.tag(name[:len(name)-len(tag)-1])
	// The text is compared, not the bytes: base64 has several texts for some bytes.
	if subtle.ConstantTimeCompare([]byte(tag), []byte(want)) != 1 {
		return "", time.Time{}, false
	}
	// From here on the name is one that Issue wrote, unless the key is shared with something else.
	seconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || seconds < 0 || len(fields[2]) > maxSignedTime {
		return "", time.Time{}, false
	}
	who, err := base64.RawURLEncoding.Strict().DecodeString(fields[3])
	if err != nil || len(who) == 0 {
		return "", time.Time{}, false
	}
	return string(who), time.Unix(seconds, 0), true
}

func (s *Signer) tag(text string) string {
	return base64.RawURLEncoding.EncodeToString(mac(s.tagKey, text)[:tagBytes])
}

func (s *Signer) password(name string) string {
	return base64.RawURLEncoding.EncodeToString(mac(s.passwordKey, name)[:passwordBytes])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// keyMaterial is what identifies a private key, the same for each of its encodings and for each version of the
// libraries that write them: encodings differ in what they add (public keys, exponents, coefficients).
func keyMaterial(der []byte) ([]byte, error) {
	parsed, err := parsePrivateKey(der)
	if err != nil {
		return nil, err
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		primes := slices.Clone(k.Primes)
		slices.SortFunc(primes, (*big.Int).Cmp)
		parts := [][]byte{[]byte("rsa"), k.N.Bytes()}
		for _, p := range primes {
			parts = append(parts, p.Bytes())
		}
		return join(parts...), nil
	case *ecdsa.PrivateKey:
		d, err := k.Bytes()
		if err != nil {
			return nil, fmt.Errorf("ECDSA private key: %w", err)
		}
		return join([]byte("ecdsa"), []byte(k.Curve.Params().Name), d), nil
	case ed25519.PrivateKey:
		return join([]byte("ed25519"), k.Seed()), nil
	default:
		return nil, fmt.Errorf("private keys of type %T can't sign a certificate's requests; use RSA, ECDSA or Ed25519", parsed)
	}
}

func parsePrivateKey(der []byte) (any, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, errors.New("not a private key in PKCS #8, PKCS #1 or SEC 1 form")
}

// join puts a length in front of each part, so that no two lists of parts give the same bytes.
func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}
