package media

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// believer is the slow twin of learning: it remembers every packet that may count
// and looks back at them each time.
type believer struct {
	way       Learning
	secure    bool
	signalled netip.AddrPort
	at        netip.AddrPort
	held      bool
	taken     bool // by nat
	done      bool // somebody proved himself since the leg was set
	since     time.Time
	seen      []sight
	stream    reception // whose verdicts have an oracle of their own
}

// sight is one packet that may be part of a proof.
type sight struct {
	from     netip.AddrPort
	ssrc     uint32
	sequence uint16
}

func (b *believer) set(leg *Leg, now time.Time) {
	remote := leg.Remote
	b.held = !remote.IsValid()
	if leg.Anew {
		b.stream.await()
	}
	if leg.Anew || !b.held && (remote != b.signalled || b.way != leg.Learning) {
		b.signalled, b.at, b.taken = remote, remote, false
	}
	if secure := leg.SRTP != nil; secure != b.secure {
		b.secure, b.at, b.taken = secure, b.signalled, false
	}
	b.way, b.done, b.since, b.seen = leg.Learning, false, now, nil
}

func (b *believer) anybody(now time.Time) bool {
	return !b.secure && b.way == NAT && !b.done && now.Sub(b.since) < 5*time.Second
}

func (b *believer) isPeer(from netip.AddrPort, authentic bool) bool {
	switch {
	case b.secure:
		return authentic
	case !b.at.IsValid():
		return false
	case from == b.at:
		return true
	case b.way == Strict || b.taken:
		return false
	}
	return from.Addr() == b.signalled.Addr()
}

// packet says whether a new packet is heard: unless it is the peer's, it is not.
func (b *believer) packet(from netip.AddrPort, ssrc uint32, sequence uint16, authentic bool, now time.Time) (heard bool) {
	if !b.isPeer(from, authentic) {
		if b.secure || b.held || !b.anybody(now) || !b.proves(sight{from, ssrc, sequence}) {
			return false
		}
		b.moveTo(from, true)
		if b.stream.ssrc != ssrc {
			b.stream.await()
		}
		b.stream.admit(ssrc, sequence)
		return true
	}
	extended, v := b.stream.admit(ssrc, sequence)
	switch {
	case b.held || v == again || v == follows && extended != b.stream.extendedMax():
	case b.anybody(now):
		if b.proves(sight{from, ssrc, sequence}) {
			b.moveTo(from, true)
		}
	case from == b.at:
		b.seen = nil
	case b.proves(sight{from, ssrc, sequence}):
		b.moveTo(from, false)
	}
	return true
}

// proves looks back for three packets of one source and one stream: one number
// after the other if plain, going ahead if authentic.
func (b *believer) proves(s sight) bool {
	b.seen = append(b.seen, s)
	n := 1
	next := s
	for _, before := range slices.Backward(b.seen[:len(b.seen)-1]) {
		if before.from != s.from {
			continue
		}
		step := int16(next.sequence - before.sequence)
		if before.ssrc != s.ssrc || step <= 0 || !b.secure && step != 1 {
			break
		}
		n++
		next = before
	}
	return n >= 3
}

func (b *believer) moveTo(to netip.AddrPort, taken bool) {
	b.at, b.done, b.taken, b.seen = to, true, b.taken || taken, nil
}

// goes is where what we send has to go.
func (b *believer) goes() netip.AddrPort {
	if b.held {
		return netip.AddrPort{}
	}
	return b.at
}

// Any sequence of settings and of packets, of the peer's from here and there and
// of attackers', is heard and answered as the oracle says.
func TestLearningAgainstOracle(t *testing.T) {
	places := []netip.AddrPort{home, otherPort, secondHome, outer, attacker}
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t, SameIP, false)
		keys := secureLeg(Pool, AES128_GCM).SRTP
		s.leg.Learning = rapid.SampledFrom([]Learning{SameIP, Strict, NAT}).Draw(rt, "way")
		secure := rapid.Bool().Draw(rt, "secure")
		var o believer
		set := func(anew bool) {
			s.leg.SRTP, s.phone = nil, nil
			if secure {
				s.leg.SRTP = keys
			}
			s.leg.Anew = anew
			s.answer()
			o.set(&s.leg, s.now)
		}
		phone := newPhone(t, keys)
		set(false)
		sequence := map[uint32]uint16{}
		var kept [][]byte
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			s.now = s.now.Add(20 * time.Millisecond)
			switch rapid.IntRange(0, 19).Draw(rt, "step") {
			case 0:
				s.leg.Remote = rapid.SampledFrom([]netip.AddrPort{home, home, secondHome, {}}).Draw(rt, "remote")
				set(rapid.IntRange(0, 4).Draw(rt, "anew") == 0)
			case 1:
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 6).Draw(rt, "seconds")) * time.Second)
			case 2:
				if len(kept) > 0 && secure { // somebody sends again what was there
					before := s.refused()
					s.raw(attacker, slices.Clone(rapid.SampledFrom(kept).Draw(rt, "kept")))
					if s.refused() == before {
						rt.Fatal("a replay is heard")
					}
				}
			case 3:
				if secure {
					secure = rapid.IntRange(0, 9).Draw(rt, "stays secure") > 0
					set(false)
				}
			default:
				from := rapid.SampledFrom(places).Draw(rt, "from")
				ssrc := uint32(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(rt, "ssrc"))
				authentic := !secure || rapid.IntRange(0, 5).Draw(rt, "forged") > 0
				n := rapid.SampledFrom([]int{1, 1, 2, 3, 4}).Draw(rt, "packets")
				for range n {
					ahead := []int{1, 1, 1, 1, 2}
					if !secure {
						ahead = []int{1, 1, 1, 1, 2, 0}
					}
					sequence[ssrc] += uint16(rapid.SampledFrom(ahead).Draw(rt, "ahead"))
					b := talk(int(sequence[ssrc]), ssrc).bytes()
					if secure {
						b = phone.protect(b)
						if !authentic {
							b[len(b)-1] ^= 1
						} else {
							kept = append(kept, slices.Clone(b))
						}
					}
					s.now = s.now.Add(20 * time.Millisecond)
					want := o.packet(from, ssrc, sequence[ssrc], authentic, s.now)
					before := s.refused()
					s.deliver(s.port(Pool), b, from)
					if got := s.refused() == before; got != want {
						rt.Fatalf("%v, source %d, number %d: heard %t, want %t; drops %v", from, ssrc, sequence[ssrc], got, want, s.drops(Pool))
					}
				}
			}
			if got, want := s.sent(), o.goes(); got != want {
				rt.Fatalf("ours go to %v, want %v", got, want)
			}
		}
	})
}

// refused counts the packets of the pool's side that were not taken for the
// peer's.
func (s *stage) refused() uint64 {
	d := &s.b.halves[Pool].drops
	return d[dropWrongSource] + d[dropAuth] + d[dropReplay]
}
