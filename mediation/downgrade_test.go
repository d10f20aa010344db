package mediation

import (
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
)

// TestNoDowngradeAfterEarlyMedia: SRTP that a 183 agreed is not given up by a
// 200 without a=crypto, whatever the policy (RFC 8643 allows plain RTP only
// where nothing was agreed yet).
func TestNoDowngradeAfterEarlyMedia(t *testing.T) {
	s := newTestServer(t, func(m *conf.Mediation) { m.Gateway.SRTP = "optional" })
	proto, lines := offerCrypto("optional")
	c := &Call{srv: s, id: "downgrade", caller: media.Pool, callee: media.Gateway, log: s.log}
	var err error
	if c.bridge, err = s.plane.Open(c.id); err != nil {
		t.Fatal(err)
	}
	defer c.bridge.Close()
	const plain = "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
	if c.offer, err = sdp.Parse([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	c.bOffer = sdp.Local{Proto: proto, Crypto: lines, Formats: []sdp.Format{{Name: "PCMU", Clock: 8000}}}
	answer := sdp.Crypto{Tag: 1, Suite: lines[0].Suite, Key: newKey(media.AES128_CM_80)}
	if err := c.takeAnswer([]byte(plain + "a=crypto:" + answer.String() + "\r\n")); err != nil || !c.bSec.on {
		t.Fatalf("early answer with SRTP: %v, on %t", err, c.bSec.on)
	}
	if err := c.takeAnswer([]byte(plain)); err == nil {
		t.Error("the final answer took SRTP away")
	}
	if !c.bSec.on {
		t.Error("the leg is plain now")
	}
}
