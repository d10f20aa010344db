package sdp

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const offerText = "v=0\r\no=alice 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" +
	"m=audio 40000 RTP/SAVP 111 8 0 101 13\r\n" +
	"a=rtpmap:111 SIREN/16000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n" +
	"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk|2^31\r\n" +
	"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk UNENCRYPTED_SRTP\r\n" +
	"a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk|2^31|1:4\r\n" +
	"a=ptime:20\r\na=sendonly\r\n" +
	"m=video 40002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"

func TestParseOffer(t *testing.T) {
	d, err := Parse([]byte(offerText))
	if err != nil {
		t.Fatal(err)
	}
	a := d.Audio
	if a == nil || !a.Secure || a.Direction != "sendonly" || a.Ptime != 20 {
		t.Fatalf("audio %+v", a)
	}
	if a.Remote != netip.MustParseAddrPort("192.0.2.9:40000") || a.RTCP.Port() != 40001 {
		t.Errorf("addresses %s %s", a.Remote, a.RTCP)
	}
	if got := a.Names(); got != "SIREN/16000, PCMA/8000, PCMU/8000, telephone-event/8000, CN/8000" {
		t.Errorf("formats %s", got)
	}
	// The second crypto line is not usable: RFC 4568 6.3.2.
	if len(a.Crypto) != 2 || a.Crypto[0].Tag != 1 || a.Crypto[1].Tag != 3 || len(a.Crypto[0].Key) != 30 {
		t.Errorf("crypto %+v", a.Crypto)
	}
}

func TestAnswerMirrorsTheOffer(t *testing.T) { // RFC 3264 6
	d, _ := Parse([]byte(strings.Replace(offerText, "m=audio", "m=image 0 udptl t38\r\nm=audio", 1)))
	answer := Local{
		SessionID: 5, Version: 1, RTP: netip.MustParseAddrPort("127.0.0.1:60000"),
		Formats:   []Format{{Type: 8, Name: "PCMA", Clock: 8000}, {Type: 101, Name: "telephone-event", Clock: 8000, Fmtp: "0-15"}},
		Crypto:    []Crypto{{Tag: 1, Suite: "AES_CM_128_HMAC_SHA1_80", Key: bytes.Repeat([]byte{7}, 30)}},
		Direction: "recvonly", Ptime: 20,
	}.Answer(d)
	text := string(answer)
	for _, want := range []string{
		"m=image 0 udptl t38\r\n", "m=audio 60000 RTP/SAVP 8 101\r\n", "m=video 0 RTP/AVP 96\r\n",
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:BwcH", "a=recvonly\r\n", "a=fmtp:101 0-15\r\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("answer lacks %q:\n%s", want, text)
		}
	}
	back, err := Parse(answer)
	if err != nil || back.Audio == nil || back.Audio.Direction != "recvonly" || len(back.Audio.Crypto) != 1 {
		t.Errorf("our answer does not parse as meant: %v %+v", err, back)
	}
	if i, j := strings.Index(text, "m=image"), strings.Index(text, "m=audio"); i > j {
		t.Error("lines out of order")
	}
}

