package transport

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
)

// phrases of the answers that are given here.
var phrases = map[int]string{400: "Bad Request", 513: "Message Too Large"}

// answer writes the response to a request that goes no further, from the text
// of its head: what the parser could not read, or need not. It makes no state
// (RFC 3261 8.2.7). ok is false for what cannot be answered: a response, an
// ACK, and a request without the header fields that its response must repeat.
func (l *Layer) answer(head []byte, code int, f Flow) (response []byte, to Flow, ok bool) {
	line, _, _ := bytes.Cut(head, crlf)
	method, _, found := bytes.Cut(line, []byte{' '})
	if !found || len(method) > 3 && strings.EqualFold(string(method[:4]), "SIP/") || strings.EqualFold(string(method), "ACK") {
		return nil, f, false
	}
	var vias []string
	var repeated [4]string
	for name, value := range headerFields(head) {
		i := repeatedIndex(name)
		if i < 0 {
			continue
		}
		if !plain(value) || value == "" || len(value) > maxFieldBytes {
			return nil, f, false
		}
		if i == viaIndex {
			vias = append(vias, value)
			continue
		}
		if repeated[i] != "" {
			return nil, f, false
		}
		repeated[i] = value
	}
	from, toValue, callID, cseq := repeated[0], repeated[1], repeated[2], repeated[3]
	if len(vias) == 0 || from == "" || toValue == "" || callID == "" || cseq == "" {
		return nil, f, false
	}
	vias[0], to = stampText(vias[0], f)
	if !tagged(toValue) {
		toValue += ";tag=" + l.statelessTag(vias[0], callID, cseq)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", code, phrases[code])
	for _, via := range vias {
		fmt.Fprintf(&b, "Via: %s\r\n", via)
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n", from, toValue, callID, cseq)
	return b.Bytes(), to, true
}

const viaIndex = 4

// repeatedIndex says which header field of those that a response repeats (RFC
// 3261 8.2.6.2) has this name, long or compact; -1: none.
func repeatedIndex(name string) int {
	for i, names := range [...][2]string{{"from", "f"}, {"to", "t"}, {"call-id", "i"}, {"cseq", "cseq"}, {"via", "v"}} {
		if strings.EqualFold(name, names[0]) || strings.EqualFold(name, names[1]) {
			return i
		}
	}
	return -1
}

// plain says whether a value can stand on a line of ours.
func plain(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// tagged says whether the value of a To has a tag of its own.
func tagged(to string) bool {
	if i := strings.LastIndexByte(to, '>'); i >= 0 {
		to = to[i:]
	}
	for _, param := range strings.Split(to, ";")[1:] {
		if name, _, _ := strings.Cut(param, "="); strings.EqualFold(strings.TrimSpace(name), "tag") {
			return true
		}
	}
	return false
}

// statelessTag is the same for every copy of a request (RFC 3261 8.2.7), and
// not to be guessed by others.
func (l *Layer) statelessTag(parts ...string) string {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// stampText does to the text of a Via what stamp does to a parsed one, and
// says where the response goes, as Reply does.
func stampText(value string, f Flow) (string, Flow) {
	top, rest := cutUnquoted(value, ',')
	sentBy, params := cutUnquoted(top, ';')
	out, rport := strings.TrimSpace(sentBy), false
	for params != "" {
		var param string
		param, params = cutUnquoted(params[1:], ';')
		param = strings.TrimSpace(param)
		name, _, _ := strings.Cut(param, "=")
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "received") || param == "":
			continue
		case strings.EqualFold(name, "rport"):
			rport = true
			param = "rport=" + strconv.Itoa(int(f.Remote.Port()))
		}
		out += ";" + param
	}
	out += ";received=" + f.Remote.Addr().WithZone("").String() + rest
	if rport || f.Network != "udp" {
		return out, f
	}
	return out, replyPort(f, sentByPort(sentBy))
}

// cutUnquoted cuts s before the first sep outside quotation marks.
func cutUnquoted(s string, sep byte) (before, from string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// sentByPort is the port at the end of "SIP/2.0/UDP host:port"; 0 for none.
func sentByPort(s string) int {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.IndexByte(s[i:], ']') >= 0 {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(s[i+1:]))
	if err != nil {
		return 0
	}
	return n
}

// unmapped is an address as everything above knows it.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
