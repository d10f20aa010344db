package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tick lets time pass, ten milliseconds at a time, which is what the timers can
// tell apart.
func (r *rig) tick(d time.Duration) {
	r.t.Helper()
	for range d / timerTick {
		r.now = r.now.Add(timerTick)
		r.b.worker.Expire(r.now)
		if r.b.failed {
			r.t.Fatal(r.plane.failures)
		}
	}
}

// keypad is the far end of a leg, by RFC 4733 section 2.5.2 alone: what it has to
// make of a stream with events in it. Each packet is checked against the one
// before.
type keypad struct {
	t        testing.TB
	open     func([]byte) []byte
	started  bool
	sequence uint16
	ssrc     uint32

	pressed  string // the digits, when they had ended
	lasted   []time.Duration
	event    *rtpPacket // the first of the digit that is down, or of the last one
	duration uint16     // so far
	ends     int
	sentAt   time.Time // its last packet
	began    time.Time
	ended    time.Time // when the last digit's sound was over

	audio     *rtpPacket // the last
	audioAt   time.Time
	audioSpan int
}

// hear takes a packet that was sent at a time.
func (k *keypad) hear(data []byte, at time.Time) {
	k.t.Helper()
	p := read(k.t, k.open(data))
	if k.started && (p.sequence != k.sequence+1 || p.ssrc != k.ssrc) {
		k.t.Fatalf("number %d of %d follows %d of %d", p.sequence, p.ssrc, k.sequence, k.ssrc)
	}
	fresh := !k.started
	k.started, k.sequence, k.ssrc = true, p.sequence, p.ssrc
	if p.payload != 101 {
		k.hearAudio(p, at, fresh)
		return
	}
	if len(p.body) != 4 {
		k.t.Fatalf("an event of %d bytes", len(p.body))
	}
	duration, end := binary.BigEndian.Uint16(p.body[2:]), p.body[1]&0x80 != 0
	if p.body[1]&0x7f != 10 || p.body[0] > 15 || duration == 0 {
		k.t.Fatalf("event %x", p.body)
	}
	if p.marker {
		k.begin(p, at, fresh)
	} else if k.event == nil || p.timestamp != k.event.timestamp || p.body[0] != k.event.body[0] {
		k.t.Fatalf("%+v doesn't belong to %+v", p, k.event)
	} else if step := at.Sub(k.sentAt); step != 20*time.Millisecond {
		k.t.Fatalf("a packet after %v", step)
	}
	switch {
	case k.ends > 0:
		if !end || duration != k.duration {
			k.t.Fatalf("%x after the end", p.body)
		}
	case end:
		if duration < k.duration || duration > k.duration+160 || at.Sub(k.began) > time.Duration(duration)*tickNanos {
			k.t.Fatalf("ends at %d after %d, %v from its beginning", duration, k.duration, at.Sub(k.began))
		}
		k.pressed += string("0123456789*#ABCD"[p.body[0]])
		k.lasted = append(k.lasted, time.Duration(duration)*tickNanos)
		k.ended = k.began.Add(time.Duration(duration) * tickNanos)
	case duration != k.duration+160:
		k.t.Fatalf("%d after %d", duration, k.duration)
	}
	if end {
		k.ends++
	}
	k.duration, k.sentAt = duration, at
	if k.ends > 3 {
		k.t.Fatal("more than three last packets")
	}
}

func (k *keypad) begin(p rtpPacket, at time.Time, fresh bool) {
	k.t.Helper()
	if k.event != nil && k.ends != 3 {
		k.t.Fatalf("a digit begins after %d last packets", k.ends)
	}
	if gap := at.Sub(k.ended); !k.ended.IsZero() && gap < eventGap {
		k.t.Fatalf("a digit %v after the one before", gap)
	}
	if !fresh {
		k.follows(p, at)
	}
	k.event, k.duration, k.ends, k.began = &p, 0, 0, at
}

// hearAudio takes 20 ms of PCMU.
func (k *keypad) hearAudio(p rtpPacket, at time.Time, fresh bool) {
	k.t.Helper()
	if k.event != nil && k.ends < 3 {
		k.t.Fatal("audio while a digit is down")
	}
	if !fresh {
		k.follows(p, at)
	}
	k.audio, k.audioAt, k.audioSpan = &p, at, len(p.body)
}

