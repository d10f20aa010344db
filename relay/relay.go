// Package relay is the A/V Edge: it lets clients behind NATs reach each other and the world through relayed transport
// addresses (STUN, RFC 8489; TURN, RFC 8656).
//
// A [Relay] has workers, and every client belongs to one of them. UDP clients are spread by the kernel: each worker has
// a socket of its own for every UDP listener, and what comes from one client always comes to the same. Stream clients
// are dealt in turn. A worker owns its clients' allocations, their sockets, their forwarding state and their timers;
// workers share what is asked once an allocation (quotas, ports, credentials) and nothing that is asked once a packet.
package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/conf"
	"causeway/internal/netio"
	"causeway/relay/auth"
	"causeway/relay/turn"
)

// listenBuffer is the receive queue of a worker's listening socket, in bytes: about ten thousand voice packets with the
// kernel's overhead, which is what one core can be late by without losing any.
const listenBuffer = 8 << 20

// Config is what a relay is made from.
type Config struct {
	Relay   *conf.Relay
	Signers []*auth.Signer // A/V authentication, newest first; nil: none
	Engine  netio.Engine
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Relay is the A/V Edge role of one process.
type Relay struct {
	cfg     *conf.Relay
	log     *slog.Logger
	now     func() time.Time
	random  io.Reader
	workers []*worker

	addresses [2]netip.Addr // relayed addresses are on these, by turn.Family
	aliases   [2]turn.Alias
	policy    *auth.Policy
	quota     *auth.Quota
	budget    *auth.Budget
	pools     pools
	udp       [2]*portPool // those of pools for UDP, for what is asked of every packet
	reserved  reservations
	listening []listening
	streams   *streams
	quality   quality

	openFailures atomic.Uint64
	failing      atomic.Bool  // the last attempt to open a relay port failed
	warned       atomic.Int64 // when that was logged last, in Unix nanoseconds
	panics       atomic.Uint64
	stopping     atomic.Bool // Run has been told to end
	stopped      atomic.Bool
}

// listening is one configured listener.
type listening struct {
	conf.Listen
	internal bool
}

// New makes a relay and opens its listeners, so that what can't be opened shows before anything runs. Whoever gets a
// Relay has to Run it or Close it.
func New(c Config) (*Relay, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Relay{
		cfg: c.Relay, log: c.Log, now: c.Now, random: rand.Reader, quality: newQuality(),
		reserved: reservations{
			held: map[turn.Token]reservation{}, users: map[string]int{}, perUser: c.Relay.Limits.AllocationsPerUser,
		},
	}
	for _, l := range c.Relay.Listen {
		r.listening = append(r.listening, listening{l, false})
	}
	for _, l := range c.Relay.Internal.Listen {
		r.listening = append(r.listening, listening{l, true})
	}
	for _, a := range c.Relay.RelayAddresses {
		r.addresses[turn.FamilyOf(a)] = a
	}
	if external := c.Relay.ExternalAddress; external.IsValid() {
		f := turn.FamilyOf(external)
		r.aliases[f] = turn.Alias{Bound: r.addresses[f], External: external}
	}
	r.pools = newPools(r.addresses, c.Relay.Ports.First, c.Relay.Ports.Last, c.Relay.PortQuarantine)
	for f := range r.udp {
		r.udp[f] = r.pools[poolKey{family: turn.Family(f)}]
	}
	machine, err := r.machineConfig(c)
	if err != nil {
		return nil, err
	}
	if err := r.open(c, machine); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// machineConfig makes what the workers' machines share.
func (r *Relay) machineConfig(c Config) (turn.Config, error) {
	credentials, err := auth.NewCredentials(credentialOptions(c.Relay, c.Signers))
	if err != nil {
		return turn.Config{}, fmt.Errorf("relay: %w", err)
	}
	if r.policy, err = newPolicy(c.Relay, r.holds); err != nil {
		return turn.Config{}, fmt.Errorf("relay: %w", err)
	}
	limits := c.Relay.Limits
	r.quota = auth.NewQuota(auth.QuotaOptions{
		AllocationsPerUser: limits.AllocationsPerUser, Allocations: limits.Allocations,
		PacketsPerSecond: int64(limits.PacketsPerSecond), BytesPerSecond: int64(limits.BytesPerSecond),
		Bandwidth: int64(limits.Bandwidth),
	})
	secret := []byte(c.Relay.NonceSecret)
	var seed [16]byte
	m := turn.Config{
		Realm: c.Relay.Realm, Credentials: credentials, Quota: r.quota, Policy: r.policy,
		Draining: r.stopping.Load, Advertise: r.aliases, DefaultLifetime: c.Relay.Lifetime.Default, MaxLifetime: c.Relay.Lifetime.Max,
		MaxPermissions: limits.Permissions, MaxChannels: limits.Channels, StrictExpiry: c.Relay.StrictExpiry,
		Mobility: c.Relay.Mobility, LegacyChannels: c.Relay.LegacyChannels, Alternates: c.Relay.AlternateServers, Random: r.random,
	}
	for f := range r.addresses {
		m.Families[f] = r.addresses[f].IsValid()
	}
	if len(secret) == 0 {
		secret = make([]byte, 32)
		if _, err := io.ReadFull(r.random, secret); err != nil {
			return turn.Config{}, fmt.Errorf("relay: random numbers: %w", err)
		}
	}
	for _, b := range [][]byte{m.TicketKey[:], seed[:]} {
		if _, err := io.ReadFull(r.random, b); err != nil {
			return turn.Config{}, fmt.Errorf("relay: random numbers: %w", err)
		}
	}
	m.Nonces = auth.NewNonces(secret, c.Relay.NonceLifetime, true, credentials.StaticOnly())
	r.budget = auth.NewBudget(limits.UnauthenticatedReplies, limits.UnauthenticatedBurst, seed)
	m.Budget = r.budget
	return m, nil
}

// credentialOptions takes what the configuration says of users.
func credentialOptions(c *conf.Relay, signers []*auth.Signer) auth.Options {
	o := auth.Options{Realm: c.Realm, Users: map[string]string{}, Signers: signers}
	for name, password := range c.Users {
		o.Users[name] = string(password)
	}
	for _, s := range c.RestSecrets {
		o.RestSecrets = append(o.RestSecrets, string(s))
	}
	return o
}

// holds reports whether a relayed transport address, bound or advertised, is one of an allocation's now.
func (r *Relay) holds(a netip.Addr, port uint16, tcp bool) bool {
	f := turn.FamilyOf(a)
	if a != r.addresses[f] && a != r.aliases[f].External {
		return false
	}
	pool := r.pools[poolKey{f, tcp}]
	return pool != nil && pool.holds(port)
}

// lapsed reports whether a peer is on a relay address and in the range of relay ports, but no allocation has that port.
// A channel's peer was judged when it was bound; this one may have changed hands since.
func (r *Relay) lapsed(peer netip.AddrPort) bool {
	f := turn.FamilyOf(peer.Addr())
	return peer.Addr() == r.addresses[f] && r.udp[f].covers(peer.Port()) && !r.udp[f].holds(peer.Port())
}

// NewPolicy compiles the peer policy of a configuration, with this host's addresses. To it, every port of the range is
// the relay's own; one that runs knows better.
func NewPolicy(c *conf.Relay) (*auth.Policy, error) { return newPolicy(c, nil) }

func newPolicy(c *conf.Relay, held func(a netip.Addr, port uint16, tcp bool) bool) (*auth.Policy, error) {
	host, err := netio.HostAddresses()
	if err != nil {
		return nil, err
	}
	for _, l := range append(append([]conf.Listen(nil), c.Listen...), c.Internal.Listen...) {
		host = append(host, l.Addr.Addr())
	}
	relayed := append([]netip.Addr(nil), c.RelayAddresses...)
	if c.ExternalAddress.IsValid() {
		relayed = append(relayed, c.ExternalAddress)
	}
	federation, err := auth.ParseFederation(string(c.Federation))
	if err != nil {
		return nil, err
	}
	return auth.NewPolicy(auth.PolicyOptions{
		Allow: c.Peers.Allow, Deny: c.Peers.Deny,
		InternalAllow: c.Internal.Peers.Allow, InternalDeny: c.Internal.Peers.Deny,
		Host: host, Relay: relayed, Ports: [2]uint16{c.Ports.First, c.Ports.Last},
		Federation: federation, Held: held,
	})
}

// open makes the workers and the listeners.
func (r *Relay) open(c Config, machine turn.Config) error {
	count := c.Relay.Workers
	if count == 0 {
		count = runtime.GOMAXPROCS(0)
	}
	for i := range count {
		machine.Worker = i
		w := &worker{
			relay: r, number: i, net: c.Engine.NewWorker(), machine: turn.New(machine, r.now()),
			listeners: make([]*listener, len(r.listening)),
			sessions:  map[turn.ID]*session{}, streams: map[turn.Source]*streamClient{},
			log: r.log,
		}
		if _, err := io.ReadFull(r.random, w.transaction[:]); err != nil {
			return fmt.Errorf("relay: random numbers: %w", err)
		}
		r.workers = append(r.workers, w)
	}
	for i, l := range r.listening {
		network := "tcp"
		if l.Datagrams() {
			network = "udp"
		}
		if err := netio.Probe(network, l.Addr); err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		if l.Network != "udp" {
			continue
		}
		for _, w := range r.workers {
			if err := w.listenUDP(uint8(i), l.Addr); err != nil {
				return fmt.Errorf("relay: %w", err)
			}
		}
	}
	var err error
	r.streams, err = newStreams(r)
	return err
}

// listenUDP opens this worker's socket of a listener.
func (w *worker) listenUDP(number uint8, local netip.AddrPort) error {
	port, err := w.net.Listen(local, w.relay.listenOptions(netip.AddrPort{}))
	if err != nil {
		return err
	}
	l := &listener{worker: w, number: number, port: port}
	w.listeners[number] = l
	return port.Attach(l)
}

// listenOptions are those of listening sockets; client is whom one is for alone, if anybody.
func (r *Relay) listenOptions(client netip.AddrPort) netio.Options {
	o := netio.Options{ReusePort: true, ReceiveBuffer: listenBuffer, Fields: true, Large: true, Connect: client}
	if client.IsValid() {
		o.ReceiveBuffer = 0
	}
	return o
}

// Run serves until ctx is done, and closes everything before it returns. It waits for every goroutine of the relay.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.Close()
	r.announce()
	// While what is under way ends, nothing new begins: clients are sent elsewhere, or told to try again.
	defer context.AfterFunc(ctx, func() { r.stopping.Store(true) })()
	workers, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, len(r.workers))
	for i, w := range r.workers {
		wg.Go(func() {
			defer cancel()
			errs[i] = w.run(workers)
		})
	}
	// Streams end first: what they hand to the workers finds them running.
	streamErr := r.streams.run(ctx)
	stop()
	wg.Wait()
	return errors.Join(append(errs, streamErr)...)
}

