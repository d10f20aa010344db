// Package stream serves the relay's clients that come over connections: TCP and TLS, on one port or on one each, and
// DTLS. It frames their messages, bounds what they may hold, and carries the data connections of RFC 6062.
//
// A [Listener] takes the connections of one local address. Each [Conn] has a goroutine that reads frames into a bounded
// queue, from where a worker of the handler's drains them, and one that writes what [Conn.Send] has queued. Nothing here
// knows what the frames say, with one exception: after a ConnectionBind request a reader waits for the answer, because
// what follows it may be anything (RFC 6062 section 5.4).
//
// [Connections] is the table of the peer connections of all TCP allocations. It dials and accepts them, keeps them
// until a client claims them, and then moves bytes both ways.
//
// # What an unauthenticated client costs
//
// A client without an allocation holds at most, besides what the kernel has for its socket:
//
//	8 KiB    before its first byte: a [Conn] and a goroutine
//	32 KiB   with TCP: those, 4 KiB to read into, 4 queued frames, and a writer for the answers
//	64 KiB   with TLS, of whose handshake 16 KiB are read at most
//	128 KiB  with DTLS, of whose handshake 32 KiB are read, and 16 datagrams kept
//
// and for no longer than [Limits] says. The default of 4,096 clients so holds 32 MiB when they only sit there, and at
// the very worst 128 MiB over TCP, 256 MiB over TLS and 512 MiB over DTLS. A DTLS client that has not returned its cookie
// holds 32 KiB, and there are at most twice [Limits].Handshakes of those, ending ones included: 16 MiB. The tests in
// cost_test.go measure what one client holds.
package stream
