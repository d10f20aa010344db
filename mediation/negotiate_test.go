package mediation

import (
	"errors"
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

func audioOf(t *testing.T, mline string, attrs ...string) *sdp.Audio {
	t.Helper()
	body := "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 4000 " + mline + "\r\n"
	for _, a := range attrs {
		body += "a=" + a + "\r\n"
	}
	d, err := sdp.Parse([]byte(body))
	if err != nil || d.Audio == nil {
		t.Fatalf("%v %v", d, err)
	}
	return d.Audio
}

const (
	cm80 = "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk"
	gcm  = "crypto:2 AEAD_AES_128_GCM inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYg=="
	odd  = "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJD" // key too short
)

// TestSRTPPolicy is the table of policies against what is offered (seed-facts
// D31, RFC 4568, RFC 8643): encrypted, plain, or a conflict; never a downgrade.
func TestSRTPPolicy(t *testing.T) {
	const plain, secure, refuse = "plain", "secure", "refuse"
	for _, tt := range []struct {
		mline string
		attrs []string
		want  map[conf.SRTPPolicy]string
	}{
		{"RTP/SAVP 0", []string{cm80}, map[conf.SRTPPolicy]string{"required": secure, "optional": secure, "rejected": refuse}},
		{"RTP/SAVP 0", []string{gcm}, map[conf.SRTPPolicy]string{"required": secure, "optional": secure, "rejected": refuse}},
		{"RTP/SAVP 0", nil, map[conf.SRTPPolicy]string{"required": refuse, "optional": refuse, "rejected": refuse}},
		{"RTP/SAVP 0", []string{odd}, map[conf.SRTPPolicy]string{"required": refuse, "optional": refuse, "rejected": refuse}},
		{"RTP/SAVP 0", []string{"crypto:1 F8_128_HMAC_SHA1_80 inline:QUJD"}, map[conf.SRTPPolicy]string{"required": refuse, "optional": refuse, "rejected": refuse}},
		{"RTP/AVP 0", nil, map[conf.SRTPPolicy]string{"required": refuse, "optional": plain, "rejected": plain}},
		{"RTP/AVP 0", []string{cm80}, map[conf.SRTPPolicy]string{"required": refuse, "optional": secure, "rejected": plain}},
		{"RTP/AVP 0", []string{odd}, map[conf.SRTPPolicy]string{"required": refuse, "optional": plain, "rejected": plain}},
	} {
		for policy, want := range tt.want {
			sec, err := accept(policy, audioOf(t, tt.mline, tt.attrs...))
			got := plain
			var c *conflict
			switch {
			case errors.As(err, &c):
				got = refuse
				if c.failure().Code != 488 || c.failure().Warning == "" {
					t.Errorf("%s: failure %+v", tt.mline, c.failure())
				}
			case err != nil:
				t.Fatalf("unexpected %v", err)
			case sec.on:
				got = secure
			}
			if got != want {
				t.Errorf("%s %v, srtp: %s: %s, want %s", tt.mline, tt.attrs, policy, got, want)
			}
		}
	}
}

func TestAnswerToOurCrypto(t *testing.T) {
	proto, lines := offerCrypto("required")
	if proto != "RTP/SAVP" || len(lines) != 5 {
		t.Fatalf("%s %d", proto, len(lines))
	}
	key := lines[1].String()
	good := audioOf(t, "RTP/SAVP 0", "crypto:"+key)
	if sec, err := acceptAnswer("required", lines, good); err != nil || sec.profile != media.AES128_GCM {
		t.Errorf("%v %v", sec, err)
	}
	for name, answer := range map[string]*sdp.Audio{
		"tag that was not offered":    audioOf(t, "RTP/SAVP 0", "crypto:9"+key[1:]),
		"suite of another tag":        audioOf(t, "RTP/SAVP 0", cm80[:7]+"2"+cm80[8:]),
		"no crypto":                   audioOf(t, "RTP/SAVP 0"),
		"two cryptos":                 audioOf(t, "RTP/SAVP 0", "crypto:"+key, cm80),
		"downgraded to plain RTP/AVP": audioOf(t, "RTP/AVP 0"),
	} {
		if _, err := acceptAnswer("required", lines, answer); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if sec, err := acceptAnswer("optional", lines, audioOf(t, "RTP/AVP 0")); err != nil || sec.on {
		t.Errorf("RFC 8643: an answer without crypto is plain: %v", err)
	}
	if proto, lines := offerCrypto("rejected"); proto != "RTP/AVP" || lines != nil {
		t.Errorf("%s %v", proto, lines)
	}
}

func names(formats []sdp.Format) string {
	out := make([]string, len(formats))
	for i, f := range formats {
		out[i] = f.String()
	}
	return strings.Join(out, " ")
}

// TestFormats: what the callee is offered, and what the caller is answered
// for each answer of the callee's.
func TestFormats(t *testing.T) {
	event := []string{"rtpmap:97 telephone-event/8000", "fmtp:97 0-16"}
	for _, tt := range []struct {
		name    string
		caller  *sdp.Audio
		offered string
		callee  *sdp.Audio
		answer  string
	}{
		{
			"pass-through", audioOf(t, "RTP/AVP 0 8 97 13", event...), "PCMU/8000 PCMA/8000 telephone-event/8000 CN/8000",
			audioOf(t, "RTP/AVP 0 97 13", event...), "PCMU/8000 telephone-event/8000 CN/8000",
		},
		{
			"the callee's choice wins where the caller has it", audioOf(t, "RTP/AVP 0 8"), "PCMU/8000 PCMA/8000",
			audioOf(t, "RTP/AVP 8 0"), "PCMA/8000",
		},
		{
			"conversion", audioOf(t, "RTP/AVP 8"), "PCMA/8000 PCMU/8000",
			audioOf(t, "RTP/AVP 0"), "PCMA/8000",
		},
		{
			"codecs we lack are left out", audioOf(t, "RTP/AVP 111 0", "rtpmap:111 SIREN/16000"), "PCMU/8000 PCMA/8000",
			audioOf(t, "RTP/AVP 0"), "PCMU/8000",
		},
		{
			"events that the callee lacks are not answered", audioOf(t, "RTP/AVP 0 97", event...), "PCMU/8000 PCMA/8000 telephone-event/8000",
			audioOf(t, "RTP/AVP 0"), "PCMU/8000",
		},
		{
			"events at another clock are another codec", audioOf(t, "RTP/AVP 0 97", "rtpmap:97 telephone-event/48000"), "PCMU/8000 PCMA/8000",
			audioOf(t, "RTP/AVP 0"), "PCMU/8000",
		},
	} {
		offered, err := outgoingFormats(tt.caller)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := names(offered); got != tt.offered {
			t.Errorf("%s: offered %s, want %s", tt.name, got, tt.offered)
		}
		callee, err := answeredFormats(offered, tt.callee)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := names(callerFormats(tt.caller, callee)); got != tt.answer {
			t.Errorf("%s: answered %s, want %s", tt.name, got, tt.answer)
		}
	}
}

// TestNothingUsable: RTAudio alone is refused by naming it.
func TestNothingUsable(t *testing.T) {
	_, err := outgoingFormats(audioOf(t, "RTP/AVP 114 115", "rtpmap:114 x-msrta/16000", "rtpmap:115 x-msrta/8000"))
	var c *conflict
	if !errors.As(err, &c) || !strings.Contains(c.why, "x-msrta/16000, x-msrta/8000") {
		t.Errorf("%v", err)
	}
	if _, err := answeredFormats([]sdp.Format{{Type: 0, Name: "PCMU", Clock: 8000}}, audioOf(t, "RTP/AVP 9")); err == nil {
		t.Error("an answer with a codec that was not offered")
	}
}

// TestPayloadTypesKeepTheirSide: each leg speaks its own numbers.
func TestPayloadTypesKeepTheirSide(t *testing.T) {
	caller := audioOf(t, "RTP/AVP 0 97", "rtpmap:97 telephone-event/8000")
	offered, _ := outgoingFormats(caller)
	callee := audioOf(t, "RTP/AVP 0 120", "rtpmap:120 telephone-event/8000")
	formats, err := answeredFormats(offered, callee)
	if err != nil {
		t.Fatal(err)
	}
	if p := payloads(formats); p[1].Type != 120 || p[1].Kind != media.Event {
		t.Errorf("toward the callee %v", p)
	}
	if p := payloads(callerFormats(caller, formats)); p[1].Type != 97 {
		t.Errorf("toward the caller %v", p)
	}
	if f := events("0-15\" onload"); f != defaultEvents {
		t.Errorf("fmtp %q crosses", f)
	}
}

func TestShownFailures(t *testing.T) {
	for in, want := range map[int]int{302: 480, 401: 403, 407: 403, 404: 404, 486: 486, 503: 503, 603: 603} {
		f := shown(&sip.Failure{Code: in, Phrase: "As It Came", Reason: "Q.850;cause=1"})
		if f.Code != want {
			t.Errorf("%d shown as %d, want %d", in, f.Code, want)
		}
		if in == want && (f.Phrase != "As It Came" || f.Reason != "Q.850;cause=1") {
			t.Errorf("%d: %+v was changed", in, f)
		}
		if in != want && !strings.Contains(f.Reason, "SIP;cause=") {
			t.Errorf("%d: the cause is lost: %q", in, f.Reason)
		}
	}
}
