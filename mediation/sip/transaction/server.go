package transaction

import (
	"time"

	"github.com/emiago/sipgo/sip"
)

// Server is a server transaction: a request that we received (RFC 3261 17.2,
// figures 7 and 8, RFC 6026 figure 5).
type Server struct {
	req      *sip.Request
	invite   bool
	reliable bool
	state    State
	last     *sip.Response

	again    alarm         // G: the failure is sent again
	interval time.Duration // what again was set to
	end      alarm         // H, I, J or L: the state is left
}

// NewServer begins the transaction of req, which has just been received for the
// first time and is not an ACK. reliable says what its transport is: udp is not.
// A 100 to INVITE is the user's to send, at once or within 200 ms when nothing
// better is known by then (RFC 3261 17.2.1). An INVITE begins in Proceeding,
// anything else in Trying.
func NewServer(req *sip.Request, reliable bool, _ time.Time) *Server {
	s := &Server{req: req, invite: req.Method == sip.INVITE, reliable: reliable, state: Trying}
	if s.invite {
		s.state = Proceeding
	}
	return s
}

// Request is the request as it came first.
func (s *Server) Request() *sip.Request { return s.req }

// Last is the response sent last, nil before the first.
func (s *Server) Last() *sip.Response { return s.last }

// State is where the transaction stands.
func (s *Server) State() State { return s.state }

// Next is when Tick is due; zero when no timer runs.
func (s *Server) Next() time.Time { return earlier(s.again, s.end) }

// Fail ends the transaction because its responses cannot be sent (RFC 3261
// 17.2.4). After a 2xx to INVITE it changes nothing: the user repeats that, on
// whichever way it finds (RFC 6026 8.8).
func (s *Server) Fail() {
	if s.state != Accepted {
		s.terminate()
	}
}

// Receive takes a request that has the transaction's ServerKey: the same once
// more, or an ACK. resend is the response to be sent again, nil when there is
// none to repeat: not before the first response, and not after a 2xx to INVITE,
// which the user repeats by its own clock. ackUp says that the request is an ACK
// that the user is to see: a peer acknowledged our 2xx with the branch of its
// INVITE, against RFC 3261 13.2.2.4 (RFC 6026 8.7). The ACK of a failure is
// absorbed.
func (s *Server) Receive(now time.Time, req *sip.Request) (resend *sip.Response, ackUp bool) {
	if req.Method == sip.ACK {
		return nil, s.receiveAck(now, req)
	}
	if req.Method != s.req.Method {
		return nil, false
	}
	if s.state == Proceeding || s.state == Completed {
		return s.last, false
	}
	return nil, false
}

func (s *Server) receiveAck(now time.Time, ack *sip.Request) (up bool) {
	if !s.invite {
		return false
	}
	switch s.state {
	case Accepted:
		return true
	case Completed:
		if !s.acknowledges(ack) {
			return false
		}
		s.again.stop()
		if s.reliable {
			s.terminate()
			return false
		}
		s.state = Confirmed
		s.end.set(now, TimerI)
	default: // before an answer there is nothing to acknowledge, after it is done
	}
	return false
}

// acknowledges says whether an ACK is one of our failure. With a unique branch
// it is; without, its To tag has to be the response's too (RFC 3261 17.2.3).
func (s *Server) acknowledges(ack *sip.Request) bool {
	if via := ack.Via(); via == nil || unique(param(via.Params, "branch")) {
		return via != nil
	}
	to, sent := ack.To(), s.last.To()
	return to != nil && sent != nil && param(to.Params, "tag") == param(sent.Params, "tag")
}

// Respond says whether the user may send res now, and remembers it. Any number
// of provisional responses may go before one final one; after a 2xx to INVITE
// further 2xx may (RFC 6026 8.7), because the user repeats it until its ACK
// comes. Everything else is refused, and nothing changes.
func (s *Server) Respond(now time.Time, res *sip.Response) bool {
	code := res.StatusCode
	if code < 100 || code > 699 {
		return false
	}
	success := code >= 200 && code < 300
	switch s.state {
	case Trying, Proceeding:
		s.last = res
		switch {
		case code < 200:
			s.state = Proceeding
		case !s.invite:
			s.completeOther(now)
		case success:
			s.state = Accepted
			s.end.set(now, TimerL)
		default:
			s.completeInvite(now)
		}
		return true
	case Accepted:
		if success {
			s.last = res
		}
		return success
	default: // a final response has been sent
		return false
	}
}

func (s *Server) completeInvite(now time.Time) {
	s.state = Completed
	s.end.set(now, TimerH) // on every transport: it waits for the ACK
	if !s.reliable {
		s.interval = TimerG
		s.again.set(now, s.interval)
	}
}

func (s *Server) completeOther(now time.Time) {
	if s.reliable {
		s.terminate()
		return
	}
	s.state = Completed
	s.end.set(now, TimerJ)
}

func (s *Server) terminate() {
	s.state = Terminated
	s.again.stop()
	s.end.stop()
}

// Tick does what is due at now. resend is a failure to be sent again. timedOut:
// no ACK to it came (Timer H), and the transaction is over. Called too early or
// too late it does no harm.
func (s *Server) Tick(now time.Time) (resend *sip.Response, timedOut bool) {
	if s.end.due(now) {
		timedOut = s.state == Completed && s.invite
		s.terminate()
		return nil, timedOut
	}
	if !s.again.due(now) {
		return nil, false
	}
	s.interval = min(2*s.interval, T2)
	s.again.set(now, s.interval)
	return s.last, false
}
