// Package interop calls through a running causeway with peers that share no
// code with it: baresip as softphone and as gateway, SIPp as gateway and as
// caller, an SRTP endpoint on the library major that others are pinned to, and
// raw messages that no well-behaved peer would send.
//
// The binary is built once, run as a process with a configuration of its own,
// and driven only from outside: SIP and RTP, signals, the admin server and the
// spool of call records. A test whose peer is not installed is skipped with the
// reason, which CI counts as a failure.
package interop