// announce logs where clients come in, where their media leaves from, and what they are told of that.
func (r *Relay) announce() {
	var listeners, bound, told []string
	for _, l := range r.listening {
		listeners = append(listeners, l.String())
	}
	for f, a := range r.addresses {
		if !a.IsValid() {
			continue
		}
		bound = append(bound, a.String())
		told = append(told, r.aliases[f].Outside(netip.AddrPortFrom(a, 0)).Addr().String())
	}
	r.log.Info("the relay is listening", "listeners", listeners, "workers", len(r.workers), "relay_ports", r.cfg.Ports.String(),
		"bound", bound, "advertised", told, "federation", string(r.cfg.Federation))
}

// Close closes what a Relay that doesn't run holds.
func (r *Relay) Close() {
	if r.stopped.Swap(true) {
		return
	}
	for _, w := range r.workers {
		w.net.Do(func(now time.Time) {
			for _, s := range w.sessions {
				w.close(now, s)
			}
			for _, l := range w.listeners {
				if l != nil && l.port != nil { // a stream listener has none
					l.port.Close()
				}
			}
		})
	}
	for _, p := range r.reserved.all() {
		p.port.Close()
	}
	if r.streams != nil {
		r.streams.close()
	}
}

// closePort gives a reserved port back.
func (r *Relay) closePort(now time.Time, p relayPort) {
	p.port.Close()
	r.pools[poolKey{family: p.family}].put(now, p.port.Local().Port())
}

