package mediation

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// aKey is an inline key of a peer's, with what may stand behind it.
func aKey(tag int, suite string, letter byte, more string) string {
	p, _ := media.ParseProfile(suite)
	return "crypto:" + sdp.Crypto{Tag: tag, Suite: suite, Key: keyOf(p, letter)}.String() + more
}

// TestOfferedSuites: what a leg is offered that has SRTP, in our order, each line
// with a key of its own; whichever of them the peer takes is what the leg has. On
// both sides, required and optional.
func TestOfferedSuites(t *testing.T) {
	want := "AES_CM_128_HMAC_SHA1_80 AEAD_AES_128_GCM AES_CM_128_HMAC_SHA1_32 AEAD_AES_256_GCM AES_256_CM_HMAC_SHA1_80"
	for _, policy := range []conf.SRTPPolicy{conf.SRTPRequired, conf.SRTPOptional} {
		for i, suite := range profiles {
			t.Run(fmt.Sprintf("%s %s", policy, suite), func(t *testing.T) {
				r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: policy})
				if err := r.start(); err != nil {
					t.Fatal(err)
				}
				offer := parsed(t, r.sessions[theCallee].local)
				var names []string
				keys := map[string]bool{}
				for j, c := range offer.Crypto {
					if c.Tag != j+1 || len(c.MKI) != 0 || c.Lifetime != 0 {
						t.Errorf("line %d: %+v", j, c)
					}
					names, keys[string(c.Key)] = append(names, c.Suite), true
				}
				if got := strings.Join(names, " "); got != want || len(keys) != len(names) {
					t.Errorf("offered %s with %d keys", got, len(keys))
				}
				if (offer.Proto == "RTP/SAVP") != (policy == conf.SRTPRequired) {
					t.Errorf("%s by policy %s", offer.Proto, policy)
				}
				answer := describe{proto: offer.Proto, attrs: []string{cryptoLine(i+1, suite, 'b')}}
				r.event(theCallee, sip.Event{Kind: sip.Answered, Code: 200, SDP: answer.text()})
				got := r.bridge.legs[media.Gateway].SRTP
				if r.call.at() != answered || got == nil || got.Profile != suite ||
					!bytes.Equal(got.Local, offer.Crypto[i].Key) || !bytes.Equal(got.Remote, keyOf(suite, 'b')) {
					t.Errorf("%s with %+v", r.call.at(), got)
				}
				if r.bridge.legs[media.Pool].SRTP != nil {
					t.Error("the plain side is protected")
				}
			})
		}
	}
}

