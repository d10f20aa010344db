package media

import (
	"net/netip"
	"time"
)

// Learning says whose plain RTP is the peer's, and where ours goes. Under SRTP it
// has no say: there the peer is whoever has the key.
type Learning uint8

// The ways of learning. In each of them the address of signalling is the first.
const (
	// SameIP takes RTP from the signalled address, whatever its port. What we send
	// follows to a port that [proof] packets in sequence came from.
	SameIP Learning = iota
	// Strict takes RTP from the signalled address and port alone.
	Strict
	// NAT takes the first source that sends [proof] packets in sequence within
	// [learningWindow] after [Bridge.Set]. From then on that source alone is the
	// peer, until the leg is set again. Without such a source it is SameIP.
	NAT
)

const (
	// proof is how many packets in sequence a source has to send before ours go
	// there. A stray packet, or one that somebody recorded, is not enough.
	proof = 3
	// learningWindow is how long after the leg was set a source may come from
	// anywhere: longer than phones take from the answer to their first packet,
	// and no longer than an attacker should have.
	learningWindow = 5 * time.Second
	// rivals is how many sources may prove themselves at a time. Where anybody can
	// be one, that is a race that an attacker can win as well as lose; the bound
	// keeps it cheap.
	rivals = 4
)

// rival is a source on its way to be the one that we send to.
type rival struct {
	from     netip.AddrPort
	ssrc     uint32
	sequence uint16
	packets  uint8 // in a row
}

// learning is where a leg's peer is. It has no clock and is told the time. RTCP
// never changes it.
type learning struct {
	way       Learning
	signalled netip.AddrPort // where signalling said last; stays through hold
	at        netip.AddrPort // where the peer is, as far as anybody knows
	taken     bool           // at is a source that was taken by NAT
	settled   bool           // a source proved itself since the leg was set
	until     time.Time      // NAT: when the window closes
	rivals    [rivals]rival
	contested bool  // there are rivals
	oldest    uint8 // the place that the next rival takes
}

// signal takes the address that signalling gave, which is not valid on hold: then
// the peer stays where it was. anew says that it is another peer. What was learned
// stays as long as signalling says the same.
func (l *learning) signal(remote netip.AddrPort, way Learning, anew bool, now time.Time) {
	if anew || remote.IsValid() && (remote != l.signalled || way != l.way) {
		l.signalled, l.at, l.taken = remote, remote, false
	}
	l.way = way
	l.settled, l.until = false, now.Add(learningWindow)
	l.forget()
}

// restart goes back to what signalling said.
func (l *learning) restart() {
	l.at, l.taken = l.signalled, false
	l.forget()
}

func (l *learning) forget() {
	if l.contested {
		l.rivals, l.contested, l.oldest = [rivals]rival{}, false, 0
	}
}

// hears says whether plain RTP from an address is the peer's.
func (l *learning) hears(from netip.AddrPort) bool {
	if from == l.at {
		return from.IsValid()
	}
	return l.way != Strict && !l.taken && from.Addr() == l.signalled.Addr()
}

// hearsRTCP likewise, of plain RTCP; signalled is where signalling puts the peer's.
func (l *learning) hearsRTCP(from, signalled netip.AddrPort) bool {
	if l.way == Strict {
		return from == signalled
	}
	return from.Addr() == l.at.Addr() || from.Addr() == signalled.Addr()
}

// open says whether anybody may be the peer.
func (l *learning) open(now time.Time) bool {
	return l.way == NAT && !l.settled && now.Before(l.until)
}

// prove takes a packet that may be the last of a source's proof, and says whether
// it is. ordered asks for one number after the other, as plain packets have to
// bring; authentic ones have only to go ahead.
func (l *learning) prove(from netip.AddrPort, ssrc uint32, sequence uint16, ordered bool) bool {
	r := l.find(from)
	ahead := sequence - r.sequence
	if r.packets > 0 && r.ssrc == ssrc && (ahead == 1 || !ordered && ahead-1 < 1<<15-1) {
		r.packets++
	} else {
		r.packets = 1
	}
	r.ssrc, r.sequence = ssrc, sequence
	return r.packets >= proof
}

// find returns a source's place, which may be another's who has to go.
func (l *learning) find(from netip.AddrPort) *rival {
	for i := range l.rivals {
		if l.rivals[i].from == from {
			return &l.rivals[i]
		}
	}
	l.contested = true
	r := &l.rivals[l.oldest]
	l.oldest = (l.oldest + 1) % rivals
	*r = rival{from: from}
	return r
}

// audition is for plain RTP from a source that is not the peer while anybody may
// be. It says whether the source is the peer from now on.
func (h *half) audition(from netip.AddrPort, hd *header, now time.Time) bool {
	l := &h.learning
	if h.secure != 0 || !h.remote.IsValid() || !l.open(now) ||
		h.receiveKind[hd.payload] == 0 || hd.ssrc == h.out.ssrc || // not what we take, or what we sent
		!l.prove(from, hd.ssrc, hd.sequence, true) {
		return false
	}
	h.move(from, true)
	if h.in.ssrc != hd.ssrc {
		h.in.await() // it has done its probation
	}
	return true
}

// follow takes note of where a packet of the peer's came from, and has ours go
// there when enough did. What is neither new nor ahead proves nothing: somebody
// may have kept it.
func (h *half) follow(from netip.AddrPort, hd *header, v verdict, newest bool, now time.Time) {
	l := &h.learning
	if v == again || v == follows && !newest || !h.remote.IsValid() {
		return
	}
	switch open := h.secure == 0 && l.open(now); {
	case open:
		if l.prove(from, hd.ssrc, hd.sequence, true) {
			h.move(from, true)
		}
	case from == l.at:
		l.forget() // the proof has to be in a row
	case l.prove(from, hd.ssrc, hd.sequence, h.secure == 0):
		h.move(from, false)
	}
}

// move sends what goes out to another place. taken says that signalling's word for
// it does not count any more.
func (h *half) move(to netip.AddrPort, taken bool) {
	l := &h.learning
	l.settled, l.taken = true, l.taken || taken
	l.forget()
	if to == l.at {
		return
	}
	l.at = to
	h.learnedRTCP = netip.AddrPort{}
	h.aim()
	h.moves++
	h.bridge.worker.counts.moves[h.side]++
}

// aim chooses where RTP and RTCP go: to the peer, unless signalling has put it on
// hold. RTCP follows RTP to another address, there to the port of signalling until
// the peer's own reports show a better one.
func (h *half) aim() {
	l := &h.learning
	h.remote, h.remoteRTCP = netip.AddrPort{}, netip.AddrPort{}
	if h.silent {
		return
	}
	h.remote, h.remoteRTCP = l.at, h.signalledRTCP
	switch {
	case h.mux:
		h.remoteRTCP = l.at
	case l.at == l.signalled || !h.signalledRTCP.IsValid() || h.signalledRTCP.Addr() != l.signalled.Addr():
	case h.learnedRTCP.IsValid():
		h.remoteRTCP = h.learnedRTCP
	default:
		h.remoteRTCP = netip.AddrPortFrom(l.at.Addr(), h.signalledRTCP.Port())
	}
}

// followRTCP takes note of where the peer's reports come from. They are believed
// as far as its RTP is: only from the address that RTP was learned at.
func (h *half) followRTCP(from netip.AddrPort) {
	l := &h.learning
	if h.mux || h.silent || l.at == l.signalled || from == h.learnedRTCP || from.Addr() != l.at.Addr() ||
		h.secure == 0 && l.way == Strict {
		return
	}
	h.learnedRTCP = from
	h.aim()
}
