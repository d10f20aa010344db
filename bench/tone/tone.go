// Package tone makes audio to send through calls and measures what came out: tones, something like speech, levels,
// gaps, and WAV files.
//
// Everything works on 16-bit linear samples at Rate, is deterministic, and does no I/O but that of the WAV functions.
// Levels are in dBFS, where 0 is the power of a sine that just fills the 16 bits; silence is minus infinity.
package tone

import (
	"math"
	"time"
)

// Rate is the sampling rate in Hz of everything here except WAV files, which carry their own.
const Rate = 8000

// full is the amplitude of a sine at 0 dBFS.
const full = 32767

// Source is an endless supply of audio. It belongs to one goroutine.
type Source interface {
	// Read fills all of dst with the samples that follow those of the call before.
	Read(dst []int16)
}

type silence struct{}

func (silence) Read(dst []int16) { clear(dst) }

// Silence returns a source of zeros.
func Silence() Source { return silence{} }

type sine struct {
	phase, step float64 // in turns
	amplitude   float64
}

// Sine returns a pure tone of hz at a level of dbfs, which is 0 or less.
func Sine(hz, dbfs float64) Source {
	return &sine{step: hz / Rate, amplitude: full * math.Pow(10, min(dbfs, 0)/20)}
}

func (s *sine) Read(dst []int16) {
	for i := range dst {
		dst[i] = int16(math.RoundToEven(s.amplitude * math.Sin(2*math.Pi*s.phase)))
		_, s.phase = math.Modf(s.phase + s.step)
	}
}

// Take returns the next d of a source.
func Take(s Source, d time.Duration) []int16 {
	pcm := make([]int16, Samples(d))
	s.Read(pcm)
	return pcm
}

// Samples is how many samples last d.
func Samples(d time.Duration) int { return int(d * Rate / time.Second) }

// Duration is how long n samples last.
func Duration(n int) time.Duration { return time.Duration(n) * time.Second / Rate }
