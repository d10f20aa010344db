package media

import (
	"bytes"
	"testing"
	"time"

	"causeway/codec/g711"
)

// bothSet is a rig whose legs are plain and carry everything.
func bothSet(t testing.TB) *rig {
	r := newRig(t)
	r.set(Pool, plainLeg(Pool))
	r.set(Gateway, plainLeg(Gateway))
	return r
}

func TestPassesBothWays(t *testing.T) {
	for _, s := range []Side{Pool, Gateway} {
		r := bothSet(t)
		var last rtpPacket
		for i := range 5 {
			in := talk(i, 7)
			in.marker = i == 3
			r.in(s, in.bytes())
			out := r.out(s.other())
			if len(out) != 1 {
				t.Fatalf("%v: %d packets sent for one", s, len(out))
			}
			got := read(t, out[0])
			if !bytes.Equal(got.body, in.body) || got.payload != in.payload {
				t.Fatalf("%v: payload changed", s)
			}
			if got.marker != (i == 0 || i == 3) {
				t.Errorf("%v: packet %d has marker %v", s, i, got.marker)
			}
			if i > 0 && (got.ssrc != last.ssrc || got.sequence != last.sequence+1 || got.timestamp != last.timestamp+frame) {
				t.Errorf("%v: %+v doesn't follow %+v", s, got, last)
			}
			if got.ssrc == in.ssrc || got.sequence >= 1<<15 {
				t.Errorf("%v: not a stream of our own: %+v", s, got)
			}
			last = got
		}
		if to := r.port(s.other()).to; to != peerOf(s.other()) {
			t.Errorf("%v: sent to %v", s, to)
		}
		if r.port(s).n != 0 {
			t.Errorf("%v: sent back where it came from", s)
		}
	}
}

// Nobody can guess where a stream starts, and its first packets may be lost under
// SRTP without the receiver counting wrong.
func TestStreamsStartAnywhereInTheLowerHalf(t *testing.T) {
	starts := map[uint16]bool{}
	for range 40 {
		r := bothSet(t)
		r.in(Pool, talk(1, 7).bytes())
		p := read(t, r.out(Gateway)[0])
		if p.sequence > 1<<15 || p.ssrc == 0 {
			t.Errorf("starts with %d of %d", p.sequence, p.ssrc)
		}
		starts[p.sequence] = true
	}
	if len(starts) < 30 {
		t.Errorf("40 streams have %d beginnings", len(starts))
	}
}

// Whatever the header carries beside the fixed part is between us and the peer:
// the other side gets the payload.
func TestHeaderExtrasAreTakenOff(t *testing.T) {
	body := []byte("payload")
	for name, extra := range map[string]struct {
		first byte
		b     []byte
	}{
		"CSRC":      {0x82, append([]byte{0, 0, 0, 1, 0, 0, 0, 2}, body...)},
		"extension": {0x90, append([]byte{0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0}, body...)},
		"padding":   {0xa0, append(bytes.Clone(body), 0, 0, 3)},
		"all":       {0xb1, append(append([]byte{0, 0, 0, 1, 0x12, 0x34, 0, 0}, body...), 9, 9, 9, 4)},
	} {
		r := bothSet(t)
		p := talk(1, 7)
		p.first, p.body = extra.first, extra.b
		r.in(Pool, p.bytes())
		out := r.out(Gateway)
		if len(out) != 1 || !bytes.Equal(read(t, out[0]).body, body) {
			t.Errorf("%s: sent %x", name, out)
		}
		if st := r.b.Stats()[Pool]; st.Receive.Bytes != uint64(len(body)) {
			t.Errorf("%s: %d payload bytes counted", name, st.Receive.Bytes)
		}
	}
}

