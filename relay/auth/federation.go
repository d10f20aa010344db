package auth

import "fmt"

// Op is one way in which packets go between the relay and a peer.
type Op uint8

// The operations, as seen from the relay's address.
const (
	UDPIn      Op = iota // a datagram from the peer
	UDPOut               // a datagram to the peer
	TCPConnect           // a connection that the relay opens (RFC 6062 section 5.2)
	TCPAccept            // a connection that the peer opens (RFC 6062 section 5.3)
	opCount
)

// Set is the set of this operation alone.
func (o Op) Set() Ops { return 1 << o }

func (o Op) String() string {
	switch o {
	case UDPIn:
		return "UDP in"
	case UDPOut:
		return "UDP out"
	case TCPConnect:
		return "TCP connect"
	case TCPAccept:
		return "TCP accept"
	default:
		return "unknown"
	}
}

// Ops is a set of operations: UDPIn.Set() | UDPOut.Set().
type Ops uint8

const (
	allOps Ops = 1<<opCount - 1
	tcpOps     = Ops(1<<TCPConnect | 1<<TCPAccept)
)

// Class is on which side of the relay a peer is.
type Class uint8

// The classes.
const (
	// ClassExternal is everybody else.
	ClassExternal Class = iota
	// ClassInternal are the peers that the internal side's lists name.
	ClassInternal
	// ClassOwn are the relay's own relayed addresses: another client, or the same one.
	ClassOwn
)

func (c Class) String() string {
	switch c {
	case ClassExternal:
		return "external"
	case ClassInternal:
		return "internal"
	case ClassOwn:
		return "own"
	default:
		return "unknown"
	}
}

// Federation is what external peers may do with the relay ports.
type Federation uint8

// The values of the setting. The zero value is the strictest.
const (
	Closed Federation = iota // nothing: no audio or video with partners
	R2                       // partners of the 2007 R2 release or later: TCP that the relay opens
	Legacy                   // partners of any release: UDP and TCP, both directions
)

// ParseFederation reads "closed", "r2" or "legacy".
func ParseFederation(text string) (Federation, error) {
	for _, f := range []Federation{Closed, R2, Legacy} {
		if text == f.String() {
			return f, nil
		}
	}
	return Closed, fmt.Errorf("federation %q is none of closed, r2 and legacy", text)
}

func (f Federation) String() string {
	switch f {
	case Closed:
		return "closed"
	case R2:
		return "r2"
	case Legacy:
		return "legacy"
	default:
		return "unknown"
	}
}

// Allows is what peers of a class may take part in.
func (f Federation) Allows(c Class) Ops {
	if c == ClassOwn || c == ClassInternal {
		return allOps
	}
	switch f {
	case R2:
		return TCPConnect.Set()
	case Legacy:
		return allOps
	case Closed:
		return 0
	default:
		return 0
	}
}
