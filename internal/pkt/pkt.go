// Package pkt holds the buffers that datagrams live in while they pass through
// a worker.
//
// A buffer has one holder at a time. Whoever holds it may read and write it, and
// either hands it on or puts it back in the pool that it came from. Misuse is
// loud: putting a buffer back twice panics, and in builds with the race detector
// freed buffers are filled with a pattern, so that a late reader sees garbage
// and a late writer is caught when the buffer is used next.
package pkt

import "fmt"

const (
	// Size is the room in an ordinary buffer, in bytes: an Ethernet frame's largest
	// datagram with space to spare.
	Size = 2176
	// Headroom is what a receiver leaves free in front of a datagram, in bytes, so
	// that it can be wrapped where it lies. A TURN Data indication to an IPv6 peer
	// adds the most: 48 bytes before its payload (RFC 8656 section 11.6).
	Headroom = 64
	// Tailroom is what a receiver leaves free at the end, in bytes, so that a
	// packet can be protected where it lies. SRTCP adds the most of what is sent
	// in place: a 16-byte tag and a 4-byte index (RFC 7714 section 9).
	Tailroom = 64
	// MaxDatagram is the longest datagram that fits between the headroom and the
	// tailroom of an ordinary buffer, in bytes.
	MaxDatagram = Size - Headroom - Tailroom
)

// Buf is one buffer and the part of it that is in use. The zero value is an empty
// buffer of [Size] bytes.
type Buf struct {
	data   [Size]byte
	long   []byte // the room of a long buffer, instead of data
	off, n int
	free   bool
}

// Long returns a buffer of its own for a datagram of n bytes, with headroom and
// tailroom about it. The datagram is the part in use; its bytes are zero. It may
// be put into any pool, which leaves it to the garbage collector.
func Long(n int) *Buf {
	b := &Buf{long: make([]byte, Headroom+n+Tailroom)}
	b.Use(Headroom, n)
	return b
}

// room is all of the buffer.
func (b *Buf) room() []byte {
	if b.long != nil {
		return b.long
	}
	return b.data[:]
}

// IsLong reports whether the buffer is one that [Long] made.
func (b *Buf) IsLong() bool { return b.long != nil }

// Bytes returns the part in use. Its capacity reaches to the end of the buffer,
// so appending up to [Tailroom] bytes to a received datagram stays in place.
func (b *Buf) Bytes() []byte { return b.room()[b.off : b.off+b.n] }

// Len returns the length of the part in use, in bytes.
func (b *Buf) Len() int { return b.n }

// Use makes n bytes from the offset off (from the buffer's beginning) the part
// in use. It panics if they don't lie within the buffer.
func (b *Buf) Use(off, n int) {
	if off < 0 || n < 0 || off+n > len(b.room()) {
		panic(fmt.Sprintf("pkt: %d bytes at %d of a buffer of %d", n, off, len(b.room())))
	}
	b.off, b.n = off, n
}

// Trim cuts n bytes off the front of the part in use, and panics if it has not
// as many.
func (b *Buf) Trim(n int) {
	if n < 0 || n > b.n {
		panic(fmt.Sprintf("pkt: trimming %d of %d bytes", n, b.n))
	}
	b.off += n
	b.n -= n
}

// Prepend puts n bytes in front of the part in use and returns them, to be
// written: they hold whatever was there. It panics if there is no room for them;
// a received datagram has [Headroom] bytes.
func (b *Buf) Prepend(n int) []byte {
	b.Use(b.off-n, b.n+n)
	return b.room()[b.off : b.off+n]
}

// Extend adds n bytes at the end of the part in use and returns them, to be
// written: they hold whatever was there. It panics if there is no room for them;
// a received datagram has at least [Tailroom] bytes.
func (b *Buf) Extend(n int) []byte {
	b.Use(b.off, b.n+n)
	return b.room()[b.off+b.n-n : b.off+b.n]
}

// Resize sets the length of the part in use, keeping where it begins. It panics
// if that reaches beyond the buffer. Bytes that come into use hold whatever was
// there.
func (b *Buf) Resize(n int) { b.Use(b.off, n) }

// Fill replaces the part in use by a copy of data behind [Headroom] bytes of
// room, and panics if the buffer is too small for it.
func (b *Buf) Fill(data []byte) {
	b.Use(Headroom, len(data))
	copy(b.Bytes(), data)
}

// Room returns everything from the beginning of the part in use to the end of
// the buffer.
func (b *Buf) Room() []byte { return b.room()[b.off:] }

// Pool keeps buffers for one goroutine; it is not safe for more. The zero value
// is ready and keeps nothing: see [NewPool].
type Pool struct {
	bufs []*Buf
	keep int
}

// NewPool returns a pool that keeps up to keep free buffers; what is put back
// beyond them goes to the garbage collector, and so do long buffers.
func NewPool(keep int) *Pool {
	return &Pool{bufs: make([]*Buf, 0, keep), keep: keep}
}

// Get returns a buffer of the pool, or a new one. It is empty and begins at the
// buffer's beginning; its bytes are not cleared.
func (p *Pool) Get() *Buf {
	last := len(p.bufs) - 1
	if last < 0 {
		return new(Buf)
	}
	b := p.bufs[last]
	p.bufs[last] = nil
	p.bufs = p.bufs[:last]
	if poisoning {
		checkPoison(b)
	}
	b.free = false
	return b
}

// Put takes a buffer back. The caller must not touch it again. It panics if the
// buffer is in a pool already.
func (p *Pool) Put(b *Buf) {
	if b.free {
		panic("pkt: buffer put back twice")
	}
	b.free, b.off, b.n = true, 0, 0
	if poisoning {
		poison(b)
	}
	if len(p.bufs) < p.keep && b.long == nil {
		p.bufs = append(p.bufs, b)
	}
}

const pattern = 0xdb

func poison(b *Buf) {
	room := b.room()
	for i := range room {
		room[i] = pattern
	}
}

func checkPoison(b *Buf) {
	for i, c := range b.data {
		if c != pattern {
			panic(fmt.Sprintf("pkt: buffer written at %d after it was put back", i))
		}
	}
}
