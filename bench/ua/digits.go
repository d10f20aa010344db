package ua

import (
	"encoding/binary"
	"strings"
)

const (
	keys = "0123456789*#ABCD" // by event code (RFC 4733 section 3.2)
	// digitFrames is how long a key is held: 160 ms.
	digitFrames = 8
	// digitPause is how many frames of audio lie between two keys.
	digitPause = 4
	// digitEnds is how often the last packet of an event is sent (RFC 4733 section 2.5.1.4).
	digitEnds   = 3
	digitVolume = 10 // dBm0, without its sign
	digitLen    = 4  // bytes of an event's payload
)

// digits is the queue of keys to be sent as telephone events.
type digits struct {
	queue string
	step  int    // of the first key in the queue, in frames
	start uint32 // RTP timestamp of the event
}

// active reports whether the next frame is one of an event rather than audio.
func (d *digits) active() bool { return d.queue != "" && d.step >= 0 }

// next writes the next event packet's payload behind header and advances; stamp is that of the audio now.
func (d *digits) next(header []byte, stamp uint32, pt uint8) (n int, _ uint8, eventStamp uint32) {
	if d.step == 0 {
		d.start = stamp
	}
	code := strings.IndexByte(keys, d.queue[0])
	end := uint8(0)
	if d.step >= digitFrames {
		end = 0x80
	}
	duration := min(d.step+1, digitFrames) * frameLen
	payload := append(header, byte(code), end|digitVolume)
	binary.BigEndian.AppendUint16(payload, uint16(duration))
	if d.step++; d.step == digitFrames+digitEnds {
		d.queue, d.step = d.queue[1:], -digitPause
	}
	return digitLen, pt, d.start
}

// pause counts a frame of audio between two keys.
func (d *digits) pause() {
	if d.step < 0 {
		d.step++
	}
}

// keypad is the keys that were received.
type keypad struct {
	pressed strings.Builder
	last    uint32 // timestamp of the last event
}

// packet takes a telephone event. Packets of one event carry one timestamp.
func (k *keypad) packet(payload []byte, stamp uint32) {
	if len(payload) < digitLen || int(payload[0]) >= len(keys) {
		return
	}
	if k.pressed.Len() > 0 && stamp == k.last {
		return
	}
	k.last = stamp
	k.pressed.WriteByte(keys[payload[0]])
}
