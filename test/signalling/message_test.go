package signalling

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// message is a SIP message as it was on the wire, read without the product's parser.
type message struct {
	raw     string
	first   string      // request or status line
	headers [][2]string // as written, but for compact names
	body    string

	at   time.Time
	from netip.AddrPort
	over *link // the connection it came on; nil with UDP

	again bool // the same bytes were heard before: a retransmission
	taken bool // a test has had it
}

// compact are the short forms of header names (RFC 3261 7.3.3 and the registry).
var compact = map[string]string{
	"i": "Call-ID", "m": "Contact", "e": "Content-Encoding", "l": "Content-Length", "c": "Content-Type", "f": "From",
	"s": "Subject", "k": "Supported", "t": "To", "v": "Via", "x": "Session-Expires", "r": "Refer-To", "o": "Event",
}

var errFraming = errors.New("not framed as RFC 3261 18.3 asks")

// parseMessage reads a datagram, or a message that readMessage cut out of a stream.
func parseMessage(raw string) (*message, error) {
	head, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		return nil, fmt.Errorf("%w: no empty line in %q", errFraming, raw)
	}
	m := &message{raw: raw, body: body}
	for i, line := range strings.Split(head, "\r\n") {
		if i == 0 {
			m.first = line
			continue
		}
		if line != "" && (line[0] == ' ' || line[0] == '\t') && len(m.headers) > 0 {
			m.headers[len(m.headers)-1][1] += " " + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%w: header line %q", errFraming, line)
		}
		name = strings.TrimSpace(name)
		if long, ok := compact[strings.ToLower(name)]; ok {
			name = long
		}
		m.headers = append(m.headers, [2]string{name, strings.TrimSpace(value)})
	}
	n, err := strconv.Atoi(m.header("Content-Length"))
	if err != nil || n != len(body) {
		return nil, fmt.Errorf("%w: Content-Length %q, body of %d bytes", errFraming, m.header("Content-Length"), len(body))
	}
	return m, nil
}

// readMessage reads one message of a stream, and passes over keep-alives between messages (RFC 5626 3.5.1).
func readMessage(r *bufio.Reader) (*message, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if head.Len() == 0 && line == "\r\n" {
			continue
		}
		head.WriteString(line)
		if line == "\r\n" {
			break
		}
	}
	length := 0
	for line := range strings.Lines(head.String()) {
		name, value, _ := strings.Cut(line, ":")
		if name = textproto.TrimString(name); strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "l") {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil || n < 0 || n > 1<<20 {
				return nil, fmt.Errorf("%w: %q", errFraming, line)
			}
			length = n
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return parseMessage(head.String() + string(body))
}

// header is the value of the first header of that name, or "".
func (m *message) header(name string) string {
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// all are the values of every header of that name, in order.
func (m *message) all(name string) []string {
	var values []string
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

// names says whether a header that is a list of tokens, such as Allow, names one.
func (m *message) names(header, token string) bool {
	for _, v := range m.all(header) {
		for one := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// code is the status code, 0 of a request.
func (m *message) code() int {
	rest, ok := strings.CutPrefix(m.first, "SIP/2.0 ")
	if !ok {
		return 0
	}
	n, _ := strconv.Atoi(rest[:min(3, len(rest))])
	return n
}

// method is the request's method, or that of the request which a response answers.
func (m *message) method() string {
	if m.code() != 0 {
		_, method := m.seq()
		return method
	}
	method, _, _ := strings.Cut(m.first, " ")
	return method
}

// uri is the Request-URI.
func (m *message) uri() string {
	fields := strings.Fields(m.first)
	if len(fields) != 3 {
		return ""
	}
	return fields[1]
}

func (m *message) seq() (number int, method string) {
	digits, method, _ := strings.Cut(m.header("CSeq"), " ")
	number, _ = strconv.Atoi(digits)
	return number, strings.TrimSpace(method)
}

func (m *message) callID() string { return m.header("Call-ID") }

// tag is the tag of From or To, or "".
func (m *message) tag(header string) string { return parameter(m.header(header), "tag") }

// parameter is a parameter of a header's value, behind the angle brackets if there are any.
func parameter(value, name string) string {
	if at := strings.LastIndexByte(value, '>'); at >= 0 {
		value = value[at+1:]
	}
	for p := range strings.SplitSeq(value, ";") {
		if key, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(key, name) {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// address is the URI in a header's value.
func address(value string) string {
	if _, rest, ok := strings.Cut(value, "<"); ok {
		uri, _, _ := strings.Cut(rest, ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return strings.TrimSpace(uri)
}

// user is the user part of a URI.
func user(uri string) string {
	_, rest, _ := strings.Cut(uri, ":")
	name, _, ok := strings.Cut(rest, "@")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, ";")
	return name
}

// contains says whether a list of tokens, or any text, has one in it, in any case.
func contains(list, token string) bool { return strings.Contains(strings.ToLower(list), token) }
