package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// modelRun walks one usage and the oracle through the same session: a peer that
// does whatever comes to its mind, right and wrong, an owner that orders at any
// time, and a clock that goes from one timer to the next.
type modelRun struct {
	t      tester
	choose func(n int, what string) int // below n
	u      *usage
	o      *oracle
	now    time.Time
	flow   transport.Flow
	random int64

	wild     bool            // the peer writes nonsense, and only that nothing breaks is judged
	script   []string        // what happened, in the oracle's words
	servers  map[string]bool // keys of server transactions
	branches int

	told   map[EventKind]int
	gone   bool // the owner has been told that it is over, or has said so
	closed bool // the peer is silent

	// What the peer knows.
	peer      string // its tag, callee
	seq       map[string]uint32
	asked     []*sip.Request  // requests of ours that reached it, ACK apart
	requests  []*sip.Request  // its own
	responses []*sip.Response // of ours
	rseq      map[string]uint32
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newModelRun(t tester, choose func(int, string) int) *modelRun {
	run := &modelRun{
		t: t, choose: choose, now: scriptBegan, o: newOracle(scriptBegan), servers: map[string]bool{},
		told: map[EventKind]int{}, peer: "p", seq: map[string]uint32{}, rseq: map[string]uint32{},
	}
	network := []string{"udp", "tcp"}[choose(2, "network")]
	run.random = []int64{0, 7, 1 << 30}[choose(3, "luck")]
	run.flow = transport.Flow{Network: network, Remote: netip.MustParseAddrPort("127.0.0.2:5060"), ID: 1}
	targets := 1 + choose(2, "targets")
	run.o.targets = targets
	run.u = &usage{env: &environment{
		contact: func(string, transport.Flow) *sip.ContactHeader {
			return &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.1", Port: 5060}}
		},
		via: func(network string, _ transport.Flow) *sip.ViaHeader { return run.via(network, "127.0.0.1", "u") },
		targets: func() []locate.Target {
			return slices.Repeat([]locate.Target{{Network: network, Addr: run.flow.Remote}}, targets)
		},
		report:    func(locate.Target, *Failure) {},
		random:    func(below int64) int64 { return min(run.random, below-1) },
		index:     modelIndex{run},
		userAgent: "model", host: "127.0.0.1", drops: &Drops{}, reliable: choose(2, "we do 100rel") == 1,
	}}
	run.u.refresh.u = run.u
	run.u.env.timer = []SessionTimer{{}, {Expires: 100 * time.Second, Min: 90 * time.Second}, {Expires: 30 * time.Minute, Min: 90 * time.Second}}[choose(3, "timer")]
	if run.o.credentials = choose(2, "credentials") == 1; run.o.credentials {
		run.u.auth = newAuthorizer(Credentials{Username: "u", Password: "p"}, nil)
		run.u.auth.cnonce = func() string { return "c" }
	}
	return run
}

// modelIndex keeps what Endpoint's tables would.
type modelIndex struct{ *modelRun }

func (i modelIndex) addClient(string)      {}
func (i modelIndex) dropClient(string)     {}
func (i modelIndex) addServer(key string)  { i.servers[key] = true }
func (i modelIndex) dropServer(key string) { delete(i.servers, key) }

func (run *modelRun) via(network, host, who string) *sip.ViaHeader {
	run.branches++
	v := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(network), Host: host, Port: 5060}
	v.Params.Add("branch", fmt.Sprintf("z9hG4bK%s%d", who, run.branches))
	return v
}

// one draws one of a list.
func oneOf[T any](run *modelRun, what string, list ...T) T { return list[run.choose(len(list), what)] }

func (run *modelRun) note(format string, args ...any) {
	run.script = append(run.script, fmt.Sprintf(format, args...))
}

func (run *modelRun) fail(wrong ...string) {
	run.t.Helper()
	run.t.Fatalf("%s\n\t%s", strings.Join(run.script, "\n"), strings.Join(wrong, "\n\t"))
}

