package tone

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrWAV is the error of a file that is not a mono WAV file of 16-bit linear samples, or not one at all.
var ErrWAV = errors.New("not a mono 16-bit PCM WAV file")

const (
	wavPCM        = 1
	wavExtensible = 0xfffe // the format proper is in the first two bytes of the GUID behind it
	wavHeaderLen  = 44
)

// WriteWAV writes the samples as a mono 16-bit WAV file of the given sampling rate in Hz.
func WriteWAV(w io.Writer, rate int, pcm []int16) error {
	size := 2 * len(pcm)
	out := make([]byte, 0, wavHeaderLen+size)
	le := binary.LittleEndian
	out = append(out, "RIFF"...)
	out = le.AppendUint32(out, uint32(wavHeaderLen-8+size))
	out = append(out, "WAVEfmt "...)
	out = le.AppendUint32(out, 16)
	out = le.AppendUint16(out, wavPCM)
	out = le.AppendUint16(out, 1) // channels
	out = le.AppendUint32(out, uint32(rate))
	out = le.AppendUint32(out, uint32(2*rate)) // bytes a second
	out = le.AppendUint16(out, 2)              // bytes a sample of all channels
	out = le.AppendUint16(out, 16)             // bits
	out = append(out, "data"...)
	out = le.AppendUint32(out, uint32(size))
	for _, s := range pcm {
		out = le.AppendUint16(out, uint16(s))
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	return nil
}

// ReadWAV reads a mono 16-bit WAV file. Chunks it does not know are skipped. A file cut off within its samples gives
// those that are there, for recorders die too; other damage is ErrWAV.
func ReadWAV(r io.Reader) (rate int, pcm []int16, err error) {
	var riff [12]byte
	if _, err := io.ReadFull(r, riff[:]); err != nil {
		return 0, nil, notWAV(err)
	}
	if string(riff[:4]) != "RIFF" || string(riff[8:]) != "WAVE" {
		return 0, nil, ErrWAV
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, nil, notWAV(err)
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		body := io.LimitReader(r, size)
		switch id := string(head[:4]); {
		case id == "fmt ":
			if rate, err = readFormat(body); err != nil {
				return 0, nil, err
			}
		case id == "data" && rate == 0:
			return 0, nil, fmt.Errorf("%w: samples before their format", ErrWAV)
		case id == "data":
			pcm, err = readSamples(body)
			return rate, pcm, err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return 0, nil, fmt.Errorf("read WAV: %w", err)
		}
		if size%2 == 1 { // chunks are padded to even lengths
			if _, err := io.ReadFull(r, head[:1]); err != nil {
				return 0, nil, notWAV(err)
			}
		}
	}
}

func readFormat(r io.Reader) (rate int, err error) {
	var f [26]byte
	n, err := io.ReadFull(r, f[:])
	if err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || n < 16) {
		return 0, notWAV(err)
	}
	le := binary.LittleEndian
	format := le.Uint16(f[0:])
	if format == wavExtensible && n == len(f) {
		format = le.Uint16(f[24:])
	}
	channels, bits := le.Uint16(f[2:]), le.Uint16(f[14:])
	if format != wavPCM || channels != 1 || bits != 16 {
		return 0, fmt.Errorf("%w: format %#x, %d channels, %d bits", ErrWAV, format, channels, bits)
	}
	rate = int(le.Uint32(f[4:]))
	if rate < 1 || rate > 1<<20 {
		return 0, fmt.Errorf("%w: %d samples a second", ErrWAV, rate)
	}
	return rate, nil
}

func readSamples(r io.Reader) ([]int16, error) {
	// The length in the header is not believed: memory grows with what is really there.
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read WAV: %w", err)
	}
	pcm := make([]int16, len(data)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return pcm, nil
}

func notWAV(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrWAV)
	}
	return fmt.Errorf("read WAV: %w", err)
}
