package media

import (
	"testing"
	"time"
)

// What a neighbour of the gateway's can do who sends from its very address, from another port: behind one NAT, say. It
// knows the stream's SSRC and numbers. Under strict it can do nothing. Under same_ip, the default, an address is all that
// is believed: who has it is heard, and what we send follows whoever sends three packets in sequence (docs/manual.md).
func TestNeighbourOnThePlainLeg(t *testing.T) {
	for _, learning := range []string{"strict", "same_ip"} {
		t.Run(learning, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, setting{gateMore: []string{"learning: " + learning}})
			w := l.listen()
			neighbour := attackerAt(t, l.at(gatePhone, 18000))
			c := l.talk(pool)
			us, them := c.us(gateway), c.them(gateway)
			said := w.wait(t, them, us, 25)
			last := said[len(said)-1]
			f := newFrames(ssrcOf(last), sequenceOf(last)+1000, timestampOf(last)+160_000)
			const bursts, burst = 10, 5
			every(50*time.Millisecond, bursts, func(int) {
				for range burst {
					neighbour.send(us, f.next())
				}
			})
			moves := func() int { return int(l.Metric(`causeway_mediation_media_destination_moves_total{side="gateway"}`)) }
			if learning == "strict" {
				c.unharmed()
				neighbour.deaf()
				l.refused(map[string]int{"gateway wrong_source": bursts * burst})
				if n := moves(); n != 0 {
					t.Errorf("%d moves", n)
				}
				return
			}
			time.Sleep(300 * time.Millisecond)
			if moves() == 0 || neighbour.got.Load() == 0 {
				t.Errorf("%d moves, %d packets came to the neighbour: the manual promises less than there is", moves(), neighbour.got.Load())
			}
			c.hangUp()
		})
	}
}

// The same neighbour at the protected leg: no way of learning gives it anything.
func TestNeighbourOnTheProtectedLeg(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{poolMore: []string{"learning: nat"}})
	w, a := l.listen(), l.newAttacker(0)
	neighbour := attackerAt(t, l.at(poolPhone, 18000))
	c := l.talk(pool) // whose telephone does not talk before it is heard: all that it says can only be replayed
	us, them := c.us(pool), c.them(pool)
	said := w.wait(t, them, us, 25)
	last := said[len(said)-1]
	f := newFrames(ssrcOf(last), sequenceOf(last)+1000, timestampOf(last)+160_000)
	const n = 60
	every(10*time.Millisecond, n, func(i int) {
		packet := append(f.next(), said[i%len(said)][172:]...) // a tag that was good for another
		neighbour.send(us, packet)
		a.send(us, packet)
	})
	for _, packet := range said { // and authentic packets, once more
		neighbour.send(us, packet)
		a.send(us, packet)
	}
	c.unharmed()
	neighbour.deaf()
	a.deaf()
	l.refused(map[string]int{"pool authentication": 2 * n, "pool replay": 2 * len(said)})
	if n := l.Metric(`causeway_mediation_media_destination_moves_total{side="pool"}`); n != 0 {
		t.Errorf("%v moves", n)
	}
}

// Under nat the first source after the answer is the peer. Once the gateway has spoken, strangers spray in vain, window or
// not; and a source that is not a stream's, of one packet here and there, has no chance even before.
func TestStrangersAfterNATLearning(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{gateMore: []string{"learning: nat"}})
	w := l.listen()
	hosts := []*attacker{l.newAttacker(0), l.newAttacker(1), l.newAttacker(2)}
	c := l.talk(pool)
	us, them := c.us(gateway), c.them(gateway)
	said := w.wait(t, them, us, 10)
	last := said[len(said)-1]
	streams := []*frames{newFrames(1, 1, 1), newFrames(ssrcOf(last), sequenceOf(last)+50, timestampOf(last)), newFrames(3, 40000, 1)}
	const n = 300 // 6 s: until after the window
	every(20*time.Millisecond, n, func(i int) {
		for h, a := range hosts {
			packet := streams[h].next()
			a.send(us, packet)
			a.send(next(us), packet)
		}
	})
	c.unharmed()
	for _, a := range hosts {
		a.deaf()
	}
	l.refused(map[string]int{"gateway wrong_source": 2 * n * len(hosts)})
	if n := l.Metric(`causeway_mediation_media_destination_moves_total{side="gateway"}`); n != 0 {
		t.Errorf("%v moves", n)
	}
}
