package mediation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sip"
)

// TestHoldOnTheWire: hold and resume from either end, with SRTP on the pool's
// side: whoever is held sends nothing more, the other hears it no more, and
// both hear each other afterwards, under the same keys (RFC 3264 8.4).
func TestHoldOnTheWire(t *testing.T) {
	s := newTestServer(t, func(m *conf.Mediation) { m.Pool.SRTP = conf.SRTPRequired })
	answered := make(chan *ua.Call, 1)
	client, _ := ends(t, s, ua.Config{SRTP: ua.AES80, Audio: sine(440)}, ua.Config{
		Audio: sine(1000), OnInvite: func(c *ua.Call) ua.Reply { answered <- c; return ua.Reply{} },
	})
	call, err := client.Call(within(t), s.uri(media.Pool, "+14255550100"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	far := <-answered
	// hears says whether audio arrives at an end.
	hears := func(c *ua.Call) bool {
		time.Sleep(200 * time.Millisecond) // what is under way arrives
		before := len(c.Recording())
		time.Sleep(400 * time.Millisecond)
		return len(c.Recording())-before > 800 // of 3,200 samples
	}
	step := func(what string, atClient, atFar bool, held ...string) {
		t.Helper()
		if got := hears(call); got != atClient {
			t.Errorf("%s: the client hears: %t", what, got)
		}
		if got := hears(far); got != atFar {
			t.Errorf("%s: the gateway hears: %t", what, got)
		}
		if got := shownHeld(t, s); !slices.Equal(got, held) {
			t.Errorf("%s: held %v, want %v", what, got, held)
		}
	}
	change := func(c *ua.Call, d ua.Direction) {
		t.Helper()
		if err := c.Reoffer(within(t), d); err != nil {
			t.Fatal(err)
		}
	}
	step("talking", true, true)
	change(call, ua.SendOnly)
	step("the client holds", false, true, "pool")
	change(far, ua.Inactive)
	step("both hold", false, false, "pool", "gateway")
	change(call, ua.SendRecv)
	step("the gateway holds", false, false, "gateway")
	change(far, ua.SendRecv)
	step("talking again", true, true)
	ours := s.snapshot()[0]
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
	if ours.waitDone(within(t)); ours.post(theCaller)(sip.Event{Kind: sip.Info}) {
		t.Error("a call that is over takes events")
	}
	r := s.records().wait(t, 1)[0]
	if r.Holds != 2 || r.Reoffers != 4 || r.Code != 200 {
		t.Errorf("record: %d holds, %d re-offers, %d", r.Holds, r.Reoffers, r.Code)
	}
	for _, leg := range r.Legs {
		if n := leg.Receive.Drops["auth_failed"] + leg.Receive.Drops["replayed"]; n != 0 {
			t.Errorf("%s: drops %v", leg.Side, leg.Receive.Drops)
		}
	}
}

// shownHeld is what /api/v1/calls says of the one call.
func shownHeld(t *testing.T, s *Server) []string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeCalls(w, httptest.NewRequest(http.MethodGet, "/api/v1/calls", nil))
	var body struct{ Calls []Summary }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Calls) != 1 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if len(body.Calls[0].Held) == 0 {
		return nil
	}
	return body.Calls[0].Held
}

// TestTurnedAway: more calls at a time than max_call_rate lets in get 503 with
// Retry-After and are counted; a second later there is room again.
func TestTurnedAway(t *testing.T) {
	s := newTestServer(t, func(m *conf.Mediation) { m.MaxCallRate = 2 })
	client, _ := ends(t, s, ua.Config{}, ua.Config{})
	codes := map[int]int{}
	for range 5 {
		call, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
		var refused *ua.ResponseError
		switch {
		case err == nil:
			codes[200]++
			if err := call.Hangup(within(t)); err != nil {
				t.Error(err)
			}
		case errors.As(err, &refused):
			codes[refused.Code]++
			if refused.Final().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Fatal(err)
		}
	}
	if codes[503] == 0 || codes[200] < 2 {
		t.Errorf("%v", codes)
	}
	if n := s.counters.turnedAway.n[atMaxRate].Load(); int(n) != codes[503] {
		t.Errorf("%d counted, %d refused", n, codes[503])
	}
	time.Sleep(time.Second)
	call, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}

// TestPeerDown: while no address of the far side answers OPTIONS, a call toward
// it gets 503 with Retry-After at once, /readyz and the metric say so; an
// answer brings it back.
func TestPeerDown(t *testing.T) {
	s := newTestServer(t, func(m *conf.Mediation) {
		m.Gateway.Heartbeat = conf.Heartbeat{Interval: 50 * time.Millisecond, Failures: 2, Successes: 1}
	})
	waitUp := func(want bool) {
		t.Helper()
		for range 500 {
			if s.up(media.Gateway) == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("the gateway is up: %t", !want)
	}
	next := s.cfg.Pool.NextHop
	client := newUA(t, ua.Config{Listen: fmt.Sprintf("tcp://%s:%d", next.Host, next.Port), Name: "client"})
	waitUp(false)
	began := time.Now()
	_, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
	var refused *ua.ResponseError
	if !errors.As(err, &refused) || refused.Code != 503 || refused.Final().Get("Retry-After") == "" {
		t.Fatalf("%v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("refused after %s", took)
	}
	if s.Ready() == nil || s.counters.turnedAway.n[atPeerDown].Load() != 1 {
		t.Error("ready, or not counted")
	}
	if r := s.records().wait(t, 1)[0]; r.Code != 503 || r.Legs != nil {
		t.Errorf("record %+v", r)
	}
	peer := s.cfg.Gateway.Peer
	newUA(t, ua.Config{Listen: fmt.Sprintf("tcp://%s:%d", peer.Host, peer.Port), Name: "gateway"})
	waitUp(true)
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	call, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}
