package relay

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/internal/netio"
	"causeway/relay/route"
	"causeway/relay/turn"
)

// Metrics, by their Prometheus names.
var (
	descAllocations = desc("allocations", "Allocations now.")
	descLimit       = desc("allocations_limit", "Allocations that there may be at once.")
	descUsers       = desc("users", "Users with an allocation now.")
	descRequests    = desc("requests_total", "STUN and TURN requests received, by method.", "method")
	descErrors      = desc("errors_total", "Error responses sent, by code.", "code")
	descSuccesses   = desc("successes_total", "Success responses sent, but for Binding.")
	descIgnored     = desc("messages_dropped_total", "STUN messages that got no answer, by reason.", "reason")
	descRefused     = desc("authentication_refused_total", "Requests with credentials that were refused, by reason.", "reason")
	descExpired     = desc("allocations_expired_total", "Allocations that ended with their lifetime or credential.")
	descPackets     = desc("packets_total", "Datagrams relayed, by direction.", "direction")
	descBytes       = desc("bytes_total", "Bytes of application data relayed, by direction.", "direction")
	descDropped     = desc("packets_dropped_total", "Datagrams and frames that were not relayed, by where they came in and why.", "listener", "reason")
	descKernel      = desc("socket_dropped_total", "Datagrams that the kernel dropped because a receive queue was full.", "listener")
	descUnsent      = desc("socket_unsent_total", "Datagrams that the kernel refused to send.", "listener")
	descICMP        = desc("icmp_errors_total", "ICMP errors that came back for what was sent.", "listener")
	descPortsFree   = desc("ports_free", "Relay ports that an allocation could have now.", "family", "transport")
	descPortsRest   = desc("ports_quarantined", "Relay ports that rest after use.", "family", "transport")
	descPortsEarly  = desc("ports_reused_early_total", "Relay ports taken before they had rested, since all others were in use.", "family", "transport")
	descPortFailed  = desc("port_failures_total", "Allocations that got no port because one could not be opened.")
	descPanics      = desc("panics_total", "Panics that were caught: defects that cost one client.")
	descRTP         = desc("rtp_packets_total", "Relayed packets that look like RTP, by direction.", "direction")
	descRTPLost     = desc("rtp_lost_total", "RTP packets that never reached the relay, by direction (RFC 3550 A.3).", "direction")
	descClients     = desc("stream_clients", "Connections of stream clients now.")
	descEnded       = desc("stream_ended_total", "Connections of stream clients that ended, by reason.", "listener", "reason")
	descLost        = desc("stream_dropped_total", "Frames to or from stream clients that were dropped, by reason.", "listener", "reason")
	descPending     = desc("connections_pending", "Peer connections of TCP allocations on their way, or waiting for their client.")
	descActive      = desc("connections_active", "Peer connections of TCP allocations that are joined with a client's.")
	descPeers       = desc("connections_total", "Peer connections of TCP allocations, by what became of them.", "outcome")
	descPeerBytes   = desc("connection_bytes_total", "Bytes that data connections moved, by direction.", "direction")
)

// peerListener is the label of what came in by relay ports.
const peerListener = "relay_ports"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("causeway_relay_"+name, help, labels, nil)
}

// figures are what a scrape collects of all workers.
type figures struct {
	stats    turn.Stats
	fates    []Fates // by listener, the last for the relay ports
	sockets  []netio.PortCounters
	toPeer   traffic
	toClient traffic
}

// traffic is what went in one direction: all of it, and what of it looked like RTP.
type traffic struct{ packets, bytes, rtp, lost uint64 }

// trafficOf sums up one direction of an allocation.
func trafficOf(f *route.Flow) traffic {
	t := traffic{packets: f.Packets, bytes: f.Bytes}
	for _, s := range f.Meter.Snapshot() {
		t.rtp += s.Packets
		t.lost += s.Lost
	}
	return t
}

