package media

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	someKey  = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj" // 30 bytes: RFC 4568 section 5.1
	secure80 = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + someKey
)

// described is a description with a protocol and crypto lines of the test's choice.
func described(at, proto string, crypto ...string) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio 17000 %s 0\r\na=rtpmap:0 PCMU/8000\r\n%s",
		at, proto, strings.Join(append(crypto, ""), "\r\n"))
}

// bare are descriptions that would have a call without protection, or with one that is none.
var bare = []struct {
	name, proto string
	crypto      []string
}{
	{"plain with keys", "RTP/AVP", []string{secure80}},
	{"plain", "RTP/AVP", nil},
	{"protected without keys", "RTP/SAVP", nil},
	{"no cipher", "RTP/SAVP", []string{"a=crypto:1 NULL_HMAC_SHA1_80 " + someKey}},
	{"a suite that nobody knows", "RTP/SAVP", []string{"a=crypto:1 ROT_13_HMAC_SHA1_80 " + someKey}},
	{"a key that is too short", "RTP/SAVP", []string{"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNQ=="}},
	{"unencrypted RTP", "RTP/SAVP", []string{secure80 + " UNENCRYPTED_SRTP"}},
	{"unencrypted RTCP", "RTP/SAVP", []string{secure80 + " UNENCRYPTED_SRTCP"}},
	{"unauthenticated", "RTP/SAVP", []string{secure80 + " UNAUTHENTICATED_SRTP"}},
}

// A pool that has to be protected offers anything less: refused with 488, the gateway is never called.
func TestDowngradedOffer(t *testing.T) {
	for _, c := range bare {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, setting{noPhones: true})
			h := l.newHand(pool)
			w := l.listen()
			response := h.invite(described(h.at().Addr().String(), c.proto, c.crypto...))
			if status(response) != 488 {
				t.Errorf("answered with\n%s", response)
			}
			time.Sleep(200 * time.Millisecond)
			if told := w.between(l.at(gateUs, sipPort), l.at(gatePhone, sipPort)); len(told) > 0 {
				t.Errorf("the gateway was called:\n%s", told[0])
			}
		})
	}
}

// A pool that has to be protected answers our offer with less: the call is given up, and not a packet of it was sent in
// clear.
func TestDowngradedAnswer(t *testing.T) {
	answers := append(slices.Clip(bare), []struct {
		name, proto string
		crypto      []string
	}{
		{"a tag that was not offered", "RTP/SAVP", []string{"a=crypto:77 AES_CM_128_HMAC_SHA1_80 " + someKey}},
		{"another suite under the tag", "RTP/SAVP", []string{"a=crypto:1 AES_CM_128_HMAC_SHA1_32 " + someKey}},
	}...)
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, setting{noPhones: true})
			callee, caller, w := l.newHand(pool), l.newHand(gateway), l.listen()
			ended := make(chan string, 1)
			go func() {
				invite := callee.message("INVITE")
				if !strings.Contains(invite, "RTP/SAVP ") || !strings.Contains(invite, "a=crypto:") {
					t.Errorf("offered\n%s", invite)
				}
				callee.respond(invite, "200 OK", described(callee.at().Addr().String(), c.proto, c.crypto...))
				callee.message("ACK")
				bye := callee.message("BYE")
				callee.respond(bye, "200 OK", "")
				ended <- bye
			}()
			response := caller.invite(described(caller.at().Addr().String(), "RTP/AVP"))
			if code := status(response); code < 400 {
				t.Errorf("the caller was answered with\n%s", response)
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatal("the callee was not hung up on")
			}
			time.Sleep(200 * time.Millisecond)
			for _, d := range w.everything() {
				if d.from.Addr() == l.net.Addr(poolUs) && d.to.Addr() == l.net.Addr(poolPhone) && d.to.Port() != sipPort {
					t.Errorf("%d bytes of media went to the pool at %v", len(d.data), d.to)
				}
			}
		})
	}
}
