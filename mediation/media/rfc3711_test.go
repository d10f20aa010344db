package media

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"math/big"
)

// sessionKeys are what one direction's packets, RTP or RTCP, are protected with by
// the slow twin of the cryptographic library: RFC 3711, RFC 6188 and RFC 7714 word
// by word, with big integers, a block at a time.
type sessionKeys struct {
	cipher, salt, auth []byte
}

// derive is RFC 3711 section 4.3, with a key derivation rate of 0, for the three
// labels that begin at first: 0 for SRTP and 3 for SRTCP.
func derive(p Profile, master []byte, first byte) sessionKeys {
	s := &suites[p]
	key, salt := master[:s.key], master[s.key:]
	return sessionKeys{
		cipher: pseudoRandom(key, salt, first, s.key),
		auth:   pseudoRandom(key, salt, first+1, sha1.Size),
		salt:   pseudoRandom(key, salt, first+2, s.salt),
	}
}

// pseudoRandom is section 4.3.3: the key stream of AES-CM for x * 2^16, where x is
// label * 2^48 added, bit by bit, to a salt of 112 bits. A salt of 96 bits is that
// with 16 zero bits behind it (RFC 7714 section 11).
func pseudoRandom(key, salt []byte, label byte, n int) []byte {
	x := new(big.Int).SetBytes(append(append([]byte(nil), salt...), 0, 0)[:14])
	x.Xor(x, new(big.Int).Lsh(big.NewInt(int64(label)), 48))
	return keyStream(key, x.Lsh(x, 16), n)
}

// keyStream is section 4.1.1: E(k, IV) || E(k, IV+1 mod 2^128) || ...
func keyStream(key []byte, iv *big.Int, n int) (out []byte) {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	for counter := new(big.Int).Set(iv); len(out) < n; counter.Add(counter, big.NewInt(1)) {
		var b [16]byte
		counter.FillBytes(b[:])
		block.Encrypt(b[:], b[:])
		out = append(out, b[:]...)
	}
	return out[:n]
}

// counterMode encrypts, or decrypts, by section 4.1.1: IV = (k_s * 2^16) XOR (SSRC *
// 2^64) XOR (i * 2^16).
func (k *sessionKeys) counterMode(text []byte, ssrc uint32, index uint64) []byte {
	iv := new(big.Int).SetBytes(k.salt)
	iv.Lsh(iv, 16)
	iv.Xor(iv, new(big.Int).Lsh(big.NewInt(int64(ssrc)), 64))
	iv.Xor(iv, new(big.Int).Lsh(new(big.Int).SetUint64(index), 16))
	out := keyStream(k.cipher, iv, len(text))
	for i := range out {
		out[i] ^= text[i]
	}
	return out
}

// tag is section 4.2.1.
func (k *sessionKeys) tag(n int, parts ...[]byte) []byte {
	mac := hmac.New(sha1.New, k.auth)
	for _, b := range parts {
		mac.Write(b)
	}
	return mac.Sum(nil)[:n]
}

// galois is AES-GCM with the IV of RFC 7714 section 8.1 or 9.1: the salt XOR two zero
// bytes, the SSRC and 48 bits of index.
func (k *sessionKeys) galois(text, associated []byte, ssrc uint32, index uint64) []byte {
	block, err := aes.NewCipher(k.cipher)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	iv := new(big.Int).Lsh(big.NewInt(int64(ssrc)), 48)
	iv.Xor(iv, new(big.Int).SetUint64(index))
	iv.Xor(iv, new(big.Int).SetBytes(k.salt))
	return gcm.Seal(nil, iv.FillBytes(make([]byte, 12)), text, associated)
}

// protectRTP makes the SRTP packet of an index: rollover counter and sequence number.
// length is the header's; associated data is the header, or with tagOnly everything.
func (k *sessionKeys) protectRTP(p Profile, b []byte, length int, index uint64, mki []byte, tagOnly bool) []byte {
	ssrc, header, payload := binary.BigEndian.Uint32(b[8:]), b[:length], b[length:]
	if p.aead() {
		if tagOnly {
			header, payload = b, nil
		}
		return concat(header, k.galois(payload, header, ssrc, index), mki)
	}
	sealed := concat(header, k.counterMode(payload, ssrc, index))
	rollover := binary.BigEndian.AppendUint32(nil, uint32(index>>16))
	return concat(sealed, mki, k.tag(suites[p].rtpTag, sealed, rollover))
}

// protectRTCP makes the SRTCP packet of an index (RFC 3711 section 3.4, RFC 7714
// section 9).
func (k *sessionKeys) protectRTCP(p Profile, b []byte, index uint32, mki []byte, tagOnly bool) []byte {
	ssrc, header, payload := binary.BigEndian.Uint32(b[4:]), b[:8], b[8:]
	word := binary.BigEndian.AppendUint32(nil, index|1<<31) // E and index
	if p.aead() {
		if tagOnly {
			word = binary.BigEndian.AppendUint32(nil, index)
			return concat(b, k.galois(nil, concat(b, word), ssrc, uint64(index)), word, mki)
		}
		return concat(header, k.galois(payload, concat(header, word), ssrc, uint64(index)), word, mki)
	}
	sealed := concat(header, k.counterMode(payload, ssrc, uint64(index)), word)
	return concat(sealed, mki, k.tag(10, sealed))
}

func (p Profile) aead() bool { return p == AES128_GCM || p == AES256_GCM }

func concat(parts ...[]byte) (out []byte) {
	for _, b := range parts {
		out = append(out, b...)
	}
	return out
}
