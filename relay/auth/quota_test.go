package auth

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func acquire(t *testing.T, q *Quota, user string) *Account {
	t.Helper()
	a, err := q.Acquire(user)
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	return a
}

func TestQuotaBounds(t *testing.T) {
	q := NewQuota(QuotaOptions{AllocationsPerUser: 2, Allocations: 3})
	alice := acquire(t, q, "alice")
	if again := acquire(t, q, "alice"); again != alice {
		t.Error("a user has two accounts")
	}
	if _, err := q.Acquire("alice"); !errors.Is(err, ErrUserQuota) {
		t.Errorf("a third of alice's: %v", err)
	}
	bob := acquire(t, q, "bob")
	if _, err := q.Acquire("bob"); !errors.Is(err, ErrCapacity) {
		t.Errorf("a fourth in all: %v", err)
	}
	if _, err := q.Acquire("alice"); !errors.Is(err, ErrUserQuota) {
		t.Errorf("over both bounds: %v, want what the user can do something about", err)
	}
	if alice.User() != "alice" || alice.Allocations() != 2 || q.Allocations() != 3 || q.Users() != 2 {
		t.Errorf("%s has %d; %d of %d users in all", alice.User(), alice.Allocations(), q.Allocations(), q.Users())
	}
	alice.Release()
	if _, err := q.Acquire("carol"); err != nil {
		t.Errorf("after a release: %v", err)
	}
	bob.Release()
	if q.Users() != 2 {
		t.Errorf("%d users after bob's last allocation, want 2", q.Users())
	}
	bob.Release() // once too often
	if q.Allocations() != 2 {
		t.Errorf("%d allocations, want 2", q.Allocations())
	}
}

func TestQuotaWithoutBounds(t *testing.T) {
	q := NewQuota(QuotaOptions{})
	for range 1000 {
		acquire(t, q, "alice")
	}
}

// Users who come and go leave nothing behind.
func TestQuotaForgets(t *testing.T) {
	q := NewQuota(QuotaOptions{AllocationsPerUser: 10, Allocations: 100})
	var before, after runtime.MemStats
	come := func(from, to int) {
		for i := from; i < to; i++ {
			acquire(t, q, fmt.Sprintf("user-%d", i)).Release()
		}
	}
	come(0, 10_000)
	runtime.GC()
	runtime.ReadMemStats(&before)
	come(10_000, 110_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if q.Users() != 0 || q.Allocations() != 0 {
		t.Errorf("%d users with %d allocations are left", q.Users(), q.Allocations())
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<10 {
		t.Errorf("100000 users left %d bytes behind", grown)
	}
	runtime.KeepAlive(q)
}

// However many ask at once, no bound is passed, and nothing is left at the end.
func TestQuotaUnderContention(t *testing.T) {
	const perUser, inAll = 5, 12
	q := NewQuota(QuotaOptions{AllocationsPerUser: perUser, Allocations: inAll, PacketsPerSecond: 1000})
	var most, mostOfUser atomic.Int64
	raise := func(max *atomic.Int64, n int64) {
		for was := max.Load(); n > was && !max.CompareAndSwap(was, n); was = max.Load() {
			continue
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				a, err := q.Acquire(fmt.Sprintf("user-%d", (g+i)%4))
				if err != nil {
					continue
				}
				raise(&most, int64(q.Allocations()))
				raise(&mostOfUser, int64(a.Allocations()))
				var l Lease
				l.Init(a)
				l.Spend(start.UnixNano()+int64(i), 100)
				l.Return()
				a.Release()
			}
		})
	}
	wg.Wait()
	if most.Load() > inAll || mostOfUser.Load() > perUser {
		t.Errorf("%d allocations in all and %d of one user at once", most.Load(), mostOfUser.Load())
	}
	if q.Users() != 0 || q.Allocations() != 0 {
		t.Errorf("%d users with %d allocations are left", q.Users(), q.Allocations())
	}
}
