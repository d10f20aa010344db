package media

import (
	"bytes"
	"testing"
)

// secured is a rig whose pool side is protected, with the phone there.
func secured(t testing.TB, p Profile) (*rig, *phone) {
	r := newRig(t)
	leg := secureLeg(Pool, p)
	r.set(Pool, leg)
	r.set(Gateway, plainLeg(Gateway))
	return r, newPhone(t, leg.SRTP)
}

func eachProfile(t *testing.T, f func(t *testing.T, p Profile)) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func TestProfiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		p      Profile
		keyLen int
	}{
		{"AES_CM_128_HMAC_SHA1_80", AES128_CM_80, 30},
		{"AES_CM_128_HMAC_SHA1_32", AES128_CM_32, 30},
		{"AEAD_AES_128_GCM", AES128_GCM, 28},
		{"AEAD_AES_256_GCM", AES256_GCM, 44},
		{"AES_256_CM_HMAC_SHA1_80", AES256_CM_80, 46},
	} {
		if got, ok := ParseProfile(tt.name); !ok || got != tt.p {
			t.Errorf("ParseProfile(%q) = %v, %v", tt.name, got, ok)
		}
		if tt.p.String() != tt.name || tt.p.KeyLen() != tt.keyLen {
			t.Errorf("%q with %d bytes, want %q with %d", tt.p, tt.p.KeyLen(), tt.name, tt.keyLen)
		}
	}
	for _, name := range []string{"", "aes_cm_128_hmac_sha1_80", "AES_192_CM_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80"} {
		if got, ok := ParseProfile(name); ok {
			t.Errorf("ParseProfile(%q) = %v", name, got)
		}
	}
	if got, ok := ParseProfile("AES_CM_256_HMAC_SHA1_80"); !ok || got != AES256_CM_80 {
		t.Errorf("the name of the drafts is %v, %v", got, ok)
	}
	if Profile(0).KeyLen() != 0 || Profile(99).String() != "" {
		t.Error("an unknown profile has a name or a length")
	}
}

func TestBridgesProtectedAndPlain(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		for i := range 300 {
			in := talk(i+65400, 7) // over the wrap of the sequence
			r.in(Pool, phone.protect(in.bytes()))
			out := r.out(Gateway)
			if len(out) != 1 || !bytes.Equal(read(t, out[0]).body, in.body) {
				t.Fatalf("packet %d toward the gateway: %x; drops %v", i, out, r.drops(Pool))
			}
			back := talk(i+65400, 8)
			r.in(Gateway, back.bytes())
			out = r.out(Pool)
			if len(out) != 1 || bytes.Contains(out[0], back.body[:16]) {
				t.Fatalf("packet %d toward the pool is not protected", i)
			}
			if !bytes.Equal(read(t, phone.unprotect(out[0])).body, back.body) {
				t.Fatalf("packet %d toward the pool changed", i)
			}
		}
		st := r.b.Stats()
		if st[Pool].SRTP != p.String() || st[Gateway].SRTP != "" || *st[Pool].Receive.Lost != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// Over the end of the sequence the rollover counter goes up, on both sides.
func TestRollover(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		const first = 65_000
		r.b.halves[Pool].out.lastSequence = first
		for i := first; i < first+1200; i++ {
			r.in(Pool, phone.protect(talk(i, 7).bytes()))
			r.in(Gateway, talk(i, 8).bytes())
			toGateway, toPool := r.out(Gateway), r.out(Pool)
			if len(toGateway) != 1 || len(toPool) != 1 {
				t.Fatalf("packet %d: %d and %d sent; drops %v", i, len(toGateway), len(toPool), r.drops(Pool))
			}
			phone.unprotect(toPool[0])
		}
		if roc, _ := phone.recv.ROC(r.b.halves[Pool].out.ssrc); roc != 1 {
			t.Errorf("rollover counter toward the pool is %d", roc)
		}
	})
}

