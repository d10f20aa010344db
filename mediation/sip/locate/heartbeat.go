package locate

import (
	"context"
	"sync"
	"time"
)

const (
	// maxProbes bounds the probes of one peer under way at a time.
	maxProbes = 8
	// probeTimeout bounds one probe: Timer F, 64*T1 (RFC 3261 17.1.2.2), or the
	// heartbeat's interval when that is shorter.
	probeTimeout = 32 * time.Second
	// jitter is how far an interval strays, so that many servers started
	// together do not ask together.
	jitter = 0.1
	// farAway is when to look again where nothing is due.
	farAway = time.Hour
)

// Run looks the peer's name up every minute, more often while no address is
// known, and probes its targets by the
// heartbeat, each target on its own, the first time at once. It returns when
// ctx has ended and nothing that it started runs any more. It is called once.
//
// probe asks one target for life and returns nil when it is alive; its context
// ends with ctx, or after the interval or 32 s, whichever is shorter. It is
// called from several goroutines. nil: there is no heartbeat.
func (p *Peer) Run(ctx context.Context, probe func(context.Context, Target) error) {
	var running sync.WaitGroup
	defer running.Wait()
	if !p.literal.IsValid() {
		running.Go(func() { p.follow(ctx) })
	}
	if probe != nil && p.cfg.Heartbeat.Interval > 0 {
		running.Go(func() { p.beat(ctx, probe) })
	}
	<-ctx.Done()
}

// follow keeps the addresses those that DNS gives.
func (p *Peer) follow(ctx context.Context) {
	timer := time.NewTimer(p.untilLookUp())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			_ = p.resolve(ctx) // it is in the log
			timer.Reset(p.untilLookUp())
		}
	}
}

func (p *Peer) untilLookUp() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.health) == 0 {
		return resolveSoon
	}
	return resolveEvery
}

// beat starts the probes that are due.
func (p *Peer) beat(ctx context.Context, probe func(context.Context, Target) error) {
	var probes sync.WaitGroup
	defer probes.Wait()
	done := make(chan struct{}, maxProbes)
	underWay := 0
	timer := time.NewTimer(farAway)
	defer timer.Stop()
	for {
		wait := farAway
		for underWay < maxProbes {
			t, in := p.nextDue(time.Now())
			if in > 0 {
				wait = in
				break
			}
			underWay++
			probes.Go(func() {
				p.probe(ctx, t, probe)
				done <- struct{}{}
			})
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-done:
			underWay--
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// nextDue is a target to be probed now, marked as being probed, or the time
// until there is one.
func (p *Peer) nextDue(now time.Time) (Target, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := farAway
	for _, r := range p.records {
		for _, t := range r.targets {
			h := p.health[t.Addr]
			if h.probing {
				continue
			}
			in := h.due.Sub(now)
			if in <= 0 {
				h.probing = true
				h.due = now.Add(p.intervalLocked())
				return t, 0
			}
			wait = min(wait, in)
		}
	}
	return Target{}, wait
}

// intervalLocked is the heartbeat's interval with its jitter.
func (p *Peer) intervalLocked() time.Duration {
	return time.Duration(float64(p.cfg.Heartbeat.Interval) * (1 - jitter + 2*jitter*p.cfg.Rand()))
}

func (p *Peer) probe(ctx context.Context, t Target, probe func(context.Context, Target) error) {
	within, cancel := context.WithTimeout(ctx, min(p.cfg.Heartbeat.Interval, probeTimeout))
	defer cancel()
	err := probe(within, t)
	if ctx.Err() == nil {
		p.count(t, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.health[t.Addr]; h != nil {
		h.probing = false
	}
}
