package media

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/qos"
)

// ErrNoPorts is returned by [Plane.Open] when every pair of ports of a side is in
// use or resting.
var ErrNoPorts = errors.New("no media ports left")

// Quarantine is how long a pair of ports rests between two calls unless the
// configuration says otherwise: longer than a peer takes to notice that a call
// ended and to stop sending.
const Quarantine = 5 * time.Second

// Config is what a [Plane] is made from.
type Config struct {
	// First and Last are the media ports of each address, inclusive. An even port
	// and the odd one after it make a pair; ports without a mate are not used.
	First, Last uint16
	// PoolAddr and GatewayAddr are where the sides' ports are bound. If they are
	// equal, both sides share one set of pairs.
	PoolAddr, GatewayAddr netip.Addr
	// Marks is put on everything sent, RTP and RTCP alike, so that what RTCP
	// measures is what the audio goes through.
	Marks qos.Marks
	// Workers is how many goroutines move media; 0 means one for each CPU that Go
	// uses.
	Workers int
	// Quarantine is how long a pair rests between two calls; 0 means [Quarantine].
	Quarantine time.Duration
	// CNAME is our name in RTCP, of 1 to 255 bytes; "" means a random one (RFC 7022
	// section 4.2).
	CNAME string
	// Log gets what an operator has to know; nil discards it.
	Log *slog.Logger
	// OnBridgeError is told, once for each bridge, that an internal error ended it.
	// The bridge still has to be closed, and the callback may do so. It is called
	// by the goroutine of Run, so it must not block for long. It may be nil.
	OnBridgeError func(id string, err error)
	// Engine moves the datagrams; nil means the kernel's sockets.
	Engine netio.Engine
}

// Plane owns the media ports and the workers of all bridges. Its methods may be
// called from any goroutine.
type Plane struct {
	// Set once and never changed.
	config  Config
	cname   string
	start   time.Time
	log     *slog.Logger
	workers []*worker

	mu      sync.Mutex
	ports   [2]*portPool         // guarded by mu; the same twice if the sides share an address
	bridges map[*Bridge]struct{} // guarded by mu; those not closed
	opened  uint64               // guarded by mu
	closed  bool                 // guarded by mu

	failing  sync.Mutex
	failures []failure     // guarded by failing; not told yet
	told     chan struct{} // has one element when there are failures
}

type failure struct {
	id  string
	err error
}

// NewPlane checks the configuration and makes a plane that is not running. It
// takes no resources of the system.
func NewPlane(c Config) (*Plane, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("media plane: %w", err)
	}
	p := &Plane{
		config:  c,
		cname:   c.CNAME,
		start:   time.Now(),
		log:     c.Log,
		bridges: map[*Bridge]struct{}{},
		told:    make(chan struct{}, 1),
	}
	if p.cname == "" {
		p.cname = randomName()
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	rest := c.Quarantine
	if rest == 0 {
		rest = Quarantine
	}
	p.ports[Pool] = newPortPool(c.First, c.Last, rest)
	p.ports[Gateway] = p.ports[Pool]
	if c.PoolAddr != c.GatewayAddr {
		p.ports[Gateway] = newPortPool(c.First, c.Last, rest)
	}
	engine := c.Engine
	if engine == nil {
		engine = netio.Sockets()
	}
	n := c.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		p.workers = append(p.workers, newWorker(engine.NewWorker(), p.start))
	}
	return p, nil
}

func (c *Config) check() error {
	switch {
	case c.First == 0 || int(c.First)+int(c.First)%2+1 > int(c.Last):
		return fmt.Errorf("ports %d to %d hold no pair", c.First, c.Last)
	case c.Workers < 0:
		return fmt.Errorf("%d workers", c.Workers)
	case c.Quarantine < 0:
		return fmt.Errorf("quarantine of %v", c.Quarantine)
	case len(c.CNAME) > 255:
		return fmt.Errorf("CNAME of %d bytes; RTCP holds 255", len(c.CNAME))
	case c.Marks.Audio > 63:
		return fmt.Errorf("DSCP %d for audio; the field holds 63", c.Marks.Audio)
	}
	for _, a := range []netip.Addr{c.PoolAddr, c.GatewayAddr} {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("address %v can't be told to a peer", a)
		}
	}
	return nil
}

// randomName is a short-term persistent name of 96 random bits (RFC 7022 section
// 5).
func randomName() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// Run moves media until ctx is done or a worker cannot go on, which it returns the
// reason of. It blocks, and returns when all workers have ended and the bridges
// that were left are closed. A plane runs once.
func (p *Plane) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(p.workers))
	var wg sync.WaitGroup
	for i, w := range p.workers {
		wg.Go(func() {
			defer cancel() // one worker less is a plane that drops calls unheard
			errs[i] = w.io.Run(ctx, w)
		})
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.told:
			p.tellFailures()
		}
	}
	wg.Wait()
	p.closeAll()
	p.tellFailures()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("media plane: %w", err)
	}
	return nil
}