// signalOf is a message as the oracle sees it.
func signalOf(msg sip.Message, mine bool) signal {
	g := signal{method: string(msg.CSeq().MethodName), seq: msg.CSeq().SeqNo}
	g.branch, _ = msg.Via().Params.Get("branch")
	from, to := tagOf(msg.From().Params), tagOf(msg.To().Params)
	res, isResponse := msg.(*sip.Response)
	if isResponse {
		g.code = res.StatusCode
	}
	if mine == isResponse { // the peer's tag is in From
		g.fork, g.ours = from, to
	} else {
		g.fork, g.ours = to, from
	}
	switch kind := mediaType(msg); {
	case len(msg.Body()) == 0:
	case kind == "application/sdp":
		g.sdp = true
	case kind == "application/dtmf-relay":
		g.dtmf = true
	default:
		g.foreign = true
	}
	g.contact = len(msg.GetHeaders("Contact")) == 1
	g.needRel = hasToken(msg, "Require", "100rel")
	g.rel = hasToken(msg, "Supported", "100rel")
	g.update = hasToken(msg, "Allow", "UPDATE")
	g.retryAfter = len(msg.GetHeaders("Retry-After")) > 0
	g.needTimer = hasToken(msg, "Require", "timer")
	g.timer = g.needTimer || hasToken(msg, "Supported", "timer")
	_, _ = fmt.Sscanf(headerValue(msg, "Session-Expires"), "%d", &g.expires)
	_, _ = fmt.Sscanf(headerValue(msg, "Min-SE"), "%d", &g.minSE)
	if _, after, found := strings.Cut(headerValue(msg, "Session-Expires"), "refresher="); found {
		g.refresher = after
	}
	if n, err := strconv.ParseUint(headerValue(msg, "RSeq"), 10, 32); err == nil && isResponse && g.needRel {
		g.rseq = uint32(n)
	}
	_, _ = fmt.Sscanf(headerValue(msg, "RAck"), "%d %d %s", &g.rack.rseq, &g.rack.seq, &g.rack.method)
	return g
}

// step does one thing to the usage; the oracle sees what comes of it.
func (run *modelRun) step(do func(*usage)) {
	run.t.Helper()
	run.u.begin(run.now)
	do(run.u)
	run.drain()
	if wrong := run.o.settle(); len(wrong) > 0 && !run.wild {
		run.fail(wrong...)
	}
}

func (run *modelRun) drain() {
	run.t.Helper()
	for out := run.u.take(); len(out) > 0; out = run.u.take() {
		for _, o := range out {
			switch {
			case o.event != nil:
				run.event(o.event)
			case o.response != nil:
				run.out(o.response)
			case o.first != nil:
				run.send(o.first)
			case o.again != nil:
				run.out(o.again.req)
			case o.ack != nil:
				run.out(o.ack.req)
			}
		}
	}
}

// send sends a request for the first time, if its connection can be had.
func (run *modelRun) send(c *client) {
	run.t.Helper()
	run.out(c.req)
	if run.closed || run.choose(25, "no connection") != 24 {
		c.flow = run.flow
		return
	}
	g := signalOf(c.req, true)
	run.note("not sent")
	run.o.transportError(run.o.find(true, g.branch, g.method))
	run.u.failed(run.now, c, &Failure{Code: 503, Local: true})
}

func (run *modelRun) event(ev *Event) {
	run.note("event %v %s", ev.Kind, ev.Fork)
	run.o.told(ev.Kind)
	run.told[ev.Kind]++
	switch ev.Kind {
	case Failed, Cancelled, Ended:
		run.gone = true
	default: // the session goes on
	}
}

// out is a message of ours, read again as the peer reads it.
func (run *modelRun) out(msg sip.Message) {
	run.t.Helper()
	again, err := sip.ParseMessage([]byte(msg.String()))
	if err != nil {
		run.fail(fmt.Sprintf("%v in\n%s", err, msg))
	}
	g := signalOf(again, true)
	run.note("out %s", scriptOf(g))
	run.o.sent(g)
	switch m := again.(type) {
	case *sip.Response:
		run.responses = append(run.responses, m)
	case *sip.Request:
		if m.Method != sip.ACK && !slices.ContainsFunc(run.asked, func(r *sip.Request) bool {
			return r.Via().Value() == m.Via().Value() && r.Method == m.Method
		}) {
			run.asked = append(run.asked, m)
		}
	}
}

