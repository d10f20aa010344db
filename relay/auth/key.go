package auth

import (
	"crypto/md5" // RFC 8489 section 18.5.1.1: clients of RFC 5389 know no other
	"crypto/sha256"
)

// Algorithm is a password algorithm: how the key of a long-term credential is made from it.
type Algorithm uint16

// The algorithms of RFC 8489 section 18.5.
const (
	MD5    Algorithm = 1
	SHA256 Algorithm = 2
)

// UserhashSize is the length of USERHASH in bytes (RFC 8489 section 14.4).
const UserhashSize = sha256.Size

// Key appends the key of a long-term credential to dst: the hash of user, realm and password with colons between
// them, 16 bytes for [MD5] and 32 for [SHA256] (RFC 8489 sections 9.2.2 and 18.5.1). An unknown algorithm has no key:
// dst is returned as it was.
func Key(dst []byte, alg Algorithm, user, realm, password string) []byte {
	text := make([]byte, 0, len(user)+len(realm)+len(password)+2)
	text = append(append(append(text, user...), ':'), realm...)
	text = append(append(text, ':'), password...)
	switch alg {
	case MD5:
		sum := md5.Sum(text)
		return append(dst, sum[:]...)
	case SHA256:
		sum := sha256.Sum256(text)
		return append(dst, sum[:]...)
	default:
		return dst
	}
}

// Userhash is what a client sends instead of its name, when it may: a hash of name and realm (RFC 8489 section 14.4).
func Userhash(user, realm string) [UserhashSize]byte {
	return sha256.Sum256([]byte(user + ":" + realm))
}
