package media

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"causeway/bench/ua"
)

// What the telephone said, once more: from an address of the attacker's own and from the telephone's.
func TestReplay(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w, a := newForger(t), l.listen(), l.newAttacker(0)
	c := l.talk(pool)
	us, them := c.us(pool), c.them(pool)
	said := w.wait(t, them, us, 60)
	reported := w.wait(t, next(them), next(us), 1)
	for _, packet := range said {
		a.send(us, packet)
		forge.send(them, us, packet)
	}
	for _, packet := range reported {
		for range 10 {
			a.send(next(us), packet)
			forge.send(next(them), next(us), packet)
		}
	}
	c.unharmed()
	a.deaf()
	l.refused(map[string]int{"pool replay": 2*len(said) + 20*len(reported)})
}

// shifted is SRTP whose sequence numbers begin where the test says, so that they wrap while it looks.
type shifted struct {
	local, remote *srtp.Context
	first         uint16
	begun         bool
	offset        uint16
}

// shiftedTo makes the protection of a telephone's only call.
func shiftedTo(first uint16) ua.NewProtection {
	return func(suite string, local, remote []byte) (ua.Protection, error) {
		if suite != ua.AES80 {
			return nil, fmt.Errorf("%s is not what the tests use", suite)
		}
		const profile, key = srtp.ProtectionProfileAes128CmHmacSha1_80, 16
		l, err := srtp.CreateContext(local[:key], local[key:], profile)
		if err != nil {
			return nil, err
		}
		r, err := srtp.CreateContext(remote[:key], remote[key:], profile, srtp.SRTPReplayProtection(128), srtp.SRTCPReplayProtection(128))
		if err != nil {
			return nil, err
		}
		return &shifted{local: l, remote: r, first: first}, nil
	}
}

func (s *shifted) ProtectRTP(dst, packet []byte) ([]byte, error) {
	if !s.begun {
		s.begun, s.offset = true, s.first-sequenceOf(packet)
	}
	packet = slices.Clone(packet)
	binary.BigEndian.PutUint16(packet[2:], sequenceOf(packet)+s.offset)
	return s.local.EncryptRTP(dst, packet, nil)
}

func (s *shifted) ProtectRTCP(dst, packet []byte) ([]byte, error) {
	return s.local.EncryptRTCP(dst, packet, nil)
}
func (s *shifted) UnprotectRTP(dst, packet []byte) ([]byte, error) {
	return s.remote.DecryptRTP(dst, packet, nil)
}
func (s *shifted) UnprotectRTCP(dst, packet []byte) ([]byte, error) {
	return s.remote.DecryptRTCP(dst, packet, nil)
}

// A stream whose sequence wraps after a second. Before, at and after the wrap the attacker sends numbers that would have
// the rollover counter guessed wrong, replays what was before it, and jumps far ahead: no packet that is not authentic
// moves the counter.
func TestRolloverDesynchronisation(t *testing.T) {
	t.Parallel()
	const first = 65486
	l := newLab(t, setting{poolMedia: shiftedTo(first)})
	forge, w := newForger(t), l.listen()
	c := l.talk(pool)
	us, them := c.us(pool), c.them(pool)
	w.wait(t, them, us, 10)
	n := 0
	attack := func() {
		said := w.between(them, us)
		last := said[len(said)-1]
		for _, sequence := range []uint16{0, 5, 20000, 32767, 32768, 40000, 65400, 65535, sequenceOf(last) + 1, sequenceOf(last) + 3000, sequenceOf(last) + 40000} {
			packet := slices.Clone(last)
			binary.BigEndian.PutUint16(packet[2:], sequence)
			if slices.Equal(packet, last) {
				continue
			}
			forge.send(them, us, packet)
			n++
		}
		forge.send(them, us, said[0])
		n++
	}
	every(100*time.Millisecond, 25, func(int) { attack() }) // 1 s of it before the wrap
	var originals [][]byte
	seen := map[uint16]bool{}
	for _, packet := range w.between(them, us) {
		if !seen[sequenceOf(packet)] {
			seen[sequenceOf(packet)] = true
			originals = append(originals, packet)
		}
	}
	if sequenceOf(originals[0]) < first || !seen[20] {
		t.Fatalf("the sequence did not wrap: %d packets from %d", len(originals), sequenceOf(originals[0]))
	}
	c.unharmed()
	l.refusedAsForged(pool, n)
	if got := l.drops(); got["pool authentication"] == 0 || got["pool replay"] == 0 {
		t.Errorf("causeway refused %v, want both names", got)
	}
}

// The telephone changes its key twice in mid-call, while the attacker goes on replaying everything that was said under any
// of its keys.
func TestKeysSwappedInMidCall(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w, a := newForger(t), l.listen(), l.newAttacker(0)
	c := l.talk(pool)
	us, them := c.us(pool), c.them(pool)
	old := w.wait(t, them, us, 30)[:30]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sent := 0
	replay := func() {
		for i, packet := range old {
			if i%2 == 0 {
				forge.send(them, us, packet)
			} else {
				a.send(us, packet)
			}
			sent++
		}
	}
	for range 2 {
		replay()
		rekeyed := make(chan error, 1)
		go func() { rekeyed <- c.pool.Rekey(ctx) }()
		replay()
		if err := <-rekeyed; err != nil {
			t.Fatal(err)
		}
		every(50*time.Millisecond, 10, func(int) { replay() })
		old = slices.Concat(old, w.between(them, us)[len(old):][:10])
	}
	c.unharmed()
	a.deaf()
	l.refusedAsForged(pool, sent)
	if got := l.drops(); got["pool replay"] == 0 {
		t.Errorf("causeway refused %v, want replays", got)
	}
}

// Each leg gets back all that it sends, as from its peer: nothing circles, and nothing is taken for the peer's (RFC 3550
// section 8.2).
func TestOwnStreamComesBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, setting{})
	forge, w := newForger(t), l.listen()
	c := l.talk(gateway)
	want := map[string]int{}
	for _, side := range []string{pool, gateway} {
		us, them := c.us(side), c.them(side)
		name := map[string]string{pool: "pool authentication", gateway: "gateway own_ssrc"}[side]
		for _, packet := range w.wait(t, us, them, 50) {
			forge.send(them, us, packet)
			want[name]++
		}
		for _, packet := range w.wait(t, next(us), next(them), 1) {
			forge.send(next(them), next(us), packet)
			want[name]++
		}
	}
	c.unharmed()
	l.refused(want)
}
