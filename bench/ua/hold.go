package ua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Direction is which way audio goes, seen from the end that says it (RFC 3264 section 5.1).
type Direction string

// The directions, as they stand in SDP. A call begins with SendRecv; SendOnly and Inactive hold the peer.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

func (d Direction) sends() bool    { return d == SendRecv || d == SendOnly }
func (d Direction) receives() bool { return d == SendRecv || d == RecvOnly }

func between(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// answering is the answer to an offer by somebody who wants d (RFC 3264 section 6.1).
func (d Direction) answering(offer Direction) Direction {
	return between(d.sends() && offer.receives(), d.receives() && offer.sends())
}

// Offer is a re-INVITE of the peer.
type Offer struct {
	Direction Direction
	SDP       string
	At        time.Time
}

// Offers returns the re-INVITEs of the peer so far, of an answered call. One without SDP is not among them.
func (c *Call) Offers() []Offer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.offers)
}

type reoffer struct {
	direction Direction
	rekey     bool       // a new key, and the direction as it is
	done      chan error // of one
}

type reinvite struct {
	req  *sip.Request
	done chan *sip.Response // of one
}

// Reoffer changes the direction of an answered call by a re-INVITE: SendOnly and Inactive hold the peer, SendRecv resumes.
// It fails with a *ResponseError in the chain when the peer refuses, which leaves the call as it was.
func (c *Call) Reoffer(ctx context.Context, d Direction) error {
	if err := c.change(ctx, reoffer{direction: d}); err != nil {
		return fmt.Errorf("offer %s: %w", d, err)
	}
	return nil
}

// Rekey gives an answered call under SRTP a new key for what we send, by a re-INVITE. It fails as Reoffer does.
func (c *Call) Rekey(ctx context.Context) error {
	if err := c.change(ctx, reoffer{rekey: true}); err != nil {
		return fmt.Errorf("offer a new key: %w", err)
	}
	return nil
}

// change has the goroutine of the call send a re-INVITE and waits for what came of it.
func (c *Call) change(ctx context.Context, r reoffer) error {
	r.done = make(chan error, 1)
	select {
	case c.reoffers <- r:
	case <-c.done:
		return errors.New("the call is over")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// describe writes our description, whose version counts up when it is another one than the last.
func (c *Call) describe(d *description) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local == nil {
		c.number = uint64(time.Now().UnixMilli())
		c.version = c.number
	} else {
		c.version++
	}
	c.local = d
	return d.marshal(c.number, c.version)
}

// reofferWait is how long the answer to a re-INVITE is waited for.
const reofferWait = 10 * time.Second

// reoffer sends the re-INVITE. It runs on the goroutine of the call.
func (c *Call) reoffer(r reoffer) error {
	c.offering.Store(true)
	defer c.offering.Store(false)
	c.mu.Lock()
	before := c.local
	c.mu.Unlock()
	offer := *before
	if r.rekey {
		offer.crypto = slices.Clone(before.crypto)
		for i := range offer.crypto {
			offer.crypto[i].key = newKey(offer.crypto[i].suite)
		}
	} else {
		offer.direction = r.direction
	}
	d := &c.dialog
	d.seq++
	req := c.ua.request(d, sip.INVITE, d.seq)
	req.AppendHeader(c.ua.contact())
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(c.describe(&offer))
	s, err := c.reinvite(req, &offer)
	if err != nil {
		c.mu.Lock()
		c.local = before
		c.mu.Unlock()
		return err
	}
	c.establish(s)
	return nil
}

// reinvite sends the re-INVITE, acknowledges its answer and agrees on it.
func (c *Call) reinvite(req *sip.Request, offer *description) (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reofferWait)
	defer cancel()
	tx, err := c.ua.client.TransactionRequest(ctx, req, asBuilt)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case <-ctx.Done():
			tx.Terminate()
			return nil, errors.New("no final response to a re-INVITE")
		case <-c.over:
			tx.Terminate()
			return nil, errors.New("the call is over")
		case <-tx.Done():
			return nil, tx.Err()
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
			case res.IsSuccess():
				return c.agreed(tx, req, res, offer)
			default:
				return nil, &ResponseError{Code: res.StatusCode, Reason: res.Reason, Responses: []Response{
					{Code: res.StatusCode, Reason: res.Reason, Headers: headersOf(res), SDP: string(res.Body()), At: time.Now()},
				}}
			}
		}
	}
}

