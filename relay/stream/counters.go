package stream

import "sync/atomic"

// Reason is why a connection was refused or ended.
type Reason uint8

// The reasons. Those up to [TooManyHandshakes] refuse a connection before anything is kept for it, but for a DTLS client's
// cookie.
const (
	none              Reason = iota
	TooManyClients           // [Limits].Clients
	TooManyFromPrefix        // [Limits].PerPrefix
	TooManyHandshakes        // [Limits].Handshakes, all of them by clients that can be reached

	NoFirstByte      // [Limits].FirstByte
	HandshakeTimeout // [Limits].Handshake
	HandshakeFailed  // the TLS or DTLS handshake ended in an error, or in too many bytes
	Displaced        // a DTLS handshake that gave way to a newer one: [Limits].Handshakes
	NoFirstFrame     // [Limits].FirstFrame
	SlowFrame        // [Limits].Frame
	IdleTimeout      // [Limits].Idle
	WriteTimeout     // [Limits].Write
	SlowReader       // [Limits].QueueBytes, and a control message to be sent
	FrameTooLong     // [Limits].FrameBytes
	BadFrame         // neither STUN nor ChannelData
	ClientClosed     // the client closed its side
	ConnectionLost   // the socket failed: a reset, mostly
	ServerClosed     // [Conn.Close]
	DataEnded        // it was a data connection (RFC 6062), and its exchange came to an end
	Stopped          // the listener ended
	Panicked         // a bug in the handling of this connection

	reasons
)

var reasonNames = [reasons]string{
	none:              "none",
	TooManyClients:    "too_many_clients",
	TooManyFromPrefix: "too_many_from_prefix",
	TooManyHandshakes: "too_many_handshakes",
	NoFirstByte:       "no_first_byte",
	HandshakeTimeout:  "handshake_timeout",
	HandshakeFailed:   "handshake_failed",
	Displaced:         "handshake_displaced",
	NoFirstFrame:      "no_first_frame",
	SlowFrame:         "slow_frame",
	IdleTimeout:       "idle",
	WriteTimeout:      "write_timeout",
	SlowReader:        "outbound_queue_full",
	FrameTooLong:      "frame_too_long",
	BadFrame:          "bad_frame",
	ClientClosed:      "client_closed",
	ConnectionLost:    "connection_lost",
	ServerClosed:      "server_closed",
	DataEnded:         "data_ended",
	Stopped:           "stopped",
	Panicked:          "panic",
}

// String returns the reason's name in metrics and logs.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Drop is why a datagram or a frame went no further while its connection went on.
type Drop uint8

// The drops. All but the first concern DTLS.
const (
	OutboundFull    Drop = iota // media for a client that reads too slowly: [Limits].QueueBytes
	NotDTLS                     // from an unknown address, and not a ClientHello
	ReplyBudget                 // a ClientHello whose answer would be over the budget of that network: [Options].Afford
	BadCookie                   // a ClientHello with another cookie than the one that was sent to this address
	InboundFull                 // the client's datagrams came faster than they were decrypted
	DatagramTooLong             // longer than a DTLS record may be on this listener

	drops
)

var dropNames = [drops]string{
	OutboundFull:    "outbound_queue_full",
	NotDTLS:         "not_dtls",
	ReplyBudget:     "reply_budget",
	BadCookie:       "bad_cookie",
	InboundFull:     "inbound_queue_full",
	DatagramTooLong: "datagram_too_long",
}

// String returns the drop's name in metrics.
func (d Drop) String() string {
	if d < drops {
		return dropNames[d]
	}
	return "unknown"
}

// Counters is what happened on a listener since it was opened.
type Counters struct {
	Accepted     uint64 // connections let in
	AcceptErrors uint64 // failures of accept, such as EMFILE
	Open         int    // connections right now
	Handshakes   int    // DTLS handshakes under way right now

	Ended   [reasons]uint64 // by Reason: refused or ended
	Dropped [drops]uint64   // by Drop

	FramesIn, BytesIn   uint64 // whole frames handed to the handler, and their bytes
	FramesOut, BytesOut uint64 // frames taken by Send, and their bytes
}

// Each calls f with the name of every reason and every drop, and how often it came about.
func (c *Counters) Each(ended, dropped func(name string, n uint64)) {
	for r := none + 1; r < reasons; r++ {
		ended(r.String(), c.Ended[r])
	}
	for d := range drops {
		dropped(d.String(), c.Dropped[d])
	}
}

// tally is Counters as they are counted.
type tally struct {
	accepted, acceptErrors atomic.Uint64
	ended                  [reasons]atomic.Uint64
	dropped                [drops]atomic.Uint64
	framesIn, bytesIn      atomic.Uint64
	framesOut, bytesOut    atomic.Uint64
}

func (t *tally) snapshot() Counters {
	c := Counters{
		Accepted:     t.accepted.Load(),
		AcceptErrors: t.acceptErrors.Load(),
		FramesIn:     t.framesIn.Load(),
		BytesIn:      t.bytesIn.Load(),
		FramesOut:    t.framesOut.Load(),
		BytesOut:     t.bytesOut.Load(),
	}
	for i := range t.ended {
		c.Ended[i] = t.ended[i].Load()
	}
	for i := range t.dropped {
		c.Dropped[i] = t.dropped[i].Load()
	}
	return c
}
