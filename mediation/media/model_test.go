package media

import (
	"net/netip"
	"slices"
	"time"
)

// The model is what a bridge has to be, written slowly and plainly from the RFCs and from docs/packet-walk.md: unbounded
// numbers, everything remembered, nothing optimised. It says of each packet that comes in on the pool's leg what has to
// leave on the gateway's, and where what we send to the pool goes.

// modelPacket is a packet of the peer's as its sender knows it.
type modelPacket struct {
	rtpPacket
	key   int   // under which it was protected
	index int64 // its SRTP index: rollover counter and sequence number (RFC 3711 section 3.3.1)
}

// modelExpect is what has to come of a packet: a drop's name, or what is sent.
type modelExpect struct {
	drop      string
	number    int64 // in the outgoing stream, counted from 0
	timestamp uint32
	marker    bool
	payload   uint8
	from, to  Kind
}

// modelKey is a remote key's memory (RFC 3711 section 3.2.3).
type modelKey struct {
	highest map[uint32]int64          // of each source that was authenticated
	seen    map[uint32]map[int64]bool // its replay list
	last    uint32                    // the source that was heard last
	lastAt  int64                     // its highest index
	heard   bool
	goesOn  *modelPlace // where a source may go on that was heard before this key
}

type modelPlace struct {
	ssrc  uint32
	index int64
}

// modelLearning is where the peer is.
type modelLearning struct {
	way           Learning
	signalled, at netip.AddrPort
	taken         bool
	settled       bool
	held          bool // by c=0.0.0.0
	until         time.Time
	streaks       map[netip.AddrPort]*modelStreak
}

type modelStreak struct {
	ssrc     uint32
	sequence uint16
	n        int
}

// modelStream is the outgoing stream.
type modelStream struct {
	started bool
	last    int64 // the highest number sent; -1 before any
	taken   map[int64]bool
	joined  bool
	inBase  int64 // extended input number that stands at outBase
	outBase int64
	floor   int64  // what was before it may not come any more
	offset  uint32 // of timestamps
	timed   *modelTime
}

// modelTime is the newest packet whose timestamp is the time of its sending.
type modelTime struct {
	timestamp uint32
	at        time.Time
	span      uint32
}

type model struct {
	secure  bool
	keys    map[int]*modelKey
	key     int // in use; 0 is none
	old     int // good until
	until   time.Time
	learn   modelLearning
	receive map[uint8]Kind

	ssrc      uint32
	runs      []*run // as the other oracle has them
	awaits    bool
	candidate map[uint32]uint16

	held bool    // the gateway
	cut  *uint32 // the timestamp of an event of the peer's that digits of ours have cut: its rest is none
	send []Payload
	out  modelStream
}

func newModelStream() modelStream { return modelStream{last: -1, taken: map[int64]bool{}} }

// take says what has to come of a packet from an address. playing says whether digits of ours have the outgoing stream.
func (m *model) take(p modelPacket, from netip.AddrPort, at time.Time, playing bool) modelExpect {
	foreign := !m.secure && !m.learn.hears(from)
	kind, known := m.receive[p.payload]
	if foreign {
		if !known || !m.audition(p, from, at) {
			return modelExpect{drop: "wrong_source"}
		}
	}
	if m.secure {
		if drop := m.open(p, at); drop != "" {
			return modelExpect{drop: drop}
		}
	}
	if !known {
		return modelExpect{drop: "payload_type"}
	}
	extended, drop, begins := m.admit(p)
	newest := drop == "" && extended == m.run().max
	if drop == "new_source" || drop == "sequence_jump" || begins || newest {
		m.follow(p, from, at)
	}
	if drop != "" {
		return modelExpect{drop: drop}
	}
	return m.forward(p, kind, extended, at, begins, newest, playing)
}

// modelForged is what comes of a packet that no good key has protected: by its number it may as well look like a replay.
const modelForged = "authentication or replay"

// open is RFC 3711 section 3.3 under the key in use, or under the one before while it is good.
func (m *model) open(p modelPacket, at time.Time) string {
	if m.old != 0 && at.After(m.until) {
		m.old = 0
	}
	if p.key != m.key && (p.key != m.old || m.old == 0) {
		return modelForged
	}
	return m.keys[p.key].open(p, p.key == m.key)
}

