// Package srtp holds a running causeway to other makers' SRTP: GStreamer's, which is libsrtp, in every suite, near the
// wrap of the sequence, across hold and resume and a change of key, with and without master key identifiers, on either
// side; and baresip's, which is libre's.
//
// Signalling is played by hand here, since what matters is in the media. Every test has a network of loopback to itself.
// A test whose peer is not installed is skipped with the reason, which CI counts as a failure.
package srtp