// TestOffersTaken: of an offer the first line that is served is taken, by the
// peer's order, answered under its tag and its name, with an identifier only where
// the line has one; the rest of a line goes to the media plane.
func TestOffersTaken(t *testing.T) {
	const cm, gcm256, cm256, draft = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_256_HMAC_SHA1_80"
	for name, tt := range map[string]struct {
		lines    []string
		tag      int
		suite    string
		mki      string // ours, in hex
		lifetime uint64
	}{
		"256 bits first":           {[]string{aKey(4, gcm256, 'a', ""), aKey(1, cm, 'b', "")}, 4, gcm256, "", 0},
		"the peer's order":         {[]string{aKey(1, cm256, 'a', ""), aKey(2, gcm256, 'b', "")}, 1, cm256, "", 0},
		"a name of the drafts":     {[]string{aKey(3, draft, 'a', "")}, 3, draft, "", 0},
		"unknown, then known":      {[]string{"crypto:1 F8_128_HMAC_SHA1_80 inline:QUJD", aKey(2, cm, 'b', "")}, 2, cm, "", 0},
		"key too short, then good": {[]string{"crypto:1 " + cm + " inline:QUJD", aKey(2, cm, 'b', "")}, 2, cm, "", 0},
		"weak, then good":          {[]string{aKey(1, cm, 'a', " UNENCRYPTED_SRTP"), aKey(2, cm, 'b', "")}, 2, cm, "", 0},
		"two keys, then one":       {[]string{aKey(1, cm, 'a', ";inline:QUJD"), aKey(2, cm, 'b', "")}, 2, cm, "", 0},
		"lifetime":                 {[]string{aKey(1, cm, 'a', "|2^20")}, 1, cm, "", 1 << 20},
		"MKI":                      {[]string{aKey(2, cm, 'a', "|2^31|1:1")}, 2, cm, "02", 1 << 31},
		"MKI of four bytes":        {[]string{aKey(7, gcm256, 'a', "|9:4")}, 7, gcm256, "00000007", 0},
		"MKI shorter than the tag": {[]string{aKey(258, cm, 'a', "|9:1")}, 258, cm, "01", 0},
		"MKI as long as the tag":   {[]string{aKey(258, cm, 'a', "|9:2")}, 258, cm, "0102", 0},
		"parameters that are none": {[]string{aKey(1, cm, 'a', " KDR=0 WSH=128 -unknown")}, 1, cm, "", 0},
	} {
		for _, proto := range []string{"RTP/SAVP", "RTP/AVP", "RTP/SAVPF"} {
			t.Run(name+" "+proto, func(t *testing.T) {
				r := newRig(t, rigOptions{offer: describe{proto: proto, attrs: tt.lines}.text(), pool: conf.SRTPOptional, gateway: conf.SRTPRejected})
				r.connect(describe{port: 4010}.text(), nil)
				a, keys := parsed(t, r.sessions[theCaller].local), r.bridge.legs[media.Pool].SRTP
				if keys == nil || len(a.Crypto) != 1 || a.Proto != proto {
					t.Fatalf("answered %s %+v, keys %+v", a.Proto, a.Crypto, keys)
				}
				c := a.Crypto[0]
				if c.Tag != tt.tag || c.Suite != tt.suite || fmt.Sprintf("%x", c.MKI) != tt.mki || c.Lifetime != 0 {
					t.Errorf("answered %+v", c)
				}
				if !bytes.Equal(keys.LocalMKI, c.MKI) || len(keys.RemoteMKI) != len(c.MKI) || keys.RemoteLifetime != tt.lifetime ||
					!bytes.Equal(keys.Local, c.Key) || len(keys.Remote) != keys.Profile.KeyLen() {
					t.Errorf("the media plane has %+v", keys)
				}
			})
		}
	}
}

// TestNoUsableLine: an offer that must be protected, and only with lines that
// cannot be accepted, is refused with 488 and a Warning; and nobody is called.
func TestNoUsableLine(t *testing.T) {
	const cm = "AES_CM_128_HMAC_SHA1_80"
	for _, more := range []string{
		" UNENCRYPTED_SRTP", " UNENCRYPTED_SRTCP", " UNAUTHENTICATED_SRTP", " KDR=1", " FEC_ORDER=SRTP_FEC", " WSH=10", " unheard-of",
		";inline:QUJD", "|2^99", "|300:1", "|1:200",
	} {
		for _, policy := range []conf.SRTPPolicy{conf.SRTPRequired, conf.SRTPOptional} {
			offer := describe{proto: "RTP/SAVP", attrs: []string{aKey(1, cm, 'a', more)}}
			r := newRig(t, rigOptions{offer: offer.text(), pool: policy, gateway: conf.SRTPRejected})
			_ = r.start()
			f := r.sessions[theCaller].failure
			if f == nil || f.Code != 488 || !strings.Contains(f.Warning, "AEAD_AES_256_GCM") || r.sessions[theCallee] != nil || r.bridge.set != [2]int{} {
				t.Errorf("%s, srtp: %s: %+v", more, policy, f)
			}
			if f != nil && strings.Contains(f.Warning, "YWFh") {
				t.Errorf("%s: the Warning shows the key: %s", more, f.Warning)
			}
		}
	}
}

