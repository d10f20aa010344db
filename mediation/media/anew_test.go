package media

import (
	"testing"
	"time"
)

// Of several forks that send early media the one that is set is heard, from its
// first packet on, and the earlier one, which goes on sending, is not (RFC 3960
// section 3.2).
func TestAnotherForkIsHeard(t *testing.T) { eachProfile(t, anotherForkIsHeard) }

func anotherForkIsHeard(t *testing.T, p Profile) {
	d := newDialog(t, p)
	if err := d.both(50); err != nil {
		t.Fatal(err)
	}
	alice := d.phone
	d.leg.SRTP = &SRTP{Profile: p, Local: d.leg.SRTP.Local, Remote: key(p, 77)}
	d.leg.Anew = true
	d.set(Pool, d.leg)
	bob := newPhone(t, d.leg.SRTP)
	before := d.drops(Pool)
	for i := range 50 {
		d.now = d.now.Add(20 * time.Millisecond)
		d.i++
		d.in(Pool, alice.protect(talk(d.i, d.ssrc).bytes()))
		if n := len(d.out(Gateway)); n != 0 {
			t.Fatalf("packet %d: the earlier fork is heard", i)
		}
		d.in(Pool, bob.protect(talk(i, 9).bytes()))
		if n := len(d.out(Gateway)); n != 1 {
			t.Fatalf("packet %d: the fork that was set is not heard: %v", i, d.drops(Pool))
		}
	}
	if n := d.drops(Pool)["authentication"] - before["authentication"]; n != 50 {
		t.Errorf("%d of 50 packets of the earlier fork counted as not authentic", n)
	}
}

// A plain leg has nothing but the order of arrival to tell the forks by.
func TestAnotherPlainForkIsHeard(t *testing.T) {
	r := newRig(t)
	r.set(Pool, plainLeg(Pool))
	r.set(Gateway, plainLeg(Gateway))
	r.in(Pool, talk(1, 7).bytes())
	r.out(Gateway)
	leg := plainLeg(Pool)
	leg.Anew = true
	r.set(Pool, leg)
	r.in(Pool, talk(1, 9).bytes())
	if n := len(r.out(Gateway)); n != 1 {
		t.Errorf("%d packets of the new fork came through, want 1", n)
	}
	if s := r.b.Stats()[Pool].Receive; s.Lost == nil || *s.Lost != 0 {
		t.Errorf("lost is %d", *s.Lost)
	}
}
