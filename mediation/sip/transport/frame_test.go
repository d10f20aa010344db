package transport

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// framesOf feeds data to a framer in pieces of the given lengths, the rest at
// once, and says in words what it found.
func framesOf(data string, limits Limits, pieces []byte) []string {
	f := newFramer(limits)
	var found []string
	drain := func() bool {
		for {
			one, err := f.next()
			var broken *framingError
			switch {
			case errors.As(err, &broken):
				found = append(found, fmt.Sprintf("%s %d %q", broken.drop, broken.code, broken.head))
				return false
			case one.kind == frameNone:
				return true
			case one.kind == framePing:
				found = append(found, "ping")
			case one.kind == frameMessage:
				found = append(found, fmt.Sprintf("message %d %q", one.head, one.data))
			case one.kind == frameCrowded:
				found = append(found, fmt.Sprintf("crowded %d %q", one.head, one.data))
			}
		}
	}
	for len(data) > 0 {
		room := f.room()
		n := min(len(room), len(data))
		if len(pieces) > 0 {
			n, pieces = min(n, int(pieces[0])+1), pieces[1:]
		}
		copy(room, data[:n])
		f.took(n)
		data = data[n:]
		if !drain() {
			return found
		}
	}
	if f.begun() {
		found = append(found, "a part")
	}
	return found
}

var (
	fold   = regexp.MustCompile(`[ \t]*\r\n[ \t]+`)
	digits = regexp.MustCompile(`^[0-9]+$`)
)

