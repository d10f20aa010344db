// Package transport carries SIP messages to and from the peers of one side
// (RFC 3261 section 18) over UDP, TCP and TLS.
//
// It knows messages, connections and who may speak; it knows no transaction
// and no dialog. What it adds to sockets is what the layers above rely on:
//
//   - Order. The messages of a connection are handed up one after the other,
//     as they arrived (RFC 3261 12.2.2 counts on it for CSeq).
//   - Identity. A Flow names the connection that a message came on. Two
//     connections from one address, one after the other, are two flows, and
//     the end of a flow is reported once, after its last message.
//   - Bounds. Connections, those among them that have not sent a valid
//     request, handshakes, message sizes, header counts, the time one message
//     may take, and what waits for a peer that does not read.
//   - Who is there. An address before a byte is parsed, a certificate's exact
//     name, its chain, its dates and a revocation list (identity.go).
//
// The pieces:
//
//	transport.go   flows, limits, configuration
//	layer.go       the Layer: opening and closing, sending, what is counted
//	udp.go         one goroutine a socket
//	accept.go      connections that peers make
//	dial.go        connections that we make, one at a time for each peer
//	conn.go        one connection: its reader and its writer
//	pool.go        connections by flow and by address
//	frame.go       where messages begin and end in a stream
//	parse.go       from bytes to a message; Via as RFC 3261 18.2.1 has it
//	answer.go      400 and 513 to requests that go no further
//	identity.go    TLS configurations of a side; crl.go revocation lists
//	drops.go       names for what was not served
//
// Ownership: a Layer owns its sockets and every goroutine started for them,
// two for each connection, one for each listener; Close returns when they have
// ended.
package transport
