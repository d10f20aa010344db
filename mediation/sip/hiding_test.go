package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

// sideA is what a side is known by: none of it may show on the other.
type sideA struct {
	v4, v6 string
	names  []string
	port   int
}

func drawSideA(t *rapid.T) sideA {
	octet := func(name string) int { return rapid.IntRange(0, 255).Draw(t, name) }
	label := rapid.StringMatching(`[a-z][a-z0-9]{2,6}[a-z][0-9]{2}`)
	domain := label.Draw(t, "domain") + ".example.net"
	return sideA{
		v4: fmt.Sprintf("10.%d.%d.%d", octet("b"), octet("c"), octet("d")),
		v6: netip.AddrFrom16([16]byte{0xfd, 7: byte(octet("6b")), 15: byte(octet("6c"))}).String(),
		names: []string{
			label.Draw(t, "host") + "." + domain, label.Draw(t, "host") + "." + domain, label.Draw(t, "single"),
		},
		port: rapid.IntRange(15000, 15999).Draw(t, "port"),
	}
}

// host is one of the side's hosts, as it stands in a URI.
func (a sideA) host(t *rapid.T) string {
	hosts := append([]string{a.v4, "[" + a.v6 + "]"}, a.names...)
	h := rapid.SampledFrom(hosts).Draw(t, "host")
	if rapid.Bool().Draw(t, "upper") {
		h = strings.ToUpper(h)
	}
	if rapid.Bool().Draw(t, "with port") {
		h = fmt.Sprintf("%s:%d", h, a.port)
	}
	return h
}

// text is words, with one of the side's hosts among them or without.
func (a sideA) text(t *rapid.T) string {
	word := rapid.SampledFrom([]string{"Busy", "at", "circuit", "Zoë", "17", "(no)", "R&D"})
	words := rapid.SliceOfN(word, 0, 3).Draw(t, "words")
	if rapid.Bool().Draw(t, "leaks") {
		h := a.host(t)
		switch rapid.IntRange(0, 4).Draw(t, "glued") {
		case 0:
			h = "[" + h + "]"
		case 1:
			h = "<" + h + ">/x"
		case 2:
			h = "sip:alice@" + h
		case 3:
			h = strings.ReplaceAll(a.v4, ".", "-") + ".gw"
		}
		words = append(words, h, word.Draw(t, "after"))
	}
	return strings.Join(words, " ")
}

// user is a user part, which may have an address in it.
func (a sideA) user(t *rapid.T) string {
	bare := strings.Trim(a.host(t), "[]")
	switch rapid.IntRange(0, 11).Draw(t, "user") {
	case 0:
		return a.v4
	case 1:
		return "alice%40" + strings.ReplaceAll(strings.ReplaceAll(bare, ":", "%3A"), "]", "")
	case 2:
		return "%31" + strings.TrimPrefix(a.v4, "1")
	case 3:
		return a.names[0]
	case 4:
		return "+14255550100;tgrp=trunk7;trunk-context=" + a.names[1]
	case 5:
		return "+14255550100;ext=" + a.v4 + ";phone-context=" + a.names[0]
	case 6:
		return "alice:" + a.names[2]
	case 7:
		return "alice"
	case 8:
		return "%2B1425-555-0100"
	default:
		return "+14255550100"
	}
}

func (a sideA) uri(t *rapid.T) string {
	if rapid.IntRange(0, 5).Draw(t, "tel") == 0 {
		return "tel:+1-425-555-0100;phone-context=" + a.names[0] + ";ext=7"
	}
	u := rapid.SampledFrom([]string{"sip:", "sips:"}).Draw(t, "scheme") + a.user(t) + "@" + a.host(t)
	for _, p := range []string{";maddr=" + a.v4, ";received=" + a.v4, ";gr=urn:" + a.names[2], ";user=phone", ";transport=tls;lr", ";phone-context=" + a.names[0]} {
		if rapid.IntRange(0, 3).Draw(t, "param") == 0 {
			u += p
		}
	}
	return u
}

