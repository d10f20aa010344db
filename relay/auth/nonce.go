package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"
)

// A nonce is 32 characters, a multiple of 4 so that none is wasted on padding: the nonce cookie and the security
// features (RFC 8489 section 9.2), then 14 bytes in base64:
//
//	0  4  Unix time of issue, low 32 bits
//	4  8  HMAC-SHA256 over features, time and the client's address: who has it receives at that address
//	12 2  SipHash over features and time: ours, whomever it was given to
//
// The last two bytes prove nothing that anything depends on; they tell a client that moved from somebody who guesses.
const (
	nonceCookie = "obMatJos2"
	featuresAt  = len(nonceCookie)
	featuresLen = 4 // base64 of 24 bits
	sealedAt    = featuresAt + featuresLen
	sealedBytes = 14
	timeBytes   = 4
	macBytes    = 8
	markAt      = timeBytes + macBytes
	// Bit 0 of the set is its least significant, as RFC 8489 appendix B.1 has it and its errata settle; section 9.2 alone
	// could be read the other way.
	featurePassalg = 0x01 // bit 0 (RFC 8489 section 18.1)
	featureAnon    = 0x02 // bit 1
	nonceSkew      = 30   // seconds that the clocks of an array may differ
)

// NonceSize is the length of a nonce in bytes.
const NonceSize = sealedAt + (sealedBytes*8+5)/6

// sealedText is base64 in which each value has one text.
var sealedText = base64.RawStdEncoding.Strict()

// Freshness is what a nonce turned out to be.
type Freshness uint8

// Fresh nonces alone are accepted. Both others are answered with 438 and a new nonce: a client whose NAT gave it
// another port has done nothing wrong.
const (
	Fresh  Freshness = iota
	Stale            // made here, or by a server with the same secret, but too old or for another address
	Forged           // not made here
)

func (f Freshness) String() string {
	switch f {
	case Fresh:
		return "fresh"
	case Stale:
		return "stale"
	case Forged:
		return "forged"
	default:
		return "unknown"
	}
}

// Nonces makes and checks nonces and remembers none.
type Nonces struct {
	inner, outer [sha256.BlockSize]byte // the key of HMAC (RFC 2104), padded
	mark         sipKey
	lifetime     int32 // seconds
	features     [3]byte
}

// NewNonces makes nonces that are good for lifetime, of which whole seconds count. The secret should have 16 random
// bytes or more; servers that share it accept each other's nonces. algorithms and userhash are the security features
// that nonces announce: password algorithms and user name anonymity.
func NewNonces(secret []byte, lifetime time.Duration, algorithms, userhash bool) *Nonces {
	n := &Nonces{lifetime: int32(min(lifetime/time.Second, 1<<30))}
	if algorithms {
		n.features[2] |= featurePassalg
	}
	if userhash {
		n.features[2] |= featureAnon
	}
	key := mac(secret, "causeway nonce v1: address")
	copy(n.inner[:], key)
	copy(n.outer[:], key)
	for i := range n.inner {
		n.inner[i] ^= 0x36
		n.outer[i] ^= 0x5c
	}
	n.mark = newSipKey([16]byte(mac(secret, "causeway nonce v1: origin")))
	return n
}

// Append appends the nonce of a client to dst, which needs room for [NonceSize] bytes to stay where it is. The port is
// 0 for clients whose requests may come from several.
func (n *Nonces) Append(dst []byte, now time.Time, client netip.AddrPort) []byte {
	var sealed [sealedBytes]byte
	binary.BigEndian.PutUint32(sealed[:], uint32(now.Unix()))
	n.seal(&sealed, n.features, client)
	dst = append(dst, nonceCookie...)
	dst = sealedText.AppendEncode(dst, n.features[:])
	return sealedText.AppendEncode(dst, sealed[:])
}

// Check reads a nonce that a client at this address sent.
func (n *Nonces) Check(nonce []byte, now time.Time, client netip.AddrPort) Freshness {
	features, ok := nonceFeatures(nonce)
	var got, want [sealedBytes + 1]byte // a byte more than decoding fills
	if !ok {
		return Forged
	}
	if k, err := sealedText.Decode(got[:], nonce[sealedAt:]); err != nil || k != sealedBytes {
		return Forged
	}
	copy(want[:], got[:timeBytes])
	n.seal((*[sealedBytes]byte)(want[:]), features, client)
	if subtle.ConstantTimeCompare(got[markAt:], want[markAt:]) != 1 {
		return Forged
	}
	if subtle.ConstantTimeCompare(got[:markAt], want[:markAt]) != 1 {
		return Stale
	}
	// The difference of the low 32 bits is right past 2106.
	age := int32(uint32(now.Unix()) - binary.BigEndian.Uint32(got[:]))
	if age >= n.lifetime || age < -nonceSkew {
		return Stale
	}
	return Fresh
}

// Algorithms reports whether a nonce announced password algorithms to the client: then a request without them was
// tampered with, or comes from a client that does not know them (RFC 8489 section 9.2.4). Only a nonce that Check
// finds fresh says so with authority.
func (n *Nonces) Algorithms(nonce []byte) bool {
	features, ok := nonceFeatures(nonce)
	return ok && features[2]&featurePassalg != 0
}

// nonceFeatures reads the security features of something that has the form of a nonce.
func nonceFeatures(nonce []byte) (features [3]byte, ok bool) {
	if len(nonce) != NonceSize || string(nonce[:featuresAt]) != nonceCookie {
		return features, false
	}
	k, err := sealedText.Decode(features[:], nonce[featuresAt:sealedAt])
	return features, err == nil && k == len(features)
}

// seal fills in what follows the time.
func (n *Nonces) seal(sealed *[sealedBytes]byte, features [3]byte, client netip.AddrPort) {
	// HMAC written out over blocks on the stack: crypto/hmac allocates, and this answers floods.
	const textLen = 3 + timeBytes + 16 + 2
	var block [sha256.BlockSize + textLen]byte
	copy(block[:], n.inner[:])
	text := block[sha256.BlockSize:]
	copy(text, features[:])
	copy(text[3:], sealed[:timeBytes])
	addr := client.Addr().As16()
	copy(text[3+timeBytes:], addr[:])
	binary.BigEndian.PutUint16(text[3+timeBytes+16:], client.Port())
	sum := sha256.Sum256(block[:])

	var finish [sha256.BlockSize + sha256.Size]byte
	copy(finish[:], n.outer[:])
	copy(finish[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(finish[:])
	copy(sealed[timeBytes:markAt], sum[:macBytes])

	binary.BigEndian.PutUint16(sealed[markAt:], uint16(n.mark.hash(text[:3+timeBytes])))
}
