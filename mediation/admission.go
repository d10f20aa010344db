package mediation

import (
	"time"

	"causeway/mediation/media"
	"causeway/mediation/sip"
)

// Refusals before a call is made, by what was too much or missing; the values
// of the metric label "reason".
const (
	atMaxCalls = "max_calls"
	atMaxRate  = "max_call_rate"
	atDraining = "shutting_down"
	atPeerDown = "peer_down"
)

var admissionReasons = []string{atMaxCalls, atMaxRate, atDraining, atPeerDown}

// rate is a token bucket that holds one second's worth. The zero value lets
// nothing through; it belongs to whoever guards it.
type rate struct {
	perSecond float64
	tokens    float64
	filled    time.Time
}

func newRate(perSecond int, now time.Time) rate {
	return rate{perSecond: float64(perSecond), tokens: float64(perSecond), filled: now}
}

// take takes a token, if there is one.
func (r *rate) take(now time.Time) bool {
	if passed := now.Sub(r.filled).Seconds(); passed > 0 {
		r.tokens = min(r.tokens+passed*r.perSecond, r.perSecond)
		r.filled = now
	}
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// admit says whether a new call may come in from a side. It is asked before
// anything is made of the INVITE, on the transport's goroutine; what it refuses
// is counted, so that a flood costs an answer each.
func (s *Server) admit(from media.Side) *sip.Failure {
	down := !s.up(other(from))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return s.noAdmission(atDraining, "shutting down")
	case down:
		return s.noAdmission(atPeerDown, "the far side does not answer")
	case len(s.calls) >= s.cfg.MaxCalls:
		return s.noAdmission(atMaxCalls, "max_calls reached")
	case !s.rate.take(now):
		return s.noAdmission(atMaxRate, "max_call_rate reached")
	}
	return nil
}

func (s *Server) noAdmission(reason, text string) *sip.Failure {
	s.counters.turnAway(reason)
	return &sip.Failure{Code: 503, Local: true, Warning: text, Headers: []sip.Header{retryAfter}}
}
