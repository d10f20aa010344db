package media

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// indexOracle is the slow twin of an opener: each packet's true index is known to it,
// and it says by RFC 3711 (appendix A for the estimate, section 3.3.2 for replays)
// what a receiver has to make of it. It remembers every packet.
type indexOracle struct {
	keys  map[int]map[uint32]*heard // by key, by source
	now   int
	old   int // -1: none
	until time.Time
	last  map[int]uint32 // the source that was heard last, by key
	// places are those of the sources that may go on counting under a key.
	places map[int]goingOn
}

type goingOn struct {
	ssrc    uint32
	highest int64
}

// heard is what a receiver knows of a source under a key.
type heard struct {
	highest int64
	seen    map[int64]bool
}

// estimate is RFC 3711 appendix A, with v = ROC - 1, ROC, or ROC + 1, but none below
// zero.
func estimate(highest int64, sequence uint16) int64 {
	roc, s, seq := highest>>16, highest&0xffff, int64(sequence)
	v := roc
	if s < 1<<15 {
		if seq-s > 1<<15 {
			v = roc - 1
		}
	} else if s-1<<15 > seq {
		v = roc + 1
	}
	return max(v, 0)<<16 + seq
}

// under says what becomes of a packet under one key alone.
func (o *indexOracle) under(key int, p sentPacket) Drop {
	sources := o.keys[key]
	h := sources[p.ssrc]
	if h == nil {
		if p.key != key || p.index > 0xffff {
			return dropAuth // the first is taken to be of the first cycle
		}
		sources[p.ssrc] = &heard{p.index, map[int64]bool{p.index: true}}
		o.last[key] = p.ssrc
		return passed
	}
	guess := estimate(h.highest, uint16(p.index))
	if h.seen[guess] && h.highest-guess < replayWindow || h.highest-guess >= replayWindow {
		return dropReplay // known or too old, before anything is authenticated
	}
	if p.key != key || guess != p.index {
		return dropAuth
	}
	h.seen[guess], h.highest = true, max(h.highest, guess)
	o.last[key] = p.ssrc
	return passed
}

func (o *indexOracle) receive(p sentPacket, now time.Time) Drop {
	if o.old >= 0 && now.After(o.until) {
		o.old = -1
	}
	fresh := o.keys[o.now][p.ssrc] == nil
	place, open := o.places[o.now]
	open = open && place.ssrc == p.ssrc
	drop := o.under(o.now, p)
	if drop != passed && fresh && open {
		guess := estimate(place.highest, uint16(p.index))
		if guess > 0xffff && guess == p.index && p.key == o.now {
			o.keys[o.now][p.ssrc] = &heard{guess, map[int64]bool{guess: true}}
			o.last[o.now] = p.ssrc
			drop = passed
		}
	}
	if drop == passed {
		if open {
			delete(o.places, o.now)
		}
		return passed
	}
	if o.old < 0 {
		return drop
	}
	again := o.under(o.old, p)
	if drop == dropReplay && again != passed {
		return dropReplay
	}
	return again
}

// change is a new key, or one that comes back.
func (o *indexOracle) change(to int, now time.Time) {
	place, known := o.places[o.now]
	if ssrc, ok := o.last[o.now]; ok {
		place, known = goingOn{ssrc, o.keys[o.now][ssrc].highest}, true
	}
	if len(o.keys[o.now]) == 0 {
		delete(o.places, o.now) // a key that nothing came under is forgotten
	}
	o.old, o.until, o.now = o.now, now.Add(keyOverlap), to
	if o.keys[to] == nil {
		o.keys[to] = map[uint32]*heard{}
	}
	if len(o.keys[to]) == 0 && known { // else it goes on where it was left
		o.places[to] = place
	}
}

// sentPacket is a packet of the peer's with its true index.
type sentPacket struct {
	key   int
	ssrc  uint32
	index int64
	bytes []byte
}