func TestPayloadMapping(t *testing.T) {
	type want struct {
		payload byte
		convert func([]byte)
		drop    string
	}
	same := func([]byte) {}
	for _, tt := range []struct {
		name    string
		receive []Payload
		send    []Payload
		in      byte
		want    want
	}{
		{"same kind and number", []Payload{{0, PCMU}}, []Payload{{0, PCMU}}, 0, want{0, same, ""}},
		{"same kind, the peer's number", []Payload{{96, PCMA}}, []Payload{{0, PCMU}, {8, PCMA}}, 96, want{8, same, ""}},
		{"mu to A", []Payload{{0, PCMU}}, []Payload{{8, PCMA}}, 0, want{8, g711.PCMUToPCMA, ""}},
		{"A to mu", []Payload{{8, PCMA}}, []Payload{{101, Event}, {0, PCMU}}, 8, want{0, g711.PCMAToPCMU, ""}},
		{"event", []Payload{{101, Event}}, []Payload{{0, PCMU}, {97, Event}}, 101, want{97, same, ""}},
		{"comfort noise", []Payload{{13, CN}}, []Payload{{13, CN}}, 13, want{13, same, ""}},
		{"event where there is none", []Payload{{101, Event}}, []Payload{{0, PCMU}}, 101, want{drop: "no_event_kind"}},
		{"comfort noise where there is none", []Payload{{13, CN}}, []Payload{{0, PCMU}}, 13, want{drop: "no_cn_kind"}},
		{"audio where there is none", []Payload{{0, PCMU}}, []Payload{{101, Event}}, 0, want{drop: "no_audio_kind"}},
		{"first of two numbers", []Payload{{0, PCMU}}, []Payload{{96, PCMU}, {0, PCMU}}, 0, want{96, same, ""}},
		{"a number that RTCP has with the marker", []Payload{{72, PCMU}}, []Payload{{0, PCMU}}, 72, want{0, same, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			pool, gateway := plainLeg(Pool), plainLeg(Gateway)
			pool.Receive, gateway.Send = tt.receive, tt.send
			r.set(Pool, pool)
			r.set(Gateway, gateway)
			p := talk(1, 7)
			p.payload, p.marker = tt.in, true
			r.in(Pool, p.bytes())
			out := r.out(Gateway)
			if tt.want.drop != "" {
				if err := sameDrops(r.drops(Gateway), tt.want.drop); err != nil || out != nil {
					t.Errorf("%v; sent %x", err, out)
				}
				return
			}
			if len(out) != 1 {
				t.Fatalf("sent %d packets; drops %v", len(out), r.drops(Pool))
			}
			body := speech(1)
			tt.want.convert(body)
			if got := read(t, out[0]); got.payload != tt.want.payload || !bytes.Equal(got.body, body) {
				t.Errorf("sent payload type %d, %x", got.payload, got.body[:8])
			}
		})
	}
}

// A packet that the far end has no payload type for must not look lost there.
func TestGapOfUnmappedIsClosed(t *testing.T) {
	r := newRig(t)
	r.set(Pool, plainLeg(Pool))
	gateway := plainLeg(Gateway)
	gateway.Send = []Payload{{0, PCMU}}
	r.set(Gateway, gateway)
	send := func(i int, payload byte) {
		p := talk(i, 7)
		p.payload = payload
		r.in(Pool, p.bytes())
	}
	for i := 10; i < 20; i++ {
		payload := byte(0)
		if i >= 13 && i < 16 {
			payload = 101
		}
		send(i, payload)
	}
	out := r.out(Gateway)
	if len(out) != 7 {
		t.Fatalf("%d packets sent", len(out))
	}
	first := read(t, out[0])
	for i, b := range out {
		p := read(t, b)
		if p.sequence != first.sequence+uint16(i) {
			t.Errorf("packet %d has number %d, want %d", i, p.sequence-first.sequence, i)
		}
		in := 10 + i
		if i >= 3 {
			in += 3
		}
		if p.timestamp != first.timestamp+uint32((in-10)*frame) {
			t.Errorf("packet %d is %d ticks in", i, p.timestamp-first.timestamp)
		}
		if p.marker != (i == 0) {
			t.Errorf("packet %d has marker %v", i, p.marker)
		}
	}
	// Its neighbours are out, so one that comes late has no number left.
	send(21, 0)
	send(23, 101)
	send(22, 0)
	if err := sameDrops(r.drops(Pool), "late"); err != nil {
		t.Error(err)
	}
}

