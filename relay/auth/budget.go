package auth

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// budgetBuckets is a power of two: 128 KB hold them all.
const budgetBuckets = 1 << 14

// Prefixes that share a bucket: what one sender can be expected to have, and one victim to suffer for.
const (
	budgetBits4 = 24
	budgetBits6 = 56
)

// Budget bounds the replies to senders who have not proven that they are where they say: whoever forges a source
// address can make the relay send to it, but no more than this. One token is one reply.
//
// Its memory is fixed: prefixes share a table of buckets by a keyed hash, so that nobody can choose whose bucket to
// empty. Methods may be called from any goroutine and neither lock nor allocate.
type Budget struct {
	limit   limit
	key     sipKey
	buckets [budgetBuckets]atomic.Int64
}

// NewBudget allows each /24 of IPv4 and each /56 of IPv6 a number of replies a second, and a burst of replies that
// were saved up. A rate of 0 sets no limit. The seed is random and secret.
func NewBudget(rate, burst int, seed [16]byte) *Budget {
	return &Budget{limit: newLimit(int64(rate), 0, int64(max(burst, 1))), key: newSipKey(seed)}
}

// Take asks for one reply to a.
func (b *Budget) Take(now time.Time, a netip.Addr) bool {
	if b.limit.rate == 0 {
		return true
	}
	return b.limit.take(b.bucket(a), now.UnixNano(), 1, 1) == 1
}

// Refund gives back what a reply to a took, once the client there has proven that it asked for it.
func (b *Budget) Refund(a netip.Addr) {
	if b.limit.rate != 0 {
		b.limit.give(b.bucket(a), 1)
	}
}

func (b *Budget) bucket(a netip.Addr) *atomic.Int64 {
	// Behind a translator, all of IPv4 comes from one IPv6 prefix.
	if v4, form := canonical(a); form.translates() {
		a = v4
	}
	var hash uint64
	if a.Is4() {
		raw := a.As4()
		hash = b.key.hash(raw[:budgetBits4/8])
	} else {
		raw := a.As16()
		hash = b.key.hash(raw[:budgetBits6/8])
	}
	return &b.buckets[hash%budgetBuckets]
}
