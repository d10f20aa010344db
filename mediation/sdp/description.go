// Package sdp reads and writes session descriptions as far as one audio stream
// of RTP or SRTP needs (RFC 8866, RFC 3264, RFC 4568). It does no I/O and keeps
// no state; bounds on what it reads are constants here.
package sdp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Format is one payload type of an audio stream.
type Format struct {
	Type  uint8
	Name  string // encoding name as written, e.g. "PCMU"
	Clock int    // Hz
	Fmtp  string // a=fmtp value, "" when none
}

// Is says whether the format is that encoding; encoding names are not case
// sensitive (RFC 4855 3).
func (f Format) Is(name string, clock int) bool {
	return f.Clock == clock && strings.EqualFold(f.Name, name)
}

func (f Format) String() string { return f.Name + "/" + strconv.Itoa(f.Clock) }

// Audio is an audio m= line that is in use.
type Audio struct {
	Remote    netip.AddrPort // where its RTP is received; invalid when on hold (c=0.0.0.0)
	RTCP      netip.AddrPort // where its RTCP is received (RFC 3605, else the next port)
	RTCPMux   bool           // RTCP may come where RTP does (RFC 5761), and no payload type stands in its way
	RTCPRsize bool           // RTCP may come without a report (RFC 5506)
	Secure    bool           // RTP/SAVP or RTP/SAVPF
	Proto     string         // as written
	Formats   []Format       // in order of preference
	Crypto    []Crypto       // usable a=crypto lines
	HasCrypto bool           // there were a=crypto lines, usable or not
	Direction string         // sendrecv, sendonly, recvonly, inactive
	Ptime     int            // ms, 0 when not given
}

// Description is a parsed offer or answer.
type Description struct {
	Audio *Audio // the first audio line in use; nil when there is none
	lines []mediaLine
	index int // of Audio among the lines
}

// mediaLine is what an answer must repeat of a line that it refuses.
type mediaLine struct {
	media, proto string
	formats      []string
}

// ErrInvalid is in the chain of every error about a session description.
var ErrInvalid = errors.New("session description")

// Bounds on what a session description may hold; more is refused before any
// of it is looked at.
const (
	maxMediaLines = 16
	maxFormats    = 64
)

// staticFormats are the payload types of RFC 3551 table 4 that need no rtpmap.
var staticFormats = map[uint8]Format{
	0: {0, "PCMU", 8000, ""}, 3: {3, "GSM", 8000, ""}, 4: {4, "G723", 8000, ""},
	5: {5, "DVI4", 8000, ""}, 6: {6, "DVI4", 16000, ""}, 7: {7, "LPC", 8000, ""},
	8: {8, "PCMA", 8000, ""}, 9: {9, "G722", 8000, ""}, 10: {10, "L16", 44100, ""},
	11: {11, "L16", 44100, ""}, 12: {12, "QCELP", 8000, ""}, 13: {13, "CN", 8000, ""},
	14: {14, "MPA", 90000, ""}, 15: {15, "G728", 8000, ""}, 16: {16, "DVI4", 11025, ""},
	17: {17, "DVI4", 22050, ""}, 18: {18, "G729", 8000, ""},
}

// Parse reads an offer or answer. The first audio line with a port is
// kept; every other line is remembered only to be refused.
func Parse(body []byte) (*Description, error) {
	sections, err := split(body)
	if err != nil {
		return nil, err
	}
	session, media := &sections[0], sections[1:]
	if len(media) > maxMediaLines {
		return nil, fmt.Errorf("%w: more than %d m= lines", ErrInvalid, maxMediaLines)
	}
	d := &Description{index: -1}
	for i := range media {
		m := &media[i]
		if len(m.formats) > maxFormats {
			return nil, fmt.Errorf("%w: more than %d formats in m=%s", ErrInvalid, maxFormats, m.media)
		}
		d.lines = append(d.lines, mediaLine{m.media, m.proto, m.formats})
		if d.Audio != nil || m.media != "audio" || m.port == 0 || !rtpProfile(m.proto) {
			continue
		}
		if d.Audio, err = parseAudio(session, m); err != nil {
			return nil, err
		}
		d.index = i
	}
	return d, nil
}

func rtpProfile(proto string) bool {
	switch proto {
	case "RTP/AVP", "RTP/SAVP", "RTP/AVPF", "RTP/SAVPF":
		return true
	}
	return false
}

