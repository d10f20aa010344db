package relay

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"causeway/relay/route"
	"causeway/relay/turn"
)

// answerTime is how long a report waits for a worker. One that is later than this has worse troubles.
const answerTime = 2 * time.Second

// errBusy is returned when a worker does not answer in time.
var errBusy = errors.New("a relay worker did not answer in time")

// Allocation is one allocation, as /api/v1/allocations shows it.
type Allocation struct {
	ID          string    `json:"id"`
	User        string    `json:"user"`
	Client      string    `json:"client"`
	Transport   string    `json:"transport"`
	Listener    string    `json:"listener"`
	Relayed     []string  `json:"relayed"`
	Protocol    string    `json:"protocol"` // of the relayed addresses: udp or tcp
	Began       time.Time `json:"began"`
	Expires     time.Time `json:"expires"`
	Permissions []string  `json:"permissions"`
	Channels    int       `json:"channels"`
	ToPeer      Flow      `json:"to_peer"`
	ToClient    Flow      `json:"to_client"`
}

// Flow is one direction of an allocation.
type Flow struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// RTP is what the payload shows where it looks like RTP: loss and jitter, measured at the relay without decrypting.
	RTP []RTP `json:"rtp"`
}

// RTP is one RTP stream of a direction. JitterMS is null until the clock rate is known.
type RTP struct {
	SSRC        string   `json:"ssrc"`
	PayloadType uint8    `json:"payload_type"`
	Packets     uint64   `json:"packets"`
	Lost        uint64   `json:"lost"`
	JitterMS    *float64 `json:"jitter_ms"`
	ClockRate   *int     `json:"clock_rate"`
}

// onWorkers runs f on every worker's goroutine, one after another, and waits.
func (r *Relay) onWorkers(f func(w *worker, now time.Time)) error {
	for _, w := range r.workers {
		done := make(chan struct{})
		w.call(func(now time.Time) {
			defer close(done)
			f(w, now)
		})
		select {
		case <-done:
		case <-time.After(answerTime):
			return errBusy
		}
	}
	return nil
}

// Allocations returns every allocation, the oldest first.
func (r *Relay) Allocations() ([]Allocation, error) {
	perWorker := make([][]Allocation, len(r.workers)) // each worker's own, should it be late
	err := r.onWorkers(func(w *worker, _ time.Time) {
		w.machine.Each(func(info turn.Info) { perWorker[w.number] = append(perWorker[w.number], w.describe(info)) })
	})
	if err != nil {
		return nil, err
	}
	all := append([]Allocation{}, slices.Concat(perWorker...)...) // none is a list, too
	slices.SortFunc(all, func(a, b Allocation) int { return a.Began.Compare(b.Began) })
	return all, nil
}

func (w *worker) describe(info turn.Info) Allocation {
	a := Allocation{
		ID: formatID(info.ID), User: info.User, Client: clientOf(info.Source),
		Transport: info.Source.Transport.String(), Listener: w.relay.listening[info.Source.Listener].String(),
		Relayed: []string{}, Protocol: "udp", Began: info.Began.UTC(), Expires: info.Ends.UTC(),
		Permissions: []string{}, Channels: info.Channels,
	}
	if a.Client == "" {
		a.Listener = ""
	}
	if info.TCP {
		a.Protocol = "tcp"
	}
	for _, relayed := range info.Relayed {
		if relayed.IsValid() {
			a.Relayed = append(a.Relayed, relayed.String())
		}
	}
	for _, p := range info.Permissions {
		a.Permissions = append(a.Permissions, p.String())
	}
	if s := w.sessions[info.ID]; s != nil {
		a.ToPeer, a.ToClient = describeFlow(&s.path.ToPeer), describeFlow(&s.path.ToClient)
		s.addTCP(&a)
	}
	return a
}

// clientOf is a client's address; empty while a client that may come back by its ticket is away.
func clientOf(s turn.Source) string {
	if !s.Client.IsValid() {
		return ""
	}
	return s.Client.String()
}

func describeFlow(f *route.Flow) Flow {
	d := Flow{Packets: f.Packets, Bytes: f.Bytes, RTP: []RTP{}}
	for _, s := range f.Meter.Snapshot() {
		rtp := RTP{
			SSRC: "0x" + strconv.FormatUint(uint64(s.SSRC), 16), PayloadType: s.PT, Packets: s.Packets, Lost: s.Lost,
			JitterMS: s.JitterMS,
		}
		if s.ClockRate > 0 {
			rtp.ClockRate = &s.ClockRate
		}
		d.RTP = append(d.RTP, rtp)
	}
	return d
}

// Kill ends an allocation and reports whether there was one.
func (r *Relay) Kill(id turn.ID) (bool, error) {
	if id.Worker() >= len(r.workers) {
		return false, nil
	}
	w := r.workers[id.Worker()]
	found := make(chan bool, 1)
	w.call(func(now time.Time) {
		actions, ok := w.machine.Kill(id)
		w.do(now, actions)
		found <- ok
	})
	select {
	case ok := <-found:
		return ok, nil
	case <-time.After(answerTime):
		return false, errBusy
	}
}

func formatID(id turn.ID) string { return strconv.FormatUint(uint64(id), 16) }

// ServeAllocations answers GET /api/v1/allocations with all allocations, and GET and DELETE of
// /api/v1/allocations/ID with one; DELETE ends it.
func (r *Relay) ServeAllocations(w http.ResponseWriter, q *http.Request) {
	id := strings.Trim(strings.TrimPrefix(q.URL.Path, "/api/v1/allocations"), "/")
	switch {
	case id == "" && (q.Method == http.MethodGet || q.Method == http.MethodHead):
		r.serveList(w)
	case id != "" && (q.Method == http.MethodGet || q.Method == http.MethodHead):
		r.serveOne(w, id)
	case id != "" && q.Method == http.MethodDelete:
		r.serveKill(w, id)
	default:
		allow := "GET, HEAD"
		if id != "" {
			allow += ", DELETE"
		}
		w.Header().Set("Allow", allow)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (r *Relay) serveList(w http.ResponseWriter) {
	all, err := r.Allocations()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, all)
}

func (r *Relay) serveOne(w http.ResponseWriter, id string) {
	all, err := r.Allocations()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	i := slices.IndexFunc(all, func(a Allocation) bool { return a.ID == id })
	if i < 0 {
		http.Error(w, "no such allocation", http.StatusNotFound)
		return
	}
	writeJSON(w, all[i])
}

func (r *Relay) serveKill(w http.ResponseWriter, id string) {
	number, err := strconv.ParseUint(id, 16, 64)
	if err != nil {
		http.Error(w, "no such allocation", http.StatusNotFound)
		return
	}
	ok, err := r.Kill(turn.ID(number))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !ok:
		http.Error(w, "no such allocation", http.StatusNotFound)
	default:
		r.log.Info("an allocation was ended by the operator", "id", id)
		w.WriteHeader(http.StatusNoContent)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the reader has gone if this fails
}
