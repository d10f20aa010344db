package mediation

import (
	"strings"
	"testing"
	"time"

	"causeway/mediation/sip"
)

func TestReadDigit(t *testing.T) {
	for _, tt := range []struct {
		mediaType, body string
		key             byte
		length          time.Duration
	}{
		{dtmfRelay, "Signal=5\r\nDuration=160\r\n", '5', 160 * time.Millisecond},
		{dtmfRelay, "Signal= *\r\nDuration= 250\r\n", '*', 250 * time.Millisecond},
		{dtmfRelay, "signal=11\nduration=100", '#', 100 * time.Millisecond},
		{dtmfRelay, "Signal=a", 'A', defaultDigit},
		{dtmfRelay, "Signal=1\r\nDuration=1\r\n", '1', shortestDigit},
		{dtmfRelay, "Signal=1\r\nDuration=65535\r\n", '1', longestDigit},
		{"Application/DTMF-Relay; charset=utf-8", "Signal=1", '1', defaultDigit},
		{dtmfPlain, "7\r\n", '7', defaultDigit},
		{dtmfPlain, "10", '*', defaultDigit},
	} {
		d, ok := readDigit(tt.mediaType, []byte(tt.body))
		if !ok || d.key != tt.key || d.length != tt.length {
			t.Errorf("%s %q: %c %s %t", tt.mediaType, tt.body, d.key, d.length, ok)
		}
		if again, ok := readDigit(dtmfRelay, d.body()); !ok || again != d {
			t.Errorf("%q does not survive: %v", d.body(), again)
		}
	}
	for _, tt := range []struct{ mediaType, body string }{
		{dtmfRelay, ""}, {dtmfRelay, "Duration=160"}, {dtmfRelay, "Signal=E"}, {dtmfRelay, "Signal=12"},
		{dtmfRelay, "Signal=1\r\nDuration=-5"}, {dtmfRelay, "Signal=1\r\nDuration=99999999"},
		{dtmfPlain, ""}, {dtmfPlain, "55"}, {"text/plain", "5"}, {"", "5"},
		{dtmfRelay, "Signal=1\r\n" + strings.Repeat("x", maxDigitBody)},
	} {
		if d, ok := readDigit(tt.mediaType, []byte(tt.body)); ok {
			t.Errorf("%s %q: read as %c", tt.mediaType, tt.body, d.key)
		}
	}
}

// TestDigitsByINFO: a digit is played to the other leg where events are agreed,
// goes on as INFO, written anew, where they are not, and goes nowhere before
// anybody is there or when it is none.
func TestDigitsByINFO(t *testing.T) {
	count := func(r *rig, want map[string]uint64) {
		t.Helper()
		for result, n := range want {
			if got := r.count(r.srv.counters.digits, result); got != n {
				t.Errorf("%d %s, want %d", got, result, n)
			}
		}
	}
	nine := sip.Event{Kind: sip.Info, Type: dtmfPlain, Body: []byte("9")}
	r, _ := connected(t, rigOptions{})
	for _, p := range either {
		r.event(p, nine)
		if got := string(r.sessions[p.other()].info); got != "Signal=9\r\nDuration=160\r\n" {
			t.Errorf("to the %s: %q", p.other(), got)
		}
	}
	r.event(theCaller, sip.Event{Kind: sip.Info, Type: dtmfRelay, Body: []byte("Signal=x")})
	count(r, map[string]uint64{digitPassed: 2, digitUnknown: 1, digitPlayed: 0})

	events := describe{formats: "0 101", attrs: []string{"rtpmap:101 telephone-event/8000"}}
	r = newRig(t, rigOptions{offer: events.text(), pool: "rejected", gateway: "rejected"})
	r.connect(events.text(), nil)
	for range 4 {
		r.event(theCallee, nine)
	}
	if r.bridge.played != [2]string{"9999", ""} || r.sessions[theCaller].info != nil {
		t.Errorf("played %q", r.bridge.played)
	}
	count(r, map[string]uint64{digitPlayed: 3, digitLost: 1, digitPassed: 0})

	r = newRig(t, rigOptions{offer: describe{}.text(), pool: "rejected", gateway: "rejected"})
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.event(theCaller, nine)
	count(r, map[string]uint64{digitEarly: 1})
	if r.sessions[theCallee].info != nil {
		t.Error("INFO to somebody who has not answered")
	}
}
