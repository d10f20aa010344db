package sdp

import (
	"fmt"
	"strconv"
	"strings"
)

// A session description is read line by line here and not by pion/sdp,
// which (v3.0.20) refuses the whole description for a media type or
// transport that it does not know. Gateways offer m=image with udptl (T.38)
// beside audio as a matter of course, and such a line has to be answered with
// port 0, not with a refusal of the call (RFC 3264 6).

// section is the session part or one m= part of a session description.
type section struct {
	media, proto string // of m=; "" in the session part
	port         int
	formats      []string
	connection   string // value of c=, "" when none
	attributes   []attribute
}

type attribute struct{ key, value string }

// maxSize bounds a session description in bytes. Offers of browsers, the
// longest around, stay under a quarter of it.
const maxSize = 32 << 10

// split reads the lines of a session description (RFC 8866 5): the
// session part first, then one section for every m= line. Lines of types that
// carry nothing for us are checked for form alone.
func split(body []byte) ([]section, error) {
	if len(body) > maxSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxSize)
	}
	sections := []section{{}}
	n := 0
	for line := range strings.Lines(string(body)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		n++
		if len(line) < 2 || line[1] != '=' || hasControl(line) {
			return nil, fmt.Errorf("%w: line %d is not of the form type=value", ErrInvalid, n)
		}
		kind, value := line[0], line[2:]
		if (n == 1) != (kind == 'v') {
			return nil, fmt.Errorf("%w: line %d: v= must be the first line and no other", ErrInvalid, n)
		}
		current := &sections[len(sections)-1]
		switch kind {
		case 'v':
			if strings.TrimSpace(value) != "0" {
				return nil, fmt.Errorf("%w: version %q", ErrInvalid, value)
			}
		case 'c':
			if current.connection == "" {
				current.connection = value
			}
		case 'a':
			key, v, _ := strings.Cut(value, ":")
			current.attributes = append(current.attributes, attribute{key, v})
		case 'm':
			s, err := mediaSection(value)
			if err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", ErrInvalid, n, err)
			}
			sections = append(sections, s)
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: empty", ErrInvalid)
	}
	return sections, nil
}

// mediaSection reads <media> <port>[/<number>] <proto> <fmt> ... (RFC 8866 5.14).
func mediaSection(value string) (section, error) {
	fields := strings.Fields(value)
	if len(fields) < 4 {
		return section{}, fmt.Errorf("m= needs media, port, transport and format: %q", value)
	}
	text, _, _ := strings.Cut(fields[1], "/")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return section{}, fmt.Errorf("m= port %q", fields[1])
	}
	return section{media: fields[0], port: int(port), proto: fields[2], formats: fields[3:]}, nil
}

// hasControl finds what must never be copied into another message: a bare CR
// or LF ends a line for a lenient reader.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
