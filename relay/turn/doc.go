// Package turn is the STUN and TURN server as a state machine without I/O: messages of clients and the time go in,
// actions come out (RFC 8489, 8656, 6062, 8016). Whoever drives it owns sockets and clocks.
//
// # The wire format
//
// [Message] reads STUN messages and [Composer] writes them. Both are reused, and neither allocates once warm. There are
// shorter ways for what every packet takes: [ParseSend] and [PutDataIndication] for the indications that carry data,
// [ParseChannelData] and [PutChannelHeader] for ChannelData, [FrameSize] to cut a byte stream into either.
//
// The parser is ours because a server has to be stricter than the one that clients share. Of an attribute that is
// there twice the first counts. Behind an integrity attribute nothing counts but MESSAGE-INTEGRITY-SHA256 and
// FINGERPRINT, since anybody on the path could have appended it. A FINGERPRINT that is wrong, or not at the end, makes a
// message none. What is shorter or longer than it says is refused whole.
package turn
