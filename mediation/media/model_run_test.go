package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
	"pgregory.net/rapid"

	"causeway/codec/g711"
)

// modelRun is a bridge and the model beside it, under one random call.
type modelRun struct {
	*rig
	rt      *rapid.T
	m       *model
	profile Profile

	pool, gateway Leg
	localKey      int // of the gateway's leg; 0 is plain
	far           map[int]*srtp.Context

	// The peer.
	contexts map[int]*srtp.Context
	sender   rtpPacket
	indices  map[uint32]int64 // where each of its sources is, under the key in use
	from     netip.AddrPort
	kept     [][2]any // packets that were protected: bytes and what they are

	// The stream that goes out, as the far end sees it.
	first   rtpPacket
	heard   bool
	ssrcs   map[uint32]bool
	highest int64
	digit   rtpPacket // the first packet of the event that is being played
	began   time.Time

	start time.Time
	story []string // what has happened, for whoever has to understand a failure
}

func (r *modelRun) tell(format string, args ...any) {
	r.story = append(r.story, fmt.Sprintf(format, args...))
}

func (r *modelRun) fatalf(format string, args ...any) {
	r.rt.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(r.story, "\n"))
}

func modelKeys(p Profile, local, remote int) *SRTP {
	return &SRTP{Profile: p, Local: key(p, byte(100+local)), Remote: key(p, byte(1+remote))}
}

func newModelRun(t *testing.T, rt *rapid.T) *modelRun {
	r := &modelRun{
		rig: newRig(t), rt: rt, far: map[int]*srtp.Context{}, contexts: map[int]*srtp.Context{},
		indices: map[uint32]int64{}, from: poolPeer, ssrcs: map[uint32]bool{},
		profile: rapid.SampledFrom([]Profile{AES128_CM_80, AES128_GCM}).Draw(rt, "profile"),
	}
	all := []Payload{{0, PCMU}, {8, PCMA}, {101, Event}, {13, CN}}
	r.m = &model{
		secure: rapid.Bool().Draw(rt, "protected"), keys: map[int]*modelKey{}, out: newModelStream(),
		receive: map[uint8]Kind{0: PCMU, 8: PCMA, 101: Event, 13: CN}, send: all,
	}
	r.pool = Leg{Remote: poolPeer, Receive: all, Send: all, Learning: rapid.SampledFrom([]Learning{SameIP, Strict, NAT}).Draw(rt, "learning")}
	r.gateway = Leg{Remote: gatewayPeer, Receive: all, Send: all}
	out := &r.b.halves[Gateway].out
	out.lastSequence = rapid.SampledFrom([]uint16{0, 32767, 65400, 65500, 65533, 65534}).Draw(rt, "before the first number")
	out.lastTimestamp = rapid.SampledFrom([]uint32{0, 1 << 31, math.MaxUint32 - 400}).Draw(rt, "before the first timestamp")
	r.start = r.now
	r.tell("protected %t by %v, learning %d", r.m.secure, r.profile, r.pool.Learning)
	r.setPool(false, 1)
	r.setGateway(rapid.IntRange(0, 1).Draw(rt, "gateway's key"))
	sequence := rapid.SampledFrom([]uint16{0, 1, 100, 32767, 32768, 65435, 65530, 65535}).Draw(rt, "first sequence")
	r.sender = rtpPacket{ssrc: 1, sequence: sequence, timestamp: rapid.SampledFrom([]uint32{0, 1 << 31, math.MaxUint32 - 400}).Draw(rt, "first timestamp")}
	r.indices[1] = int64(sequence)
	return r
}

// setPool sets the pool's leg, under a remote key if it is protected.
func (r *modelRun) setPool(anew bool, key int) {
	r.pool.Anew, r.pool.SRTP = anew, nil
	if r.m.secure {
		r.pool.SRTP = modelKeys(r.profile, 9, key)
		if r.contexts[key] == nil {
			r.contexts[key] = r.context(r.pool.SRTP.Remote)
		}
	}
	r.tell("%v pool: %v, anew %t, key %d", r.now.Sub(r.start), r.pool.Remote, anew, key)
	r.set(Pool, r.pool)
	r.m.setPool(r.pool, key, r.now)
}

