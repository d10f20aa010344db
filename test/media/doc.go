// Package media attacks the media of a running causeway from outside, while two honest telephones talk through it: SRTP
// on the pool's side, plain RTP on the gateway's. Attackers stand at addresses of their own, and where a row of the
// threat model has them forge the peer's address they do that too, by raw sockets.
//
// Of every attack the tests hold the same four things: nothing of the call comes out to the attacker, nothing of his goes
// in to where it is heard, the call is unharmed, and what he sent is counted by name in /metrics.
//
// Every test has a network of loopback to itself. Forging addresses and listening on the wire take the right to open raw
// sockets; a test that lacks it is skipped with the reason, which CI counts as a failure.
package media
