package transaction

import (
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// playServer is playClient for a server transaction.
func playServer(s *Server, until time.Time) (sent []float64, gaveUp float64) {
	gaveUp = -1
	for at := s.Next(); !at.IsZero() && !at.After(until); at = s.Next() {
		if resend, timedOut := s.Tick(at.Add(-1)); resend != nil || timedOut {
			panic("Tick did something before its time")
		}
		resend, timedOut := s.Tick(at)
		if resend != nil {
			if resend != s.Last() {
				panic("another response than the last")
			}
			sent = append(sent, since(at))
		}
		if timedOut {
			gaveUp = since(at)
		}
	}
	return sent, gaveUp
}

func mustRespond(t *testing.T, s *Server, at time.Time, res *sip.Response) {
	t.Helper()
	if !s.Respond(at, res) {
		t.Fatalf("%d refused in %v", res.StatusCode, s.State())
	}
	if s.Last() != res {
		t.Fatalf("last is %v", s.Last())
	}
}

// repeats asks for what an INVITE sent again gets.
func repeats(t *testing.T, s *Server, want *sip.Response) {
	t.Helper()
	again, ackUp := s.Receive(began, s.Request().Clone())
	if again != want || ackUp {
		t.Errorf("in %v the request again got %v (ACK up %v), want %v", s.State(), again, ackUp, want)
	}
}

// RFC 3261 17.2.1: Proceeding answers what is repeated with the last response.
func TestInviteServerProceeding(t *testing.T) {
	req := request(t, sip.INVITE)
	s := NewServer(req, false, began)
	inState(t, s, Proceeding)
	repeats(t, s, nil)
	for _, code := range []int{100, 180, 183, 180} {
		res := response(req, code, "a")
		mustRespond(t, s, began, res)
		inState(t, s, Proceeding)
		repeats(t, s, res)
	}
	if !s.Next().IsZero() {
		t.Error("a timer runs")
	}
	if _, up := s.Receive(began, ackOf(t, req, response(req, 486, "a"))); up {
		t.Error("an ACK to nothing went up")
	}
	inState(t, s, Proceeding)
}

// 17.2.1: a failure is repeated at G, doubling to T2, and given up at H.
func TestInviteServerTimersGH(t *testing.T) {
	req := request(t, sip.INVITE)
	s := NewServer(req, false, began)
	mustRespond(t, s, began, response(req, 486, "a"))
	inState(t, s, Completed)
	sent, gaveUp := playServer(s, seconds(100))
	want := []float64{0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5}
	if !slices.Equal(sent, want) || gaveUp != 32 {
		t.Errorf("sent again at %v, given up at %v; want %v and 32", sent, gaveUp, want)
	}
	inState(t, s, Terminated)

	s = NewServer(req, true, began)
	mustRespond(t, s, began, response(req, 486, "a"))
	inState(t, s, Completed)
	if sent, gaveUp := playServer(s, seconds(100)); sent != nil || gaveUp != 32 {
		t.Errorf("reliable: sent again at %v, given up at %v", sent, gaveUp)
	}
	inState(t, s, Terminated)
}

// 17.2.1: Completed repeats its failure, and lets no other response out; the ACK
// ends it, through Confirmed for T4 where ACKs may be repeated.
func TestInviteServerCompletedConfirmed(t *testing.T) {
	req := request(t, sip.INVITE)
	for _, reliable := range []bool{false, true} {
		s := NewServer(req, reliable, began)
		res := response(req, 603, "a")
		mustRespond(t, s, began, res)
		repeats(t, s, res)
		for _, code := range []int{100, 180, 200, 486, 603} {
			if s.Respond(began, response(req, code, "a")) {
				t.Errorf("%d allowed after 603", code)
			}
		}
		repeats(t, s, res)
		if again, up := s.Receive(seconds(1), ackOf(t, req, res)); again != nil || up {
			t.Errorf("ACK got %v, up %v", again, up)
		}
		if reliable {
			inState(t, s, Terminated)
			continue
		}
		inState(t, s, Confirmed)
		repeats(t, s, nil)
		if again, up := s.Receive(seconds(2), ackOf(t, req, res)); again != nil || up {
			t.Errorf("ACK again got %v, up %v", again, up)
		}
		if s.Respond(seconds(2), response(req, 200, "a")) {
			t.Error("200 allowed in Confirmed")
		}
		if at := since(s.Next()); at != 6 {
			t.Errorf("Timer I at %v", at)
		}
		if sent, gaveUp := playServer(s, seconds(6)); sent != nil || gaveUp != -1 {
			t.Errorf("sent %v, gave up %v", sent, gaveUp)
		}
		inState(t, s, Terminated)
		repeats(t, s, nil)
	}
}

// RFC 6026 8.7: Accepted absorbs the INVITE, passes ACKs and 2xx, for 64*T1.
func TestInviteServerAccepted(t *testing.T) {
	req := request(t, sip.INVITE)
	for _, reliable := range []bool{false, true} {
		s := NewServer(req, reliable, began)
		res := response(req, 200, "a")
		mustRespond(t, s, began, res)
		inState(t, s, Accepted)
		repeats(t, s, nil)
		mustRespond(t, s, seconds(1), res) // 13.3.1.4: the user sends it again
		for _, code := range []int{100, 180, 300, 487, 600} {
			if s.Respond(seconds(1), response(req, code, "a")) {
				t.Errorf("%d allowed after 200", code)
			}
		}
		if s.Last() != res {
			t.Errorf("last is %v", s.Last())
		}
		for range 2 {
			if again, up := s.Receive(seconds(2), ackOf(t, req, response(req, 486, "a"))); again != nil || !up {
				t.Errorf("ACK with the INVITE's branch: %v, up %v", again, up)
			}
			inState(t, s, Accepted)
		}
		s.Fail() // 8.8
		inState(t, s, Accepted)
		if at := since(s.Next()); at != 32 {
			t.Errorf("Timer L at %v", at)
		}
		if sent, gaveUp := playServer(s, seconds(32)); sent != nil || gaveUp != -1 {
			t.Errorf("sent %v, gave up %v", sent, gaveUp)
		}
		inState(t, s, Terminated)
		if s.Respond(seconds(33), res) {
			t.Error("200 allowed after Timer L")
		}
	}
}

// 17.2.2.
func TestOtherServer(t *testing.T) {
	req := request(t, sip.BYE)
	for _, reliable := range []bool{false, true} {
		for _, provisional := range []bool{false, true} {
			s := NewServer(req, reliable, began)
			inState(t, s, Trying)
			repeats(t, s, nil)
			if provisional {
				for _, code := range []int{100, 183} {
					res := response(req, code, "a")
					mustRespond(t, s, began, res)
					inState(t, s, Proceeding)
					repeats(t, s, res)
				}
			}
			if !s.Next().IsZero() {
				t.Error("a timer runs")
			}
			res := response(req, 200, "a")
			mustRespond(t, s, seconds(1), res)
			if reliable {
				inState(t, s, Terminated)
				continue
			}
			inState(t, s, Completed)
			repeats(t, s, res)
			for _, code := range []int{100, 200, 404} {
				if s.Respond(seconds(2), response(req, code, "a")) {
					t.Errorf("%d allowed after 200", code)
				}
			}
			if at := since(s.Next()); at != 33 {
				t.Errorf("Timer J at %v", at)
			}
			if sent, gaveUp := playServer(s, seconds(33)); sent != nil || gaveUp != -1 {
				t.Errorf("sent %v, gave up %v", sent, gaveUp)
			}
			inState(t, s, Terminated)
		}
	}
}

// What is not a response is not sent.
func TestServerRespondCodes(t *testing.T) {
	req := request(t, sip.INVITE)
	s := NewServer(req, false, began)
	for _, code := range []int{-1, 0, 99, 700, 1000} {
		if s.Respond(began, response(req, code, "a")) {
			t.Errorf("%d allowed", code)
		}
	}
	inState(t, s, Proceeding)
	if s.Last() != nil {
		t.Error("it is remembered")
	}
}

// 17.2.4.
func TestServerFail(t *testing.T) {
	for _, method := range []sip.RequestMethod{sip.INVITE, sip.BYE} {
		for _, code := range []int{0, 100, 404} {
			req := request(t, method)
			s := NewServer(req, false, began)
			if code != 0 {
				mustRespond(t, s, began, response(req, code, "a"))
			}
			s.Fail()
			inState(t, s, Terminated)
			if !s.Next().IsZero() || s.Respond(began, response(req, 200, "a")) {
				t.Error("it goes on")
			}
		}
	}
}

// 17.2.3: without a unique branch the ACK's To tag must be the response's.
func TestServerOldAck(t *testing.T) {
	const via = "SIP/2.0/UDP client.example.com"
	req := requestOf(t, "INVITE", via, "1 INVITE")
	s := NewServer(req, false, began)
	res := response(req, 486, "ours")
	mustRespond(t, s, began, res)
	ack := requestOf(t, "ACK", via, "1 ACK")
	for _, tag := range []string{"", "another"} {
		if tag != "" {
			ack.To().Params.Add("tag", tag)
		}
		s.Receive(began, ack)
		inState(t, s, Completed)
	}
	ack.To().Params.Add("tag", "ours")
	if a, b := serverKeyOf(t, ack), serverKeyOf(t, req); a != b {
		t.Errorf("server key of the ACK %q, of the INVITE %q", a, b)
	}
	s.Receive(began, ack)
	inState(t, s, Confirmed)
}

// Another method with the transaction's key (which the caller should not hand
// in) changes nothing.
func TestServerOtherMethod(t *testing.T) {
	req := request(t, sip.INVITE)
	s := NewServer(req, false, began)
	mustRespond(t, s, began, response(req, 180, "a"))
	if again, up := s.Receive(began, request(t, sip.CANCEL)); again != nil || up {
		t.Errorf("CANCEL got %v, up %v", again, up)
	}
	other := NewServer(request(t, sip.BYE), false, began)
	if again, up := other.Receive(began, request(t, sip.ACK)); again != nil || up {
		t.Errorf("ACK to BYE got %v, up %v", again, up)
	}
}
