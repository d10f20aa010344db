package tone

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	tableLen = 512 // samples of one pitch period in a voice's table
	vowels   = 6
	// harmonics keeps the highest one of the highest pitch (180 Hz) below 3.4 kHz, the end of the telephone band.
	harmonics = 18
	// voiceLevel is the power of a syllable before its envelope; with the envelope the active level is near -20 dBFS,
	// which is how loud telephone speech is.
	voiceLevel = -18.0
)

// formants are the two strongest resonances of some vowels in Hz, roughly those of a male voice.
var formants = [vowels][2]float64{{730, 1090}, {530, 1840}, {270, 2290}, {570, 840}, {300, 870}, {490, 1350}}

// speech is a voice: syllables of a few harmonics under an envelope, gathered into phrases with pauses between them.
type speech struct {
	rng    *rand.Rand
	tables [vowels][tableLen]float64

	left     int // samples until the state below ends
	voiced   bool
	len      int // of the syllable
	vowel    int
	phase    float64 // in turns of the pitch
	step     float64 // pitch over Rate
	glide    float64 // change of step for each sample
	phrase   int     // syllables left before the next pause
	loudness float64
}

// Speech returns something that levels, pauses and spectrum make look like one side of a conversation: about 60 % of
// the time active near -20 dBFS. Sources of one seed are alike to the sample; others differ from the first syllable.
func Speech(seed uint64) Source {
	s := &speech{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	for v := range s.tables {
		s.tables[v] = voice(formants[v])
	}
	s.phrase = s.syllables()
	return s
}

// voice makes one period of a vowel: harmonics weighted by how near they are to the formants.
func voice(formants [2]float64) (table [tableLen]float64) {
	const pitch = 130.0 // where the weights are taken
	power := 0.0
	var weights [harmonics + 1]float64
	for h := 1; h <= harmonics; h++ {
		for i, f := range formants {
			d := (float64(h)*pitch - f) / (80 + 40*float64(i))
			weights[h] += 1 / ((1 + d*d) * float64(1+i))
		}
		power += weights[h] * weights[h] / 2
	}
	scale := full * math.Pow(10, voiceLevel/20) / math.Sqrt(2*power)
	for i := range table {
		for h := 1; h <= harmonics; h++ {
			// Phases that grow with the square of the order keep the peaks low.
			turn := float64(h*i)/tableLen + float64(h*h)/harmonics
			table[i] += scale * weights[h] * math.Sin(2*math.Pi*turn)
		}
	}
	return table
}

func (s *speech) syllables() int { return 5 + s.rng.IntN(8) }

// next starts the syllable or the silence that follows.
func (s *speech) next() {
	between := func(from, to time.Duration) int { return Samples(from + time.Duration(s.rng.Int64N(int64(to-from)))) }
	if s.voiced {
		s.voiced = false
		s.left = between(20*time.Millisecond, 60*time.Millisecond)
		if s.phrase--; s.phrase == 0 {
			s.phrase = s.syllables()
			s.left = between(500*time.Millisecond, 1400*time.Millisecond)
		}
		return
	}
	s.voiced = true
	s.left = between(120*time.Millisecond, 280*time.Millisecond)
	s.len = s.left
	s.vowel = s.rng.IntN(vowels)
	s.phase = 0
	from, to := 100+80*s.rng.Float64(), 100+80*s.rng.Float64()
	s.step = from / Rate
	s.glide = (to - from) / Rate / float64(s.len)
	s.loudness = 0.7 + 0.6*s.rng.Float64()
}

func (s *speech) Read(dst []int16) {
	for i := range dst {
		for s.left == 0 {
			s.next()
		}
		dst[i] = 0
		if s.voiced {
			dst[i] = s.sample()
		}
		s.left--
	}
}

func (s *speech) sample() int16 {
	at := s.phase * tableLen
	i := int(at)
	frac := at - float64(i)
	table := &s.tables[s.vowel]
	v := table[i%tableLen]*(1-frac) + table[(i+1)%tableLen]*frac
	_, s.phase = math.Modf(s.phase + s.step)
	s.step += s.glide
	// The envelope rises and falls over a quarter of the syllable each.
	edge := min(s.left, s.len-s.left)
	rise := min(1, 4*float64(edge)/float64(s.len))
	v *= s.loudness * rise * rise * (3 - 2*rise)
	return int16(math.RoundToEven(max(-full, min(full, v))))
}
