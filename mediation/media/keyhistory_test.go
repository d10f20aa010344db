package media

import (
	"bytes"
	"testing"
	"time"
)

// turn gives the leg another remote key and its phone, which goes on if it was
// there before.
func (d *dialog) turn(remote []byte, phones map[byte]*phone) {
	d.t.Helper()
	recv := d.phone.recv
	d.leg.SRTP = &SRTP{Profile: d.leg.SRTP.Profile, Local: d.leg.SRTP.Local, Remote: remote}
	d.set(Pool, d.leg)
	if phones[remote[0]] == nil {
		phones[remote[0]] = newPhone(d.t, d.leg.SRTP)
	}
	d.phone = phones[remote[0]]
	d.phone.recv = recv // our key stays, and so does our stream
}

// A call that goes to another device and comes back, by re-INVITEs whose keys are A,
// B and A again: A's rollover counter goes on, and what was sent under A before is
// known to have been there (RFC 3711 sections 3.3.1 and 3.3.2).
func TestKeyThatComesBack(t *testing.T) { eachProfile(t, keyThatComesBack) }

func keyThatComesBack(t *testing.T, p Profile) {
	for name, pause := range map[string]time.Duration{"at once": 0, "after a while": keyOverlap + time.Second} {
		t.Run(name, func(t *testing.T) {
			d := newDialog(t, p)
			a, b := key(p, 2), key(p, 77)
			phones := map[byte]*phone{a[0]: d.phone}
			d.i = 65_000
			if err := d.both(1000); err != nil {
				t.Fatal(err)
			}
			captured := d.phone.protect(talk(d.i+1, d.ssrc).bytes())
			report := d.phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "x"))
			d.i++
			d.in(Pool, bytes.Clone(captured))
			d.inRTCP(Pool, bytes.Clone(report))
			d.in(Gateway, talk(d.i, 8).bytes())
			d.out(Gateway)
			d.phone.unprotect(d.out(Pool)[0])

			d.turn(b, phones)
			d.now = d.now.Add(pause)
			d.ssrc = 9
			_ = d.both(1) // probation
			if err := d.both(20); err != nil {
				t.Fatal(err)
			}
			d.turn(a, phones)
			d.now = d.now.Add(pause)
			d.ssrc = 7
			before := d.drops(Pool)
			d.in(Pool, bytes.Clone(captured))
			d.inRTCP(Pool, bytes.Clone(report))
			if n := d.drops(Pool)["replay"] - before["replay"]; n != 2 || len(d.out(Gateway)) != 0 {
				t.Errorf("%d of 2 replays are known: %v, before %v", n, d.drops(Pool), before)
			}
			_ = d.both(1)
			if err := d.both(20); err != nil {
				t.Error(err)
			}
			if roc, _ := d.b.halves[Pool].open.now.ctx.ROC(7); roc != 1 {
				t.Errorf("the rollover counter is %d", roc)
			}
			d.turn(b, phones) // and once more, now that both are known
			d.now = d.now.Add(pause)
			d.ssrc = 9
			_ = d.both(1)
			if err := d.both(20); err != nil {
				t.Error(err)
			}
		})
	}
}

// A key under which nothing came is not remembered: the device that comes with it
// later may count on or from zero.
func TestUnusedKeyThatComesBack(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		d := newDialog(t, p)
		a, b := key(p, 2), key(p, 77)
		phones := map[byte]*phone{a[0]: d.phone}
		d.i = 65_000
		if err := d.both(1000); err != nil {
			t.Fatal(err)
		}
		for _, remote := range [][]byte{b, a, b} {
			d.turn(remote, phones)
		}
		d.phone.send.SetROC(d.ssrc, 1)
		if err := d.both(20); err != nil {
			t.Error(err)
		}
	})
}

// TestKeyHistoryIsBounded: after as many others a key is forgotten, and wiped; so
// are all of them on close.
func TestKeyHistoryIsBounded(t *testing.T) {
	d := newDialog(t, AES128_CM_80)
	h := &d.b.halves[Pool]
	first := h.open.now
	phones := map[byte]*phone{d.leg.SRTP.Remote[0]: d.phone}
	zero := make([]byte, 30)
	for i := range keyHistory + 1 {
		if bytes.Equal(first.key, zero) {
			t.Fatalf("the first key is forgotten after %d others", i)
		}
		_ = d.both(2)
		d.turn(key(AES128_CM_80, byte(100+i)), phones)
	}
	if n := len(h.open.past); n != keyHistory || !bytes.Equal(first.key, zero) {
		t.Errorf("%d keys are remembered", n)
	}
	held := append([]*opened{h.open.now}, h.open.past...)
	d.b.Close()
	for i, o := range held {
		if !bytes.Equal(o.key, zero) {
			t.Errorf("key %d is not wiped", i)
		}
	}
}
