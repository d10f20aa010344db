package transport

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// framer finds the messages in a stream of bytes (RFC 3261 7.5 and 18.3). It
// does no I/O: bytes are read into room, and what next returns depends on the
// bytes alone, not on the pieces they came in.
type framer struct {
	maxSize, maxHeaders int

	buf     []byte
	off     int  // where the message, or the gap before it, begins
	crlf    bool // the gap had a CRLF since the last message or ping
	scanned int  // bytes from off in which the head does not end
	started bool // the start line was looked at
	head    int  // length of the head with its empty line, once it is whole
	total   int  // length of the message, once the head is whole
	many    bool // it has more header fields than maxHeaders
}

// Sizes of a framer's buffer. Most messages are below the first; a buffer that
// a longer one needed is given back with it.
const (
	usualBuffer = 4 << 10
	readAhead   = 1 << 10 // room that a read has at least
)

func newFramer(limits Limits) *framer {
	return &framer{maxSize: limits.MessageSize, maxHeaders: limits.Headers}
}

// frameKind is what next found.
type frameKind uint8

const (
	frameNone    frameKind = iota // more bytes are needed
	framePing                     // a double CRLF (RFC 5626 3.5.1)
	frameMessage                  // a message
	frameCrowded                  // a message with too many header fields
)

// frame is one thing found in a stream. data is valid until the framer's room
// is asked for again.
type frame struct {
	kind frameKind
	data []byte // the message
	head int    // how long its head is, empty line included
}

// framingError says why the rest of a stream cannot be told apart. head is
// what came of the message's head, for an answer, with code and phrase.
type framingError struct {
	drop   Drop
	code   int
	reason string
	head   []byte
}

func (e *framingError) Error() string { return e.reason }

// room is where the next bytes are to be read; took says how many came.
func (f *framer) room() []byte {
	switch pending := len(f.buf) - f.off; {
	case pending == 0 && cap(f.buf) > 4*usualBuffer:
		f.buf, f.off = nil, 0
	case f.off > 0:
		copy(f.buf, f.buf[f.off:])
		f.buf, f.off = f.buf[:pending], 0
	}
	if cap(f.buf)-len(f.buf) < readAhead {
		grown := make([]byte, len(f.buf), max(usualBuffer, 2*cap(f.buf)))
		copy(grown, f.buf)
		f.buf = grown
	}
	return f.buf[len(f.buf):cap(f.buf)]
}

func (f *framer) took(n int) { f.buf = f.buf[:len(f.buf)+n] }

// begun says whether a part of a message waits for the rest.
func (f *framer) begun() bool { return f.off < len(f.buf) }

// next returns what the bytes so far hold, frameNone at their end. After an
// error the stream is of no use.
func (f *framer) next() (frame, error) {
	for f.scanned == 0 && f.total == 0 {
		ping, more := f.gap()
		if ping {
			return frame{kind: framePing}, nil
		}
		if !more {
			break
		}
	}
	if !f.begun() {
		return frame{}, nil
	}
	if f.total == 0 {
		if err := f.findHead(); err != nil || f.total == 0 {
			return frame{}, err
		}
	}
	b := f.buf[f.off:]
	if len(b) < f.total {
		return frame{}, nil
	}
	found := frame{kind: frameMessage, data: b[:f.total], head: f.head}
	if f.many {
		found.kind = frameCrowded
	}
	f.off += f.total
	f.scanned, f.started, f.head, f.total, f.many = 0, false, 0, 0, false
	return found, nil
}

// gap takes one CRLF before a message (RFC 3261 7.5 has it ignored) and says
// whether it makes a ping with the one before, and whether to look for more.
func (f *framer) gap() (ping, more bool) {
	b := f.buf[f.off:]
	if len(b) < 2 || b[0] != '\r' || b[1] != '\n' {
		return false, false
	}
	f.off += 2
	ping, f.crlf = f.crlf, !f.crlf
	return ping, true
}

var (
	crlf     = []byte("\r\n")
	crlfCRLF = []byte("\r\n\r\n")
)