// A stream that starts over with a packet that the far end doesn't take is joined
// at the next one that it does.
func TestRestartWithUnmapped(t *testing.T) {
	r := newRig(t)
	r.set(Pool, plainLeg(Pool))
	gateway := plainLeg(Gateway)
	gateway.Send = []Payload{{0, PCMU}}
	r.set(Gateway, gateway)
	for i := range 3 {
		r.in(Pool, talk(i, 7).bytes())
	}
	for i := range 4 { // another source, whose second packet ends its probation
		p := talk(30_000+i, 9)
		if i < 2 {
			p.payload = 101
		}
		r.in(Pool, p.bytes())
	}
	out := r.out(Gateway)
	if len(out) != 5 {
		t.Fatalf("%d packets sent; drops %v %v", len(out), r.drops(Pool), r.drops(Gateway))
	}
	first := read(t, out[0])
	for i, b := range out {
		if p := read(t, b); p.sequence != first.sequence+uint16(i) || p.marker != (i == 0 || i == 3) {
			t.Errorf("packet %d is %+d, marker %v", i, p.sequence-first.sequence, p.marker)
		}
	}
}

// The named drops, one by one. Nothing of a dropped packet may be counted as
// received, unless the reason says that it was.
func TestNamedDrops(t *testing.T) {
	good := talk(5, 7).bytes()
	with := func(f func(p *rtpPacket)) []byte {
		p := talk(5, 7)
		f(&p)
		return p.bytes()
	}
	receiverReport := appendCNAME(appendReport(nil, 9, nil, nil), 9, "x")
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "short"},
		{"one byte", good[:1], "short"},
		{"eleven bytes", good[:11], "short"},
		{"version 0", with(func(p *rtpPacket) { p.first = 0x01 }), "version"},
		{"version 1", with(func(p *rtpPacket) { p.first = 0x40 }), "version"},
		{"version 3", with(func(p *rtpPacket) { p.first = 0xc0 }), "version"},
		{"STUN", append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...), "version"},
		{"DTLS", append([]byte{22, 254, 253}, make([]byte, 20)...), "version"},
		{"CSRCs that are not there", with(func(p *rtpPacket) { p.first, p.body = 0x8f, p.body[:59] }), "malformed"},
		{"no room for an extension", with(func(p *rtpPacket) { p.first, p.body = 0x90, p.body[:3] }), "malformed"},
		{"an extension that is not there", with(func(p *rtpPacket) { p.first, p.body = 0x90, []byte{1, 2, 0, 2, 0, 0, 0} }), "malformed"},
		{"a huge extension", with(func(p *rtpPacket) { p.first, p.body = 0x90, []byte{1, 2, 0xff, 0xff} }), "malformed"},
		{"padding of nothing", with(func(p *rtpPacket) { p.first, p.body = 0xa0, nil }), "malformed"},
		{"padding of zero", with(func(p *rtpPacket) { p.first, p.body = 0xa0, []byte{1, 2, 0} }), "malformed"},
		{"padding into the header", with(func(p *rtpPacket) { p.first, p.body = 0xa0, []byte{1, 2, 4} }), "malformed"},
		{"payload type of nobody", with(func(p *rtpPacket) { p.payload = 33 }), "payload_type"},
		{"RTCP", receiverReport, "rtcp_on_rtp_port"},
		{"short RTCP", receiverReport[:8], "rtcp_on_rtp_port"},
		{"too long", append(bytes.Clone(good), make([]byte, 2000)...), "oversized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bothSet(t)
			r.in(Pool, tt.data)
			if err := sameDrops(r.drops(Pool), tt.want); err != nil {
				t.Error(err)
			}
			if out := r.out(Gateway); out != nil {
				t.Errorf("sent %x", out)
			}
			if st := r.b.Stats()[Pool].Receive; st.Packets != 0 || st.SSRC != nil || st.Lost != nil || st.JitterMS != nil {
				t.Errorf("counted: %+v", st)
			}
			if _, ok := r.b.Active(Pool); ok {
				t.Error("a dropped packet is activity")
			}
			r.in(Pool, good)
			if len(r.out(Gateway)) != 1 {
				t.Error("the next packet does not pass")
			}
		})
	}
}

