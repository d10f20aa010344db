package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

const matrix = "\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9" // the user of both RFCs' vectors

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 5769 section 2.4: the key is right if it makes the message's HMAC.
func TestKeyMD5ByRFC5769(t *testing.T) {
	message := unhex(t, `00010060 2112a442 78ad3433c6ad72c029da412e
		00060012 e3839ee38388e383aae38383e382afe382b90000
		0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341
		0014000b 6578616d706c652e6f726700
		00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666`)
	key := Key(nil, MD5, matrix, "example.org", "TheMatrIX")
	mac := hmac.New(sha1.New, key)
	mac.Write(message[:len(message)-24])
	if got, want := mac.Sum(nil), message[len(message)-20:]; !bytes.Equal(got, want) {
		t.Errorf("HMAC = %x, want %x", got, want)
	}
	if len(key) != 16 {
		t.Errorf("the key has %d bytes, want 16", len(key))
	}
}

// RFC 8489 appendix B.1, which has USERHASH and the key of SHA-256.
func TestKeySHA256ByRFC8489(t *testing.T) {
	message := unhex(t, `0001009c 2112a442 78ad3433c6ad72c029da412e
		001e0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704
		00150029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000
		0014000b 6578616d706c652e6f726700
		001c0020 e4686c8f0edeb59013e07090010a93efccbccc544c0a45d9f830aa6d6f735a01`)
	key := Key(nil, SHA256, matrix, "example.org", "TheMatrIX")
	mac := hmac.New(sha256.New, key)
	mac.Write(message[:len(message)-36])
	if got, want := mac.Sum(nil), message[len(message)-32:]; !bytes.Equal(got, want) {
		t.Errorf("HMAC = %x, want %x", got, want)
	}
	hash := Userhash(matrix, "example.org")
	if want := message[24:56]; !bytes.Equal(hash[:], want) {
		t.Errorf("Userhash = %x, want %x", hash, want)
	}
	if len(key) != 32 {
		t.Errorf("the key has %d bytes, want 32", len(key))
	}
}

func TestKeyAppendsAndRefuses(t *testing.T) {
	dst := append(make([]byte, 0, 64), "in front"...)
	got := Key(dst, MD5, "a", "b", "c")
	if want := append([]byte("in front"), Key(nil, MD5, "a", "b", "c")...); !bytes.Equal(got, want) {
		t.Errorf("Key = %x, want %x", got, want)
	}
	for _, alg := range []Algorithm{0, 3, 0xffff} {
		if got := Key(dst, alg, "a", "b", "c"); !bytes.Equal(got, dst) {
			t.Errorf("algorithm %d has the key %x", alg, got)
		}
	}
}

// Appendix A of the SipHash paper.
func TestSipHash(t *testing.T) {
	var seed [16]byte
	var input []byte
	for i := range seed {
		seed[i] = byte(i)
	}
	for i := range 15 {
		input = append(input, byte(i))
	}
	if got, want := newSipKey(seed).hash(input), uint64(0xa129ca6149be45e5); got != want {
		t.Errorf("hash = %#x, want %#x", got, want)
	}
	// The first of the authors' test vectors: no input.
	if got, want := newSipKey(seed).hash(nil), uint64(0x726fdb47dd0e0e31); got != want {
		t.Errorf("hash of nothing = %#x, want %#x", got, want)
	}
}