// TestGatewayMustProtect: srtp required on the gateway's side holds for answers in
// every shape, and for its offers.
func TestGatewayMustProtect(t *testing.T) {
	for name, answer := range map[string]describe{
		"plain":                {port: 4010},
		"SAVP without a line":  {port: 4010, proto: "RTP/SAVP"},
		"weak":                 {port: 4010, proto: "RTP/SAVP", attrs: []string{aKey(1, "AES_CM_128_HMAC_SHA1_80", 'b', " UNENCRYPTED_SRTP")}},
		"suite under its tag":  {port: 4010, proto: "RTP/SAVP", attrs: []string{cryptoLine(1, media.AES256_GCM, 'b')}},
		"unknown tag":          {port: 4010, proto: "RTP/SAVP", attrs: []string{cryptoLine(6, media.AES256_CM_80, 'b')}},
		"two lines":            {port: 4010, proto: "RTP/SAVP", attrs: []string{cryptoLine(1, media.AES128_CM_80, 'b'), cryptoLine(4, media.AES256_GCM, 'b')}},
		"key of another suite": {port: 4010, proto: "RTP/SAVP", attrs: []string{"crypto:4 AEAD_AES_256_GCM inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk"}},
	} {
		r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRequired})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		r.event(theCallee, sip.Event{Kind: sip.Answered, Code: 200, SDP: answer.text()})
		if f := r.sessions[theCaller].failure; f == nil || f.Code != 488 || r.call.at() == answered {
			t.Errorf("%s: %s, %+v", name, r.call.at(), f)
		}
		if r.bridge.legs[media.Gateway].SRTP != nil || r.bridge.set[media.Gateway] != 0 {
			t.Errorf("%s: the leg was set", name)
		}
	}
}

// TestBothSidesProtected: SRTP toward both, each with keys of its own and a suite of
// its own, through a change of keys on either.
func TestBothSidesProtected(t *testing.T) {
	for _, policy := range []conf.SRTPPolicy{conf.SRTPRequired, conf.SRTPOptional} {
		savp := func(p media.Profile, tag int, letter byte, version int) []byte {
			return describe{version: version, proto: "RTP/SAVP", attrs: []string{cryptoLine(tag, p, letter)}}.text()
		}
		r := newRig(t, rigOptions{offer: savp(media.AES256_GCM, 1, 'a', 0), pool: policy, gateway: policy})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		answer := describe{port: 4010, proto: parsed(t, r.sessions[theCallee].local).Proto, attrs: []string{cryptoLine(5, media.AES256_CM_80, 'b')}}
		r.event(theCallee, sip.Event{Kind: sip.Answered, Code: 200, SDP: answer.text()})
		r.event(theCaller, sip.Event{Kind: sip.Confirmed})
		pool, gateway := r.bridge.legs[media.Pool].SRTP, r.bridge.legs[media.Gateway].SRTP
		if pool == nil || gateway == nil || pool.Profile != media.AES256_GCM || gateway.Profile != media.AES256_CM_80 || bytes.Equal(pool.Local, gateway.Local) {
			t.Fatalf("srtp: %s: %+v and %+v", policy, pool, gateway)
		}
		r.sessions[theCallee].offer(savp(media.AES256_CM_80, 1, 'c', 1))
		changed := r.bridge.legs[media.Gateway].SRTP
		if !bytes.Equal(changed.Local, gateway.Local) || !bytes.Equal(changed.Remote, keyOf(media.AES256_CM_80, 'c')) ||
			!bytes.Equal(r.bridge.legs[media.Pool].SRTP.Remote, pool.Remote) {
			t.Errorf("srtp: %s: after the gateway's new key %+v", policy, changed)
		}
		said := r.sessions[theCallee].local
		r.sessions[theCallee].offer(describe{version: 2}.text())
		if f := r.sessions[theCallee].failure; f == nil || f.Code != 488 || !bytes.Equal(said, r.sessions[theCallee].local) || r.call.at() != talking {
			t.Errorf("srtp: %s: a plain offer of the gateway's: %+v", policy, f)
		}
	}
}

// TestReofferedSuites: from each suite to each, by the peer's re-offer. Our key stays
// with the suite and goes with it.
func TestReofferedSuites(t *testing.T) {
	for _, from := range profiles {
		for _, to := range profiles {
			r := secured(t, conf.SRTPRequired, "RTP/SAVP", from)
			before := r.bridge.legs[media.Pool].SRTP
			r.sessions[theCaller].offer(describe{version: 1, proto: "RTP/SAVP", attrs: []string{cryptoLine(3, to, 'n')}}.text())
			after, a := r.bridge.legs[media.Pool].SRTP, parsed(t, r.sessions[theCaller].local)
			if after.Profile != to || bytes.Equal(after.Local, before.Local) != (from == to) || !bytes.Equal(after.Remote, keyOf(to, 'n')) {
				t.Errorf("%s to %s: %+v after %+v", from, to, after, before)
			}
			if len(a.Crypto) != 1 || a.Crypto[0].Tag != 3 || a.Crypto[0].Suite != to.String() || !bytes.Equal(a.Crypto[0].Key, after.Local) {
				t.Errorf("%s to %s: answered %+v", from, to, a.Crypto)
			}
		}
	}
}

