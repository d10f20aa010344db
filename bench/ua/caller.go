package ua

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/bench/tone"
)

// Options of a call that is placed. The zero value calls as the endpoint's Name.
type Options struct {
	// From is the user part of From, such as "+14255550100", or a whole URI. Default: the endpoint's Name.
	From string
	// DisplayName is put before the URI in From.
	DisplayName string
	// To is the URI in To. Default: the target without parameters.
	To string
	// Destination is the address and port to send to. Default: what the target says.
	Destination string
	Headers     []Header      // added to the INVITE
	Audio       tone.Source   // default: Config.Audio
	HangupAfter time.Duration // from the answer; 0: never
}

// ResponseError is a call that was not answered with success.
type ResponseError struct {
	Code      int
	Reason    string     // the phrase
	Responses []Response // all, the last of which is the final one
}

func (e *ResponseError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Reason) }

// Final is the response that ended it.
func (e *ResponseError) Final() *Response { return &e.Responses[len(e.Responses)-1] }

// Call places a call to a SIP URI and returns when it is answered, and the ACK sent. Audio flows then, and already
// before when the peer gave early media.
//
// It fails with a *ResponseError in the chain when the peer refuses, and with ErrSDP when it accepts with an answer
// that does not fit the offer; such a call is hung up. When ctx ends first, the call is cancelled, and the error has
// both ctx's and the peer's final answer, a 487 as a rule. It waits for Run to have begun.
func (u *UA) Call(ctx context.Context, target string, o Options) (*Call, error) {
	select {
	case <-u.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := u.newCall(o.Audio)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", target, err)
	}
	req, err := u.newInvite(c, target, &o)
	if err == nil {
		err = u.enter(c)
	}
	if err != nil {
		c.media.stop()
		return nil, fmt.Errorf("call %s: %w", target, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(u.stopping, func() { cancel(errClosed) })()
	if err := c.place(ctx, req); err != nil {
		c.end(Local, "", err)
		c.finish()
		return nil, fmt.Errorf("call %s: %w", target, err)
	}
	go c.supervise(o.HangupAfter) // waited for through u.active
	return c, nil
}

func (u *UA) newInvite(c *Call, target string, o *Options) (*sip.Request, error) {
	d := &c.dialog
	if err := sip.ParseUri(target, &d.target); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	var err error
	if d.local.Address, err = u.fromURI(o.From); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	d.local.DisplayName = o.DisplayName
	d.remote.Address = sip.Uri{Scheme: d.target.Scheme, User: d.target.User, Host: d.target.Host}
	if o.To != "" {
		d.remote.Address = sip.Uri{}
		if err := sip.ParseUri(o.To, &d.remote.Address); err != nil {
			return nil, fmt.Errorf("to: %w", err)
		}
	}
	d.callID, d.localTag, d.seq = rand.Text(), rand.Text()[:10], 1
	d.destination = o.Destination
	req := u.request(d, sip.INVITE, d.seq)
	req.AppendHeader(u.contact())
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	for _, h := range o.Headers {
		req.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
	c.offer = u.offer(c.media)
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(c.describe(c.offer))
	if err := asBuilt(u.client, req); err != nil {
		return nil, err
	}
	c.invite = newInvite(req, "")
	return req, nil
}

func (u *UA) fromURI(from string) (sip.Uri, error) {
	if !strings.Contains(from, ":") {
		if from == "" {
			from = u.config.Name
		}
		return sip.Uri{Scheme: "sip", User: from, Host: u.addr.Addr().String()}, nil
	}
	var uri sip.Uri
	err := sip.ParseUri(from, &uri)
	return uri, err
}

// place sends the INVITE and waits for the call to be answered.
func (c *Call) place(ctx context.Context, req *sip.Request) error {
	tx, err := c.ua.client.TransactionRequest(ctx, req, asBuilt)
	if err != nil {
		return err
	}
	ringing := false
	for {
		select {
		case <-ctx.Done():
			return c.cancel(req, tx, ringing, context.Cause(ctx))
		case <-tx.Done():
			return tx.Err()
		case res := <-tx.Responses():
			final, err := c.response(tx, res)
			if final {
				return err
			}
			if err != nil {
				return c.cancel(req, tx, true, err)
			}
			ringing = true
		}
	}
}

// response takes a response to the INVITE and reports whether it is the final one.
func (c *Call) response(tx sip.ClientTransaction, res *sip.Response) (final bool, err error) {
	c.mu.Lock()
	c.responses = append(c.responses, Response{
		Code: res.StatusCode, Reason: res.Reason, Headers: headersOf(res), SDP: string(res.Body()), At: time.Now(),
	})
	all := c.responses
	c.mu.Unlock()
	switch {
	case res.IsProvisional():
		if len(res.Body()) > 0 {
			err = c.hear(res)
		}
		return false, err
	case res.IsSuccess():
		return true, c.confirm(tx, res)
	}
	return true, &ResponseError{Code: res.StatusCode, Reason: res.Reason, Responses: all}
}

// hear takes the SDP answer of a response.
func (c *Call) hear(res *sip.Response) error {
	answer, err := parseDescription(res.Body())
	if err != nil {
		return err
	}
	s, err := c.ua.accept(c.offer, answer)
	if err != nil {
		return err
	}
	c.establish(s)
	return nil
}

// confirm acknowledges a 2xx and starts the call, or hangs up at once when its answer is no good.
func (c *Call) confirm(tx sip.ClientTransaction, res *sip.Response) error {
	tag, _ := res.To().Params.Get("tag")
	if err := c.dialog.establish(res, tag); err != nil {
		tx.Terminate()
		return err
	}
	// The dialog is copied, because its owner counts requests in it while copies of the 2xx are answered with copies of
	// the ACK (RFC 3261 section 13.2.2.4).
	d := c.dialog
	ack := func() error { return c.ua.client.WriteRequest(c.ua.request(&d, sip.ACK, 1), asBuilt) }
	tx.OnRetransmission(func(*sip.Response) {
		if err := ack(); err != nil {
			c.ua.log.Error("an ACK cannot be repeated", "error", err)
		}
	})
	if err := ack(); err != nil {
		tx.Terminate()
		return fmt.Errorf("ACK: %w", err)
	}
	c.mu.Lock()
	c.answered = time.Now()
	heard := c.session != nil
	c.mu.Unlock()
	if len(res.Body()) > 0 || !heard {
		if err := c.hear(res); err != nil {
			c.bye(err)
			return err
		}
	}
	return nil
}

// cancel gives up an unanswered call (RFC 3261 section 9.1): a CANCEL may follow only a provisional response.
// It returns why, and how the peer took it.
func (c *Call) cancel(req *sip.Request, tx sip.ClientTransaction, ringing bool, why error) error {
	defer tx.Terminate()
	why = fmt.Errorf("cancelled: %w", why)
	limit := time.NewTimer(byeWait)
	defer limit.Stop()
	for cancelled := false; ; {
		if ringing && !cancelled {
			cancelled = true
			if err := c.sendCancel(req); err != nil {
				return errors.Join(why, fmt.Errorf("CANCEL: %w", err))
			}
		}
		select {
		case <-limit.C:
			return errors.Join(why, errors.New("no final response to a cancelled INVITE"))
		case <-tx.Done():
			return errors.Join(why, tx.Err())
		case res := <-tx.Responses():
			final, err := c.response(tx, res)
			ringing = true
			if final && err == nil { // the answer crossed the CANCEL
				c.bye(nil)
			}
			if final {
				return errors.Join(why, err)
			}
		}
	}
}

// sendCancel repeats of the INVITE what makes a CANCEL match it (RFC 3261 section 9.1).
func (c *Call) sendCancel(invite *sip.Request) error {
	d := c.dialog
	d.remoteTag, d.routes = "", nil
	req := c.ua.request(&d, sip.CANCEL, 1)
	req.PrependHeader(invite.Via().Clone())
	ctx, cancel := context.WithTimeout(context.Background(), byeWait)
	defer cancel()
	res, err := c.ua.client.Do(ctx, req, asBuilt)
	if err == nil && !res.IsSuccess() {
		err = fmt.Errorf("%d %s", res.StatusCode, res.Reason)
	}
	return err
}
