package media

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"causeway/internal/pkt"
)

// identified is a rig whose pool side is protected and whose packets carry
// identifiers both ways.
func identified(t testing.TB, p Profile, local, remote []byte) (*rig, *phone, Leg) {
	t.Helper()
	r := newRig(t)
	leg := secureLeg(Pool, p)
	leg.SRTP.LocalMKI, leg.SRTP.RemoteMKI = local, remote
	r.set(Pool, leg)
	r.set(Gateway, plainLeg(Gateway))
	return r, newPhone(t, leg.SRTP), leg
}

// Lengths of identifiers, ours and the peer's.
var identifierLengths = [][2]int{{1, 1}, {4, 4}, {0, 4}, {4, 0}, {3, 7}, {MaxMKI, MaxMKI}}

func eachIdentifier(t *testing.T, f func(t *testing.T, p Profile, local, remote []byte)) {
	eachProfile(t, func(t *testing.T, p Profile) {
		for _, n := range identifierLengths {
			local, remote := bytes.Repeat([]byte{0xa1}, n[0]), bytes.Repeat([]byte{0xb2}, n[1])
			t.Run(fmt.Sprintf("%d and %d bytes", n[0], n[1]), func(t *testing.T) { f(t, p, local, remote) })
		}
	})
}

// The peer is the library, which has identifiers of its own making: RTP over the wrap
// and RTCP, both ways.
func TestIdentifiersOnTheWire(t *testing.T) {
	eachIdentifier(t, func(t *testing.T, p Profile, local, remote []byte) {
		r, phone, _ := identified(t, p, local, remote)
		for i := range 200 {
			in, back := talk(i+65400, 7), talk(i+65400, 8)
			r.in(Pool, phone.protect(in.bytes()))
			r.in(Gateway, back.bytes())
			toGateway, toPool := r.out(Gateway), r.out(Pool)
			if len(toGateway) != 1 || len(toPool) != 1 {
				t.Fatalf("packet %d: %d and %d sent; drops %v", i, len(toGateway), len(toPool), r.drops(Pool))
			}
			if !bytes.Equal(read(t, toGateway[0]).body, in.body) || !bytes.Equal(read(t, phone.unprotect(toPool[0])).body, back.body) {
				t.Fatalf("packet %d changed", i)
			}
			if !bytes.Contains(toPool[0], local) {
				t.Fatal("our identifier is missing")
			}
		}
		for range 3 {
			r.b.halves[Pool].sendReport(r.now, false)
			r.inRTCP(Pool, phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone")))
		}
		for _, b := range r.outRTCP(Pool) {
			if _, err := rtcp.Unmarshal(phone.unprotectRTCP(b)); err != nil {
				t.Error(err)
			}
		}
		if d := r.drops(Pool); len(d) != 0 {
			t.Errorf("drops %v", d)
		}
	})
}

// Every bit of a packet with an identifier matters: those of the identifier by its
// name. Nothing is learned of what was touched, or cut short.
func TestFlippedBitsWithIdentifier(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		mki := []byte{0xb2, 0x6e, 0x05}
		r, phone, _ := identified(t, p, nil, mki)
		short := talk(100, 7)
		short.body = short.body[:20]
		good := phone.protect(short.bytes())
		report := appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: r.b.halves[Pool].out.ssrc})
		goodRTCP := phone.protectRTCP(appendCNAME(report, 7, "phone"))
		within := func(b []byte, trailer, i int) bool {
			at := len(b) - trailer - len(mki)
			return i >= at && i < at+len(mki)
		}
		touched, named := 0, uint64(0)
		for _, packet := range []struct {
			b       []byte
			trailer int
			in      func(Side, []byte)
		}{{good, suites[p].rtpTrailer, r.in}, {goodRTCP, suites[p].rtcpTrailer, r.inRTCP}} {
			for i := range packet.b {
				for bit := range 8 {
					bad := bytes.Clone(packet.b)
					bad[i] ^= 1 << bit
					before := r.drops(Pool)["mki"]
					packet.in(Pool, bad)
					touched++
					by := r.drops(Pool)["mki"] - before
					if within(packet.b, packet.trailer, i) != (by == 1) && i >= fixedHeader {
						t.Errorf("byte %d of %d: mki counted %d", i, len(packet.b), by)
					}
					named += by
				}
			}
			for n := range packet.b {
				packet.in(Pool, packet.b[:n])
				touched++
			}
		}
		if out := r.out(Gateway); out != nil {
			t.Fatalf("%d touched packets passed", len(out))
		}
		var counted uint64
		for name, n := range r.drops(Pool) {
			if !slices.Contains([]string{"authentication", "mki", "version", "short", "malformed", "rtcp_on_rtp_port", "rtp_on_rtcp_port"}, name) {
				t.Errorf("%d dropped as %s", n, name)
			}
			counted += n
		}
		if counted != uint64(touched) || named < 48 {
			t.Errorf("%d drops counted for %d packets, %d by the identifier", counted, touched, named)
		}
		untouched(t, r)
		r.in(Pool, good)
		r.inRTCP(Pool, goodRTCP)
		if len(r.out(Gateway)) != 1 || !r.b.halves[Pool].far.reported {
			t.Errorf("the packets themselves do not pass: %v", r.drops(Pool))
		}
	})
}

