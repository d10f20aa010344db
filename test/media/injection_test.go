package media

import (
	"crypto/rand"
	"testing"
	"time"
)

// Packets that lack nothing but the key: from the very address and port of the pool's telephone, with its SSRC, the next
// sequence numbers and timestamps, audio and a digit.
func TestInjectionWithoutTheKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w := newForger(t), l.listen()
	c := l.talk(pool)
	us, them := c.us(pool), c.them(pool)
	w.wait(t, them, us, 25)
	const n = 60
	every(15*time.Millisecond, n, func(i int) {
		said := w.between(them, us)
		last := said[len(said)-1]
		ahead := uint16(1 + i%10)
		f := newFrames(ssrcOf(last), sequenceOf(last)+ahead, timestampOf(last)+160*uint32(ahead))
		packet := f.next()
		if i%3 == 0 {
			packet = event(sequenceOf(last)+ahead, timestampOf(last), ssrcOf(last))
		}
		tag := make([]byte, 10)
		_, _ = rand.Read(tag) // never fails
		forge.send(them, us, append(packet, tag...))
	})
	c.unharmed()
	l.refusedAsForged(pool, n)
}

// The same on the plain leg, from everywhere but the peer's address: whose address it is makes all the difference there.
func TestInjectionFromElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	a, w := l.newAttacker(0), l.listen()
	c := l.talk(gateway)
	us, them := c.us(gateway), c.them(gateway)
	w.wait(t, them, us, 25)
	const n = 60
	every(15*time.Millisecond, n, func(i int) {
		said := w.between(them, us)
		last := said[len(said)-1]
		f := newFrames(ssrcOf(last), sequenceOf(last)+1, timestampOf(last)+160)
		if i%3 == 0 {
			a.send(us, event(sequenceOf(last)+1, timestampOf(last), ssrcOf(last)))
			return
		}
		a.send(us, f.next())
	})
	c.unharmed()
	a.deaf()
	l.refused(map[string]int{"gateway wrong_source": n})
}
