package turn

import (
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"causeway/relay/auth"
)

// Transport is how a client reaches the relay.
type Transport uint8

// The transports between client and relay (RFC 8656 section 3.1).
const (
	UDP Transport = iota
	TCP
	TLS
	DTLS
)

// Stream reports whether the transport is a byte stream, where messages are framed by their own length and
// ChannelData is padded (RFC 8656 section 12.5).
func (t Transport) Stream() bool { return t == TCP || t == TLS }

// String returns the name that metrics and the API use.
func (t Transport) String() string {
	switch t {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	case DTLS:
		return "dtls"
	default:
		return "unknown"
	}
}

// Source is the five-tuple of a client: its transport address and the number of the listener that it came in by, which
// stands for the server's address. On one stream listener, an address is at most one connection at a time. Transport is
// part of it because one listener takes TCP and TLS.
type Source struct {
	Client    netip.AddrPort
	Listener  uint8
	Transport Transport
}

// tuple is a Source as a key: without the pointer of a zone, which is not in any source, and nearly half as long.
type tuple struct {
	high, low uint64
	port      uint16
	listener  uint8
	transport Transport
}

func (s Source) tuple() tuple {
	b := s.Client.Addr().As16()
	return tuple{
		binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), s.Client.Port(), s.Listener, s.Transport,
	}
}

// ID names an allocation in this process. Its upper bits are the worker that owns it.
type ID uint64

// workerShift is where an ID's worker number begins.
const workerShift = 48

// Worker returns the number of the worker that owns the allocation.
func (id ID) Worker() int { return int(id >> workerShift) }

// Family is one IP address family, as an index.
type Family uint8

// The families, and how many there are.
const (
	IPv4 Family = iota
	IPv6
	families
)

// FamilyOf returns the family of an address that is not an IPv4-mapped one.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// ActionKind says what an Action asks for.
type ActionKind uint8

// What a machine asks of whoever drives it. Actions are to be done in their order.
const (
	// Reply: send Message to To. The bytes are the machine's until its next call.
	Reply ActionKind = iota + 1
	// Open: open the relayed transport addresses that Ports describes for allocation ID, and call Opened. It is the last
	// action of its list.
	Open
	// Close: allocation ID is gone; close everything that belongs to it.
	Close
	// CloseFamily: the relayed address of family Family is gone; the other one stays (RFC 8656 section 8.2).
	CloseFamily
	// Permit and Revoke: the address of Peer gains or loses its permission.
	Permit
	Revoke
	// BindChannel and UnbindChannel: number Channel stands, or no longer stands, for Peer.
	BindChannel
	UnbindChannel
	// Move: the client of ID may from now on also come from To (RFC 8016). It is where data goes once it has sent
	// anything from there.
	Move
	// Settle: To is the only five-tuple of ID from now on. Without a valid address it has none.
	Settle
	// Forward: the message being handled belongs to another worker's allocation: give it to worker ID.Worker().
	Forward
	// Dial: open a TCP connection from the relayed address of ID to Peer, and call Dialed (RFC 6062 section 5.2).
	Dial
	// Attach: claim peer connection Connection for User, and call Attached; if that succeeds, join it with the client's
	// connection after the reply was sent (RFC 6062 section 5.4). It is the last action of its list.
	Attach
	// Release: give up the port reserved under Token, unless it was taken (RFC 8656 section 7.2).
	Release
)

// Action is one thing that a machine asks for. Only the fields that its kind names are set.
type Action struct {
	Kind       ActionKind
	ID         ID
	To         Source
	Message    []byte
	Ports      Ports
	Family     Family
	Peer       netip.AddrPort
	Channel    uint16
	Connection uint32
	User       string
	Token      Token
}

// Token is the value of RESERVATION-TOKEN.
type Token [8]byte

// Ports says which relayed transport addresses an Open wants.
type Ports struct {
	Families [families]bool
	TCP      bool  // a listening TCP port (RFC 6062), otherwise UDP
	Even     bool  // an even port number
	Reserve  bool  // and the next higher one held for a later allocation
	Reserved bool  // the port that was held under Token, by User
	Token    Token // set if Reserved
}

// Opened is the outcome of an Open. A family that was asked for and has no valid address failed.
type Opened struct {
	Relayed [families]netip.AddrPort // bound addresses
	Token   Token                    // set if Reserve was asked for
	Err     error                    // why a family failed, for the log; the client is told 508
}

// Errors of Dialed, told to the client.
var (
	// ErrConnectionExists: this allocation has a connection to that peer already, or is making one: 446.
	ErrConnectionExists error = codeError(CodeConnectionExists)
	// ErrCapacity: a bound has been reached: 508.
	ErrCapacity error = codeError(CodeInsufficientCapacity)
)

// Config is what a machine is made from. The pointers are shared between workers and safe for that.
type Config struct {
	Realm       string
	Credentials *auth.Credentials
	Nonces      *auth.Nonces
	Budget      *auth.Budget
	Quota       *auth.Quota
	Policy      *auth.Policy

	Worker    int             // the number of this machine's worker, up to 65535
	Families  [families]bool  // which families relayed addresses exist for
	Advertise [families]Alias // what clients are told instead of bound addresses

	DefaultLifetime time.Duration // of an allocation: RFC 8656 section 3.2 recommends 10 minutes
	MaxLifetime     time.Duration // RFC 8656 section 7.2 recommends 1 hour
	MaxPermissions  int           // of one allocation
	MaxChannels     int           // of one allocation
	StrictExpiry    bool          // an allocation ends with the credential that it was made with
	Mobility        bool          // RFC 8016
	LegacyChannels  bool          // channel numbers up to 0x7FFF, as RFC 5766 had them
	TicketKey       [32]byte      // authenticates mobility tickets; the same for all workers
	Alternates      []netip.AddrPort
	Random          io.Reader // cryptographically secure
	// Draining reports whether new allocations are refused with 508 or 300; nil means never.
	Draining func() bool
}

// Alias is a bound address and the one that clients are told instead, behind a one-to-one NAT. Zero: none.
type Alias struct{ Bound, External netip.Addr }

// Outside returns the address that the world knows a relayed address by.
func (a Alias) Outside(bound netip.AddrPort) netip.AddrPort {
	if a.External.IsValid() && bound.Addr() == a.Bound {
		return netip.AddrPortFrom(a.External, bound.Port())
	}
	return bound
}

// Inside is the reverse of Outside.
func (a Alias) Inside(outside netip.AddrPort) netip.AddrPort {
	if a.External.IsValid() && outside.Addr() == a.External {
		return netip.AddrPortFrom(a.Bound, outside.Port())
	}
	return outside
}
