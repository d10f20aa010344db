package auth

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest user name in bytes: USERNAME holds fewer than 509 (RFC 8489 section 14.3).
const MaxName = 508

// Why a text can't be a user name, a realm or a password.
var (
	errEmpty   = errors.New("is empty")
	errTooLong = errors.New("is longer than 508 bytes")
	errUTF8    = errors.New("is not valid UTF-8")
	errControl = errors.New("has a control character")
	errSpace   = errors.New("has a space other than U+0020")
)

// opaque reports why s is not in the form that the OpaqueString profile prepares (RFC 8265 section 4.2), as far as
// that shows without tables of normalization.
func opaque(s string) error {
	if s == "" {
		return errEmpty
	}
	if !utf8.ValidString(s) {
		return errUTF8
	}
	for _, r := range s {
		switch {
		case unicode.IsControl(r):
			return errControl
		case r != ' ' && unicode.Is(unicode.Zs, r):
			return errSpace
		}
	}
	return nil
}

// opaqueName is opaque for a user name.
func opaqueName(s string) error {
	if len(s) > MaxName {
		return errTooLong
	}
	return opaque(s)
}