// setGateway sets the gateway's leg, under a local key or none. Another key is another stream, and so is one that comes
// back to its key: no key stream may be used twice.
func (r *modelRun) setGateway(key int) {
	r.gateway.SRTP = nil
	if key != 0 {
		r.gateway.SRTP = modelKeys(r.profile, key, 50)
		if r.far[key] == nil {
			r.far[key] = r.context(r.gateway.SRTP.Local)
		}
	}
	r.tell("%v gateway: %v, key %d, %v", r.now.Sub(r.start), r.gateway.Remote, key, r.gateway.Send)
	r.set(Gateway, r.gateway)
	r.m.held, r.m.send = !r.gateway.Remote.IsValid(), r.gateway.Send
	if key != 0 && key != r.localKey && r.m.out.started {
		r.m.out, r.heard = newModelStream(), false
		r.digit = rtpPacket{}
	}
	r.localKey = key
}

func (r *modelRun) context(k []byte) *srtp.Context {
	n := suites[r.profile].key
	c, err := srtp.CreateContext(k[:n], k[n:], suites[r.profile].pion)
	if err != nil {
		r.rt.Fatal(err)
	}
	return c
}

// next draws the peer's next packet: it loses, repeats, reorders, jumps, changes its source and its format.
func (r *modelRun) next() modelPacket {
	rt := r.rt
	s := &r.sender
	ahead := func(n int) {
		s.sequence += uint16(n)
		s.timestamp += uint32(n * frame)
		r.indices[s.ssrc] += int64(n)
	}
	s.marker = rapid.IntRange(0, 9).Draw(rt, "marker") == 0
	s.payload = rapid.SampledFrom([]uint8{0, 0, 0, 0, 8, 8, 101, 13, 96}).Draw(rt, "payload type")
	size := rapid.SampledFrom([]int{160, 160, 80, 480, 0}).Draw(rt, "size")
	behind := 0
	switch rapid.IntRange(0, 15).Draw(rt, "kind of packet") {
	case 0:
		ahead(rapid.SampledFrom([]int{2, 3, 6, 63, 64, 65, 90, 127, 128, 129}).Draw(rt, "lost"))
	case 1:
		behind = rapid.IntRange(0, 3).Draw(rt, "repeated")
	case 2:
		behind = rapid.IntRange(1, 130).Draw(rt, "behind")
	case 3:
		ahead(rapid.IntRange(2990, 3010).Draw(rt, "dropout"))
	case 4:
		ahead(rapid.IntRange(0, 32767).Draw(rt, "jump"))
	case 5:
		ssrc := uint32(rapid.IntRange(1, 3).Draw(rt, "source"))
		if _, ok := r.indices[ssrc]; !ok {
			r.indices[ssrc] = int64(s.sequence)
		}
		if !r.m.secure { // as telephones do that go on counting; under SRTP each source has a counter of its own
			r.indices[ssrc] = int64(s.sequence)
		}
		s.ssrc = ssrc
		s.sequence = uint16(r.indices[ssrc])
		ahead(1)
	case 6:
		s.timestamp = rapid.Uint32().Draw(rt, "timestamp")
		ahead(1)
	default:
		ahead(1)
	}
	p := modelPacket{rtpPacket: *s, key: r.m.key, index: r.indices[s.ssrc]}
	if int64(behind) <= p.index {
		p.sequence -= uint16(behind)
		p.timestamp -= uint32(behind * frame)
		p.index -= int64(behind)
	}
	p.body = bytes.Clone(speech(p.sequence)[:size])
	return p
}

// protected is the packet as it is on the wire.
func (r *modelRun) protected(p modelPacket) []byte {
	b := p.bytes()
	if !r.m.secure {
		return b
	}
	ctx := r.contexts[p.key]
	ctx.SetROC(p.ssrc, uint32(p.index>>16))
	out, err := ctx.EncryptRTP(nil, b, nil)
	if err != nil {
		r.rt.Fatal(err)
	}
	return out
}

