package g711

import "testing"

func BenchmarkFrame(b *testing.B) {
	pcm := make([]int16, 160)
	for i := range pcm {
		pcm[i] = int16(i * 397)
	}
	codes := AppendPCMU(nil, pcm)
	for name, f := range map[string]func(){
		"encode-pcmu": func() { AppendPCMU(codes[:0], pcm) },
		"encode-pcma": func() { AppendPCMA(codes[:0], pcm) },
		"decode-pcmu": func() { AppendFromPCMU(pcm[:0], codes) },
		"decode-pcma": func() { AppendFromPCMA(pcm[:0], codes) },
		"pcmu-pcma":   func() { PCMUToPCMA(codes) },
		"pcma-pcmu":   func() { PCMAToPCMU(codes) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(160)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
