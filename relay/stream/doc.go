// Package stream serves the relay's clients that come over connections: TCP and TLS, on one port or on one each, and
// DTLS. It frames their messages, bounds what they may hold, and carries the data connections of RFC 6062.
//
// A [Listener] takes the connections of one local address. Each [Conn] has a goroutine that reads frames into a bounded
// queue, from where a worker of the handler's drains them, and one that writes what [Conn.Send] has queued. Nothing here
// knows what the frames say, with one exception: after a ConnectionBind request a reader waits for the answer, because
// what follows it may be anything (RFC 6062 section 4.4).
//
// [Connections] is the table of the peer connections of all TCP allocations. It dials and accepts them, keeps them
// until a client claims them, and then moves bytes both ways.
//
// # What an unauthenticated client costs
//
// A client without an allocation holds at most, besides the kernel's socket:
//
//	8 KiB    before its first byte: a [Conn] and a goroutine
//	32 KiB   with TCP: those, 4 KiB to read into, 4 queued frames, its answers' writer
//	96 KiB   with TLS, the handshake included, which may queue no more than crypto/tls's 64 KiB
//	128 KiB  with DTLS, the handshake included, of whose messages 32 KiB are taken at most
//
// and that for no longer than the times of [Limits]. So the default of 4,096 clients holds 128 MiB over TCP at worst, and
// 32 MiB if they only sit there. TestWhatNewcomersHold measures it.
package stream
