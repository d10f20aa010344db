package mediation

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Summary is a call under way, as /api/v1/calls shows it. Unknown is null.
type Summary struct {
	ID        string     `json:"id"`
	Direction string     `json:"direction"`
	Phase     string     `json:"phase"`
	From      *string    `json:"from"`
	To        *string    `json:"to"`
	Invite    time.Time  `json:"invite"`
	Answer    *time.Time `json:"answer"`
	Codecs    []string   `json:"codecs"`
	SRTP      *string    `json:"srtp"`
	Held      []string   `json:"held"` // the sides that hold the call, or a direction of it
}

// publish makes the call's present state visible to other goroutines. It is
// called by the call's own goroutine.
func (c *Call) publish() {
	s := &Summary{
		ID: c.id, Direction: c.record.Direction, Phase: c.at().String(),
		From: known(c.record.Received.From), To: known(c.record.Received.RequestURI),
		Invite: c.record.Invite.UTC(), Answer: c.record.Answer, Codecs: []string{}, Held: []string{},
	}
	for i := range c.legs {
		l := &c.legs[i]
		if c.legs[theCaller].agreed {
			s.Codecs = append(s.Codecs, audioName(l.send))
		}
		if suite := l.sec.suite(); suite != "" && s.SRTP == nil {
			s.SRTP = &suite
		}
		if l.held() {
			s.Held = append(s.Held, sideNames[l.side])
		}
	}
	c.summary.Store(s)
}

func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ServeCalls answers GET /api/v1/calls with the calls under way, oldest first.
func (s *Server) ServeCalls(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	calls := []*Summary{}
	for _, c := range s.snapshot() {
		if sum := c.summary.Load(); sum != nil {
			calls = append(calls, sum)
		}
	}
	slices.SortFunc(calls, func(a, b *Summary) int {
		if d := a.Invite.Compare(b.Invite); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"calls": calls}) // a client that went away
}
