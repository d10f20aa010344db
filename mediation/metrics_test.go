package mediation

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestMetricsAreSound: names by convention, every series at zero from the
// start, none twice.
func TestMetricsAreSound(t *testing.T) {
	s := newTestServer(t)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(s); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"causeway_mediation_calls": true, "causeway_mediation_calls_total": true, "causeway_mediation_ports_free": true,
		"causeway_mediation_ports_exhausted_total": true, "causeway_mediation_sip_dropped_total": true,
		"causeway_mediation_media_dropped_packets_total": true,
	}
	for _, f := range families {
		delete(want, f.GetName())
		if !strings.HasPrefix(f.GetName(), metricPrefix) {
			t.Errorf("%s has no prefix", f.GetName())
		}
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}
