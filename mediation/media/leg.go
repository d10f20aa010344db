package media

import (
	"errors"
	"fmt"
	"net/netip"
)

// Side names one of the two networks that a bridge stands between.
type Side uint8

// The sides. Both index arrays such as the one that [Bridge.Stats] returns.
const (
	Pool    Side = 0 // the encrypted side, toward the user's pool
	Gateway Side = 1 // the plain side, toward the telephone network's gateway
)

// String returns "pool" or "gateway".
func (s Side) String() string {
	if s == Pool {
		return "pool"
	}
	return "gateway"
}

func (s Side) other() Side { return 1 - s }

// Kind is what an RTP payload type stands for on one leg. The zero value is no
// kind.
type Kind uint8

// The kinds that a bridge carries, all of them at a clock rate of 8000 Hz.
const (
	PCMU  Kind = iota + 1 // G.711 mu-law, RFC 3551 section 4.5.14
	PCMA                  // G.711 A-law, RFC 3551 section 4.5.14
	Event                 // telephone-event/8000, RFC 4733
	CN                    // comfort noise, RFC 3389
	kinds = int(CN) + 1
)

// String returns the encoding name that an rtpmap attribute gives the kind.
func (k Kind) String() string {
	switch k {
	case PCMU:
		return "PCMU"
	case PCMA:
		return "PCMA"
	case Event:
		return "telephone-event"
	case CN:
		return "CN"
	default:
		return ""
	}
}

func (k Kind) valid() bool { return k >= PCMU && k <= CN }
func (k Kind) audio() bool { return k == PCMU || k == PCMA }

// Payload binds an RTP payload type (0 to 127) to a kind, as an rtpmap
// attribute does.
type Payload struct {
	Type uint8
	Kind Kind
}

// Leg is what signalling agreed for one side of a bridge: where media goes, in
// which payload types, and under which keys. A bridge copies what it needs; the
// caller keeps its slices.
type Leg struct {
	// Remote is where our RTP goes, from the peer's SDP. Without it (zero, or an
	// unspecified address as RFC 3264 section 8.4 writes hold) nothing is sent
	// on this leg, and a plain leg that never had one accepts nothing either.
	Remote netip.AddrPort
	// RemoteRTCP is where our RTCP goes, if the SDP said so (RFC 3605). Zero
	// means the port after Remote's.
	RemoteRTCP netip.AddrPort
	// Learning says whose packets are the peer's on a plain leg.
	Learning Learning
	// Mux has RTCP go and come on RTP's port (RFC 5761). RTCP that comes on its
	// own port is taken as well. No payload type may be from 64 to 95 then.
	Mux bool
	// ReducedSize takes RTCP that does not begin with a report (RFC 5506).
	ReducedSize bool
	// Receive lists the payload types that our SDP accepts on this leg.
	Receive []Payload
	// Send lists the payload types that the peer's SDP accepts, most wanted
	// first. Audio that came in a kind which is not among them is converted to
	// the first audio kind.
	Send []Payload
	// SRTP holds the keys; nil means plain RTP.
	SRTP *SRTP
	// Anew says that the peer is another than the one that was set before, as
	// when another fork of a call is heard: what the earlier one still sends is
	// not this leg's any more.
	Anew bool
}

// Errors that [Bridge.Set] wraps when a leg cannot be used.
var (
	ErrPayload = errors.New("unusable payload list")
	ErrRemote  = errors.New("unusable remote address")
	ErrKey     = errors.New("unusable SRTP key")
)

// check reports what is wrong with the leg, seen from the family of the local
// address that will send to it.
func (l *Leg) check(local netip.Addr) error {
	for _, r := range []netip.AddrPort{l.Remote, l.RemoteRTCP} {
		if err := checkRemote(r, local); err != nil {
			return err
		}
	}
	if err := checkPayloads(l.Receive); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if err := checkPayloads(l.Send); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := l.checkMux(); err != nil {
		return err
	}
	if l.Learning > NAT {
		return fmt.Errorf("%w: learning %d", ErrRemote, l.Learning)
	}
	if l.SRTP != nil {
		return l.SRTP.check()
	}
	return nil
}

func checkRemote(r netip.AddrPort, local netip.Addr) error {
	a := r.Addr().Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return nil // not sending is a state, not a mistake
	case a.Is4() != local.Is4():
		return fmt.Errorf("%w: %s is of another address family than %s", ErrRemote, r, local)
	case a.IsMulticast():
		return fmt.Errorf("%w: %s is a multicast address", ErrRemote, r)
	case a.Zone() != "":
		return fmt.Errorf("%w: %s has a zone", ErrRemote, r)
	case r.Port() == 0:
		return fmt.Errorf("%w: %s has no port", ErrRemote, r)
	}
	return nil
}

// checkMux holds payload types to those that are told from RTCP (RFC 5761 section
// 4).
func (l *Leg) checkMux() error {
	if !l.Mux {
		return nil
	}
	for _, list := range [][]Payload{l.Receive, l.Send} {
		for _, p := range list {
			if p.Type >= 64 && p.Type <= 95 {
				return fmt.Errorf("%w: payload type %d looks like RTCP on the same port", ErrPayload, p.Type)
			}
		}
	}
	return nil
}

func checkPayloads(list []Payload) error {
	var seen [128]bool
	for _, p := range list {
		switch {
		case p.Type > 127:
			return fmt.Errorf("%w: payload type %d is above 127", ErrPayload, p.Type)
		case !p.Kind.valid():
			return fmt.Errorf("%w: payload type %d has no kind", ErrPayload, p.Type)
		case seen[p.Type]:
			return fmt.Errorf("%w: payload type %d stands twice", ErrPayload, p.Type)
		}
		seen[p.Type] = true
	}
	return nil
}
