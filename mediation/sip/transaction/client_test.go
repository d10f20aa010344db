package transaction

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// play ticks a client transaction whenever it asks for it, up to a time, and
// returns when the request was sent again and when it was given up; -1: never.
func playClient(c *Client, until time.Time) (sent []float64, gaveUp float64) {
	gaveUp = -1
	for at := c.Next(); !at.IsZero() && !at.After(until); at = c.Next() {
		if resend, timedOut := c.Tick(at.Add(-1)); resend || timedOut {
			panic("Tick did something before its time")
		}
		resend, timedOut := c.Tick(at)
		if resend {
			sent = append(sent, since(at))
		}
		if timedOut {
			gaveUp = since(at)
		}
	}
	return sent, gaveUp
}

// RFC 3261 17.1.1.2: INVITE over UDP with no answer at all: seven sendings with
// the first, and 64*T1 in all.
func TestInviteClientTimersAB(t *testing.T) {
	c := NewClient(request(t, sip.INVITE), false, began)
	inState(t, c, Calling)
	sent, gaveUp := playClient(c, seconds(100))
	if want := []float64{0.5, 1.5, 3.5, 7.5, 15.5, 31.5}; !slices.Equal(sent, want) || gaveUp != 32 {
		t.Errorf("sent again at %v, given up at %v; want %v and 32", sent, gaveUp, want)
	}
	inState(t, c, Terminated)
}

// Over TCP it is sent once, and given up after the same time.
func TestInviteClientReliable(t *testing.T) {
	c := NewClient(request(t, sip.INVITE), true, began)
	if sent, gaveUp := playClient(c, seconds(100)); sent != nil || gaveUp != 32 {
		t.Errorf("sent again at %v, given up at %v", sent, gaveUp)
	}
}

// 17.1.1.2: a provisional response ends both timers: it takes as long as it takes.
func TestInviteClientProceeding(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		req := request(t, sip.INVITE)
		c := NewClient(req, reliable, began)
		for i, code := range []int{100, 183, 180, 180} {
			up, ack := c.Receive(seconds(float64(i)), response(req, code, "a"))
			if !up || ack != nil {
				t.Errorf("%d: up %v, ack %v", code, up, ack)
			}
			inState(t, c, Proceeding)
		}
		if !c.Next().IsZero() {
			t.Errorf("a timer runs in Proceeding, at %v", since(c.Next()))
		}
		if resend, timedOut := c.Tick(seconds(3600)); resend || timedOut {
			t.Error("Tick did something in Proceeding")
		}
	}
}

// RFC 6026 8.4: in Accepted every 2xx goes up, of this fork and of others,
// nothing else does, and Timer M ends it on every transport.
func TestInviteClientAccepted(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		for _, first := range []int{0, 180} {
			req := request(t, sip.INVITE)
			c := NewClient(req, reliable, began)
			if first != 0 {
				c.Receive(began, response(req, first, "a"))
			}
			at := seconds(2)
			for _, r := range []struct {
				code int
				tag  string
				up   bool
			}{{200, "a", true}, {200, "a", true}, {202, "b", true}, {180, "c", false}, {486, "c", false}, {603, "a", false}} {
				up, ack := c.Receive(at, response(req, r.code, r.tag))
				if up != r.up || ack != nil {
					t.Errorf("%d of %s: up %v, ack %v", r.code, r.tag, up, ack)
				}
				inState(t, c, Accepted)
				at = at.Add(time.Second)
			}
			if sent, gaveUp := playClient(c, seconds(33.9)); sent != nil || gaveUp != -1 {
				t.Errorf("sent %v, gave up %v", sent, gaveUp)
			}
			inState(t, c, Accepted)
			if _, gaveUp := playClient(c, seconds(34)); gaveUp != -1 {
				t.Error("Timer M told the user of a time-out")
			}
			inState(t, c, Terminated)
			if up, _ := c.Receive(seconds(34), response(req, 200, "a")); up {
				t.Error("2xx went up after Timer M")
			}
		}
	}
}

// 17.1.1.2: in Completed a failure sent again gets the ACK again and stays
// below; Timer D ends it after 32 s.
func TestInviteClientCompleted(t *testing.T) {
	for code := 300; code < 700; code += 57 {
		req := request(t, sip.INVITE)
		c := NewClient(req, false, began)
		up, ack := c.Receive(seconds(1), response(req, code, "a"))
		if !up || ack == nil {
			t.Fatalf("%d: up %v, ack %v", code, up, ack)
		}
		inState(t, c, Completed)
		for _, later := range []float64{1.5, 2.5, 32.9} {
			up, again := c.Receive(seconds(later), response(req, code, "a"))
			if up || again == nil || again.String() != ack.String() {
				t.Errorf("%d again: up %v, ack\n%v\nwant\n%v", code, up, again, ack)
			}
		}
		for _, stray := range []int{100, 180, 200} {
			if up, ack := c.Receive(seconds(3), response(req, stray, "b")); up || ack != nil {
				t.Errorf("%d in Completed: up %v, ack %v", stray, up, ack)
			}
		}
		if sent, gaveUp := playClient(c, seconds(32.9)); sent != nil || gaveUp != -1 {
			t.Errorf("sent %v, gave up %v", sent, gaveUp)
		}
		inState(t, c, Completed)
		if _, gaveUp := playClient(c, seconds(33)); gaveUp != -1 {
			t.Error("Timer D told the user of a time-out")
		}
		inState(t, c, Terminated)
	}
}