// A packet without the identifier, or with another, is no packet of this key's,
// whatever its tag says; and one with an identifier where there is none is not either.
func TestMissingIdentifier(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, _, leg := identified(t, p, nil, []byte{0, 0, 0, 7})
		for i, mki := range [][]byte{nil, {0, 0, 0, 8}, {7}, {0, 0, 0, 0, 7}} {
			other := *leg.SRTP
			other.RemoteMKI = mki
			phone := newPhone(t, &other)
			r.in(Pool, phone.protect(talk(1, 7).bytes()))
			r.inRTCP(Pool, phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone")))
			// Four bytes of a longer identifier may be the right ones, where it
			// stands at the end: then it is the tag that is wrong.
			if d := r.drops(Pool); d["mki"]+d["authentication"] != uint64(2*(i+1)) || d["mki"] < uint64(min(2*(i+1), 6)) {
				t.Errorf("identifier %x: drops %v", mki, d)
			}
		}
		untouched(t, r)

		r, phone := secured(t, p)
		with := *secureLeg(Pool, p).SRTP
		with.RemoteMKI = []byte{0, 0, 0, 7}
		r.in(Pool, newPhone(t, &with).protect(talk(1, 7).bytes()))
		if err := sameDrops(r.drops(Pool), "authentication"); err != nil {
			t.Error(err)
		}
		r.in(Pool, phone.protect(talk(1, 7).bytes()))
		if len(r.out(Gateway)) != 1 {
			t.Error("the packet without does not pass")
		}
	})
}

// A peer may change its identifier, or begin with one, and keep its key: what it sent
// before can't be replayed, and what we send goes on.
func TestIdentifierChanges(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone, leg := identified(t, p, nil, nil)
		var sent [][]byte
		pass := func(n int) {
			t.Helper()
			for range n {
				i := len(sent)
				sent = append(sent, phone.protect(talk(i, 7).bytes()))
				r.in(Pool, bytes.Clone(sent[i]))
				if len(r.out(Gateway)) != 1 {
					t.Fatalf("packet %d does not pass: %v", i, r.drops(Pool))
				}
			}
		}
		pass(10)
		ssrc := r.b.halves[Pool].out.ssrc
		for _, n := range []int{4, 1, 0, 2} {
			mki := bytes.Repeat([]byte{byte(n)}, n)
			keys := *leg.SRTP
			keys.RemoteMKI = mki
			leg.SRTP = &keys
			r.set(Pool, leg)
			// The library's peer starts over with its counter, which is still zero.
			phone.send = newPhone(t, leg.SRTP).send
			pass(10)
			for _, b := range sent[len(sent)-10:] {
				r.in(Pool, bytes.Clone(b))
			}
			if d := r.drops(Pool); d["replay"] == 0 || r.out(Gateway) != nil {
				t.Errorf("identifier of %d bytes: drops %v", n, d)
			}
		}
		again := newPhone(t, leg.SRTP) // the first packets, as they would be with the identifier of now
		for i := range 10 {
			r.in(Pool, again.protect(talk(i, 7).bytes()))
		}
		if r.out(Gateway) != nil {
			t.Error("packets of before the identifier are taken again with it")
		}
		if r.b.halves[Pool].out.ssrc != ssrc {
			t.Error("our stream changed")
		}
	})
}

// Ours may change, too, under the same key; the stream goes on.
func TestOwnIdentifierChanges(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone, leg := identified(t, p, nil, nil)
		r.in(Gateway, talk(1, 8).bytes())
		phone.unprotect(r.out(Pool)[0])
		keys := *leg.SRTP
		keys.LocalMKI = []byte{1, 2}
		leg.SRTP = &keys
		r.set(Pool, leg)
		r.in(Gateway, talk(2, 8).bytes())
		out := newPhone(t, leg.SRTP).unprotect(r.out(Pool)[0])
		if got := read(t, out); got.ssrc != r.b.halves[Pool].out.ssrc || r.outRTCP(Pool) != nil {
			t.Error("the stream was replaced")
		}
	})
}

