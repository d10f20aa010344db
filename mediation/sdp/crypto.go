package sdp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Crypto is one a=crypto attribute (RFC 4568 9.1).
type Crypto struct {
	Tag   int
	Suite string // crypto-suite name, e.g. AES_CM_128_HMAC_SHA1_80
	Key   []byte // master key followed by master salt
}

// ErrCrypto is in the chain of every error about an a=crypto attribute.
var ErrCrypto = errors.New("unusable a=crypto")

// parseCrypto reads the value of an a=crypto attribute. Session parameters
// that would weaken the stream, or that this build does not follow, make the
// line unusable, as RFC 4568 6.3 and 9.1 ask: it must not be accepted without them.
func parseCrypto(value string) (Crypto, error) {
	fields := strings.Fields(value)
	if len(fields) < 3 {
		return Crypto{}, fmt.Errorf("%w: needs tag, suite and key", ErrCrypto)
	}
	tag, err := strconv.Atoi(fields[0])
	if err != nil || tag < 1 || tag > 999999999 {
		return Crypto{}, fmt.Errorf("%w: tag %q", ErrCrypto, fields[0])
	}
	if strings.Contains(fields[2], ";") {
		return Crypto{}, fmt.Errorf("%w: more than one master key", ErrCrypto)
	}
	method, info, ok := strings.Cut(fields[2], ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return Crypto{}, fmt.Errorf("%w: key method is not inline", ErrCrypto)
	}
	parts := strings.Split(info, "|")
	for _, p := range parts[1:] {
		if strings.Contains(p, ":") {
			return Crypto{}, fmt.Errorf("%w: master key identifiers are not served", ErrCrypto)
		}
	}
	for _, param := range fields[3:] {
		if name, _, _ := strings.Cut(param, "="); !strings.EqualFold(name, "WSH") {
			return Crypto{}, fmt.Errorf("%w: session parameter %s", ErrCrypto, name)
		}
	}
	key, err := decodeKey(parts[0])
	if err != nil {
		return Crypto{}, fmt.Errorf("%w: key is not base64", ErrCrypto)
	}
	return Crypto{Tag: tag, Suite: fields[1], Key: key}, nil
}

// decodeKey takes base64 with its padding, and without, as some peers write it.
func decodeKey(s string) ([]byte, error) {
	if key, err := base64.StdEncoding.DecodeString(s); err == nil {
		return key, nil
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// String is the attribute's value.
func (c Crypto) String() string {
	return fmt.Sprintf("%d %s inline:%s", c.Tag, c.Suite, base64.StdEncoding.EncodeToString(c.Key))
}
