// Package srtpv2 is the SRTP of pion/srtp/v2, as the media of a test endpoint. That major is frozen, and the server
// does not use it; peers that are pinned to it must be able to talk to the server all the same, and the tests show it.
package srtpv2

import (
	"fmt"

	"github.com/pion/srtp/v2"

	"causeway/bench/ua"
)

const (
	keyLen       = 16 // bytes of master key in every suite below; the rest of a key is its salt
	replayWindow = 128
)

var profiles = map[string]srtp.ProtectionProfile{
	ua.AES80: srtp.ProtectionProfileAes128CmHmacSha1_80,
	ua.AES32: srtp.ProtectionProfileAes128CmHmacSha1_32,
	ua.GCM:   srtp.ProtectionProfileAeadAes128Gcm,
}

type protection struct{ local, remote *srtp.Context }

// New is a ua.NewProtection. It fails on a suite that is not one of ua's and on keys that do not fit it.
func New(suite string, local, remote []byte) (ua.Protection, error) {
	profile, ok := profiles[suite]
	if !ok {
		return nil, fmt.Errorf("srtp/v2: crypto suite %q is not known", suite)
	}
	if min(len(local), len(remote)) < keyLen {
		return nil, fmt.Errorf("srtp/v2: keys of %d and %d bytes do not fit %s", len(local), len(remote), suite)
	}
	l, err := srtp.CreateContext(local[:keyLen], local[keyLen:], profile)
	if err != nil {
		return nil, fmt.Errorf("srtp/v2: local key: %w", err)
	}
	r, err := srtp.CreateContext(remote[:keyLen], remote[keyLen:], profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("srtp/v2: remote key: %w", err)
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
