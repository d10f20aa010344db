package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The operator's manual names every metric of ours that a running server has.
func TestManualNamesEveryMetric(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "manual.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, lab{})
	n := 0
	for series := range s.Metrics() {
		name, _, _ := strings.Cut(series, "{")
		if !strings.HasPrefix(name, "causeway_") || strings.HasPrefix(name, "causeway_process_") {
			continue
		}
		n++
		if !strings.Contains(string(manual), "`"+name+"`") {
			t.Errorf("docs/manual.md does not name %s", name)
		}
	}
	if n < 20 {
		t.Errorf("/metrics has %d series of ours", n)
	}
}