// agreed takes a 2xx to a re-INVITE of ours.
func (c *Call) agreed(tx sip.ClientTransaction, req *sip.Request, res *sip.Response, offer *description) (*session, error) {
	c.refresh(res)
	d := c.dialog // as in confirm
	ack := func() error { return c.ua.client.WriteRequest(c.ua.request(&d, sip.ACK, req.CSeq().SeqNo), asBuilt) }
	tx.OnRetransmission(func(*sip.Response) {
		if err := ack(); err != nil {
			c.ua.log.Error("an ACK cannot be repeated", "error", err)
		}
	})
	if err := ack(); err != nil {
		return nil, fmt.Errorf("ACK: %w", err)
	}
	answer, err := parseDescription(res.Body())
	if err != nil {
		return nil, err
	}
	return c.ua.accept(offer, answer)
}

// refresh takes the peer's new target (RFC 3261 section 12.2). The route set stays.
func (c *Call) refresh(m interface{ Contact() *sip.ContactHeader }) {
	if contact := m.Contact(); contact != nil {
		c.dialog.target = *contact.Address.Clone()
	}
}

// onReinvite has the goroutine of the call answer a re-INVITE, and repeats a 200 until its ACK comes.
func (u *UA) onReinvite(req *sip.Request, tx sip.ServerTransaction, tag string) {
	refuse := func(code int, reason string) { u.respond(tx, sip.NewResponseFromRequest(req, code, reason, nil)) }
	c := u.find(dialogKey(req.CallID().Value(), tag))
	switch {
	case c == nil:
		refuse(sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	case u.config.Unchanging:
		refuse(sip.StatusNotAcceptableHere, "Not Acceptable Here")
		return
	case c.offering.Load(): // RFC 3261 section 14.2
		refuse(sip.StatusRequestPending, "Request Pending")
		return
	}
	r := reinvite{req, make(chan *sip.Response, 1)}
	select {
	case c.reinvites <- r:
	case <-c.over:
		refuse(sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	}
	res := <-r.done
	if !res.IsSuccess() {
		u.respond(tx, res)
		return
	}
	c.repeat(tx, res, c.awaitAck(req.CSeq().SeqNo))
}

// reoffered agrees on a re-INVITE of the peer. It runs on the goroutine of the call.
func (c *Call) reoffered(req *sip.Request) *sip.Response {
	c.mu.Lock()
	before := c.local
	c.mu.Unlock()
	offer, err := parseDescription(req.Body())
	var s *session
	var answer *description
	if err == nil {
		s, answer, err = c.ua.answer(offer, c.media, before)
	}
	if err != nil {
		return sip.NewResponseFromRequest(req, sip.StatusNotAcceptableHere, "Not Acceptable Here", nil)
	}
	c.refresh(req)
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	res.AppendHeader(c.ua.contact())
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(c.describe(answer))
	// What we want stays what it was; the answer only says what the offer lets us have of it.
	wanted := *answer
	wanted.direction = before.direction
	c.mu.Lock()
	c.local = &wanted
	c.offers = append(c.offers, Offer{Direction: offer.direction, SDP: string(req.Body()), At: time.Now()})
	c.mu.Unlock()
	c.establish(s)
	return res
}

// awaitAck returns what is closed when the ACK to a re-INVITE of that CSeq comes.
func (c *Call) awaitAck(seq uint32) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	acked := make(chan struct{})
	c.acks[seq] = acked
	return acked
}

// acknowledged takes an ACK: of the INVITE, or of a re-INVITE that waits for it.
func (c *Call) acknowledged(seq uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if acked, ok := c.acks[seq]; ok {
		delete(c.acks, seq)
		close(acked)
		return
	}
	c.ackOnce.Do(func() { close(c.acked) })
}

// repeat sends the 200 to a re-INVITE until its ACK comes (RFC 3261 section 13.3.1.4).
func (c *Call) repeat(tx sip.ServerTransaction, res *sip.Response, acked <-chan struct{}) {
	limit := time.NewTimer(64 * sip.T1)
	defer limit.Stop()
	for pause := sip.T1; ; pause = min(2*pause, sip.T2) {
		c.ua.respond(tx, res)
		again := time.NewTimer(pause)
		select {
		case <-again.C:
			continue
		case <-acked:
		case <-c.over:
		case <-limit.C:
		}
		again.Stop()
		return
	}
}
