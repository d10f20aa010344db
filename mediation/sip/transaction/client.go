package transaction

import (
	"time"

	"github.com/emiago/sipgo/sip"
)

// Client is a client transaction: a request that we sent (RFC 3261 17.1, figures
// 5 and 6, RFC 6026 figure 3).
type Client struct {
	req      *sip.Request
	key      string
	invite   bool
	reliable bool
	state    State

	again    alarm         // A or E: the request is sent again
	interval time.Duration // what again was set to
	end      alarm         // B, D, F, K or M: the state is left
}

// NewClient begins the transaction of req, which the caller sends now. reliable
// says what its transport is: udp is not. req has a Via with a branch of its own
// and a CSeq with its method; without them no response will match. It is not an
// ACK, which has no transaction: one for a failure comes from Receive, one for a
// 2xx is sent without.
func NewClient(req *sip.Request, reliable bool, now time.Time) *Client {
	c := &Client{req: req, invite: req.Method == sip.INVITE, reliable: reliable, state: Trying}
	c.key, _ = ClientKey(req) // "" matches nothing
	first, limit := TimerE, TimerF
	if c.invite {
		c.state = Calling
		first, limit = TimerA, TimerB
	}
	c.end.set(now, limit)
	if !reliable {
		c.interval = first
		c.again.set(now, c.interval)
	}
	return c
}

// Request is the request as it was sent.
func (c *Client) Request() *sip.Request { return c.req }

// Key is the request's ClientKey.
func (c *Client) Key() string { return c.key }

// State is where the transaction stands.
func (c *Client) State() State { return c.state }

// Next is when Tick is due; zero when no timer runs.
func (c *Client) Next() time.Time { return earlier(c.again, c.end) }

// Fail ends the transaction because its transport cannot send (RFC 3261
// 17.1.4). The user is to be told 503 by the caller, who knows of it.
func (c *Client) Fail() { c.terminate() }

// Receive takes a response that has the transaction's key. up says that the
// user is to see it: every provisional response, the first final one, and every
// 2xx to INVITE, of whichever fork and however often it comes, because each has
// to be acknowledged by the user (RFC 6026 8.4). ack is not nil when the
// response is a failure of INVITE, the first time and every other: it is to be
// sent where the INVITE went (RFC 3261 17.1.1.2).
//
// A response that is not one to this request changes nothing.
func (c *Client) Receive(now time.Time, res *sip.Response) (up bool, ack *sip.Request) {
	if !c.matches(res) {
		return false, nil
	}
	if c.invite {
		return c.receiveInvite(now, res)
	}
	if c.state != Trying && c.state != Proceeding {
		return false, nil // again
	}
	if res.StatusCode < 200 {
		c.state = Proceeding // E runs on, and goes to T2 when it fires
		return true, nil
	}
	c.state = Completed
	c.again.stop()
	c.linger(now, TimerK)
	return true, nil
}

func (c *Client) receiveInvite(now time.Time, res *sip.Response) (up bool, ack *sip.Request) {
	code := res.StatusCode
	waiting := c.state == Calling || c.state == Proceeding
	switch {
	case code < 200 && waiting:
		// Neither A nor B runs in Proceeding: from here it takes as long as it
		// takes (17.1.1.2).
		c.state = Proceeding
		c.again.stop()
		c.end.stop()
		return true, nil
	case code >= 200 && code < 300 && waiting:
		c.state = Accepted
		c.again.stop()
		c.end.set(now, TimerM) // on every transport: forks do not know of it
		return true, nil
	case code >= 200 && code < 300 && c.state == Accepted:
		return true, nil
	case code >= 300 && waiting:
		c.state = Completed
		c.again.stop()
		c.linger(now, TimerD)
		return true, c.ack(res)
	case code >= 300 && c.state == Completed:
		return false, c.ack(res)
	}
	return false, nil
}

// linger stays in a state that absorbs what is repeated, as long as anything can
// be: on a reliable transport not at all.
func (c *Client) linger(now time.Time, d time.Duration) {
	if c.reliable {
		c.terminate()
		return
	}
	c.end.set(now, d)
}

func (c *Client) terminate() {
	c.state = Terminated
	c.again.stop()
	c.end.stop()
}

// Tick does what is due at now. resend: the request is to be sent again.
// timedOut: nothing came back in time (Timer B or F), the transaction is over
// and the user is to be told 408 (RFC 3261 8.1.3.1). Called too early or too
// late it does no harm: a request that missed several turns is sent once.
func (c *Client) Tick(now time.Time) (resend, timedOut bool) {
	if c.end.due(now) {
		timedOut = c.state == Calling || c.state == Trying || (c.state == Proceeding && !c.invite)
		c.terminate()
		return false, timedOut
	}
	if !c.again.due(now) {
		return false, false
	}
	c.interval *= 2
	if !c.invite {
		c.interval = min(c.interval, T2)
		if c.state == Proceeding {
			c.interval = T2 // 17.1.2.2
		}
	}
	c.again.set(now, c.interval)
	return true, false
}

// matches checks what RFC 3261 17.1.3 asks for, the branch and the CSeq method,
// and that the response can be understood at all.
func (c *Client) matches(res *sip.Response) bool {
	if res.StatusCode < 100 || res.StatusCode > 699 || res.To() == nil {
		return false
	}
	key, err := ClientKey(res)
	return err == nil && key == c.key && res.CSeq().SeqNo == c.req.CSeq().SeqNo
}

// ack is the ACK of a failure: it belongs to the INVITE's transaction, and the
// server knows it by the same branch (RFC 3261 17.1.1.3). It carries the
// INVITE's credentials, because it cannot be challenged (22.1), and no body.
func (c *Client) ack(res *sip.Response) *sip.Request {
	ack := sip.NewRequest(sip.ACK, *c.req.Recipient.Clone())
	ack.AppendHeader(c.req.Via().Clone())
	sip.CopyHeaders("Route", c.req, ack)
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	ack.AppendHeader(&maxForwards)
	if from := c.req.From(); from != nil {
		ack.AppendHeader(sip.HeaderClone(from))
	}
	ack.AppendHeader(sip.HeaderClone(res.To()))
	if callID := c.req.CallID(); callID != nil {
		ack.AppendHeader(sip.HeaderClone(callID))
	}
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: c.req.CSeq().SeqNo, MethodName: sip.ACK})
	sip.CopyHeaders("Authorization", c.req, ack)
	sip.CopyHeaders("Proxy-Authorization", c.req, ack)
	ack.SetBody(nil)
	ack.SetTransport(c.req.Transport())
	return ack
}

// maxForwardsInitial is the recommended value (RFC 3261 8.1.1.6).
const maxForwardsInitial = 70
