package sip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"

	"causeway/mediation/sip/locate"
)

// Failures are tried again later and later, until five minutes; half of that
// is left to chance.
func TestBackOff(t *testing.T) {
	for draw, want := range map[float64][]float64{
		0: {0, 5, 15, 35, 75, 155, 305, 455, 605},
		1: {0, 10, 30, 70, 150, 310, 610, 910, 1210},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestRegistration(t, trunkPeer(t), func(cfg *RegistrationConfig) { cfg.Rand = func() float64 { return draw } })
			other, _ := register(t, r, func(_ int, req *sip.Request) *sip.Response { return says(req, 403) })
			other.after(want[len(want)-1])
			wantTimes(t, other, want...)
			if s := r.Status(); s.Registered || s.Failures != len(want) || !strings.Contains(s.Err.Error(), "403") {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// A success ends the back-off; a binding that is not refreshed runs out when it
// runs out, not before.
func TestABindingOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRegistration(t, trunkPeer(t), nil)
		other, _ := register(t, r, func(n int, req *sip.Request) *sip.Response {
			if n == 1 || n == 2 || n > 3 {
				return says(req, 500)
			}
			return says(req, 200, "Expires: 60")
		})
		other.after(45)
		wantTimes(t, other, 0, 30, 35, 45)
		if s := r.Status(); s.Failures != 0 || s.Err != nil || !s.Registered {
			t.Errorf("status %+v", s)
		}
		other.after(104)
		if s := r.Status(); !s.Registered || s.Failures != 3 {
			t.Errorf("before it runs out: %+v", s)
		}
		other.after(105)
		if s := r.Status(); s.Registered {
			t.Errorf("after it has run out: %+v", s)
		}
	})
}

// RFC 3261 20.33: Retry-After, within reason.
func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]float64{
		"120": 120, "18000;duration=3600": 3600, "60 (in maintenance)": 60, "1": 5, "soon": 5,
	} {
		for _, code := range []int{503, 403} {
			synctest.Test(t, func(t *testing.T) {
				other, _ := register(t, newTestRegistration(t, trunkPeer(t), nil), func(_ int, req *sip.Request) *sip.Response {
					return says(req, code, "Retry-After: "+value)
				})
				other.after(want)
				wantTimes(t, other, 0, want)
			})
		}
	}
}

// RFC 3263 4.3: 503, silence and a broken way lead to the next address at once;
// the binding is then refreshed where it was made.
func TestTheNextAddress(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*sip.Request) *sip.Response
		took float64
	}{
		"503":         {func(req *sip.Request) *sip.Response { return says(req, 503) }, 0},
		"408":         {func(req *sip.Request) *sip.Response { return says(req, 408) }, 0},
		"unreachable": {func(req *sip.Request) *sip.Response { return says(req, 0) }, 0},
		"silence":     {func(req *sip.Request) *sip.Response { return nil }, registerTimeout.Seconds()},
	} {
		synctest.Test(t, func(t *testing.T) {
			peer := trunkPeer(t, "192.0.2.9", "192.0.2.10")
			r := newTestRegistration(t, peer, nil)
			other, stop := register(t, r, func(n int, req *sip.Request) *sip.Response {
				if n == 0 {
					return c.fail(req)
				}
				return grant(req)
			})
			other.after(c.took)
			wantTimes(t, other, 0, c.took)
			first := peer.Targets()[1]
			if first.Addr.String() != "192.0.2.9:5070" || peer.IsUp(first) {
				t.Errorf("%s: the first address was not reported: %v", name, peer.Status())
			}
			peer.Report(first, nil) // it is back, and would be first again
			other.after(c.took + 900)
			stop()
			for i, want := range []string{"192.0.2.9:5070", "192.0.2.10:5070", "192.0.2.10:5070", "192.0.2.10:5070"} {
				if got := other.requests()[i].req.Destination(); got != want {
					t.Errorf("%s: request %d went to %s, want %s", name, i, got, want)
				}
			}
		})
	}
}