// Describe implements prometheus.Collector by collecting once: the metrics that there are don't change.
func (r *Relay) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector. Nothing is told while a worker doesn't answer in time.
func (r *Relay) Collect(ch chan<- prometheus.Metric) {
	// Each worker fills in its own: one that is late still writes when its answer is no longer waited for.
	each := make([]*figures, len(r.workers))
	if err := r.onWorkers(func(w *worker, _ time.Time) {
		mine := r.newFigures()
		w.addFigures(mine)
		each[w.number] = mine
	}); err != nil {
		r.log.Warn("metrics of the relay are missing", "error", err)
		return // rather than counters that fall, which look like a restart
	}
	f := r.newFigures()
	for _, mine := range each {
		f.add(mine)
	}
	for i, l := range r.streams.listeners {
		addCounters(&f.sockets[r.streams.numbers[i]], l.Port())
	}
	r.collectProtocol(ch, f)
	r.collectPackets(ch, f)
	r.collectPorts(ch)
	r.streams.collect(ch)
}

func (r *Relay) newFigures() *figures {
	n := len(r.listening) + 1
	return &figures{fates: make([]Fates, n), sockets: make([]netio.PortCounters, n)}
}

// add adds another worker's figures.
func (f *figures) add(o *figures) {
	f.stats.Add(o.stats)
	for i := range f.fates {
		f.fates[i].add(&o.fates[i])
		addCounters(&f.sockets[i], o.sockets[i])
	}
	f.toPeer.add(o.toPeer)
	f.toClient.add(o.toClient)
}

// addFigures adds what this worker counted.
func (w *worker) addFigures(f *figures) {
	f.stats.Add(w.machine.Stats())
	for i, l := range w.listeners {
		f.fates[i].add(&l.fates)
		if l.port != nil {
			addCounters(&f.sockets[i], l.port.Counters())
		}
	}
	last := len(w.listeners)
	f.fates[last].add(&w.peerFates)
	addCounters(&f.sockets[last], w.closedSockets)
	f.toPeer.add(w.closedToPeer)
	f.toClient.add(w.closedToClient)
	for _, s := range w.sessions {
		for _, e := range s.ends {
			if e.port != nil {
				addCounters(&f.sockets[last], e.port.Counters())
			}
		}
		if s.claimed != nil && s.listener != nil {
			addCounters(&f.sockets[s.listener.number], s.claimed.Counters())
		}
		f.toPeer.add(trafficOf(&s.path.ToPeer))
		f.toClient.add(trafficOf(&s.path.ToClient))
		if s.tcp != nil {
			up, down := w.relay.streams.connections.Traffic(s.id)
			f.toPeer.bytes += up
			f.toClient.bytes += down
		}
	}
}

func addCounters(sum *netio.PortCounters, c netio.PortCounters) {
	sum.Overflowed += c.Overflowed
	sum.Unreachable += c.Unreachable
	sum.Unsent += c.Unsent
}

func (t *traffic) add(o traffic) {
	t.packets += o.packets
	t.bytes += o.bytes
	t.rtp += o.rtp
	t.lost += o.lost
}

func (r *Relay) collectProtocol(ch chan<- prometheus.Metric, f *figures) {
	gauge(ch, descAllocations, float64(r.quota.Allocations()))
	gauge(ch, descLimit, float64(r.cfg.Limits.Allocations))
	gauge(ch, descUsers, float64(r.quota.Users()))
	for _, m := range turn.Methods() {
		counter(ch, descRequests, f.stats.Requests[m], m.String())
	}
	for i, code := range turn.Codes() {
		counter(ch, descErrors, f.stats.Errors[i], strconv.Itoa(code))
	}
	for _, d := range turn.Drops() {
		counter(ch, descIgnored, f.stats.Drops[d], d.String())
	}
	for _, reason := range turn.Refusals() {
		counter(ch, descRefused, f.stats.Refused[reason], reason.String())
	}
	counter(ch, descSuccesses, f.stats.Successes)
	counter(ch, descExpired, f.stats.Expired)
}

