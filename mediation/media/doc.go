// Package media carries the media of bridged calls between two networks: it is
// the far end of each peer's RTP session, and sends each what the other said.
//
// A [Plane] owns the ports and a worker goroutine for each CPU. A [Bridge] is one
// call: a pair of ports (RTP and RTCP) toward the pool and one toward the gateway,
// all on one worker. [Bridge.Set] tells what signalling agreed for a side; from
// then on packets go through [half.pass], which is this package in one function:
// check, authenticate, account, convert, place in the outgoing stream, protect,
// send.
//
// What comes in is believed only as far as it is proven. Under SRTP nothing is
// counted, learned or remembered of a packet before its authentication; plain RTP
// is the peer's by where it comes from ([Learning]). Media is sent where signalling
// said, until [proof] packets of the peer's in a row have come from elsewhere.
//
// Each leg sends a stream of its own, with its own SSRC, but keeps the sequence
// and timing of what came in, so that loss, reordering and jitter reach the far
// end as they are and can be concealed once, at the end that plays the sound. RTCP
// is answered by us on each leg and never passed on, since each leg is a session of
// its own (RFC 3550 section 7.1).
//
// Nothing on a packet's way logs, reads a clock, takes a lock or waits. Packets
// that are refused are counted by [Drop].
package media
