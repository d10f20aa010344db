// Package g711 encodes, decodes and converts ITU-T G.711 speech: 8000 samples a
// second, one byte a sample, in mu-law (RTP's PCMU) or A-law (PCMA).
//
// Functions that make samples or codes append to the slice they are given and
// return it, and allocate only if it is too short; conversions between the two
// laws happen in place. Nothing here keeps a slice or state between calls, so
// everything may be called from several goroutines.
//
// Samples are 16-bit linear. The recommendation quantises 14 bits (mu-law) and
// 13 bits (A-law), so the lowest two or three bits of a sample don't count.
// Results are those of the ITU-T software tool library (G.191) for every 16-bit
// value.
package g711

import "math/bits"

const (
	// muBias moves the mu-law's segments to powers of two, in 16-bit units
	// (G.711 table 2a: 33 in 14-bit units).
	muBias = 33 << 2
	// muClip is the largest magnitude that still has a code of its own once the
	// bias is added.
	muClip = 0x7fff - muBias
	// aInvert is the even-bit inversion of A-law codes (G.711 table 1a, note 2).
	aInvert = 0x55
)

// AppendPCMU appends the mu-law codes of pcm to dst.
func AppendPCMU(dst []byte, pcm []int16) []byte {
	for _, x := range pcm {
		dst = append(dst, muCode(x))
	}
	return dst
}

// AppendPCMA appends the A-law codes of pcm to dst.
func AppendPCMA(dst []byte, pcm []int16) []byte {
	for _, x := range pcm {
		dst = append(dst, aCode(x))
	}
	return dst
}

// AppendFromPCMU appends the samples that mu-law codes stand for to dst.
func AppendFromPCMU(dst []int16, codes []byte) []int16 {
	for _, c := range codes {
		dst = append(dst, muLevels[c])
	}
	return dst
}

// AppendFromPCMA appends the samples that A-law codes stand for to dst.
func AppendFromPCMA(dst []int16, codes []byte) []int16 {
	for _, c := range codes {
		dst = append(dst, aLevels[c])
	}
	return dst
}

// muCode compresses one sample. Negative samples are mirrored by their ones'
// complement, as G.191 does, so that -1 is the negative twin of 0. A magnitude
// of segment s is 1 in the bit s+7 of the biased value, with the four bits below
// it as the place within the segment. All bits are inverted on the line.
func muCode(x int16) byte {
	sign := byte(0x80)
	m := int(x)
	if m < 0 {
		m, sign = ^m, 0
	}
	m = min(m, muClip) + muBias
	segment := bits.Len(uint(m)) - 8
	place := m >> (segment + 3) & 0x0f
	return sign | ^byte(segment<<4|place)&0x7f
}

// aCode compresses one sample. The first two of the eight segments have the
// same step of 16, so segment 0 is the one without a leading bit.
func aCode(x int16) byte {
	sign := byte(0x80)
	m := int(x)
	if m < 0 {
		m, sign = ^m, 0
	}
	segment := max(bits.Len(uint(m))-8, 0)
	place := m >> (max(segment, 1) + 3) & 0x0f
	return (sign | byte(segment<<4|place)) ^ aInvert
}

var (
	muLevels = levels(muLevel)
	aLevels  = levels(aLevel)
)

func levels(level func(code byte) int16) (table [256]int16) {
	for c := range table {
		table[c] = level(byte(c))
	}
	return table
}

// muLevel is the middle of a code's interval, with the bias taken off again.
func muLevel(code byte) int16 {
	segment, place := ^code>>4&7, int16(^code&0x0f)
	m := (2*place+33)<<(segment+2) - muBias
	if code&0x80 == 0 {
		return -m
	}
	return m
}

// aLevel is the middle of a code's interval.
func aLevel(code byte) int16 {
	code ^= aInvert
	segment, place := code>>4&7, int16(code&0x0f)
	m := 16*place + 8
	if segment > 0 {
		m = (m + 256) << (segment - 1)
	}
	if code&0x80 == 0 {
		return -m
	}
	return m
}
