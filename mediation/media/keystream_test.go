package media

import (
	"slices"
	"testing"
	"time"
)

// TestNoKeyStreamTwice: a leg that goes from SRTP to plain RTP and back to the
// same keys must not use a key stream again, though its sequence ran on past
// what the rollover counter can follow (RFC 3711 section 9.1).
func TestNoKeyStreamTwice(t *testing.T) {
	r := newRig(t)
	r.set(Gateway, plainLeg(Gateway))
	secure := secureLeg(Pool, AES128_CM_80)
	r.set(Pool, secure)
	seen := map[[32]byte]bool{}
	reused, i := 0, 0
	send := func(n int, secured bool) {
		for range n {
			r.now = r.now.Add(20 * time.Millisecond)
			p := talk(i, 7)
			plain := slices.Clone(p.body)
			r.in(Gateway, p.bytes())
			i++
			for _, b := range r.out(Pool) {
				if !secured {
					continue
				}
				var stream [32]byte
				for j := range stream {
					stream[j] = b[fixedHeader+j] ^ plain[j]
				}
				if seen[stream] {
					reused++
				}
				seen[stream] = true
			}
		}
	}
	send(20000, true)
	r.set(Pool, plainLeg(Pool))
	send(60000, false)
	r.set(Pool, secure)
	send(1000, true)
	if len(seen) < 21000-1 || reused != 0 {
		t.Errorf("%d key streams, %d used again", len(seen), reused)
	}
}

// TestTwoSourcesAtOnce: ringback that overlaps the answer must not have the
// stream change hands at every second packet.
func TestTwoSourcesAtOnce(t *testing.T) {
	r := newRig(t)
	r.set(Gateway, plainLeg(Gateway))
	r.set(Pool, plainLeg(Pool))
	heard := 0
	for i := range 200 {
		r.now = r.now.Add(20 * time.Millisecond)
		r.in(Gateway, talk(i, 7).bytes())
		heard += len(r.out(Pool))
		r.in(Gateway, talk(i, 8).bytes())
		if n := len(r.out(Pool)); n != 0 {
			t.Fatalf("packet %d of the second source was taken while the first goes on", i)
		}
	}
	if heard != 200 {
		t.Errorf("%d packets of the first source, want 200", heard)
	}
	for i := range 3 { // the first falls silent: the second takes over with its second packet
		r.now = r.now.Add(20 * time.Millisecond)
		r.in(Gateway, talk(200+i, 8).bytes())
	}
	if n := len(r.out(Pool)); n != 3 && n != 2 {
		t.Errorf("%d packets of the second source after the first ended", n)
	}
}
