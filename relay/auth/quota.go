package auth

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Why an allocation was refused.
var (
	ErrUserQuota = errors.New("the user has as many allocations as allowed") // 486, RFC 8656 section 7.2
	ErrCapacity  = errors.New("the relay has as many allocations as allowed")
)

// How much a bucket holds. It must let the largest datagram pass, however low the rate.
const (
	userDepth      = time.Second
	bandwidthDepth = 100 * time.Millisecond
	largest        = 65536 // bytes
)

// QuotaOptions are bounds; 0 is none.
type QuotaOptions struct {
	// AllocationsPerUser and Allocations in all.
	AllocationsPerUser, Allocations int
	// PacketsPerSecond and BytesPerSecond of one user, of all of its allocations in both directions.
	PacketsPerSecond, BytesPerSecond int64
	// Bandwidth is bytes a second of all users together, in both directions.
	Bandwidth int64
}

// Quota counts allocations and shares out rates. Its memory is that of the users who have an allocation, and of those
// whose last one ended while their rates were in use: see [Account.Release].
type Quota struct {
	perUser, inAll            int
	packets, bytes, bandwidth limit

	_    [64]byte // workers draw from this one: no neighbours in its cache line
	wire atomic.Int64
	_    [56]byte

	held     atomic.Int64 // allocations; written under mu
	clock    atomic.Int64 // as the leases tell it, Unix nanoseconds
	mu       sync.Mutex
	accounts map[string]*Account // each is held or idle
	idle     idleAccounts
}

// Account is what one user has in use. It lasts from the first allocation until the last is released and the rates have
// recovered.
type Account struct {
	quota *Quota
	user  string
	held  atomic.Int64 // allocations; written under quota.mu
	// The neighbours among the idle, under quota.mu.
	before, after *Account
	// The user's buckets.
	packets, bytes atomic.Int64
}

// NewQuota makes an empty quota.
func NewQuota(o QuotaOptions) *Quota {
	return &Quota{
		perUser:   o.AllocationsPerUser,
		inAll:     o.Allocations,
		packets:   newLimit(o.PacketsPerSecond, userDepth, 1),
		bytes:     newLimit(o.BytesPerSecond, userDepth, largest),
		bandwidth: newLimit(o.Bandwidth, bandwidthDepth, largest),
		accounts:  map[string]*Account{},
	}
}

// Acquire counts one more allocation of a user. The errors are [ErrUserQuota], which comes first, and [ErrCapacity].
// Each account got must be released once. A user who comes back finds the rates as they were left.
func (q *Quota) Acquire(user string) (*Account, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	a := q.accounts[user]
	if a != nil && q.perUser > 0 && a.held.Load() >= int64(q.perUser) {
		return nil, ErrUserQuota
	}
	if q.inAll > 0 && q.held.Load() >= int64(q.inAll) {
		return nil, ErrCapacity
	}
	switch {
	case a == nil:
		a = &Account{quota: q, user: user}
		q.accounts[user] = a
	case a.held.Load() == 0:
		q.idle.remove(a)
	}
	a.held.Add(1)
	q.held.Add(1)
	return a, nil
}

// Release counts one allocation less. With the last, the user is forgotten if the rates were not used of late; otherwise
// they are remembered until they must have recovered, so that nobody gets them anew by deleting an allocation and making
// another. Leases may be returned before or after, but draw nothing more when the last allocation is released.
func (a *Account) Release() {
	q := a.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.held.Load() == 0 {
		return // released once too often: the counts of others must not suffer
	}
	q.held.Add(-1)
	if a.held.Add(-1) > 0 {
		return
	}
	if a.recovered(q.clock.Load()) {
		delete(q.accounts, a.user)
		return
	}
	q.idle.push(a)
	if q.idle.count > idleMost {
		q.forget(q.idle.first)
	}
}

// User is the account's user.
func (a *Account) User() string { return a.user }

// Allocations is how many the user has.
func (a *Account) Allocations() int { return int(a.held.Load()) }

// Allocations is how many there are in all.
func (q *Quota) Allocations() int { return int(q.held.Load()) }

// Users is how many users have an allocation.
func (q *Quota) Users() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.accounts) - q.idle.count
}
