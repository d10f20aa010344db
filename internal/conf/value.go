package conf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Listen is an address to listen on, written as a URL: tls://192.0.2.10:5061. The address is always a particular one:
// SIP and TURN tell it to their peers.
type Listen struct {
	Network string // udp, tcp or tls; the relay's also dtls
	Addr    netip.AddrPort
}

// Datagrams reports whether the listener is a UDP socket.
func (l Listen) Datagrams() bool { return l.Network == "udp" || l.Network == "dtls" }

// String returns the URL.
func (l Listen) String() string { return l.Network + "://" + l.Addr.String() }

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// String returns the range as it is written in the file.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Contains reports whether port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Overlaps reports whether a port is in both ranges.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// Pairs is how many RTP/RTCP pairs the range holds: an even port and the odd one behind it.
func (r PortRange) Pairs() int {
	first, end := int(r.First), int(r.Last)+1
	return max(0, end/2-(first+1)/2)
}

// SIPURI is where calls are sent: sip:gateway.example.org:5060;transport=tcp. An address of record has a user besides.
type SIPURI struct {
	Host      string // an address, without brackets, or a name
	Port      int    // 0: what SRV records of Host say
	Transport string // udp, tcp or tls; "" of an address of record
	User      string // of an address of record alone
}

// String returns the URI with the parts that it has.
func (u SIPURI) String() string {
	text := "sip:"
	if u.User != "" {
		text += u.User + "@"
	}
	switch {
	case u.Port != 0:
		text += net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
	case strings.Contains(u.Host, ":"):
		text += "[" + u.Host + "]"
	default:
		text += u.Host
	}
	if u.Transport != "" {
		text += ";transport=" + u.Transport
	}
	return text
}

// Addr returns the address of Host; ok is false when Host is a name.
func (u SIPURI) Addr() (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(u.Host)
	return addr.Unmap(), err == nil
}

// transports are those of SIP.
var transports = []string{"udp", "tcp", "tls"}

// parseListen reads a URL such as tls://192.0.2.10:5061. The field's "port" tag says which networks there are, and the
// port that one has when it is left out.
func parseListen(text string, tag reflect.StructTag) (Listen, error) {
	network, rest, found := strings.Cut(text, "://")
	port := defaultPort(tag, network)
	if !found || port == 0 {
		return Listen{}, fmt.Errorf("is no listener; write %s and an address, such as tls://192.0.2.10", schemes(tag))
	}
	host, given, err := splitHostPort(rest)
	if err != nil {
		return Listen{}, err
	}
	addr, err := parseAddr(host)
	if err != nil {
		return Listen{}, fmt.Errorf("listens on %q, which is no IP address; write the address of an interface of this host", host)
	}
	switch {
	case addr.IsUnspecified():
		return Listen{}, errors.New("listens on every address of the host; write the one address that peers are to use, or one listener for each")
	case addr.IsMulticast():
		return Listen{}, errors.New("listens on a multicast address; write the address of an interface of this host")
	}
	if given != 0 {
		port = given
	}
	return Listen{Network: network, Addr: netip.AddrPortFrom(addr, uint16(port))}, nil
}

// parseSIPURI reads a URI such as sip:192.0.2.20:5060;transport=tcp. The transport that is left out is taken from the
// field's "via" tag, the port that is left out from its "port" tag; a name keeps none when the field has "srv". A field
// with "user" takes an address of record: sip:USER@HOST.
func parseSIPURI(text string, tag reflect.StructTag) (SIPURI, error) {
	rest, found := strings.CutPrefix(text, "sip:")
	u := SIPURI{Transport: tag.Get("via")}
	if tag.Get("user") != "" {
		user, host, hasUser := strings.Cut(rest, "@")
		if !found || !hasUser || !isUser(user) || strings.ContainsAny(host, ";?") {
			return SIPURI{}, errors.New("is no address of record; write sip:USER@HOST, without parameters")
		}
		u.User, rest = user, host
	}
	if !found {
		return SIPURI{}, errors.New("is no SIP URI; write sip:HOST:PORT;transport=udp, tcp or tls")
	}
	rest, params, hasParams := strings.Cut(rest, ";")
	if strings.Contains(rest, "@") {
		return SIPURI{}, errors.New("names a user; a next hop is a host alone: sip:HOST:PORT")
	}
	if hasParams {
		name, value, _ := strings.Cut(params, "=")
		if name != "transport" || !slices.Contains(transports, value) {
			return SIPURI{}, fmt.Errorf("has the parameter %q; the only one is transport=udp, tcp or tls", params)
		}
		u.Transport = value
	}
	var err error
	if u.Host, u.Port, err = splitHostPort(rest); err != nil {
		return SIPURI{}, err
	}
	addr, notAddr := parseAddr(u.Host)
	switch {
	case notAddr != nil && !isHostName(u.Host):
		return SIPURI{}, fmt.Errorf("has the host %q, which is neither an IP address nor a name", u.Host)
	case notAddr == nil && (addr.IsUnspecified() || addr.IsMulticast()):
		return SIPURI{}, fmt.Errorf("sends to %s, which is no host; write the address of the peer", addr)
	case notAddr == nil:
		u.Host = addr.String()
	}
	if u.Port == 0 && (notAddr == nil || tag.Get("srv") == "") {
		u.Port = defaultPort(tag, u.Transport)
	}
	return u, nil
}

