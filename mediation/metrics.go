package mediation

import (
	"github.com/prometheus/client_golang/prometheus"

	"causeway/mediation/media"
)

const metricPrefix = "causeway_mediation_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

var (
	descCalls     = desc("calls", "Calls under way, by phase.", "phase")
	descStarted   = desc("calls_started_total", "INVITEs taken up as calls.", "direction")
	descResults   = desc("calls_total", "Calls ended, by result.", "direction", "result")
	descFree      = desc("ports_free", "Port pairs free for a new leg.", "side")
	descPairs     = desc("ports", "Port pairs in the range.", "side")
	descExhausted = desc("ports_exhausted_total", "Calls refused because no port pair was free.")
	descTurned    = desc("calls_turned_away_total", "INVITEs refused before they were calls.", "reason")
	descPanics    = desc("call_panics_total", "Calls ended by a panic of ours.")
	descOffers    = desc("call_offers_total", "Offers that change an answered call, and what became of them.", "side", "result")
	descSilences  = desc("media_timeouts_total", "Calls ended because a side's peer sent no RTP for media_timeout.", "side")
	descHolds     = desc("call_holds_total", "Times that a peer held a call, or a direction of it.", "side")
	descDigits    = desc("call_digits_total", "Digits that came by INFO.", "result")
	descIgnored   = desc("call_events_ignored_total", "Events that mean nothing where the call stood.", "event")
	descDropped   = desc("call_events_dropped_total", "Provisional responses and INFOs given up because a call's mailbox was full.")
	descSIPDrops  = desc("sip_dropped_total", "What arrived and was neither served nor answered.", "side", "reason")
	descSessions  = desc("sip_sessions", "SIP sessions known.", "side")
	descPeer      = desc("sip_peer_up", "Whether calls can go to the side: 0 when every address of its peer is down.", "side")
	descTargets   = desc("sip_peer_addresses", "Addresses of the side's peer.", "side", "state")
	descConns     = desc("sip_connections", "Connections open, whoever made them.", "side", "network")
	descUnproven  = desc("sip_connections_unproven", "Connections without a valid request yet.", "side")
	descWithheld  = desc("sip_withheld_total", "Headers, or parts of them, that were not fit to cross.", "reason")
	descBinding   = desc("sip_registered", "Whether the gateway's registrar holds our binding; no series without gateway.register.")
)

// Describe implements prometheus.Collector. The media plane's counters are
// collected under names that it owns, so this collector is unchecked.
func (s *Server) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	phases := make([]int, len(phaseNames))
	for _, c := range s.snapshot() {
		phases[c.at()]++
	}
	for p, n := range phases[:over] {
		gauge(descCalls, float64(n), phase(p).String())
	}
	s.counters.mu.Lock()
	for d, n := range s.counters.begun {
		count(descStarted, n, d)
	}
	for k, n := range s.counters.results {
		count(descResults, n, k.direction, k.result)
	}
	s.counters.mu.Unlock()
	count(descExhausted, s.counters.portsExhausted.Load())
	s.counters.turnedAway.each(func(reason string, n uint64) { count(descTurned, n, reason) })
	s.counters.digits.each(func(result string, n uint64) { count(descDigits, n, result) })
	s.counters.ignored.each(func(event string, n uint64) { count(descIgnored, n, event) })
	count(descDropped, s.counters.eventsDropped.Load())
	count(descPanics, s.counters.panics.Load())
	for _, side := range []media.Side{media.Pool, media.Gateway} {
		name := sideNames[side]
		s.counters.offers[side].each(func(result string, n uint64) { count(descOffers, n, name, result) })
		count(descHolds, s.counters.holds[side].Load(), name)
		count(descSilences, s.counters.silences[side].Load(), name)
		gauge(descFree, float64(s.plane.PortsFree(side)), name)
		gauge(descPairs, float64(s.plane.PortsTotal(side)), name)
		ep := s.sides[side].endpoint
		gauge(descSessions, float64(ep.Sessions()), name)
		ep.Drops().Each(func(reason string, n uint64) { count(descSIPDrops, n, name, reason) })
		gauge(descPeer, oneIf(s.up(side)), name)
		up, down := s.addresses(side)
		gauge(descTargets, float64(up), name, "up")
		gauge(descTargets, float64(down), name, "down")
		conns := ep.Connections()
		for network, n := range conns.Networks {
			gauge(descConns, float64(n), name, network)
		}
		gauge(descUnproven, float64(conns.Unproven), name)
		if r := ep.Registration(); r != nil {
			gauge(descBinding, oneIf(r.Status().Registered))
		}
	}
	s.numbering.Withheld.Each(func(reason string, n uint64) { count(descWithheld, n, reason) })
	s.collectMedia(ch)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// addresses counts those of a side's peer.
func (s *Server) addresses(side media.Side) (up, down int) {
	for _, status := range s.sides[side].peer.Status() {
		if status.Up {
			up++
		} else {
			down++
		}
	}
	return up, down
}

// collectMedia publishes the plane's counters under its own names and labels.
func (s *Server) collectMedia(ch chan<- prometheus.Metric) {
	for _, c := range s.plane.Counters() {
		names, values := make([]string, len(c.Labels)), make([]string, len(c.Labels))
		for i, l := range c.Labels {
			names[i], values[i] = l.Name, l.Value
		}
		ch <- prometheus.MustNewConstMetric(desc("media_"+c.Name, c.Help, names...), prometheus.CounterValue, float64(c.Value), values...)
	}
}
