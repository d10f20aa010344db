package sdp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Local is our half of a session description.
type Local struct {
	SessionID uint64         // of the o= line; stays through the session
	Version   uint64         // of the o= line; grows with each change (RFC 3264 8)
	RTP       netip.AddrPort // RTCP is the next port
	Proto     string         // RTP/AVP or RTP/SAVP
	Formats   []Format
	Crypto    []Crypto
	Direction string // "" is sendrecv
	Ptime     int    // ms, 0 leaves it out
	RTCPMux   bool   // RTCP comes where RTP does (RFC 5761); in an offer: may come
	RTCPRsize bool   // RTCP may come without a report (RFC 5506)
}

// Offer is a session description with our audio line alone.
func (l Local) Offer() []byte {
	var b strings.Builder
	l.session(&b)
	l.audio(&b, l.Proto)
	return []byte(b.String())
}

// Answer is the session description that answers offer, which must have audio:
// ours where its audio is, port 0 everywhere else, in the offer's order
// (RFC 3264 6).
func (l Local) Answer(offer *Description) []byte {
	return l.beside(offer, offer.lines[offer.index].proto)
}

// OfferAgain is an offer in a session whose lines are there already: our audio
// where the peer's was in its last description, port 0 everywhere else; no line
// goes and none changes its place (RFC 3264 8).
func (l Local) OfferAgain(last *Description) []byte { return l.beside(last, l.Proto) }

func (l Local) beside(other *Description, proto string) []byte {
	var b strings.Builder
	l.session(&b)
	for i, line := range other.lines {
		if i == other.index {
			l.audio(&b, proto)
			continue
		}
		fmt.Fprintf(&b, "m=%s 0 %s %s\r\n", line.media, line.proto, strings.Join(line.formats, " "))
	}
	return []byte(b.String())
}

func (l Local) session(b *strings.Builder) {
	family := "IP4"
	if l.RTP.Addr().Is6() {
		family = "IP6"
	}
	fmt.Fprintf(b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n",
		l.SessionID, l.Version, family, l.RTP.Addr(), family, l.RTP.Addr())
}

func (l Local) audio(b *strings.Builder, proto string) {
	types := make([]string, len(l.Formats))
	for i, f := range l.Formats {
		types[i] = strconv.Itoa(int(f.Type))
	}
	fmt.Fprintf(b, "m=audio %d %s %s\r\n", l.RTP.Port(), proto, strings.Join(types, " "))
	for _, f := range l.Formats {
		fmt.Fprintf(b, "a=rtpmap:%d %s/%d\r\n", f.Type, f.Name, f.Clock)
		if f.Fmtp != "" {
			fmt.Fprintf(b, "a=fmtp:%d %s\r\n", f.Type, f.Fmtp)
		}
	}
	if l.RTCPMux {
		b.WriteString("a=rtcp-mux\r\n")
	}
	if l.RTCPRsize {
		b.WriteString("a=rtcp-rsize\r\n")
	}
	for _, c := range l.Crypto {
		fmt.Fprintf(b, "a=crypto:%s\r\n", c)
	}
	if l.Ptime > 0 {
		fmt.Fprintf(b, "a=ptime:%d\r\n", l.Ptime)
	}
	direction := l.Direction
	if direction == "" {
		direction = "sendrecv"
	}
	fmt.Fprintf(b, "a=%s\r\n", direction)
}