// TestOfferAgain: an offer in a session keeps every line in its place, with our
// own transport on ours and port 0 on the rest (RFC 3264 8).
func TestOfferAgain(t *testing.T) {
	last, err := Parse([]byte(strings.Replace(offerText, "m=audio", "m=image 4000 udptl t38\r\nm=audio", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := last.Media(); got != "image, audio, video" {
		t.Errorf("about %s", got)
	}
	offer := string(Local{
		SessionID: 5, Version: 2, RTP: netip.MustParseAddrPort("127.0.0.1:60000"), Proto: "RTP/AVP",
		Formats: []Format{{Type: 0, Name: "PCMU", Clock: 8000}}, Direction: "inactive",
	}.OfferAgain(last))
	at := 0
	for _, want := range []string{
		"o=- 5 2 IN IP4 127.0.0.1\r\n", "m=image 0 udptl t38\r\n", "m=audio 60000 RTP/AVP 0\r\n", "a=inactive\r\n", "m=video 0 RTP/AVP 96\r\n",
	} {
		i := strings.Index(offer[at:], want)
		if i < 0 {
			t.Fatalf("no %q in its place:\n%s", want, offer)
		}
		at += i
	}
}

func TestHorrors(t *testing.T) {
	head := "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n"
	for name, tt := range map[string]struct {
		body  string
		fails bool
		audio bool
	}{
		"empty":               {"", true, false},
		"not SDP":             {"hello", true, false},
		"no c=":               {head + "m=audio 4000 RTP/AVP 0\r\n", true, false},
		"name in c=":          {head + "c=IN IP4 host.example\r\nm=audio 4000 RTP/AVP 0\r\n", true, false},
		"multicast":           {head + "c=IN IP4 224.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n", true, false},
		"port out of range":   {head + "c=IN IP4 1.2.3.4\r\nm=audio 70000 RTP/AVP 0\r\n", true, false},
		"port zero":           {head + "c=IN IP4 1.2.3.4\r\nm=audio 0 RTP/AVP 0\r\n", false, false},
		"hold of old":         {head + "c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n", false, true},
		"other profile":       {head + "c=IN IP4 1.2.3.4\r\nm=audio 4000 TCP/RTP/AVP 0\r\n", false, false},
		"payload type 200":    {head + "c=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 200 0\r\n", false, true},
		"17 m= lines":         {head + "c=IN IP4 1.2.3.4\r\n" + strings.Repeat("m=video 4000 RTP/AVP 96\r\n", 17), true, false},
		"IPv6":                {head + "c=IN IP6 2001:db8::1\r\nm=audio 4000 RTP/AVP 0\r\n", false, true},
		"second audio counts": {head + "c=IN IP4 1.2.3.4\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/AVP 0\r\n", false, true},
	} {
		d, err := Parse([]byte(tt.body))
		if (err != nil) != tt.fails {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", name, err)
		}
		if err == nil && (d.Audio != nil) != tt.audio {
			t.Errorf("%s: audio %v", name, d.Audio)
		}
	}
}

func TestHoldOfOldHasNoRemote(t *testing.T) { // RFC 3264 8.4
	d, err := Parse([]byte("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:5000\r\n"))
	if err != nil || d.Audio.Remote.IsValid() || d.Audio.RTCP.IsValid() {
		t.Fatalf("%v %+v", err, d)
	}
}

func TestRTCPAttribute(t *testing.T) { // RFC 3605 2.1
	for attr, want := range map[string]string{
		"5000": "1.2.3.4:5000", "5000 IN IP4 1.2.3.5": "1.2.3.5:5000",
		"0": "1.2.3.4:4001", "99999": "1.2.3.4:4001", "5000 IN IP4 224.0.0.1": "1.2.3.4:4001", "x": "1.2.3.4:4001",
	} {
		d, err := Parse([]byte("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:" + attr + "\r\n"))
		if err != nil || d.Audio.RTCP.String() != want {
			t.Errorf("a=rtcp:%s: %v %s, want %s", attr, err, d.Audio.RTCP, want)
		}
	}
}

// FuzzParse holds that an offer that parses can be answered, and that the
// answer parses again with as many lines.
func FuzzParse(f *testing.F) {
	f.Add([]byte(offerText))
	f.Add([]byte("v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 9 RTP/AVPF 0\r\na=rtcp:9 IN IP6 ::2\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Parse(body)
		if err != nil || d.Audio == nil {
			return
		}
		answer := Local{RTP: netip.MustParseAddrPort("127.0.0.1:60000"), Formats: []Format{{Type: 0, Name: "PCMU", Clock: 8000}}}.Answer(d)
		back, err := Parse(answer)
		if err != nil {
			t.Fatalf("answer does not parse: %v\n%q", err, answer)
		}
		if len(back.lines) != len(d.lines) {
			t.Fatalf("%d lines answered by %d", len(d.lines), len(back.lines))
		}
		again, err := Parse(Local{
			RTP: netip.MustParseAddrPort("[::1]:60000"), Proto: "RTP/SAVP", Formats: []Format{{Type: 8, Name: "PCMA", Clock: 8000}},
		}.OfferAgain(back))
		if err != nil || again.Audio == nil || again.index != d.index || len(again.lines) != len(d.lines) {
			t.Fatalf("offer again: %v, %+v after %+v", err, again, d)
		}
	})
}

func TestRTCPBesideRTP(t *testing.T) { // RFC 5761 5.1.1, RFC 5506 5
	offer := strings.Replace(offerText, "a=ptime:20\r\n", "a=rtcp-mux\r\na=rtcp-rsize\r\n", 1)
	d, err := Parse([]byte(offer))
	if err != nil || !d.Audio.RTCPMux || !d.Audio.RTCPRsize {
		t.Fatalf("%v, %+v", err, d.Audio)
	}
	local := Local{RTP: netip.MustParseAddrPort("127.0.0.1:60000"), Formats: []Format{{Type: 8, Name: "PCMA", Clock: 8000}}}
	if text := string(local.Answer(d)); strings.Contains(text, "rtcp-") {
		t.Errorf("not asked to take it up:\n%s", text)
	}
	local.RTCPMux, local.RTCPRsize = true, true
	if text := string(local.Answer(d)); strings.Count(text, "a=rtcp-mux\r\n") != 1 || strings.Count(text, "a=rtcp-rsize\r\n") != 1 {
		t.Errorf("asked to take it up:\n%s", text)
	}
	// A number that looks like RTCP on the same port keeps them apart.
	for number, mux := range map[string]bool{"63": true, "64": false, "72": false, "95": false, "96": true} {
		text := strings.ReplaceAll(strings.ReplaceAll(offer, "RTP/SAVP 111 ", "RTP/SAVP "+number+" "), "rtpmap:111", "rtpmap:"+number)
		if d, err := Parse([]byte(text)); err != nil || d.Audio.RTCPMux != mux {
			t.Errorf("payload type %s: %v, mux %t", number, err, d.Audio.RTCPMux)
		}
	}
}