func (k *modelKey) open(p modelPacket, inUse bool) string {
	guesses := []int64{int64(p.sequence)}
	highest, known := k.highest[p.ssrc]
	if known {
		guesses[0] = modelIndex(highest, p.sequence)
		if highest-guesses[0] >= replayWindow || k.seen[p.ssrc][guesses[0]] {
			return "replay"
		}
	} else if inUse && k.goesOn != nil && k.goesOn.ssrc == p.ssrc {
		guesses = append(guesses, modelIndex(k.goesOn.index, p.sequence))
	}
	if !slices.Contains(guesses, p.index) {
		return modelForged
	}
	if !known {
		k.seen[p.ssrc] = map[int64]bool{}
	}
	if k.goesOn != nil && k.goesOn.ssrc == p.ssrc {
		k.goesOn = nil
	}
	k.seen[p.ssrc][p.index] = true
	k.highest[p.ssrc] = max(highest, p.index)
	k.last, k.lastAt, k.heard = p.ssrc, k.highest[p.ssrc], true
	return ""
}

// modelIndex is the index of a packet by RFC 3711 appendix A: of the numbers with its lower 16 bits the nearest.
func modelIndex(highest int64, sequence uint16) int64 {
	roc := highest >> 16
	best := roc<<16 | int64(sequence)
	for _, r := range []int64{roc - 1, roc + 1} {
		v := r<<16 | int64(sequence)
		if v >= 0 && distance(v, highest) < distance(best, highest) {
			best = v
		}
	}
	return best
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// hears says whether plain RTP from an address is the peer's.
func (l *modelLearning) hears(from netip.AddrPort) bool {
	switch {
	case !l.at.IsValid():
		return false // nobody was ever there
	case from == l.at:
		return true
	}
	return l.way != Strict && !l.taken && from.Addr() == l.signalled.Addr()
}

func (l *modelLearning) open(at time.Time) bool {
	return l.way == NAT && !l.settled && at.Before(l.until)
}

// shows counts a source's packets in a row, and says whether they are three.
func (l *modelLearning) shows(p modelPacket, from netip.AddrPort, ordered bool) bool {
	s := l.streaks[from]
	if s == nil {
		s = &modelStreak{}
		l.streaks[from] = s
	}
	ahead := int(p.sequence-s.sequence) % 65536
	if s.n > 0 && s.ssrc == p.ssrc && (ahead == 1 || !ordered && ahead > 0 && ahead < 32768) {
		s.n++
	} else {
		s.n = 1
	}
	s.ssrc, s.sequence = p.ssrc, p.sequence
	return s.n >= 3
}

func (l *modelLearning) move(to netip.AddrPort, taken bool) {
	l.at, l.settled, l.taken, l.streaks = to, true, l.taken || taken, map[netip.AddrPort]*modelStreak{}
}

func (m *model) audition(p modelPacket, from netip.AddrPort, at time.Time) bool {
	if m.learn.held || !m.learn.open(at) || !m.learn.shows(p, from, true) {
		return false
	}
	m.learn.move(from, true)
	if p.ssrc != m.ssrc {
		m.awaits = true
	}
	return true
}

func (m *model) follow(p modelPacket, from netip.AddrPort, at time.Time) {
	l := &m.learn
	switch {
	case l.held:
	case !m.secure && l.open(at):
		if l.shows(p, from, true) {
			l.move(from, true)
		}
	case from == l.at:
		l.streaks = map[netip.AddrPort]*modelStreak{}
	case !m.secure && l.way == Strict:
	case l.shows(p, from, !m.secure):
		l.move(from, false)
	}
}

func (m *model) run() *run {
	if len(m.runs) == 0 {
		return nil
	}
	return m.runs[len(m.runs)-1]
}

// admit is RFC 3550 A.1, but that the first source of a leg is taken at once.
func (m *model) admit(p modelPacket) (extended int64, drop string, begins bool) {
	r := m.run()
	switch {
	case r == nil || m.awaits:
		return m.begin(p), "", true
	case p.ssrc != m.ssrc:
		last, ok := m.candidate[p.ssrc]
		if ok && p.sequence == last+1 {
			return m.begin(p), "", true
		}
		m.candidate = map[uint32]uint16{p.ssrc: p.sequence}
		return 0, "new_source", false
	}
	ahead := int64(p.sequence - uint16(r.max))
	extended = r.max + ahead
	switch {
	case ahead < maxDropout:
	case ahead > 65536-maxMisorder:
		extended -= 65536
	case int(p.sequence) == r.bad:
		return m.begin(p), "", true
	default:
		r.bad = int(p.sequence+1) % 65536
		return 0, "sequence_jump", false
	}
	if r.seen[extended] {
		return 0, "duplicate", false
	}
	r.seen[extended] = true
	if extended > r.max {
		r.max, m.candidate = extended, nil
	}
	return extended, "", false
}

func (m *model) begin(p modelPacket) int64 {
	extended := int64(p.sequence) + 1<<20*65536
	m.runs = append(m.runs, &run{base: extended, max: extended, bad: -1, seen: map[int64]bool{extended: true}})
	m.ssrc, m.candidate, m.awaits = p.ssrc, nil, false
	return extended
}

// forward is what of the peer's stream leaves on the other leg.
func (m *model) forward(p modelPacket, kind Kind, extended int64, at time.Time, begins, newest, playing bool) modelExpect {
	o := &m.out
	as, drop := m.sendAs(kind)
	switch {
	case m.held:
		o.joined = false
		return modelExpect{drop: "no_destination"}
	case playing:
		drop = "event_playing"
		if kind == Event {
			m.cut = &p.timestamp
		}
	case kind == Event && m.cut != nil && *m.cut == p.timestamp:
		drop = "event_playing"
	}
	if drop != "" { // no gap is left where the far end cannot hear anything
		switch {
		case begins:
			o.joined = false
		case o.joined && newest:
			o.outBase--
			o.floor = extended + 1
		}
		return modelExpect{drop: drop}
	}
	joins := begins || !o.joined
	switch {
	case joins:
		o.joined, o.inBase, o.floor, o.outBase = true, extended, extended, o.last+1
		o.offset = o.next(at) - p.timestamp
	case extended < o.floor:
		return modelExpect{drop: "late"}
	}
	e := modelExpect{
		number: o.outBase + extended - o.inBase, timestamp: p.timestamp + o.offset,
		marker: p.marker || joins && kind.audio(), payload: as.Type, from: kind, to: as.Kind,
	}
	lasts := uint32(0)
	switch {
	case kind.audio():
		lasts = max(uint32(len(p.body)), 1)
	case kind == CN:
		lasts = 160
	}
	o.sent(e.number, e.timestamp, lasts, at)
	return e
}

// sendAs is the kind's payload type, or for audio that of what the peer wants most.
func (m *model) sendAs(kind Kind) (Payload, string) {
	for _, p := range m.send {
		if p.Kind == kind {
			return p, ""
		}
	}
	if kind == Event {
		return Payload{}, "no_event_kind"
	}
	if kind == CN {
		return Payload{}, "no_cn_kind"
	}
	for _, p := range m.send {
		if p.Kind.audio() {
			return p, ""
		}
	}
	return Payload{}, "no_audio_kind"
}

// next is the timestamp of what has nothing to do with what was before (RFC 3550 section 5.1): time goes on.
func (o *modelStream) next(at time.Time) uint32 {
	if o.timed == nil {
		return 0
	}
	passed := uint32(max(at.Sub(o.timed.at), 0) / (125 * time.Microsecond))
	return o.timed.timestamp + max(passed, o.timed.span)
}

func (o *modelStream) sent(number int64, timestamp, lasts uint32, at time.Time) {
	newest := number > o.last
	o.last = max(o.last, number)
	o.started = true
	if newest && (lasts > 0 || o.timed == nil) {
		if lasts == 0 {
			lasts = 160
		}
		o.timed = &modelTime{timestamp, at, lasts}
	}
}

// setPool is signalling's word for the peer's leg.
func (m *model) setPool(leg Leg, key int, at time.Time) {
	remote := destination(leg.Remote)
	l := &m.learn
	if leg.Anew || remote.IsValid() && remote != l.signalled {
		l.signalled, l.at, l.taken = remote, remote, false
	}
	l.way, l.held, l.settled, l.until = leg.Learning, !remote.IsValid(), false, at.Add(5*time.Second)
	l.streaks = map[netip.AddrPort]*modelStreak{}
	if m.secure && key != m.key {
		m.rekey(key, at)
	}
	if leg.Anew {
		m.awaits, m.old = len(m.runs) > 0, 0
		if m.secure {
			m.keys[m.key].goesOn = nil
		}
	}
}

// rekey puts a remote key in use. One that was there before is remembered with all that came under it.
func (m *model) rekey(key int, at time.Time) {
	before := m.keys[m.key]
	if m.key != 0 {
		m.old, m.until = m.key, at.Add(5*time.Second)
	}
	m.key = key
	if m.keys[key] != nil && m.keys[key].heard {
		return
	}
	k := &modelKey{highest: map[uint32]int64{}, seen: map[uint32]map[int64]bool{}}
	m.keys[key] = k
	switch {
	case before == nil:
	case before.heard:
		k.goesOn = &modelPlace{before.last, before.lastAt}
	default:
		k.goesOn = before.goesOn
	}
}