func (a sideA) nameAddr(t *rapid.T) string {
	return quote(a.text(t)) + " <" + a.uri(t) + ">"
}

// carried are values of every header of the table.
func (a sideA) carried(t *rapid.T) []Header {
	embedded := "?Reason=" + escapeHeader("SIP;cause=302;text="+quote(a.text(t))) + "&Contact=" + escapeHeader("<"+a.uri(t)+">")
	history := "<sip:" + a.user(t) + "@" + a.host(t) + embedded + ">;index=1;x=" + quote(a.text(t))
	return []Header{
		{"P-Asserted-Identity", a.nameAddr(t)},
		{"P-Asserted-Identity", a.nameAddr(t)},
		{"Diversion", a.nameAddr(t) + ";reason=" + quote(a.text(t)) + ";counter=1;at=" + a.v4 + ", " + a.nameAddr(t)},
		{"History-Info", history},
		{"Reason", "Q.850;cause=17;text=" + quote(a.text(t)) + ";node=" + a.names[1]},
		{"User-to-User", quote(a.text(t)) + ";content=" + a.names[0]},
		{"Warning", "399 " + a.host(t) + " " + quote(a.text(t))},
		{"Retry-After", "5 (" + strings.NewReplacer("(", "", ")", "").Replace(a.text(t)) + ");at=" + a.names[1]},
		{"Privacy", "id;" + a.names[2]},
		{"P-Early-Media", "supported, " + a.names[2]},
	}
}

