package route

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// Table maps transport addresses to what is there: the clients of one listener to
// their allocations. An IPv4 address and its IPv4-mapped form are the same; zones
// are ignored. The zero value is an empty table.
//
// Keys are hashed with a seed that nobody outside knows, so that nobody can choose
// addresses that make a look-up slow.
type Table[T any] struct {
	v4 map[uint64]T
	v6 map[key6]T
}

// key6 is an IPv6 address and port, without the zone's pointer.
type key6 struct {
	high, low uint64
	port      uint64 // of 16 bits; wider to leave no gap, so that the key is hashed in one piece
}

// key4 is an IPv4 address and port in one word.
func key4(a netip.Addr, port uint16) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))<<16 | uint64(port)
}

func addr4(k uint64) netip.AddrPort {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(k>>16))
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(k))
}

func newKey6(a netip.Addr, port uint16) key6 {
	b := a.As16()
	return key6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), uint64(port)}
}

func (k key6) addr() netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.high)
	binary.BigEndian.PutUint64(b[8:], k.low)
	return netip.AddrPortFrom(netip.AddrFrom16(b), uint16(k.port))
}

// is4 reports whether an address belongs among the IPv4 ones.
func is4(a netip.Addr) bool { return a.Is4() || a.Is4In6() }

// Get returns what is at an address.
func (t *Table[T]) Get(at netip.AddrPort) (v T, ok bool) {
	if a := at.Addr(); is4(a) {
		v, ok = t.v4[key4(a, at.Port())]
	} else {
		v, ok = t.v6[newKey6(a, at.Port())]
	}
	return v, ok
}

// Put sets what is at an address, which has to be valid.
func (t *Table[T]) Put(at netip.AddrPort, v T) {
	if a := at.Addr(); is4(a) {
		if t.v4 == nil {
			t.v4 = map[uint64]T{}
		}
		t.v4[key4(a, at.Port())] = v
	} else {
		if t.v6 == nil {
			t.v6 = map[key6]T{}
		}
		t.v6[newKey6(a, at.Port())] = v
	}
}

// Delete removes what is at an address, if anything.
func (t *Table[T]) Delete(at netip.AddrPort) {
	if a := at.Addr(); is4(a) {
		delete(t.v4, key4(a, at.Port()))
	} else {
		delete(t.v6, newKey6(a, at.Port()))
	}
}

// Len returns how many addresses there are.
func (t *Table[T]) Len() int { return len(t.v4) + len(t.v6) }

// All goes through the table in no particular order. The table may be changed
// meanwhile, as a map may.
func (t *Table[T]) All() iter.Seq2[netip.AddrPort, T] {
	return func(yield func(netip.AddrPort, T) bool) {
		for k, v := range t.v4 {
			if !yield(addr4(k), v) {
				return
			}
		}
		for k, v := range t.v6 {
			if !yield(k.addr(), v) {
				return
			}
		}
	}
}
