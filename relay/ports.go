package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"causeway/relay/turn"
)

// bindTries is how many ports are tried before an allocation is refused: a port of the range may be in use by another
// program, and then waits its turn like one of ours.
const bindTries = 16

// errNoPorts is returned when every port of the range is in use or in quarantine.
var errNoPorts = errors.New("no relay port is free")

// portPool hands out the relay ports of one address and transport: at random, so that nobody can guess the port of an
// allocation to come (RFC 6056), and not again before a time has passed, so that a peer's late packets reach nobody
// else. It is safe for use by several workers.
type portPool struct {
	mu     sync.Mutex
	first  uint16
	free   []uint16      // in no order
	at     []int32       // position of each port of the range in free; -1 if it isn't there
	held   []atomic.Bool // which ports have been taken and not put back; read without mu
	fouled []fouledPort
	early  uint64 // ports that were taken before they had rested
	rest   time.Duration
	random io.Reader
}

// fouledPort is a port in quarantine. They all rest equally long, so they are in the order of their release.
type fouledPort struct {
	port uint16
	ends time.Time
}

func newPortPool(first, last uint16, rest time.Duration) *portPool {
	n := int(last) - int(first) + 1
	p := &portPool{first: first, free: make([]uint16, n), at: make([]int32, n), held: make([]atomic.Bool, n),
		rest: rest, random: rand.Reader}
	for i := range n {
		p.free[i] = first + uint16(i)
		p.at[i] = int32(i)
	}
	return p
}

// take removes a port from the pool: any, an even one, or an even one together with the next higher.
//
// When nothing else is free, the port that has rested longest is taken early. Otherwise one client that allocates and
// gives back as fast as it can would keep everybody else from having a port.
func (p *portPool) take(now time.Time, even, pair bool) (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(now)
	if port, ok := p.pick(even, pair); ok {
		return port, true
	}
	return p.pickEarly(even, pair)
}

// pickEarly takes the port that has rested longest of those that are what is asked for.
func (p *portPool) pickEarly(even, pair bool) (uint16, bool) {
	for _, f := range p.fouled {
		port := f.port
		if even && port%2 != 0 {
			if !pair {
				continue
			}
			port-- // it may be the second of a pair
		}
		if !p.vacant(port) || pair && !p.vacant(port+1) {
			continue
		}
		p.grab(port)
		if pair {
			p.grab(port + 1)
		}
		return port, true
	}
	return 0, false
}

// vacant reports whether a port is of the range and free, or resting.
func (p *portPool) vacant(port uint16) bool { return p.covers(port) && !p.holds(port) }

// grab removes a port that is vacant.
func (p *portPool) grab(port uint16) {
	if p.has(port) {
		p.remove(port)
		return
	}
	p.fouled = slices.DeleteFunc(p.fouled, func(f fouledPort) bool { return f.port == port })
	p.held[port-p.first].Store(true)
	p.early++
}

// pick takes one of the free ports, if one is what is asked for.
func (p *portPool) pick(even, pair bool) (uint16, bool) {
	if len(p.free) == 0 {
		return 0, false
	}
	start := p.below(len(p.free))
	for i := range p.free {
		port := p.free[(start+i)%len(p.free)]
		if even && port%2 != 0 || pair && !p.has(port+1) {
			continue
		}
		p.remove(port)
		if pair {
			p.remove(port + 1)
		}
		return port, true
	}
	return 0, false
}

// put gives a port back, into quarantine.
func (p *portPool) put(now time.Time, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[port-p.first].Store(false)
	p.fouled = append(p.fouled, fouledPort{port, now.Add(p.rest)})
}

// counts returns how many ports are free, how many rest, and how many were taken before they had rested.
func (p *portPool) counts(now time.Time) (free, resting int, early uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(now)
	return len(p.free), len(p.fouled), p.early
}

// release frees those whose quarantine is over.
func (p *portPool) release(now time.Time) {
	n := 0
	for n < len(p.fouled) && !p.fouled[n].ends.After(now) {
		n++
	}
	p.rested(n)
}