// The longest datagram that we take leaves no room for a long identifier: it is
// dropped by name, and the call goes on.
func TestNoRoomForIdentifier(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone, _ := identified(t, p, make([]byte, MaxMKI), nil)
		long := talk(1, 8)
		long.body = make([]byte, pkt.MaxDatagram-fixedHeader)
		for n := len(long.body); n > 1900; n -= 7 {
			long.sequence++
			long.body = long.body[:n]
			r.in(Gateway, long.bytes())
			for _, b := range r.out(Pool) {
				if got := read(t, phone.unprotect(b)); len(got.body) != n {
					t.Fatalf("%d bytes became %d", n, len(got.body))
				}
			}
		}
		if d := r.drops(Pool); d["protect"] == 0 {
			t.Errorf("drops %v", d)
		}
		r.in(Gateway, talk(int(long.sequence)+1, 8).bytes())
		if out := r.out(Pool); len(out) != 1 {
			t.Errorf("%d packets after it", len(out))
		}
	})
}

// A peer's key is good for as many packets as the peer said, of RTP and of RTCP each,
// and what comes then is dropped by name until there is another key.
func TestLifetime(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r := newRig(t)
		leg := secureLeg(Pool, p)
		leg.SRTP.RemoteLifetime = 20
		r.set(Pool, leg)
		r.set(Gateway, plainLeg(Gateway))
		phone := newPhone(t, leg.SRTP)
		report := func() []byte {
			return phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone"))
		}
		// What is forged or sent twice uses nothing up.
		first := phone.protect(talk(0, 7).bytes())
		r.in(Pool, bytes.Clone(first))
		for range 30 {
			r.in(Pool, bytes.Clone(first))
			r.in(Pool, talk(1, 7).bytes())
		}
		for i := 1; i < 25; i++ {
			r.in(Pool, phone.protect(talk(i, 7).bytes()))
		}
		if n := len(r.out(Gateway)); n != 20 || r.drops(Pool)["key_expired"] != 5 {
			t.Errorf("%d passed; drops %v", n, r.drops(Pool))
		}
		for range 25 {
			r.inRTCP(Pool, report())
		}
		if d := r.drops(Pool)["key_expired"]; d != 10 {
			t.Errorf("%d dropped, of RTCP too", d)
		}
		r.set(Pool, leg) // the same key again is no new one
		r.in(Pool, phone.protect(talk(25, 7).bytes()))
		if r.out(Gateway) != nil {
			t.Error("a used up key is good again")
		}
		leg.SRTP = &SRTP{Profile: p, Local: leg.SRTP.Local, Remote: key(p, 55)}
		r.set(Pool, leg)
		phone = newPhone(t, leg.SRTP)
		r.in(Pool, phone.protect(talk(26, 7).bytes()))
		if len(r.out(Gateway)) != 1 {
			t.Errorf("the new key is not good: %v", r.drops(Pool))
		}
	})
}

// Nothing is sent under a key that was used for all of its packets (RFC 3711 section
// 9.2): the rollover counter does not wrap, nor does the index of RTCP.
func TestOwnKeyIsUsedUp(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, _ := secured(t, p)
		h := &r.b.halves[Pool]
		h.out.lastSequence = 65_533
		h.seal.ctx.SetROC(h.out.ssrc, 1<<32-1)
		sent := 0
		for i := range 10 {
			r.in(Gateway, talk(i, 8).bytes())
			sent += len(r.out(Pool))
		}
		if sent != 2 || r.drops(Pool)["protect"] != 8 {
			t.Errorf("%d sent; drops %v", sent, r.drops(Pool))
		}
		h.seal.ctx.SetIndex(h.out.ssrc, 1<<31-2)
		for range 3 {
			h.sendReport(r.now, false)
		}
		if n := len(r.outRTCP(Pool)); n != 1 {
			t.Errorf("%d reports sent, want one", n)
		}
	})
}

