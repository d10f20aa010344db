package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"causeway/internal/netio"
	"causeway/internal/wheel"
)

// What [Bridge.Play] does with each digit.
const (
	// DefaultEvent is how long a digit lasts that does not say so.
	DefaultEvent = 100 * time.Millisecond
	// shortestEvent and longestEvent bound it: shorter ones are not recognised
	// (ITU-T Q.24), and longer ones would have to be cut in segments (RFC 4733
	// section 2.5.1.3).
	shortestEvent = 40 * time.Millisecond
	longestEvent  = 8 * time.Second
	// eventGap is the silence between two digits.
	eventGap = 70 * time.Millisecond
	// eventStep is the time between two packets of one event: that of audio (RFC
	// 4733 section 2.5.1.2).
	eventStep = 20 * time.Millisecond
	// eventEnds is how often the last packet is sent (RFC 4733 section 2.5.1.4).
	eventEnds = 3
	// eventVolume is in -dBm0: what telephones send (ITU-T Q.23).
	eventVolume = 10
	// eventQueue is how many digits may wait on one leg.
	eventQueue = 32
)

// eventDigits are the digits by their event numbers (RFC 4733 section 3.2).
const eventDigits = "0123456789*#ABCD"

// Errors that [Bridge.Play] wraps.
var (
	// ErrNoEvents: the peer of that side takes no telephone events, now.
	ErrNoEvents = errors.New("no telephone events agreed")
	// ErrDigits: not a digit of a telephone, or too many waiting.
	ErrDigits = errors.New("digits cannot be played")
)

// press is a digit that waits or is being played.
type press struct {
	event uint8
	ticks uint16 // how long it lasts, in clock ticks
}

// player puts digits into the stream that a leg sends.
type player struct {
	timer wheel.Timer[*half] // the next packet
	queue [eventQueue]press
	head  uint8
	n     uint8

	// The stream belongs to the player from a digit's first packet until the last
	// one's end was sent; what comes from the other side is withheld.
	active bool
	// The digit that is being played; ends counts its last packets.
	now       press
	began     time.Time
	timestamp uint32
	packets   uint16
	ends      uint8

	rest time.Time // when the next digit may begin

	// cut is the timestamp of the other side's event that digits of ours have cut:
	// the rest of it must not appear as an event of its own.
	cut    uint32
	cutSet bool
}