// TestReofferedIdentifiers: our key keeps its identifier while it stays; the peer's
// is what it says now. A suite under its other name is the same suite.
func TestReofferedIdentifiers(t *testing.T) {
	const suite, draft = "AES_256_CM_HMAC_SHA1_80", "AES_CM_256_HMAC_SHA1_80"
	offer := func(version int, suite, more string) []byte {
		return describe{version: version, proto: "RTP/SAVP", attrs: []string{aKey(5, suite, 'a', more)}}.text()
	}
	r := newRig(t, rigOptions{offer: offer(0, suite, "|9:2"), pool: conf.SRTPRequired, gateway: conf.SRTPRejected})
	r.connect(describe{port: 4010}.text(), nil)
	first := r.bridge.legs[media.Pool].SRTP
	r.sessions[theCaller].offer(offer(1, draft, "|2^20|10:3"))
	then, a := r.bridge.legs[media.Pool].SRTP, parsed(t, r.sessions[theCaller].local)
	if !bytes.Equal(then.Local, first.Local) || !bytes.Equal(then.LocalMKI, []byte{0, 5}) || !bytes.Equal(then.RemoteMKI, []byte{0, 0, 10}) || then.RemoteLifetime != 1<<20 {
		t.Errorf("%+v after %+v", then, first)
	}
	if c := a.Crypto[0]; c.Suite != draft || !bytes.Equal(c.MKI, []byte{0, 5}) || !bytes.Equal(c.Key, first.Local) {
		t.Errorf("answered %+v", c)
	}
	// In an offer of ours it is the same again.
	r.sessions[theCallee].offer(describe{version: 1, port: 4010, direction: "sendonly"}.text())
	if again := parsed(t, r.sessions[theCaller].local); len(again.Crypto) != 1 || again.Crypto[0].String() != a.Crypto[0].String() {
		t.Errorf("offered %+v after %+v", again.Crypto, a.Crypto)
	}
}

// TestKeysOfACallAreWiped: whichever way it ends, and what it offered in vain, too.
func TestKeysOfACallAreWiped(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"hung up":   func(r *rig) { r.event(theCaller, sip.Event{Kind: sip.Ended}) },
		"by us":     func(r *rig) { r.stimulate(ourselves, stopped, sip.Event{Reason: "over"}) },
		"cancelled": nil,
		"refused":   nil,
	} {
		offer := describe{proto: "RTP/SAVP", attrs: []string{cryptoLine(1, media.AES256_GCM, 'a'), cryptoLine(2, media.AES128_GCM, 'b')}}
		r := newRig(t, rigOptions{offer: offer.text(), pool: conf.SRTPRequired, gateway: conf.SRTPOptional})
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		var keys [][]byte
		hold := func() {
			for i := range r.call.legs {
				l := &r.call.legs[i]
				for _, c := range append(append([]sdp.Crypto{l.sec.local, l.sec.remote}, l.local.Crypto...), descriptionKeys(l.remote)...) {
					keys = append(keys, c.Key)
				}
			}
		}
		hold()
		switch name {
		case "cancelled":
			r.event(theCaller, sip.Event{Kind: sip.Cancelled})
		case "refused":
			r.event(theCallee, sip.Event{Kind: sip.Failed, Failure: &sip.Failure{Code: 486}})
		default:
			keys = nil
			r.event(theCallee, sip.Event{Kind: sip.Answered, SDP: describe{port: 4010, attrs: []string{cryptoLine(4, media.AES256_GCM, 'c')}}.text()})
			r.event(theCaller, sip.Event{Kind: sip.Confirmed})
			hold()
			end(r)
		}
		n := 0
		for _, key := range keys {
			n += len(key)
			if !bytes.Equal(key, make([]byte, len(key))) {
				t.Errorf("%s: a key is still there", name)
			}
		}
		if n < 3*28 || r.bridge.closed == 0 {
			t.Errorf("%s: %d bytes of keys looked at, bridge closed %d times", name, n, r.bridge.closed)
		}
	}
}
