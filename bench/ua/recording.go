package ua

import (
	"time"

	"causeway/bench/tone"
)

// recording is the audio of a call as a listener without a jitter buffer would have it: every frame stands where its
// RTP timestamp says, and what never came is silence.
type recording struct {
	limit   int // samples
	pcm     []int16
	started bool
	base    uint32 // RTP timestamp of the first sample
}

// farJump is how far a timestamp may run ahead before it is taken for a new stream rather than a gap.
const farJump = 10 * clockRate

func newRecording(limit time.Duration) recording { return recording{limit: tone.Samples(limit)} }

// add puts a frame where it belongs. What lies before the first frame or behind the limit is not kept.
func (r *recording) add(stamp uint32, frame []int16) {
	if !r.started {
		r.started, r.base = true, stamp
	}
	at := int(int32(stamp - r.base))
	if at > len(r.pcm)+farJump || at < -farJump {
		at = len(r.pcm)
		r.base = stamp - uint32(at)
	}
	if at < 0 || at >= r.limit {
		return
	}
	frame = frame[:min(len(frame), r.limit-at)]
	for len(r.pcm) < at+len(frame) {
		r.pcm = append(r.pcm, make([]int16, at+len(frame)-len(r.pcm))...)
	}
	copy(r.pcm[at:], frame)
}
