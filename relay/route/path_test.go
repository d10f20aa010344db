package route

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// pathOracle is a path that is as simple as can be: lists of what holds.
type pathOracle struct {
	permissions []netip.Addr
	channels    []oracleChannel
}

type oracleChannel struct {
	number uint16
	peer   netip.AddrPort
}

func (o *pathOracle) permit(ip netip.Addr) {
	o.revoke(ip)
	o.permissions = append(o.permissions, ip)
}

func (o *pathOracle) revoke(ip netip.Addr) {
	o.permissions = slices.DeleteFunc(o.permissions, func(x netip.Addr) bool { return x == ip })
}

func (o *pathOracle) bind(number uint16, peer netip.AddrPort) {
	o.channels = slices.DeleteFunc(o.channels, func(c oracleChannel) bool { return c.number == number || c.peer == peer })
	o.channels = append(o.channels, oracleChannel{number, peer})
}

func (o *pathOracle) unbind(number uint16) {
	o.channels = slices.DeleteFunc(o.channels, func(c oracleChannel) bool { return c.number == number })
}

func (o *pathOracle) check(t *rapid.T, p *Path, ips []netip.Addr, peers []netip.AddrPort, numbers []uint16) {
	if p.Permissions() != len(o.permissions) || p.Channels() != len(o.channels) {
		t.Fatalf("%d permissions and %d channels, want %d and %d", p.Permissions(), p.Channels(), len(o.permissions), len(o.channels))
	}
	for _, ip := range ips {
		if got, want := p.Permitted(ip), slices.Contains(o.permissions, ip); got != want {
			t.Fatalf("permission of %v: %v, want %v", ip, got, want)
		}
	}
	for _, peer := range peers {
		want := oracleChannel{0, peer}
		if i := slices.IndexFunc(o.channels, func(c oracleChannel) bool { return c.peer == peer }); i >= 0 {
			want = o.channels[i]
		}
		number, permitted := p.Peer(peer)
		if number != want.number || permitted != slices.Contains(o.permissions, peer.Addr()) {
			t.Fatalf("peer %v: channel %#x, permitted %v; want channel %#x", peer, number, permitted, want.number)
		}
	}
	for _, number := range numbers {
		i := slices.IndexFunc(o.channels, func(c oracleChannel) bool { return c.number == number })
		peer, permitted, ok := p.Channel(number)
		if ok != (i >= 0) || ok && (peer != o.channels[i].peer || permitted != slices.Contains(o.permissions, peer.Addr())) {
			t.Fatalf("channel %#x: %v, permitted %v, %v", number, peer, permitted, ok)
		}
		if !ok && (peer.IsValid() || permitted) {
			t.Fatalf("channel %#x is not bound, and is %v", number, peer)
		}
	}
}

// peersOf are several ports on several hosts of both families.
func peersOf(hosts, ports int) (ips []netip.Addr, peers []netip.AddrPort) {
	for h := range hosts {
		ip := netip.AddrFrom4([4]byte{198, 51, 100, byte(h)})
		if h%2 == 1 {
			ip = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: byte(h)})
		}
		ips = append(ips, ip)
		for p := range ports {
			peers = append(peers, netip.AddrPortFrom(ip, uint16(4000+p)))
		}
	}
	return ips, peers
}

// Any sequence of operations leaves a path as the lists have it, with few of
// everything and with many.
func TestPathAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.SampledFrom([]int{2, 7, 14}).Draw(t, "hosts")
		ips, peers := peersOf(hosts, 2)
		numbers := make([]uint16, 2*hosts)
		for i := range numbers {
			numbers[i] = 0x4000 + uint16(i)
		}
		var p Path
		var o pathOracle
		for range rapid.IntRange(0, 80).Draw(t, "operations") {
			switch rapid.IntRange(0, 5).Draw(t, "operation") {
			case 0, 1:
				ip := rapid.SampledFrom(ips).Draw(t, "permit")
				p.Permit(ip)
				o.permit(ip)
			case 2:
				ip := rapid.SampledFrom(ips).Draw(t, "revoke")
				p.Revoke(ip)
				o.revoke(ip)
			case 3, 4:
				number, peer := rapid.SampledFrom(numbers).Draw(t, "number"), rapid.SampledFrom(peers).Draw(t, "peer")
				p.Bind(number, peer)
				o.bind(number, peer)
			case 5:
				number := rapid.SampledFrom(numbers).Draw(t, "unbind")
				p.Unbind(number)
				o.unbind(number)
			}
			o.check(t, &p, ips, peers, numbers)
		}
	})
}

// The bounds that operators set are far beyond what is searched one by one.
func TestPathOfMany(t *testing.T) {
	ips, peers := peersOf(256, 1)
	var p Path
	for i, ip := range ips {
		p.Permit(ip)
		p.Bind(0x4000+uint16(i), peers[i])
	}
	for i, peer := range peers {
		if number, permitted := p.Peer(peer); number != 0x4000+uint16(i) || !permitted {
			t.Fatalf("peer %v: channel %#x, permitted %v", peer, number, permitted)
		}
	}
	for i := range ips {
		p.Revoke(ips[i])
		p.Unbind(0x4000 + uint16(i))
	}
	if p.Permissions() != 0 || p.Channels() != 0 {
		t.Errorf("%d permissions and %d channels are left", p.Permissions(), p.Channels())
	}
}

// The relay's memory for an allocation is budgeted; this is route's part, besides
// 24 bytes for a permission, 40 for a channel and a meter's streams.
func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		size, max uintptr
	}{
		{"Path", unsafe.Sizeof(Path{}), 144},
		{"channel", unsafe.Sizeof(channel{}), 40},
		{"stream", unsafe.Sizeof(stream{}), 144},
	} {
		if tt.size > tt.max {
			t.Errorf("%s takes %d bytes, want at most %d", tt.name, tt.size, tt.max)
		}
	}
}

// path returns one with n permissions and channels, and their peers.
func path(n int) (*Path, []netip.AddrPort) {
	ips, peers := peersOf(n, 1)
	p := new(Path)
	for i := range n {
		p.Permit(ips[i])
		p.Bind(0x4000+uint16(i), peers[i])
	}
	return p, peers
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	var clients Table[*Path]
	for _, n := range []int{1, few, few + 1, 256} {
		p, peers := path(n)
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 4000)
		clients.Put(at, p)
		payload := rtp(0, 1, 160, 7, 160)
		allocs := testing.AllocsPerRun(100, func() {
			for i, peer := range peers {
				p, _ := clients.Get(at)
				p.Channel(0x4000 + uint16(i))
				p.ToPeer.Feed(1, payload)
				p.Peer(peer)
				p.Peer(netip.AddrPortFrom(peer.Addr(), 9))
				p.Permitted(peer.Addr())
				p.ToClient.Feed(1, payload)
				p.Permit(peer.Addr())
				p.Bind(0x4000+uint16(i), peer)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations with %d peers", allocs, n)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	for _, n := range []int{1, few, 256} {
		p, peers := path(n)
		b.Run(fmt.Sprint("channel/", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				p.Channel(0x4000 + uint16(i%n))
			}
		})
		b.Run(fmt.Sprint("peer/", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				p.Peer(peers[i%n])
			}
		})
	}
}
