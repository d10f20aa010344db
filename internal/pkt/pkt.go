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
	// Size is the room in a buffer, in bytes: an Ethernet frame's largest
	// datagram with space to spare.
	Size = 2048
	// Tailroom is what a receiver leaves free at the end, in bytes, so that a
	// packet can be protected where it lies. SRTCP adds the most of what is sent
	// in place: a 16-byte tag and a 4-byte index (RFC 7714 section 9).
	Tailroom = 64
	// MaxDatagram is the longest datagram that fits beside the tailroom, in
	// bytes.
	MaxDatagram = Size - Tailroom
)

// Buf is one buffer and the part of it that is in use.
type Buf struct {
	data   [Size]byte
	off, n int
	free   bool
}

// Bytes returns the part in use. Its capacity reaches to the end of the buffer,
// so appending up to [Tailroom] bytes to a received datagram stays in place.
func (b *Buf) Bytes() []byte { return b.data[b.off : b.off+b.n] }

// Len returns the length of the part in use, in bytes.
func (b *Buf) Len() int { return b.n }

// Use makes n bytes from the offset off (from the buffer's beginning) the part
// in use. It panics if they don't lie within the buffer.
func (b *Buf) Use(off, n int) {
	if off < 0 || n < 0 || off+n > Size {
		panic(fmt.Sprintf("pkt: %d bytes at %d of a buffer of %d", n, off, Size))
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

// Resize sets the length of the part in use, keeping where it begins. It panics
// if that reaches beyond the buffer. Bytes that come into use hold whatever was
// there.
func (b *Buf) Resize(n int) { b.Use(b.off, n) }

// Room returns everything from the beginning of the part in use to the end of
// the buffer.
func (b *Buf) Room() []byte { return b.data[b.off:] }

// Pool keeps buffers for one goroutine; it is not safe for more. The zero value
// is ready and keeps nothing: see [NewPool].
type Pool struct {
	bufs []*Buf
	keep int
}

// NewPool returns a pool that keeps up to keep free buffers; what is put back
// beyond them goes to the garbage collector.
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
	if len(p.bufs) < p.keep {
		p.bufs = append(p.bufs, b)
	}
}

const pattern = 0xdb

func poison(b *Buf) {
	for i := range b.data {
		b.data[i] = pattern
	}
}

func checkPoison(b *Buf) {
	for i, c := range b.data {
		if c != pattern {
			panic(fmt.Sprintf("pkt: buffer written at %d after it was put back", i))
		}
	}
}
