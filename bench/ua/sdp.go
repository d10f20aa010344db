package ua

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// Encoding names of RTP payloads.
const (
	PCMU = "PCMU"
	PCMA = "PCMA"

	event = "telephone-event" // RFC 4733
)

const (
	plainProto  = "RTP/AVP"
	secureProto = "RTP/SAVP"

	// cryptoTag is the tag in our offers. It is not 1, so that a peer that answers 1 whatever was offered is caught.
	cryptoTag = 3
	eventType = 101 // the payload type in our offers
)

// ErrSDP is in the chain of every error about a session description that cannot be used, or that does not answer
// the one it should.
var ErrSDP = errors.New("session description")

// description is what an SDP body says about its first audio stream.
type description struct {
	media     int // number of m= lines
	direction Direction
	proto     string
	rtp       netip.AddrPort
	rtcp      netip.AddrPort
	formats   []format
	crypto    []crypto
}

type format struct {
	pt   uint8
	name string // in upper case, but for event
}

type crypto struct {
	tag   int
	suite string
	key   []byte // master key and salt
}

func (d *description) format(name string) (format, bool) {
	i := slices.IndexFunc(d.formats, func(f format) bool { return f.name == name })
	if i < 0 {
		return format{}, false
	}
	return d.formats[i], true
}

// audio is the formats that are speech, in order.
func (d *description) audio() []format {
	return slices.DeleteFunc(slices.Clone(d.formats), func(f format) bool { return f.name == event })
}

// marshal writes the body. Versions of one session count up from its number (RFC 3264 section 8).
func (d *description) marshal(session, version uint64) []byte {
	var b strings.Builder
	family := "IP4"
	if d.rtp.Addr().Is6() {
		family = "IP6"
	}
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %[3]s %[4]s\r\nt=0 0\r\n", session, version, family, d.rtp.Addr())
	fmt.Fprintf(&b, "m=audio %d %s", d.rtp.Port(), d.proto)
	for _, f := range d.formats {
		fmt.Fprintf(&b, " %d", f.pt)
	}
	b.WriteString("\r\n")
	for _, f := range d.formats {
		fmt.Fprintf(&b, "a=rtpmap:%d %s/%d\r\n", f.pt, f.name, clockRate)
		if f.name == event {
			fmt.Fprintf(&b, "a=fmtp:%d 0-15\r\n", f.pt)
		}
	}
	for _, c := range d.crypto {
		fmt.Fprintf(&b, "a=crypto:%d %s inline:%s\r\n", c.tag, c.suite, base64.StdEncoding.EncodeToString(c.key))
	}
	if d.rtcp.Port() != 0 && d.rtcp.Port() != d.rtp.Port()+1 {
		fmt.Fprintf(&b, "a=rtcp:%d IN %s %s\r\n", d.rtcp.Port(), family, d.rtcp.Addr())
	}
	fmt.Fprintf(&b, "a=ptime:%d\r\na=%s\r\n", frameTime.Milliseconds(), d.direction)
	return []byte(b.String())
}

// parseDescription reads a body. It fails when it has no usable audio stream.
func parseDescription(body []byte) (*description, error) {
	var s sdp.SessionDescription
	if err := s.Unmarshal(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSDP, err)
	}
	d := &description{media: len(s.MediaDescriptions)}
	i := slices.IndexFunc(s.MediaDescriptions, func(m *sdp.MediaDescription) bool { return m.MediaName.Media == "audio" })
	if i < 0 {
		return nil, fmt.Errorf("%w: no audio", ErrSDP)
	}
	m := s.MediaDescriptions[i]
	d.proto = strings.Join(m.MediaName.Protos, "/")
	address := m.ConnectionInformation
	if address == nil {
		address = s.ConnectionInformation
	}
	if address == nil || address.Address == nil {
		return nil, fmt.Errorf("%w: no address", ErrSDP)
	}
	addr, err := netip.ParseAddr(address.Address.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: address: %w", ErrSDP, err)
	}
	port := m.MediaName.Port.Value
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("%w: audio is refused or has no port: %d", ErrSDP, port)
	}
	d.rtp = netip.AddrPortFrom(addr, uint16(port))
	d.rtcp = netip.AddrPortFrom(addr, uint16(port+1))
	if err := d.attributes(m); err != nil {
		return nil, err
	}
	d.direction = directionOf(m.Attributes, directionOf(s.Attributes, SendRecv))
	if addr.IsUnspecified() { // the hold of RFC 2543: nothing is to be sent there
		d.direction = between(d.direction.sends(), false)
	}
	return d, nil
}

