package auth

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// lease is a new allocation of a user.
func lease(t testing.TB, q *Quota, user string) *Lease {
	t.Helper()
	a, err := q.Acquire(user)
	if err != nil {
		t.Fatal(err)
	}
	l := new(Lease)
	l.Init(a)
	return l
}

// spend sends packets of some size at one moment until one is refused, and says how many went and why no more.
func spend(l *Lease, now time.Time, bytes, most int) (int, Spent) {
	for n := range most {
		if s := l.Spend(now.UnixNano(), bytes); s != SpentOK {
			return n, s
		}
	}
	return most, SpentOK
}

func TestLeaseLimits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     QuotaOptions
		bytes int
		want  int // packets in the first moment
		then  int // packets in each second after it
		why   Spent
	}{
		{"packets", QuotaOptions{PacketsPerSecond: 1000}, 1500, 1000, 1000, OverPackets},
		{"bytes", QuotaOptions{BytesPerSecond: 1_000_000}, 1000, 1000, 1000, OverBytes},
		{"bytes that do not divide", QuotaOptions{BytesPerSecond: 1_000_000}, 700, 1428, 1429, OverBytes},
		{"bandwidth", QuotaOptions{Bandwidth: 10_000_000}, 1000, 1000, 10_000, OverBandwidth},
		{"the tightest wins", QuotaOptions{PacketsPerSecond: 500, BytesPerSecond: 1_000_000, Bandwidth: 10_000_000}, 1000, 500, 500, OverPackets},
		{"a largest datagram passes any rate", QuotaOptions{BytesPerSecond: 1, Bandwidth: 1}, largest, 1, 0, OverBytes},
		{"a packet a second", QuotaOptions{PacketsPerSecond: 1}, 1, 1, 1, OverPackets},
		{"far beyond any network", QuotaOptions{PacketsPerSecond: 1 << 50, BytesPerSecond: 1 << 60, Bandwidth: 1 << 60}, 1500, 2_000_000, 2_000_000, SpentOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := lease(t, NewQuota(tt.o), "alice")
			if got, why := spend(l, start, tt.bytes, 2_000_000); got != tt.want || why != tt.why {
				t.Errorf("at first %d packets, then %v; want %d, %v", got, why, tt.want, tt.why)
			}
			got := 0
			for i := range 20 { // in steps, as a bucket may hold less than a second's worth
				n, _ := spend(l, start.Add(time.Duration(i+1)*50*time.Millisecond), tt.bytes, 2_000_000)
				got += n
			}
			if tt.why != SpentOK && got != tt.then {
				t.Errorf("%d packets in the second after, want %d", got, tt.then)
			}
		})
	}
}

// What is refused costs nothing: small packets still go when a large one does not.
func TestLeaseRefusedPacketsAreFree(t *testing.T) {
	l := lease(t, NewQuota(QuotaOptions{PacketsPerSecond: 100, BytesPerSecond: 100_000}), "alice")
	for range 1000 {
		if got := l.Spend(start.UnixNano(), 100_001); got != OverBytes {
			t.Fatalf("more than the bucket holds: %v", got)
		}
	}
	if got, why := spend(l, start, 1000, 1000); got != 100 || why != OverBytes && why != OverPackets {
		t.Errorf("%d packets, then %v; want 100", got, why)
	}
}

// All of a user's allocations together have the user's rate, and no two users share one.
func TestLeasesOfOneUserShare(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000})
	leases := []*Lease{lease(t, q, "alice"), lease(t, q, "alice"), lease(t, q, "alice")}
	bob := lease(t, q, "bob")
	for second := range 10 {
		now := start.Add(time.Duration(second) * time.Second)
		total := 0
		for _, l := range leases {
			n, _ := spend(l, now, 100, 10_000)
			total += n
		}
		if total != 1000 {
			t.Errorf("second %d: %d packets of three allocations, want 1000", second, total)
		}
	}
	if got, _ := spend(bob, start, 100, 10_000); got != 1000 {
		t.Errorf("%d packets of another user, want 1000", got)
	}
}

// Ten thousand allocations at four fifths of the bandwidth lose nothing, although each holds tokens of its own.
func TestLeasesDoNotHoard(t *testing.T) {
	const sessions, size = 10_000, 172
	q := NewQuota(QuotaOptions{Bandwidth: sessions * 50 * size * 5 / 4})
	leases := make([]Lease, sessions)
	for i := range leases {
		a, err := q.Acquire("alice")
		if err != nil {
			t.Fatal(err)
		}
		leases[i].Init(a)
	}
	for tick := range 100 { // two seconds, all packets of a tick at once
		for i := range leases {
			now := start.UnixNano() + int64(tick)*20e6
			if got := leases[i].Spend(now, size); got != SpentOK {
				t.Fatalf("tick %d, allocation %d: %v", tick, i, got)
			}
		}
	}
}

