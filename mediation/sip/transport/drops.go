package transport

import "sync/atomic"

// Drop is a reason for which something that arrived was not served. Those of
// transactions and dialogs stand here too, so that a side has one list.
type Drop uint8

// The drops of signalling. Every one has a counter from the start.
const (
	DropPeerNotAllowed Drop = iota // source address or certificate is not a peer of this side
	DropTLSHandshake               // handshake failed, refused or not finished in time, for no reason below
	DropMalformed                  // not a SIP message, or framing that cannot be recovered
	DropInvalid                    // a request so broken that no response can be addressed
	DropAckUnmatched               // ACK for no dialog of ours (never answered, RFC 3261 17.1.1.3)
	DropStrayResponse              // response for no transaction of ours
	DropStaleAck                   // ACK whose CSeq is not the INVITE's
	DropPanic                      // a handler panicked; the request was answered 500 where possible
	DropForkLimit                  // provisional response of one early dialog too many
	DropReliableOrder              // reliable provisional response again, or not the next (RFC 3262 4)
	DropNoPrack                    // reliable provisional response of ours that was never acknowledged

	DropMessageSize           // message longer than the limit
	DropHeaderCount           // message with more header fields than the limit
	DropConnections           // connection above the limit of a side
	DropUnproven              // connection ended to make room: too many had sent no valid request
	DropUnprovenTimeout       // connection without a valid request in time
	DropSlowMessage           // message that was begun and not finished in time
	DropWriteTimeout          // connection whose peer did not read
	DropCertificateName       // certificate without the expected name
	DropCertificateRevoked    // certificate that its issuer's revocation list names
	DropCertificateExpired    // certificate before or after its time
	DropCertificateChain      // certificate that leads to no configured authority
	DropCertificateMissing    // no certificate where one is required
	DropCertificateRevocation // revocation that cannot be checked: list expired, missing or not signed by the issuer

	dropCount
)

var dropNames = [dropCount]string{
	DropPeerNotAllowed: "peer_not_allowed",
	DropTLSHandshake:   "tls_handshake",
	DropMalformed:      "malformed",
	DropInvalid:        "invalid",
	DropAckUnmatched:   "ack_unmatched",
	DropStrayResponse:  "stray_response",
	DropStaleAck:       "stale_ack",
	DropPanic:          "panic",
	DropForkLimit:      "fork_limit",
	DropReliableOrder:  "reliable_order",
	DropNoPrack:        "no_prack",

	DropMessageSize:           "message_size",
	DropHeaderCount:           "header_count",
	DropConnections:           "connections",
	DropUnproven:              "unproven",
	DropUnprovenTimeout:       "unproven_timeout",
	DropSlowMessage:           "slow_message",
	DropWriteTimeout:          "write_timeout",
	DropCertificateName:       "certificate_name",
	DropCertificateRevoked:    "certificate_revoked",
	DropCertificateExpired:    "certificate_expired",
	DropCertificateChain:      "certificate_chain",
	DropCertificateMissing:    "certificate_missing",
	DropCertificateRevocation: "certificate_revocation",
}

// String is the value of the metric label "reason".
func (d Drop) String() string { return dropNames[d] }

// Drops counts by reason. Its methods are safe for concurrent use, and its
// zero value is ready.
type Drops struct{ n [dropCount]atomic.Uint64 }

// Add counts one drop.
func (d *Drops) Add(reason Drop) { d.n[reason].Add(1) }

// Count is how often a reason was counted so far.
func (d *Drops) Count(reason Drop) uint64 { return d.n[reason].Load() }

// Each calls f for every reason with its count so far.
func (d *Drops) Each(f func(reason string, n uint64)) {
	for i := range d.n {
		f(Drop(i).String(), d.n[i].Load())
	}
}
