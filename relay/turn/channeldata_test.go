package turn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestParseChannelData(t *testing.T) {
	for _, c := range []struct {
		name             string
		in               string
		datagram, stream error
		channel          uint16
		data             string
	}{
		{"whole words", "\x40\x00\x00\x04abcd", nil, nil, 0x4000, "abcd"},
		{"last channel", "\x4F\xFF\x00\x04abcd", nil, nil, 0x4FFF, "abcd"},
		{"no data", "\x40\x01\x00\x00", nil, nil, 0x4001, ""},
		{"unpadded", "\x40\x01\x00\x05abcde", nil, ErrTruncated, 0x4001, "abcde"},
		{"padded", "\x40\x01\x00\x05abcde\x00\x00\x00", nil, nil, 0x4001, "abcde"},
		{"padded with anything", "\x40\x01\x00\x05abcdexyz", nil, nil, 0x4001, "abcde"},
		{"padded in part", "\x40\x01\x00\x05abcde\x00", nil, ErrTruncated, 0x4001, "abcde"},
		{"a word too much", "\x40\x01\x00\x05abcde\x00\x00\x00\x00", ErrTrailing, ErrTrailing, 0, ""},
		{"padding of whole words", "\x40\x01\x00\x04abcd\x00", ErrTrailing, ErrTrailing, 0, ""},
		{"padding without data", "\x40\x01\x00\x00\x00\x00\x00\x00", ErrTrailing, ErrTrailing, 0, ""},
		{"a byte missing", "\x40\x01\x00\x05abcd", ErrTruncated, ErrTruncated, 0, ""},
		{"longest length, no data", "\x40\x01\xFF\xFF", ErrTruncated, ErrTruncated, 0, ""},
		{"longest length, some data", "\x40\x01\xFF\xFFabcdefgh", ErrTruncated, ErrTruncated, 0, ""},
		{"half a header", "\x40\x01\x00", ErrTruncated, ErrTruncated, 0, ""},
		{"nothing", "", ErrTruncated, ErrTruncated, 0, ""},
		{"channel of RFC 5766", "\x50\x00\x00\x00", nil, nil, 0x5000, ""},
		{"last channel of RFC 5766", "\x7F\xFF\x00\x00", nil, nil, 0x7FFF, ""},
		{"above channels", "\x80\x00\x00\x00", ErrNotChannelData, ErrNotChannelData, 0, ""},
		{"below channels", "\x3F\xFF\x00\x00", ErrNotChannelData, ErrNotChannelData, 0, ""},
		{"RTP", "\x80\x00\x00\x00", ErrNotChannelData, ErrNotChannelData, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, stream := range []bool{false, true} {
				want := c.datagram
				if stream {
					want = c.stream
				}
				channel, data, err := ParseChannelData([]byte(c.in), stream)
				if !errors.Is(err, want) {
					t.Errorf("stream %v: %v, want %v", stream, err, want)
				}
				if want == nil && (channel != c.channel || string(data) != c.data || cap(data) != len(data)) {
					t.Errorf("stream %v: %#x %q with room for %d", stream, channel, data, cap(data))
				}
				if want != nil && (channel != 0 || data != nil) {
					t.Errorf("stream %v: %#x %q beside an error", stream, channel, data)
				}
			}
		})
	}
}

func TestPutChannelHeader(t *testing.T) {
	for _, n := range []int{0, 1, 4, 1200, 0xFFFF} {
		b := make([]byte, ChannelHeaderSize+PaddedLen(n))
		PutChannelHeader(b, 0x4ABC, n)
		for _, stream := range []bool{false, true} {
			channel, data, err := ParseChannelData(b, stream)
			if err != nil || channel != 0x4ABC || len(data) != n {
				t.Errorf("%d bytes come back as %d for %#x: %v", n, len(data), channel, err)
			}
		}
		if size, err := FrameSize(b); err != nil || size != len(b) {
			t.Errorf("a frame of %d bytes: %d, %v", len(b), size, err)
		}
	}
}