// What an allocation did not use goes back: making and deleting them takes bandwidth from nobody.
func TestLeaseReturns(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000, BytesPerSecond: 1_000_000, Bandwidth: 10_000_000})
	keep := lease(t, q, "alice")
	brief := lease(t, q, "alice")
	account := brief.account
	brief.Spend(start.UnixNano(), 0)
	keep.Spend(start.UnixNano(), 0)
	brief.Return()
	account.Release()
	if got := brief.Spend(start.UnixNano(), 0); got == SpentOK {
		t.Error("a returned lease spends")
	}
	// Two packets were spent, no bytes.
	if got, why := spend(keep, start, 1000, 10_000); got != 998 || why != OverPackets {
		t.Errorf("%d packets, then %v; want 998", got, why)
	}
}

func TestLeaseReturnsBytes(t *testing.T) {
	q := NewQuota(QuotaOptions{BytesPerSecond: 1_000_000})
	for range 1000 {
		l := lease(t, q, "alice")
		l.Spend(start.UnixNano(), 10)
		l.Return()
	}
	if got, why := spend(lease(t, q, "alice"), start, 1000, 10_000); got != 990 {
		t.Errorf("%d packets, then %v; want 990", got, why)
	}
}

func TestLeasesThatComeAndGoTakeNothing(t *testing.T) {
	q := NewQuota(QuotaOptions{Bandwidth: 10_000_000})
	for range 10_000 {
		l := lease(t, q, "mallory")
		a := l.account
		if got := l.Spend(start.UnixNano(), 1); got != SpentOK {
			t.Fatalf("mallory: %v", got)
		}
		l.Return()
		a.Release()
	}
	// The bucket holds 0.1 s, of which mallory sent 10 kB.
	if got, why := spend(lease(t, q, "bob"), start, 1000, 10_000); got != 990 {
		t.Errorf("%d packets of bob's, then %v; want 990", got, why)
	}
}

// A packet may be paid for with what is at hand and what is left in the bucket together.
func TestRefillAsksForWhatIsMissing(t *testing.T) {
	l := newLimit(1000, time.Second, 1)
	var bucket, sharers atomic.Int64
	l.take(&bucket, start.UnixNano(), 850, 850)
	tokens := int64(600)
	if !refill(&tokens, l, &bucket, start.UnixNano(), 750, &sharers) || tokens != 750 {
		t.Errorf("%d tokens, want 750", tokens)
	}
	if refill(&tokens, l, &bucket, start.UnixNano(), 751, &sharers) || tokens != 750 {
		t.Errorf("%d tokens out of an empty bucket, want 750", tokens)
	}
}

// Most packets of an allocation leave alone what workers share.
func TestLeaseDrawsAhead(t *testing.T) {
	q := NewQuota(QuotaOptions{PacketsPerSecond: 100_000, BytesPerSecond: 100_000_000, Bandwidth: 1_000_000_000})
	l := lease(t, q, "alice")
	a := l.account
	draws := 0
	for i := range 10_000 {
		before := [3]int64{a.packets.Load(), a.bytes.Load(), q.wire.Load()}
		if got := l.Spend(start.UnixNano()+int64(i)*20_000, 172); got != SpentOK {
			t.Fatal(got)
		}
		if before != [3]int64{a.packets.Load(), a.bytes.Load(), q.wire.Load()} {
			draws++
		}
	}
	if draws == 0 || draws > 20 {
		t.Errorf("10000 packets drew %d times", draws)
	}
}

func TestZeroLease(t *testing.T) {
	var l Lease
	if got := l.Spend(start.UnixNano(), 1); got == SpentOK {
		t.Error("a lease without an account spends")
	}
	l.Return()
}

// Four allocations of one user on goroutines of their own never spend more than the user's bucket had.
func TestLeasesUnderContention(t *testing.T) {
	const rate = 100_000
	q := NewQuota(QuotaOptions{PacketsPerSecond: rate, BytesPerSecond: 1 << 40, Bandwidth: 1 << 40})
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		l := lease(t, q, "alice")
		wg.Go(func() {
			n := 0
			for i := range 200_000 {
				if l.Spend(start.UnixNano()+int64(i), 100) == SpentOK {
					n++
				}
			}
			sent.Add(int64(n))
		})
	}
	wg.Wait()
	// 0.2 ms passed: 20 tokens came.
	if got := sent.Load(); got < rate || got > rate+20 {
		t.Errorf("%d packets were sent, want %d", got, rate)
	}
}

func TestLeaseIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Lease{}); size > 32 {
		t.Errorf("a lease has %d bytes", size)
	}
}

func TestSpentNames(t *testing.T) {
	for s, want := range map[Spent]string{
		SpentOK: "ok", OverPackets: "user packet rate", OverBytes: "user byte rate", OverBandwidth: "relay bandwidth", 9: "unknown",
	} {
		if got := s.String(); got != want {
			t.Errorf("%d is %q, want %q", s, got, want)
		}
	}
}
