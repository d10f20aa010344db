package rig

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Causeway is a running causeway, seen as an operator sees it: the process and its admin server. Its methods may be
// called from several goroutines; those that fail the test only from the test's own.
type Causeway struct {
	*Process
	Admin string // HOST:PORT of the admin server

	t    testing.TB
	quit bool // it was told to end
}

// hasty ends a race detector soon: it waits a second otherwise, in every test.
var hasty = []string{"GORACE=atexit_sleep_ms=100"}

// Serve writes configuration, whose admin.listen is admin, into dir, runs binary with it and waits until it is ready.
// At the end of the test it is stopped as an operator would, and must have left nothing behind: exit code 0, no panic,
// no data race.
func Serve(t testing.TB, binary, dir, configuration, admin string) *Causeway {
	t.Helper()
	file := filepath.Join(dir, "causeway.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Causeway{t: t, Admin: admin, Process: Spawn(t, dir, "causeway", hasty, binary, "serve", "-c", file)}
	t.Cleanup(c.finish)
	Eventually(t, 20*time.Second, "causeway starts", func() string {
		if !c.Running() {
			t.Fatalf("causeway ended at once: %v\n%s", c.Wait(0), c.Output())
		}
		status, body, err := c.Get("/readyz")
		if err != nil {
			return err.Error()
		}
		if status != http.StatusOK {
			return fmt.Sprintf("not ready: %d %s", status, body)
		}
		return ""
	})
	return c
}

// Quit stops causeway before the test ends, which may look at what it does then.
func (c *Causeway) Quit() error {
	c.quit = true
	return c.Stop(syscall.SIGTERM, 15*time.Second)
}

// finish stops causeway and looks at what it leaves.
func (c *Causeway) finish() {
	if c.quit {
		// It was told to.
	} else if !c.Running() {
		c.t.Errorf("causeway ended during the test: %v", c.Wait(0))
	} else if err := c.Stop(syscall.SIGTERM, 15*time.Second); err != nil {
		c.t.Errorf("causeway on SIGTERM: %v", err)
	}
	for _, bad := range []string{"DATA RACE", "panic", "fatal error", "goroutine 1 ["} {
		if out := c.Output(); strings.Contains(out, bad) {
			at := strings.Index(out, bad)
			c.t.Errorf("causeway printed %q:\n%s", bad, Tail(out[at:min(len(out), at+4000)], 4000))
			break
		}
	}
}

// In is the same causeway for the span of a subtest.
func (c *Causeway) In(t testing.TB) *Causeway {
	same := *c
	same.t = t
	return &same
}

var adminClient = &http.Client{Timeout: 5 * time.Second}

// Get asks the admin server.
func (c *Causeway) Get(path string) (status int, body string, err error) {
	resp, err := adminClient.Get("http://" + c.Admin + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, string(data), err
}

// Metrics are all series of /metrics, named as they are printed: `causeway_mediation_ports_free{side="pool"}`.
func (c *Causeway) Metrics() map[string]float64 {
	c.t.Helper()
	status, body, err := c.Get("/metrics")
	if err != nil || status != http.StatusOK {
		c.t.Fatalf("/metrics: %d %v", status, err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(body) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			all[line[:at]] = v
		}
	}
	return all
}

// Metric is the value of one series.
func (c *Causeway) Metric(series string) float64 {
	c.t.Helper()
	v, ok := c.Metrics()[series]
	if !ok {
		c.t.Fatalf("/metrics has no series %s", series)
	}
	return v
}

// Sum adds up all series of a metric.
func (c *Causeway) Sum(name string) float64 {
	c.t.Helper()
	var total float64
	found := false
	for series, v := range c.Metrics() {
		if series == name || strings.HasPrefix(series, name+"{") {
			total += v
			found = true
		}
	}
	if !found {
		c.t.Fatalf("/metrics has no series of %s", name)
	}
	return total
}
