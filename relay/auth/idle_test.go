package auth

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// Deleting an allocation and making another gives nobody a new rate, whichever of lease and account is given back first.
func TestRatesOutliveAllocations(t *testing.T) {
	for name, end := range map[string]func(*Lease, *Account){
		"the lease first":   func(l *Lease, a *Account) { l.Return(); a.Release() },
		"the account first": func(l *Lease, a *Account) { a.Release(); l.Return() },
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQuota(QuotaOptions{BytesPerSecond: 100_000, PacketsPerSecond: 1000})
			cycle := func(user string, now time.Time) int {
				l := lease(t, q, user)
				n, _ := spend(l, now, 1000, 10_000)
				end(l, l.account)
				return n
			}
			total := 0
			for range 100 {
				total += cycle("alice", start)
				if q.Users() != 0 {
					t.Fatalf("%d users without an allocation", q.Users())
				}
			}
			if total != 100 {
				t.Errorf("alice sent %d packets at one moment, want 100", total)
			}
			if got := cycle("bob", start); got != 100 {
				t.Errorf("bob sent %d packets, want 100", got)
			}
			if got := cycle("alice", start.Add(500*time.Millisecond)); got != 50 {
				t.Errorf("alice sent %d packets half a second later, want 50", got)
			}
			if got := cycle("alice", start.Add(time.Hour)); got != 100 {
				t.Errorf("alice sent %d packets an hour later, want 100", got)
			}
		})
	}
}

// What a lease has at hand goes back after the release as before it: to the bucket that the user finds again.
func TestReturnAfterRelease(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000, BytesPerSecond: 1_000_000, Bandwidth: 10_000_000})
	for range 200 {
		l := lease(t, q, "alice")
		if got := l.Spend(start.UnixNano(), 1); got != SpentOK {
			t.Fatal(got)
		}
		l.account.Release()
		l.Return()
	}
	if got, why := spend(lease(t, q, "alice"), start, 100, 10_000); got != 800 || why != OverPackets {
		t.Errorf("%d packets, then %v; want 800", got, why)
	}
}

// A lease whose account was released draws from no bucket, so that nobody spends what is forgotten.
func TestReleasedAccountsPayNothing(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000})
	l := lease(t, q, "alice")
	a := l.account
	l.Spend(start.UnixNano(), 1)
	a.Release()
	at := start.Add(time.Hour)
	if got, why := spend(l, at, 1, 10_000); got != 24 || why != OverPackets {
		t.Errorf("%d packets, then %v; want the 24 at hand", got, why)
	}
	acquire(t, q, "alice")
	if got := l.Spend(at.UnixNano(), 1); got != SpentOK {
		t.Errorf("the user is back: %v", got)
	}
}

// Users who send and go are remembered for as long as it makes a difference.
func TestIdleAccountsAreForgotten(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000, BytesPerSecond: 1_000_000})
	var before, after runtime.MemStats
	come := func(from, to int) {
		for i := from; i < to; i++ {
			l := lease(t, q, fmt.Sprintf("user-%d", i))
			a := l.account
			spend(l, start.Add(time.Duration(i)*time.Millisecond), 100, 10_000)
			l.Return()
			a.Release()
			// A second to fill, another for clocks that are apart, and what the clock is behind.
			if n := len(q.accounts); n > 2020 {
				t.Fatalf("%d accounts after %d users, a thousand a second", n, i)
			}
		}
	}
	come(0, 5000)
	runtime.GC()
	runtime.ReadMemStats(&before)
	come(5000, 20_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 128<<10 {
		t.Errorf("15000 users left %d bytes behind", grown)
	}
	if q.Users() != 0 {
		t.Errorf("%d users without an allocation", q.Users())
	}
	// An hour later, everybody who comes has two forgotten.
	later := lease(t, q, "later")
	later.Spend(start.Add(time.Hour).UnixNano(), 1)
	for range 1100 {
		acquire(t, q, "later")
	}
	if len(q.accounts) != 1 || q.idle != (idleAccounts{}) {
		t.Errorf("%d accounts are left, %d of them idle", len(q.accounts), q.idle.count)
	}
}

// Who sent nothing is not remembered, and takes no place of those who did.
func TestUnusedAccountsAreForgottenAtOnce(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000, BytesPerSecond: 1_000_000})
	acquire(t, q, "alice").Release()
	if len(q.accounts) != 0 {
		t.Errorf("%d accounts are left", len(q.accounts))
	}
}

// Workers read clocks of their own: one that is ahead has nobody forgotten whose bucket is not full by another's.
func TestIdleAccountsWithClocksApart(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000})
	l := lease(t, q, "alice")
	spend(l, start, 1, 10_000)
	l.account.Release()
	lease(t, q, "bob").Spend(start.Add(1400*time.Millisecond).UnixNano(), 1)
	if got, _ := spend(lease(t, q, "alice"), start.Add(500*time.Millisecond), 1, 10_000); got != 500 {
		t.Errorf("%d packets half a second later, want 500", got)
	}
}

// Buckets that take hours to fill do not make it many hours of accounts: who was left first is forgotten first.
func TestIdleAccountsAreBounded(t *testing.T) {
	q := NewQuota(QuotaOptions{BytesPerSecond: 1})
	for i := range idleMost + 10 {
		l := lease(t, q, fmt.Sprintf("user-%d", i))
		l.Spend(start.UnixNano(), largest)
		l.account.Release()
	}
	if len(q.accounts) != idleMost || q.idle.count != idleMost {
		t.Errorf("%d accounts, %d of them idle; want %d", len(q.accounts), q.idle.count, idleMost)
	}
	for name, want := range map[string]Spent{"user-9": SpentOK, "user-10": OverBytes, fmt.Sprint("user-", idleMost): OverBytes} {
		if got := lease(t, q, name).Spend(start.UnixNano(), 1); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// Nobody is remembered until a time comes again that was a mistake.
func TestIdleAccountsWhenTheClockIsSetBack(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000})
	for _, user := range []string{"alice", "carol"} {
		l := lease(t, q, user)
		spend(l, start.Add(24*time.Hour), 1, 10_000)
		l.account.Release()
	}
	lease(t, q, "bob").Spend(start.UnixNano(), 1)
	acquire(t, q, "bob")
	if len(q.accounts) != 1 {
		t.Errorf("%d accounts, want bob's alone", len(q.accounts))
	}
}

// Users come back in any order: the queue stays whole.
func TestIdleQueue(t *testing.T) {
	for _, order := range []string{"abc", "acb", "bac", "bca", "cab", "cba", "b", "c", "a", "ca"} {
		var accounts [3]Account
		var q idleAccounts
		for i := range accounts {
			q.push(&accounts[i])
		}
		left := []*Account{&accounts[0], &accounts[1], &accounts[2]}
		for i, c := range order {
			a := &accounts[c-'a']
			q.remove(a)
			left = slices.DeleteFunc(left, func(x *Account) bool { return x == a })
			if a.before != nil || a.after != nil || q.count != 2-i {
				t.Errorf("%s: after %c: %+v", order, c, q)
			}
		}
		var forward, back []*Account
		for a := q.first; a != nil; a = a.after {
			forward = append(forward, a)
		}
		for a := q.last; a != nil; a = a.before {
			back = append(back, a)
		}
		slices.Reverse(back)
		if !slices.Equal(forward, left) || !slices.Equal(back, left) {
			t.Errorf("%s: %d forward, %d back, want %d", order, len(forward), len(back), len(left))
		}
	}
}
