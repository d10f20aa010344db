package transaction

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// tester is what a *testing.T and a *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

const branch = cookie + "77ef4c2312983"

func parse(t tester, text string) sip.Message {
	t.Helper()
	text = strings.ReplaceAll(strings.TrimLeft(text, "\n"), "\n", "\r\n")
	if !strings.HasSuffix(text, "\r\n\r\n") {
		text += "\r\n"
	}
	msg, err := sip.NewParser().ParseSIP([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return msg
}

// requestOf is a request with all that an ACK copies; via and cseq are values.
func requestOf(t tester, method, via, cseq string) *sip.Request {
	t.Helper()
	return parse(t, fmt.Sprintf(`
%s sip:bob@biloxi.example.com SIP/2.0
Via: %s
Route: <sip:first.example.com;lr>
Route: <sip:second.example.com;lr>
Max-Forwards: 12
From: "Alice" <sip:alice@atlanta.example.com>;tag=88sja8x
To: <sip:bob@biloxi.example.com>
Call-ID: 987asjd97y7atg
CSeq: %s
Authorization: Digest username="alice", realm="a"
Proxy-Authorization: Digest username="alice", realm="b"
Proxy-Authorization: Digest username="alice", realm="c"
Contact: <sip:alice@192.0.2.1>
Content-Type: application/sdp
Content-Length: 3

v=0`, method, via, cseq)).(*sip.Request)
}

func request(t tester, method sip.RequestMethod) *sip.Request {
	t.Helper()
	return requestOf(t, string(method), "SIP/2.0/UDP client.example.com:5062;branch="+branch, "986759 "+string(method))
}

// response is one that a server with that To tag gives to req.
func response(req *sip.Request, code int, tag string) *sip.Response {
	res := sip.NewResponse(code, "Whatever")
	sip.CopyHeaders("Via", req, res)
	res.AppendHeader(sip.HeaderClone(req.From()))
	to := sip.HeaderClone(req.To()).(*sip.ToHeader)
	to.Params.Add("tag", tag)
	res.AppendHeader(to)
	res.AppendHeader(sip.HeaderClone(req.CallID()))
	res.AppendHeader(sip.HeaderClone(req.CSeq()))
	return res
}

// ackOf is the ACK of a failure of req.
func ackOf(t tester, req *sip.Request, res *sip.Response) *sip.Request {
	t.Helper()
	c := NewClient(req, false, began)
	_, ack := c.Receive(began, res)
	if ack == nil {
		t.Fatalf("no ACK to %d", res.StatusCode)
	}
	return ack
}

// seconds is a time of the test.
func seconds(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }

func since(at time.Time) float64 {
	if at.IsZero() {
		return -1
	}
	return at.Sub(began).Seconds()
}

func inState(t *testing.T, machine interface{ State() State }, want State) {
	t.Helper()
	if got := machine.State(); got != want {
		t.Fatalf("state %v, want %v", got, want)
	}
}
