package sip

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestValidate(t *testing.T) {
	base := map[string]string{
		"line": "INVITE sip:+14255550100@192.0.2.1 SIP/2.0",
		"Via":  "SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK1",
		"From": "<sip:+12065550100@192.0.2.9>;tag=f", "To": "<sip:+14255550100@192.0.2.1>",
		"Call-ID": "c1", "CSeq": "7 INVITE", "Max-Forwards": "70", "Contact": "<sip:192.0.2.9>",
	}
	order := []string{"Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Contact"}
	tests := []struct {
		name   string
		change map[string]string // "" removes the header
		extra  string
		code   int
		header string
	}{
		{name: "good"},
		{name: "tel URI", change: map[string]string{"line": "INVITE tel:+14255550100 SIP/2.0"}},
		{name: "8.1.1.3 no From", change: map[string]string{"From": ""}, code: 400},
		{name: "8.1.1.3 From without tag", change: map[string]string{"From": "<sip:a@b>"}, code: 400},
		{name: "8.1.1.2 no To", change: map[string]string{"To": ""}, code: 400},
		{name: "8.1.1.4 no Call-ID", change: map[string]string{"Call-ID": ""}, code: 400},
		{name: "8.1.1.5 CSeq of another method", change: map[string]string{"CSeq": "7 BYE"}, code: 400},
		{name: "two From", extra: "From: <sip:x@y>;tag=z", code: 400},
		{name: "7.1 version", change: map[string]string{"line": "INVITE sip:a@192.0.2.1 SIP/3.0"}, code: 505},
		{name: "8.2.1 unknown method", change: map[string]string{"line": "NEWMETHOD sip:a@192.0.2.1 SIP/2.0", "CSeq": "7 NEWMETHOD"}, code: 501, header: "Allow"},
		{name: "8.2.1 method not served", change: map[string]string{"line": "REGISTER sip:a@192.0.2.1 SIP/2.0", "CSeq": "7 REGISTER"}, code: 405, header: "Allow"},
		{name: "8.2.2.1 scheme", change: map[string]string{"line": "INVITE nobodyKnowsThisScheme:x SIP/2.0"}, code: 416},
		{name: "8.2.2.3 Require", extra: "Require: 100rel, nothingSupportsThis", code: 420, header: "Unsupported"},
		{name: "16.3 Max-Forwards", change: map[string]string{"Max-Forwards": "0"}, code: 483},
		{name: "19.1.1 headers in the Request-URI", change: map[string]string{"line": "INVITE sip:a@192.0.2.1?Route=%3Csip:x%3E SIP/2.0"}, code: 400},
		{name: "header injection by a bare LF", change: map[string]string{"From": "\"a\nEvil: 1\" <sip:a@b>;tag=f"}, code: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			value := func(k string) string {
				if v, ok := tt.change[k]; ok {
					return v
				}
				return base[k]
			}
			lines := []string{value("line")}
			for _, h := range order {
				if v := value(h); v != "" {
					lines = append(lines, h+": "+v)
				}
			}
			if tt.extra != "" {
				lines = append(lines, tt.extra)
			}
			req := parseRequest(t, lines...)
			f := checkForm(req)
			if f == nil {
				f = validate(req)
			}
			switch {
			case f == nil && tt.code != 0:
				t.Fatalf("accepted, want %d", tt.code)
			case f != nil && f.Code != tt.code:
				t.Fatalf("%d %s, want %d", f.Code, f.Warning, tt.code)
			case f != nil && tt.header != "" && (len(f.Headers) == 0 || f.Headers[0].Name != tt.header):
				t.Errorf("headers %v, want %s", f.Headers, tt.header)
			}
		})
	}
}

func TestBodyTypes(t *testing.T) { // RFC 3261 8.2.3
	for contentType, want := range map[string]int{
		"application/sdp": 0, "Application/SDP; charset=utf-8": 0, "text/plain": 415, "multipart/mixed;boundary=x": 415,
	} {
		req := invite(t)
		h := sip.ContentTypeHeader(contentType)
		req.AppendHeader(&h)
		req.SetBody([]byte("v=0\r\n"))
		got := 0
		if f := validate(req); f != nil {
			got = f.Code
		}
		if got != want {
			t.Errorf("%s: %d, want %d", contentType, got, want)
		}
	}
}

func TestWarningIsOneLine(t *testing.T) {
	v := warningValue("192.0.2.1", "offered \"x\"\r\nEvil: 1")
	if strings.ContainsAny(v, "\r\n") || !strings.HasPrefix(v, `399 192.0.2.1 "offered \"x\"`) {
		t.Errorf("%q", v)
	}
}

// FuzzRequest feeds what the parser lets through to everything that judges it.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:e@f>\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("BYE tel:+1;phone-context=x SIP/2.0\r\nVia: SIP/2.0/UDP c\r\nf: a <sip:a>;tag=1\r\nt: <tel:0>;tag=2\r\ni: x\r\nCSeq: 4294967295 BYE\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := sip.ParseMessage(data)
		if err != nil {
			return
		}
		switch m := msg.(type) {
		case *sip.Request:
			if checkForm(m) != nil || validate(m) != nil {
				return
			}
			p := PartiesOf(m)
			for _, n := range []Numbering{{}, {RemovePlus: true}} {
				for _, out := range []Parties{n.ToGateway(p, Hop{Host: "h", Port: 1}, "l"), n.FromGateway(p, Hop{Host: "h", Port: 1}, "l")} {
					if strings.ContainsAny(out.RequestURI.String()+out.From.Value()+out.To.Value(), "\r\n") {
						t.Fatalf("a line break crosses: %v", out)
					}
				}
			}
			if d, err := newServerDialog(m, "tag"); err == nil {
				d.receive(m.CSeq().SeqNo + 1)
				_ = d.request(sip.BYE, 0).String()
			}
		case *sip.Response:
			if m.To() == nil || m.Via() == nil {
				return
			}
			d := &dialog{local: sip.FromHeader{}, remote: sip.ToHeader{}}
			d.establish(m)
			_ = d.request(sip.BYE, 0).String()
			_ = (&usage{env: &environment{}}).carried(m)
		}
	})
}
