package ua

import (
	"fmt"

	"github.com/pion/srtp/v3"
)

// Crypto suites (RFC 4568 section 6.2, RFC 7714 section 14.2) that an endpoint can offer and answer.
const (
	AES80 = "AES_CM_128_HMAC_SHA1_80"
	AES32 = "AES_CM_128_HMAC_SHA1_32"
	GCM   = "AEAD_AES_128_GCM"
)

// keyLen is the length of a suite's master key and salt together in bytes, 0 for a suite that is not known.
func keyLen(suite string) int {
	switch suite {
	case AES80, AES32:
		return 16 + 14
	case GCM:
		return 16 + 12
	}
	return 0
}

// Protection is the SRTP of one call: one master key for what is sent and one for what is received.
//
// Each method returns its result, in dst's memory where that is large enough; dst and packet may not overlap. The
// Unprotect methods fail on a packet that is not authentic or was there before. Protect methods are called by one
// goroutine at a time, and so are Unprotect methods.
type Protection interface {
	ProtectRTP(dst, packet []byte) ([]byte, error)
	ProtectRTCP(dst, packet []byte) ([]byte, error)
	UnprotectRTP(dst, packet []byte) ([]byte, error)
	UnprotectRTCP(dst, packet []byte) ([]byte, error)
}

// NewProtection makes the Protection of a call from its crypto suite and its two keys, each a master key followed by
// its salt.
type NewProtection func(suite string, local, remote []byte) (Protection, error)

// replayWindow is how many packets of a stream are told from repeated ones, in both RTP and RTCP.
const replayWindow = 128

type protection struct{ local, remote *srtp.Context }

// newProtection is the Protection of pion/srtp v3.
func newProtection(suite string, local, remote []byte) (Protection, error) {
	var profile srtp.ProtectionProfile
	switch suite {
	case AES80:
		profile = srtp.ProtectionProfileAes128CmHmacSha1_80
	case AES32:
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	case GCM:
		profile = srtp.ProtectionProfileAeadAes128Gcm
	default:
		return nil, fmt.Errorf("crypto suite %q is not known", suite)
	}
	const key = 16 // bytes, in every suite above
	if len(local) != keyLen(suite) || len(remote) != keyLen(suite) {
		return nil, fmt.Errorf("keys of %d and %d bytes do not fit %s", len(local), len(remote), suite)
	}
	l, err := srtp.CreateContext(local[:key], local[key:], profile)
	if err != nil {
		return nil, fmt.Errorf("local key: %w", err)
	}
	r, err := srtp.CreateContext(remote[:key], remote[key:], profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("remote key: %w", err)
	}
	return &protection{l, r}, nil
}

func (p *protection) ProtectRTP(dst, packet []byte) ([]byte, error) {
	return p.local.EncryptRTP(dst, packet, nil)
}

func (p *protection) ProtectRTCP(dst, packet []byte) ([]byte, error) {
	return p.local.EncryptRTCP(dst, packet, nil)
}

func (p *protection) UnprotectRTP(dst, packet []byte) ([]byte, error) {
	return p.remote.DecryptRTP(dst, packet, nil)
}

func (p *protection) UnprotectRTCP(dst, packet []byte) ([]byte, error) {
	return p.remote.DecryptRTCP(dst, packet, nil)
}

// plain is the Protection of plain RTP.
type plain struct{}

func (plain) ProtectRTP(dst, packet []byte) ([]byte, error)   { return append(dst[:0], packet...), nil }
func (plain) ProtectRTCP(dst, packet []byte) ([]byte, error)  { return append(dst[:0], packet...), nil }
func (plain) UnprotectRTP(dst, packet []byte) ([]byte, error) { return append(dst[:0], packet...), nil }
func (plain) UnprotectRTCP(dst, packet []byte) ([]byte, error) {
	return append(dst[:0], packet...), nil
}
