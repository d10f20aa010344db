package stream

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// script is a connection that reads what was written down, in pieces.
type script struct {
	net.Conn
	bytes []byte
	piece int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.bytes[:min(len(s.bytes), s.piece)])
	s.bytes = s.bytes[n:]
	return n, nil
}

func (s *script) Write([]byte) (int, error)        { return 0, os.ErrClosed }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                     { return nil }

// collector drains at once.
type collector struct{ frames [][]byte }

func (k *collector) Accepted(*Conn) {}
func (k *collector) Closed(*Conn)   {}
func (k *collector) Frames(c *Conn) {
	c.Drain(func(p *netio.Packet) { k.frames = append(k.frames, bytes.Clone(p.Buf.Bytes())) })
}

// readAll cuts bytes that come in pieces into frames.
func readAll(b []byte, piece int, allocated bool) ([][]byte, Reason) {
	k := new(collector)
	l := &Listener{limits: Limits{}.withDefaults(), handler: k}
	c := newConn(l, new(script), loopback, turn.TCP)
	c.socket = &script{bytes: b, piece: piece}
	c.SetAllocated(allocated)
	why := c.readStream(nil)
	return k.frames, why
}

// FuzzFrames checks that how a stream comes in pieces makes no difference, and that frames are what their headers say.
func FuzzFrames(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, piece uint16, allocated bool) {
		whole, why := readAll(bytes.Clone(b), 1<<20, allocated)
		cut, whyCut := readAll(bytes.Clone(b), int(piece)+1, allocated)
		if why != whyCut || len(whole) != len(cut) {
			t.Fatalf("%d frames, %s; in pieces of %d: %d frames, %s", len(whole), why, int(piece)+1, len(cut), whyCut)
		}
		at := 0
		for i, frame := range whole {
			if !bytes.Equal(frame, cut[i]) || !bytes.Equal(frame, b[at:at+len(frame)]) {
				t.Fatalf("frame %d: %x or %x of %x", i, head(frame), head(cut[i]), head(b[at:]))
			}
			if n, err := turn.FrameSize(frame); err != nil || n != len(frame) {
				t.Fatalf("frame %d of %d bytes says %d, %v", i, len(frame), n, err)
			}
			if !allocated && len(frame) > defaultFrameBytes {
				t.Fatalf("a frame of %d bytes without an allocation", len(frame))
			}
			at += len(frame)
		}
		if why != ClientClosed && why != BadFrame && why != FrameTooLong {
			t.Fatalf("ended by %s", why)
		}
	})
}