// A refusal is the registrar's word, whoever of its servers says it.
func TestARefusalIsNotTriedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, _ := register(t, newTestRegistration(t, trunkPeer(t, "192.0.2.9", "192.0.2.10"), nil), func(_ int, req *sip.Request) *sip.Response {
			return says(req, 403)
		})
		other.after(4)
		wantTimes(t, other, 0)
	})
}

// When the home of the binding fails, another takes it; and when all do, all
// are tried before the next pause.
func TestHomeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRegistration(t, trunkPeer(t, "192.0.2.9", "192.0.2.10"), nil)
		other, _ := register(t, r, func(n int, req *sip.Request) *sip.Response {
			if n > 0 && n < 4 {
				return says(req, 503)
			}
			return grant(req)
		})
		other.after(905)
		wantTimes(t, other, 0, 900, 900, 905, 905)
		if s := r.Status(); !s.Registered || s.Failures != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// RFC 3261 10.2.2: our binding is removed when we stop, and none but ours.
func TestUnregister(t *testing.T) {
	for name, c := range map[string]struct {
		say      func(n int, req *sip.Request) *sip.Response
		requests int
		took     time.Duration
	}{
		"answered":    {func(_ int, req *sip.Request) *sip.Response { return grant(req) }, 2, 0},
		"refused":     {func(n int, req *sip.Request) *sip.Response { return says(req, 200+300*n) }, 2, 0},
		"unreachable": {func(n int, req *sip.Request) *sip.Response { return says(req, 200-200*n) }, 2, 0},
		"silent": {func(n int, req *sip.Request) *sip.Response {
			if n == 0 {
				return grant(req)
			}
			return nil
		}, 2, unregisterTimeout},
		"too brief":                       {func(n int, req *sip.Request) *sip.Response { return says(req, 200+223*n, "Min-Expires: 7200") }, 2, 0},
		"never answered":                  {func(int, *sip.Request) *sip.Response { return nil }, 2, unregisterTimeout},
		"never registered, so nothing to": {func(_ int, req *sip.Request) *sip.Response { return says(req, 403) }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTestRegistration(t, trunkPeer(t), nil)
				other, stop := register(t, r, c.say)
				other.after(1)
				began := time.Now()
				stop()
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				got := other.requests()
				if len(got) != c.requests {
					t.Fatalf("%d requests, want %d", len(got), c.requests)
				}
				if last := got[len(got)-1].req; len(got) == 2 && (asked(last) != "0" || !sameBinding(&last.Contact().Address, &got[0].req.Contact().Address) || last.Contact().Address.Wildcard) {
					t.Errorf("the last request is\n%s", last)
				}
				if s := r.Status(); s.Registered {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

func TestRegistrationNeedsSIPURIs(t *testing.T) {
	for _, bad := range []struct{ registrar, aor string }{{"example.test", trunkAOR}, {"sip:example.test", "tel:+4930"}, {"sip:example.test", ""}, {"sip:", trunkAOR}} {
		cfg := RegistrationConfig{Registrar: bad.registrar, AOR: bad.aor, Expires: time.Hour, Peer: trunkPeer(t)}
		if _, err := newRegistration(cfg, sip.Uri{Host: "192.0.2.1"}); err == nil {
			t.Errorf("%+v is no error", bad)
		}
	}
}

// Whatever a registrar answers, in whatever order: one request at a time, CSeq
// one higher each time, one Call-ID, never two attempts without a pause, never
// more than so many requests in one attempt, and no binding believed in for
// longer than it was granted.
func TestAnyRegistrar(t *testing.T) {
	kinds := []string{"200", "200 short", "200 nothing", "401", "407", "stale", "403", "423", "503", "500", "silence"}
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"192.0.2.9", "192.0.2.10", "192.0.2.11"}[:rapid.IntRange(1, 3).Draw(t, "addresses")]
		peer, err := locate.New(locate.Config{Host: "gw.example.test", Port: 5070, Network: "tcp", Resolver: addresses(hosts), Heartbeat: locate.Heartbeat{Interval: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		chance := rapid.Float64Range(0, 1)
		r, err := newRegistration(RegistrationConfig{
			Registrar: "sip:example.test", AOR: trunkAOR, Expires: time.Hour, Credentials: &Credentials{"trunk", "secret"}, Peer: peer,
			Rand: func() float64 { return chance.Draw(t, "chance") },
		}, sip.Uri{Host: "192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		var until time.Time // the oracle's: the end of what was granted
		seq, atOnce := uint32(0), 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if due := r.next(); due.After(now) {
				now, atOnce = due, 0
			}
			req := r.request(now)
			if req == nil {
				t.Fatal("nothing to send though it is time")
			}
			atOnce++
			if most := askAtMost * len(hosts); atOnce > most {
				t.Fatalf("%d requests without a pause", atOnce)
			}
			if seq++; req.CSeq().SeqNo != seq || req.CallID().Value() != r.callID {
				t.Fatalf("request %d is\n%s", seq, req)
			}
			req.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TCP", Host: "192.0.2.1", Params: sip.NewParams()})
			now = now.Add(time.Duration(rapid.IntRange(0, 32).Draw(t, "seconds")) * time.Second)
			challenge := fmt.Sprintf(`Authenticate: Digest realm="r%d", nonce="n%d", qop="auth"`, rapid.IntRange(0, 1).Draw(t, "realm"), seq)
			var res *sip.Response
			granted := time.Duration(0)
			switch kind := rapid.SampledFrom(kinds).Draw(t, "answer"); kind {
			case "200":
				res, granted = says(req, 200, "Expires: 3600"), time.Hour
			case "200 short":
				res, granted = says(req, 200, "Expires: 3"), 3*time.Second
			case "200 nothing":
				res = says(req, 200, "Expires: 0")
				until = time.Time{}
			case "401":
				res = says(req, 401, "WWW-"+challenge)
			case "407":
				res = says(req, 407, "Proxy-"+challenge)
			case "stale":
				res = says(req, 401, "WWW-"+challenge+", stale=true")
			case "403", "423", "503", "500":
				var code int
				fmt.Sscan(kind, &code)
				res = says(req, code, fmt.Sprintf("Min-Expires: %d", 3600+seq))
			case "silence":
				r.failed(now, context.DeadlineExceeded)
			}
			if res != nil {
				res.SetSource(req.Destination())
				r.answered(now, res)
			}
			if granted > 0 {
				until = now.Add(granted)
				if due := r.next(); due.Before(now.Add(time.Second)) || due.After(until) || due.After(now.Add(refreshAtMost)) {
					t.Fatalf("granted %v, refreshed after %v", granted, due.Sub(now))
				}
			}
			if !r.until.Equal(until) {
				t.Fatalf("bound until %v, want %v", r.until, until)
			}
			if wait := r.next().Sub(now); wait > 0 && granted == 0 && (wait < backoffBase/2 || wait > backoffMost) {
				t.Fatalf("a pause of %v", wait)
			}
		}
	})
}

// RFC 3261 11 and RFC 3263 4.3: every answer but 408 and 503 is life.
func TestProbe(t *testing.T) {
	to := trunkPeer(t).Targets()[0]
	local, remote := sip.Uri{Scheme: "sip", Host: "192.0.2.1", Port: 5060}, sip.Uri{Scheme: "sip", Host: "gw.example.test"}
	for code, life := range map[int]bool{200: true, 401: true, 403: true, 404: true, 405: true, 407: true, 481: true, 500: true, 501: true, 600: true, 408: false, 503: false, 0: false} {
		other := &registrar{say: func(_ int, req *sip.Request) *sip.Response { return says(req, code) }}
		err := probe(other, local, remote)(t.Context(), to)
		if (err == nil) != life {
			t.Errorf("%d: %v", code, err)
		}
		if code == 0 && !errors.Is(err, errUnreachable) {
			t.Errorf("no way: %v", err)
		}
		req := other.requests()[0].req
		tag, _ := req.From().Params.Get("tag")
		if req.Method != sip.OPTIONS || req.Recipient.String() != "sip:gw.example.test" || req.Destination() != "192.0.2.9:5070" || req.Transport() != "TCP" ||
			tag == "" || req.CSeq().MethodName != sip.OPTIONS || req.CallID() == nil || req.MaxForwards() == nil || req.Contact() == nil || req.GetHeader("Accept") == nil {
			t.Errorf("the probe is\n%s", req)
		}
	}
}
