package auth

import (
	"math"
	"sync/atomic"
	"time"
)

// Spent is what became of a packet's claim on the rates.
type Spent uint8

// Every value but SpentOK is a reason to drop the packet; then nothing was spent.
const (
	SpentOK       Spent = iota
	OverPackets         // the user's packets a second
	OverBytes           // the user's bytes a second
	OverBandwidth       // the relay's bytes a second
)

func (s Spent) String() string {
	switch s {
	case SpentOK:
		return "ok"
	case OverPackets:
		return "user packet rate"
	case OverBytes:
		return "user byte rate"
	case OverBandwidth:
		return "relay bandwidth"
	default:
		return "unknown"
	}
}

// drawn is how much of a rate may wait unspent in all leases together: each draws at most its share of this much time.
// It is small against the depth of the buckets, so that tokens that lie with the idle are not missed by the busy.
const drawn = 25 * time.Millisecond

// Lease is one allocation's share of its user's rates and of the relay's bandwidth: a few tokens of its own, so that
// most packets touch no memory that other workers write. It belongs to one goroutine. The zero Lease has no account
// and lets nothing pass.
type Lease struct {
	account                   *Account
	packets, bytes, bandwidth int64
}

// Init begins a lease on an account that is held. When its last allocation is released, the lease can spend only what it
// has at hand, and be returned.
func (l *Lease) Init(a *Account) {
	q := a.quota
	*l = Lease{account: a, packets: endless(q.packets), bytes: endless(q.bytes), bandwidth: endless(q.bandwidth)}
}

// endless is what a lease begins with: nothing, or where there is no limit, more than can be sent.
func endless(l limit) int64 {
	if l.rate == 0 {
		return math.MaxInt64
	}
	return 0
}

// Spend pays for a packet of some bytes. now is in Unix nanoseconds. It does not allocate or lock.
func (l *Lease) Spend(now int64, bytes int) Spent {
	n := int64(bytes)
	if l.packets < 1 || l.bytes < n || l.bandwidth < n {
		if spent := l.draw(now, n); spent != SpentOK {
			return spent
		}
	}
	l.packets--
	l.bytes -= n
	l.bandwidth -= n
	return SpentOK
}

// draw gets what is missing for a packet of n bytes. What it got stays with the lease if something else is missing.
func (l *Lease) draw(now, n int64) Spent {
	a := l.account
	if a == nil || a.held.Load() == 0 {
		return OverPackets // an account that may be forgotten pays for nothing
	}
	a.quota.tell(now)
	switch {
	case !refill(&l.packets, a.quota.packets, &a.packets, now, 1, &a.held):
		return OverPackets
	case !refill(&l.bytes, a.quota.bytes, &a.bytes, now, n, &a.held):
		return OverBytes
	case !refill(&l.bandwidth, a.quota.bandwidth, &a.quota.wire, now, n, &a.quota.held):
		return OverBandwidth
	default:
		return SpentOK
	}
}

// refill sees to it that n tokens are at hand, with some more if the bucket has them.
func refill(tokens *int64, of limit, bucket *atomic.Int64, now, n int64, sharers *atomic.Int64) bool {
	need := n - *tokens
	if need <= 0 {
		return true
	}
	share := of.worth(int64(drawn)) / max(sharers.Load(), 1)
	*tokens += of.take(bucket, now, need, max(need, share))
	return *tokens >= n
}

// Return gives back what was not spent, before or after the account is released. Without it, who makes and deletes allocations
// all day would take from everybody's bandwidth without sending a byte.
func (l *Lease) Return() {
	if l.account == nil {
		return
	}
	q := l.account.quota
	giveBack(q.packets, &l.account.packets, l.packets)
	giveBack(q.bytes, &l.account.bytes, l.bytes)
	giveBack(q.bandwidth, &q.wire, l.bandwidth)
	*l = Lease{}
}

func giveBack(of limit, bucket *atomic.Int64, n int64) {
	if of.rate != 0 && n > 0 {
		of.give(bucket, n)
	}
}