// A new key of ours ends the old stream: its BYE goes out under the old key, to where
// the peer is now; and one that nothing was ever sent of ends without a word.
func TestGoodbyeOfTheOldStream(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, _ := secured(t, p)
		leg := secureLeg(Pool, p)
		leg.SRTP.Local = key(p, 90)
		r.set(Pool, leg)
		if r.outRTCP(Pool) != nil {
			t.Error("a stream that never was is said to end")
		}
		phone := newPhone(t, leg.SRTP)
		r.in(Gateway, talk(1, 8).bytes())
		before := r.b.halves[Pool].out.ssrc
		leg.SRTP = &SRTP{Profile: p, Local: key(p, 91), Remote: leg.SRTP.Remote}
		r.set(Pool, leg)
		out := r.outRTCP(Pool)
		if len(out) != 1 {
			t.Fatalf("%d reports, want one", len(out))
		}
		list, err := rtcp.Unmarshal(phone.unprotectRTCP(out[0]))
		if err != nil {
			t.Fatal(err)
		}
		bye, ok := list[len(list)-1].(*rtcp.Goodbye)
		if !ok || len(bye.Sources) != 1 || bye.Sources[0] != before || r.b.halves[Pool].out.ssrc == before {
			t.Errorf("%v, of %d", list, before)
		}
		r.set(Pool, leg) // no change
		if r.outRTCP(Pool) != nil {
			t.Error("goodbye without a change")
		}
	})
}

// A leg that was plain and gets keys says goodbye to the plain stream as it was heard.
func TestGoodbyeOfThePlainStream(t *testing.T) {
	r := newRig(t)
	r.set(Pool, plainLeg(Pool))
	r.set(Gateway, plainLeg(Gateway))
	r.in(Gateway, talk(1, 8).bytes())
	before := r.b.halves[Pool].out.ssrc
	r.set(Pool, secureLeg(Pool, AES256_GCM))
	out := r.outRTCP(Pool)
	if len(out) != 1 {
		t.Fatalf("%d reports", len(out))
	}
	if list, err := rtcp.Unmarshal(out[0]); err != nil || list[len(list)-1].(*rtcp.Goodbye).Sources[0] != before {
		t.Errorf("%v %v", list, err)
	}
}

// A peer that was silent from the change of its key on may count either way when it
// speaks again, hours later and over the wrap. Once it has spoken the other way is
// closed; and RTCP that was there already is a replay whichever it was.
func TestSilenceOverTheChangeOfKey(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		for name, rollover := range map[string]uint32{"counting on": 3, "over the wrap": 4, "from zero": 0} {
			t.Run(name, func(t *testing.T) {
				r, phone := secured(t, p)
				phone.send.SetROC(7, 2) // as after an hour
				now := r.b.halves[Pool].open.now
				now.ctx.SetROC(7, 2)
				now.rtpSSRC, now.last = 1, 7
				for _, i := range []int{65_000, 65_400, 300, 60_000 - 32_768, 60_000} {
					r.in(Pool, phone.protect(talk(i, 7).bytes()))
				}
				if d := r.drops(Pool); d["authentication"] != 0 {
					t.Fatalf("drops %v", d)
				}
				leg := secureLeg(Pool, p)
				leg.SRTP.Remote = key(p, 70)
				r.set(Pool, leg)
				next := newPhone(t, leg.SRTP)
				early := next.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone"))
				r.inRTCP(Pool, bytes.Clone(early))
				r.now = r.now.Add(3 * time.Hour)
				sequence := 60_001
				if rollover != 3 {
					sequence = 60_010 + 20_000 // over the wrap
				}
				// Forgeries and packets of either other count don't close anything.
				for _, other := range []uint32{1, 2, 7} {
					forger := newPhone(t, leg.SRTP)
					forger.send.SetROC(7, other)
					r.in(Pool, forger.protect(talk(sequence+5, 7).bytes()))
				}
				r.in(Pool, talk(sequence+5, 7).bytes())
				r.out(Gateway)
				before := r.drops(Pool)["authentication"]
				next.send.SetROC(7, rollover)
				passed := 0
				for i := range 5 {
					r.in(Pool, next.protect(talk(sequence+i, 7).bytes()))
					passed += len(r.out(Gateway))
				}
				if d := r.drops(Pool); passed < 4 || d["authentication"] != before {
					t.Errorf("%d passed; drops %v", passed, d)
				}
				if r.b.halves[Pool].open.now.goesOn.open {
					t.Error("the count is still open")
				}
				was := r.drops(Pool)["replay"]
				r.inRTCP(Pool, early)
				if r.drops(Pool)["replay"] != was+1 {
					t.Errorf("RTCP of before is taken again: %v", r.drops(Pool))
				}
			})
		}
	})
}
