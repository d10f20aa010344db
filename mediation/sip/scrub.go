package sip

import (
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// Bounds of what is carried as text.
const (
	maxPhrase = 128 // bytes of a reason phrase, a Reason text, a Warning text
	maxName   = 128 // bytes of a display name
)

// maxHosts bounds the hosts that one message's texts are searched for. An
// honest message names a dozen.
const maxHosts = 128

// hidden is what must not show on the other side: every address in any form,
// and the hosts that it lists.
type hidden struct {
	names []string // lower case, host names of one or more labels, and domains
	addrs []netip.Addr
	many  bool // more hosts than are searched for: no text is safe
}

// hiddenIn lists the hosts that a message names anywhere: in its URIs, Via,
// Call-ID and session description; with configured beside them. msg may be nil.
func hiddenIn(msg sip.Message, configured []string) hidden {
	var h hidden
	for _, host := range configured {
		h.host(host)
	}
	if msg == nil {
		return h
	}
	var headers []sip.Header
	switch msg := msg.(type) {
	case *sip.Request:
		h.host(msg.Recipient.Host)
		headers = msg.Headers()
	case *sip.Response:
		headers = msg.Headers()
	}
	for _, header := range headers {
		value := header.Value()
		if _, ok := header.(*sip.ViaHeader); ok {
			h.via(value)
			continue
		}
		h.uris(value)
		if plain := unescape(value); plain != value {
			h.uris(plain)
		}
	}
	h.description(string(msg.Body()))
	return h
}

// via lists the hosts of a Via header: sent-by and the parameters that hold
// one (RFC 3261 20.42, RFC 3581).
func (h *hidden) via(value string) {
	for one := range strings.SplitSeq(value, ",") {
		parts := strings.Split(one, ";")
		if _, sentBy, ok := strings.Cut(strings.TrimSpace(parts[0]), " "); ok {
			h.host(leadingHost(strings.TrimSpace(sentBy)))
		}
		for _, p := range parts[1:] {
			name, v, _ := strings.Cut(p, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "received", "maddr":
				h.host(leadingHost(strings.TrimSpace(v)))
			}
		}
	}
}

// uris lists what stands in the place of a host in a header of any kind: behind
// an @, a scheme, or a parameter's name that means a host.
func (h *hidden) uris(value string) {
	lower := strings.ToLower(value)
	for _, before := range hostsBehind {
		for rest := lower; !h.many; {
			_, after, ok := strings.Cut(rest, before)
			if !ok {
				break
			}
			rest = after
			after = after[:min(len(after), maxLook)]
			if uri, _, _ := cutAny(after, "<>\", \t"); strings.HasSuffix(before, ":") && strings.Contains(uri, "@") {
				continue // a user part; its host is behind the @
			}
			h.host(leadingHost(strings.TrimLeft(after, `"/`)))
		}
	}
}

// maxLook bounds how far a host, and the @ before it, is looked for: no name is
// longer.
const maxLook = 256

var hostsBehind = []string{"@", "sip:", "sips:", "//", "maddr=", "received=", "trunk-context=", "icid-generated-at="}

// cutAny cuts s at the first of chars.
func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// description lists the host names of a session description: o=, c= and the
// attributes that hold an address (RFC 8866 5.2, 5.7; RFC 3605).
func (h *hidden) description(body string) {
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(line, "o=") && !strings.HasPrefix(line, "c=") && !strings.HasPrefix(line, "a=rtcp:") {
			continue
		}
		if f := strings.Fields(line); len(f) > 2 {
			address, _, _ := strings.Cut(f[len(f)-1], "/") // a multicast address has a TTL behind it
			h.host(address)
		}
	}
}

// leadingHost is the host that s begins with.
func leadingHost(s string) string {
	if strings.HasPrefix(s, "[") {
		host, _, _ := strings.Cut(s[1:], "]")
		return host
	}
	for i := range len(s) {
		if !isHostByte(s[i]) {
			return s[:i]
		}
	}
	return s
}

func isHostByte(c byte) bool {
	return isAlnum(c) || c == '-' || c == '.' || c == '_'
}

// notHosts stand in the place of a host and are none.
var notHosts = map[string]bool{"anonymous.invalid": true, "unknown.invalid": true}

// host lists one host. The domain of a name is hidden with it: the names
// beside it are its side's, too.
func (h *hidden) host(host string) {
	host = strings.ToLower(strings.Trim(host, ".[]"))
	if host == "" || len(host) > maxLook || slices.Contains(h.names, host) {
		return
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr = addr.Unmap().WithZone(""); !slices.Contains(h.addrs, addr) {
			h.addrs = append(h.addrs, addr)
		}
	} else if !notHosts[host] && strings.Trim(host, "0123456789") != "" { // a number is no name
		names := []string{host}
		if _, domain, _ := strings.Cut(host, "."); strings.Contains(domain, ".") {
			names = append(names, domain)
		}
		for _, name := range names {
			if !slices.Contains(h.names, name) {
				h.names = append(h.names, name)
			}
		}
	}
	h.many = len(h.names)+len(h.addrs) > maxHosts
}

