package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/internal/conf"
	"causeway/qos/store"
)

func spoolOptions(cfg *conf.Config, log *slog.Logger) store.Options {
	return store.Options{RetentionDays: cfg.Quality.RetentionDays, Log: log.With("part", "spool")}
}

// spoolMetrics publishes the spool's counters: the store itself knows no
// metrics library.
type spoolMetrics struct{ spool *store.Spool }

var spoolDescs = [3]*prometheus.Desc{
	prometheus.NewDesc("causeway_qoe_records_written_total", "Call records written to the spool.", nil, nil),
	prometheus.NewDesc("causeway_qoe_records_dropped_total", "Call records lost because the spool's queue was full.", nil, nil),
	prometheus.NewDesc("causeway_qoe_write_failures_total", "Writes to the spool that failed and were tried again.", nil, nil),
}

func (m spoolMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range spoolDescs {
		ch <- d
	}
}

func (m spoolMetrics) Collect(ch chan<- prometheus.Metric) {
	written, dropped, failed := m.spool.Counters()
	for i, n := range []uint64{written, dropped, failed} {
		ch <- prometheus.MustNewConstMetric(spoolDescs[i], prometheus.CounterValue, float64(n))
	}
}
