package proxies

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"causeway/test/rig"
	"causeway/test/rig/sipp"
)

// soak has the load last as long as the project promises; make soak gives it.
var soak = flag.Bool("soak", false, "200 calls a second for a minute, over TCP and over UDP")

// load is calls that SIPp places and takes, without media.
type load struct {
	network  string
	rate     int           // calls a second
	lasts    time.Duration // of placing calls
	hold     time.Duration // of a call
	patience time.Duration // for everything to come back: UDP keeps transactions for 32 s (RFC 3261 timers D and J)
}

// The signalling load that the project promises: 200 calls a second, each 10 s long. None may fail, every one leaves its
// record, and afterwards causeway holds what it held before. In make test it is ten seconds of calls of half that
// length; with -soak it is a minute, over TCP and over UDP.
func TestTwoHundredCallsASecond(t *testing.T) {
	loads := []load{{"tcp", 200, 10 * time.Second, 5 * time.Second, 30 * time.Second}}
	if *soak {
		loads = []load{
			{"tcp", 200, time.Minute, 10 * time.Second, 3 * time.Minute},
			{"udp", 200, time.Minute, 10 * time.Second, 3 * time.Minute},
		}
	}
	for _, l := range loads {
		t.Run(l.network, func(t *testing.T) { l.run(t) })
	}
}

func (l load) run(t *testing.T) {
	net := rig.NewNetwork(t)
	c := standard(t, net)
	c.Binary = binaries.Plain
	c.Pool.SRTP, c.Pool.TLS = "rejected", rig.PKI{}
	c.Pool.Listen = []string{fmt.Sprintf("%s://%s:5060", l.network, net.Addr(poolSide))}
	c.Pool.Peer = fmt.Sprintf("sip:%s:5060;transport=%s", net.Addr(alice), l.network)
	c.Gateway.Listen = []string{fmt.Sprintf("%s://%s:5060", l.network, net.Addr(gatewaySide))}
	c.Gateway.Peer = fmt.Sprintf("sip:%s:5060;transport=%s", net.Addr(gateway), l.network)
	// On each side 5,000 pairs: those of calls under way, those that rest behind one, and some to spare.
	c.Ports = "20000-29999" // apart from what rig.Port gives to programs that bind on all addresses
	c.LogLevel = "info"
	c.More = append(c.More, "max_calls: 5000", "max_call_rate: 1000")
	s := start(t, c)
	before, heap := s.holdings(), s.Metric("go_memstats_heap_alloc_bytes")

	calls := l.rate * int(l.lasts/time.Second)
	limit := l.lasts + l.hold + 30*time.Second
	role := sipp.Role{Port: 5060, Transport: l.network[:1] + "1", Calls: calls, Quiet: true, Patience: limit}
	callee, caller := role, role
	callee.Name, callee.IP = "callee", net.Addr(gateway).String()
	caller.Name, caller.IP, caller.Rate = "caller", net.Addr(alice).String(), l.rate
	caller.Target = fmt.Sprintf("%s:5060", net.Addr(poolSide))
	answers := sipp.Start(t, callee, script(t, "gateway_answers", l, ""))
	began := time.Now()
	places := sipp.Start(t, caller, script(t, "caller_talks", l, caller.Target))
	peak, sessions := 0.0, 0.0
	for places.Running() && time.Since(began) < limit {
		peak = max(peak, s.Sum("causeway_mediation_calls"))
		sessions = max(sessions, s.Sum("causeway_mediation_sip_sessions"))
		time.Sleep(time.Second)
	}
	took := time.Since(began)
	places.Finished(time.Second)
	answers.Finished(10 * time.Second)
	if late := took - l.lasts - l.hold; late > 5*time.Second {
		t.Errorf("%d calls took %v longer than they have to: set-up was slow", calls, late)
	}
	if want := 0.8 * float64(l.rate) * min(l.hold, l.lasts).Seconds(); peak < want {
		t.Errorf("at most %v calls were up at once, want %v", peak, want)
	}
	failed := 0
	for _, r := range s.recorded(calls) {
		if r.Code != 200 || r.Answer == nil || r.EndedBy != "pool" {
			if failed++; failed <= 5 {
				t.Errorf("record: %d %s, ended by %s", r.Code, r.Reason, r.EndedBy)
			}
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d calls failed", failed, calls)
	}
	if d := s.drops(); len(d) > 0 {
		t.Errorf("signalling was dropped: %q", d)
	}
	ended := time.Now()
	s.settled(before, 2, l.patience)
	t.Logf("%d calls in %v, %v up at once in %v sessions; before %+v, %v later %+v",
		calls, took.Round(time.Millisecond), peak, sessions, before, time.Since(ended).Round(time.Second), s.holdings())
	if *soak {
		l.memory(t, s, heap)
	}
}

// memory waits until the heap is what it was, give or take what one call after the other never gives back. The runtime
// collects garbage every two minutes when nobody asks for memory.
func (l load) memory(t *testing.T, s *causeway, before float64) {
	t.Helper()
	const slack = 8 << 20
	var now float64
	rig.Eventually(t, l.patience, "the memory comes back", func() string {
		if now = s.Metric("go_memstats_heap_alloc_bytes"); now <= before+slack {
			return ""
		}
		return fmt.Sprintf("%.1f MiB in use, before %.1f", now/(1<<20), before/(1<<20))
	})
	t.Logf("heap: %.1f MiB before, %.1f after", before/(1<<20), now/(1<<20))
}

// script fills one of the scenarios that test/interop has for SIPp.
func script(t *testing.T, name string, l load, target string) string {
	t.Helper()
	file, err := template.ParseFiles(filepath.Join("..", "interop", "testdata", "sipp", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := file.Execute(&text, struct {
		RequestURI, From, To, Payloads string
		SDP                            []string
		Ring, Hold                     int64 // ms
		Hangup                         bool
	}{
		RequestURI: "sip:" + gatewayNumber + "@" + target, To: "<sip:" + gatewayNumber + "@" + target + ">",
		From: "<sip:" + poolNumber + "@example.com>", Payloads: "0 8 101", Hold: l.hold.Milliseconds(),
	}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
