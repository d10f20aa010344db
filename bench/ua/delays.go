package ua

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"causeway/codec/g711"
)

const (
	// markEvery is how many frames there are to one whose delay can be measured: ten a second.
	markEvery = 5
	// markBits is how many of a frame's codes get a random lowest bit, which is quieter than G.711's own noise.
	markBits = 64
	// delayMemory is how long a frame is remembered at least. Later arrivals count as received, without a delay.
	delayMemory = 5 * time.Second
)

// Delays measures the one-way delay between endpoints of one process that were given the same Delays. Some frames are
// made unlike any other by random lowest bits, and remembered with the time at which they were sent; whoever receives
// one knows how long it took, from one application to the other. A frame that arrives changed is not recognised, with
// one exception: one converted between PCMU and PCMA as G.711 says it should be.
//
// It is safe for concurrent use.
type Delays struct {
	seed maphash.Seed

	mu       sync.Mutex // guards the following
	rotated  time.Time
	now, old map[uint64]mark // of this delayMemory and the one before
}

type mark struct {
	at        time.Time
	ambiguous bool // two frames look like this one
}

// NewDelays returns an empty Delays.
func NewDelays() *Delays {
	return &Delays{seed: maphash.MakeSeed(), now: map[uint64]mark{}, old: map[uint64]mark{}}
}

// mark makes a frame of G.711 codes unique and remembers it. scratch has the frame's length.
func (d *Delays) mark(codes, scratch []byte, law string, at time.Time) {
	convert := g711.PCMUToPCMA
	if law == PCMA {
		convert = g711.PCMAToPCMU
	}
	copy(scratch, codes)
	convert(scratch)
	plain := bytes.Clone(scratch)
	bits := rand.Uint64()
	for i := range min(markBits, len(codes)) {
		codes[i] ^= byte(bits>>i) & 1
	}
	copy(scratch, codes)
	convert(scratch)

	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(codes, at)
	// Faint codes fall together when converted. A frame that has lost its bits that way is like others of its kind and
	// says nothing.
	differ := 0
	for i := range plain {
		if plain[i] != scratch[i] {
			differ++
		}
	}
	if differ >= markBits/4 {
		d.remember(scratch, at)
	}
}

func (d *Delays) remember(codes []byte, at time.Time) {
	if at.Sub(d.rotated) > delayMemory {
		d.old, d.now, d.rotated = d.now, d.old, at
		clear(d.now)
	}
	key := maphash.Bytes(d.seed, codes)
	_, new := d.now[key]
	_, old := d.old[key]
	d.now[key] = mark{at: at, ambiguous: new || old}
}

// find returns how long ago a received frame was sent, if it is known.
func (d *Delays) find(codes []byte, at time.Time) (time.Duration, bool) {
	key := maphash.Bytes(d.seed, codes)
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.now[key]
	if !ok {
		m, ok = d.old[key]
	}
	return at.Sub(m.at), ok && !m.ambiguous
}

// Delay is a one-way delay in ms, from just before the sender's system call to just behind the receiver's.
type Delay struct {
	MinMS, AvgMS, MaxMS float64
	Frames              int // how many were measured
}

// add takes one measurement into account.
func (d *Delay) add(v time.Duration) {
	ms := float64(v) / float64(time.Millisecond)
	if d.Frames == 0 {
		d.MinMS, d.MaxMS = ms, ms
	}
	d.MinMS, d.MaxMS = min(d.MinMS, ms), max(d.MaxMS, ms)
	d.Frames++
	d.AvgMS += (ms - d.AvgMS) / float64(d.Frames)
}
