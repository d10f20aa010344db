package ua

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// allowed are the methods that an endpoint serves.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS"

// Reply says how an incoming call is answered. The zero value rings and answers at once.
type Reply struct {
	// Ring is when 180 is sent, from the arrival of the INVITE. Negative, or later than Answer: never.
	Ring time.Duration
	// EarlyMedia sends 183 with SDP instead of 180 without, and audio from then on.
	EarlyMedia bool
	// Answer is when the final response is sent, from the arrival of the INVITE.
	Answer time.Duration
	// Code is the final response; 0 is 200. Others refuse the call.
	Code    int
	Reason  string   // the phrase; default: what RFC 3261 says, or nothing
	Headers []Header // added to the final response
	// HangupAfter ends the call, from the answer; 0: never.
	HangupAfter time.Duration
}

var (
	errCancelled = errors.New("the caller cancelled")
	errGivenUp   = errors.New("hung up while ringing")
	errNoAck     = errors.New("no ACK came to the 200")
)

// onInvite runs an incoming call until it is answered or refused, on the goroutine of its transaction.
func (u *UA) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if tag, ok := req.To().Params.Get("tag"); ok {
		u.onReinvite(req, tx, tag)
		return
	}
	c, err := u.newCall(nil)
	if err != nil {
		u.log.Error("a call cannot be taken", "error", err)
		u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusInternalServerError, err.Error(), nil))
		return
	}
	c.invite = newInvite(req, req.Source())
	c.incoming(req)
	if err := u.enter(c); err != nil {
		c.media.stop()
		u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusServiceUnavailable, "Service Unavailable", nil))
		return
	}
	if !tx.OnCancel(func(cancel *sip.Request) { c.end(Remote, get(headersOf(cancel), "Reason"), errCancelled) }) {
		c.end(Remote, "", errCancelled)
	}
	reply := u.config.OnInvite(c)
	if err := c.take(req, tx, reply); err != nil {
		c.end(Local, "", err)
		c.finish()
		return
	}
	go c.supervise(reply.HangupAfter) // waited for through u.active
}

// incoming fills the dialog from an INVITE.
func (c *Call) incoming(req *sip.Request) {
	d := &c.dialog
	d.callID, d.localTag = req.CallID().Value(), rand.Text()[:10]
	d.local = req.To().AsFrom()
	d.remote = req.From().AsTo()
	if c.ua.config.ReuseConnection {
		d.destination = req.Source()
	}
}

// take answers the call by reply. It returns nil when the call is established.
func (c *Call) take(req *sip.Request, tx sip.ServerTransaction, reply Reply) error {
	tag, _ := req.From().Params.Get("tag")
	if err := c.dialog.establish(req, tag); err != nil {
		return c.refuse(req, tx, Reply{Code: sip.StatusBadRequest, Reason: "Bad Contact"}, err)
	}
	offer, err := parseDescription(req.Body())
	var s *session
	var answer *description
	if err == nil {
		s, answer, err = c.ua.answer(offer, c.media, nil)
	}
	if err != nil {
		return c.refuse(req, tx, Reply{Code: sip.StatusNotAcceptableHere}, err)
	}
	body := c.describe(answer)
	if reply.Ring == 0 || reply.Ring > 0 && reply.Ring < reply.Answer {
		if err := c.wait(req, tx, reply.Ring); err != nil {
			return err
		}
		c.ring(req, tx, reply, s, body)
	}
	if err := c.wait(req, tx, reply.Answer); err != nil {
		return err
	}
	if reply.Code != 0 && reply.Code != sip.StatusOK {
		return c.refuse(req, tx, reply, nil)
	}
	return c.accept(req, tx, reply, s, body)
}

// wait sleeps until so long after the INVITE. It fails when the call is over before: the caller's CANCEL has been
// answered then, and a Hangup of ours it answers.
func (c *Call) wait(req *sip.Request, tx sip.ServerTransaction, after time.Duration) error {
	timer := time.NewTimer(time.Until(c.invite.At.Add(after)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.over:
		return c.Err()
	case <-c.hangup:
	case <-c.ua.stopping.Done():
	}
	return c.refuse(req, tx, Reply{Code: sip.StatusTemporarilyUnavailable}, errGivenUp)
}

func (c *Call) ring(req *sip.Request, tx sip.ServerTransaction, reply Reply, s *session, body []byte) {
	res := c.responseTo(req, sip.StatusRinging, "Ringing")
	if reply.EarlyMedia {
		res = c.responseTo(req, sip.StatusSessionInProgress, "Session Progress")
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		res.SetBody(body)
		c.establish(s)
	}
	c.ua.respond(tx, res)
}

// responseTo builds a response of our dialog.
func (c *Call) responseTo(req *sip.Request, code int, reason string) *sip.Response {
	res := sip.NewResponseFromRequest(req, code, reason, nil)
	res.To().Params.Add("tag", c.dialog.localTag)
	res.AppendHeader(c.ua.contact())
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	res.AppendHeader(sip.NewHeader("Server", c.ua.config.Name))
	return res
}

// refuse sends the final response of reply and returns why as an error.
func (c *Call) refuse(req *sip.Request, tx sip.ServerTransaction, reply Reply, why error) error {
	if reply.Reason == "" {
		reply.Reason = phrase(reply.Code)
	}
	res := c.responseTo(req, reply.Code, reply.Reason)
	for _, h := range reply.Headers {
		res.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	c.ua.respond(tx, res)
	return errors.Join(fmt.Errorf("refused with %d %s", reply.Code, reply.Reason), why)
}

// accept sends the 200 until its ACK comes (RFC 3261 section 13.3.1.4). A Hangup waits for the ACK too (section 15).
func (c *Call) accept(req *sip.Request, tx sip.ServerTransaction, reply Reply, s *session, body []byte) error {
	res := c.responseTo(req, sip.StatusOK, "OK")
	for _, h := range reply.Headers {
		res.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(body)
	limit := time.NewTimer(64 * sip.T1)
	defer limit.Stop()
	for pause := sip.T1; ; pause = min(2*pause, sip.T2) {
		if err := tx.Respond(res); err != nil {
			return fmt.Errorf("200: %w", err)
		}
		c.answer(s)
		again := time.NewTimer(pause)
		select {
		case <-again.C:
			continue
		case <-c.acked:
		case <-tx.Acks(): // one with the branch of the INVITE, which RFC 2543 allowed
		case <-c.over:
		case <-c.ua.stopping.Done():
		case <-limit.C:
			again.Stop()
			c.bye(errNoAck)
			return errNoAck
		}
		again.Stop()
		return nil
	}
}

// answer marks the call answered and starts the audio, once.
func (c *Call) answer(s *session) {
	c.mu.Lock()
	first := c.answered.IsZero()
	if first {
		c.answered = time.Now()
	}
	c.mu.Unlock()
	if first {
		c.establish(s)
	}
}

func phrase(code int) string {
	switch code {
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 408:
		return "Request Timeout"
	case 480:
		return "Temporarily Unavailable"
	case 484:
		return "Address Incomplete"
	case 486:
		return "Busy Here"
	case 487:
		return "Request Terminated"
	case 488:
		return "Not Acceptable Here"
	case 500:
		return "Server Internal Error"
	case 503:
		return "Service Unavailable"
	case 600:
		return "Busy Everywhere"
	case 603:
		return "Decline"
	}
	return ""
}