func TestNotSet(t *testing.T) {
	r := newRig(t)
	r.in(Pool, talk(1, 7).bytes())
	r.inRTCP(Pool, appendReport(nil, 9, nil, nil))
	if err := sameDrops(r.drops(Pool), "leg_not_set", "leg_not_set"); err != nil {
		t.Error(err)
	}
	r.set(Pool, plainLeg(Pool))
	r.in(Pool, talk(2, 7).bytes())
	if err := sameDrops(r.drops(Gateway), "no_destination"); err != nil {
		t.Error(err)
	}
	if st := r.b.Stats()[Pool].Receive; st.Packets != 1 {
		t.Errorf("%d packets received: what the peer sends counts before the other side is there", st.Packets)
	}
}

// Plain RTP is the peer's if it comes from the address that signalling gave, from
// whatever port.
func TestPlainSource(t *testing.T) {
	r := bothSet(t)
	moved := peerOf(Pool)
	r.deliver(r.port(Pool), talk(1, 7).bytes(), stranger1)
	if err := sameDrops(r.drops(Pool), "wrong_source"); err != nil {
		t.Error(err)
	}
	if r.out(Gateway) != nil || r.b.Stats()[Pool].Source.IsValid() {
		t.Error("a stranger's packet passed or was remembered")
	}
	moved = addrPort(moved.Addr(), 999)
	r.deliver(r.port(Pool), talk(2, 7).bytes(), moved)
	if len(r.out(Gateway)) != 1 || r.b.Stats()[Pool].Source != moved {
		t.Error("the peer's packet from another port did not pass")
	}
	r.in(Gateway, talk(1, 8).bytes())
	if to := r.port(Pool).to; to != peerOf(Pool) {
		t.Errorf("media goes to %v, where a packet came from, and not where signalling said", to)
	}
}

// What we send and get back is an echo; passing it on could go round for ever.
func TestOwnStreamComingBack(t *testing.T) {
	r := bothSet(t)
	r.in(Pool, talk(1, 7).bytes())
	echo := r.out(Gateway)[0]
	r.in(Gateway, echo)
	if err := sameDrops(r.drops(Gateway), "own_ssrc"); err != nil {
		t.Error(err)
	}
	if r.out(Pool) != nil || r.b.Stats()[Gateway].Receive.Packets != 0 {
		t.Error("an echo passed or was counted")
	}
	r.b.halves[Gateway].sendReport(r.now, false)
	r.inRTCP(Gateway, r.outRTCP(Gateway)[0])
	if err := sameDrops(r.drops(Gateway), "own_ssrc", "own_ssrc"); err != nil {
		t.Error(err)
	}
}

func TestHold(t *testing.T) {
	r := bothSet(t)
	i := 1
	next := func() []byte {
		i++
		r.now = r.now.Add(20 * time.Millisecond)
		return talk(i, 7).bytes()
	}
	r.in(Pool, next())
	before := read(t, r.out(Gateway)[0])
	for n, hold := range []string{"", "0.0.0.0:4000"} {
		leg := plainLeg(Gateway)
		leg.Remote = parse(hold)
		r.set(Gateway, leg)
		for range 100 {
			r.in(Pool, next())
		}
		if r.out(Gateway) != nil {
			t.Fatal("sent to a peer on hold")
		}
		r.in(Gateway, talk(1+n, 8).bytes()) // music
		if len(r.out(Pool)) != 1 {
			t.Fatal("a peer on hold is not heard")
		}
		r.set(Gateway, plainLeg(Gateway))
		r.in(Pool, next())
		after := read(t, r.out(Gateway)[0])
		if after.sequence != before.sequence+1 || after.ssrc != before.ssrc || !after.marker {
			t.Errorf("%+v does not follow %+v", after, before)
		}
		if got := after.timestamp - before.timestamp; got != 101*frame {
			t.Errorf("the timestamp moved on by %d, want the time that passed", got)
		}
		before = after
	}
}
