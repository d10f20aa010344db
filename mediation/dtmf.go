package mediation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"causeway/mediation/media"
	"causeway/mediation/sip"
)

// Digits by INFO, in the two body types that gateways use. They are read and
// written anew: of a body nothing else reaches the other side.
const (
	dtmfRelay = "application/dtmf-relay" // "Signal=5\r\nDuration=160\r\n"
	dtmfPlain = "application/dtmf"       // "5"
)

const (
	// defaultDigit is how long a digit lasts that does not say so.
	defaultDigit = 160 * time.Millisecond
	// Bounds on what a peer may ask for. Shorter digits are not heard
	// (ITU-T Q.24: 40 ms), longer ones would hold the stream.
	shortestDigit = 40 * time.Millisecond
	longestDigit  = 5 * time.Second
	// maxDigitBody is far above what either body type needs, in bytes.
	maxDigitBody = 256
)

// digit is one key of a telephone.
type digit struct {
	key    byte // 0-9, *, #, A-D
	length time.Duration
}

// readDigit takes a digit out of an INFO body.
func readDigit(mediaType string, body []byte) (digit, bool) {
	if len(body) > maxDigitBody {
		return digit{}, false
	}
	d := digit{length: defaultDigit}
	mediaType, _, _ = strings.Cut(mediaType, ";")
	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case dtmfPlain:
		return d, d.setKey(string(body))
	case dtmfRelay:
	default:
		return digit{}, false
	}
	known := false
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "signal":
			if known = d.setKey(value); !known {
				return digit{}, false
			}
		case "duration":
			ms, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return digit{}, false
			}
			d.length = min(max(time.Duration(ms)*time.Millisecond, shortestDigit), longestDigit)
		}
	}
	return d, known
}

// setKey takes a key, or its event number where a peer writes that: 10 is *,
// 11 is # (RFC 4733 3.2, table 3).
func (d *digit) setKey(s string) bool {
	s = strings.ToUpper(strings.TrimSpace(s))
	switch s {
	case "10":
		s = "*"
	case "11":
		s = "#"
	}
	if len(s) != 1 || !strings.Contains("0123456789*#ABCD", s) {
		return false
	}
	d.key = s[0]
	return true
}

// body is the digit as an INFO body of type dtmfRelay.
func (d digit) body() []byte {
	return fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", d.key, d.length.Milliseconds())
}

// info takes a digit that a peer sent by INFO to the other leg: as an event in
// its audio (RFC 4733) where the peer takes those, else as INFO.
func (c *Call) info(from party, ev sip.Event) {
	far := &c.legs[from.other()]
	d, ok := readDigit(ev.Type, ev.Body)
	if !ok {
		c.srv.counters.digit(digitUnknown)
		return
	}
	if c.at() == inviting || !far.agreed {
		c.srv.counters.digit(digitEarly)
		return
	}
	switch err := c.bridge.Play(far.side, string(d.key), d.length); {
	case err == nil:
		c.srv.counters.digit(digitPlayed)
	case errors.Is(err, media.ErrNoEvents):
		c.srv.counters.digit(digitPassed)
		far.session.Info(dtmfRelay, d.body())
	default:
		c.log.Info("digit not played", "side", sideNames[far.side], "err", err)
		c.srv.counters.digit(digitLost)
	}
}
