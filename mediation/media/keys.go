package media

import (
	"crypto/subtle"
	"fmt"

	"github.com/pion/srtp/v3"
)

// Profile is an SRTP crypto suite. The zero value is none.
type Profile uint8

// The suites, by the names that SDES gives them (RFC 4568 section 6.2, RFC 6188
// section 4, RFC 7714 section 14.2).
const (
	AES128_CM_80 Profile = iota + 1 // AES_CM_128_HMAC_SHA1_80
	AES128_CM_32                    // AES_CM_128_HMAC_SHA1_32; its RTCP still carries 80-bit tags
	AES128_GCM                      // AEAD_AES_128_GCM
	AES256_GCM                      // AEAD_AES_256_GCM
	AES256_CM_80                    // AES_256_CM_HMAC_SHA1_80
)

// suites has one row a profile. What protecting adds to a packet has, for RTCP, the
// index on top. The trailer is the part of it that stands behind the master key
// identifier: RFC 3711 section 3.1 has the tag there, RFC 7714 sections 8.2 and 9.2
// count the tag to the ciphertext before it.
var suites = [...]struct {
	name        string
	pion        srtp.ProtectionProfile
	key         int // master key, in bytes
	salt        int // master salt, in bytes
	rtpTag      int // of an RTP packet, in bytes
	rtcpTag     int // of an RTCP packet, in bytes: 80 bits even where RTP has 32 (RFC 4568 section 6.2)
	rtpTrailer  int // in bytes
	rtcpTrailer int // in bytes
}{
	AES128_CM_80: {"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14, 10, 10, 10, 10},
	AES128_CM_32: {"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14, 4, 10, 4, 10},
	AES128_GCM:   {"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12, 16, 16, 0, 0},
	AES256_GCM:   {"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12, 16, 16, 0, 0},
	AES256_CM_80: {"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14, 10, 10, 10, 10},
}

// aliases are names that some peers have for a suite: those of drafts before RFC
// 6188.
var aliases = map[string]Profile{"AES_CM_256_HMAC_SHA1_80": AES256_CM_80}

// MaxMKI is the longest master key identifier, in bytes (RFC 4568 section 6.1).
const MaxMKI = 128

func (p Profile) valid() bool { return p >= AES128_CM_80 && int(p) < len(suites) }

// KeyLen returns the length in bytes of master key and master salt together,
// which is the length of an SDES inline key; 0 for an unknown profile.
func (p Profile) KeyLen() int {
	if !p.valid() {
		return 0
	}
	return suites[p].key + suites[p].salt
}

// String returns the SDES crypto suite's name, or "" for an unknown profile.
func (p Profile) String() string {
	if !p.valid() {
		return ""
	}
	return suites[p].name
}

// ParseProfile finds a profile by its SDES crypto suite name, or by another that is
// in use for it. Names are compared exactly, as RFC 4568 section 9.2 has them in
// upper case.
func ParseProfile(suite string) (Profile, bool) {
	for p := AES128_CM_80; p.valid(); p++ {
		if suites[p].name == suite {
			return p, true
		}
	}
	p, ok := aliases[suite]
	return p, ok
}

// SRTP holds the keys of one leg. Both keys are a master key followed by its
// master salt, [Profile.KeyLen] bytes together. [Bridge.Set] copies them and
// wipes its copies when the leg gets other keys or the bridge closes.
type SRTP struct {
	Profile Profile
	Local   []byte // protects what we send
	Remote  []byte // opens what the peer sends

	// The master key identifiers that packets carry (RFC 3711 section 3.1), as
	// they stand there, up to [MaxMKI] bytes; empty for packets that carry none.
	// What comes without RemoteMKI is dropped.
	LocalMKI, RemoteMKI []byte

	// RemoteLifetime is how many packets of RTP, and how many of RTCP, the peer may
	// protect with its key (RFC 4568 section 6.1); 0 when it didn't say. What comes
	// after is dropped, until there is another key.
	RemoteLifetime uint64
}

func (s *SRTP) check() error {
	if !s.Profile.valid() {
		return fmt.Errorf("%w: unknown profile %d", ErrKey, s.Profile)
	}
	want := s.Profile.KeyLen()
	if len(s.Local) != want || len(s.Remote) != want {
		return fmt.Errorf("%w: %s takes %d bytes, got %d (local) and %d (remote)",
			ErrKey, s.Profile, want, len(s.Local), len(s.Remote))
	}
	if max(len(s.LocalMKI), len(s.RemoteMKI)) > MaxMKI {
		return fmt.Errorf("%w: a master key identifier has up to %d bytes, got %d (local) and %d (remote)",
			ErrKey, MaxMKI, len(s.LocalMKI), len(s.RemoteMKI))
	}
	// One key for both directions would let the two ends' streams share a key
	// stream when their SSRCs meet (RFC 3711 section 9.1), and would let anybody
	// send our own packets back at us.
	if subtle.ConstantTimeCompare(s.Local, s.Remote) == 1 {
		return fmt.Errorf("%w: local and remote keys are the same", ErrKey)
	}
	return nil
}
