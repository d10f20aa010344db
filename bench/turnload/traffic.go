package turnload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"causeway/relay/turn"
)

// Payload is the length of a voice packet in bytes: 20 ms of G.711 behind an RTP header.
const Payload = 172

const (
	rtpHeader  = 12
	minPayload = rtpHeader + 8 + 4 + 4 // the header, and what put writes behind it
	maxPayload = 1400
	frame      = 160 // by which RTP's timestamp advances with a packet
)

// Traffic is what to send: from each client to its peer and from the peer to the client, at the same rate.
type Traffic struct {
	Rate     float64 // packets a second of a client, each way
	Payload  int     // bytes without ChannelData's header; 0 is [Payload]
	Duration time.Duration
	// Tick is how often packets are sent: all that fell due since the last tick, in one burst. 0 sends each packet at its
	// own time, evenly over all clients and both directions, which is the hardest on a server: it is woken for nearly
	// every packet.
	Tick time.Duration
}

// Report is what came of Traffic.
type Report struct {
	ToPeer, ToClient Direction
	Took             time.Duration
	// Stalled is how long the generator itself did not run, in gaps of over 2 ms, because the system ran something else.
	// Delay and loss of such a run are not the server's.
	Stalled time.Duration
	// Overflowed is how many packets were lost because the generator did not read them in time.
	Overflowed uint64
	// Strange is how many datagrams came that were not what had been sent: of a wrong length or content, or at another
	// client or from another relayed address than they should.
	Strange uint64
}

// Direction is what happened to the packets of one direction.
type Direction struct {
	Sent, Received uint64
	Latency        Histogram // from one end to the other, with the generator's own part
}

// Loss is the part of the packets that got lost.
func (d *Direction) Loss() float64 {
	if d.Sent == 0 {
		return 0
	}
	return 1 - float64(d.Received)/float64(d.Sent)
}

// Delivered is how many packets arrived, both ways together.
func (r *Report) Delivered() uint64 { return r.ToPeer.Received + r.ToClient.Received }

const (
	gap   = 2 * time.Millisecond   // that the generator may not notice
	tail  = 200 * time.Millisecond // to wait for the last packets
	doze  = 3 * time.Millisecond   // a wait long enough to sleep through, in the poller's milliseconds
	burst = 64                     // packets to send before reading again
)

// run is one Traffic under way.
type run struct {
	*Load
	Report
	payload  int
	total    uint64  // packets, both directions
	interval float64 // between two of them, in nanoseconds
	tick     time.Duration
	start    time.Duration
	number   uint32 // which run of this load, so that late packets of another don't count
	sent     uint64
	last     time.Duration // when the loop was last seen to run
}

// Run sends traffic between clients that are set up and their peers, and waits for the last packets to arrive. An error
// is the generator's; what the server loses is in the report.
func (l *Load) Run(ctx context.Context, t Traffic) (Report, error) {
	if t.Payload == 0 {
		t.Payload = Payload
	}
	if t.Rate <= 0 || t.Payload < minPayload || t.Payload > maxPayload {
		return Report{}, errors.New("turnload: no such traffic")
	}
	for _, s := range l.sessions {
		if s.step != ready {
			return Report{}, fmt.Errorf("turnload: client %d is not set up", s.number)
		}
	}
	perSecond := 2 * t.Rate * float64(len(l.sessions))
	l.runs++
	r := &run{
		Load: l, payload: t.Payload, total: uint64(perSecond * t.Duration.Seconds()), interval: 1e9 / perSecond,
		tick: t.Tick, number: l.runs, start: l.since(),
	}
	r.last = r.start
	overflowed := l.dropped()
	if err := r.loop(ctx); err != nil {
		return Report{}, fmt.Errorf("turnload: %w", err)
	}
	r.Overflowed = l.dropped() - overflowed
	return r.Report, nil
}

// loop sends what is due and reads what has come, until everything is sent and nothing has come for a while.
func (r *run) loop(ctx context.Context) error {
	for r.sent < r.total {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := r.now()
		for n := 0; n < burst && r.sent < r.total && r.due(now); n++ {
			if err := r.send(); err != nil {
				return err
			}
		}
		r.read(r.pause(now))
	}
	r.Took = r.now() - r.start
	for end := r.now() + tail; r.now() < end && r.Delivered() < r.total; {
		r.read(time.Millisecond)
	}
	return nil
}

// now reads the clock, and notes when it went on without us.
func (r *run) now() time.Duration {
	now := r.since()
	if d := now - r.last; d > gap+r.slack() {
		r.Stalled += d
	}
	r.last = now
	return now
}

