package mediation

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sip"
)

// clock puts the rig's time in the test's hand.
func (r *rig) clock() *time.Time {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	r.srv.now = func() time.Time { return now }
	return &now
}

// pass lets time go by in the steps of the call's own ticker. The peers of the
// sides in talks send all the while.
func (r *rig) pass(now *time.Time, d time.Duration, talks ...media.Side) {
	for end := now.Add(d); now.Before(end) && r.call.at() == talking; r.call.listen() {
		*now = now.Add(silenceStep)
		for _, s := range talks {
			r.bridge.heard[s] = *now
		}
	}
}

func TestMediaTimeout(t *testing.T) {
	hold := func(r *rig, from party, direction string) {
		r.sessions[from].offer(describe{version: 1, direction: direction}.text())
	}
	for name, tt := range map[string]struct {
		needsRTCP bool
		limit     time.Duration
		play      func(r *rig, now *time.Time)
		ends      bool
		side      string // that was silent
		silent    [2]time.Duration
	}{
		"both talk": {limit: time.Minute, play: func(r *rig, now *time.Time) { r.pass(now, time.Hour, media.Pool, media.Gateway) }},
		"nobody ever talks": {limit: time.Minute, play: func(r *rig, now *time.Time) { r.pass(now, 70*time.Second) },
			ends: true, side: "pool"},
		"the gateway never talks": {limit: time.Minute, play: func(r *rig, now *time.Time) { r.pass(now, 70*time.Second, media.Pool) },
			ends: true, side: "gateway", silent: [2]time.Duration{media.Gateway: time.Minute}},
		"the pool stops": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			r.pass(now, time.Minute, media.Pool, media.Gateway)
			r.pass(now, 70*time.Second, media.Gateway)
		}, ends: true, side: "pool", silent: [2]time.Duration{media.Pool: time.Minute}},
		"not for that long": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			r.pass(now, 55*time.Second, media.Gateway)
			r.pass(now, 55*time.Second, media.Pool)
			r.pass(now, 5*time.Second, media.Gateway)
		}, silent: [2]time.Duration{media.Pool: 50 * time.Second, media.Gateway: 55 * time.Second}},
		"a pause that is none": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			r.pass(now, 10*time.Second, media.Gateway)
			r.pass(now, 10*time.Second, media.Pool)
		}},
		"off":   {play: func(r *rig, now *time.Time) { r.pass(now, time.Hour) }},
		"early": {limit: 10 * time.Second, play: func(r *rig, now *time.Time) { r.pass(now, 20*time.Second) }, ends: true, side: "pool"},
		"held": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			hold(r, theCaller, "sendonly")
			r.pass(now, time.Hour)
		}},
		"held by the other": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			hold(r, theCallee, "inactive")
			r.pass(now, time.Hour)
		}},
		"after a hold time begins anew": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			r.pass(now, 50*time.Second)
			hold(r, theCaller, "sendonly")
			hold(r, theCaller, "sendrecv")
			r.pass(now, 55*time.Second)
		}},
		"after a hold nobody talks": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			hold(r, theCaller, "sendonly")
			r.pass(now, time.Hour)
			hold(r, theCaller, "sendrecv")
			r.pass(now, 70*time.Second)
		}, ends: true, side: "pool"},
		"a hold is no silence": {limit: time.Minute, play: func(r *rig, now *time.Time) {
			r.pass(now, time.Minute, media.Pool, media.Gateway)
			hold(r, theCaller, "sendonly")
			r.pass(now, time.Hour)
			hold(r, theCaller, "sendrecv")
			r.pass(now, 55*time.Second)
		}},
		"spared without RTCP": {limit: time.Minute, needsRTCP: true, play: func(r *rig, now *time.Time) { r.pass(now, time.Hour, media.Pool) },
			silent: [2]time.Duration{media.Gateway: time.Hour - silenceStep}},
		"not spared with RTCP": {limit: time.Minute, needsRTCP: true, play: func(r *rig, now *time.Time) {
			r.bridge.rtcp[media.Gateway] = true
			r.pass(now, 70*time.Second, media.Pool)
		}, ends: true, side: "gateway", silent: [2]time.Duration{media.Gateway: time.Minute}},
		"the other's RTCP says nothing": {limit: time.Minute, needsRTCP: true, play: func(r *rig, now *time.Time) {
			r.bridge.rtcp[media.Pool] = true
			r.pass(now, time.Hour, media.Pool)
		}, silent: [2]time.Duration{media.Gateway: time.Hour - silenceStep}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
			r.srv.cfg.MediaTimeout, r.srv.cfg.MediaTimeoutNeedsRTCP = tt.limit, tt.needsRTCP
			now := r.clock()
			r.connect(describe{port: 4010}.text(), nil)
			tt.play(r, now)
			if ended := r.call.at() == over; ended != tt.ends {
				t.Fatalf("ended: %t", ended)
			}
			if !tt.ends {
				r.call.react(ourselves, stopped, sip.Event{Reason: "the test is over"})
			} else {
				for p, s := range r.sessions {
					if !s.ended || s.reason != `SIP;cause=408;text="media timeout"` {
						t.Errorf("%s: ended %t, Reason %s", party(p), s.ended, s.reason)
					}
				}
				if rec := r.call.record; rec.Code != 408 || rec.EndedBy != causeway || !strings.Contains(rec.Reason, "no media from the "+tt.side) {
					t.Errorf("record %d %q by %s", rec.Code, rec.Reason, rec.EndedBy)
				}
				if n := r.srv.counters.silences[map[string]media.Side{"pool": media.Pool, "gateway": media.Gateway}[tt.side]].Load(); n != 1 {
					t.Errorf("counted %d times", n)
				}
			}
			for _, l := range r.call.record.Legs {
				want := tt.silent[media.Pool]
				if l.Side == "gateway" {
					want = tt.silent[media.Gateway]
				}
				got := time.Duration(0)
				if l.SilentMS != nil {
					got = time.Duration(*l.SilentMS) * time.Millisecond
				}
				if got != want {
					t.Errorf("%s silent for %s, want %s", l.Side, got, want)
				}
			}
		})
	}
}

