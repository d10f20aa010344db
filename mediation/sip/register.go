package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
)

// exchanger sends a request outside a dialog to the address that its
// Destination and Transport say, and waits for the final response. It sets Via
// and User-Agent; everything else stays as it is. It returns an error when no
// final response came: the transport's, a time-out, or ctx's.
type exchanger interface {
	exchange(ctx context.Context, req *sip.Request) (*sip.Response, error)
}

// RegistrationConfig is what a trunk says about REGISTER (RFC 3261 10.2).
type RegistrationConfig struct {
	Registrar   string         // SIP URI: the Request-URI; its user is left out (10.2)
	AOR         string         // SIP URI: To and From; its user stands in the binding too
	Expires     time.Duration  // asked for, whole seconds
	Credentials *Credentials   // nil: a challenge is a failure
	Peer        *locate.Peer   // where REGISTER goes, whatever Registrar's host is, and who may challenge
	Rand        func() float64 // in [0, 1), for back-off; nil: math/rand/v2
	Log         *slog.Logger
}

// Registration keeps one binding alive at a registrar. RunRegistration drives
// it; Status may be called at any time, from any goroutine.
//
// It is a machine without I/O: request gives what is to be sent when next says
// so, and answered or failed is told what became of it.
type Registration struct {
	cfg     RegistrationConfig
	uri     sip.Uri // Request-URI
	aor     sip.Uri
	contact sip.Uri // the binding
	auth    *authorizer
	callID  string // the same for every REGISTER (10.2.4)
	tag     string // of From

	mu      sync.Mutex    // guards the following
	due     time.Time     // when the next request is to be sent; zero: at once
	seq     uint32        // of the last request
	ask     time.Duration // Expires to ask for: the configured, or more (423)
	again   *sip.Request  // to be sent instead of a new one: with credentials
	sent    *sip.Request  // under way
	target  locate.Target // where sent went
	rest    []locate.Target
	trying  bool // an attempt is under way: rest are the targets still to be tried
	asked   int  // requests of this attempt to this target
	leaving bool // the binding is being removed

	home    locate.Target // where the binding was made
	until   time.Time     // when the binding ends; zero: there is none
	unknown bool          // a request's answer was not waited for
	fails   int           // attempts in a row that failed
	err     error         // of the last attempt
}

const (
	// refreshAtMost is the longest time between two refreshes, whatever the
	// registrar grants: firewalls and load balancers forget connections that
	// are idle for longer (at least 20 minutes is what they are asked for).
	refreshAtMost  = 15 * time.Minute
	refreshAtLeast = time.Second
	// After a failure: base * 2^n, at most backoffMost, and of that a random
	// part between a half and all (the form of RFC 5626 4.5).
	backoffBase = 10 * time.Second
	backoffMost = 5 * time.Minute
	// retryAfterMost bounds what a Retry-After may ask for.
	retryAfterMost = time.Hour
	// expiresMost bounds what Min-Expires may ask for.
	expiresMost = 24 * time.Hour
	// askAtMost bounds the requests of one attempt to one target: a 423, two
	// challengers and a stale nonce come to fewer.
	askAtMost = 6
	// registerTimeout bounds one exchange: Timer F (RFC 3261 17.1.2.2).
	registerTimeout = 32 * time.Second
	// unregisterTimeout bounds the removal of the binding when we stop.
	unregisterTimeout = 2 * time.Second
)

var (
	errNoTarget   = errors.New("no address of the peer is known")
	errNotBound   = errors.New("the registrar accepted the request and granted no time")
	errTooMany    = errors.New("the registrar asks again and again")
	errMinExpires = errors.New("423 without a usable Min-Expires")
)

// NewRegistration makes a registration that has not begun: of the address that
// this side listens on for network. An error says which URI cannot be used.
func (e *Endpoint) NewRegistration(cfg RegistrationConfig, network string) (*Registration, error) {
	return newRegistration(cfg, e.contact(network, e.toward()).Address)
}

func newRegistration(cfg RegistrationConfig, contact sip.Uri) (*Registration, error) {
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registration{cfg: cfg, contact: contact, tag: newTag(), callID: newTag() + "@" + contact.Host, ask: max(cfg.Expires, time.Second)}
	for _, u := range []struct {
		text string
		uri  *sip.Uri
	}{{cfg.Registrar, &r.uri}, {cfg.AOR, &r.aor}} {
		if err := sip.ParseUri(u.text, u.uri); err != nil || !isSIP(u.uri) || u.uri.Host == "" {
			return nil, fmt.Errorf("%q is no SIP URI", u.text)
		}
	}
	r.contact.User = r.aor.User
	r.uri.User, r.uri.Password = "", ""
	if cfg.Credentials != nil {
		r.auth = newAuthorizer(*cfg.Credentials, cfg.Peer.Allowed)
	}
	return r, nil
}

