package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Record is a line of the spool, as far as the tests look at it. Pointers are fields that may be unknown.
type Record struct {
	ID        string            `json:"id"`
	Direction string            `json:"direction"`
	CallIDs   map[string]string `json:"call_ids"`
	Received  Numbers           `json:"received"`
	Sent      Numbers           `json:"sent"`

	Invite       *time.Time `json:"invite"`
	Provisional  *time.Time `json:"first_provisional"`
	Answer       *time.Time `json:"answer"`
	End          *time.Time `json:"end"`
	Code         int        `json:"code"`
	Reason       string     `json:"reason"`
	ReasonHeader *string    `json:"reason_header"`
	EndedBy      string     `json:"ended_by"`

	Legs []struct {
		Side    string  `json:"side"`
		Codec   string  `json:"codec"`
		SRTP    *string `json:"srtp"`
		Receive Stream  `json:"receive"`
		Send    Stream  `json:"send"`
	} `json:"legs"`
}

// Numbers are whom a Record says was called, and by whom.
type Numbers struct {
	RequestURI string `json:"request_uri"`
	From       string `json:"from"`
	To         string `json:"to"`
}

// Stream is one direction of a leg of a Record.
type Stream struct {
	Packets   uint64            `json:"packets"`
	Bytes     uint64            `json:"bytes"`
	Lost      *int64            `json:"lost"`
	JitterMS  *float64          `json:"jitter_ms"`
	RoundTrip *float64          `json:"round_trip_ms"`
	Drops     map[string]uint64 `json:"drops"`
}

// Records reads the spool of the state folder. Every line must be a whole record.
func Records(t testing.TB, state string) []Record {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(state, "spool", "calls-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []Record
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // being written just now
			}
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %v in %s", filepath.Base(name), err, line)
			}
			all = append(all, r)
		}
	}
	return all
}

// Recorded waits for n records and returns them.
func Recorded(t testing.TB, state string, n int, patience time.Duration) []Record {
	t.Helper()
	var got []Record
	Eventually(t, patience, "the records of the calls arrive in the spool", func() string {
		if got = Records(t, state); len(got) == n {
			return ""
		}
		return fmt.Sprintf("%d of %d", len(got), n)
	})
	return got
}
