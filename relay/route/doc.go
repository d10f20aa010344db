// Package route is the forwarding state of a TURN relay: who a packet is from, who
// it goes to, and what passed (RFC 8656 sections 9 to 12).
//
// A [Table] finds the allocation of a client by its transport address, one look-up
// for each packet. The allocation's [Path] then knows its permissions and channels,
// one look-up in either direction, and a [Flow] for each direction counts, and
// measures what looks like RTP.
//
// Nothing here allocates memory for a packet, reads a clock or takes a lock: all of
// it belongs to one worker's goroutine. What a path holds is put there by the state
// machine in relay/turn, which also knows when it ends; a path knows no time.
package route
