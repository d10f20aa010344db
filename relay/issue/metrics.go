package issue

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a request was refused.
type reason uint8

const (
	reasonPath reason = iota
	reasonMethod
	reasonContentType
	reasonSize
	reasonMalformed
	reasonUser
	reasonLifetime
	reasonCount
)

var reasonNames = [reasonCount]string{"path", "method", "content_type", "size", "malformed", "user", "lifetime"}

func (r reason) String() string { return reasonNames[r] }

type counters struct {
	issued      atomic.Uint64
	clamped     atomic.Uint64
	refused     [reasonCount]atomic.Uint64
	handshakes  atomic.Uint64
	connections atomic.Uint64
}

const metricPrefix = "causeway_relay_credentials_"

var (
	descIssued  = prometheus.NewDesc(metricPrefix+"issued_total", "Credentials issued.", nil, nil)
	descClamped = prometheus.NewDesc(metricPrefix+"clamped_total", "Credentials issued for less time than was asked for.", nil, nil)
	descRefused = prometheus.NewDesc(metricPrefix+"refused_total", "Connections and requests that got no credential, by reason.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	ch <- descIssued
	ch <- descClamped
	ch <- descRefused
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	count(descIssued, &s.counters.issued)
	count(descClamped, &s.counters.clamped)
	for r := range s.counters.refused {
		count(descRefused, &s.counters.refused[r], reasonNames[r])
	}
	count(descRefused, &s.counters.handshakes, "handshake")
	count(descRefused, &s.counters.connections, "connections")
}
