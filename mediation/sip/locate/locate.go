// Package locate finds the servers behind one configured SIP peer and knows
// which of them are alive.
//
// A peer is written as an address, a name with a port, or a name alone. What a
// name stands for is looked up by RFC 3263: SRV records where no port is
// written, addresses otherwise. The transport is always configured, so that
// NAPTR is not asked for (4.1). The answer is looked up again every minute, and
// kept for as long as DNS does not give a newer one: a stale address is better
// than none.
//
// Health is counted for each address: by a heartbeat that the caller gives (an
// OPTIONS request, say), and by Report, which callers tell how their requests
// fared.
//
//	locate.go     a Peer: its targets, who belongs to it, up and down
//	resolve.go    from a name to records (RFC 3263 4.2)
//	order.go      from records to an order (RFC 2782)
//	heartbeat.go  Run: look-ups and probes while the peer is in use
package locate

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is one place to send a request to. It is comparable.
type Target struct {
	Network string         // "udp", "tcp" or "tls"
	Addr    netip.AddrPort // never IPv4-mapped
	Name    string         // what its certificate has to carry: the peer's name, whatever SRV made of it (RFC 5922 7.3); "" when the peer is an address
}

// Heartbeat says how often a target is asked for life, and how many answers in
// a row change what is thought of it.
type Heartbeat struct {
	Interval  time.Duration // between two probes of one target, ±10 %; 0: none
	Failures  int           // in a row, after which a target is down; at least 1
	Successes int           // in a row, after which it is up again; at least 1
}

// DNS is what is asked for names. *net.Resolver is one, a nil one too.
type DNS interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what is known of a peer.
type Config struct {
	Host      string                // an address, with or without brackets, or a name
	Port      int                   // 0: what SRV records say, else the transport's default
	Network   string                // "udp", "tcp" or "tls"
	Name      string                // what the certificate has to carry; "": Host, when that is a name
	Resolver  DNS                   // nil: net.DefaultResolver
	Usable    func(netip.Addr) bool // addresses that can be reached from here (RFC 3263 4.2: "all addresses the client supports"); nil: all
	Heartbeat Heartbeat
	Strict    bool           // New fails when the name does not resolve
	Rand      func() float64 // in [0, 1), for SRV weights and jitter; never called twice at a time; nil: math/rand/v2
	Log       *slog.Logger   // nil: none
}

// Peer is one configured peer. Its methods are safe for concurrent use.
type Peer struct {
	cfg     Config
	literal netip.Addr // of a peer that is an address
	wake    chan struct{}

	// Owned by New, then by Run.
	hosts map[string][]netip.Addr // the last answer for each SRV record's target

	mu      sync.Mutex // guards the following
	records []record   // by priority; empty until a name has resolved
	health  map[netip.AddrPort]*health
	failing bool // the last look-up failed, and the log says so
}

// record is an SRV record with the addresses of its target, or all addresses
// of a peer that has none.
type record struct {
	priority, weight uint16
	targets          []Target
}

// health is what is known of one address.
type health struct {
	down      bool
	since     time.Time // of down's last change
	failures  int       // in a row
	successes int       // in a row
	err       error     // of the last failure
	probing   bool
	due       time.Time // of the next probe
}

// restTime is how long a target that failed without a heartbeat is tried last:
// nothing but time can say that it is back.
const restTime = time.Minute

// New makes a peer and looks its name up, for at most resolveTimeout. A name
// that does not resolve is an error when cfg.Strict says so; otherwise the peer
// has no targets until Run's look-ups find some. An address needs no DNS.
func New(cfg Config) (*Peer, error) {
	host := strings.Trim(cfg.Host, "[]")
	if host == "" {
		return nil, errors.New("a peer needs a host")
	}
	if _, ok := services[cfg.Network]; !ok {
		return nil, errors.New("a peer's transport is udp, tcp or tls, not " + cfg.Network)
	}
	p := &Peer{cfg: cfg, wake: make(chan struct{}, 1), health: map[netip.AddrPort]*health{}}
	p.cfg.Host = host
	p.cfg.Heartbeat.Failures = max(1, cfg.Heartbeat.Failures)
	p.cfg.Heartbeat.Successes = max(1, cfg.Heartbeat.Successes)
	if cfg.Resolver == nil {
		p.cfg.Resolver = net.DefaultResolver
	}
	if cfg.Rand == nil {
		p.cfg.Rand = rand.Float64
	}
	if cfg.Log == nil {
		p.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		p.literal = addr.Unmap()
		p.take([]record{{targets: p.targets([]netip.Addr{p.literal}, p.port())}})
		return p, nil
	}
	if cfg.Name == "" {
		p.cfg.Name = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	if err := p.resolve(context.Background()); err != nil && cfg.Strict {
		return nil, err
	}
	return p, nil
}

// Targets are the places to try for one request, in this order: those that are
// up before those that are down, within them by priority and then by a draw
// that follows the weights (RFC 2782), which differs from call to call. It is
// empty only while the name has never resolved. The slice is the caller's.
func (p *Peer) Targets() []Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var up, down []Target
	for _, r := range order(p.records, p.cfg.Rand) {
		for _, t := range r.targets {
			if p.restsLocked(t, now) {
				down = append(down, t)
			} else {
				up = append(up, t)
			}
		}
	}
	return append(up, down...)
}