// follows checks that a timestamp is that of the last thing that had one, and the
// time that passed, or more if that lasted for longer.
func (k *keypad) follows(p rtpPacket, at time.Time) {
	k.t.Helper()
	before, when, span := k.audio, k.audioAt, k.audioSpan
	if k.event != nil && (before == nil || k.began.After(when)) {
		before, when, span = k.event, k.began, int(k.duration)
	}
	passed := max(int(at.Sub(when)/tickNanos), span)
	if got := int(int32(p.timestamp - before.timestamp)); got < passed-1 || got > passed+1 {
		k.t.Fatalf("timestamp moved by %d in %v, after what lasted %d", got, at.Sub(when), span)
	}
}

// played is a call with a far end on one side that understands digits.
type played struct {
	*rig
	far  Side
	keys *keypad
	i    int
}

func newPlayed(t testing.TB, far Side, leg Leg) *played {
	r := bothSet(t)
	r.now = r.b.plane.start.Add(100*timerTick + timerTick/10) // a little after a tick of the timers, as a worker that they wake
	r.set(far, leg)
	k := &keypad{t: t, open: func(b []byte) []byte { return b }}
	if leg.SRTP != nil {
		k.open = newPhone(t, leg.SRTP).unprotect
	}
	return &played{rig: r, far: far, keys: k}
}

// pass lets time go by, with a packet of audio from the other side every 20 ms if
// there is to be any, and has the far end hear what comes of it.
func (c *played) pass(d time.Duration, talking bool) {
	c.t.Helper()
	for range d / (20 * time.Millisecond) {
		for half := range 2 {
			if half == 0 && talking {
				c.i++
				p := talk(c.i, 7)
				p.timestamp = uint32(c.now.Sub(c.b.plane.start) / tickNanos) // its clock runs through silence
				c.in(c.far.other(), p.bytes())
			}
			c.hear()
			c.tick(timerTick)
			c.hear()
		}
	}
}

func (c *played) hear() {
	c.t.Helper()
	for _, b := range c.out(c.far) {
		c.keys.hear(b, c.now)
	}
}

func playedLegs() map[string]Leg {
	return map[string]Leg{"plain": plainLeg(Pool), "CM80": secureLeg(Pool, AES128_CM_80), "CM32": secureLeg(Pool, AES128_CM_32), "GCM": secureLeg(Pool, AES128_GCM)}
}

// TestPlay: every digit, in the one stream of the leg, between audio before and
// after (RFC 4733 2.5.1).
func TestPlay(t *testing.T) {
	for name, leg := range playedLegs() {
		t.Run(name, func(t *testing.T) {
			c := newPlayed(t, Pool, leg)
			c.pass(200*time.Millisecond, true)
			if err := c.b.Play(Pool, "0123456789*#ABcd", 0); err != nil {
				t.Fatal(err)
			}
			c.pass(4*time.Second, true)
			if c.keys.pressed != eventDigits {
				t.Errorf("pressed %q", c.keys.pressed)
			}
			for _, d := range c.keys.lasted {
				if d != DefaultEvent {
					t.Errorf("a digit of %v", d)
				}
			}
			stats := c.b.Stats()[Pool].Send
			if stats.Packets+stats.Drops["event_playing"] != uint64(c.i+16*7) || stats.Drops["event_playing"] == 0 {
				t.Errorf("%d sent of %d and %d, drops %v", stats.Packets, c.i, 16*7, stats.Drops)
			}
			if n := counter(c.plane, "digits_played_total", "pool"); n != 16 || counter(c.plane, "digits_lost_total") != 0 {
				t.Errorf("%d digits counted", n)
			}
			if n := counter(c.plane, "rtp_packets_sent_total", "pool"); n != stats.Packets {
				t.Errorf("%d packets counted of %d", n, stats.Packets)
			}
			if c.keys.audio == nil || c.now.Sub(c.keys.audioAt) > 20*time.Millisecond {
				t.Error("no audio after the digits")
			}
		})
	}
}

