// Package demo places real calls through a Mediation Server that runs in the
// same process or elsewhere: an SRTP endpoint stands for the pool, a plain RTP
// endpoint for the gateway, and both talk and listen. A third one stands for a
// user outside, whose media reaches the Mediation Server through a relay.
package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
)

// Config says where the server is and what its ends are.
type Config struct {
	Pool, Gateway       netip.AddrPort // the server's SIP addresses
	PoolEnd, GatewayEnd string         // URLs on which the two ends listen
	PoolTLS             *tls.Config    // certificate and roots of the pool's end
	External            string         // URL on which the external user's end listens; its certificate is the pool's end's
	Relay               *ua.Relay      // that the external user's media goes through; nil: there is no such user
	Calls               int            // half of them in each direction
	Talk                time.Duration  // how long each lasts
	Progress            func(ended, total int)
	Log                 *slog.Logger
}

// End is what one end of a call measured.
type End struct {
	Stats ua.Stats
	Level float64 // dBFS of what it heard
}

// Call is one call as its two ends saw it.
type Call struct {
	Direction string // pool_to_gateway or gateway_to_pool
	External  bool   // the pool's end of it is the external user
	From, To  string
	CallID    string // of the caller's leg
	Pool      End
	Gateway   End
	Err       error // why it failed, nil when both ends heard each other
}

const (
	// stagger is the pause between two calls that are placed.
	stagger = 150 * time.Millisecond
	// setUpTime bounds one call's set-up.
	setUpTime = 10 * time.Second
	// audible is the least level, in dBFS, at which speech counts as heard.
	// It is sent near -20.
	audible = -35.0
	// lossLimit is the share of packets whose loss fails a call on loopback.
	lossLimit = 0.01
)

// scene is one run.
type scene struct {
	cfg      Config
	pool, gw *ua.UA
	external *ua.UA // nil without a relay

	mu       sync.Mutex // guards the following
	answered map[string]chan *ua.Call
	ended    int
}

