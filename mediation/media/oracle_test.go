package media

import (
	"bytes"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// oracle is the slow twin of reception and sending together: unbounded numbers,
// every packet remembered, jitter in floating point, one run of the sequence after
// the other. It says what has to come of each packet.
type oracle struct {
	t *rapid.T

	// The stream that comes in.
	ssrc      uint32
	runs      []*run
	candidate map[uint32]uint16 // the last packet of a source on probation

	// The stream that goes out.
	sequence int64 // the highest sent, counted from 0 for the first
	newest   *outgoing
	taken    map[int64]bool

	transit  *int64
	jitter   float64
	received uint64
}

// run is a part of the input without a restart.
type run struct {
	base, max int64
	bad       int // the number that would confirm a jump, or -1
	seen      map[int64]bool
	received  int64

	out          int64 // outgoing number of the first packet
	timestamp    uint32
	outTimestamp uint32
}

type outgoing struct {
	timestamp uint32
	at        time.Time
	span      int
}

func (r *run) lost() int64 { return r.max - r.base + 1 - r.received }

func (o *oracle) run() *run {
	if len(o.runs) == 0 {
		return nil
	}
	return o.runs[len(o.runs)-1]
}

func (o *oracle) lost() (n int64) {
	for _, r := range o.runs {
		n += r.lost()
	}
	return n
}

// expect is what an input packet has to become: a drop, or the place of a packet
// sent.
type expect struct {
	drop      string
	sequence  int64
	timestamp uint32
	joins     bool
}

func (o *oracle) take(p rtpPacket, at time.Time) expect {
	r := o.run()
	switch {
	case r == nil:
		return o.begin(p, at)
	case p.ssrc != o.ssrc:
		last, ok := o.candidate[p.ssrc]
		if ok && p.sequence == last+1 {
			return o.begin(p, at)
		}
		o.candidate = map[uint32]uint16{p.ssrc: p.sequence}
		return expect{drop: "new_source"}
	}
	ahead := (int64(p.sequence) - r.max%65536 + 65536) % 65536
	extended := r.max + ahead
	if ahead >= 3000 {
		if ahead <= 65536-100 {
			if int(p.sequence) == r.bad {
				return o.begin(p, at)
			}
			r.bad = int(p.sequence+1) % 65536
			return expect{drop: "sequence_jump"}
		}
		extended -= 65536
	}
	r.received++
	o.received++
	if extended > r.max {
		o.candidate = nil // the present source goes on
	}
	if r.seen[extended] {
		return expect{drop: "duplicate"}
	}
	r.seen[extended] = true
	o.clock(p, at)
	newest := extended > r.max
	r.max = max(r.max, extended)
	if extended < r.base {
		return expect{drop: "late"}
	}
	return o.send(r, p, extended, at, newest, false)
}

func (o *oracle) begin(p rtpPacket, at time.Time) expect {
	// Far from zero, so that what comes late is not negative.
	extended := int64(p.sequence) + 1<<20*65536
	r := &run{base: extended, max: extended, bad: -1, seen: map[int64]bool{extended: true}, received: 1}
	o.received++
	o.runs = append(o.runs, r)
	if p.ssrc != o.ssrc {
		o.jitter = 0 // kept per source
	}
	o.ssrc, o.candidate, o.transit = p.ssrc, nil, nil
	o.clock(p, at)
	r.out, r.timestamp = o.sequence+1, p.timestamp
	if o.newest != nil {
		passed := int(at.Sub(o.newest.at) / (time.Second / 8000))
		r.outTimestamp = o.newest.timestamp + uint32(max(passed, o.newest.span, 1))
	}
	return o.send(r, p, extended, at, true, true)
}

func (o *oracle) send(r *run, p rtpPacket, extended int64, at time.Time, newest, joins bool) expect {
	e := expect{
		sequence:  r.out + extended - r.base,
		timestamp: r.outTimestamp + p.timestamp - r.timestamp,
		joins:     joins,
	}
	if o.taken[e.sequence] {
		o.t.Fatalf("the oracle itself sends number %d twice", e.sequence)
	}
	o.taken[e.sequence] = true
	o.sequence = max(o.sequence, e.sequence)
	if newest {
		o.newest = &outgoing{e.timestamp, at, len(p.body)}
	}
	return e
}

func (o *oracle) clock(p rtpPacket, at time.Time) {
	transit := at.UnixNano()/125_000 - int64(p.timestamp)
	if o.transit != nil {
		// The timestamp wraps, so the difference is the nearest of its equals.
		d := math.Abs(float64(int32(uint32(transit - *o.transit))))
		if d <= 3*8000 {
			o.jitter += (d - o.jitter) / 16
		}
	}
	o.transit = &transit
}

// drawPacket makes the next packet of a sender that loses, repeats, reorders, jumps
// and changes its source.
func drawPacket(t *rapid.T, sender *rtpPacket) rtpPacket {
	p := *sender
	ahead := func(n int) {
		p.sequence += uint16(n)
		p.timestamp += uint32(n * frame)
		*sender = p
	}
	switch rapid.IntRange(0, 13).Draw(t, "kind of packet") {
	case 0:
		ahead(rapid.SampledFrom([]int{2, 3, 6, 63, 64, 65, 90, 127, 128, 129}).Draw(t, "lost")) // a gap
	case 1:
		p.sequence -= uint16(rapid.IntRange(0, 3).Draw(t, "repeated"))
	case 2:
		n := rapid.IntRange(1, 130).Draw(t, "behind")
		p.sequence -= uint16(n)
		p.timestamp -= uint32(n * frame)
	case 3:
		ahead(rapid.IntRange(2990, 3010).Draw(t, "dropout"))
	case 4:
		ahead(rapid.IntRange(0, 65535).Draw(t, "jump"))
	case 5:
		p.ssrc = uint32(rapid.IntRange(1, 3).Draw(t, "source"))
		ahead(1)
	case 6:
		p.timestamp = rapid.Uint32().Draw(t, "timestamp")
		ahead(1)
	default:
		ahead(1)
	}
	p.body = speech(p.sequence)[:rapid.SampledFrom([]int{160, 160, 80, 480, 0}).Draw(t, "payload")]
	return p
}

func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := bothSet(t)
		o := &oracle{t: rt, sequence: -1, taken: map[int64]bool{}}
		sender := rtpPacket{
			ssrc:      1,
			sequence:  rapid.SampledFrom([]uint16{0, 1, 100, 30000, 32767, 65435, 65530, 65535}).Draw(rt, "first sequence"),
			timestamp: rapid.SampledFrom([]uint32{0, 1 << 31, math.MaxUint32 - 400}).Draw(rt, "first timestamp"),
		}
		var first rtpPacket
		drops := map[string]uint64{}
		for i := range rapid.IntRange(1, 200).Draw(rt, "packets") {
			p := drawPacket(rt, &sender)
			r.now = r.now.Add(time.Duration(rapid.IntRange(0, 60_000).Draw(rt, "microseconds")) * time.Microsecond)
			want := o.take(p, r.now)
			r.in(Pool, p.bytes())
			out := r.out(Gateway)
			if want.drop != "" {
				drops[want.drop]++
				if out != nil {
					rt.Fatalf("packet %d (%+v) was sent on, want drop %s", i, p, want.drop)
				}
				continue
			}
			if len(out) != 1 {
				rt.Fatalf("packet %d (number %d): %d sent, want one; drops %v", i, p.sequence, len(out), r.drops(Pool))
			}
			got := read(t, out[0])
			if want.sequence == 0 {
				first = got
			}
			if got.sequence-first.sequence != uint16(want.sequence) || got.timestamp-first.timestamp != want.timestamp {
				rt.Fatalf("packet %d: number +%d, timestamp +%d, want +%d, +%d", i,
					got.sequence-first.sequence, got.timestamp-first.timestamp, uint16(want.sequence), want.timestamp)
			}
			if got.ssrc != first.ssrc || got.marker != want.joins || !bytes.Equal(got.body, p.body) {
				rt.Fatalf("packet %d became %+v", i, got)
			}
		}
		compare(rt, r, o, drops)
	})
}

