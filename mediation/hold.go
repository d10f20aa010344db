package mediation

import "causeway/mediation/sdp"

// flow is what one end of a stream does, or wants: two bits, which SDP writes
// as one direction attribute (RFC 3264 5.1).
type flow struct{ send, receive bool }

// bothWays is a stream that nobody holds.
var bothWays = flow{send: true, receive: true}

// String is the direction attribute.
func (f flow) String() string {
	switch f {
	case bothWays:
		return "sendrecv"
	case flow{send: true}:
		return "sendonly"
	case flow{receive: true}:
		return "recvonly"
	default:
		return "inactive"
	}
}

// flowNamed is what a direction attribute says.
func flowNamed(direction string) flow {
	return flow{
		send:    direction == "sendrecv" || direction == "sendonly",
		receive: direction == "sendrecv" || direction == "recvonly",
	}
}

// flowOf is what the writer of an audio line does by it. The zero address is
// hold of old: nothing is to be sent there, whatever the attribute says
// (RFC 3264 8.4).
func flowOf(a *sdp.Audio) flow {
	f := flowNamed(a.Direction)
	f.receive = f.receive && a.Remote.IsValid()
	return f
}

// Both peers of a call have a will, which a leg keeps: whether its peer wants
// to send and to receive. What we offer one peer is the will of the other, and
// what we answer is as much of it as the offer leaves room for. A peer hears of
// the other's will only as far as the description that we wrote could say it;
// told keeps that, and a difference is what a re-offer is for.

// answerFlow is our half of an answer to a peer of that will, and what the peer
// has heard of the other's will with it (RFC 3264 6.1).
func answerFlow(will, far, told flow) (ours, nowTold flow) {
	ours = flow{send: will.receive && far.send, receive: will.send && far.receive}
	if will.receive {
		told.send = far.send
	}
	if will.send {
		told.receive = far.receive
	}
	return ours, told
}

// answeredFlow is our half of a stream after an answer to our offer, and the
// peer's will with what the answer says of it. A bit that the offer did not ask
// for is not the peer's to set: a peer that answers our sendonly with recvonly
// has not stopped wanting to send.
func answeredFlow(offered, answer, will flow) (ours, nowWill flow) {
	if offered.receive {
		will.send = answer.send
	}
	if offered.send {
		will.receive = answer.receive
	}
	return flow{send: offered.send && answer.receive, receive: offered.receive && answer.send}, will
}