// RunRegistration registers at once, refreshes the binding until ctx ends, and
// then removes it, for which it takes at most two seconds more. ex must work
// until it has returned.
func RunRegistration(ctx context.Context, ex exchanger, r *Registration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // asked again: both may have been ready
			r.leave(ctx, ex)
			return
		}
		r.step(ctx, ex)
		timer.Reset(max(0, time.Until(r.next())))
	}
}

// leave removes the binding.
func (r *Registration) leave(ctx context.Context, ex exchanger) {
	if !r.stop() {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), unregisterTimeout)
	defer cancel()
	for range askAtMost {
		if !r.step(last, ex) {
			return
		}
	}
}

// step sends what is to be sent now and takes the answer; false when there was
// nothing to send.
func (r *Registration) step(ctx context.Context, ex exchanger) bool {
	req := r.request(time.Now())
	if req == nil {
		return false
	}
	within, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	res, err := ex.exchange(within, req)
	switch {
	case err == nil:
		r.answered(time.Now(), res)
	case ctx.Err() != nil:
		r.abandoned()
	default:
		r.failed(time.Now(), err)
	}
	return true
}

// RegistrationStatus is what is known of a binding.
type RegistrationStatus struct {
	Registered bool          // the registrar has a binding of ours that has not run out
	Expires    time.Time     // when it runs out; zero: there is none
	Target     locate.Target // where it was made
	Failures   int           // attempts in a row that failed
	Err        error         // why the last one failed; nil when it did not
}

// Status is what is known now.
func (r *Registration) Status() RegistrationStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return RegistrationStatus{
		Registered: time.Now().Before(r.until), Expires: r.until, Target: r.home, Failures: r.fails, Err: r.err,
	}
}

// next is when request is to be called.
func (r *Registration) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due
}

// stop begins the removal of the binding; false when there is none to remove.
func (r *Registration) stop() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unknown && r.until.IsZero() {
		return false
	}
	r.leaving, r.trying, r.again = true, false, nil
	return true
}

// request is what is to be sent now, nil when there is nothing: the binding is
// gone as wanted, or there is nowhere to send to.
func (r *Registration) request(now time.Time) *sip.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving && !r.unknown && r.until.IsZero() {
		return nil
	}
	if !r.trying {
		r.trying, r.rest = true, r.targets()
		r.target = locate.Target{}
	}
	if r.target == (locate.Target{}) {
		if len(r.rest) == 0 {
			r.giveUpLocked(now, errNoTarget, 0)
			return nil
		}
		r.target, r.rest, r.asked = r.rest[0], r.rest[1:], 0
	}
	req := r.again
	if r.again = nil; req == nil {
		req = r.build()
	}
	r.seq++
	r.asked++
	req.ReplaceHeader(&sip.CSeqHeader{SeqNo: r.seq, MethodName: sip.REGISTER})
	aim(req, r.target)
	r.sent = req
	// Whoever sends it sets a Via: what is sent is a copy, so that sent stays
	// the request that a challenge is about.
	return req.Clone()
}

// targets are where to try: where the binding is before all others, because a
// registrar need not share its bindings with its neighbours.
func (r *Registration) targets() []locate.Target {
	all := r.cfg.Peer.Targets()
	if i := slices.Index(all, r.home); i > 0 && r.cfg.Peer.IsUp(r.home) {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, r.home)
	}
	return all
}

