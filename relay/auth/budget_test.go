package auth

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

var budgetSeed = [16]byte{1, 2, 3, 4}

func takeAll(b *Budget, now time.Time, a netip.Addr) int {
	n := 0
	for n < 1_000_000 && b.Take(now, a) {
		n++
	}
	return n
}

func TestBudgetRateAndBurst(t *testing.T) {
	b := NewBudget(200, 1000, budgetSeed)
	a := netip.MustParseAddr("192.0.2.1")
	if got := takeAll(b, start, a); got != 1000 {
		t.Errorf("at first %d replies, want 1000", got)
	}
	now := start
	for range 3600 { // an hour of a flood: 200 in each second, however they are asked for
		got := 0
		for range 4 {
			now = now.Add(250 * time.Millisecond)
			got += takeAll(b, now, a)
		}
		if got != 200 {
			t.Fatalf("%d replies in the second until %v, want 200", got, now.Sub(start))
		}
	}
	if got := takeAll(b, now.Add(2500*time.Millisecond), a); got != 500 {
		t.Errorf("after 2.5 s of silence %d replies, want 500", got)
	}
	if got := takeAll(b, now.Add(time.Hour), a); got != 1000 {
		t.Errorf("after an hour of silence %d replies, want 1000", got)
	}
}

func TestBudgetIsByPrefix(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		one, other string
		shared     bool
	}{
		{"192.0.2.1", "192.0.2.255", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"2001:db8:0:ff::1", "2001:db8:0:1::1", true},
		{"2001:db8:0:100::1", "2001:db8::1", false},
		{"192.0.2.1", "::ffff:192.0.2.9", true},
		{"192.0.2.1", "64:ff9b::192.0.2.9", true}, // the same victim, behind a translator
		{"64:ff9b::192.0.2.9", "64:ff9b::192.0.3.9", false},
		{"10.0.0.1", "a00::1", false},
	} {
		b := NewBudget(1, 10, budgetSeed)
		takeAll(b, start, addr(tt.one))
		if got := takeAll(b, start, addr(tt.other)); (got == 0) != tt.shared {
			t.Errorf("after %s has spent everything, %s has %d replies", tt.one, tt.other, got)
		}
	}
}

func TestBudgetRefund(t *testing.T) {
	b := NewBudget(10, 100, budgetSeed)
	a := netip.MustParseAddr("192.0.2.1")
	takeAll(b, start, a)
	for range 30 {
		b.Refund(a)
	}
	if got := takeAll(b, start, a); got != 30 {
		t.Errorf("%d replies after 30 were given back", got)
	}
	for range 1000 {
		b.Refund(a)
	}
	if got := takeAll(b, start, a); got != 100 {
		t.Errorf("%d replies after more was given back than a bucket holds, want 100", got)
	}
}

// A clock that is set back must not silence the relay until it has caught up.
func TestBudgetWhenTheClockIsSetBack(t *testing.T) {
	b := NewBudget(10, 100, budgetSeed)
	a := netip.MustParseAddr("192.0.2.1")
	takeAll(b, start, a)
	back := start.Add(-time.Hour)
	if got := takeAll(b, back, a); got != 0 {
		t.Errorf("%d replies from an empty bucket", got)
	}
	if got := takeAll(b, back.Add(time.Second), a); got != 10 {
		t.Errorf("%d replies in the second after the clock was set back, want 10", got)
	}
}

func TestBudgetWithoutALimit(t *testing.T) {
	b := NewBudget(0, 0, budgetSeed)
	a := netip.MustParseAddr("192.0.2.1")
	b.Refund(a)
	for range 10_000 {
		if !b.Take(start, a) {
			t.Fatal("refused")
		}
	}
}

func TestBudgetWithoutABurst(t *testing.T) {
	b := NewBudget(5, 0, budgetSeed)
	a := netip.MustParseAddr("192.0.2.1")
	for second := range 3 {
		if got := takeAll(b, start.Add(time.Duration(second)*time.Second), a); got != 1 {
			t.Errorf("%d replies at once, want 1", got)
		}
	}
}

// Whoever sends from everywhere gets what the table holds, and its memory stays what it is.
func TestBudgetIsFixedInSize(t *testing.T) {
	if size := unsafe.Sizeof(Budget{}); size > 136<<10 {
		t.Errorf("a budget has %d bytes", size)
	}
	b := NewBudget(1, 1, budgetSeed)
	granted := 0
	var raw [4]byte
	for i := range uint32(1 << 20) {
		binary.BigEndian.PutUint32(raw[:], i<<8)
		if b.Take(start, netip.AddrFrom4(raw)) {
			granted++
		}
	}
	if granted > budgetBuckets || granted < budgetBuckets*99/100 {
		t.Errorf("a million prefixes got %d replies; %d buckets had one each", granted, budgetBuckets)
	}
}

// The seed decides who shares with whom, so that it can't be known from outside.
func TestBudgetSeed(t *testing.T) {
	one, other := NewBudget(1, 1, budgetSeed), NewBudget(1, 1, [16]byte{9})
	same := 0
	for i := range 256 {
		a := netip.AddrFrom4([4]byte{8, byte(i), 0, 1})
		if one.index(a) == other.index(a) {
			same++
		}
	}
	if same > 10 {
		t.Errorf("%d of 256 prefixes have the same bucket with two seeds", same)
	}
}

func (b *Budget) index(a netip.Addr) uintptr {
	return (uintptr(unsafe.Pointer(b.bucket(a))) - uintptr(unsafe.Pointer(&b.buckets[0]))) / 8
}

// Many at once get exactly what there is.
func TestBudgetUnderContention(t *testing.T) {
	b := NewBudget(1, 5000, budgetSeed)
	a := netip.MustParseAddr("2001:db8::1")
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if b.Take(start, a) {
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := granted.Load(); got != 5000 {
		t.Errorf("%d replies from a bucket of 5000", got)
	}
}
