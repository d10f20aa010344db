package ua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/bench/tone"
)

// Header is a header of a SIP message.
type Header struct{ Name, Value string }

// Invite is an INVITE that was sent or received. Its texts are those of the message as the SIP parser writes it, which
// keeps every value but may space them differently.
type Invite struct {
	RequestURI string
	From, To   string // whole values, with display name and tag
	Contact    string
	CallID     string
	Headers    []Header // all, in order
	SDP        string
	Peer       string // the address and port it came from; empty for one we sent
	At         time.Time
}

// Get returns the value of the first header of that name, compared without case, or "".
func (i *Invite) Get(name string) string { return get(i.Headers, name) }

// Response is a response to an INVITE of ours.
type Response struct {
	Code    int
	Reason  string // the phrase
	Headers []Header
	SDP     string
	At      time.Time
}

// Get returns the value of the first header of that name, compared without case, or "".
func (r *Response) Get(name string) string { return get(r.Headers, name) }

func get(headers []Header, name string) string {
	for _, h := range headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

func newInvite(req *sip.Request, peer string) *Invite {
	i := &Invite{
		RequestURI: req.Recipient.String(), SDP: string(req.Body()), Peer: peer, At: time.Now(), Headers: headersOf(req),
	}
	i.From, i.To, i.Contact, i.CallID = i.Get("From"), i.Get("To"), i.Get("Contact"), i.Get("Call-ID")
	return i
}

func headersOf(m interface{ Headers() []sip.Header }) []Header {
	var all []Header
	for _, h := range m.Headers() {
		all = append(all, Header{h.Name(), h.Value()})
	}
	return all
}

// Ends of a call (Call.EndedBy).
const (
	Local  = "local"  // this endpoint
	Remote = "remote" // the peer
)

// Call is one call of an endpoint. Its methods may be called from any goroutine, during the call and after.
type Call struct {
	ua     *UA
	invite *Invite
	media  *media

	dialog dialog // the key is fixed; the rest belongs to the goroutine that runs the call

	over   chan struct{} // the dialog is over, or there never was one
	done   chan struct{} // so is everything else
	hangup chan struct{} // closed when Hangup is called
	acked  chan struct{} // closed with the first ACK to our 200

	reoffers  chan reoffer  // of ours, for the goroutine that runs the call
	reinvites chan reinvite // of the peer
	offering  atomic.Bool   // a re-INVITE of ours is under way

	hangupOnce, ackOnce sync.Once

	offer *description // ours, of a call that we placed

	mu        sync.Mutex // guards the following
	session   *session
	local     *description // ours, the last that was sent
	version   uint64       // of it; the session's number is that of the first
	number    uint64
	offers    []Offer
	acks      map[uint32]chan struct{} // by CSeq of a re-INVITE that we accepted
	responses []Response
	answered  time.Time
	endedBy   string
	ended     time.Time
	reason    string // Reason header of the BYE or CANCEL
	err       error
}

func (u *UA) newCall(audio tone.Source) (*Call, error) {
	if audio == nil {
		audio = u.config.Audio()
	}
	m, err := u.openMedia(audio)
	if err != nil {
		return nil, err
	}
	return &Call{
		ua: u, media: m,
		over: make(chan struct{}), done: make(chan struct{}), hangup: make(chan struct{}), acked: make(chan struct{}),
		reoffers: make(chan reoffer), reinvites: make(chan reinvite), acks: map[uint32]chan struct{}{},
	}, nil
}

// Invite returns the INVITE that began the call: the one received, or the one sent. It must not be changed.
func (c *Call) Invite() *Invite { return c.invite }

// Responses returns the responses to the INVITE so far, of a call that we placed.
func (c *Call) Responses() []Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.responses)
}

// Answered returns when the call was answered; the zero time when it was not.
func (c *Call) Answered() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

// Ended returns when the dialog ended, or the call was given up; the zero time while it goes on.
func (c *Call) Ended() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Done is closed when the call is over and its measurements are final: when the dialog has ended, what was under way
// has been waited for, and its sockets are closed.
func (c *Call) Done() <-chan struct{} { return c.done }

