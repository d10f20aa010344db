package media

// isRTCPType reports whether the second byte of a packet is one of RTCP's packet
// types rather than RTP's marker and payload type (RFC 5761 section 4).
func isRTCPType(b byte) bool { return b >= 192 && b <= 223 }
