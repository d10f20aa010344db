package auth

// Accounts without an allocation wait in the order in which they were left. Each Acquire looks at the first of them and
// forgets those whose buckets are full, a few at most: more than can have come since the one before, so that the queue
// gets shorter whenever it can. Since a bucket fills in the time of its depth, nobody waits behind another for longer
// than that.
const (
	sweepMost = 2
	// idleMost bounds them, since buckets of low rates take long to fill and names are as long as users like. Who would
	// have an account forgotten early needs that many names with allocations, and could have sent with each.
	idleMost = 1 << 14
)

// clockStep is how exact the quota's clock is. A finer one would have the workers write it at every draw.
const clockStep = int64(10e6) // nanoseconds

// tell sets the clock. Only leases know the time, but without them no bucket is other than full.
func (q *Quota) tell(now int64) {
	if was := q.clock.Load(); now-was >= clockStep || was-now >= clockStep {
		q.clock.Store(now)
	}
}

// sweep forgets idle accounts that make no difference any more.
func (q *Quota) sweep() {
	now := q.clock.Load()
	for range sweepMost {
		a := q.idle.first
		if a == nil || !a.recovered(now) {
			return
		}
		q.forget(a)
	}
}

// forget is for an idle account.
func (q *Quota) forget(a *Account) {
	q.idle.remove(a)
	delete(q.accounts, a.user)
}

// recovered reports whether the user's rates are as those of a new account.
func (a *Account) recovered(now int64) bool {
	return a.quota.packets.full(&a.packets, now) && a.quota.bytes.full(&a.bytes, now)
}

// idleAccounts is a queue, linked through the accounts: a user who comes back leaves from the middle.
type idleAccounts struct {
	first, last *Account
	count       int
}

func (q *idleAccounts) push(a *Account) {
	a.before, a.after = q.last, nil
	if q.last == nil {
		q.first = a
	} else {
		q.last.after = a
	}
	q.last = a
	q.count++
}

func (q *idleAccounts) remove(a *Account) {
	if a.before == nil {
		q.first = a.after
	} else {
		a.before.after = a.after
	}
	if a.after == nil {
		q.last = a.before
	} else {
		a.after.before = a.before
	}
	a.before, a.after = nil, nil
	q.count--
}
