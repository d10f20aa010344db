package media

import (
	"net/netip"
	"time"

	"causeway/qos/qoe"
)

// Bridge joins the two legs of one call.
type Bridge struct{}

// LegStats is what one leg of a bridge saw and did.
type LegStats struct {
	Receive, Send qoe.Stream
	Codec         string         // encoding name of the audio last received, or "" before any
	SRTP          string         // crypto suite, or "" for plain RTP
	Local, Remote netip.AddrPort // our RTP address; where our RTP goes
	Source        netip.AddrPort // where the peer's RTP came from last; zero before any
}

// Local returns the RTP address of a side. RTCP is on the next port.
func (b *Bridge) Local(s Side) netip.AddrPort { return netip.AddrPort{} }

// Set gives one side what signalling agreed.
func (b *Bridge) Set(s Side, leg Leg) error { return errNotBuilt }

// Active returns when media last came in on a side; ok is false before any came.
func (b *Bridge) Active(s Side) (lastReceived time.Time, ok bool) { return time.Time{}, false }

// Stats returns both legs' figures.
func (b *Bridge) Stats() [2]LegStats { return [2]LegStats{} }

// Close ends the bridge and returns both legs' last figures.
func (b *Bridge) Close() [2]LegStats { return [2]LegStats{} }
