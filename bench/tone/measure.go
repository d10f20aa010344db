package tone

import (
	"math"
	"time"
)

// Level returns the power of the samples in dBFS; minus infinity for silence and for none.
func Level(pcm []int16) float64 {
	if len(pcm) == 0 {
		return math.Inf(-1)
	}
	sum := 0.0
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return decibels(sum / float64(len(pcm)))
}

// decibels turns a mean square into dBFS.
func decibels(power float64) float64 {
	return 10 * math.Log10(power/(full*full/2.0))
}

// ToneLevel returns the level in dBFS of the part of pcm that is a tone of hz, by Goertzel's algorithm. The longer
// pcm is, the narrower it listens: neighbours about 1/duration away no longer count. For a steady tone it equals
// Level when pcm holds nothing else.
func ToneLevel(pcm []int16, hz float64) float64 {
	if len(pcm) == 0 {
		return math.Inf(-1)
	}
	return decibels(goertzel(pcm, hz, nil))
}

// goertzel returns the mean square of the component at hz. The window, when given, is as long as pcm and is taken
// out of the result by its sum.
func goertzel(pcm []int16, hz float64, window []float64) float64 {
	w := 2 * math.Pi * hz / Rate
	c := 2 * math.Cos(w)
	var s1, s2 float64
	gain := float64(len(pcm))
	if window != nil {
		gain = 0
	}
	for i, x := range pcm {
		v := float64(x)
		if window != nil {
			v *= window[i]
			gain += window[i]
		}
		s1, s2 = v+c*s1-s2, s1
	}
	amplitude2 := 4 * (s1*s1 + s2*s2 - c*s1*s2) / (gain * gain)
	return amplitude2 / 2
}

// Dominant returns the strongest tone between 50 and 3950 Hz and its level. The frequency is right to about 1 Hz when
// pcm has 100 ms or more of a steady tone; at most the first second is looked at. Silence has no tone: 0 Hz.
func Dominant(pcm []int16) (hz, dbfs float64) {
	pcm = pcm[:min(len(pcm), Rate)]
	// A first look with a short window, wide enough that a grid of 8 Hz cannot step over a tone, then a closer one.
	short := pcm[:min(len(pcm), Rate/5)]
	hz, power := strongest(short, 50, 3950, 8)
	if power == 0 {
		return 0, math.Inf(-1)
	}
	hz, _ = strongest(pcm, hz-8, hz+8, 1)
	hz, power = strongest(pcm, hz-1, hz+1, 0.1)
	return hz, decibels(power)
}

func strongest(pcm []int16, from, to, step float64) (hz, power float64) {
	window := make([]float64, len(pcm))
	for i := range window {
		window[i] = 0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/float64(len(pcm)))
	}
	for f := from; f <= to; f += step {
		if p := goertzel(pcm, f, window); p > power {
			hz, power = f, p
		}
	}
	return hz, power
}

// Gap is a stretch of near silence within sound.
type Gap struct {
	At, For time.Duration // since the first sample; to 5 ms
}

// Gaps returns the stretches that stay below the level dbfs for at least shortest. Silence before the first sound and
// behind the last is no gap. It looks at 5 ms at a time, so tones below 200 Hz look rougher than they are.
func Gaps(pcm []int16, dbfs float64, shortest time.Duration) []Gap {
	const step = Rate / 200
	var gaps []Gap
	quietSince, heard := 0, false
	for at := 0; at+step <= len(pcm); at += step {
		if Level(pcm[at:at+step]) < dbfs {
			continue
		}
		if quiet := Duration(at - quietSince); heard && quiet > 0 && quiet >= shortest {
			gaps = append(gaps, Gap{At: Duration(quietSince), For: quiet})
		}
		quietSince, heard = at+step, true
	}
	return gaps
}
