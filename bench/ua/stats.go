package ua

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Stats is what one end of a call measured. Pointers are nil where nothing is known.
type Stats struct {
	Codec string // that we send; "" when none was agreed
	SRTP  string // crypto suite; "" for plain RTP
	Local string // where RTP is received, as the peer is told

	Sent       uint64 // RTP packets
	SendFailed uint64 // RTP and RTCP packets that could not be sent

	Received   uint64 // RTP packets, without duplicates
	Lost       int64  // RFC 3550 A.3 without duplicates
	Duplicates uint64
	Reordered  uint64 // arrived after one that was sent later
	SSRCs      int    // streams received, one after the other

	JitterMS    *float64 // RFC 3550 A.8, at the end
	JitterMaxMS *float64
	Delay       *Delay // one way to here

	Early      uint64 // RTP and RTCP packets before there was an agreement; not looked at
	Strays     uint64 // from elsewhere than the agreed address and port; not looked at
	Rejected   uint64 // not authentic, repeated, or no RTP or RTCP
	Unexpected uint64 // of a payload type that was not agreed on

	// Marks counts received RTP packets by their DSCP (RFC 2474).
	Marks map[uint8]uint64
	// Digits are the keys received as telephone events.
	Digits string

	ReportsSent     uint64 // RTCP compound packets
	ReportsReceived uint64
	Bye             bool     // an RTCP BYE came
	RoundTripMS     *float64 // to the RTCP peer and back (RFC 3550 section 6.4.1)
	FarLost         *int64   // of what we sent, as the RTCP peer reports
	FarJitterMS     *float64
}

// Stats returns what was measured so far. It is final once the call is Done.
func (c *Call) Stats() Stats {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	var s Stats
	if session != nil {
		s.Codec, s.SRTP, s.Local = session.send.name, session.suite, c.media.local.String()
	}
	c.media.sent(&s)
	c.media.received(&s)
	return s
}

func (m *media) sent(s *Stats) {
	m.sendMu.Lock()
	defer m.sendMu.Unlock()
	s.Sent, s.SendFailed, s.ReportsSent = m.out.packets, m.out.failed, m.out.reports
}

func (m *media) received(s *Stats) {
	m.receiveMu.Lock()
	defer m.receiveMu.Unlock()
	in := &m.in
	s.Received, s.Lost, s.Duplicates, s.Reordered, s.SSRCs = in.unique, in.lost(), in.duplicates, in.reordered, in.ssrcs
	s.JitterMS, s.JitterMaxMS = in.jitterMS()
	if in.delay.Frames > 0 {
		delay := in.delay
		s.Delay = &delay
	}
	s.Early, s.Strays, s.Rejected, s.Unexpected = in.early, in.strays, in.rejected, in.unexpected
	s.Marks, s.Digits = maps.Clone(in.marks), in.keypad.pressed.String()
	s.ReportsReceived, s.Bye = in.reports, in.bye
	s.RoundTripMS, s.FarLost, s.FarJitterMS = in.roundTrip, in.farLost, in.farJitter
}

func (m *media) sendDigits(pressed string) error {
	if bad := strings.Trim(pressed, keys); bad != "" {
		return fmt.Errorf("no keys: %q", bad)
	}
	m.sendMu.Lock()
	defer m.sendMu.Unlock()
	if m.to == nil || m.to.event.name == "" {
		return errors.New("the peer takes no telephone events")
	}
	m.out.digits.queue += pressed
	return nil
}
