package media

// Drop is the reason why a packet was not passed on. The zero value means that
// it was.
type Drop uint8

// The reasons. Those of a received packet are counted on the leg that it came
// in on, those of a packet that could not be sent on the leg that it would have
// gone out on.
const (
	passed Drop = iota

	// Any packet received.
	dropNotSet      // signalling has not said yet what this leg is
	dropOversized   // longer than any buffer of ours
	dropShort       // too short for its fixed header, or for its authentication tag
	dropVersion     // not version 2: STUN, DTLS, or no RTP at all (RFC 7983)
	dropMalformed   // lengths in the header that lie, or padding that does
	dropWrongSource // plain, and from another address than the peer's
	dropAuth        // not protected with the keys of this leg
	dropReplay      // protected, but seen before or too old to know
	dropMKI         // without the master key identifier that its key goes by (RFC 3711 section 3.1)
	dropKeyExpired  // under a key that has protected as many packets as its owner said it would (RFC 4568 section 6.1)
	dropSSRCLimit   // protected, but from more sources than a peer has reason to use
	dropOwnSSRC     // what we sent, coming back (RFC 3550 section 8.2)
	dropRTCPOnRTP   // RTCP on the RTP port: multiplexing (RFC 5761) was not offered
	dropRTPOnRTCP   // RTP on the RTCP port

	// RTP received, from the peer.
	dropPayloadType // a payload type that our SDP doesn't have
	dropNewSource   // the first packet of another SSRC: a second one has to follow it (RFC 3550 A.1)
	dropJump        // the first packet after a jump of the sequence: likewise
	dropDuplicate   // the sequence number has been there
	dropLate        // from before the point where the outgoing stream was joined anew

	// RTP not sent.
	dropNoDestination // the other leg has no address to send to: not answered yet, or on hold
	dropNoAudio       // the other leg takes no audio kind that we can make
	dropNoEvent       // the other leg takes no telephone events
	dropNoCN          // the other leg takes no comfort noise
	dropPlaying       // digits of ours have its place in the stream
	dropProtect       // the key is used up (RFC 3711 section 9.2), or the packet too long to be protected

	// Counted by the ports below.
	dropOverflow    // the kernel's queue was full
	dropUnsent      // the kernel refused to send
	dropUnreachable // sent, and answered by an ICMP error

	dropCount
)

var dropNames = [dropCount]string{
	passed:            "",
	dropNotSet:        "leg_not_set",
	dropOversized:     "oversized",
	dropShort:         "short",
	dropVersion:       "version",
	dropMalformed:     "malformed",
	dropWrongSource:   "wrong_source",
	dropAuth:          "authentication",
	dropReplay:        "replay",
	dropMKI:           "mki",
	dropKeyExpired:    "key_expired",
	dropSSRCLimit:     "ssrc_limit",
	dropOwnSSRC:       "own_ssrc",
	dropRTCPOnRTP:     "rtcp_on_rtp_port",
	dropRTPOnRTCP:     "rtp_on_rtcp_port",
	dropPayloadType:   "payload_type",
	dropNewSource:     "new_source",
	dropJump:          "sequence_jump",
	dropDuplicate:     "duplicate",
	dropLate:          "late",
	dropNoDestination: "no_destination",
	dropNoAudio:       "no_audio_kind",
	dropNoEvent:       "no_event_kind",
	dropNoCN:          "no_cn_kind",
	dropPlaying:       "event_playing",
	dropProtect:       "protect",
	dropOverflow:      "kernel_overflow",
	dropUnsent:        "unsent",
	dropUnreachable:   "unreachable",
}

// String returns the reason's name in reports and metrics.
func (d Drop) String() string {
	if d >= dropCount {
		return ""
	}
	return dropNames[d]
}

// sending reports whether the reason is one of the sending leg's.
func (d Drop) sending() bool {
	return d >= dropNoDestination && d <= dropProtect || d == dropUnsent || d == dropUnreachable
}
