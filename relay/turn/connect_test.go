package turn

import (
	"slices"
	"testing"
)

// connected tells the machine the outcome of the oldest Dial and returns what its client is told.
func connected(t *testing.T, r *rig, c *client, number uint32, err error) answer {
	t.Helper()
	if len(r.dials) == 0 {
		t.Fatal("nothing is being dialled")
	}
	d := r.dials[0]
	r.dials = slices.Delete(r.dials, 0, 1)
	r.replies = nil
	r.do(r.m.Dialed(d.ID, d.Peer, number, err))
	if len(r.replies) != 1 || r.replies[0].to != c.source {
		t.Fatalf("%d replies", len(r.replies))
	}
	o, parseErr := readOracle(r.replies[0].b)
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	a := answer{oracle: o, raw: r.replies[0].b}
	if v := a.value(AttrErrorCode); len(v) == 4 {
		a.code = int(v[2])*100 + int(v[3])
	}
	if !c.sealed(a) {
		t.Fatal("the answer to Connect is not sealed")
	}
	return a
}
