package sip

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func parseRequest(t *testing.T, lines ...string) *sip.Request {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		t.Fatal("not a request")
	}
	return req
}

func parseResponse(t *testing.T, lines ...string) *sip.Response {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return msg.(*sip.Response)
}

func invite(t *testing.T, extra ...string) *sip.Request {
	return parseRequest(t, append([]string{
		"INVITE sip:+14255550100@192.0.2.1 SIP/2.0",
		"Via: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK1",
		`From: "Alice +1" <sip:+12065550100@192.0.2.9>;tag=fromtag`,
		"To: <sip:+14255550100@192.0.2.1>",
		"Call-ID: c1@192.0.2.9",
		"CSeq: 7 INVITE",
		"Contact: <sip:alice@192.0.2.9:5070;transport=tcp>",
		"Max-Forwards: 70",
	}, extra...)...)
}

func TestServerDialogBuildsRequests(t *testing.T) { // RFC 3261 12.1.1, 12.2.1.1
	d, err := newServerDialog(invite(t, "Record-Route: <sip:p1.example;lr>", "Record-Route: <sip:p2.example;lr>"), "ourtag")
	if err != nil {
		t.Fatal(err)
	}
	bye := d.request(sip.BYE, 0)
	if got := bye.Recipient.String(); got != "sip:alice@192.0.2.9:5070;transport=tcp" {
		t.Errorf("request URI %s, want the caller's Contact", got)
	}
	if got := bye.CSeq().SeqNo; got != 1 {
		t.Errorf("first CSeq %d", got)
	}
	if tag, _ := bye.From().Params.Get("tag"); tag != "ourtag" {
		t.Errorf("From tag %q", tag)
	}
	if tag, _ := bye.To().Params.Get("tag"); tag != "fromtag" {
		t.Errorf("To tag %q", tag)
	}
	// A server keeps the order of Record-Route (12.1.1).
	routes := bye.GetHeaders("Route")
	if len(routes) != 2 || !strings.Contains(routes[0].Value(), "p1.example") {
		t.Errorf("routes %v", routes)
	}
	if got := d.nextHop().Host; got != "p1.example" {
		t.Errorf("next hop %s", got)
	}
	if d.request(sip.OPTIONS, 0).CSeq().SeqNo != 2 {
		t.Error("CSeq does not grow by one")
	}
}

func TestServerDialogNeedsContact(t *testing.T) { // RFC 3261 8.1.1.8
	req := invite(t)
	req.RemoveHeader("Contact")
	if _, err := newServerDialog(req, "x"); err == nil {
		t.Fatal("a dialog without a remote target")
	}
}

func TestClientDialogReversesRecordRoute(t *testing.T) { // RFC 3261 12.1.2
	d := newClientDialog(invite(t))
	d.establish(parseResponse(t,
		"SIP/2.0 200 OK",
		"Via: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK1",
		"Record-Route: <sip:near.example;lr>, <sip:far.example;lr>",
		"From: <sip:+12065550100@192.0.2.9>;tag=fromtag",
		"To: <sip:+14255550100@192.0.2.1>;tag=remote",
		"Call-ID: c1@192.0.2.9",
		"CSeq: 7 INVITE",
		"Contact: <sip:gw@192.0.2.50:5062>"))
	ack := d.request(sip.ACK, 7)
	if ack.CSeq().SeqNo != 7 || ack.CSeq().MethodName != sip.ACK {
		t.Errorf("ACK CSeq %v", ack.CSeq())
	}
	routes := ack.GetHeaders("Route")
	if len(routes) != 2 || !strings.Contains(routes[0].Value(), "far.example") {
		t.Errorf("routes %v, want the response's Record-Route reversed", routes)
	}
	if ack.Recipient.Host != "192.0.2.50" {
		t.Errorf("request URI %s", ack.Recipient.String())
	}
	if tag, _ := ack.To().Params.Get("tag"); tag != "remote" {
		t.Errorf("To tag %q", tag)
	}
	if d.request(sip.BYE, 0).CSeq().SeqNo != 8 {
		t.Error("BYE must follow the INVITE's CSeq by one")
	}
}

func TestStrictRouter(t *testing.T) { // RFC 3261 12.2.1.1
	d, _ := newServerDialog(invite(t, "Record-Route: <sip:strict.example>", "Record-Route: <sip:loose.example;lr>"), "x")
	bye := d.request(sip.BYE, 0)
	if bye.Recipient.Host != "strict.example" {
		t.Errorf("request URI %s, want the strict router", bye.Recipient.String())
	}
	routes := bye.GetHeaders("Route")
	if len(routes) != 2 || !strings.Contains(routes[1].Value(), "alice@192.0.2.9") {
		t.Errorf("routes %v, want the target last", routes)
	}
}

func TestSequence(t *testing.T) { // RFC 3261 12.2.2
	d, _ := newServerDialog(invite(t), "x")
	for _, step := range []struct {
		seq  uint32
		want seqVerdict
	}{{7, seqSame}, {6, seqStale}, {8, seqNext}, {8, seqSame}, {100, seqNext}, {99, seqStale}, {101, seqNext}} {
		if got := d.receive(step.seq); got != step.want {
			t.Errorf("CSeq %d: verdict %d, want %d", step.seq, got, step.want)
		}
	}
}

func TestTargetRefreshKeepsGoodTarget(t *testing.T) {
	d, _ := newServerDialog(invite(t), "x")
	star := sip.ContactHeader{}
	star.Address.Wildcard = true
	d.refresh(&star)
	d.refresh(nil)
	if d.target.Host != "192.0.2.9" {
		t.Errorf("target %s", d.target.String())
	}
}

// What no request line can hold is neither target nor route.
func TestDialogUnusableAddresses(t *testing.T) {
	for uri, want := range map[string]bool{
		"sip:127.0.0.2": true, "sips:a@b.example;transport=tls": true, "tel:+1": false, "mailto:a@b.example": false, "sip:": false,
	} {
		var u sip.Uri
		if err := sip.ParseUri(uri, &u); err == nil && addressable(&u) != want {
			t.Errorf("%s: %v, want %v", uri, addressable(&u), want)
		}
	}
	res := sip.NewResponse(200, "OK")
	res.AppendHeader(&sip.RecordRouteHeader{Address: sip.Uri{Wildcard: true}})
	res.AppendHeader(&sip.RecordRouteHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.2"}})
	if routes := recordedRoute(res); len(routes) != 1 || routes[0].Host != "127.0.0.2" {
		t.Errorf("routes %v", routes)
	}
	d := &dialog{target: sip.Uri{Scheme: "sip", Host: "127.0.0.3"}}
	d.refresh(&sip.ContactHeader{Address: sip.Uri{Wildcard: true}})
	d.refresh(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip"}})
	if d.target.Host != "127.0.0.3" {
		t.Errorf("target %v", d.target)
	}
}