// EndedBy returns Local or Remote, or "" while the call goes on, and the Reason header that the peer gave.
func (c *Call) EndedBy() (end, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endedBy, c.reason
}

// Err returns what went wrong with a call once it is over: nil for one that was answered and hung up by either end.
func (c *Call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Hangup ends the call and waits until it is Done, or ctx ends. Of a call that is over it returns Err.
func (c *Call) Hangup(ctx context.Context) error {
	c.hangupOnce.Do(func() { close(c.hangup) })
	select {
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("hang up: %w", ctx.Err())
	}
}

// Recording returns a copy of the received audio so far, up to Config.Record of it: 8000 samples a second, starting
// with the first packet, silent where packets are missing.
func (c *Call) Recording() []int16 {
	c.media.receiveMu.Lock()
	defer c.media.receiveMu.Unlock()
	return append([]int16(nil), c.media.in.recording.pcm...)
}

// SendDigits sends keys 0-9, *, #, A-D as telephone events (RFC 4733), a quarter of a second for each, after those
// still waiting. It fails when the peer takes no events.
func (c *Call) SendDigits(keys string) error { return c.media.sendDigits(keys) }

// end records how the dialog ended. Only the first call counts.
func (c *Call) end(by, reason string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endedBy != "" {
		return
	}
	c.endedBy, c.reason, c.err, c.ended = by, reason, err, time.Now()
	close(c.over)
}

// establish starts the audio by what was agreed.
func (c *Call) establish(s *session) {
	c.mu.Lock()
	first := c.session == nil
	if old := c.session; old != nil && old != s && old.suite == s.suite &&
		bytes.Equal(old.localKey, s.localKey) && bytes.Equal(old.remoteKey, s.remoteKey) {
		s.protection = old.protection // it knows where both streams are
	}
	c.session = s
	c.mu.Unlock()
	c.media.start(s)
	if first {
		c.ua.pacer.add(c.media)
	}
}

// finish releases what a call holds. Nothing of it runs when finish returns.
func (c *Call) finish() {
	c.ua.pacer.remove(c.media)
	c.media.stop()
	c.ua.forget(c)
	close(c.done)
	c.ua.active.Done()
}

// byeWait is how long the answer to a BYE or CANCEL is waited for.
const byeWait = 4 * time.Second

// supervise waits for the end of an established call, brings it about if it must, and releases the call.
func (c *Call) supervise(length time.Duration) {
	defer c.finish()
	var timer <-chan time.Time
	if length > 0 {
		t := time.NewTimer(length)
		defer t.Stop()
		timer = t.C
	}
	for ended := false; !ended; {
		select {
		case <-c.over:
			return
		case r := <-c.reoffers:
			r.done <- c.reoffer(r)
		case r := <-c.reinvites:
			r.done <- c.reoffered(r.req)
		case <-c.hangup:
			ended = true
		case <-timer:
			ended = true
		case <-c.ua.stopping.Done():
			ended = true
		}
	}
	c.ua.pacer.remove(c.media) // so that all that was sent can still be heard
	c.bye(nil)
}

// bye ends the dialog from our side; why is kept as the call's error.
func (c *Call) bye(why error) {
	d := &c.dialog
	d.seq++
	ctx, cancel := context.WithTimeout(context.Background(), byeWait)
	defer cancel()
	req := c.ua.request(d, sip.BYE, d.seq)
	res, err := c.ua.client.Do(ctx, req, asBuilt)
	switch {
	case err != nil:
		why = errors.Join(why, fmt.Errorf("BYE: %w", err))
	case res.StatusCode == sip.StatusCallTransactionDoesNotExists:
		select {
		case <-c.over: // their BYE crossed ours
		default:
			why = errors.Join(why, fmt.Errorf("BYE: %d %s", res.StatusCode, res.Reason))
		}
	case !res.IsSuccess():
		why = errors.Join(why, fmt.Errorf("BYE: %d %s", res.StatusCode, res.Reason))
	}
	c.end(Local, "", why)
}
