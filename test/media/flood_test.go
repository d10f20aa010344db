package media

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// flood sends n packets to an address of causeway's as fast as it reads them: what a flood shows is causeway, and not the
// size of a queue in the kernel.
func (l *lab) flood(to netip.AddrPort, n int, send func(i int)) {
	l.t.Helper()
	const burst, few = 50, 16 << 10
	end := time.Now().Add(3 * patience / 2)
	for i := range n {
		for i%burst == 0 && queued(l.t, to) > few {
			if time.Now().After(end) {
				l.t.Fatalf("causeway does not read: %d of %d packets were sent", i, n)
			}
			time.Sleep(time.Millisecond)
		}
		send(i)
	}
}

// queued is how many bytes, with their overhead, wait in the kernel for the socket at an address.
func queued(t *testing.T, at netip.AddrPort) int {
	t.Helper()
	a := at.Addr().As4()
	slices.Reverse(a[:])
	local := fmt.Sprintf("%02X:%04X", a[:], at.Port())
	for range 100 { // the table may miss a line while it changes
		table, err := os.ReadFile("/proc/net/udp")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) < 5 || f[1] != local {
				continue
			}
			_, waiting, _ := strings.Cut(f[4], ":")
			n, err := strconv.ParseInt(waiting, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatalf("no socket at %v", at)
	return 0
}

// A hundred thousand packets of as many sources, forged from the telephones' own addresses: nothing is kept of a source
// that has proved nothing (pion/srtp before 3.0.12 kept a window for each).
func TestSSRCFlood(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{plain: true})
	forge := newForger(t)
	c := l.talk(pool)
	time.Sleep(500 * time.Millisecond)
	before := l.rss()
	junk := make([]byte, 160+10)
	_, _ = rand.Read(junk) // never fails
	ssrc := func(i int) uint32 { return 0x10000000 + uint32(i)*7919 }
	rtp := func(i int) []byte { return append(rtpHeader(0, uint16(i*13), uint32(i), ssrc(i)), junk...) }
	const secure, reports, plain = 60_000, 20_000, 20_000
	l.flood(c.us(pool), secure, func(i int) { forge.send(c.them(pool), c.us(pool), rtp(i)) })
	l.flood(next(c.us(pool)), reports, func(i int) {
		b := binary.BigEndian.AppendUint32([]byte{0x80, 200, 0, 6}, ssrc(i))
		forge.send(next(c.them(pool)), next(c.us(pool)), append(b, junk...))
	})
	l.flood(c.us(gateway), plain, func(i int) { forge.send(c.them(gateway), c.us(gateway), rtp(i)[:172]) })
	if grown := l.rss() - before; grown > 6<<20 {
		t.Errorf("the flood took %.1f MiB of memory", grown/(1<<20))
	}
	c.unharmed()
	l.refused(map[string]int{"pool authentication": secure + reports, "gateway new_source": plain})
}

// Ten thousand packets of the telephone's own, with bits of the tag flipped, from its own address and from another: no
// number of bad packets ends or resets a call (CVE-2021-41105).
func TestBadTagFlood(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{plain: true})
	forge, w, a := newForger(t), l.listen(), l.newAttacker(0)
	c := l.talk(gateway)
	us, them := c.us(pool), c.them(pool)
	said := w.wait(t, them, us, 50)
	reported := w.wait(t, next(them), next(us), 1)[0]
	const n = 10_000
	l.flood(us, n, func(i int) {
		packet := slices.Clone(said[i%len(said)])
		// One that is to come: of those that have been, it is known without looking at the tag.
		binary.BigEndian.PutUint16(packet[2:], sequenceOf(said[len(said)-1])+5000+uint16(i))
		if i%2 == 0 {
			forge.send(them, us, packet)
			return
		}
		packet[len(packet)-1-i%10] ^= 1 << (i % 8)
		a.send(us, packet)
	})
	const flipped = 500
	l.flood(next(us), flipped, func(i int) {
		packet := slices.Clone(reported)
		const index = 4 + 10 // from the end
		binary.BigEndian.PutUint32(packet[len(packet)-index:], 1<<31|uint32(1000+i))
		packet[len(packet)-1-i%10] ^= 1 << (i % 8)
		forge.send(next(them), next(us), packet)
	})
	c.unharmed()
	a.deaf()
	l.refused(map[string]int{"pool authentication": n + flipped})
}