// Every bit of a protected packet matters, and nothing is learned from one that
// was touched.
func TestFlippedBits(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		good := phone.protect(talk(100, 7).bytes())
		for i := range good {
			for bit := range 8 {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << bit
				r.in(Pool, bad)
			}
		}
		if out := r.out(Gateway); out != nil {
			t.Fatalf("%d touched packets passed", len(out))
		}
		var counted uint64
		for name, n := range r.drops(Pool) {
			switch name {
			case "authentication", "version", "short", "malformed", "rtcp_on_rtp_port":
				counted += n
			default:
				t.Errorf("%d dropped as %s", n, name)
			}
		}
		if counted != uint64(8*len(good)) {
			t.Errorf("%d drops counted for %d packets", counted, 8*len(good))
		}
		untouched(t, r)
		r.in(Pool, good)
		if len(r.out(Gateway)) != 1 {
			t.Errorf("the packet itself does not pass: %v", r.drops(Pool))
		}
	})
}

// untouched checks that the pool side has learned nothing yet.
func untouched(t *testing.T, r *rig) {
	t.Helper()
	h := &r.b.halves[Pool]
	if h.in != (reception{}) || h.heard.IsValid() || h.codec != 0 || h.active.Load() != 0 || h.far != (farEnd{}) || h.reports.peer {
		t.Errorf("something was learned: %+v, heard %v, far %+v", h.in, h.heard, h.far)
	}
	if h.open.now.rtpSSRC != 0 || h.open.now.rtcpSSRC != 0 {
		t.Error("a source is remembered")
	}
	for ssrc := range uint32(1000) {
		if _, ok := h.open.now.ctx.ROC(ssrc); ok {
			t.Errorf("state is kept for source %d", ssrc)
		}
		if _, ok := h.open.now.ctx.Index(ssrc); ok {
			t.Errorf("RTCP state is kept for source %d", ssrc)
		}
	}
}

func TestFlippedBitsOfRTCP(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		report := appendReport(nil, 7, &senderReport{ntp: 1 << 40}, &reportBlock{ssrc: r.b.halves[Pool].out.ssrc, lost: 3})
		good := phone.protectRTCP(appendCNAME(report, 7, "phone"))
		for i := range good {
			for bit := range 8 {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << bit
				r.inRTCP(Pool, bad)
			}
		}
		var counted uint64
		for name, n := range r.drops(Pool) {
			switch name {
			case "authentication", "version", "rtp_on_rtcp_port":
				counted += n
			default:
				t.Errorf("%d dropped as %s", n, name)
			}
		}
		if counted != uint64(8*len(good)) {
			t.Errorf("%d drops counted for %d packets", counted, 8*len(good))
		}
		untouched(t, r)
		r.inRTCP(Pool, good)
		if !r.b.halves[Pool].far.reported {
			t.Errorf("the packet itself does not pass: %v", r.drops(Pool))
		}
		r.inRTCP(Pool, good)
		if got := r.drops(Pool)["replay"]; got != 1 {
			t.Errorf("%d replays counted for one", got)
		}
	})
}

// Truncated, and so without (all of) its tag.
func TestTruncatedProtectedPackets(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		good := phone.protect(talk(100, 7).bytes())
		goodRTCP := phone.protectRTCP(appendCNAME(appendReport(nil, 7, nil, nil), 7, "phone"))
		for n := range good {
			r.in(Pool, good[:n])
		}
		for n := range goodRTCP {
			r.inRTCP(Pool, goodRTCP[:n])
		}
		var counted uint64
		for name, n := range r.drops(Pool) {
			if name != "short" && name != "authentication" {
				t.Errorf("%d dropped as %s", n, name)
			}
			counted += n
		}
		if want := uint64(len(good) + len(goodRTCP)); counted != want {
			t.Errorf("%d drops, want %d", counted, want)
		}
		untouched(t, r)
	})
}

func TestReplay(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		var sent [][]byte
		for i := range 300 {
			sent = append(sent, phone.protect(talk(i, 7).bytes()))
			r.in(Pool, bytes.Clone(sent[i]))
		}
		if n := len(r.out(Gateway)); n != 300 {
			t.Fatalf("%d passed", n)
		}
		received := r.b.Stats()[Pool].Receive.Packets
		for _, b := range sent {
			r.in(Pool, b)
		}
		if r.out(Gateway) != nil {
			t.Error("a replayed packet passed")
		}
		if got := r.drops(Pool)["replay"]; got != 300 {
			t.Errorf("drops %v", r.drops(Pool))
		}
		if got := r.b.Stats()[Pool].Receive.Packets; got != received {
			t.Error("replayed packets count as received")
		}
	})
}

