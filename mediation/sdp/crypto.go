package sdp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Crypto is one a=crypto attribute (RFC 4568 9.1) with one inline key.
type Crypto struct {
	Tag   int
	Suite string // crypto-suite name as written, e.g. AES_CM_128_HMAC_SHA1_80
	Key   []byte // master key followed by master salt
	// MKI is the key's identifier as packets carry it, 1 to 128 bytes; nil when
	// they carry none.
	MKI []byte
	// Lifetime is how many SRTP, and how many SRTCP packets the key may protect;
	// 0 when not given.
	Lifetime uint64
}

// ErrCrypto is in the chain of every error about an a=crypto attribute.
var ErrCrypto = errors.New("unusable a=crypto")

const (
	maxTag      = 999999999 // nine digits
	maxMKI      = 128       // bytes (RFC 4568 6.1)
	maxLifetime = 1 << 48   // packets (RFC 3711 9.2)
	minWSH      = 64        // packets (RFC 4568 6.3.6)
)

// parseCrypto reads the value of an a=crypto attribute. Session parameters
// that would weaken the stream, or that this build does not follow, make the
// line unusable, as RFC 4568 6.3 and 9.1 ask: it must not be accepted without them.
func parseCrypto(value string) (Crypto, error) {
	fields := strings.Fields(value)
	if len(fields) < 3 {
		return Crypto{}, cryptof("needs tag, suite and key")
	}
	c := Crypto{Suite: fields[1]}
	tag, ok := number(fields[0], maxTag)
	if !ok || tag == 0 {
		return Crypto{}, cryptof("tag %q", fields[0])
	}
	c.Tag = int(tag)
	if !suiteName(c.Suite) {
		return Crypto{}, cryptof("suite %q", c.Suite)
	}
	if err := c.setKey(fields[2]); err != nil {
		return Crypto{}, err
	}
	return c, checkSession(fields[3:])
}

func cryptof(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCrypto, fmt.Sprintf(format, args...))
}

func suiteName(s string) bool {
	for i := range len(s) {
		if b := s[i] | 0x20; (b < 'a' || b > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '_' {
			return false
		}
	}
	return true
}

// setKey takes key-params: inline:key|lifetime|mki:length, the last two of which
// may be missing (RFC 4568 6.1). Errors never show the key.
func (c *Crypto) setKey(params string) error {
	if strings.Contains(params, ";") {
		return cryptof("more than one master key")
	}
	method, info, ok := strings.Cut(params, ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return cryptof("key method is not inline")
	}
	parts := strings.Split(info, "|")
	key, err := decodeKey(parts[0])
	if err != nil || len(key) == 0 {
		return cryptof("key is not base64")
	}
	c.Key, parts = key, parts[1:]
	if len(parts) > 0 && !strings.Contains(parts[0], ":") {
		if c.Lifetime, ok = lifetime(parts[0]); !ok {
			return cryptof("lifetime %q", parts[0])
		}
		parts = parts[1:]
	}
	if len(parts) > 0 {
		if c.MKI, ok = identifier(parts[0]); !ok {
			return cryptof("master key identifier %q", parts[0])
		}
		parts = parts[1:]
	}
	if len(parts) > 0 {
		return cryptof("more than key, lifetime and master key identifier")
	}
	return nil
}

// decodeKey takes base64 with its padding, and without, as some peers write it.
func decodeKey(s string) ([]byte, error) {
	if key, err := base64.StdEncoding.DecodeString(s); err == nil {
		return key, nil
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// lifetime reads a number of packets, or a power of two as 2^20.
func lifetime(s string) (uint64, bool) {
	if power, ok := strings.CutPrefix(s, "2^"); ok {
		n, ok := number(power, 48)
		return 1 << n, ok
	}
	n, ok := number(s, maxLifetime)
	return n, ok && n > 0
}

// identifier reads value:length and writes the value as packets carry it, in so
// many bytes of network order.
func identifier(s string) ([]byte, bool) {
	value, length, _ := strings.Cut(s, ":")
	n, ok := number(length, maxMKI)
	if !ok || n == 0 || len(length) > 3 || len(value) > 3*maxMKI || !digits(value) {
		return nil, false
	}
	v, _ := new(big.Int).SetString(value, 10)
	if v.BitLen() > 8*int(n) {
		return nil, false
	}
	return v.FillBytes(make([]byte, n)), true
}

// checkSession checks the session parameters, each of which may stand once. KDR=0 is
// the default, said aloud (RFC 4568 6.3.1); WSH is the sender's hint for a replay
// window, and ours is fixed (6.3.6); what is marked with "-" may be ignored by who
// doesn't know it (6.3.7). Nothing else can be accepted: UNENCRYPTED_SRTP,
// UNENCRYPTED_SRTCP and UNAUTHENTICATED_SRTP take the protection away, and keys that
// change by a rate, FEC_ORDER and FEC_KEY are not served.
func checkSession(params []string) error {
	seen := map[string]bool{}
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		name = strings.ToUpper(name)
		if seen[name] {
			return cryptof("session parameter %s stands twice", name)
		}
		seen[name] = true
		n, numeric := number(value, 1<<16)
		switch {
		case name == "KDR" && numeric && n == 0:
		case name == "WSH" && numeric && n >= minWSH:
		case len(name) > 1 && name[0] == '-' && !known(name[1:]):
		default:
			return cryptof("session parameter %s", name) // FEC_KEY has a key in its value
		}
	}
	return nil
}

// known says whether a name is one of RFC 4568's, which have no "-".
func known(name string) bool {
	switch name {
	case "KDR", "WSH", "UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "FEC_ORDER", "FEC_KEY":
		return true
	}
	return false
}

// number reads digits up to a limit.
func number(s string, limit uint64) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= limit && digits(s)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String is the attribute's value.
func (c Crypto) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s inline:%s", c.Tag, c.Suite, base64.StdEncoding.EncodeToString(c.Key))
	if c.Lifetime > 0 {
		fmt.Fprintf(&b, "|%d", c.Lifetime)
	}
	if len(c.MKI) > 0 {
		fmt.Fprintf(&b, "|%d:%d", new(big.Int).SetBytes(c.MKI), len(c.MKI))
	}
	return b.String()
}
