package turn

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// allocation is one line of /api/v1/allocations, as far as these tests look at it.
type allocation struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Client    string    `json:"client"`
	Transport string    `json:"transport"`
	Relayed   []string  `json:"relayed"`
	Expires   time.Time `json:"expires"`
}

// allocations asks causeway for all of its allocations.
func (s *subject) allocations() []allocation {
	s.t.Helper()
	status, body, err := s.get("/api/v1/allocations")
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("/api/v1/allocations: %d %v", status, err)
	}
	var all []allocation
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		s.t.Fatalf("/api/v1/allocations: %v in %s", err, body)
	}
	return all
}

// endAllocations ends every allocation, as an operator may. Clients that die leave theirs behind for as long as its
// lifetime says, and most runs of uclient leave one more: it probes the relay first, and forgets the probe.
func (s *subject) endAllocations() {
	s.t.Helper()
	for _, a := range s.allocations() {
		req, err := http.NewRequest(http.MethodDelete, "http://"+s.Admin+"/api/v1/allocations/"+a.ID, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		resp, err := s.http.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		resp.Body.Close()
		// One that its client ended in the meantime is not found.
		if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
			s.t.Errorf("DELETE of allocation %s: %s", a.ID, resp.Status)
		}
	}
}

// metric returns the value of one series of /metrics, named as it is printed.
func (s *subject) metric(series string) float64 {
	s.t.Helper()
	status, body, err := s.get("/metrics")
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("/metrics: %d %v", status, err)
	}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != series {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		return v
	}
	s.t.Fatalf("/metrics has no series %s", series)
	return 0
}

// holdings is what clients take while they are there and give back.
type holdings struct{ Allocations, Goroutines, Descriptors, Memory int }

func (s *subject) holdings() holdings {
	s.t.Helper()
	return holdings{
		Allocations: len(s.allocations()),
		Goroutines:  int(s.metric("go_goroutines")),
		Descriptors: s.Descriptors(),
		Memory:      s.memory(),
	}
}

// settled ends what clients have left and waits until causeway holds no more than before. A connection of the scrape
// itself may still be closing, hence some slack; a leak per client is one of each for every client of the test.
// Memory is the process's resident set, of which the Go runtime gives back a part only after a while.
func (s *subject) settled(before holdings, memory int) {
	s.t.Helper()
	var now holdings
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(250 * time.Millisecond) {
		s.endAllocations()
		now = s.holdings()
		if now.Allocations == 0 && now.Goroutines <= before.Goroutines+2 && now.Descriptors <= before.Descriptors+1 &&
			now.Memory <= before.Memory+memory {
			return
		}
	}
	s.t.Errorf("the clients have gone, and the relay holds %+v; before it was %+v. Its goroutines are in its log", now, before)
	_ = s.Stop(syscall.SIGQUIT, 10*time.Second)
}

// onlyCauseway skips what the control run has no counterpart for.
func onlyCauseway(t *testing.T) {
	t.Helper()
	if coturnUnderTest {
		t.Skip("control run: coturn has nothing of the kind")
	}
}