// Run places the calls and returns them all. It fails when an end cannot run
// or when a call did.
func Run(ctx context.Context, cfg Config) ([]Call, error) {
	s := &scene{cfg: cfg, answered: map[string]chan *ua.Call{}}
	delays := ua.NewDelays()
	var err error
	// The pool's end speaks mu-law alone and the gateway prefers A-law: calls
	// toward the gateway are converted, calls from it pass through.
	if s.pool, err = ua.New(ua.Config{
		Name: "pool", Listen: cfg.PoolEnd, TLS: cfg.PoolTLS, SRTP: ua.AES80, Codecs: []string{ua.PCMU},
		Record: cfg.Talk, Delays: delays, OnInvite: s.answer, ReuseConnection: true, Log: cfg.Log,
	}); err != nil {
		return nil, fmt.Errorf("pool's end: %w", err)
	}
	if s.gw, err = ua.New(ua.Config{
		Name: "gateway", Listen: cfg.GatewayEnd, Codecs: []string{ua.PCMA, ua.PCMU},
		Record: cfg.Talk, Delays: delays, OnInvite: s.answer, ReuseConnection: true, Log: cfg.Log,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway's end: %w", err), s.abandon(ctx))
	}
	if cfg.Relay != nil {
		if s.external, err = ua.New(ua.Config{
			Name: "external", Listen: cfg.External, TLS: cfg.PoolTLS, SRTP: ua.AES80, Codecs: []string{ua.PCMU},
			Record: cfg.Talk, Delays: delays, Relay: cfg.Relay, ReuseConnection: true, Log: cfg.Log,
		}); err != nil {
			return nil, errors.Join(fmt.Errorf("external user's end: %w", err), s.abandon(ctx))
		}
	}
	return s.run(ctx)
}

// ends are the endpoints that there are.
func (s *scene) ends() []*ua.UA {
	return slices.DeleteFunc([]*ua.UA{s.pool, s.gw, s.external}, func(u *ua.UA) bool { return u == nil })
}

// abandon gives back what the endpoints have bound.
func (s *scene) abandon(ctx context.Context) error {
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	var errs []error
	for _, u := range s.ends() {
		errs = append(errs, u.Run(stopped))
	}
	return errors.Join(errs...)
}

func (s *scene) run(ctx context.Context) ([]Call, error) {
	ends, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	failures := make([]error, len(s.ends()))
	for i, u := range s.ends() {
		running.Go(func() { failures[i] = u.Run(ends) })
	}
	calls := make([]Call, s.cfg.Calls)
	var placed sync.WaitGroup
	for i := range calls {
		if i > 0 {
			select {
			case <-time.After(stagger):
			case <-ctx.Done():
			}
		}
		placed.Go(func() {
			calls[i] = s.place(ctx, i)
			s.mu.Lock()
			s.ended++
			ended := s.ended
			s.mu.Unlock()
			s.cfg.Progress(ended, s.cfg.Calls)
		})
	}
	placed.Wait()
	stop()
	running.Wait()
	errs := append([]error{}, failures...)
	for i := range calls {
		if calls[i].Err != nil {
			errs = append(errs, fmt.Errorf("call %d (%s): %w", i+1, calls[i].Direction, calls[i].Err))
		}
	}
	return calls, errors.Join(errs...)
}

// answer takes a call and tells the one who waits for its other end.
func (s *scene) answer(c *ua.Call) ua.Reply {
	s.mu.Lock()
	waiting := s.answered[UserOf(c.Invite().RequestURI)]
	s.mu.Unlock()
	if waiting == nil {
		return ua.Reply{Code: 404}
	}
	waiting <- c
	return ua.Reply{Ring: 50 * time.Millisecond, Answer: 300 * time.Millisecond}
}

// UserOf is the user part of a SIP URI.
func UserOf(uri string) string {
	_, rest, _ := strings.Cut(uri, ":")
	user, _, _ := strings.Cut(rest, "@")
	return user
}

// place makes call i and measures it from both ends.
func (s *scene) place(ctx context.Context, i int) Call {
	c := Call{Direction: "pool_to_gateway"}
	caller, server := s.pool, s.cfg.Pool
	callee := fmt.Sprintf("+1425555%04d", 1000+i)
	c.From = fmt.Sprintf("+1206555%04d", 1000+i)
	dialled := callee
	if s.external != nil && i%4 == 0 { // every other one of those toward the gateway
		c.External, caller = true, s.external
	}
	if i%2 == 1 { // from the gateway by extension, which the location profile completes
		c.Direction, caller, server = "gateway_to_pool", s.gw, s.cfg.Gateway
		dialled = callee[len(callee)-4:]
	}
	c.To = dialled
	waiting := make(chan *ua.Call, 1)
	s.mu.Lock()
	s.answered[callee] = waiting
	s.mu.Unlock()

	setUp, cancel := context.WithTimeout(ctx, setUpTime)
	defer cancel()
	near, err := caller.Call(setUp, "sip:"+dialled+"@"+server.String(), ua.Options{From: c.From, HangupAfter: s.cfg.Talk})
	if err != nil {
		c.Err = err
		return c
	}
	c.CallID = near.Invite().CallID
	var far *ua.Call
	select {
	case far = <-waiting:
	case <-setUp.Done():
		c.Err = fmt.Errorf("answered, but not by the other end: %w", context.Cause(setUp))
		return c
	}
	for _, end := range []*ua.Call{near, far} {
		select {
		case <-end.Done():
		case <-ctx.Done():
			c.Err = ctx.Err()
			return c
		}
	}
	pool, gateway := near, far
	if caller == s.gw {
		pool, gateway = far, near
	}
	c.Pool, c.Gateway = measured(pool), measured(gateway)
	c.Err = errors.Join(near.Err(), far.Err(), s.heard("pool's end", c.Pool), s.heard("gateway's end", c.Gateway))
	return c
}

func measured(c *ua.Call) End {
	return End{Stats: c.Stats(), Level: tone.Level(c.Recording())}
}

// heard says what is wrong with what an end received.
func (s *scene) heard(who string, e End) error {
	expected := float64(s.cfg.Talk / (20 * time.Millisecond))
	switch {
	case float64(e.Stats.Received) < 0.9*expected:
		return fmt.Errorf("%s received %d packets of about %.0f", who, e.Stats.Received, expected)
	case float64(e.Stats.Lost) > lossLimit*expected:
		return fmt.Errorf("%s lost %d packets", who, e.Stats.Lost)
	case e.Level < audible:
		return fmt.Errorf("%s heard only %.1f dBFS", who, e.Level)
	}
	return nil
}