// restsLocked says whether a target is to be tried last.
func (p *Peer) restsLocked(t Target, now time.Time) bool {
	h := p.health[t.Addr]
	if h == nil || !h.down {
		return false
	}
	return p.cfg.Heartbeat.Interval > 0 || now.Sub(h.since) < restTime
}

// Allowed says whether an address is one of the peer's, up or down.
func (p *Peer) Allowed(a netip.Addr) bool {
	a = a.Unmap()
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.health {
		if at.Addr() == a {
			return true
		}
	}
	return false
}

// Up is false when no address is known, or the heartbeat finds every one down:
// a call need not be tried then. Without a heartbeat it is true while an
// address is known, because nothing would find that the peer is back.
func (p *Peer) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Heartbeat.Interval == 0 {
		return len(p.health) > 0
	}
	for _, h := range p.health {
		if !h.down {
			return true
		}
	}
	return false
}

// IsUp says whether a target is still one of the peer's and not down.
func (p *Peer) IsUp(t Target) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health[t.Addr] != nil && !p.restsLocked(t, time.Now())
}

// Report tells how a request to t fared: nil when it was answered, whatever the
// answer was. It counts like a heartbeat's. A request that we cancelled
// ourselves says nothing, nor does one to an address that has gone.
func (p *Peer) Report(t Target, err error) {
	if !errors.Is(err, context.Canceled) {
		p.count(t, err)
	}
}

// count counts one answer, or the want of one.
func (p *Peer) count(t Target, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[t.Addr]
	if h == nil {
		return
	}
	if err == nil {
		h.failures, h.successes = 0, h.successes+1
		if h.down && h.successes >= p.cfg.Heartbeat.Successes {
			h.down, h.since = false, time.Now()
			p.cfg.Log.Info("peer is up", "peer", p.cfg.Host, "target", t.Addr.String())
		}
		return
	}
	h.successes, h.failures, h.err = 0, h.failures+1, err
	switch {
	case h.down:
		if p.cfg.Heartbeat.Interval == 0 {
			h.since = time.Now() // rest again
		}
	case h.failures >= p.cfg.Heartbeat.Failures:
		h.down, h.since = true, time.Now()
		p.cfg.Log.Warn("peer is down", "peer", p.cfg.Host, "target", t.Addr.String(), "failures", h.failures, "err", err)
	}
}

// Status is what is known of one target.
type Status struct {
	Target
	Priority, Weight uint16    // of its SRV record; 0 without one
	Up               bool      // as Targets and Up see it
	Since            time.Time // of the last change, or when the address was first seen
	Failures         int       // in a row
	Err              error     // of the last failure; nil: there was none
}

// Status lists the targets, by priority and then as DNS gave them.
func (p *Peer) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Status
	for _, r := range p.records {
		for _, t := range r.targets {
			h := p.health[t.Addr]
			all = append(all, Status{
				Target: t, Priority: r.priority, Weight: r.weight,
				Up: !p.restsLocked(t, time.Now()), Since: h.since, Failures: h.failures, Err: h.err,
			})
		}
	}
	return all
}

// take makes records the peer's. What is known of an address that stays, stays.
func (p *Peer) take(records []record) {
	slices.SortStableFunc(records, func(a, b record) int { return int(a.priority) - int(b.priority) })
	p.mu.Lock()
	defer p.mu.Unlock()
	old, fresh := p.health, false
	p.health = map[netip.AddrPort]*health{}
	p.records = p.records[:0:0]
	for _, r := range records {
		// An address that stands in two records is tried once, where it comes first.
		r.targets = slices.DeleteFunc(slices.Clone(r.targets), func(t Target) bool {
			if p.health[t.Addr] != nil {
				return true
			}
			h := old[t.Addr]
			if h == nil {
				now := time.Now()
				h, fresh = &health{since: now, due: now}, true
				if p.literal == (netip.Addr{}) {
					p.cfg.Log.Info("peer has a new address", "peer", p.cfg.Host, "target", t.Addr.String())
				}
			}
			p.health[t.Addr] = h
			return false
		})
		if len(r.targets) > 0 {
			p.records = append(p.records, r)
		}
	}
	for at := range old {
		if p.health[at] == nil {
			p.cfg.Log.Info("an address is the peer's no more", "peer", p.cfg.Host, "target", at.String())
		}
	}
	if fresh {
		p.nudge()
	}
}

// nudge makes the heartbeat look at its targets again.
func (p *Peer) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