// TestPlayAtAnyTime: digits of any length at any time, with and without audio.
func TestPlayAtAnyTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		leg := plainLeg(Pool)
		if rapid.Bool().Draw(rt, "protected") {
			leg = secureLeg(Pool, rapid.SampledFrom(profiles).Draw(rt, "profile"))
		}
		c := newPlayed(t, Pool, leg)
		digits, lasting := "", []time.Duration(nil)
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			c.pass(time.Duration(rapid.IntRange(0, 30).Draw(rt, "steps of 20 ms"))*20*time.Millisecond, rapid.Bool().Draw(rt, "talking"))
			press := rapid.StringMatching(`[0-9*#A-D]{0,3}`).Draw(rt, "digits")
			length := time.Duration(rapid.IntRange(0, 400).Draw(rt, "milliseconds")) * time.Millisecond
			if err := c.b.Play(Pool, press, length); err != nil {
				rt.Fatal(err)
			}
			digits += press
			if length == 0 {
				length = DefaultEvent
			}
			for range press {
				lasting = append(lasting, max(length, shortestEvent))
			}
		}
		c.pass(20*time.Second, rapid.Bool().Draw(rt, "talking"))
		if c.keys.pressed != digits || c.keys.ends != 3 && digits != "" {
			rt.Fatalf("pressed %q of %q", c.keys.pressed, digits)
		}
		for i, d := range lasting {
			if c.keys.lasted[i] != d {
				rt.Fatalf("digit %d lasted %v, want %v", i, c.keys.lasted[i], d)
			}
		}
	})
}

