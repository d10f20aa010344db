package mediation

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/mediation/media"
)

// counters are folded at call rate, never per packet.
type counters struct {
	portsExhausted atomic.Uint64
	overLimit      atomic.Uint64
	panics         atomic.Uint64

	mu      sync.Mutex // guards the following
	begun   map[string]uint64
	results map[resultKey]uint64
}

type resultKey struct{ direction, result string }

// results by class: a code of the hundreds would be open-ended in the hands
// of a peer, so the label is one of these.
var resultClasses = []string{"answered", "cancelled", "busy", "no_answer", "refused", "failed", "redirected"}

func resultOf(code int, answered bool) string {
	switch {
	case answered:
		return "answered"
	case code == 487:
		return "cancelled"
	case code == 486 || code == 600:
		return "busy"
	case code == 408 || code == 480:
		return "no_answer"
	case code >= 300 && code < 400:
		return "redirected"
	case code >= 500 && code < 600:
		return "failed"
	default:
		return "refused"
	}
}

func (c *counters) init() {
	c.begun, c.results = map[string]uint64{}, map[resultKey]uint64{}
	for _, d := range directionNames {
		c.begun[d] = 0
		for _, r := range resultClasses {
			c.results[resultKey{d, r}] = 0
		}
	}
}

func (c *counters) started(direction string) {
	c.mu.Lock()
	c.begun[direction]++
	c.mu.Unlock()
}

func (c *counters) ended(direction string, code int, answered bool) {
	c.mu.Lock()
	c.results[resultKey{direction, resultOf(code, answered)}]++
	c.mu.Unlock()
}

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
	descLimited   = desc("calls_over_limit_total", "Calls refused because max_calls were up.")
	descPanics    = desc("call_panics_total", "Calls ended by a panic of ours.")
	descSIPDrops  = desc("sip_dropped_total", "What arrived and was neither served nor answered.", "side", "reason")
	descSessions  = desc("sip_sessions", "SIP sessions known.", "side")
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
	count(descLimited, s.counters.overLimit.Load())
	count(descPanics, s.counters.panics.Load())
	for _, side := range []media.Side{media.Pool, media.Gateway} {
		name := sideNames[side]
		gauge(descFree, float64(s.plane.PortsFree(side)), name)
		gauge(descPairs, float64(s.plane.PortsTotal(side)), name)
		ep := s.sides[side].endpoint
		gauge(descSessions, float64(ep.Sessions()), name)
		ep.Drops().Each(func(reason string, n uint64) { count(descSIPDrops, n, name, reason) })
	}
	s.collectMedia(ch)
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
