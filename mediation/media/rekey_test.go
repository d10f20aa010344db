package media

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// dialog is a protected call through the changes that signalling can make.
type dialog struct {
	*rig
	leg   Leg
	phone *phone
	i     int    // packets so far, each way
	ssrc  uint32 // the phone's
}

// both sends n packets each way and reports what arrived.
func (d *dialog) both(n int) (err error) {
	d.t.Helper()
	for range n {
		d.i++
		d.now = d.now.Add(20 * time.Millisecond)
		d.in(Pool, d.phone.protect(talk(d.i, d.ssrc).bytes()))
		d.in(Gateway, talk(d.i, 8).bytes())
		if out := d.out(Gateway); len(out) != 1 {
			err = fmt.Errorf("packet %d toward the gateway: %d sent; drops %v", d.i, len(out), d.drops(Pool))
		}
		out := d.out(Pool)
		if len(out) != 1 {
			return fmt.Errorf("packet %d toward the pool: %d sent", d.i, len(out))
		}
		d.phone.unprotect(out[0])
	}
	return err
}

func newDialog(t *testing.T, p Profile) *dialog {
	r, phone := secured(t, p)
	return &dialog{rig: r, leg: secureLeg(Pool, p), phone: phone, ssrc: 7}
}

// Re-INVITEs of all sorts, after the rollover counters have moved on. What stays
// the same must go on where it was; what changes must not lose more than what
// probation takes.
func TestSetAgainAfterRollover(t *testing.T) { eachProfile(t, setAgainAfterRollover) }

func setAgainAfterRollover(t *testing.T, p Profile) {
	start := func(t *testing.T) *dialog {
		d := newDialog(t, p)
		d.i = 65_450
		d.b.halves[Pool].out.lastSequence = 65_450 // not by chance in the lower half
		if err := d.both(150); err != nil {
			t.Fatal(err)
		}
		roc, _ := d.phone.recv.ROC(d.b.halves[Pool].out.ssrc)
		if mine, _ := d.phone.send.ROC(d.ssrc); roc != 1 || mine != 1 {
			t.Fatalf("rollover counters are %d and %d", roc, mine)
		}
		return d
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	t.Run("same keys", func(t *testing.T) {
		d := start(t)
		ssrc := d.b.halves[Pool].out.ssrc
		d.set(Pool, d.leg)
		must(t, d.both(10))
		if d.b.halves[Pool].out.ssrc != ssrc {
			t.Error("our stream changed")
		}
	})
	t.Run("hold and back", func(t *testing.T) {
		d := start(t)
		held := d.leg
		held.Remote = parse("")
		d.set(Pool, held)
		d.in(Gateway, talk(d.i+1, 8).bytes())
		d.set(Pool, d.leg)
		d.i++
		must(t, d.both(10))
	})
	t.Run("plain and back", func(t *testing.T) {
		d := start(t)
		d.set(Pool, plainLeg(Pool))
		d.in(Gateway, talk(d.i+1, 8).bytes())
		if out := d.out(Pool); len(out) != 1 || !bytes.Equal(out[0][fixedHeader:], speech(uint16(d.i+1))) {
			t.Errorf("a plain leg sends %x", out)
		}
		d.set(Pool, d.leg)
		d.i++
		must(t, d.both(10))
	})
	t.Run("another source under the same key", func(t *testing.T) {
		d := start(t)
		d.ssrc = 9
		if d.both(1) == nil {
			t.Error("no probation for another source")
		}
		d.drops(Pool)
		must(t, d.both(10))
		d.ssrc = 7 // and back, with its counter where it was
		if d.both(1) == nil {
			t.Error("no probation for another source")
		}
		must(t, d.both(10))
	})
	t.Run("new remote key, counting on", func(t *testing.T) {
		d := start(t)
		d.rekey(key(p, 1), key(p, 77))
		d.phone.send.SetROC(7, 1)
		must(t, d.both(10))
	})
	t.Run("new remote key, counting from zero", func(t *testing.T) {
		d := start(t)
		d.rekey(key(p, 1), key(p, 77))
		must(t, d.both(10))
	})
	t.Run("new local key", func(t *testing.T) {
		d := start(t)
		ssrc := d.b.halves[Pool].out.ssrc
		d.rekey(key(p, 78), key(p, 2))
		must(t, d.both(10))
		if d.b.halves[Pool].out.ssrc == ssrc {
			t.Error("a new key went on with the old stream")
		}
	})
	t.Run("other suite", func(t *testing.T) {
		d := start(t)
		d.leg = secureLeg(Pool, profiles[int(p)%len(profiles)])
		d.set(Pool, d.leg)
		d.phone = newPhone(t, d.leg.SRTP)
		must(t, d.both(10))
	})
}

// rekey changes the keys by signalling, on both ends. The phone starts over with
// the key that is new, and goes on with the other.
func (d *dialog) rekey(local, remote []byte) {
	d.t.Helper()
	old, before := d.phone, d.leg.SRTP
	d.leg.SRTP = &SRTP{Profile: before.Profile, Local: local, Remote: remote}
	d.set(Pool, d.leg)
	d.phone = newPhone(d.t, d.leg.SRTP)
	if bytes.Equal(local, before.Local) {
		d.phone.recv = old.recv
	}
	if bytes.Equal(remote, before.Remote) {
		d.phone.send = old.send
	}
}

// Packets that were under way when the key changed are still good, for a while.
func TestOldKeyIsGoodForAWhile(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		d := newDialog(t, p)
		if err := d.both(5); err != nil {
			t.Fatal(err)
		}
		old := d.phone
		underWay := [][]byte{
			old.protect(talk(6, 7).bytes()), old.protect(talk(7, 7).bytes()), old.protect(talk(9, 7).bytes()),
		}
		report := old.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "x"))
		lateReport := old.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "x"))
		d.rekey(key(p, 1), key(p, 77))
		d.in(Pool, underWay[0])
		d.inRTCP(Pool, report)
		d.in(Pool, d.phone.protect(talk(8, 7).bytes()))
		d.in(Pool, underWay[1])
		if n := len(d.out(Gateway)); n != 3 || len(d.drops(Pool)) != 0 {
			t.Errorf("%d of 3 packets passed; drops %v", n, d.drops(Pool))
		}
		d.now = d.now.Add(keyOverlap + time.Second)
		d.in(Pool, underWay[2])
		d.inRTCP(Pool, lateReport)
		if err := sameDrops(d.drops(Pool), "authentication", "authentication"); err != nil {
			t.Error(err)
		}
		if o := d.b.halves[Pool].open; o.old != nil {
			t.Error("the old key is still held")
		}
	})
}

