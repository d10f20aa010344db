package auth

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// list is one of the lists that a policy is compiled from.
type list uint8

const (
	listDeny list = iota
	listAllow
	listInternalDeny
	listInternalAllow
	listSpecial
	listHost
	listRelay
	listCount
)

// rule is one entry of a list.
type rule struct {
	prefix netip.Prefix
	text   string // as a decision names it; empty: as if no rule of the list were there
	single bool   // it names one address
}

// facts are which rule of each list covers an address, the longest if several do: an index into the policy's rules, of
// which the first stands for none.
type facts [listCount]uint16

// u128 is an address as a number; an IPv4 address has hi 0.
type u128 struct{ hi, lo uint64 }

func (u u128) compare(v u128) int {
	if c := cmp.Compare(u.hi, v.hi); c != 0 {
		return c
	}
	return cmp.Compare(u.lo, v.lo)
}

func (u u128) less(v u128) bool { return u.hi < v.hi || u.hi == v.hi && u.lo < v.lo }

func (u u128) next() u128 {
	u.lo++
	if u.lo == 0 {
		u.hi++
	}
	return u
}

func number(a netip.Addr) u128 {
	if a.Is4() {
		raw := a.As4()
		return u128{0, uint64(binary.BigEndian.Uint32(raw[:]))}
	}
	raw := a.As16()
	return u128{binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])}
}

// block is a rule's range of numbers.
type block struct {
	first, last u128
	index       uint16
}

func newBlock(p netip.Prefix, index uint16) block {
	b := block{first: number(p.Addr()), index: index}
	host := p.Addr().BitLen() - p.Bits()
	b.last = b.first
	if host >= 64 {
		b.last.lo = ^uint64(0)
		b.last.hi |= 1<<(host-64) - 1
	} else {
		b.last.lo |= 1<<host - 1
	}
	return b
}

// ranges cut the addresses of one family into spans in which the facts are the same.
type ranges struct {
	from  []u128 // where each span begins, ascending; the first is 0
	facts []facts
}

// find returns the facts of an address. It does not allocate.
func (r *ranges) find(u u128) *facts {
	low, high := 0, len(r.from)
	for high-low > 1 { // from[low] <= u < from[high]
		if mid := int(uint(low+high) >> 1); u.less(r.from[mid]) {
			high = mid
		} else {
			low = mid
		}
	}
	return &r.facts[low]
}

// compile makes the ranges of one family: is4 or not.
func compile(lists *[listCount][]uint16, rules []rule, is4 bool) ranges {
	bounds := []u128{{}}
	var blocks [listCount][]block
	for l, indexes := range lists {
		for _, index := range indexes {
			if p := rules[index].prefix; p.Addr().Is4() == is4 {
				b := newBlock(p, index)
				blocks[l] = append(blocks[l], b)
				bounds = append(bounds, b.first, b.last.next())
			}
		}
		slices.SortStableFunc(blocks[l], func(a, b block) int {
			return cmp.Or(a.first.compare(b.first), b.last.compare(a.last)) // the wider first
		})
	}
	slices.SortFunc(bounds, u128.compare)
	bounds = slices.Compact(bounds)

	all := make([]facts, len(bounds))
	for l := range blocks {
		sweep(blocks[l], bounds, func(i int, index uint16) {
			if rules[index].text != "" {
				all[i][l] = index
			}
		})
	}
	var r ranges
	for i, f := range all {
		if i == 0 || f != all[i-1] {
			r.from, r.facts = append(r.from, bounds[i]), append(r.facts, f)
		}
	}
	return r
}

// sweep tells for each bound the innermost block that it lies in. Blocks are those of prefixes: two of them are apart,
// or one is within the other.
func sweep(blocks []block, bounds []u128, tell func(i int, index uint16)) {
	var open []block
	for i, at := range bounds {
		for len(open) > 0 && open[len(open)-1].last.less(at) {
			open = open[:len(open)-1]
		}
		for len(blocks) > 0 && blocks[0].first == at {
			open, blocks = append(open, blocks[0]), blocks[1:]
		}
		if len(open) > 0 {
			tell(i, open[len(open)-1].index)
		}
	}
}
