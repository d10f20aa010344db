package qos

// ClassOf returns the class of an RTP payload type, by the numbers that Office
// Communications Server 2007 R2 marks.
//
// It is for a relay, which sees packets and no session description. RTP headers
// stay readable under SRTP (RFC 3711 section 3.1), so it works for both. A
// bridge knows from the session description what a stream is, and doesn't ask:
// there a dynamic number may mean anything.
func ClassOf(payloadType uint8) Class {
	switch payloadType {
	case 0, // PCMU
		3,   // GSM 06.10
		4,   // G.723.1
		8,   // PCMA
		13,  // comfort noise, 8 kHz
		97,  // redundant audio (RFC 2198)
		101, // telephone events (RFC 4733)
		111, // Siren
		112, // G.722.1
		114, // RTAudio, 16 kHz
		115, // RTAudio, 8 kHz
		116, // G.726 at 32 kbit/s
		118: // comfort noise, 16 kHz
		return Audio
	case 34, // H.263
		121: // RTVideo
		return Video
	default:
		return Unclassified
	}
}
