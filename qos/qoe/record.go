// Package qoe holds what was measured on a call: the streams of its legs and the record written when it ends.
//
// It is plain data without I/O, clock or logger. A value that was not measured is unknown, and unknown is null in
// JSON: nothing here stands in for a measurement.
package qoe

import "time"

// Version is the value of Record.Version written by this build. It rises when the meaning of a key changes; new keys
// alone do not raise it, so readers must ignore keys they do not know.
const Version = 1

// Directions of a call (Record.Direction): which side sent the first INVITE.
const (
	PoolToGateway = "pool_to_gateway"
	GatewayToPool = "gateway_to_pool"
)

// Sides of a call (Leg.Side, the keys of Record.CallIDs, Record.EndedBy). Causeway is only ever an ender: it hung up
// for reasons of its own, such as a timer or a shutdown.
const (
	Pool     = "pool"
	Gateway  = "gateway"
	Causeway = "causeway"
)

// Record is one call as seen by the mediation role, answered or not, written once when the call ends.
//
// The zero value of a field means unknown and is written as null. A Record holds no reference to live state; who
// hands it to a sink gives it away and must not change it afterwards.
type Record struct {
	Version   int    `json:"version"` // zero is written as Version
	ID        string `json:"id"`      // unique to this call on every machine
	Direction string `json:"direction"`

	CallIDs map[string]string `json:"call_ids"` // SIP Call-ID by side

	Received Numbers  `json:"received"` // of the INVITE that came in
	Sent     Numbers  `json:"sent"`     // of the INVITE that went out on the other side
	Rules    []string `json:"rules"`    // names of the number rules that changed something, in order of use

	Invite           time.Time  `json:"invite"`            // arrival of the INVITE
	FirstProvisional *time.Time `json:"first_provisional"` // first 101-199 from the called side
	Answer           *time.Time `json:"answer"`            // 2xx from the called side
	End              time.Time  `json:"end"`               // BYE, CANCEL or final failure

	Code         int    `json:"code"`          // final SIP status code to the INVITE (RFC 3261 section 21)
	Reason       string `json:"reason"`        // its reason phrase
	ReasonHeader string `json:"reason_header"` // Reason header (RFC 3326) as it came, such as "Q.850;cause=16"
	EndedBy      string `json:"ended_by"`

	Reoffers uint64 `json:"reoffers"` // offers of either peer that changed the session, or refreshed it, after the first
	Holds    uint64 `json:"holds"`    // how often a peer held the call, or one direction of it

	Legs []Leg `json:"legs"`
}

// Numbers are the parties named by an INVITE, as they stood on the wire.
type Numbers struct {
	RequestURI string `json:"request_uri"`
	From       string `json:"from"`
	To         string `json:"to"`
}

// Leg is the media of one side of a call.
type Leg struct {
	Side   string `json:"side"`
	Codec  string `json:"codec"`  // the audio encoding name of the RTP payload, such as "PCMU"
	SRTP   string `json:"srtp"`   // SDES crypto suite (RFC 4568); unknown also stands for plain RTP
	Local  string `json:"local"`  // our RTP address and port
	Remote string `json:"remote"` // the far end's RTP address and port, as last used
	Source string `json:"source"` // where its RTP came from last
	Moves  uint64 `json:"moves"`  // how often Remote followed Source, away from what signalling had said
	// Restarts is how often the far end's stream jumped within one SSRC and was taken up again (RFC 3550 A.1).
	Restarts uint64 `json:"restarts"`
	// SilentMS is the longest time, above 10 s, that the far end sent no RTP while the other end of the call did and
	// nobody held; nil when there was none. It is known to 5 s.
	SilentMS *int64 `json:"silent_ms"`

	Receive Stream `json:"receive"`
	Send    Stream `json:"send"`
}

// Stream is one direction of a leg: Leg.Receive came from the far end, Leg.Send went to it.
//
// Loss and jitter of a received stream are our own measurement. Of a sent stream only the far end can know them, and
// says so in its RTCP reports: FarLost and FarJitterMS. Round trips are measured with RTCP on sent streams.
type Stream struct {
	SSRC        *uint32  `json:"ssrc"`
	Packets     uint64   `json:"packets"` // RTP packets accepted or sent
	Bytes       uint64   `json:"bytes"`   // their RTP payload
	Lost        *int64   `json:"lost"`    // RFC 3550 A.3: expected less received, negative when packets came twice
	JitterMS    *float64 `json:"jitter_ms"`
	JitterMaxMS *float64 `json:"jitter_max_ms"`
	RoundTripMS *float64 `json:"round_trip_ms"` // RFC 3550 section 6.4.1, from LSR and DLSR
	FarLost     *int64   `json:"far_lost"`
	FarJitterMS *float64 `json:"far_jitter_ms"`

	// Drops counts packets that were refused or could not be sent, by reason. The key is left out when none were.
	Drops map[string]uint64 `json:"drops,omitempty"`
}