func parseAudio(session, m *section) (*Audio, error) {
	a := &Audio{Proto: m.proto, Secure: strings.HasPrefix(m.proto, "RTP/S"), Direction: "sendrecv"}
	addr, err := connection(cmp.Or(m.connection, session.connection))
	if err != nil {
		return nil, err
	}
	if !addr.IsUnspecified() { // c=0.0.0.0 is hold of old (RFC 3264 8.4)
		a.Remote = netip.AddrPortFrom(addr, uint16(m.port))
		if m.port < 65535 {
			a.RTCP = netip.AddrPortFrom(addr, uint16(m.port+1))
		}
	}
	rtpmap, fmtp := map[string]string{}, map[string]string{}
	for _, at := range slices.Concat(session.attributes, m.attributes) {
		switch at.key {
		case "sendrecv", "sendonly", "recvonly", "inactive":
			a.Direction = at.key
		case "rtpmap":
			pt, v, _ := strings.Cut(at.value, " ")
			rtpmap[pt] = v
		case "fmtp":
			pt, v, _ := strings.Cut(at.value, " ")
			fmtp[pt] = v
		case "ptime":
			a.Ptime = max(atoi(strings.TrimSpace(at.value)), 0)
		case "rtcp":
			a.setRTCP(at.value)
		case "rtcp-mux":
			a.RTCPMux = true
		case "rtcp-rsize":
			a.RTCPRsize = true
		case "crypto":
			a.HasCrypto = true
			if c, err := parseCrypto(at.value); err == nil {
				a.Crypto = append(a.Crypto, c)
			}
		}
	}
	for _, s := range m.formats {
		f, ok := parseFormat(s, rtpmap[s], fmtp[s])
		if ok && !slices.ContainsFunc(a.Formats, func(o Format) bool { return o.Type == f.Type }) {
			a.Formats = append(a.Formats, f)
		}
	}
	// Numbers that are told from RTCP by nothing (RFC 5761 section 4).
	if slices.ContainsFunc(a.Formats, func(f Format) bool { return f.Type >= 64 && f.Type <= 95 }) {
		a.RTCPMux = false
	}
	return a, nil
}

// broadcast reaches everyone on the link and nobody in particular (RFC 919 7).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// connection reads the address of a c= line: IN IP4 address[/ttl] (RFC 8866 5.7).
func connection(value string) (netip.Addr, error) {
	fields := strings.Fields(value)
	if len(fields) != 3 || fields[0] != "IN" {
		return netip.Addr{}, fmt.Errorf("%w: no usable c= line for audio", ErrInvalid)
	}
	addr, err := netip.ParseAddr(fields[2])
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: c= line has no unicast IP address: %q", ErrInvalid, fields[2])
	}
	if addr = addr.Unmap(); addr.IsMulticast() || addr == broadcast || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: c= line names %s, which is no unicast address", ErrInvalid, addr)
	}
	return addr, nil
}

// setRTCP takes a=rtcp:port [IN IP4 address] (RFC 3605 2.1).
func (a *Audio) setRTCP(value string) {
	fields := strings.Fields(value)
	if len(fields) == 0 {
		return
	}
	port := atoi(fields[0])
	if port < 1 || port > 65535 || !a.Remote.IsValid() {
		return
	}
	addr := a.Remote.Addr()
	if len(fields) == 4 {
		given, err := netip.ParseAddr(fields[3])
		if err != nil || given.IsMulticast() || given.IsUnspecified() {
			return
		}
		addr = given.Unmap()
	}
	a.RTCP = netip.AddrPortFrom(addr, uint16(port))
}

func parseFormat(pt, rtpmap, fmtp string) (Format, bool) {
	n, err := strconv.ParseUint(pt, 10, 8)
	if err != nil || n > 127 {
		return Format{}, false
	}
	f, ok := staticFormats[uint8(n)]
	if rtpmap != "" {
		parts := strings.Split(strings.TrimSpace(rtpmap), "/")
		if len(parts) < 2 {
			return Format{}, false
		}
		if len(parts) > 2 && parts[2] != "1" {
			return Format{}, false // more than one channel: nothing of ours
		}
		f, ok = Format{Name: parts[0], Clock: atoi(parts[1])}, true
	}
	f.Type, f.Fmtp = uint8(n), fmtp
	return f, ok && !hasControl(f.Name)
}

// Find is the first format with that encoding.
func (a *Audio) Find(name string, clock int) (Format, bool) {
	for _, f := range a.Formats {
		if f.Is(name, clock) {
			return f, true
		}
	}
	return Format{}, false
}

// Media lists what the description's lines are about, for a Warning:
// "audio, image".
func (d *Description) Media() string {
	media := make([]string, len(d.lines))
	for i, l := range d.lines {
		media[i] = l.media
	}
	return strings.Join(media, ", ")
}

// Names lists the formats, for a Warning.
func (a *Audio) Names() string {
	names := make([]string, 0, len(a.Formats))
	for _, f := range a.Formats {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

// atoi is the number in s, or -1 when there is none.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