// build is a REGISTER without credentials (10.2). It removes the binding alone
// when we leave: other bindings of the same name are not ours (10.2.2).
func (r *Registration) build() *sip.Request {
	expires := int(r.ask / time.Second)
	if r.leaving {
		expires = 0
	}
	req := sip.NewRequest(sip.REGISTER, *r.uri.Clone())
	from := &sip.FromHeader{Address: *r.aor.Clone(), Params: sip.NewParams()}
	from.Params.Add("tag", r.tag)
	callID := sip.CallIDHeader(r.callID)
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	contact := &sip.ContactHeader{Address: *r.contact.Clone(), Params: sip.NewParams()}
	contact.Params.Add("expires", fmt.Sprint(expires))
	expiresHeader := sip.ExpiresHeader(expires)
	for _, h := range []sip.Header{
		&maxForwards, from, &sip.ToHeader{Address: *r.aor.Clone()}, &callID,
		&sip.CSeqHeader{MethodName: sip.REGISTER}, contact, &expiresHeader,
	} {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	return req
}

// abandoned: the request's answer was not waited for; it may have made a
// binding.
func (r *Registration) abandoned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown = !r.leaving
	r.trying = false
	if r.leaving {
		r.until = time.Time{}
	}
}

// failed takes the want of an answer.
func (r *Registration) failed(now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg.Peer.Report(r.target, err)
	r.unknown = r.unknown || !r.leaving
	r.nextTargetLocked(now, err, 0)
}

// answered takes a final response.
func (r *Registration) answered(now time.Time, res *sip.Response) {
	r.mu.Lock()
	defer r.mu.Unlock()
	life := alive(res)
	r.cfg.Peer.Report(r.target, life)
	switch {
	case res.IsSuccess():
		r.boundLocked(now, res)
	case r.asked >= askAtMost:
		r.giveUpLocked(now, errTooMany, 0)
	case res.StatusCode == 401 || res.StatusCode == 407:
		again, err := r.auth.retry(r.sent, res)
		if err != nil {
			r.giveUpLocked(now, err, 0)
			return
		}
		r.again, r.due = again, now
	case res.StatusCode == 423:
		least, ok := seconds(res, "Min-Expires")
		if !ok || least <= r.ask || least > expiresMost || r.leaving {
			r.giveUpLocked(now, errMinExpires, 0)
			return
		}
		r.ask, r.due = least, now // 10.2.8
	case life != nil:
		// RFC 3263 4.3: the next address may serve what this one does not.
		after, _ := seconds(res, "Retry-After")
		r.nextTargetLocked(now, life, after)
	default:
		after, _ := seconds(res, "Retry-After")
		r.giveUpLocked(now, refusal(res), after)
	}
}

// refusal is a failure response as an error.
func refusal(res *sip.Response) error {
	return fmt.Errorf("answered %d %q", res.StatusCode, res.Reason)
}

// nextTargetLocked goes on to the next address of this attempt.
func (r *Registration) nextTargetLocked(now time.Time, err error, after time.Duration) {
	if len(r.rest) == 0 {
		r.giveUpLocked(now, err, after)
		return
	}
	r.target, r.again, r.due = locate.Target{}, nil, now
}

// giveUpLocked ends an attempt; the next one is made after a while.
func (r *Registration) giveUpLocked(now time.Time, err error, after time.Duration) {
	r.trying, r.again, r.sent = false, nil, nil
	if r.leaving {
		r.until, r.unknown = time.Time{}, false
		r.cfg.Log.Warn("the binding could not be removed; it runs out by itself", "aor", r.cfg.AOR, "err", err)
		return
	}
	if r.fails == 0 || r.err.Error() != err.Error() {
		r.cfg.Log.Warn("not registered", "aor", r.cfg.AOR, "target", r.target.Addr.String(), "err", err)
	}
	wait := backoffMost
	if r.fails < 10 {
		wait = min(backoffMost, backoffBase<<r.fails)
	}
	wait = time.Duration(float64(wait) * (0.5 + 0.5*r.cfg.Rand()))
	r.fails++
	r.err = err
	r.due = now.Add(max(wait, min(after, retryAfterMost)))
}

// boundLocked takes a 2xx.
func (r *Registration) boundLocked(now time.Time, res *sip.Response) {
	r.unknown = false
	if r.leaving {
		r.trying, r.until = false, time.Time{}
		r.cfg.Log.Info("the binding is removed", "aor", r.cfg.AOR)
		return
	}
	granted := r.granted(res)
	if granted <= 0 {
		r.until = time.Time{}
		r.giveUpLocked(now, errNotBound, 0)
		return
	}
	if r.err != nil || r.until.IsZero() || r.home != r.target {
		r.cfg.Log.Info("registered", "aor", r.cfg.AOR, "target", r.target.Addr.String(), "expires", granted)
	}
	r.trying, r.fails, r.err = false, 0, nil
	r.home, r.until = r.target, now.Add(granted)
	r.due = now.Add(min(max(granted/2, refreshAtLeast), refreshAtMost))
}