// Timer D is zero on a reliable transport: the ACK goes out and all is over.
func TestInviteClientCompletedReliable(t *testing.T) {
	req := request(t, sip.INVITE)
	c := NewClient(req, true, began)
	if up, ack := c.Receive(seconds(1), response(req, 486, "a")); !up || ack == nil {
		t.Errorf("up %v, ack %v", up, ack)
	}
	inState(t, c, Terminated)
	if up, ack := c.Receive(seconds(1), response(req, 486, "a")); up || ack != nil {
		t.Errorf("after the end: up %v, ack %v", up, ack)
	}
}

// RFC 3261 17.1.1.3 with its own example, and 22.1 for the credentials.
func TestAckOfFailure(t *testing.T) {
	req := request(t, sip.INVITE)
	c := NewClient(req, false, began)
	c.Receive(began, response(req, 180, "early"))
	challenge := response(req, 401, "99sa0xk")
	_, ack := c.Receive(began, challenge)
	want := strings.ReplaceAll(`ACK sip:bob@biloxi.example.com SIP/2.0
Via: SIP/2.0/UDP client.example.com:5062;branch=z9hG4bK77ef4c2312983
Route: <sip:first.example.com;lr>
Route: <sip:second.example.com;lr>
Max-Forwards: 70
From: "Alice" <sip:alice@atlanta.example.com>;tag=88sja8x
To: <sip:bob@biloxi.example.com>;tag=99sa0xk
Call-ID: 987asjd97y7atg
CSeq: 986759 ACK
Authorization: Digest username="alice", realm="a"
Proxy-Authorization: Digest username="alice", realm="b"
Proxy-Authorization: Digest username="alice", realm="c"
Content-Length: 0

`, "\n", "\r\n")
	if got := ack.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	ack.Via().Params.Add("branch", "changed")
	ack.To().Params.Add("tag", "changed")
	ack.From().Params.Add("tag", "changed")
	if text := req.String() + challenge.String(); strings.Contains(text, "changed") || c.Key() != mustKey(t, req) {
		t.Error("the ACK shares its headers with the INVITE")
	}
	// Its server knows it by the INVITE's key.
	if a, b := serverKeyOf(t, ackOf(t, req, response(req, 486, "a"))), serverKeyOf(t, req); a != b {
		t.Errorf("server key of the ACK %q, of the INVITE %q", a, b)
	}
	// The To tag is that of the response acknowledged, whichever that is.
	if _, other := c.Receive(began, response(req, 500, "other")); !strings.Contains(other.String(), "tag=other") {
		t.Errorf("ACK to another failure has %v", other.To())
	}
	// One Via, whatever the INVITE had.
	req.AppendHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "below.example.com"})
	if n := len(ackOf(t, req, response(req, 486, "a")).GetHeaders("Via")); n != 1 {
		t.Errorf("%d Via in the ACK", n)
	}
}

// RFC 3261 17.1.2.2: E doubles up to T2, F gives up after 64*T1.
func TestOtherClientTimersEF(t *testing.T) {
	c := NewClient(request(t, sip.OPTIONS), false, began)
	inState(t, c, Trying)
	sent, gaveUp := playClient(c, seconds(100))
	want := []float64{0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5}
	if !slices.Equal(sent, want) || gaveUp != 32 {
		t.Errorf("sent again at %v, given up at %v; want %v and 32", sent, gaveUp, want)
	}
	inState(t, c, Terminated)

	c = NewClient(request(t, sip.BYE), true, began)
	if sent, gaveUp := playClient(c, seconds(100)); sent != nil || gaveUp != 32 {
		t.Errorf("reliable: sent again at %v, given up at %v", sent, gaveUp)
	}
}

// 17.1.2.2: after a provisional response E runs at T2 once it has fired, and F
// runs on.
func TestOtherClientProceeding(t *testing.T) {
	req := request(t, sip.BYE)
	c := NewClient(req, false, began)
	c.Tick(seconds(0.5))
	if up, _ := c.Receive(seconds(1), response(req, 100, "a")); !up {
		t.Error("100 did not go up")
	}
	inState(t, c, Proceeding)
	sent, gaveUp := playClient(c, seconds(100))
	want := []float64{1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5}
	if !slices.Equal(sent, want) || gaveUp != 32 {
		t.Errorf("sent again at %v, given up at %v; want %v and 32", sent, gaveUp, want)
	}
}

