package media

import "time"

// Counter is one figure of the plane, counted from its start.
type Counter struct {
	// Name is the last part of a metric's name, such as "packets_received_total".
	// Counters of one name differ in their labels.
	Name  string
	Help  string
	Value uint64
	// Labels tells counters of one name apart: "side" is pool or gateway, "reason"
	// a reason to drop.
	Labels []Label
}

// Label is a name and a value.
type Label struct{ Name, Value string }

// Counters returns the plane's figures over all bridges, those included that are
// gone. Every series is there from the start. It waits for the workers in turn.
func (p *Plane) Counters() []Counter {
	var c counts
	for _, w := range p.workers {
		w.call(func(time.Time) { c.add(&w.counts) })
	}
	p.mu.Lock()
	opened := p.opened
	p.mu.Unlock()
	list := []Counter{
		{Name: "bridges_opened_total", Help: "Bridges opened.", Value: opened},
		{Name: "bridges_failed_total", Help: "Bridges ended by an internal error.", Value: c.failures},
		{Name: "rtcp_packets_received_total", Help: "RTCP packets accepted.", Value: c.rtcpReceived},
		{Name: "rtcp_packets_sent_total", Help: "RTCP packets sent.", Value: c.rtcpSent},
	}
	for _, s := range []Side{Pool, Gateway} {
		side := Label{"side", s.String()}
		list = append(list,
			Counter{"rtp_packets_received_total", "RTP packets accepted.", c.received[s].packets, []Label{side}},
			Counter{"rtp_payload_bytes_received_total", "Their payload in bytes.", c.received[s].bytes, []Label{side}},
			Counter{"rtp_packets_sent_total", "RTP packets sent.", c.sent[s].packets, []Label{side}},
			Counter{"rtp_payload_bytes_sent_total", "Their payload in bytes.", c.sent[s].bytes, []Label{side}},
			Counter{"digits_played_total", "Digits sent as telephone events of our own.", c.digits[s].played, []Label{side}},
			Counter{"digits_lost_total", "Digits not played, or not to their end: the leg changed or closed.", c.digits[s].lost, []Label{side}})
		list = append(list,
			Counter{"destination_moves_total", "How often RTP was sent to where the peer's came from, other than before.", c.moves[s], []Label{side}},
			Counter{"stream_restarts_total", "Received streams that jumped within one SSRC and were taken up again (RFC 3550 A.1).", c.restarts[s], []Label{side}})
		for d := passed + 1; d < dropCount; d++ {
			list = append(list, Counter{"dropped_packets_total",
				"Media packets refused or not sent, by reason.", c.drops[s][d],
				[]Label{side, {"reason", d.String()}}})
		}
	}
	return list
}

// Bridges returns how many bridges are open.
func (p *Plane) Bridges() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bridges)
}

// PortsFree returns how many pairs of a side's address are neither in use nor
// resting. Sides that share an address share the figure.
func (p *Plane) PortsFree(s Side) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ports[s].free(time.Now())
}

// PortsTotal returns how many pairs a side's address has.
func (p *Plane) PortsTotal(s Side) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ports[s].total
}