func compare(t *rapid.T, r *rig, o *oracle, drops map[string]uint64) {
	st := r.b.Stats()
	in := st[Pool].Receive
	if in.Packets != o.received || *in.Lost != o.lost() || *in.SSRC != o.ssrc {
		t.Fatalf("received %d, lost %d from %d; want %d, %d from %d", in.Packets, *in.Lost, *in.SSRC, o.received, o.lost(), o.ssrc)
	}
	if in.JitterMS != nil {
		// A.8's integers round each sixteenth down or up.
		if want := o.jitter / 8; math.Abs(*in.JitterMS-want) > 0.2 {
			t.Fatalf("jitter %v ms, want %v", *in.JitterMS, want)
		}
		if *in.JitterMaxMS < *in.JitterMS {
			t.Fatalf("jitter %v is above its maximum %v", *in.JitterMS, *in.JitterMaxMS)
		}
	}
	sent := uint64(len(o.taken))
	if st[Gateway].Send.Packets != sent {
		t.Fatalf("sent %d, want %d", st[Gateway].Send.Packets, sent)
	}
	for name, n := range r.drops(Pool) {
		if drops[name] != n {
			t.Fatalf("drops %v, want %v", r.drops(Pool), drops)
		}
		delete(drops, name)
	}
	if len(drops) != 0 {
		t.Fatalf("missing drops %v", drops)
	}
}