// Play sends digits (0-9, *, #, A-D) toward the peer of a side as telephone events
// (RFC 4733), one after the other, in the stream that carries the other side's
// audio: with its SSRC, the sequence and the clock going on. Each lasts for
// duration, or [DefaultEvent] if that is 0, and 40 ms to 8 s in any case, with
// 70 ms of silence between two. Meanwhile what the other side sends is withheld,
// and counted as event_playing.
//
// It doesn't wait for the digits to be played. Up to 32 wait on a side; of more,
// none is taken. A leg that changes keeps them as long as it takes events.
//
// Errors wrap [ErrDigits], [ErrNoEvents] or [ErrClosed].
func (b *Bridge) Play(s Side, digits string, duration time.Duration) error {
	if duration == 0 {
		duration = DefaultEvent
	}
	ticks := uint16(min(max(duration, shortestEvent), longestEvent) * clockRate / time.Second)
	var list [eventQueue]press
	if len(digits) > len(list) {
		return fmt.Errorf("%s leg: %w: %d at once", s, ErrDigits, len(digits))
	}
	for i := range len(digits) {
		event := strings.IndexByte(eventDigits, upper(digits[i]))
		if event < 0 {
			return fmt.Errorf("%s leg: %w: %q", s, ErrDigits, digits[i])
		}
		list[i] = press{uint8(event), ticks}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("%s leg: bridge: %w", s, ErrClosed)
	}
	err := errFailed
	b.onWorker(func(now time.Time) {
		if !b.failed && !b.ended {
			err = b.halves[s].enqueue(list[:len(digits)], now)
		}
	})
	if err != nil {
		return fmt.Errorf("%s leg: %w", s, err)
	}
	return nil
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// takesEvents says whether a telephone event can be sent now.
func (h *half) takesEvents() bool { return h.remote.IsValid() && h.sendType[Event] >= 0 }

func (h *half) enqueue(list []press, now time.Time) error {
	p := &h.player
	switch {
	case !h.takesEvents():
		return ErrNoEvents
	case int(p.n)+len(list) > eventQueue:
		return fmt.Errorf("%w: %d are waiting", ErrDigits, p.n)
	}
	for _, d := range list {
		p.queue[(p.head+p.n)%eventQueue] = d
		p.n++
	}
	if p.n > 0 && !p.timer.Set() {
		h.bridge.worker.wheel.Schedule(&p.timer, later(now, p.rest))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// play sends the packet that is due and plans the next.
func (h *half) play(now time.Time) {
	defer h.bridge.guard()
	p := &h.player
	if !h.takesEvents() {
		h.stopPlaying()
		return
	}
	if p.packets == 0 {
		h.press(now)
	}
	h.sendEvent()
	// The timer fires at the first of its ticks that is not before its time, and
	// this one shortly after a tick: half of one less keeps the steps even.
	next := p.began.Add(time.Duration(p.packets)*eventStep - timerTick/2)
	if p.ends == eventEnds {
		h.bridge.worker.counts.digits[h.side].played++
		p.rest = p.began.Add(time.Duration(p.now.ticks)*tickNanos + eventGap)
		next = p.rest
		p.packets = 0
		if p.n == 0 {
			p.active = false
			return
		}
	}
	h.bridge.worker.wheel.Schedule(&p.timer, next)
}

// press begins the next digit. From here on the stream is the player's: its next
// sequence numbers, and the time of now.
func (h *half) press(now time.Time) {
	p := &h.player
	p.now = p.queue[p.head]
	p.head = (p.head + 1) % eventQueue
	p.n--
	p.active = true
	p.began, p.ends = now, 0
	p.timestamp = h.out.next(now.UnixNano())
	h.out.part()
}

// sendEvent sends the digit's next packet:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+-+-+-----------+-------------------------------+
//	|     event     |E|R| volume    |          duration             |
//	+---------------+-+-+-----------+-------------------------------+
func (h *half) sendEvent() {
	const payload = 4
	p, w := &h.player, h.bridge.worker
	out := header{
		marker:    p.packets == 0, // RFC 4733 section 2.5.1.2
		payload:   uint8(h.sendType[Event]),
		sequence:  h.out.lastSequence + 1,
		timestamp: p.timestamp,
		ssrc:      h.out.ssrc,
	}
	p.packets++
	ticks := min(uint32(p.packets)*frame, uint32(p.now.ticks))
	pk := &w.packet
	*pk = netio.Packet{Buf: w.io.Buffer()}
	b := pk.Buf.Room()[:fixedHeader+payload]
	out.put(b)
	b[fixedHeader] = p.now.event
	b[fixedHeader+1] = eventVolume
	if ticks == uint32(p.now.ticks) {
		b[fixedHeader+1] |= 1 << 7
		p.ends++
	}
	binary.BigEndian.PutUint16(b[fixedHeader+2:], uint16(ticks))
	if h.secure != 0 {
		sealed, err := h.seal.rtp(b, &w.header)
		if err != nil {
			h.bridge.drop(h, h, dropProtect)
			return
		}
		b = sealed
	}
	pk.Buf.Use(0, len(b))
	h.rtp.Send(pk, h.remote)
	h.out.sent(&out, ticks, p.began.UnixNano(), payload)
	w.counts.sent[h.side].count(payload)
}

// withheld says whether a packet of the other side has to give way to a digit of
// ours, or is the rest of an event that one has cut.
func (h *half) withheld(in *header, kind Kind) bool {
	p := &h.player
	if !p.active {
		return kind == Event && p.cutSet && in.timestamp == p.cut
	}
	if kind == Event {
		p.cut, p.cutSet = in.timestamp, true
	}
	return true
}

// abandon gives up the digit that is being played, because its stream has ended;
// those that wait are played in the next.
func (h *half) abandon() {
	p := &h.player
	if p.packets > 0 {
		p.packets = 0
		h.bridge.worker.counts.digits[h.side].lost++
	}
	p.active = p.active && p.n > 0
	if p.n == 0 {
		h.bridge.worker.wheel.Stop(&p.timer)
	}
}

// stopPlaying forgets what has not been played.
func (h *half) stopPlaying() {
	p := &h.player
	h.bridge.worker.counts.digits[h.side].lost += uint64(p.n)
	p.n = 0
	h.abandon()
}