// findHead looks for the end of the head and for what the head says of the
// body. What it finds wrong first, in order of the bytes, is the error.
func (f *framer) findHead() error {
	b := f.buf[f.off:]
	if b[0] == '\r' && len(b) == 1 {
		return nil // half a CRLF
	}
	f.crlf = false
	if !tokenChar(b[0]) {
		return &framingError{drop: DropMalformed, reason: fmt.Sprintf("no message begins with octet %#02x", b[0])}
	}
	window := b[:min(len(b), f.maxSize)]
	if !f.started {
		if i := bytes.Index(window[max(f.scanned-1, 0):], crlf); i >= 0 {
			if err := checkStartLine(window[:max(f.scanned-1, 0)+i]); err != nil {
				return err
			}
			f.started = true
		}
	}
	i := bytes.Index(window[max(f.scanned-len(crlfCRLF)+1, 0):], crlfCRLF)
	if i < 0 {
		f.scanned = len(window)
		if len(b) < f.maxSize {
			return nil
		}
		return &framingError{drop: DropMessageSize, code: 513, head: window,
			reason: fmt.Sprintf("the head is longer than %d bytes", f.maxSize)}
	}
	head := window[:max(f.scanned-len(crlfCRLF)+1, 0)+i+len(crlfCRLF)]
	fields, length, err := inspect(head)
	switch {
	case err != nil:
		return &framingError{drop: DropMalformed, code: 400, head: head, reason: err.Error()}
	case length < 0:
		return &framingError{drop: DropMalformed, code: 400, head: head, reason: "no Content-Length on a stream (RFC 3261 18.3)"}
	case length > f.maxSize-len(head):
		return &framingError{drop: DropMessageSize, code: 513, head: head,
			reason: fmt.Sprintf("the message is longer than %d bytes", f.maxSize)}
	}
	f.head, f.total, f.many = len(head), len(head)+length, fields > f.maxHeaders
	f.scanned = len(head)
	return nil
}

// checkStartLine tells other protocols before they have us wait for an empty
// line. What has SIP in it may be answered as a whole.
func checkStartLine(line []byte) error {
	if bytes.Contains(bytes.ToUpper(line), []byte("SIP/")) {
		return nil
	}
	return &framingError{drop: DropMalformed, reason: fmt.Sprintf("%.40q is no start line of SIP", line)}
}

// tokenChar says whether a start line may begin with c (RFC 3261 25.1, token).
func tokenChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0
}

var (
	errLengthTwice = errors.New("more than one Content-Length")
	errLength      = errors.New("Content-Length is no number")
)

// hugeLength stands for a Content-Length beyond any limit.
const hugeLength = 1 << 40

const (
	// maxFieldParts bounds the parameters and values in one header field, and its
	// folds: the parser takes time by the square of their number.
	maxFieldParts = 256
	// maxFieldBytes bounds one header field.
	maxFieldBytes = 16 << 10
	// costly is the number of header fields of a head with one that is beyond these
	// bounds: more than any limit.
	costly = 1 << 30
)

// inspect counts the header fields of a head that ends with an empty line, and
// reads its Content-Length: -1 when there is none. It names header fields as
// the parser does, so that both see the same body.
func inspect(head []byte) (fields, length int, err error) {
	length = -1
	if isCostly(head) {
		fields = costly
	}
	for name, value := range headerFields(head) {
		fields++
		if !strings.EqualFold(name, "content-length") && !strings.EqualFold(name, "l") {
			continue
		}
		if length >= 0 {
			return fields, length, errLengthTwice
		}
		if length, err = parseLength(value); err != nil {
			return fields, length, err
		}
	}
	return fields, length, nil
}

// isCostly says whether one of the lines of a head, or one with its folds, has
// more in it than messages have.
func isCostly(head []byte) bool {
	parts, size := 0, 0
	for i, c := range head {
		size++
		switch c {
		case ';', ',', '&', '?':
			parts++
		case '\n':
			parts++
			// Only CRLF ends a line for the parser.
			if next := i + 1; i > 0 && head[i-1] == '\r' && (next >= len(head) || head[next] != ' ' && head[next] != '\t') {
				parts, size = 0, 0
			}
		}
		if parts > maxFieldParts || size > maxFieldBytes {
			return true
		}
	}
	return false
}

func parseLength(s string) (int, error) {
	if s == "" {
		return -1, errLength
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1, errLength
		}
		if n = n*10 + int(s[i]-'0'); n > hugeLength {
			n = hugeLength
		}
	}
	return n, nil
}

// headerFields yields name and value of each header field of a head, unfolded
// (RFC 3261 7.3.1), white space around both removed. A line without a colon is
// a field with a name and no value. The start line is left out, and so is a
// last line that no CRLF ends.
func headerFields(head []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		_, rest, whole := bytes.Cut(head, crlf)
		for whole && len(rest) > 0 {
			var line []byte
			if line, rest, whole = bytes.Cut(rest, crlf); !whole || len(line) == 0 {
				return
			}
			text := bytes.Clone(line)
			for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
				if line, rest, whole = bytes.Cut(rest, crlf); !whole {
					return
				}
				text = append(append(bytes.TrimRight(text, " \t"), ' '), bytes.Trim(line, " \t")...)
			}
			name, value, _ := strings.Cut(string(text), ":")
			if !yield(strings.TrimSpace(name), strings.TrimSpace(value)) {
				return
			}
		}
	}
}