// rested frees the n ports that have rested longest.
func (p *portPool) rested(n int) {
	if n == 0 {
		return
	}
	for _, f := range p.fouled[:n] {
		p.at[f.port-p.first] = int32(len(p.free))
		p.free = append(p.free, f.port)
	}
	p.fouled = append(p.fouled[:0], p.fouled[n:]...)
}

// covers reports whether a port is of the range. There is no pool for a family without relay addresses.
func (p *portPool) covers(port uint16) bool {
	return p != nil && port >= p.first && int(port)-int(p.first) < len(p.at)
}

func (p *portPool) has(port uint16) bool {
	i := int(port) - int(p.first)
	return i >= 0 && i < len(p.at) && p.at[i] >= 0
}

func (p *portPool) remove(port uint16) {
	i, last := p.at[port-p.first], len(p.free)-1
	moved := p.free[last]
	p.free[i] = moved
	p.at[moved-p.first] = i
	p.free = p.free[:last]
	p.at[port-p.first] = -1
	p.held[port-p.first].Store(true)
}

// holds reports whether a port is taken now, and so one of ours. It takes no lock: every packet between two clients of
// the relay asks it.
func (p *portPool) holds(port uint16) bool {
	i := int(port) - int(p.first)
	return i >= 0 && i < len(p.held) && p.held[i].Load()
}

// below returns a random number less than n, without bias (Lemire's multiplication).
func (p *portPool) below(n int) int {
	var b [8]byte
	for {
		if _, err := io.ReadFull(p.random, b[:]); err != nil {
			return 0 // the system's source does not fail
		}
		high, low := bits.Mul64(binary.BigEndian.Uint64(b[:]), uint64(n))
		if low >= -uint64(n)%uint64(n) {
			return int(high)
		}
	}
}

// inUse reports whether binding failed because of the port, so that another one may do.
func inUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES)
}

// reservation is a port that is bound and waits for the allocation that brings its token (RFC 8656 section 7.2).
type reservation struct {
	port relayPort
	user string
}

// reservations are the ports held for a token. Workers share them: the second allocation of a pair may come to another
// worker than the first.
type reservations struct {
	mu      sync.Mutex
	held    map[turn.Token]reservation
	users   map[string]int // how many each user has
	perUser int            // how many one may have
}

// hold takes a port in, unless its user has as many as one may have.
func (r *reservations) hold(token turn.Token, port relayPort, user string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users[user] >= r.perUser {
		return false
	}
	r.users[user]++
	r.held[token] = reservation{port, user}
	return true
}

// forget takes a reservation out. r.mu is held.
func (r *reservations) forget(token turn.Token, h reservation) {
	delete(r.held, token)
	if r.users[h.user]--; r.users[h.user] <= 0 {
		delete(r.users, h.user)
	}
}

// take hands over the port that is held under a token, to the user that reserved it and nobody else.
func (r *reservations) take(token turn.Token, user string) (relayPort, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[token]
	if !ok || h.user != user {
		return relayPort{}, false
	}
	r.forget(token, h)
	return h.port, true
}

// drop ends a reservation, if nobody took it.
func (r *reservations) drop(token turn.Token) (relayPort, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[token]
	if ok {
		r.forget(token, h)
	}
	return h.port, ok
}

// all empties the table.
func (r *reservations) all() []relayPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ports []relayPort
	for token, h := range r.held {
		ports = append(ports, h.port)
		r.forget(token, h)
	}
	return ports
}

// poolKey says which pool a port belongs to.
type poolKey struct {
	family turn.Family
	tcp    bool
}

// pools are the relay ports of all addresses and transports.
type pools map[poolKey]*portPool

func newPools(addresses [2]netip.Addr, first, last uint16, rest time.Duration) pools {
	p := pools{}
	for f, a := range addresses {
		if a.IsValid() {
			p[poolKey{turn.Family(f), false}] = newPortPool(first, last, rest)
			p[poolKey{turn.Family(f), true}] = newPortPool(first, last, rest)
		}
	}
	return p
}