// leaks finds a part of what a side is known by in text, escapes undone.
func (a sideA) leaks(text string) string {
	text = strings.ToLower(text)
	for _, form := range []string{text, unescape(text), strings.ReplaceAll(text, `\`, "")} {
		for _, part := range append([]string{a.v4, a.v6, strings.ReplaceAll(a.v4, ".", "-"), fmt.Sprint(a.port)}, a.names...) {
			if strings.Contains(form, part) {
				return part
			}
		}
	}
	return ""
}

// TestNothingOfOneSideShowsOnTheOther: messages that have a side's addresses,
// names and ports wherever there is room for them, and nothing of it in what the
// other side is sent.
func TestNothingOfOneSideShowsOnTheOther(t *testing.T) {
	carried := map[string]int{}
	property := func(t *rapid.T) {
		a := drawSideA(t)
		toGateway := rapid.Bool().Draw(t, "to gateway")
		n := Numbering{RemovePlus: rapid.Bool().Draw(t, "remove plus"), Withheld: &Withheld{}}
		kind := rapid.SampledFrom([]string{"INVITE", "180", "200", "486", "BYE", "CANCEL"}).Draw(t, "kind")
		msg := a.message(t, kind)
		shown := Carry(msg, toGateway, n, gatewayHop, "192.0.2.2")
		switch msg := msg.(type) {
		case *sip.Request:
			if kind != "INVITE" {
				break
			}
			present := n.FromGateway
			if toGateway {
				present = n.ToGateway
			}
			out := present(PartiesOf(msg), gatewayHop, "192.0.2.2")
			shown = append(out.Headers,
				Header{"Request-URI", out.RequestURI.String()}, Header{"From", out.From.Value()}, Header{"To", out.To.Value()})
		case *sip.Response:
			msg.Reason = a.text(t)
			shown = append(shown, Header{"reason phrase", CarryPhrase(msg, n)})
		}
		for _, h := range shown {
			carried[h.Name]++
			if part := a.leaks(h.Value); part != "" {
				t.Fatalf("%q shows in %s: %s\nof\n%s", part, h.Name, h.Value, msg)
			}
			if hasControl(h.Value) {
				t.Fatalf("control character in %s: %q", h.Name, h.Value)
			}
		}
	}
	rapid.Check(t, property)
	// What carries nothing leaks nothing: every header has to be there at times,
	// and chance may leave a rare one out for a while.
	missing := func() (names []string) {
		for _, line := range carriedHeaders {
			if carried[line.name] == 0 {
				names = append(names, line.name)
			}
		}
		return names
	}
	for rounds := 0; len(missing()) > 0 && rounds < 20; rounds++ {
		rapid.Check(t, property)
	}
	if names := missing(); len(names) > 0 {
		t.Errorf("never carried: %v", names)
	}
}

func (a sideA) message(t *rapid.T, kind string) sip.Message {
	first, method, tag := kind+" "+a.uri(t)+" SIP/2.0", kind, ""
	if kind[0] <= '9' {
		first, method, tag = "SIP/2.0 "+kind+" OK", "INVITE", ";tag=b"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\r\nVia: SIP/2.0/TCP %s;branch=z9hG4bK1;received=%s\r\n", first, a.host(t), a.v4)
	fmt.Fprintf(&b, "From: %s;tag=a\r\nTo: %s%s\r\nCall-ID: 1@%s\r\nCSeq: 1 %s\r\n", a.nameAddr(t), a.nameAddr(t), tag, a.names[1], method)
	fmt.Fprintf(&b, "Contact: <sip:%s>\r\nRecord-Route: <sip:%s;lr>\r\n", a.host(t), a.host(t))
	fmt.Fprintf(&b, "Route: <sip:%s>, <sip:%s>, <sip:x@%s>\r\n", a.names[0], a.names[1], a.names[2])
	for _, h := range a.carried(t) {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	fmt.Fprintf(&b, "Content-Length: 0\r\n\r\n")
	msg, err := sip.ParseMessage([]byte(b.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return msg
}

// TestUserParts is seed-facts P2, P3 and P5, RFC 3966 5.1.1 and RFC 4904.
func TestUserParts(t *testing.T) {
	for in, want := range map[string]struct{ kept, removed, normalized string }{
		"sip:+14255550100@a":                         {"sip:+14255550100@h", "sip:14255550100@h", "sip:+14255550100@h"},
		"sip:%2B14255550100@a":                       {"sip:+14255550100@h", "sip:14255550100@h", "sip:+14255550100@h"},
		"sip:%2b1-425-555-0100@a":                    {"sip:+1-425-555-0100@h", "sip:1-425-555-0100@h", "sip:+14255550100@h"},
		"sip:(206)555-0100@a":                        {"sip:(206)555-0100@h", "sip:(206)555-0100@h", "sip:+12065550100@h"},
		"sip:%30100@a":                               {"sip:0100@h", "sip:0100@h", "sip:+14255550100@h"},
		"sip:al%69ce@a":                              {"sip:alice@h", "sip:alice@h", "sip:alice@h"},
		"sip:a%20b%3bc%2F@q":                         {"sip:a%20b%3Bc%2F@h", "sip:a%20b%3Bc%2F@h", "sip:a%20b%3Bc%2F@h"},
		"sip:%23312%23@a":                            {"sip:%23312%23@h", "sip:%23312%23@h", "sip:%23312%23@h"},
		"sip:#31#@a":                                 {"sip:#31#@h", "sip:#31#@h", "sip:#31#@h"},
		"sip:alice%40corp.example:9@a":               {"sip:alice@h", "sip:alice@h", "sip:alice@h"},
		"sip:%40corp@a":                              {"sip:h", "sip:h", "sip:h"},
		"sip:192.0.2.77@a":                           {"sip:h", "sip:h", "sip:h"},
		"sip:alice;tgrp=t;trunk-context=x;EXT=7@a":   {"sip:alice;EXT=7@h", "sip:alice;EXT=7@h", "sip:alice;EXT=7@h"},
		"sip:0100;phone-context=a.example@a.example": {"sip:0100@h", "sip:0100@h", "sip:+14255550100@h"},
		"sip:0100;phone-context=dial.plan@a":         {"sip:0100;phone-context=dial.plan@h", "sip:0100;phone-context=dial.plan@h", "sip:+14255550100;phone-context=dial.plan@h"},
		"sip:0100@a;USER=Phone;Phone-Context=x;gr":   {"sip:0100@h;user=phone;phone-context=x", "sip:0100@h;user=phone;phone-context=x", "sip:+14255550100@h;user=phone;phone-context=x"},
		"tel:+1-425-555-0100;x=y;ext=7":              {"tel:+1-425-555-0100;ext=7", "tel:1-425-555-0100;ext=7", "tel:+14255550100;ext=7"},
		"tel:alice":                                  {"sip:h", "sip:h", "sip:h"},
		"mailto:alice@a":                             {"sip:h", "sip:h", "sip:h"},
		"urn:service:sos":                            {"sip:h", "sip:h", "sip:h"},
		"sip:a.example":                              {"sip:h", "sip:h", "sip:h"},
		"sips:bob:secret@a?Subject=x":                {"sip:bob@h", "sip:bob@h", "sip:bob@h"},
		"sip:Anonymous@ANONYMOUS.invalid;user=phone": {"sip:Anonymous@anonymous.invalid;user=phone", "sip:Anonymous@anonymous.invalid;user=phone", "sip:Anonymous@anonymous.invalid;user=phone"},
	} {
		for _, tt := range []struct {
			toGateway, remove bool
			want              string
		}{{true, false, want.kept}, {true, true, want.removed}, {false, true, want.normalized}} {
			var u sip.Uri
			if err := sip.ParseUri(in, &u); err != nil {
				t.Fatal(err)
			}
			c := Numbering{RemovePlus: tt.remove, Profile: siteProfile(t)}.crossing(nil, tt.toGateway, "h")
			c.hidden.host(u.Host)
			out, _ := c.uri(&u, "h")
			c.number("x", &out)
			if out.String() != tt.want {
				t.Errorf("%s to gateway %v, without plus %v: %s, want %s", in, tt.toGateway, tt.remove, out.String(), tt.want)
			}
		}
	}
}

// TestDisplayNames: as they came, or not at all; escapes stay right.
func TestDisplayNames(t *testing.T) {
	for in, want := range map[string]string{
		`"Alice"`:                     `"Alice"`,
		`Alice Ng`:                    `"Alice Ng"`,
		`"J. Smith, R\\D \"x\""`:      `"J. Smith, R\\D \"x\""`,
		`"J.Smith"`:                   `"J.Smith"`,
		`"Zoë"`:                       `"Zoë"`,
		`"a\Zb"`:                      `"aZb"`,
		`"Alice (198.51.100.7)"`:      "",
		`"Alice 198\.51\.100\.7"`:     "",
		`"gwbox7"`:                    "",
		`"x.trunk.example.net"`:       "",
		`"198.51.100.7:15071"`:        "",
		`"2001:db8::7"`:               "",
		`"ip-198-51-100-7"`:           "",
		`"` + long("x", 129) + `"`:    "",
		`"+1 (425) 555-0100"`:         `"+1 (425) 555-0100"`,
		`"12:30:45"`:                  `"12:30:45"`,
		`"1.2.3"`:                     `"1.2.3"`,
		`"mygwbox7s"`:                 `"mygwbox7s"`,
		`"%67wbox7"`:                  "",
		`"` + long("%2525", 20) + `"`: `"` + long("%2525", 20) + `"`,
	} {
		req := messageOf(t, "INVITE").(*sip.Request)
		p := PartiesOf(req)
		if _, err := sip.ParseAddressValue(in+" <sip:bob@198.51.100.7>", &p.From.Address, nil); err != nil {
			t.Fatal(err)
		}
		p.From.DisplayName, _ = sip.ParseAddressValue(in+" <sip:bob@198.51.100.7>", &p.From.Address, nil)
		out := Numbering{}.ToGateway(p, gatewayHop, "192.0.2.2")
		got := strings.TrimSpace(strings.TrimSuffix(out.From.Value(), "<sip:bob@192.0.2.2>"))
		if got != want {
			t.Errorf("%s shows as %s, want %s", in, got, want)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

// TestAssertedIdentityOfThePeer: the rules add one only where the gateway has
// asserted none (seed-facts P7).
func TestAssertedIdentityOfThePeer(t *testing.T) {
	for pai, want := range map[string]string{
		"":                                     "<sip:55;phone-context=enterprise@192.0.2.2;user=phone>",
		"<tel:+14255550100>":                   "<tel:+14255550100>",
		"<sip:56@x>":                           "<sip:56;phone-context=enterprise@192.0.2.2;user=phone>",
		"<sip:198.51.100.7@x>":                 "<sip:55;phone-context=enterprise@192.0.2.2;user=phone>",
		"broken":                               "<sip:55;phone-context=enterprise@192.0.2.2;user=phone>",
		`"Ng" <sip:0100@x>, <tel:+1425555010>`: `"Ng" <sip:+14255550100@192.0.2.2>, <tel:+1425555010>`,
	} {
		var headers []Header
		if pai != "" {
			headers = append(headers, Header{assertedIdentity, pai}, Header{"Privacy", "id"})
		}
		p := PartiesOf(messageOf(t, "INVITE", headers...).(*sip.Request))
		p.From.Address.User = "55"
		out := Numbering{Profile: siteProfile(t)}.FromGateway(p, gatewayHop, "192.0.2.2")
		var got []string
		for _, h := range out.Headers {
			if h.Name == assertedIdentity {
				got = append(got, h.Value)
			}
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%q: asserted %q, want %q", pai, got, want)
		}
	}
}

// TestHostsOfAMessage: what stands in the place of a host anywhere is hidden.
func TestHostsOfAMessage(t *testing.T) {
	req := messageOf(t, "INVITE",
		Header{"X-Trunk", "sip:+1425;ext=5@xhost1;lr"}, Header{"Referred-By", `"a@b" <sips:xhost2>`}, Header{"Call-Info", "<http://xhost3/i.png>"},
		Header{"Path", "<sip:a@x;maddr=xhost4>"}, Header{"P-Charging-Vector", "icid-value=1;icid-generated-at=xhost5"}, Header{"Subject", "sip%3Axhost6"},
		Header{"Diversion", "<sip:+1;trunk-context=xhost7@x>"},
	).(*sip.Request)
	req.SetBody([]byte("v=0\r\no=- 1 1 IN IP4 xhost8\r\ns=-\r\nc=IN IP4 xhost9/127\r\na=rtcp:5 IN IP4 xhost10\r\n"))
	h := hiddenIn(req, []string{"XHOST11"})
	for i := 1; i <= 11; i++ {
		if host := fmt.Sprintf("xhost%d", i); !h.in("on " + host + " today") {
			t.Errorf("%s is not hidden, of %q", host, h.names)
		}
	}
	if h.in("ext today") || h.in("lr") || h.in("z9hG4bK1") {
		t.Errorf("parameters are taken for hosts: %q", h.names)
	}
}

// TestManyHosts: a message that names more hosts than are looked for has no text
// that crosses, and costs no more.
func TestManyHosts(t *testing.T) {
	req := messageOf(t, "INVITE", Header{"X-Hosts", manyHosts(2000)})
	h := hiddenIn(req, nil)
	if len(h.names) > maxHosts+2 {
		t.Errorf("%d names are looked for", len(h.names))
	}
	if !h.in("Alice") || h.in("") {
		t.Error("a text crosses")
	}
}

func manyHosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "<sip:h%dx>,", i)
	}
	return b.String()
}