// TestIndexAgainstOracle: through loss, reordering, replays, wraps of the sequence and
// changes of the key, with peers that count on and peers that start over, each packet
// is opened or dropped as RFC 3711 has it, by the index that it was protected with.
func TestIndexAgainstOracle(t *testing.T) {
	const p = AES128_CM_32
	var counted [dropCount]int
	rapid.Check(t, func(t *rapid.T) {
		masters := [][]byte{key(p, 100), key(p, 101), key(p, 102), key(p, 103)}
		var twins []sessionKeys
		for _, m := range masters {
			twins = append(twins, derive(p, m, 0))
		}
		opener, err := newOpener(p, masters[0])
		if err != nil {
			t.Fatal(err)
		}
		w, now := &worker{}, time.Unix(1e9, 0)
		o := &indexOracle{keys: map[int]map[uint32]*heard{0: {}}, old: -1, last: map[int]uint32{}, places: map[int]goingOn{}}
		present, ssrc := 0, uint32(7)
		next := map[uint32]int64{ // of each source
			7: rapid.SampledFrom([]int64{0, 1, 30000, 32767, 32768, 65300, 65535}).Draw(t, "first"),
			8: 40000,
		}
		var sent []sentPacket
		deliver := func(s sentPacket) {
			want := o.receive(s, now)
			b := slices.Clone(s.bytes)
			h, _ := parseHeader(b)
			out, got := opener.rtp(b, &h, w, now)
			if got != want {
				t.Fatalf("index %d of %d under key %d: %q, want %q", s.index, s.ssrc, s.key, got, want)
			}
			if got == passed && (len(out) != fixedHeader+4 || binary.BigEndian.Uint32(out[fixedHeader:]) != uint32(s.index)) {
				t.Fatalf("index %d opened as %x", s.index, out)
			}
			counted[got]++
		}
		protect := func(index int64) sentPacket {
			h := header{sequence: uint16(index), ssrc: ssrc}
			plain := make([]byte, fixedHeader, fixedHeader+4)
			h.put(plain)
			plain = binary.BigEndian.AppendUint32(plain, uint32(index))
			return sentPacket{present, ssrc, index, twins[present].protectRTP(p, plain, fixedHeader, uint64(index), nil, false)}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(20 * time.Millisecond)
			switch rapid.IntRange(0, 15).Draw(t, "step") {
			case 0: // loss
				next[ssrc] += rapid.SampledFrom([]int64{1, 2, 100, 127, 128, 129, 5000, 32766, 32767, 32768, 40000}).Draw(t, "lost")
			case 1: // late, and never sent before
				next[ssrc] += 3
				late := protect(next[ssrc] - 2)
				deliver(protect(next[ssrc] - 1))
				deliver(late)
				sent = append(sent, late)
			case 2, 3: // again, or long kept back
				if len(sent) > 0 {
					deliver(sent[len(sent)-1-rapid.IntRange(0, min(len(sent)-1, 130)).Draw(t, "which")])
				}
			case 4: // over the wrap
				next[ssrc] = max(next[ssrc], next[ssrc]|0xffff-rapid.Int64Range(0, 3).Draw(t, "before the wrap"))
			case 5: // another source, or back
				ssrc = 15 - ssrc
			case 6: // a new key, or an old one
				to := rapid.IntRange(0, len(masters)-1).Draw(t, "key")
				if to == present {
					continue
				}
				present = to
				fresh, err := newOpener(p, masters[to])
				if err != nil {
					t.Fatal(err)
				}
				fresh.succeed(opener, now)
				opener = fresh
				o.change(to, now)
				if rapid.Bool().Draw(t, "starts over") {
					next[ssrc] &= 0xffff
				}
				now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 6 * time.Second}).Draw(t, "silence"))
			default:
				s := protect(next[ssrc])
				next[ssrc]++
				sent = append(sent, s)
				if rapid.IntRange(0, 9).Draw(t, "way") > 0 {
					deliver(s)
				}
			}
		}
	})
	for _, d := range []Drop{passed, dropAuth, dropReplay} {
		if counted[d] == 0 {
			t.Errorf("nothing was ever %q", d)
		}
	}
}

// TestRolloverEstimate holds the estimate to RFC 3711 appendix A at all of its edges.
func TestRolloverEstimate(t *testing.T) {
	var edges []uint16
	for _, at := range []int{0, median - 1, median, median + 1, 2*median - 1} {
		for d := -2; d <= 2; d++ {
			edges = append(edges, uint16(at+d))
		}
	}
	for _, rollover := range []uint32{0, 1, 9} {
		for _, s := range edges {
			for _, sequence := range edges {
				p := place{rollover: rollover, sequence: s}
				want := estimate(int64(rollover)<<16|int64(s), sequence) >> 16
				if got := p.rolloverOf(sequence); int64(got) != want {
					t.Errorf("%d after %d of cycle %d is of cycle %d, want %d", sequence, s, rollover, got, want)
				}
			}
		}
	}
}
