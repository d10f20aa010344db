// Package media carries the media of bridged calls between two networks.
package media

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"causeway/qos"
)

// Errors of [Plane.Open].
var (
	ErrNoPorts = errors.New("no media ports left")
	ErrClosed  = errors.New("media plane closed")
)

var errNotBuilt = errors.New("media plane is being built")

// Config is what a [Plane] is made from.
type Config struct {
	First, Last   uint16        // media ports, inclusive; an even port and the odd one after it make a pair
	PoolAddr      netip.Addr    // where the pool side's ports are bound
	GatewayAddr   netip.Addr    // where the gateway side's ports are bound; may equal PoolAddr, which then serves both
	Marks         qos.Marks     // DSCP on everything sent; zero marks nothing
	Workers       int           // 0 means one a core (GOMAXPROCS)
	Quarantine    time.Duration // how long a closed pair rests before it is used again; 0 means 5 s
	CNAME         string        // RTCP canonical name; "" means a random one (RFC 7022)
	Log           *slog.Logger  // nil logs nothing
	OnBridgeError func(id string, err error)
}

// Counter is one figure of the plane, counted since its start.
type Counter struct {
	Name  string // a metric name's last part, in snake case
	Help  string
	Value uint64
}

// Plane owns the media ports and workers of all bridges.
type Plane struct{}

// NewPlane checks the configuration and makes a plane that is not running yet.
func NewPlane(Config) (*Plane, error) { return nil, errNotBuilt }

// Run moves media until ctx is done. It blocks.
func (p *Plane) Run(ctx context.Context) error { return errNotBuilt }

// Open takes a pair of ports on each side. It fails with [ErrNoPorts] or
// [ErrClosed].
func (p *Plane) Open(id string) (*Bridge, error) { return nil, errNotBuilt }

// Counters returns the plane's figures.
func (p *Plane) Counters() []Counter { return nil }

// PortsFree returns how many pairs of a side's address are neither in use nor
// in quarantine.
func (p *Plane) PortsFree(s Side) int { return 0 }

// PortsTotal returns how many pairs a side's address has.
func (p *Plane) PortsTotal(s Side) int { return 0 }