// Ready returns why the relay could not make another allocation, or nil.
func (r *Relay) Ready() error {
	if r.stopping.Load() || r.stopped.Load() {
		return errors.New("stopped")
	}
	if r.quota.Allocations() >= r.cfg.Limits.Allocations {
		return fmt.Errorf("all %d allocations are in use", r.cfg.Limits.Allocations)
	}
	now := r.now()
	for f, a := range r.addresses {
		if !a.IsValid() {
			continue
		}
		if free, resting, _ := r.pools[poolKey{family: turn.Family(f)}].counts(now); free+resting == 0 {
			return fmt.Errorf("every relay port of %s is in use", a)
		}
	}
	return r.probe()
}

// probe tries to open a relay port of each family if the last attempt to open one failed: whoever balances load sends no
// more clients while it fails, so that none of them could show that it works again.
func (r *Relay) probe() error {
	if !r.failing.Load() {
		return nil
	}
	for f, pool := range r.udp {
		if pool == nil {
			continue
		}
		port, _, err := r.workers[0].bind(r.now(), turn.Family(f), false, false)
		if err != nil {
			return err
		}
		r.closePort(r.now(), port)
	}
	r.failing.Store(false)
	return nil
}

// mayWarn allows one line a second about ports that cannot be opened: whoever has a password could fill the log with
// them. All of them are counted.
func (r *Relay) mayWarn(now time.Time) bool {
	last := r.warned.Load()
	return now.UnixNano()-last >= int64(time.Second) && r.warned.CompareAndSwap(last, now.UnixNano())
}
