package pkt

import (
	"strings"
	"testing"
)

func panics(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		got, _ := recover().(string)
		if !strings.Contains(got, want) {
			t.Errorf("panic %q, want one with %q", got, want)
		}
	}()
	f()
}

func TestViews(t *testing.T) {
	b := NewPool(1).Get()
	copy(b.Room(), "header payload")
	b.Use(0, 14)
	if got := string(b.Bytes()); got != "header payload" {
		t.Fatalf("Bytes = %q", got)
	}
	b.Trim(7)
	if got := string(b.Bytes()); got != "payload" || b.Len() != 7 {
		t.Fatalf("trimmed to %q, %d bytes", got, b.Len())
	}
	if got := cap(b.Bytes()); got != Size-7 {
		t.Errorf("capacity %d, want %d", got, Size-7)
	}
	b.Resize(3)
	if got := string(b.Bytes()); got != "pay" {
		t.Errorf("resized to %q", got)
	}
	b.Use(Size, 0)
	if b.Len() != 0 || len(b.Room()) != 0 {
		t.Error("the empty part at the end is not empty")
	}
}

// A received datagram is wrapped and protected where it lies.
func TestRoomAbout(t *testing.T) {
	datagram := strings.Repeat("0123456789", MaxDatagram/10+1)[:MaxDatagram]
	short := NewPool(1).Get()
	for _, b := range []*Buf{short, Long(MaxDatagram)} {
		b.Fill([]byte(datagram))
		copy(b.Prepend(4), "head")
		copy(b.Extend(4), "tail")
		if got := string(b.Bytes()); got != "head"+datagram+"tail" {
			t.Errorf("wrapped to %d bytes, %.20q...", len(got), got)
		}
		b.Prepend(Headroom - 4)
		b.Extend(Tailroom - 4)
		if b.Len() != Size {
			t.Errorf("%d bytes in use, want all %d", b.Len(), Size)
		}
		panics(t, "bytes at", func() { b.Prepend(1) })
		panics(t, "bytes at", func() { b.Extend(1) })
		b.Trim(Headroom)
		if got := string(b.Bytes()[:10]); got != "0123456789" {
			t.Errorf("trimmed to %q", got)
		}
	}
	panics(t, "bytes at", func() { short.Fill(make([]byte, Size-Headroom+1)) })
}

func TestLong(t *testing.T) {
	p := NewPool(1)
	b := Long(70_000)
	if !b.IsLong() || b.Len() != 70_000 || cap(b.Bytes()) != 70_000+Tailroom {
		t.Errorf("%d bytes, %d to the end", b.Len(), cap(b.Bytes()))
	}
	p.Put(b)
	panics(t, "twice", func() { p.Put(b) })
	if got := p.Get(); got == b || got.IsLong() {
		t.Error("the pool kept a long buffer")
	}
}

func TestMisusePanics(t *testing.T) {
	b := new(Buf)
	panics(t, "bytes at", func() { b.Use(1, Size) })
	panics(t, "bytes at", func() { b.Use(-1, 2) })
	panics(t, "bytes at", func() { b.Use(0, -1) })
	panics(t, "trimming", func() { b.Trim(1) })
	panics(t, "trimming", func() { b.Trim(-1) })
	p := NewPool(2)
	p.Put(b)
	panics(t, "twice", func() { p.Put(b) })
}

func TestPoolKeepsItsLimit(t *testing.T) {
	p := NewPool(2)
	bufs := []*Buf{p.Get(), p.Get(), p.Get()}
	for _, b := range bufs {
		b.Use(100, 5)
		p.Put(b)
	}
	seen := map[*Buf]bool{bufs[0]: true, bufs[1]: true}
	for range 2 {
		b := p.Get()
		if !seen[b] {
			t.Error("a kept buffer was not handed out again")
		}
		delete(seen, b)
		if b.Len() != 0 || len(b.Room()) != Size {
			t.Error("a buffer came back with the last holder's view")
		}
	}
	if b := p.Get(); b == bufs[2] {
		t.Error("the pool kept a buffer beyond its limit")
	}
}

func TestLateWriteIsCaught(t *testing.T) {
	if !poisoning {
		t.Skip("buffers are only poisoned in builds with the race detector")
	}
	p := NewPool(1)
	b := p.Get()
	held := b.Room()
	p.Put(b)
	if held[0] != pattern {
		t.Error("a freed buffer still shows its old bytes")
	}
	held[77] = 1
	panics(t, "written at 77", func() { p.Get() })
}

func TestAllocations(t *testing.T) {
	if poisoning {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	p := NewPool(4)
	p.Put(p.Get())
	if n := testing.AllocsPerRun(100, func() { p.Put(p.Get()) }); n != 0 {
		t.Errorf("a warm pool allocates %v times", n)
	}
}

func BenchmarkPool(b *testing.B) {
	p := NewPool(4)
	b.ReportAllocs()
	for b.Loop() {
		p.Put(p.Get())
	}
}
