package g711

// PCMUToPCMA rewrites mu-law codes as A-law codes, in place, by G.711 table 3.
func PCMUToPCMA(codes []byte) {
	for i, c := range codes {
		codes[i] = muToA[c]
	}
}

// PCMAToPCMU rewrites A-law codes as mu-law codes, in place, by G.711 table 4.
func PCMAToPCMU(codes []byte) {
	for i, c := range codes {
		codes[i] = aToMu[c]
	}
}

// The two laws overload at different levels, +3.17 dBm0 and +3.14 dBm0, so their
// codes are matched by level on the line and not by the numbers that the
// decoders of this package give, which differ by 0.065 dB. Equal numbers would
// lose the property that the tables are made for: however often a sample crosses
// between the laws, nothing but its lowest bit changes.
//
// muNumbers gives the A-law output value number (1 to 128) for each mu-law
// number (0 to 127); aNumbers the mu-law number for each A-law number less 1.
// Above the last entry both grow by one a step.
var (
	muNumbers = [...]byte{
		1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8,
		9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
		25, 27, 29, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
		46, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
		64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
		81,
	}
	aNumbers = [...]byte{
		1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23,
		24, 25, 26, 27, 28, 29, 30, 31, 32, 32, 33, 33, 34, 34, 35, 35,
		36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 49,
		50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64,
		65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 79,
		80,
	}
)

var (
	muToA = func() (table [256]byte) {
		for c := range table {
			number := tail(muNumbers[:], ^byte(c)&0x7f)
			table[c] = (byte(c)&0x80 | (number - 1)) ^ aInvert
		}
		return table
	}()
	aToMu = func() (table [256]byte) {
		for c := range table {
			plain := byte(c) ^ aInvert
			table[c] = plain&0x80 | ^tail(aNumbers[:], plain&0x7f)&0x7f
		}
		return table
	}()
)

// tail looks up a number, continuing the table by ones.
func tail(numbers []byte, i byte) byte {
	last := byte(len(numbers) - 1)
	if i <= last {
		return numbers[i]
	}
	return numbers[last] + (i - last)
}