// directionOf is what attributes say of the direction, or otherwise.
func directionOf(attributes []sdp.Attribute, otherwise Direction) Direction {
	for _, a := range attributes {
		switch d := Direction(a.Key); d {
		case SendRecv, SendOnly, RecvOnly, Inactive:
			return d
		}
	}
	return otherwise
}

func (d *description) attributes(m *sdp.MediaDescription) error {
	names := map[string]string{"0": PCMU, "8": PCMA} // RFC 3551, without a=rtpmap
	for _, a := range m.Attributes {
		switch a.Key {
		case "rtpmap":
			pt, encoding, _ := strings.Cut(a.Value, " ")
			name, clock, _ := strings.Cut(strings.TrimSpace(encoding), "/")
			clock, _, _ = strings.Cut(clock, "/") // one channel or none given
			if clock == strconv.Itoa(clockRate) {
				names[pt] = normalName(name)
			} else {
				delete(names, pt)
			}
		case "rtcp": // RFC 3605
			port, _, _ := strings.Cut(a.Value, " ")
			p, err := strconv.ParseUint(port, 10, 16)
			if err != nil || p == 0 {
				return fmt.Errorf("%w: a=rtcp:%s", ErrSDP, a.Value)
			}
			d.rtcp = netip.AddrPortFrom(d.rtp.Addr(), uint16(p))
		case "crypto":
			c, err := parseCrypto(a.Value)
			if err != nil {
				return err
			}
			d.crypto = append(d.crypto, c)
		}
	}
	for _, f := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			return fmt.Errorf("%w: payload type %q", ErrSDP, f)
		}
		if name := names[f]; name != "" {
			d.formats = append(d.formats, format{uint8(pt), name})
		}
	}
	return nil
}

func normalName(name string) string {
	if strings.EqualFold(name, event) {
		return event
	}
	return strings.ToUpper(name)
}

// parseCrypto reads the value of an a=crypto attribute (RFC 4568 section 9.1). Suites that are not known keep their
// name and no key. Session parameters and master key identifiers are refused: none is ever offered here.
func parseCrypto(value string) (crypto, error) {
	fail := func(why string) (crypto, error) { return crypto{}, fmt.Errorf("%w: a=crypto: %s", ErrSDP, why) }
	fields := strings.Fields(value)
	if len(fields) < 3 {
		return fail("it has fewer than three parts")
	}
	tag, err := strconv.ParseUint(fields[0], 10, 31)
	if err != nil {
		return fail("the tag is no number")
	}
	c := crypto{tag: int(tag), suite: fields[1]}
	size := keyLen(c.suite)
	if size == 0 {
		return c, nil
	}
	if len(fields) > 3 {
		return fail("session parameters")
	}
	text, ok := strings.CutPrefix(fields[2], "inline:")
	if !ok {
		return fail("the key is not inline")
	}
	text, rest, _ := strings.Cut(text, "|")
	if strings.Contains(rest, ":") {
		return fail("a master key identifier")
	}
	c.key, err = base64.StdEncoding.DecodeString(text)
	if err != nil || len(c.key) != size {
		return fail(fmt.Sprintf("%d bytes of key do not fit %s", len(c.key), c.suite))
	}
	return c, nil
}

// checkAnswer says everything that is wrong with the answer to an offer of ours (RFC 3264 section 6, RFC 4568
// section 5.1.2), so that one test shows all of it.
func checkAnswer(offer, answer *description) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: the answer "+format, append([]any{ErrSDP}, args...)...))
	}
	if answer.media != 1 {
		wrong("has %d media lines to one offered", answer.media)
	}
	if answer.proto != offer.proto {
		wrong("is %s to an offer of %s", answer.proto, offer.proto)
	}
	if len(answer.audio()) == 0 {
		wrong("has no audio format")
	}
	if answer.direction.sends() && !offer.direction.receives() || answer.direction.receives() && !offer.direction.sends() {
		wrong("is %s to an offer of %s", answer.direction, offer.direction)
	}
	for _, f := range answer.formats {
		if !slices.Contains(offer.formats, f) {
			wrong("has %s as payload type %d, which was not offered", f.name, f.pt)
		}
	}
	switch {
	case len(offer.crypto) == 0 && len(answer.crypto) > 0:
		wrong("has a=crypto to an offer without")
	case len(offer.crypto) > 0 && len(answer.crypto) != 1:
		wrong("has %d a=crypto lines, not one", len(answer.crypto))
	case len(offer.crypto) > 0:
		o, a := offer.crypto[0], answer.crypto[0]
		if a.tag != o.tag || a.suite != o.suite {
			wrong("takes crypto %d %s to an offer of %d %s", a.tag, a.suite, o.tag, o.suite)
		}
		if slices.Equal(a.key, o.key) {
			wrong("repeats our key")
		}
	}
	return errors.Join(errs...)
}