// isUser accepts the user part of a SIP URI as it may stand there (RFC 3261 section 25.1), without a password.
func isUser(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || '9' < c) && (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && !strings.ContainsRune("-_.!~*'()&=+$,;?/%", rune(c)) {
			return false
		}
	}
	return s != ""
}

// parsePeer reads an address, a network, or a name.
func parsePeer(text string) (Peer, error) {
	if strings.Contains(text, "*") {
		return Peer{}, errors.New("has a wildcard; names are compared with certificates exactly, so write each one")
	}
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if prefix, err := parsePrefix(text); err == nil || strings.Contains(text, "/") || !isHostName(name) {
		if err != nil && !strings.Contains(text, "/") {
			err = errors.New("is neither an IP address nor a network nor a name; write 192.0.2.10, 192.0.2.0/24 or pool.example.org")
		}
		return Peer{Prefix: prefix}, err
	}
	return Peer{Name: name}, nil
}

// splitHostPort splits HOST, HOST:PORT, [V6] and [V6]:PORT. The port is 0 when there is none.
func splitHostPort(s string) (host string, port int, err error) {
	var portText string
	var hasPort bool
	switch end := strings.IndexByte(s, ']'); {
	case strings.HasPrefix(s, "["):
		if end < 0 {
			return "", 0, errors.New("has a bracket that is not closed; write [ADDRESS]:PORT")
		}
		host = s[1:end]
		if s[end+1:] != "" {
			if s[end+1] != ':' {
				return "", 0, errors.New("has text behind the bracket; write [ADDRESS]:PORT")
			}
			portText, hasPort = s[end+2:], true
		}
	case strings.Count(s, ":") > 1:
		return "", 0, errors.New("has an IPv6 address without brackets; write [ADDRESS]:PORT")
	default:
		host, portText, hasPort = strings.Cut(s, ":")
	}
	if host == "" {
		return "", 0, errors.New("has no host")
	}
	if hasPort {
		p, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || p == 0 {
			return "", 0, fmt.Errorf("has the port %q; ports are 1 to 65535", portText)
		}
		port = int(p)
	}
	return host, port, nil
}

// parsePortRange reads FIRST-LAST.
func parsePortRange(text string) (PortRange, error) {
	a, b, found := strings.Cut(text, "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	switch {
	case !found || err1 != nil || err2 != nil:
		return PortRange{}, errors.New("is no range of ports; write FIRST-LAST, such as 60000-64000")
	case first > last:
		return PortRange{}, fmt.Errorf("runs backwards; write %d-%d", last, first)
	case first < 1024:
		return PortRange{}, errors.New("reaches below port 1024, where other services live; choose ports from 1024 up")
	}
	return PortRange{First: uint16(first), Last: uint16(last)}, nil
}

// parsePrefix reads a network in CIDR notation, or an address, which is the network of that host alone.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := parseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is neither an IP address nor a network; write 192.0.2.10 or 192.0.2.0/24")
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("has bits behind its mask; write %s for the network or %s for the host", masked, prefix.Addr())
	}
	return prefix, nil
}

// parseAddr reads an address without a zone; an IPv4 address in IPv6 clothes is undressed.
func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, err
	}
	if addr.Zone() != "" {
		return netip.Addr{}, errors.New("addresses with a zone are not supported")
	}
	return addr.Unmap(), nil
}

// schemes lists the networks of the field's "port" tag as the beginnings of URLs.
func schemes(tag reflect.StructTag) string {
	var list []string
	for entry := range strings.SplitSeq(tag.Get("port"), ",") {
		name, _, _ := strings.Cut(entry, "=")
		list = append(list, name+"://")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

func defaultPort(tag reflect.StructTag, network string) int {
	for entry := range strings.SplitSeq(tag.Get("port"), ",") {
		if name, port, _ := strings.Cut(entry, "="); name == network {
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return 0
}

// isHostName accepts the names of RFC 1123 and, because they are in use, underscores.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if c != '-' && c != '_' && (c < '0' || '9' < c) && (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) {
				return false
			}
		}
	}
	// A name of digits and dots alone is an address that someone mistyped.
	return strings.Trim(s, "0123456789.") != ""
}