// packet has the peer send one, or somebody send again what it sent.
func (r *modelRun) packet() {
	var p modelPacket
	var wire []byte
	if n := len(r.kept); n > 0 && rapid.IntRange(0, 19).Draw(r.rt, "replayed") == 0 {
		old := r.kept[rapid.IntRange(0, n-1).Draw(r.rt, "which")]
		wire, p = old[0].([]byte), old[1].(modelPacket)
	} else {
		p = r.next()
		wire = r.protected(p)
		r.kept = append(r.kept, [2]any{wire, p})
	}
	from := r.from
	if rapid.IntRange(0, 9).Draw(r.rt, "from elsewhere") == 0 {
		from = r.place()
	}
	r.takeDigits(r.rig.out(Gateway))
	before := r.drops(Pool)
	for name, n := range r.drops(Gateway) {
		before[name] += n
	}
	want := r.m.take(p, from, r.now, r.b.halves[Gateway].player.active)
	r.deliver(r.port(Pool), wire, from)
	sent := r.rig.out(Gateway)
	after := r.drops(Pool)
	for name, n := range r.drops(Gateway) {
		after[name] += n
	}
	r.tell("%v from %v %s: %d sent", r.now.Sub(r.start), from, describe(p), len(sent))
	got := ""
	for name, n := range after {
		if n != before[name] {
			got = name
		}
	}
	if want.drop == modelForged && (got == "authentication" || got == "replay") {
		want.drop = got
	}
	if got != want.drop || len(sent) != btoi(want.drop == "") {
		r.fatalf("packet %s from %v: %d sent, drop %q; want drop %q", describe(p), from, len(sent), got, want.drop)
	}
	if want.drop == "" {
		r.check(p, want, sent[0])
	}
	if at := r.b.Stats()[Pool].Remote; !r.m.learn.held && at != r.m.learn.at {
		r.fatalf("after packet %s from %v ours go to %v, want %v", describe(p), from, at, r.m.learn.at)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// check compares what was sent for a packet with the model.
func (r *modelRun) check(p modelPacket, want modelExpect, wire []byte) {
	got := r.farEnd(wire, want.number)
	body := bytes.Clone(p.body)
	switch {
	case want.from == PCMU && want.to == PCMA:
		g711.PCMUToPCMA(body)
	case want.from == PCMA && want.to == PCMU:
		g711.PCMAToPCMU(body)
	}
	if got.sequence != r.first.sequence+uint16(want.number) || got.timestamp != r.first.timestamp+want.timestamp {
		r.fatalf("packet %s: number +%d, timestamp +%d, want +%d, +%d", describe(p),
			got.sequence-r.first.sequence, got.timestamp-r.first.timestamp, uint16(want.number), want.timestamp)
	}
	if got.marker != want.marker || got.payload != want.payload || !bytes.Equal(got.body, body) {
		r.fatalf("packet %s became marker %t, payload type %d, %d bytes; want %t, %d, %d", describe(p),
			got.marker, got.payload, len(got.body), want.marker, want.payload, len(body))
	}
}

// farEnd opens what was sent, as number n of the stream, and holds what goes for all of them.
func (r *modelRun) farEnd(wire []byte, n int64) rtpPacket {
	if r.m.out.taken[n] {
		r.fatalf("number %d is sent twice", n)
	}
	r.m.out.taken[n] = true
	if r.localKey != 0 {
		clear, err := r.far[r.localKey].DecryptRTP(nil, wire, nil)
		if err != nil {
			r.fatalf("the far end cannot open number %d: %v", n, err)
		}
		wire = clear
	}
	got := read(r.t, wire)
	if !r.heard {
		if r.ssrcs[got.ssrc] {
			r.fatalf("a new stream under the SSRC of an old one, %d", got.ssrc)
		}
		r.ssrcs[got.ssrc] = true
		r.heard, r.first, r.highest = true, got, -1
		r.first.sequence -= uint16(n)
	}
	if got.ssrc != r.first.ssrc {
		r.fatalf("the stream's SSRC changed from %d to %d", r.first.ssrc, got.ssrc)
	}
	r.highest = max(r.highest, n)
	if r.localKey != 0 {
		// Where the far end's rollover counter has to be by now.
		if roc, ok := r.far[r.localKey].ROC(got.ssrc); ok && int64(roc) != (int64(r.first.sequence)+r.highest)>>16 {
			r.fatalf("the far end's rollover counter is %d at number %d from %d", roc, r.highest, r.first.sequence)
		}
	}
	return got
}

// takeDigits checks what was sent without a packet that came in.
func (r *modelRun) takeDigits(sent [][]byte) {
	for _, wire := range sent {
		o := &r.m.out
		n := o.last + 1
		got := r.farEnd(wire, n)
		if len(got.body) != 4 || got.sequence != r.first.sequence+uint16(n) {
			r.fatalf("an event as number +%d, want +%d: %x", got.sequence-r.first.sequence, n, got.body)
		}
		if got.marker {
			r.digit, r.began = got, r.now
			o.joined = false
			if want := r.first.timestamp + o.next(r.now); got.timestamp != want {
				r.fatalf("a digit at timestamp +%d, want +%d", got.timestamp-r.first.timestamp, want-r.first.timestamp)
			}
		} else if got.timestamp != r.digit.timestamp || got.body[0] != r.digit.body[0] {
			r.fatalf("an event's packet %+v belongs to none", got)
		}
		o.sent(n, got.timestamp-r.first.timestamp, uint32(binary.BigEndian.Uint16(got.body[2:])), r.began)
	}
}

// pass lets time go on, with the timers.
func (r *modelRun) pass(d time.Duration) {
	r.takeDigits(r.rig.out(Gateway))
	for end := r.now.Add(d); r.now.Before(end); {
		step := min(10*time.Millisecond, end.Sub(r.now))
		if d > time.Minute {
			step = d
		}
		r.now = r.now.Add(step)
		r.b.worker.Expire(r.now)
		r.takeDigits(r.rig.out(Gateway))
	}
	r.outRTCP(Gateway)
	r.outRTCP(Pool)
	r.rig.out(Pool)
}

func (r *modelRun) place() netip.AddrPort {
	return rapid.SampledFrom([]netip.AddrPort{home, otherPort, outer}).Draw(r.rt, "place")
}

// change is one of the things that signalling or time do to a call.
func (r *modelRun) change() {
	rt := r.rt
	switch rapid.IntRange(0, 12).Draw(rt, "change") {
	case 0:
		r.pass(time.Duration(rapid.IntRange(100, 7000).Draw(rt, "pause")) * time.Millisecond)
	case 1:
		r.pass(time.Duration(rapid.SampledFrom([]int{10, 200, 3000}).Draw(rt, "long silence")) * time.Minute)
	case 2: // a re-INVITE of the peer that changes nothing
		r.setPool(false, max(r.m.key, 1))
	case 3: // hold and resume by c=
		r.pool.Remote = rapid.SampledFrom([]netip.AddrPort{{}, home, home}).Draw(rt, "the pool's address")
		r.setPool(false, max(r.m.key, 1))
	case 4: // another key, under which the peer goes on counting or starts over; its sequence goes on or starts over
		if !r.m.secure {
			return
		}
		r.setPool(false, rapid.IntRange(1, 4).Draw(rt, "remote key"))
		r.recount()
	case 5: // another fork
		if r.m.secure {
			r.setPool(true, rapid.IntRange(1, 4).Draw(rt, "remote key"))
			r.recount()
			return
		}
		r.setPool(true, 1)
	case 6:
		r.gateway.Remote = netip.AddrPort{}
		r.setGateway(r.localKey)
	case 7:
		r.gateway.Remote = gatewayPeer
		r.setGateway(r.localKey)
	case 8: // pass-through, conversion, and less
		r.gateway.Send = rapid.SampledFrom([][]Payload{
			{{0, PCMU}, {8, PCMA}, {101, Event}, {13, CN}}, {{8, PCMA}, {100, Event}}, {{0, PCMU}, {13, CN}}, {{101, Event}}, {{97, PCMA}}, nil,
		}).Draw(rt, "formats")
		r.setGateway(r.localKey)
	case 9:
		r.setGateway(rapid.IntRange(0, 3).Draw(rt, "local key"))
	case 10, 11:
		r.tell("digits")
		_ = r.b.Play(Gateway, rapid.SampledFrom([]string{"1", "42#"}).Draw(rt, "digits"), 0) // not taken without events
	case 12:
		r.from = r.place()
	}
}

// recount is what the peer makes of its counters under another key.
func (r *modelRun) recount() {
	switch rapid.IntRange(0, 2).Draw(r.rt, "counts") {
	case 0: // on
	case 1: // from a rollover counter of zero
		for ssrc, index := range r.indices {
			r.indices[ssrc] = index & 0xffff
		}
	case 2: // from the beginning
		clear(r.indices)
		r.sender.sequence = 10
		r.indices[r.sender.ssrc] = 10
	}
}

func describe(p modelPacket) string {
	return fmt.Sprintf("ssrc %d number %d index %d key %d type %d", p.ssrc, p.sequence, p.index, p.key, p.payload)
}

// TestAgainstModel plays random calls: packets with everything that networks and telephones do to them, and signalling
// that changes both legs under way.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newModelRun(t, rt)
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			if rapid.IntRange(0, 7).Draw(rt, "what") == 0 {
				r.change()
				continue
			}
			r.pass(time.Duration(rapid.IntRange(0, 40).Draw(rt, "milliseconds")) * time.Millisecond)
			r.packet()
		}
		r.b.Close()
	})
}