func TestFrameSize(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		want int
		err  error
	}{
		{"nothing", "", 0, nil},
		{"not enough", "\x40\x00\x00", 0, nil},
		{"not enough, and wrong", "\xFF\xFF\xFF", 0, nil},
		{"empty STUN", "\x00\x01\x00\x00", 20, nil},
		{"STUN", "\x00\x01\x00\x58", 108, nil},
		{"longest STUN", "\x00\x01\xFF\xFC", 65552, nil},
		{"odd STUN", "\x00\x01\x00\x01", 0, ErrNotFrame},
		{"last method", "\x3F\xFF\x00\x00", 20, nil},
		{"empty channel", "\x40\x00\x00\x00", 4, nil},
		{"channel with padding", "\x4F\xFF\x00\x01", 8, nil},
		{"channel without", "\x40\x00\x00\x04", 8, nil},
		{"longest channel", "\x40\x00\xFF\xFF", 65540, nil},
		{"channel of RFC 5766", "\x50\x00\x00\x00", 4, nil},
		{"TLS", "\x16\x03\x01\x02", 20 + 0x0102, ErrNotFrame},
		{"HTTP POST, by chance a channel", "POST", 0x5354 + 4, nil},
		{"HTTP GET, by chance a channel", "GET ", 0x5420 + 4, nil},
		{"RTP", "\x80\x00\x00\x00", 0, ErrNotFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.err != nil {
				c.want = 0
			}
			if got, err := FrameSize([]byte(c.in)); got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%d, %v, want %d, %v", got, err, c.want, c.err)
			}
		})
	}
}

// Where 16 bits are not enough for the frame: the size must not wrap (CVE-2026-68552 of another server).
func TestFrameSizeDoesNotWrap(t *testing.T) {
	for n := 65500; n <= 65535; n++ {
		channel := []byte{0x40, 0x00, byte(n >> 8), byte(n)}
		if got, err := FrameSize(channel); err != nil || got < ChannelHeaderSize+n || got > ChannelHeaderSize+n+3 || got > MaxFrameSize {
			t.Errorf("ChannelData of %d: %d, %v", n, got, err)
		}
		stun := []byte{0x00, 0x01, byte(n >> 8), byte(n)}
		switch got, err := FrameSize(stun); {
		case n%4 == 0 && (err != nil || got != 20+n || got > MaxFrameSize):
			t.Errorf("STUN of %d: %d, %v", n, got, err)
		case n%4 != 0 && !errors.Is(err, ErrNotFrame):
			t.Errorf("STUN of %d: %v", n, err)
		}
	}
}

// frames cuts a stream, and returns what is left over.
func frames(b []byte) (list [][]byte, rest []byte, err error) {
	for {
		n, err := FrameSize(b)
		if err != nil || n == 0 || n > len(b) {
			return list, b, err
		}
		list, b = append(list, b[:n]), b[n:]
	}
}

func TestFrames(t *testing.T) {
	longest := message(0x0001, attr(AttrData, make([]byte, 0xFFFC-4)...))
	wide := append([]byte{0x40, 0x01, 0xFF, 0xFF}, make([]byte, 0x10000)...)
	odd := []byte("\x40\x02\x00\x05abcde\x00\x00\x00")
	bare := message(0x0011)
	want := [][]byte{longest, odd, wide, bare, odd, odd}
	list, rest, err := frames(append(bytes.Join(want, nil), 0x40, 0x00))
	if err != nil || len(rest) != 2 || len(list) != len(want) {
		t.Fatalf("%d frames, %d bytes left, %v", len(list), len(rest), err)
	}
	for i := range want {
		if !bytes.Equal(list[i], want[i]) {
			t.Errorf("frame %d has %d bytes", i, len(list[i]))
		}
	}
	parsed(t, list[0])
	if _, data, err := ParseChannelData(list[2], true); err != nil || len(data) != 0xFFFF {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want Kind
	}{
		{"nothing", nil, KindOther},
		{"STUN", message(0x0001), KindSTUN},
		{"a method of the future", message(0x3FFF), KindSTUN},
		{"a torn message", message(0x0001)[:9], KindSTUN},
		{"without a cookie", make([]byte, 20), KindOther},
		{"too short for a cookie", message(0x0001)[:7], KindOther},
		{"ChannelData", []byte{0x40, 0, 0, 0}, KindChannelData},
		{"last ChannelData", []byte{0x4F, 0xFF, 0, 0}, KindChannelData},
		{"torn ChannelData", []byte{0x40, 0, 0}, KindOther},
		{"last of RFC 5766", []byte{0x7F, 0, 0, 0}, KindChannelData},
		{"DTLS", append([]byte{22, 254, 253}, make([]byte, 30)...), KindOther},
		{"RTP", append([]byte{0x80, 0}, make([]byte, 30)...), KindOther},
	} {
		if got := Classify(c.in); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for first := range 256 {
		b := []byte{byte(first), 0, 0, 0}
		binary.BigEndian.PutUint16(b[2:], 0)
		if got := Classify(b) == KindChannelData; got != (first >= 0x40 && first <= 0x7F) {
			t.Errorf("first byte %#x: %v", first, got)
		}
	}
}
