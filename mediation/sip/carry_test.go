package sip

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/number"
)

// messageOf is a message of side A with headers in it: "INVITE", "180",
// "re-INVITE", "200 to BYE".
func messageOf(t testing.TB, kind string, headers ...Header) sip.Message {
	t.Helper()
	first, method, totag := kind+" sip:+12065550100@192.0.2.1 SIP/2.0", kind, ""
	switch {
	case kind == "re-INVITE":
		first, method, totag = "INVITE sip:+12065550100@192.0.2.1 SIP/2.0", "INVITE", ";tag=b"
	case kind[0] >= '1' && kind[0] <= '6':
		code, to, found := strings.Cut(kind, " to ")
		if !found {
			to = "INVITE"
		}
		first, method, totag = "SIP/2.0 "+code+" As It Came", to, ";tag=b"
	case kind != "INVITE" && kind != "CANCEL":
		totag = ";tag=b"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\r\nVia: SIP/2.0/TCP gw7.trunk.example.net:15071;branch=z9hG4bK1;received=198.51.100.7\r\n", first)
	fmt.Fprintf(&b, "From: <sip:+14255550100@198.51.100.7>;tag=a\r\nTo: <sip:+12065550100@192.0.2.1>%s\r\n", totag)
	fmt.Fprintf(&b, "Call-ID: 1@gw7.trunk.example.net\r\nCSeq: 1 %s\r\nContact: <sip:gwbox7:15071>\r\nMax-Forwards: 70\r\n", method)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	msg, err := sip.ParseMessage([]byte(b.String()))
	if err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	return msg
}

// carryOne is what is shown of the values of one header.
func carryOne(t testing.TB, kind string, toGateway bool, n Numbering, name string, values ...string) (string, map[string]uint64) {
	t.Helper()
	headers := make([]Header, len(values))
	for i, v := range values {
		headers[i] = Header{name, v}
	}
	n.Withheld = &Withheld{}
	shown := ""
	for _, h := range Carry(messageOf(t, kind, headers...), toGateway, n, gatewayHop, "192.0.2.2") {
		if h.Name != name || shown != "" {
			t.Errorf("%v carried beside %s", h, name)
		}
		shown = h.Value
	}
	counts := map[string]uint64{}
	n.Withheld.Each(func(reason string, n uint64) {
		if n > 0 {
			counts[reason] = n
		}
	})
	return shown, counts
}

type carryCase struct {
	values []string
	want   string
	why    string // the counters that moved, in order, joined by a space
}

func one(value, want string) carryCase { return carryCase{values: []string{value}, want: want} }

func checkCarry(t *testing.T, kind string, toGateway bool, n Numbering, name string, cases []carryCase) {
	t.Helper()
	for _, tt := range cases {
		got, counts := carryOne(t, kind, toGateway, n, name, tt.values...)
		if got != tt.want {
			t.Errorf("%s: %q\n got %q\nwant %q", name, tt.values, got, tt.want)
		}
		if why := strings.Join(slices.Sorted(maps.Keys(counts)), " "); why != tt.why {
			t.Errorf("%s: %q: withheld %q, want %q", name, tt.values, why, tt.why)
		}
	}
}

// TestReasonIsCarried is RFC 3326 2, RFC 6432 and RFC 8606.
func TestReasonIsCarried(t *testing.T) {
	for _, kind := range []string{"183", "486", "BYE", "CANCEL"} {
		checkCarry(t, kind, true, Numbering{}, "Reason", []carryCase{
			one("Q.850;cause=16", "Q.850;cause=16"),
			one(`q.850 ; cause=17 ; text="User busy"`, `Q.850;cause=17;text="User busy"`),
			one("Q.850;cause=1", "Q.850;cause=1"),
			one("Q.850;cause=127", "Q.850;cause=127"),
			one("SIP;cause=200;text=\"Call completed elsewhere\"", `SIP;cause=200;text="Call completed elsewhere"`),
			one("Q.850;cause=16;text=\"a\", SIP;cause=487", `Q.850;cause=16;text="a", SIP;cause=487`),
			{values: []string{"Q.850;cause=16", "SIP;cause=487"}, want: "Q.850;cause=16, SIP;cause=487"},
			one("Q.850;cause=16;location=ln;vendor=x", "Q.850;cause=16;location=LN"),
			one("Q.850;cause=16;location=mars", "Q.850;cause=16"),
			one("Preemption;cause=1, Q.850;cause=16", "Q.850;cause=16"),
			one("Preemption;cause=1", ""),
			one("Q.850", ""),
			one(`Q.850;text="a \"quoted\" \\ word"`, `Q.850;text="a \"quoted\" \\ word"`),
			{values: []string{"Q.850;cause=0"}, why: "malformed"},
			{values: []string{"Q.850;cause=128"}, why: "malformed"},
			{values: []string{"SIP;cause=199"}, why: "malformed"},
			{values: []string{"SIP;cause=700"}, why: "malformed"},
			{values: []string{"SIP;cause=+20"}, why: "malformed"},
			{values: []string{"Q.850;cause=16;cause=17"}, why: "malformed"},
			{values: []string{"Q.850;cause"}, why: "malformed"},
			{values: []string{"Q.850;cause=16;text=\"open"}, why: "malformed"},
			{values: []string{"Q.850;cause=16,"}, why: "malformed"},
			{values: []string{"Q.850;cause=16", "@"}, why: "malformed"},
			{values: []string{strings.Repeat("Q.850;cause=16,", 4) + "Q.850;cause=17"}, want: strings.Repeat("Q.850;cause=16, ", 3) + "Q.850;cause=16", why: "too_much"},
			{values: []string{"Q.850;cause=16;text=\"" + strings.Repeat("x", 129) + "\""}, want: "Q.850;cause=16", why: "too_much"},
			{values: []string{"Q.850;cause=16;x=\"" + strings.Repeat("x", 8192) + "\""}, why: "too_much"},
			{values: []string{`Q.850;cause=16;text="by 198.51.100.9"`}, want: "Q.850;cause=16", why: "address"},
			{values: []string{`Q.850;cause=16;text="by gwbox7"`}, want: "Q.850;cause=16", why: "address"},
			{values: []string{`Q.850;text="by pbx.trunk.example.net"`}, why: "address"},
		})
	}
}

// TestAssertedIdentityIsCarried is RFC 3325 9.1, with the number rules of P7.
func TestAssertedIdentityIsCarried(t *testing.T) {
	const pai = "P-Asserted-Identity"
	checkCarry(t, "INVITE", true, Numbering{RemovePlus: true}, pai, []carryCase{
		one(`"Alice Ng" <sip:+14255550100@198.51.100.7:15071;user=phone;transport=tcp;gr=x>`, `"Alice Ng" <sip:14255550100@192.0.2.2;user=phone>`),
		one("sip:%2B14255550100@gw7.trunk.example.net;x=y", "<sip:14255550100@192.0.2.2>"),
		one("Alice Ng <sips:alice@gw7.trunk.example.net>, <tel:+14255550100>", `"Alice Ng" <sip:alice@192.0.2.2>, <tel:14255550100>`),
		{values: []string{"<tel:+14255550100>", "<sip:alice@x>"}, want: "<tel:14255550100>, <sip:alice@192.0.2.2>"},
		{values: []string{"<sip:a@x>, <sip:b@x>"}, want: "<sip:a@192.0.2.2>", why: "too_much"},
		{values: []string{"<sip:gw7.trunk.example.net>"}, why: "address"},
		{values: []string{"<sip:198.51.100.7@198.51.100.7>"}, why: "address"},
		{values: []string{"<sip:gw7.trunk.example.net@x>, <tel:+1425>"}, want: "<tel:1425>", why: "address"},
		{values: []string{`"at gwbox7" <sip:alice@x>`}, want: "<sip:alice@192.0.2.2>", why: "address"},
		one("<sip:alice%40corp.example@x>", "<sip:alice@192.0.2.2>"),
		one("<sip:alice:secret@x>", "<sip:alice@192.0.2.2>"),
		one("<sip:+1425;ext=5;tgrp=t7;trunk-context=gw7.trunk.example.net@x>", "<sip:1425;ext=5@192.0.2.2>"),
		one("<sip:anonymous@anonymous.invalid>", "<sip:anonymous@anonymous.invalid>"),
		{values: []string{"<http://198.51.100.7/>"}, why: "malformed"},
		{values: []string{"<sip:a@x"}, why: "malformed"},
		{values: []string{"<sip:a b@x>"}, why: "malformed"},
		{values: []string{"<sip:a%4@x>"}, why: "malformed"},
		{values: []string{"<sip:a@b@x>"}, why: "malformed"},
		{values: []string{"\"a\x01\" <sip:a@x>"}, why: "malformed"},
		{values: []string{"<sip:a@x> <sip:b@x>"}, why: "malformed"},
		{values: []string{`"open <sip:a@x>`}, why: "malformed"},
	})
	checkCarry(t, "INVITE", false, Numbering{Profile: siteProfile(t)}, pai, []carryCase{
		one("<sip:0100@x>", "<sip:+14255550100@192.0.2.2>"),
		one("<sip:0100@x;user=phone>, <tel:206-555-0100>", "<sip:+14255550100@192.0.2.2;user=phone>, <tel:+12065550100>"),
		one("<sip:55@x>", "<sip:55;phone-context=enterprise@192.0.2.2;user=phone>"),
		one("<tel:55>", "<tel:55;phone-context=enterprise>"),
		one("<tel:0100;phone-context=enterprise>", "<tel:0100;phone-context=enterprise>"),
		one("<sip:alice@x>", "<sip:alice@192.0.2.2>"),
	})
}

func siteProfile(t testing.TB) *number.Profile {
	t.Helper()
	profile, err := number.Compile([]number.Rule{
		{Name: "4digitExtension", Pattern: `^(\d{4})$`, Translation: "+1425555$1"},
		{Name: "10digitcallingUS", Pattern: `^(\d{10})$`, Translation: "+1$1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return profile
}

// TestDiversionIsCarried is RFC 5806 5: the chain and its order stay.
func TestDiversionIsCarried(t *testing.T) {
	const name = "Diversion"
	checkCarry(t, "INVITE", true, Numbering{RemovePlus: true}, name, []carryCase{
		one("<sip:+14255550100@x:5071>;reason=no-answer;counter=1;privacy=full;screen=yes;limit=5;vendor=7",
			"<sip:14255550100@192.0.2.2>;reason=no-answer;counter=1;limit=5;privacy=full;screen=yes"),
		one(`"Bob" <sip:bob@x>;reason="busy line"`, `"Bob" <sip:bob@192.0.2.2>;reason="busy line"`),
		{values: []string{"<sip:a@x>;counter=2, <tel:+1425>", "<sip:c@x>"}, want: "<sip:a@192.0.2.2>;counter=2, <tel:1425>, <sip:c@192.0.2.2>"},
		{
			values: []string{"<sip:a@x>, <sip:198.51.100.7@x>;reason=deflection, <sip:c@x>"},
			want:   "<sip:a@192.0.2.2>, <sip:unknown@unknown.invalid>;reason=deflection, <sip:c@192.0.2.2>", why: "address",
		},
		{values: []string{`<sip:a@x>;reason="at gwbox7"`}, want: "<sip:a@192.0.2.2>", why: "address"},
		one("<sip:a@x>;counter=100;screen=no", "<sip:a@192.0.2.2>;screen=no"),
		{
			values: []string{strings.Repeat("<sip:a@x>, ", 10) + "<sip:b@x>"},
			want:   strings.TrimSuffix(strings.Repeat("<sip:a@192.0.2.2>, ", 10), ", "), why: "too_much",
		},
		{values: []string{"<sip:a@x>;reason"}, want: "<sip:a@192.0.2.2>"},
		{values: []string{"<sip:a@x>;=1"}, why: "malformed"},
		{values: []string{""}, why: "malformed"},
	})
	checkCarry(t, "INVITE", false, Numbering{Profile: siteProfile(t)}, name, []carryCase{
		one("<sip:0100@x>;reason=unconditional", "<sip:+14255550100@192.0.2.2>;reason=unconditional"),
		one("<sip:55@x>", "<sip:55@192.0.2.2>"),
	})
}

// TestHistoryInfoIsCarried is RFC 7044 5 and 10, RFC 4244 and RFC 4458.
func TestHistoryInfoIsCarried(t *testing.T) {
	for _, kind := range []string{"INVITE", "183", "200", "486"} {
		checkCarry(t, kind, true, Numbering{}, "History-Info", []carryCase{
			one("<sip:+1425@x:5071?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1,<sip:b@y>;index=1.1;rc=1;aor",
				"<sip:+1425@192.0.2.2?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1, <sip:b@192.0.2.2>;index=1.1;rc=1"),
			one("<sip:b@y;cause=486;target=sip:c%40198.51.100.7?Privacy=history&X=1>;index=1.2.1;mp=1.2",
				"<sip:b@192.0.2.2;cause=486?Privacy=history>;index=1.2.1;mp=1.2"),
			one("<tel:+1425>;index=1;np=1", "<tel:+1425>;index=1;np=1"),
			one("<sip:b@y>;index=1;rc=x", "<sip:b@192.0.2.2>;index=1"),
			{
				values: []string{"<sip:b@y?Reason=SIP%3Bcause%3D302%3Btext%3D%22at%20198.51.100.7%22>;index=1"},
				want:   "<sip:b@192.0.2.2?Reason=SIP%3Bcause%3D302>;index=1", why: "address",
			},
			{values: []string{"<sip:b@y?Reason=%40%40>;index=1"}, want: "<sip:b@192.0.2.2>;index=1", why: "malformed"},
			{values: []string{"<sip:gwbox7@y>;index=1"}, want: "<sip:anonymous@anonymous.invalid>;index=1", why: "address"},
			{values: []string{"<sip:b@y>"}, why: "malformed"},
			{values: []string{"<sip:b@y>;index=01"}, why: "malformed"},
			{values: []string{"<sip:b@y>;index=1."}, why: "malformed"},
			{values: []string{"<sip:b@y>;index=1", "<sip:b@y>;index=x"}, why: "malformed"},
		})
	}
}

// TestWordsAreCarried: the headers that are made of words and numbers.
func TestWordsAreCarried(t *testing.T) {
	for _, kind := range []string{"INVITE", "183", "200"} {
		checkCarry(t, kind, true, Numbering{}, "Privacy", []carryCase{
			one("id", "id"),
			one("Id ; user;critical", "id;user;critical"),
			one("header,session", "header;session"),
			{values: []string{"id", "history"}, want: "id;history"},
			one("id;id;tomorrow", "id"),
			one("tomorrow", ""),
			{values: []string{"id;"}, why: "malformed"},
			{values: []string{"id user"}, why: "malformed"},
		})
	}
	checkCarry(t, "INVITE", true, Numbering{}, "P-Early-Media", []carryCase{
		one("supported", "supported"), one("sendrecv, gated", "sendrecv, gated"), one("loud", ""),
		{values: []string{"sendrecv gated"}, why: "malformed"},
	})
	checkCarry(t, "486", true, Numbering{}, "Retry-After", []carryCase{
		one("18000;duration=3600", "18000;duration=3600"),
		one("120 (I'm in a (long) meeting at 198.51.100.7)", "120"),
		one("5;x=y", "5"),
		{values: []string{"-1"}, why: "malformed"},
		{values: []string{"9999999"}, why: "malformed"},
		{values: []string{"5 (open"}, why: "malformed"},
		{values: []string{"5;duration=x"}, why: "malformed"},
	})
	checkCarry(t, "503", true, Numbering{}, "Warning", []carryCase{
		one(`307 isi.edu "Session parameter 'foo' not understood"`, `307 192.0.2.2 "Session parameter 'foo' not understood"`),
		one(`399 198.51.100.7:5060 "no circuit", 370 [2001:db8::1]:5060 "not enough"`, `399 192.0.2.2 "no circuit", 370 192.0.2.2 "not enough"`),
		{values: []string{`399 gwbox7 "gwbox7 is full"`}, why: "address"},
		{values: []string{`399 "no agent"`}, why: "malformed"},
		{values: []string{`299 a "b"`}, why: "malformed"},
		{values: []string{`399 a b`}, why: "malformed"},
	})
}

// TestUserToUserIsCarried is RFC 7433 4.1.
func TestUserToUserIsCarried(t *testing.T) {
	for _, kind := range []string{"INVITE", "180", "200", "603", "BYE"} {
		checkCarry(t, kind, false, Numbering{}, "User-to-User", []carryCase{
			one("00C81031;encoding=hex;purpose=isdn-uui;content=isdn-uui;x=y", "00C81031;purpose=isdn-uui;content=isdn-uui;encoding=hex"),
			one(`"order 7, \"urgent\""`, `"order 7, \"urgent\""`),
			one("a1;purpose=p, b2;purpose=q", "a1;purpose=p, b2;purpose=q"),
			one(strings.Repeat("ab", 256)+";encoding=hex", strings.Repeat("ab", 256)+";encoding=hex"),
			{values: []string{strings.Repeat("ab", 257) + ";encoding=hex"}, why: "too_much"},
			{values: []string{"00C;encoding=hex"}, why: "malformed"},
			{values: []string{"xy;encoding=hex"}, why: "malformed"},
			{values: []string{`"at 198.51.100.7"`}, why: "address"},
			{values: []string{"198.51.100.7, ok"}, want: "ok", why: "address"},
			{values: []string{"a b"}, why: "malformed"},
		})
	}
}

func TestTakeReason(t *testing.T) {
	all := []Header{{"Privacy", "id"}, {"Reason", "Q.850;cause=16"}, {"User-to-User", "00"}}
	reason, rest := TakeReason(all)
	if reason != "Q.850;cause=16" || !slices.Equal(rest, []Header{{"Privacy", "id"}, {"User-to-User", "00"}}) || len(all) != 3 {
		t.Errorf("%q, %v of %v", reason, rest, all)
	}
	if reason, rest = TakeReason(nil); reason != "" || rest != nil {
		t.Errorf("%q, %v of nothing", reason, rest)
	}
}

// TestPhrases: the phrases that everybody sends cross, those with an address do
// not.
func TestPhrases(t *testing.T) {
	for code, phrase := range phrases {
		res := messageOf(t, fmt.Sprint(code)).(*sip.Response)
		if res.Reason = phrase; CarryPhrase(res, Numbering{}) != phrase {
			t.Errorf("%d %q does not cross", code, phrase)
		}
	}
	for phrase, want := range map[string]bool{
		"Besetzt / occupé": true, "Q.850 cause 17": true, "No answer (12:30:45)": true, "v2.11.4": true, "code:404": true, "e.g. busy": true,
		"Busy at 198.51.100.7": false, "Busy at gwbox7": false, "Busy at GWBOX7:15071": false, "by pbx2.trunk.example.net": false,
		"by switch.example": false, "see sip:help": false, "ask ops@trunk": false, "port box:15060": false, "a\nb": false, "\xff": false,
		"configured pbx-9 failed": false,
	} {
		res := messageOf(t, "486").(*sip.Response)
		res.Reason = phrase
		if got := CarryPhrase(res, Numbering{Hide: []string{"PBX-9"}}); (got == phrase) != want || got != "" && got != phrase {
			t.Errorf("%q crosses as %q", phrase, got)
		}
	}
}
