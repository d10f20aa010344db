package media

import (
	"crypto/subtle"
	"fmt"

	"github.com/pion/srtp/v3"
)

// Profile is an SRTP crypto suite. The zero value is none.
type Profile uint8

// The suites, by the names that SDES gives them (RFC 4568 section 6.2, RFC 7714
// section 14.2).
const (
	AES128_CM_80 Profile = iota + 1 // AES_CM_128_HMAC_SHA1_80
	AES128_CM_32                    // AES_CM_128_HMAC_SHA1_32; its RTCP still carries 80-bit tags
	AES128_GCM                      // AEAD_AES_128_GCM
)

// suites has one row a profile.
var suites = [...]struct {
	name   string
	pion   srtp.ProtectionProfile
	key    int // master key, in bytes
	salt   int // master salt, in bytes
	rtpTag int // what protecting adds to an RTP packet, in bytes
}{
	AES128_CM_80: {"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14, 10},
	AES128_CM_32: {"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14, 4},
	AES128_GCM:   {"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12, 16},
}

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

// ParseProfile finds a profile by its SDES crypto suite name. Names are compared
// exactly, as RFC 4568 section 9.2 has them in upper case.
func ParseProfile(suite string) (Profile, bool) {
	for p := AES128_CM_80; p.valid(); p++ {
		if suites[p].name == suite {
			return p, true
		}
	}
	return 0, false
}

// SRTP holds the keys of one leg. Both keys are a master key followed by its
// master salt, [Profile.KeyLen] bytes together. [Bridge.Set] copies them and
// wipes its copies when the leg gets other keys or the bridge closes.
type SRTP struct {
	Profile Profile
	Local   []byte // protects what we send
	Remote  []byte // opens what the peer sends
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
	// One key for both directions would let the two ends' streams share a key
	// stream when their SSRCs meet (RFC 3711 section 9.1), and would let anybody
	// send our own packets back at us.
	if subtle.ConstantTimeCompare(s.Local, s.Remote) == 1 {
		return fmt.Errorf("%w: local and remote keys are the same", ErrKey)
	}
	return nil
}