// in reports whether text names an address or a host that is hidden.
func (h *hidden) in(text string) bool {
	plain := unescape(text)
	return h.plainIn(text) || plain != text && h.plainIn(plain)
}

func (h *hidden) plainIn(text string) bool {
	if holdsIPv4(text) || holdsIPv6(text) || h.many && text != "" {
		return true
	}
	lower := strings.ToLower(text)
	for _, name := range h.names {
		if strings.Contains(name, ".") && strings.Contains(lower, name) || holdsWord(lower, name) {
			return true
		}
	}
	for _, addr := range h.addrs {
		// As it stands in the names that address plans are made into.
		if addr.Is4() && (strings.Contains(lower, strings.ReplaceAll(addr.String(), ".", "-")) ||
			strings.Contains(lower, strings.ReplaceAll(addr.String(), ".", "_"))) {
			return true
		}
	}
	return false
}

// isAddr reports whether s is an address that the message names, and nothing
// else.
func (h *hidden) isAddr(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && slices.Contains(h.addrs, addr.Unmap())
}

// name is a display name as it may be shown: as it is, or not at all.
func (h *hidden) name(s string) (shown string, why WithheldReason, ok bool) {
	return h.text(s, maxName)
}

// phrase is a text of a machine for people, a reason phrase say, as it may be
// shown: as it is, or not at all. More is held to be a host here than in a
// display name, because nothing depends on such a text.
func (h *hidden) phrase(s string) (shown string, why WithheldReason, ok bool) {
	if shown, why, ok = h.text(s, maxPhrase); ok && looksLikeHost(shown) {
		return "", WithheldAddress, false
	}
	return shown, why, ok
}

func (h *hidden) text(s string, most int) (shown string, why WithheldReason, ok bool) {
	s = strings.TrimSpace(s)
	switch {
	case len(s) > most:
		return "", WithheldTooMuch, false
	case hasControl(s), !utf8.ValidString(s):
		return "", WithheldMalformed, false
	case h.in(s):
		return "", WithheldAddress, false
	}
	return s, 0, true
}

// looksLikeHost finds a name with a dot and a top-level domain of letters, a
// URI, an address of a mailbox, and a word with a port.
func looksLikeHost(s string) bool {
	lower := strings.ToLower(s)
	if strings.Contains(lower, "sip:") || strings.Contains(lower, "sips:") || strings.Contains(lower, "//") || strings.Contains(lower, "@") {
		return true
	}
	for i := 0; i < len(lower); {
		if !isHostByte(lower[i]) {
			i++
			continue
		}
		run := leadingHost(lower[i:])
		i += len(run)
		if isDomain(strings.Trim(run, ".-_")) {
			return true
		}
		if i < len(lower) && lower[i] == ':' && isPort(lower[i+1:]) {
			return true
		}
	}
	return false
}

func isDomain(s string) bool {
	dot := strings.LastIndexByte(s, '.')
	if dot <= 0 || s[dot-1] == '.' || len(s)-dot-1 < 2 {
		return false
	}
	top := s[dot+1:]
	return strings.HasPrefix(top, "xn--") || strings.Trim(top, "abcdefghijklmnopqrstuvwxyz") == ""
}

// isPort reports whether s begins with a port number of four or five digits;
// shorter ones are rather codes.
func isPort(s string) bool {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n == 4 || n == 5
}

// holdsIPv4 finds four groups of digits with dots between them of which the two
// in the middle can be bytes. What stands around them does not save them.
func holdsIPv4(s string) bool {
	groups := 0 // digits and dots in turn, so far
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		digits := s[start:i]
		switch {
		case digits == "":
			groups, i = 0, i+1
			continue
		case !isByte(digits) && (groups == 1 || groups == 2):
			groups = 1 // too large for the middle, but it may be the first
		default:
			groups++
		}
		if groups == 4 {
			return true
		}
		if i == len(s) || s[i] != '.' {
			groups = 0
		}
		if i < len(s) {
			i++
		}
	}
	return false
}

// isByte reports whether digits are a number up to 255.
func isByte(digits string) bool {
	digits = strings.TrimLeft(digits, "0")
	return len(digits) < 3 || len(digits) == 3 && digits <= "255"
}

// holdsIPv6 finds what can only be an IPv6 address, or an address of hardware:
// two colons in a row, or three or more between hexadecimal digits. A time of
// day has two.
func holdsIPv6(s string) bool {
	colons := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':':
			colons++
			if colons == 3 || i > 0 && s[i-1] == ':' {
				return true
			}
		case !isHex(c):
			colons = 0
		}
	}
	return false
}

// holdsWord finds word in s where no letter or digit is beside it.
func holdsWord(s, word string) bool {
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(word)
		if (i == 0 || !isAlnum(s[i-1])) && (end == len(s) || !isAlnum(s[end])) {
			return true
		}
		from = i + 1
	}
}

// unescape undoes percent escapes (RFC 3261 25.1); what is none stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlnum(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