// TestPlayRefuses: what cannot be played, and that nothing of it is.
func TestPlayRefuses(t *testing.T) {
	without := plainLeg(Pool)
	without.Send = []Payload{{0, PCMU}}
	held := plainLeg(Pool)
	held.Remote = parse("")
	for name, tt := range map[string]struct {
		leg    Leg
		digits string
		want   error
	}{
		"no digit":        {plainLeg(Pool), "12E", ErrDigits},
		"no ASCII":        {plainLeg(Pool), "1٢", ErrDigits},
		"too many":        {plainLeg(Pool), strings.Repeat("1", 33), ErrDigits},
		"no events":       {without, "1", ErrNoEvents},
		"nowhere to send": {held, "1", ErrNoEvents},
	} {
		t.Run(name, func(t *testing.T) {
			c := newPlayed(t, Pool, tt.leg)
			if err := c.b.Play(Pool, tt.digits, 0); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			c.tick(time.Second)
			if out := c.out(Pool); len(out) != 0 {
				t.Errorf("%d packets were sent", len(out))
			}
		})
	}
	r := newRig(t)
	if err := r.b.Play(Pool, "1", 0); !errors.Is(err, ErrNoEvents) {
		t.Errorf("before the leg is set: %v", err)
	}
	r.b.Close()
	if err := r.b.Play(Pool, "1", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// TestDigitsWaiting: as many as the queue has, and then none; a place is free when
// a digit has begun.
func TestDigitsWaiting(t *testing.T) {
	c := newPlayed(t, Pool, plainLeg(Pool))
	c.pass(40*time.Millisecond, true)
	full := strings.Repeat("12345678", 4)
	if err := c.b.Play(Pool, full, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.b.Play(Pool, "9", 0); !errors.Is(err, ErrDigits) {
		t.Errorf("a digit too many: %v", err)
	}
	c.pass(20*time.Millisecond, true)
	if err := c.b.Play(Pool, "9", 0); err != nil {
		t.Error(err)
	}
	if err := c.b.Play(Gateway, "9", 0); err != nil {
		t.Errorf("the other side: %v", err)
	}
	c.pass(10*time.Second, true)
	if c.keys.pressed != full+"9" {
		t.Errorf("pressed %q", c.keys.pressed)
	}
	if len(c.out(Gateway)) != 7 {
		t.Error("the other side has not its digit")
	}
}

// TestLengthsAreBounded: RFC 4733's duration has 16 bits, and short digits are not
// heard.
func TestLengthsAreBounded(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{
		time.Nanosecond: shortestEvent, -time.Hour: shortestEvent, 50 * time.Millisecond: 50 * time.Millisecond,
		time.Hour: longestEvent, longestEvent + 1: longestEvent,
	} {
		c := newPlayed(t, Pool, plainLeg(Pool))
		if err := c.b.Play(Pool, "5", in); err != nil {
			t.Fatal(err)
		}
		c.pass(9*time.Second, false)
		if len(c.keys.lasted) != 1 || c.keys.lasted[0] != want {
			t.Errorf("%v became %v, want %v", in, c.keys.lasted, want)
		}
	}
}

// TestCloseWhilePlaying: nothing is sent on a closed port, no timer stays, and
// what was not played is counted.
func TestCloseWhilePlaying(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond, 130 * time.Millisecond} {
		c := newPlayed(t, Pool, plainLeg(Pool))
		if err := c.b.Play(Pool, "123", 0); err != nil {
			t.Fatal(err)
		}
		c.tick(after)
		c.b.Close()
		if n := c.b.worker.wheel.Len(); n != 0 {
			t.Errorf("after %v: %d timers are set", after, n)
		}
		c.tick(time.Second)
		if played, lost := counter(c.plane, "digits_played_total"), counter(c.plane, "digits_lost_total"); played+lost != 3 {
			t.Errorf("after %v: %d played, %d lost", after, played, lost)
		}
	}
}

// TestHoldWhilePlaying: a leg that takes no events any more loses its digits, and
// the next call of Play starts over.
func TestHoldWhilePlaying(t *testing.T) {
	c := newPlayed(t, Pool, plainLeg(Pool))
	c.pass(40*time.Millisecond, true)
	_ = c.b.Play(Pool, "123", 0)
	c.pass(60*time.Millisecond, true)
	held := plainLeg(Pool)
	held.Send = nil
	c.set(Pool, held)
	c.tick(time.Second)
	if n := len(c.out(Pool)); n != 0 {
		t.Errorf("%d packets on hold", n)
	}
	if n := counter(c.plane, "digits_lost_total"); n != 3 {
		t.Errorf("%d digits lost", n)
	}
	c.set(Pool, plainLeg(Pool))
	c.keys.event, c.keys.ended = nil, time.Time{}
	c.keys.audio = nil
	c.keys.started = false // a digit was cut; from here on all is as ever
	_ = c.b.Play(Pool, "4", 0)
	c.pass(time.Second, true)
	if c.keys.pressed != "4" {
		t.Errorf("pressed %q", c.keys.pressed)
	}
}

// TestNewKeyWhilePlaying: the stream that a digit was in has ended; the digits
// that wait are played in the next.
func TestNewKeyWhilePlaying(t *testing.T) {
	leg := secureLeg(Pool, AES128_CM_80)
	c := newPlayed(t, Pool, leg)
	c.pass(40*time.Millisecond, true)
	_ = c.b.Play(Pool, "123", 0)
	c.pass(60*time.Millisecond, true)
	leg.SRTP = &SRTP{Profile: AES128_CM_80, Local: key(AES128_CM_80, 33), Remote: leg.SRTP.Remote}
	c.set(Pool, leg)
	pressed := c.keys.pressed
	c.keys = &keypad{t: t, open: newPhone(t, leg.SRTP).unprotect}
	c.pass(time.Second, true)
	if pressed+c.keys.pressed != "23" {
		t.Errorf("pressed %q and %q", pressed, c.keys.pressed)
	}
	if played, lost := counter(c.plane, "digits_played_total"), counter(c.plane, "digits_lost_total"); played != 2 || lost != 1 {
		t.Errorf("%d played, %d lost", played, lost)
	}
}

// TestEventOfTheOtherSideWhilePlaying: one that digits of ours cut doesn't appear
// a second time, and the next does.
func TestEventOfTheOtherSideWhilePlaying(t *testing.T) {
	c := newPlayed(t, Pool, plainLeg(Pool))
	c.pass(40*time.Millisecond, true)
	event := func(timestamp uint32, duration uint16, marker bool) {
		c.i++
		p := rtpPacket{marker: marker, payload: 101, sequence: uint16(c.i), timestamp: timestamp, ssrc: 7, body: []byte{9, 10, 0, 0}}
		binary.BigEndian.PutUint16(p.body[2:], duration)
		c.in(Gateway, p.bytes())
	}
	c.out(Pool)
	event(1000, 160, true)
	if len(c.out(Pool)) != 1 {
		t.Fatal("the event doesn't begin")
	}
	_ = c.b.Play(Pool, "5", 0)
	c.tick(30 * time.Millisecond)
	event(1000, 320, false)
	c.tick(time.Second)
	for _, b := range c.out(Pool) {
		if p := read(t, b); p.body[0] != 5 {
			t.Errorf("%x while the digit is down", p.body)
		}
	}
	event(1000, 480, false)
	if len(c.out(Pool)) != 0 {
		t.Error("the rest of the event that was cut is passed on")
	}
	before := c.b.halves[Pool].out.lastSequence
	event(20000, 160, true)
	out := c.out(Pool)
	if len(out) != 1 {
		t.Fatal("the next event is not passed on")
	}
	if p := read(t, out[0]); !p.marker || p.body[0] != 9 || p.sequence != before+1 {
		t.Errorf("it is %+v after %d", p, before)
	}
}

// TestPlayBeforeAnything: a leg that has sent nothing yet has digits that are the
// beginning of its stream.
func TestPlayBeforeAnything(t *testing.T) {
	for name, leg := range playedLegs() {
		c := newPlayed(t, Pool, leg)
		if err := c.b.Play(Pool, "1", 0); err != nil {
			t.Fatal(err)
		}
		c.pass(300*time.Millisecond, false)
		c.pass(100*time.Millisecond, true)
		if c.keys.pressed != "1" || c.keys.audio == nil || !c.keys.audio.marker && c.i == 1 {
			t.Errorf("%s: pressed %q, then %+v", name, c.keys.pressed, c.keys.audio)
		}
	}
}

// TestAudioAfterDigitsIsMarked: the far end may set its playout anew.
func TestAudioAfterDigitsIsMarked(t *testing.T) {
	c := newPlayed(t, Pool, plainLeg(Pool))
	c.pass(100*time.Millisecond, true)
	_ = c.b.Play(Pool, "1", 0)
	c.pass(140*time.Millisecond, true)
	c.out(Pool)
	c.i++
	c.tick(20 * time.Millisecond)
	c.in(Gateway, talk(c.i, 7).bytes())
	out := c.out(Pool)
	if len(out) != 1 {
		t.Fatalf("%d packets; drops %v", len(out), c.drops(Pool))
	}
	if p := read(t, out[0]); !p.marker || !bytes.Equal(p.body, speech(uint16(c.i))) {
		t.Errorf("%+v", p)
	}
}

// TestPlayAllocations: a packet of a digit costs no memory.
func TestPlayAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	for name, leg := range playedLegs() {
		c := newPlayed(t, Pool, leg)
		c.port(Pool).keep, c.rtcpPort(Pool).keep, c.rtcpPort(Gateway).keep = false, false, false
		_ = c.b.Play(Pool, strings.Repeat("1", 32), longestEvent)
		c.tick(100 * time.Millisecond)
		before := c.port(Pool).n
		got := testing.AllocsPerRun(500, func() { c.tick(20 * time.Millisecond) })
		if sent := c.port(Pool).n - before; got > 0 || sent < 480 {
			t.Errorf("%s: %v allocations, %d packets", name, got, sent)
		}
	}
}

// TestPlayOverSockets: the worker wakes up for each packet of a digit, on an idle
// call, and not too late.
func TestPlayOverSockets(t *testing.T) {
	far, at := peer(t, loopPeer)
	p := running(t, Config{})
	b, err := p.Open("digits")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mustSet(t, b, Gateway, at)
	began := time.Now()
	if err := b.Play(Gateway, "1#", 0); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for range 14 {
		data, _ := receive(t, far, nil)
		got = append(got, read(t, data).body[0])
	}
	if want := append(bytes.Repeat([]byte{1}, 7), bytes.Repeat([]byte{11}, 7)...); !bytes.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	// 170 ms for the first with its pause, 120 ms for the second.
	if took := time.Since(began); took < 290*time.Millisecond-2*timerTick || took > 5*time.Second {
		t.Errorf("they took %v", took)
	}
}
