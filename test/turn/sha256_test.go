package turn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/pion/stun/v3"
)

// Attributes of RFC 8489 that pion's module does not name.
const (
	attrIntegritySHA256    stun.AttrType = 0x001C
	attrPasswordAlgorithm  stun.AttrType = 0x001D
	attrUserhash           stun.AttrType = 0x001E
	attrPasswordAlgorithms stun.AttrType = 0x8002
)

// Values of PASSWORD-ALGORITHM, each without parameters (RFC 8489 section 18.5).
var algorithmMD5, algorithmSHA256 = []byte{0, 1, 0, 0}, []byte{0, 2, 0, 0}

// TestSHA256Set speaks the SHA-256 set of RFC 8489, put together here from the RFC's text and the standard library,
// since no client at hand does (see TestJuice): PASSWORD-ALGORITHMS echoed, SHA-256 chosen, the user named or hashed,
// and MESSAGE-INTEGRITY-SHA256 both ways.
func TestSHA256Set(t *testing.T) {
	onlyCauseway(t)
	t.Parallel()
	s := start(t, setup{Hosts: []string{"127.0.0.1"}, StaticAlone: true})
	offered := slices.Concat(algorithmSHA256, algorithmMD5)
	hash := sha256.Sum256([]byte(user + ":" + realm))
	named, hashed := attribute(stun.AttrUsername, []byte(user)...), attribute(attrUserhash, hash[:]...)

	for _, c := range []struct {
		name       string
		who        stun.RawAttribute
		algorithms []byte // as the client says that it was offered them
		chosen     []byte
		refused    stun.ErrorCode
	}{
		{name: "by name", who: named, algorithms: offered, chosen: algorithmSHA256},
		{name: "by hash", who: hashed, algorithms: offered, chosen: algorithmSHA256},
		// MD5 makes another key, which this client does not have: the relay looks for it by what was chosen.
		{name: "key of another algorithm", who: named, algorithms: offered, chosen: algorithmMD5, refused: 401},
		// Somebody on the way took the better algorithm out of the offer (RFC 8489 section 9.2.4).
		{name: "bid down", who: named, algorithms: algorithmMD5, chosen: algorithmMD5, refused: 400},
		{name: "offer in another order", who: named, algorithms: slices.Concat(algorithmMD5, algorithmSHA256), chosen: algorithmSHA256, refused: 400},
		{name: "one that was not offered", who: named, algorithms: offered, chosen: []byte{0, 3, 0, 0}, refused: 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := dialByHand(t, s)
			if got := client.algorithms; string(got) != string(offered) {
				t.Fatalf("PASSWORD-ALGORITHMS %x, want %x", got, offered)
			}
			request, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport,
				c.who, client.realm, client.nonce, attribute(attrPasswordAlgorithms, c.algorithms...),
				attribute(attrPasswordAlgorithm, c.chosen...), integritySHA256{}, stun.Fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := client.roundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			if c.refused != 0 {
				var code stun.ErrorCodeAttribute
				if err := code.GetFrom(answer); err != nil || code.Code != c.refused {
					t.Errorf("answer %v, code %v, want %d", answer, code.Code, c.refused)
				}
				return
			}
			if answer.Type.Class != stun.ClassSuccessResponse {
				t.Fatalf("refused: %v", answer)
			}
			provenBySHA256(t, answer)
		})
	}
}

// keySHA256 is the key of the static user by SHA-256 (RFC 8489 section 18.5.1.2).
func keySHA256() []byte {
	key := sha256.Sum256([]byte(user + ":" + realm + ":" + password))
	return key[:]
}

// integritySHA256 adds MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6): an HMAC over all before it, with the length in
// the header as if the message ended with the attribute.
type integritySHA256 struct{}

func (integritySHA256) AddTo(m *stun.Message) error {
	m.WriteHeader()
	m.Add(attrIntegritySHA256, macSHA256(m.Raw))
	return nil
}

// macSHA256 computes the value of MESSAGE-INTEGRITY-SHA256 for what stands before it.
func macSHA256(before []byte) []byte {
	const attributeHeader = 4
	covered := slices.Clone(before)
	binary.BigEndian.PutUint16(covered[2:], uint16(len(before)-20+attributeHeader+sha256.Size))
	mac := hmac.New(sha256.New, keySHA256())
	mac.Write(covered)
	return mac.Sum(nil)
}

// provenBySHA256 fails the test unless a message carries the right MESSAGE-INTEGRITY-SHA256, and no other proof.
func provenBySHA256(t *testing.T, m *stun.Message) {
	t.Helper()
	if m.Contains(stun.AttrMessageIntegrity) {
		t.Errorf("MESSAGE-INTEGRITY as well: %v", m)
	}
	at := 20
	for _, a := range m.Attributes {
		if a.Type == attrIntegritySHA256 {
			if want := macSHA256(m.Raw[:at]); !hmac.Equal(a.Value, want) {
				t.Errorf("MESSAGE-INTEGRITY-SHA256 %x, want %x", a.Value, want)
			}
			return
		}
		at += 4 + (int(a.Length)+3)/4*4
	}
	t.Errorf("no MESSAGE-INTEGRITY-SHA256: %v", m)
}