// The old suite's tag may be shorter than the new one's.
func TestShortPacketOfTheOldSuite(t *testing.T) {
	d := newDialog(t, AES128_CM_32)
	empty := talk(1, 7)
	empty.body = []byte{1}
	underWay := d.phone.protect(empty.bytes())
	d.leg = secureLeg(Pool, AES128_GCM)
	d.set(Pool, d.leg)
	d.in(Pool, underWay)
	if n := len(d.out(Gateway)); n != 1 {
		t.Errorf("%d packets passed; drops %v", n, d.drops(Pool))
	}
}

// What the opener keeps of keys, to know them by when they come back, is wiped too: of
// those that nothing came under with the next change, of the others when the call ends.
func TestRememberedKeysAreWiped(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		d := newDialog(t, p)
		h := &d.b.halves[Pool]
		var used, unused [][]byte
		for i := range byte(3 * keyHistory) {
			if i%2 == 0 {
				if err := d.both(2); err != nil && i == 0 {
					t.Fatal(err)
				}
				used = append(used, h.open.now.key)
			} else {
				unused = append(unused, h.open.now.key)
			}
			d.rekey(d.leg.SRTP.Local, key(p, 100+i))
		}
		wiped := func(keys [][]byte) (n int) {
			for _, k := range keys {
				if bytes.Equal(k, make([]byte, len(k))) {
					n++
				}
			}
			return n
		}
		if n := wiped(unused); n < len(unused)-1 {
			t.Errorf("%d of %d unused keys are wiped", n, len(unused))
		}
		if n := wiped(used); n < len(used)-keyHistory-1 || len(h.open.past) > keyHistory+1 {
			t.Errorf("%d of %d used keys are wiped, %d remembered", n, len(used), len(h.open.past))
		}
		unused = append(unused, h.open.now.key)
		d.b.Close()
		if n := wiped(append(used, unused...)); n != len(used)+len(unused) {
			t.Errorf("%d of %d keys are wiped in the end", n, len(used)+len(unused))
		}
	})
}

// Our copies of the keys are wiped when they are not needed any more, and the
// caller's are left alone.
func TestKeysAreWiped(t *testing.T) {
	r, _ := secured(t, AES128_CM_80)
	held := *r.b.keys[Pool]
	leg := secureLeg(Pool, AES128_CM_80)
	leg.SRTP.Remote = key(AES128_CM_80, 99)
	r.set(Pool, leg)
	zero := make([]byte, 30)
	if !bytes.Equal(held.Local, zero) || !bytes.Equal(held.Remote, zero) {
		t.Error("replaced keys are not wiped")
	}
	held = *r.b.keys[Pool]
	r.b.Close()
	if !bytes.Equal(held.Local, zero) || !bytes.Equal(held.Remote, zero) || r.b.keys[Pool] != nil {
		t.Error("keys are not wiped on close")
	}
	if h := &r.b.halves[Pool]; h.open != nil || h.seal != nil {
		t.Error("contexts are held after close")
	}
	if !bytes.Equal(leg.SRTP.Remote, key(AES128_CM_80, 99)) {
		t.Error("the caller's key was changed")
	}
}
