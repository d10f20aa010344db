package mediation

import (
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/mediation/media"
)

// TestEarlyMedia: a 183 with SDP opens the media path before the answer, and
// the 200 repeats that answer (RFC 3261 13.2.1).
func TestEarlyMedia(t *testing.T) {
	s := newTestServer(t)
	client, _ := ends(t, s, ua.Config{}, ua.Config{
		Audio:    sine(425), // ringback
		OnInvite: func(*ua.Call) ua.Reply { return ua.Reply{EarlyMedia: true, Answer: time.Second} },
	})
	call, err := client.Call(within(t), s.uri(media.Pool, "+14255550100"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	early := call.Recording()
	if len(early) < 4000 || tone.ToneLevel(early, 425) < -20 {
		t.Errorf("heard %d samples at %.1f dBFS before the answer", len(early), tone.ToneLevel(early, 425))
	}
	var answers []string
	for _, r := range call.Responses() {
		if r.SDP != "" {
			answers = append(answers, r.SDP)
		}
	}
	if len(answers) != 2 || answers[0] != answers[1] {
		t.Errorf("answers %q, want the same one with 183 and 200", answers)
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
	if r := s.records().wait(t, 1)[0]; r.FirstProvisional == nil || r.Answer == nil || r.Answer.Sub(*r.FirstProvisional) < 500*time.Millisecond {
		t.Errorf("times %v %v", r.FirstProvisional, r.Answer)
	}
}