func (r *Relay) collectPackets(ch chan<- prometheus.Metric, f *figures) {
	for direction, t := range map[string]traffic{"to_peer": f.toPeer, "to_client": f.toClient} {
		counter(ch, descPackets, t.packets, direction)
		counter(ch, descBytes, t.bytes, direction)
		counter(ch, descRTP, t.rtp, direction)
		counter(ch, descRTPLost, t.lost, direction)
	}
	r.quality.Collect(ch)
	for i := range f.fates {
		name := peerListener
		if i < len(r.listening) {
			name = r.listening[i].String()
		}
		for fate := range fates {
			counter(ch, descDropped, f.fates[i][fate], name, fate.String())
		}
		if i == len(r.listening) || r.listening[i].Datagrams() {
			counter(ch, descKernel, f.sockets[i].Overflowed, name)
			counter(ch, descUnsent, f.sockets[i].Unsent, name)
			counter(ch, descICMP, f.sockets[i].Unreachable, name)
		}
	}
}

func (r *Relay) collectPorts(ch chan<- prometheus.Metric) {
	now := r.now()
	for key, pool := range r.pools {
		free, resting, early := pool.counts(now)
		family, transport := "ipv4", "udp"
		if key.family == turn.IPv6 {
			family = "ipv6"
		}
		if key.tcp {
			transport = "tcp"
		}
		gauge(ch, descPortsFree, float64(free), family, transport)
		gauge(ch, descPortsRest, float64(resting), family, transport)
		counter(ch, descPortsEarly, early, family, transport)
	}
	counter(ch, descPortFailed, r.openFailures.Load())
	counter(ch, descPanics, r.panics.Load())
}

func (s *streams) collect(ch chan<- prometheus.Metric) {
	gauge(ch, descClients, float64(s.gate.Open()))
	c := s.connections.Counters()
	gauge(ch, descPending, float64(c.Pending))
	gauge(ch, descActive, float64(c.Active))
	for outcome, n := range map[string]uint64{
		"dialed": c.Dialed, "dial_failed": c.DialFailed, "accepted": c.Accepted, "forbidden": c.Forbidden,
		"refused": c.Refused, "unclaimed": c.Unclaimed, "bound": c.Bound, "idle": c.Idle, "accept_failed": c.AcceptErrors,
	} {
		counter(ch, descPeers, n, outcome)
	}
	counter(ch, descPeerBytes, c.BytesUp, "to_peer")
	counter(ch, descPeerBytes, c.BytesDown, "to_client")
	for i, l := range s.listeners {
		name, counters := s.names[i].String(), l.Counters()
		counters.Each(
			func(reason string, n uint64) { counter(ch, descEnded, n, name, reason) },
			func(reason string, n uint64) { counter(ch, descLost, n, name, reason) })
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// quality is what ended allocations' RTP streams showed, one observation for each stream.
type quality struct{ jitter, loss *prometheus.HistogramVec }

func newQuality() quality {
	vec := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "causeway", Subsystem: "relay", Name: name, Help: help, Buckets: buckets,
		}, []string{"direction"})
		for _, direction := range []string{"to_peer", "to_client"} {
			v.WithLabelValues(direction)
		}
		return v
	}
	return quality{
		jitter: vec("rtp_jitter_seconds", "Jitter of RTP streams on their way to the relay, at the end of their allocation (RFC 3550 A.8).",
			[]float64{.001, .002, .005, .01, .02, .03, .05, .1, .2, .5}),
		loss: vec("rtp_loss_ratio", "Share of RTP packets that never reached the relay, at the end of their allocation.",
			[]float64{0, .001, .005, .01, .02, .05, .1, .2, .5}),
	}
}

// observe takes in one direction of an allocation that has ended.
func (q quality) observe(direction string, f *route.Flow) {
	for _, s := range f.Meter.Snapshot() {
		if s.JitterMS != nil {
			q.jitter.WithLabelValues(direction).Observe(*s.JitterMS / 1000)
		}
		if expected := s.Packets + s.Lost; expected > 0 {
			q.loss.WithLabelValues(direction).Observe(float64(s.Lost) / float64(expected))
		}
	}
}

// Collect tells of both.
func (q quality) Collect(ch chan<- prometheus.Metric) {
	q.jitter.Collect(ch)
	q.loss.Collect(ch)
}