// slack is how long the loop may have slept by its own wish.
func (r *run) slack() time.Duration {
	if r.tick >= doze {
		return r.tick
	}
	return 0
}

// at is when the next packet is to be sent, on the run's clock.
func (r *run) at() time.Duration {
	at := time.Duration(float64(r.sent) * r.interval)
	if late := at % max(r.tick, 1); late > 0 {
		at += r.tick - late
	}
	return at
}

func (r *run) due(now time.Duration) bool { return r.start+r.at() <= now }

// pause is how long the loop may wait for packets: not at all when the next is to be sent soon.
func (r *run) pause(now time.Duration) time.Duration {
	if left := r.start + r.at() - now; left > doze {
		return left - time.Millisecond
	}
	return 0
}

// send sends the next packet: every other one is a client's, the rest are the peers'.
func (r *run) send() error {
	turnNumber, toClient := r.sent/2, r.sent%2 == 1
	s := r.sessions[turnNumber%uint64(len(r.sessions))]
	sequence := uint32(turnNumber / uint64(len(r.sessions)))
	r.sent++
	b := r.packet[:turn.ChannelHeaderSize+r.payload]
	r.put(b[turn.ChannelHeaderSize:], s, sequence, toClient)
	var err error
	if toClient {
		err = s.peer.socket.sendTo(b[turn.ChannelHeaderSize:], s.relayed)
		r.ToClient.Sent++
	} else {
		channelHeader(b, r.payload)
		err = s.socket.send(b)
		r.ToPeer.Sent++
	}
	if err != nil && !transient(err) {
		return fmt.Errorf("client %d: send: %w", s.number, err)
	}
	return nil
}

// put writes a payload: RTP of PCMU, as far as its header shows (RFC 3550 section 5.1), then what a receiver checks.
func (r *run) put(b []byte, s *session, sequence uint32, toClient bool) {
	source := s.number << 1
	if toClient {
		source |= 1
	}
	b[0], b[1] = 2<<6, 0
	binary.BigEndian.PutUint16(b[2:], uint16(sequence))
	binary.BigEndian.PutUint32(b[4:], sequence*frame)
	binary.BigEndian.PutUint32(b[8:], source)
	binary.BigEndian.PutUint32(b[12:], r.number)
	binary.BigEndian.PutUint64(b[16:], uint64(r.since()))
	binary.BigEndian.PutUint32(b[24:], ^source)
}

// read takes what has come, one datagram of each socket that is ready.
func (r *run) read(patience time.Duration) {
	for number := range r.poll.wait(patience) {
		if number < len(r.sessions) {
			r.readClient(r.sessions[number])
		} else {
			r.readPeer(&r.peers[number-len(r.sessions)])
		}
	}
}

func (r *run) readClient(s *session) {
	n, ok := s.socket.receive(r.receive[:])
	if !ok {
		return
	}
	channel, data, err := turn.ParseChannelData(r.receive[:n], false)
	if err != nil || channel != firstChannel {
		r.Strange++
		return
	}
	r.take(&r.ToClient, data, s.number<<1|1)
}

func (r *run) readPeer(p *peer) {
	n, port, ok := p.socket.receiveFrom(r.receive[:])
	if !ok {
		return
	}
	source := uint32(0)
	if n >= rtpHeader {
		source = binary.BigEndian.Uint32(r.receive[8:])
	}
	if i := int(source >> 1); i >= len(r.sessions) || r.sessions[i].peer != p || r.sessions[i].relayedPort != port {
		r.Strange++
		return
	}
	r.take(&r.ToPeer, r.receive[:n], source&^1)
}

// take counts a packet that should come from a source.
func (r *run) take(d *Direction, b []byte, source uint32) {
	if len(b) != r.payload || binary.BigEndian.Uint32(b[8:]) != source || binary.BigEndian.Uint32(b[24:]) != ^source {
		r.Strange++
		return
	}
	if binary.BigEndian.Uint32(b[12:]) != r.number {
		return // of an earlier run, which counted it as lost
	}
	d.Received++
	d.Latency.Add(r.since() - time.Duration(binary.BigEndian.Uint64(b[16:])))
}

// dropped returns how many datagrams the generator's sockets had no room for.
func (l *Load) dropped() (n uint64) {
	for _, s := range l.sessions {
		n += s.socket.dropped()
	}
	for i := range l.peers {
		n += l.peers[i].socket.dropped()
	}
	return n
}
