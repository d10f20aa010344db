package ua

import (
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestDescriptionComesBack(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:20000", "[::1]:29998"} {
		want := &description{
			media: 1, direction: RecvOnly, proto: secureProto, rtp: netip.MustParseAddrPort(addr),
			formats: []format{{0, PCMU}, {8, PCMA}, {101, event}}, crypto: []crypto{{3, AES80, newKey(AES80)}, {4, GCM, newKey(GCM)}},
		}
		want.rtcp = netip.AddrPortFrom(want.rtp.Addr(), want.rtp.Port()+1)
		got, err := parseDescription(want.marshal(7, 8))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("came back as %+v, want %+v", got, want)
		}
	}
}

func TestParseDescription(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n"
	const session = head + "c=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	tests := []struct {
		name, body string
		want       string // formats and RTCP port; "" for an error
	}{
		{"static types", session + "m=audio 2000 RTP/AVP 8 0 13\r\n", "PCMA/8 PCMU/0 2001"},
		{"address of the media", head + "t=0 0\r\nm=audio 2000 RTP/AVP 0\r\nc=IN IP4 127.0.0.9\r\n", "PCMU/0 2001"},
		{"rtcp elsewhere", session + "m=audio 2000 RTP/AVP 0\r\na=rtcp:2005\r\n", "PCMU/0 2005"},
		{"rtcp elsewhere, in full", session + "m=audio 2000 RTP/AVP 0\r\na=rtcp:2005 IN IP4 127.0.0.1\r\n", "PCMU/0 2005"},
		{"rtcp nowhere", session + "m=audio 2000 RTP/AVP 0\r\na=rtcp:0\r\n", ""},
		{"case and channels", session + "m=audio 2000 RTP/AVP 96 97\r\na=rtpmap:96 pcmu/8000/1\r\na=rtpmap:97 Telephone-Event/8000\r\n", "PCMU/96 telephone-event/97 2001"},
		{"other clock", session + "m=audio 2000 RTP/AVP 0 97\r\na=rtpmap:97 telephone-event/16000\r\n", "PCMU/0 2001"},
		{"static type taken away", session + "m=audio 2000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/16000\r\n", "PCMA/8 2001"},
		{"second media", session + "m=video 9 RTP/AVP 34\r\nm=audio 2000 RTP/AVP 0\r\n", "PCMU/0 2001"},
		{"no audio", session + "m=video 9 RTP/AVP 34\r\n", ""},
		{"no address", head + "t=0 0\r\nm=audio 2000 RTP/AVP 0\r\n", ""},
		{"a name for an address", head + "c=IN IP4 localhost\r\nt=0 0\r\nm=audio 2000 RTP/AVP 0\r\n", ""},
		{"refused", session + "m=audio 0 RTP/AVP 0\r\n", ""},
		{"big type", session + "m=audio 2000 RTP/AVP 128\r\n", ""},
		{"key identifier", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^20|1:4\r\n", ""},
		{"lifetime", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^20\r\n", "PCMU/0 2001"},
		{"parameters", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA UNENCRYPTED_SRTP\r\n", ""},
		{"suite not known", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAA\r\n", "PCMU/0 2001"},
		{"not inline", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 uri:AAAA\r\n", ""},
		{"tag", session + "m=audio 2000 RTP/SAVP 0\r\na=crypto:-1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n", ""},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		d, err := parseDescription([]byte(tt.body))
		if (err != nil) != (tt.want == "") || err != nil && !errors.Is(err, ErrSDP) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		var got strings.Builder
		for _, f := range d.formats {
			got.WriteString(f.name + "/" + strconv.Itoa(int(f.pt)) + " ")
		}
		got.WriteString(strconv.Itoa(int(d.rtcp.Port())))
		if got.String() != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got.String(), tt.want)
		}
	}
}

func FuzzParseDescription(f *testing.F) {
	d := &description{proto: secureProto, rtp: netip.MustParseAddrPort("127.0.0.1:20000"), formats: []format{{0, PCMU}, {101, event}}, crypto: []crypto{{3, AES80, newKey(AES80)}}}
	f.Add(d.marshal(1, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDescription(body)
		if err != nil {
			if !errors.Is(err, ErrSDP) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if d.rtp.Port() == 0 || !d.rtp.Addr().IsValid() {
			t.Fatalf("took a description without an address: %+v", d)
		}
		for _, c := range d.crypto {
			if len(c.key) != keyLen(c.suite) {
				t.Fatalf("took a key that does not fit: %+v", c)
			}
		}
	})
}
