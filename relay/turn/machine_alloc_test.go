package turn

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"causeway/relay/auth"
)

// TestAllocationIsSmall: ten thousand allocations with all that forwarding keeps of them are to fit in 2 KB each; this
// is the machine's share. It may shrink; what makes it grow has to be worth that.
func TestAllocationIsSmall(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the bound is for 64 bits")
	}
	const bound = 416 // a size class of the heap
	if got := unsafe.Sizeof(allocation{}); got > bound {
		t.Errorf("an allocation takes %d bytes, want at most %d", got, bound)
	}
}

// TestMemoryOfAllocations: what an allocation with a permission and a channel costs on the heap, the tables that find
// it included.
func TestMemoryOfAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	const (
		n     = 2000
		bound = 704 // bytes
	)
	r := newRig(t, func(s *setup) { s.rate = 0 })
	measure := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	machineOnly := func(from Source, b []byte) {
		for _, a := range r.m.Handle(r.now, from, b) {
			if a.Kind == Open {
				var o Opened
				o.Relayed[IPv4] = netip.AddrPortFrom(relay4, 50000)
				r.m.Opened(r.now, a.ID, o)
				return
			}
		}
	}
	var requests [][]byte
	var sources []Source
	for i := range n {
		c := r.alice(Source{Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 4000)})
		c.learn(c.send(c.build(MethodRefresh, c.id())))
		requests = append(requests, c.build(MethodAllocate, c.id(), udp()), c.build(MethodChannelBind, c.id(), to(peer4), channelNumber(0x4000)))
		sources = append(sources, c.source)
	}
	before := measure()
	for i, from := range sources {
		machineOnly(from, requests[2*i])
		machineOnly(from, requests[2*i+1])
	}
	after := measure()
	if r.m.Len() != n || r.m.Stats().Successes != 2*n {
		t.Fatalf("%d allocations, %d successes", r.m.Len(), r.m.Stats().Successes)
	}
	each := (after - before) / n
	t.Logf("%d bytes an allocation, of which the structure is %d", each, unsafe.Sizeof(allocation{}))
	if each > bound {
		t.Errorf("an allocation costs %d bytes, want at most %d", each, bound)
	}
	runtime.KeepAlive(requests)
}

// machineSteps are requests as a running call sends them, handled again and again.
func machineSteps(t failer) map[string]func() {
	steps := map[string]func(){}
	for _, kind := range []struct {
		name   string
		modern bool
	}{{"SHA-1", false}, {"SHA-256", true}} {
		r := newRig(t, func(s *setup) { s.rate = 0 })
		c := r.alice(home)
		c.modern, c.alg = kind.modern, auth.SHA256
		c.allocate(lifetime(3600))
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		unproven := &client{rig: r, source: Source{Client: other4}}
		for name, b := range map[string][]byte{
			"Refresh":          c.build(MethodRefresh, c.id()),
			"ChannelBind":      c.build(MethodChannelBind, c.id(), to(peer4), channelNumber(0x4000)),
			"CreatePermission": c.build(MethodCreatePermission, c.id(), to(peer4)),
			"Allocate again":   c.build(MethodAllocate, c.id(), udp()), // 437
			"challenge":        unproven.build(MethodAllocate, c.id(), udp()),
			"Binding":          unproven.build(MethodBinding, c.id()),
		} {
			if kind.modern && (name == "challenge" || name == "Binding") {
				continue
			}
			at := home
			if name == "challenge" || name == "Binding" {
				at = unproven.source
			}
			steps[name+"/"+kind.name] = func() {
				if len(r.m.Handle(r.now, at, b)) != 1 {
					t.Fatalf("%s: not one action", name)
				}
			}
		}
	}
	return steps
}

// TestMachineAllocates: what is handled for a running call, or for nobody, costs no memory; a flood of it is no work for
// the garbage collector.
func TestMachineAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, step := range machineSteps(t) {
		step()
		if got := testing.AllocsPerRun(100, step); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkMachine(b *testing.B) {
	for name, step := range machineSteps(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// BenchmarkSetUp is a whole set-up: challenge, Allocate, CreatePermission, ChannelBind, and the deletion, without
// sockets. It builds and seals the requests too.
func BenchmarkSetUp(b *testing.B) {
	r := newRig(b, func(s *setup) { s.rate = 0 })
	c := r.alice(home)
	b.ReportAllocs()
	for b.Loop() {
		c.nonce = nil
		c.allocate()
		c.must(0, MethodCreatePermission, to(peer4))
		c.must(0, MethodChannelBind, to(peer4), channelNumber(0x4000))
		c.must(0, MethodRefresh, lifetime(0))
		r.port = 50000
	}
}

// BenchmarkExpire turns the timers of many allocations, of which few are due at a time.
func BenchmarkExpire(b *testing.B) {
	const n = 10000
	r := newRig(b, func(s *setup) { s.rate = 0 })
	for i := range n {
		var client [4]byte
		binary.BigEndian.PutUint32(client[:], 0xC6330000+uint32(i))
		c := r.alice(Source{Client: netip.AddrPortFrom(netip.AddrFrom4(client), 4000)})
		c.allocate(lifetime(3600))
		c.must(0, MethodCreatePermission, to(peer4))
		r.now = r.now.Add(300 * time.Second / n)
		r.port = 50000
	}
	b.ReportAllocs()
	for b.Loop() {
		r.now = r.now.Add(tick)
		r.m.Expire(r.now)
	}
}