// The keys of the peer open its packets from wherever they come; a plain packet
// from its address is nobody's.
func TestProtectedLegTakesNoPlainPacket(t *testing.T) {
	eachProfile(t, func(t *testing.T, p Profile) {
		r, phone := secured(t, p)
		r.in(Pool, talk(1, 7).bytes())
		if err := sameDrops(r.drops(Pool), "authentication"); err != nil {
			t.Error(err)
		}
		untouched(t, r)
		r.deliver(r.port(Pool), phone.protect(talk(2, 7).bytes()), stranger1)
		if len(r.out(Gateway)) != 1 {
			t.Error("a protected packet from another address does not pass")
		}
		if r.in(Gateway, talk(1, 8).bytes()); r.port(Pool).to != peerOf(Pool) {
			t.Error("an authenticated source moved where we send to")
		}
	})
}

func TestSourceLimit(t *testing.T) {
	r, phone := secured(t, AES128_CM_80)
	for ssrc := uint32(1000); ssrc < 1000+2*sourceLimit; ssrc++ {
		for i := range 2 {
			r.in(Pool, phone.protect(talk(i, ssrc).bytes()))
		}
		r.inRTCP(Pool, phone.protectRTCP(appendCNAME(appendReport(nil, ssrc, nil, nil), ssrc, "x")))
	}
	if got := r.drops(Pool)["ssrc_limit"]; got != 3*sourceLimit {
		t.Errorf("drops %v", r.drops(Pool))
	}
	h := &r.b.halves[Pool]
	if h.open.now.rtpSSRC != sourceLimit || h.open.now.rtcpSSRC != sourceLimit {
		t.Errorf("%d and %d sources remembered", h.open.now.rtpSSRC, h.open.now.rtcpSSRC)
	}
	// Sources that are known go on.
	r.out(Gateway)
	for i := 2; i < 5; i++ {
		r.in(Pool, phone.protect(talk(i, 1000).bytes()))
	}
	if n := len(r.out(Gateway)); n != 2 {
		t.Errorf("%d packets of a known source passed, want all but the one on probation", n)
	}
}

// What Cryptex (RFC 9335) makes of a header is refused by name, and so is an
// extension that the library can't read.
func TestUnreadableExtensions(t *testing.T) {
	r, phone := secured(t, AES128_CM_80)
	for _, body := range [][]byte{
		{0xc0, 0xde, 0, 1, 0x10, 1, 0, 0},
		{0xc2, 0xde, 0, 1, 1, 1, 1, 0},
		{0xbe, 0xde, 0, 1, 0x1f, 1, 0, 0},
	} {
		p := talk(1, 7)
		p.first, p.body = 0x90, append(body, p.body...)
		b := p.bytes()
		p.first = 0x80
		sealed := phone.protect(p.bytes())
		copy(sealed, b)
		r.in(Pool, sealed)
	}
	if err := sameDrops(r.drops(Pool), "malformed", "malformed", "malformed"); err != nil {
		t.Error(err)
	}
	untouched(t, r)
}

func TestKeyErrors(t *testing.T) {
	r := newRig(t)
	good := secureLeg(Pool, AES128_CM_80)
	for name, srtp := range map[string]SRTP{
		"no profile":      {Local: good.SRTP.Local, Remote: good.SRTP.Remote},
		"unknown profile": {Profile: 77, Local: good.SRTP.Local, Remote: good.SRTP.Remote},
		"short":           {Profile: AES128_CM_80, Local: good.SRTP.Local[:29], Remote: good.SRTP.Remote},
		"missing":         {Profile: AES128_CM_80, Local: good.SRTP.Local},
		"long for GCM":    {Profile: AES128_GCM, Local: good.SRTP.Local, Remote: good.SRTP.Remote},
		"the same twice":  {Profile: AES128_CM_80, Local: good.SRTP.Local, Remote: good.SRTP.Local},
		"long MKI":        {Profile: AES128_CM_80, Local: good.SRTP.Local, Remote: good.SRTP.Remote, LocalMKI: make([]byte, 129)},
	} {
		leg := good
		leg.SRTP = &srtp
		if err := r.b.Set(Pool, leg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	r.in(Pool, talk(1, 7).bytes())
	if err := sameDrops(r.drops(Pool), "leg_not_set"); err != nil {
		t.Errorf("a refused leg took effect: %v", err)
	}
}