// No time runs before the call is answered: it may ring for as long as it does.
func TestNoMediaTimeoutWhileRinging(t *testing.T) {
	r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
	r.srv.cfg.MediaTimeout = time.Minute
	now := r.clock()
	r.call.listen() // no bridge yet
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		*now = now.Add(silenceStep)
		r.call.listen()
	}
	if r.call.at() != inviting {
		t.Fatalf("%s", r.call.at())
	}
}

// The call's own goroutine looks, in the rhythm of its ticker.
func TestSilentCallEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigOptions{offer: describe{}.text(), pool: conf.SRTPRejected, gateway: conf.SRTPRejected})
		r.srv.now = time.Now
		r.srv.cfg.RingTimeout, r.srv.cfg.MediaTimeout = time.Hour, 20*time.Second
		go r.call.run()
		time.Sleep(time.Minute) // it rings
		synctest.Wait()
		r.sessions[theCallee].state = sip.Accepted
		r.call.post(theCallee)(sip.Event{Kind: sip.Answered, Code: 200, SDP: describe{port: 4010}.text()})
		synctest.Wait()
		r.call.post(theCaller)(sip.Event{Kind: sip.Confirmed})
		began := time.Now()
		<-r.call.done
		if took := time.Since(began); took < 20*time.Second || took > 20*time.Second+2*silenceStep {
			t.Errorf("ended after %v", took)
		}
		if rec := r.srv.records().records; len(rec) != 1 || rec[0].Code != 408 {
			t.Errorf("records %+v", rec)
		}
	})
}

// On the wire both ends get BYE with its Reason, and the ports come back.
func TestMediaTimeoutOnTheWire(t *testing.T) {
	t.Parallel()
	// No time at all is what even peers that talk go beyond.
	s := newTestServer(t, func(m *conf.Mediation) { m.MediaTimeout = time.Nanosecond })
	answered := make(chan *ua.Call, 1)
	client, _ := ends(t, s, ua.Config{}, ua.Config{OnInvite: func(c *ua.Call) ua.Reply { answered <- c; return ua.Reply{} }})
	call, err := client.Call(within(t), s.uri(media.Pool, "+14255550100"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*ua.Call{call, <-answered} {
		select {
		case <-c.Done():
		case <-time.After(6 * silenceStep):
			t.Fatal("the call goes on")
		}
		if by, reason := c.EndedBy(); by != ua.Remote || reason != `SIP;cause=408;text="media timeout"` {
			t.Errorf("ended by %s, Reason %s", by, reason)
		}
	}
	r := s.records().wait(t, 1)[0]
	if r.Code != 408 || r.EndedBy != causeway || r.Answer == nil || !strings.Contains(r.Reason, "no media from the pool side") {
		t.Errorf("record %+v", r)
	}
	for _, l := range r.Legs {
		if l.Source == "" || l.Source != l.Remote || l.Moves != 0 || l.SilentMS != nil {
			t.Errorf("leg %+v", l)
		}
	}
}
