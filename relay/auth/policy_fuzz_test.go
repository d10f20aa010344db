package auth

import (
	"net/netip"
	"testing"
)

// FuzzPolicy: no address gets another answer from the compiled policy than from the oracle. The seeds stand in
// testdata/fuzz.
func FuzzPolicy(f *testing.F) {
	o := &oracle{PolicyOptions: edge(), special: specials(f)}
	p := policy(f, o.PolicyOptions)
	f.Fuzz(func(t *testing.T, raw []byte, port uint16, op uint8) {
		a, ok := netip.AddrFromSlice(raw)
		want, class := o.decide(a, port, Op(op%uint8(opCount)))
		got := p.Endpoint(netip.AddrPortFrom(a, port), Op(op%uint8(opCount)))
		if got.Allowed != want || want && got.Class != class || !ok && got.Allowed {
			t.Errorf("%v port %d: %+v, want %v, %v", a, port, got, want, class)
		}
	})
}
