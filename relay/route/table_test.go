package route

import (
	"maps"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// addresses draws from few, so that they meet.
func addresses() *rapid.Generator[netip.AddrPort] {
	return rapid.Custom(func(t *rapid.T) netip.AddrPort {
		n := rapid.ByteRange(0, 3).Draw(t, "host")
		port := rapid.SampledFrom([]uint16{0, 1, 3478, 65535}).Draw(t, "port")
		return netip.AddrPortFrom(rapid.SampledFrom([]netip.Addr{
			netip.AddrFrom4([4]byte{192, 0, 2, n}),
			netip.AddrFrom4([4]byte{n, 255, 255, 255}),
			netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: n}),
			netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 7: n, 15: 1}),
			netip.AddrFrom16([16]byte{15: n}),
		}).Draw(t, "address"), port)
	})
}

// A table is a map, whatever the addresses.
func TestTableAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table[int]
		want := map[netip.AddrPort]int{}
		for i := range rapid.IntRange(0, 60).Draw(t, "operations") {
			at := addresses().Draw(t, "at")
			if rapid.IntRange(0, 2).Draw(t, "operation") == 0 {
				table.Delete(at)
				delete(want, at)
			} else {
				table.Put(at, i)
				want[at] = i
			}
			probe := addresses().Draw(t, "probe")
			v, ok := table.Get(probe)
			if w, there := want[probe]; v != w || ok != there {
				t.Fatalf("at %v: %d, %v; want %d, %v", probe, v, ok, w, there)
			}
			if table.Len() != len(want) {
				t.Fatalf("%d addresses, want %d", table.Len(), len(want))
			}
		}
		if got := maps.Collect(table.All()); !maps.Equal(got, want) {
			t.Fatalf("all: %v, want %v", got, want)
		}
		for range table.All() {
			break // must not go on
		}
	})
}

// Whatever reads addresses may write an IPv4 one in either form.
func TestTableTakesMappedForIPv4(t *testing.T) {
	var table Table[string]
	plain := netip.MustParseAddrPort("192.0.2.1:4000")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(plain.Addr().As16()), 4000)
	table.Put(mapped, "x")
	if v, ok := table.Get(plain); !ok || v != "x" {
		t.Errorf("got %q, %v", v, ok)
	}
	for at := range table.All() {
		if at != plain {
			t.Errorf("all has %v", at)
		}
	}
	table.Delete(mapped)
	if table.Len() != 0 {
		t.Error("a mapped address was not deleted")
	}
}

func BenchmarkTable(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		var table Table[*Path]
		clients := make([]netip.AddrPort, 10_000)
		for i := range clients {
			ip := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			if v6 {
				ip = netip.AddrFrom16([16]byte{0: 0x20, 14: byte(i >> 8), 15: byte(i)})
			}
			clients[i] = netip.AddrPortFrom(ip, uint16(i*7))
			table.Put(clients[i], new(Path))
		}
		b.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, ok := table.Get(clients[i%len(clients)]); !ok {
					b.Fatal("not there")
				}
			}
		})
	}
}
