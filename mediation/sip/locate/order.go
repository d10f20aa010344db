package locate

import "slices"

// order is one draw of RFC 2782: lower priorities first, and within one
// priority each record with a chance that follows its weight. records are
// sorted by priority and stay as they are.
func order(records []record, random func() float64) []record {
	out := make([]record, 0, len(records))
	for len(records) > 0 {
		n := 1
		for n < len(records) && records[n].priority == records[0].priority {
			n++
		}
		out = draw(out, records[:n], random)
		records = records[n:]
	}
	return out
}

// draw appends the records of one priority to out in the order drawn.
func draw(out, same []record, random func() float64) []record {
	rest := slices.Clone(same)
	// Records of weight 0 come first, so that they have a small chance too.
	slices.SortStableFunc(rest, func(a, b record) int { return min(int(a.weight), 1) - min(int(b.weight), 1) })
	for len(rest) > 1 {
		sum := 0
		for _, r := range rest {
			sum += int(r.weight)
		}
		at := int(random() * float64(sum+1)) // uniform in 0..sum
		i := 0
		for running := int(rest[0].weight); running < at; running += int(rest[i].weight) {
			i++
		}
		out = append(out, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return append(out, rest...)
}