// scriptOf writes a message as a script has it.
func scriptOf(g signal) string {
	var b strings.Builder
	if g.code != 0 {
		fmt.Fprintf(&b, "%d ", g.code)
	}
	fmt.Fprintf(&b, "%s %d branch=%s tag=%s", g.method, g.seq, g.branch, g.fork)
	for _, f := range []struct {
		set  bool
		name string
	}{{g.sdp, "sdp"}, {g.dtmf, "dtmf"}, {g.foreign, "foreign"}, {g.rel, "rel"}, {g.needRel, "needrel"},
		{g.update, "update"}, {g.timer, "timer"}, {g.needTimer, "needtimer"}, {g.retryAfter, "later"}, {!g.contact, "nocontact"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	if g.rseq != 0 {
		fmt.Fprintf(&b, " rseq=%d", g.rseq)
	}
	if g.expires != 0 {
		fmt.Fprintf(&b, " expires=%d refresher=%s minse=%d", g.expires, g.refresher, g.minSE)
	}
	if g.rack.rseq != 0 {
		fmt.Fprintf(&b, " rack=%d/%d", g.rack.rseq, g.rack.seq)
	}
	return b.String()
}

// in is a message of the peer's, on its way through what Endpoint does with it.
func (run *modelRun) in(msg sip.Message) {
	run.t.Helper()
	text := msg.String()
	if run.wild {
		text = run.spoil(text)
	}
	again, err := sip.ParseMessage([]byte(text))
	if run.wild && (err != nil || !wellFormed(again)) {
		return
	}
	if err != nil {
		run.fail(fmt.Sprintf("%v in\n%s", err, msg))
	}
	g := signalOf(again, false)
	run.note("in %s", scriptOf(g))
	run.o.received(g)
	switch m := again.(type) {
	case *sip.Response:
		key, err := transaction.ClientKey(m)
		if err != nil && run.wild {
			return
		}
		if err != nil {
			run.fail(err.Error())
		}
		run.step(func(u *usage) { u.response(run.now, key, m, run.flow) })
	case *sip.Request:
		key, err := transaction.ServerKey(m)
		if err != nil && run.wild {
			return
		}
		if err != nil {
			run.fail(err.Error())
		}
		invite, _ := transaction.CancelKey(m)
		run.step(func(u *usage) {
			switch {
			case run.servers[key]:
				u.repeated(run.now, m, key)
			case m.Method == sip.CANCEL && run.servers[invite]:
				u.receiveCancel(run.now, m, invite, key, run.flow)
			case m.Method == sip.CANCEL: // Endpoint refuses it
				run.out(failureResponse(m, &Failure{Code: 481}, "127.0.0.1", "model"))
			case isNew(m) && (u.first() != nil || !u.answers && u.invite != nil || m.Method != sip.INVITE):
				if run.wild {
					return // another call, or none
				}
				run.fail("the INVITE once more would begin another call")
			case isNew(m):
				m.To().Params.Add("tag", "we")
				u.d, err = newServerDialog(m, "we")
				if err != nil {
					return // Endpoint refuses it
				}
				u.receiveInvite(run.now, m, m, key, run.flow)
			default:
				u.receive(run.now, m, key, run.flow)
			}
		})
	}
}

// pass lets time go by, from one timer to the next.
func (run *modelRun) pass(d time.Duration) {
	run.t.Helper()
	until := run.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 10_000 {
			run.fail("time does not pass")
		}
		next := run.u.next()
		if next.IsZero() || next.After(until) || run.u.finished() {
			break
		}
		if next.After(run.now) {
			run.at(next)
		}
		run.step(func(u *usage) { u.tick(run.now) })
	}
	run.at(until)
	run.step(func(u *usage) { u.tick(run.now) })
}

func (run *modelRun) at(now time.Time) {
	run.now = now
	run.note("at %v", now.Sub(scriptBegan).Seconds())
	run.o.at(now)
}

// checkSession is one random session.
func checkSession(t tester, choose func(int, string) int, more func() bool, wild bool) {
	t.Helper()
	run := newModelRun(t, choose)
	run.wild = wild
	if choose(2, "role") == 0 {
		run.beCalled()
	} else {
		run.call()
	}
	if run.u.d == nil {
		return // the INVITE was refused
	}
	for more() && !run.u.finished() {
		run.act()
	}
	run.finish()
}

// finish ends the session as an owner would: whatever it has been through, both
// sides come to rest and nothing is left.
func (run *modelRun) finish() {
	run.t.Helper()
	run.closed = true
	for range 8 {
		run.hangUp()
		run.pass(40 * time.Second)
	}
	if !run.u.finished() {
		run.fail(fmt.Sprintf("it does not end: %v, %d clients, %d servers, next %v", run.u.state, len(run.u.clients), len(run.u.servers), run.u.next().Sub(run.now)))
	}
	if len(run.servers) > 0 {
		run.fail(fmt.Sprintf("server transactions left in the index: %v", run.servers))
	}
	if o := run.o; len(o.owed) > 0 && !run.wild {
		run.fail(fmt.Sprintf("still owed: %v", o.owed))
	}
}

// TestModel walks sessions at random.
func TestModel(t *testing.T) {
	for range modelRounds {
		rapid.Check(t, func(t *rapid.T) {
			choose := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
			steps := rapid.IntRange(0, 30).Draw(t, "steps")
			checkSession(t, choose, func() bool { steps--; return steps >= 0 }, false)
		})
	}
}

// TestModelWild walks sessions with a peer that writes nonsense: they end.
func TestModelWild(t *testing.T) {
	for range modelRounds {
		rapid.Check(t, func(t *rapid.T) {
			choose := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
			steps := rapid.IntRange(0, 30).Draw(t, "steps")
			checkSession(t, choose, func() bool { steps--; return steps >= 0 }, true)
		})
	}
}

// modelRounds is how many times rapid's number of sessions is walked: most end
// soon, and what is worth finding takes a few thousand.
const modelRounds = 10