// framesAtOnce is the slow and obvious reading of a whole stream, for
// comparison with the framer's in pieces.
func framesAtOnce(s string, limits Limits) []string {
	var found []string
	single := false
	for {
		if strings.HasPrefix(s, "\r\n") {
			if s = s[2:]; single {
				found = append(found, "ping")
			}
			single = !single
			continue
		}
		if s == "" {
			return found
		}
		if s == "\r" {
			return append(found, "a part")
		}
		single = false
		if !strings.ContainsAny(s[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~") {
			return append(found, `malformed 0 ""`)
		}
		window := s[:min(len(s), limits.MessageSize)]
		line, _, complete := strings.Cut(window, "\r\n")
		if complete && !strings.Contains(strings.ToUpper(line), "SIP/") {
			return append(found, `malformed 0 ""`)
		}
		head, _, complete := strings.Cut(window, "\r\n\r\n")
		switch {
		case !complete && len(s) < limits.MessageSize:
			return append(found, "a part")
		case !complete:
			return append(found, fmt.Sprintf("message_size 513 %q", window))
		}
		_, fields, _ := strings.Cut(head, "\r\n")
		var lengths []string
		count := 0
		for field := range strings.SplitSeq(fold.ReplaceAllString(fields, " "), "\r\n") {
			if field == "" {
				continue
			}
			count++
			name, value, _ := strings.Cut(field, ":")
			if name = strings.ToLower(strings.TrimSpace(name)); name == "content-length" || name == "l" {
				lengths = append(lengths, strings.TrimSpace(value))
			}
		}
		head += "\r\n\r\n"
		if len(lengths) != 1 || !digits.MatchString(lengths[0]) {
			return append(found, fmt.Sprintf("malformed 400 %q", head))
		}
		length := 0
		if d := strings.TrimLeft(lengths[0], "0"); len(d) > 9 {
			length = 1 << 30
		} else if d != "" {
			length, _ = strconv.Atoi(d)
		}
		switch {
		case len(head)+length > limits.MessageSize:
			return append(found, fmt.Sprintf("message_size 513 %q", head))
		case len(s) < len(head)+length:
			return append(found, "a part")
		}
		kind := "message"
		if count > limits.Headers {
			kind = "crowded"
		}
		found = append(found, fmt.Sprintf("%s %d %q", kind, len(head), s[:len(head)+length]))
		s = s[len(head)+length:]
	}
}

var smallLimits = Limits{MessageSize: 400, Headers: 6}

// streams are what FuzzFrames begins with; the names say what is in them.
var streams = map[string]string{
	"two messages":              "OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcSIP/2.0 200 OK\r\nl: 0\r\n\r\n",
	"pings around":              "\r\n\r\n\r\nACK sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n\r\n\r\n",
	"one CRLF in a gap":         "A sip:a SIP/2.0\r\nl:0\r\n\r\n\r\nA sip:a SIP/2.0\r\nl:0\r\n\r\n\r\n",
	"half a CRLF":               "\r",
	"a lone CR":                 "\rA",
	"folded length":             "A sip:a SIP/2.0\r\nContent-Length:\r\n 2\r\n\r\nab",
	"folded name":               "A sip:a SIP/2.0\r\nContent-Length\r\n : 2\r\n\r\nab",
	"length above and below":    "A sip:a SIP/2.0\r\nl: 2\r\nSubject: x\r\n\tContent-Length: 9\r\n\r\nab",
	"length twice":              "A sip:a SIP/2.0\r\nl: 2\r\nContent-Length: 2\r\n\r\nab",
	"no length":                 "A sip:a SIP/2.0\r\nVia: x\r\n\r\n",
	"negative length":           "A sip:a SIP/2.0\r\nl: -1\r\n\r\n",
	"signed length":             "A sip:a SIP/2.0\r\nl: +1\r\n\r\na",
	"huge length":               "A sip:a SIP/2.0\r\nl: 99999999999999999999999\r\n\r\n",
	"zeros before the length":   "A sip:a SIP/2.0\r\nl: 0000000000000000000002\r\n\r\nab",
	"length beyond the end":     "A sip:a SIP/2.0\r\nl: 20\r\n\r\nab",
	"body longer than said":     "A sip:a SIP/2.0\r\nl: 1\r\n\r\nab HTTP\r\n",
	"endless header":            "A sip:a SIP/2.0\r\nX: " + strings.Repeat("a", 500),
	"endless start line":        "A sip:" + strings.Repeat("a", 500),
	"many headers":              "A sip:a SIP/2.0\r\n" + strings.Repeat("a:\r\n", 7) + "l: 1\r\n\r\nxB sip:a SIP/2.0\r\nl:0\r\n\r\n",
	"HTTP":                      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"TLS":                       "\x16\x03\x01\x02\x00\x01",
	"line feeds alone":          "A sip:a SIP/2.0\nl: 0\n\n",
	"a space before the first":  "A sip:a SIP/2.0\r\n l: 1\r\n\r\nx",
	"no header":                 "A sip:a SIP/2.0\r\n\r\n",
	"as long as may be":         "A sip:a SIP/2.0\r\nl: 373\r\n\r\n" + strings.Repeat("x", 375),
	"one octet more":            "A sip:a SIP/2.0\r\nl: 374\r\n\r\n" + strings.Repeat("x", 375),
	"as many headers as may be": "A sip:a SIP/2.0\r\n" + strings.Repeat("a:\r\n", 5) + "l: 1\r\n\r\nx",
	"body of line ends":         "A sip:a SIP/2.0\r\nl: 6\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
}

func TestFramesInEveryCut(t *testing.T) {
	for name, stream := range streams {
		want := framesAtOnce(stream, smallLimits)
		for first := range len(stream) {
			pieces := []byte{byte(min(first, 255))}
			if got := framesOf(stream, smallLimits, pieces); !slices.Equal(got, want) {
				t.Errorf("%s cut after %d:\n got %q\nwant %q", name, first+1, got, want)
			}
		}
		if got := framesOf(stream, smallLimits, make([]byte, len(stream))); !slices.Equal(got, want) {
			t.Errorf("%s in single bytes:\n got %q\nwant %q", name, got, want)
		}
	}
}

// FuzzFrames: whatever pieces a stream comes in, the framer finds in it what a
// reading of the whole finds.
func FuzzFrames(f *testing.F) {
	for _, stream := range streams {
		f.Add([]byte(stream), []byte{0, 7, 1, 30})
	}
	f.Fuzz(func(t *testing.T, stream, pieces []byte) {
		want := framesAtOnce(string(stream), smallLimits)
		if got := framesOf(string(stream), smallLimits, pieces); !slices.Equal(got, want) {
			t.Errorf("in pieces of %v:\n got %q\nwant %q", pieces, got, want)
		}
	})
}

// A connection that is silent again gives its buffer back.
func TestFramerGivesBack(t *testing.T) {
	f := newFramer(DefaultLimits())
	long := "A sip:a SIP/2.0\r\nl: 60000\r\n\r\n" + strings.Repeat("x", 60000)
	for len(long) > 0 {
		n := copy(f.room(), long)
		f.took(n)
		long = long[n:]
	}
	if one, err := f.next(); err != nil || one.kind != frameMessage {
		t.Fatalf("%v, %v", one.kind, err)
	}
	if n := len(f.room()); n > 4*usualBuffer {
		t.Errorf("%d bytes are kept", n)
	}
}