// 17.1.2.2: Completed absorbs for T4, on a reliable transport not at all.
func TestOtherClientCompleted(t *testing.T) {
	for code := 200; code < 700; code += 83 {
		for _, first := range []int{0, 100} {
			req := request(t, sip.BYE)
			c := NewClient(req, false, began)
			if first != 0 {
				c.Receive(began, response(req, first, "a"))
			}
			if up, ack := c.Receive(seconds(1), response(req, code, "a")); !up || ack != nil {
				t.Errorf("%d: up %v, ack %v", code, up, ack)
			}
			inState(t, c, Completed)
			for _, again := range []int{100, 200, code, 503} {
				if up, ack := c.Receive(seconds(2), response(req, again, "a")); up || ack != nil {
					t.Errorf("%d after %d: up %v, ack %v", again, code, up, ack)
				}
			}
			if at := since(c.Next()); at != 6 {
				t.Errorf("Timer K at %v", at)
			}
			if sent, gaveUp := playClient(c, seconds(100)); sent != nil || gaveUp != -1 {
				t.Errorf("sent %v, gave up %v", sent, gaveUp)
			}
			inState(t, c, Terminated)
		}
	}
	req := request(t, sip.BYE)
	c := NewClient(req, true, began)
	if up, _ := c.Receive(began, response(req, 200, "a")); !up {
		t.Error("200 did not go up")
	}
	inState(t, c, Terminated)
}

// 17.1.3: branch and CSeq method; and what cannot be a response to this.
func TestClientMatches(t *testing.T) {
	req := request(t, sip.INVITE)
	c := NewClient(req, false, began)
	for name, spoil := range map[string]func(*sip.Response){
		"another branch":     func(r *sip.Response) { r.Via().Params.Add("branch", branch+"x") },
		"branch, other case": func(r *sip.Response) { r.Via().Params.Add("branch", strings.ToUpper(branch)) },
		"no branch":          func(r *sip.Response) { r.Via().Params.Remove("branch") },
		"no Via":             func(r *sip.Response) { r.RemoveHeader("Via") },
		"method of CANCEL":   func(r *sip.Response) { r.CSeq().MethodName = sip.CANCEL },
		"method of ACK":      func(r *sip.Response) { r.CSeq().MethodName = sip.ACK },
		"another number":     func(r *sip.Response) { r.CSeq().SeqNo++ },
		"no CSeq":            func(r *sip.Response) { r.RemoveHeader("CSeq") },
		"no To":              func(r *sip.Response) { r.RemoveHeader("To") },
		"code 99":            func(r *sip.Response) { r.StatusCode = 99 },
		"code 700":           func(r *sip.Response) { r.StatusCode = 700 },
		"code 0":             func(r *sip.Response) { r.StatusCode = 0 },
		"code -1":            func(r *sip.Response) { r.StatusCode = -1 },
	} {
		for _, code := range []int{180, 200, 486} {
			res := response(req, code, "a")
			spoil(res)
			if up, ack := c.Receive(began, res); up || ack != nil {
				t.Errorf("%s: %d matched", name, code)
			}
			inState(t, c, Calling)
		}
	}
	for _, method := range []sip.RequestMethod{sip.INVITE, sip.CANCEL} {
		req := request(t, method)
		if key, err := ClientKey(response(req, 200, "a")); err != nil || key != NewClient(req, false, began).Key() {
			t.Errorf("%v: key of the response %q, %v", method, key, err)
		}
	}
}

// A request without what its transaction is known by: nothing matches, nothing
// panics, and it is given up in time.
func TestClientWithoutKey(t *testing.T) {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", Host: "example.com"})
	c := NewClient(req, false, began)
	res := response(request(t, sip.INVITE), 486, "a")
	res.RemoveHeader("Via")
	if up, ack := c.Receive(began, res); up || ack != nil {
		t.Error("a response without Via matched")
	}
	if _, gaveUp := playClient(c, seconds(100)); gaveUp != 32 {
		t.Errorf("given up at %v", gaveUp)
	}
}

// 17.1.4.
func TestClientFail(t *testing.T) {
	for _, method := range []sip.RequestMethod{sip.INVITE, sip.BYE} {
		for _, code := range []int{0, 100, 200, 404} {
			req := request(t, method)
			c := NewClient(req, false, began)
			if code != 0 {
				c.Receive(began, response(req, code, "a"))
			}
			c.Fail()
			inState(t, c, Terminated)
			if !c.Next().IsZero() {
				t.Error("a timer runs")
			}
			if up, ack := c.Receive(began, response(req, 200, "a")); up || ack != nil {
				t.Error("it hears responses")
			}
		}
	}
}

// Who is late sends once, and from then on as far apart as ever.
func TestClientLateTick(t *testing.T) {
	c := NewClient(request(t, sip.INVITE), false, began)
	if resend, timedOut := c.Tick(seconds(10)); !resend || timedOut {
		t.Errorf("resend %v, timed out %v", resend, timedOut)
	}
	if at := since(c.Next()); at != 11 {
		t.Errorf("next at %v", at)
	}
	if resend, timedOut := c.Tick(seconds(40)); resend || !timedOut {
		t.Errorf("resend %v, timed out %v", resend, timedOut)
	}
}
