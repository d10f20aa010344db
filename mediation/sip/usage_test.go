package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// line is two usages that talk to each other in a time of their own: a caller
// and a callee, over a network that delivers after delay, or not at all when
// lose says so.
type line struct {
	t       *testing.T
	now     time.Time
	network string
	delay   time.Duration
	lose    func(from *agent, msg sip.Message) bool
	a, b    *agent
	flights []flight
}

type flight struct {
	at   time.Time
	to   *agent
	text string
}

// agent is one end: a usage, and what it told its owner.
type agent struct {
	name   string
	line   *line
	u      *usage
	ip     string
	events []Event
	keys   map[string]bool // server transactions
	sent   []string        // start lines, with the time since the start
	random int64
}

func newLine(t *testing.T, network string) *line {
	l := &line{t: t, now: time.Unix(1_000_000, 0), network: network, delay: 10 * time.Millisecond}
	l.a, l.b = l.agent("a", "127.0.0.1"), l.agent("b", "127.0.0.2")
	return l
}

func (l *line) agent(name, ip string) *agent {
	g := &agent{name: name, line: l, ip: ip, keys: map[string]bool{}}
	branches := 0
	g.u = &usage{env: &environment{
		contact: func(string, transport.Flow) *sip.ContactHeader {
			return &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: ip, Port: 5060}}
		},
		via: func(network string, _ transport.Flow) *sip.ViaHeader {
			branches++
			v := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(network), Host: ip, Port: 5060}
			v.Params.Add("branch", fmt.Sprintf("z9hG4bK%s%d", name, branches))
			return v
		},
		targets: func() []locate.Target {
			return []locate.Target{{Network: l.network, Addr: netip.MustParseAddrPort("127.0.0.2:5060")}}
		},
		report:    func(locate.Target, *Failure) {},
		random:    func(below int64) int64 { return min(g.random, below-1) },
		index:     g,
		userAgent: "test", host: ip, drops: &Drops{}, timer: SessionTimer{}, reliable: true,
	}}
	g.u.refresh.u = g.u
	return g
}

func (g *agent) addClient(string)      {}
func (g *agent) dropClient(string)     {}
func (g *agent) addServer(key string)  { g.keys[key] = true }
func (g *agent) dropServer(key string) { delete(g.keys, key) }

func (l *line) flow(from *agent) transport.Flow {
	return transport.Flow{Network: l.network, Remote: netip.MustParseAddrPort(from.ip + ":5060"), ID: 1}
}

func (l *line) other(g *agent) *agent {
	if g == l.a {
		return l.b
	}
	return l.a
}

// do is one step of an agent.
func (g *agent) do(step func(u *usage)) {
	g.u.begin(g.line.now)
	step(g.u)
	for outs := g.u.take(); len(outs) > 0; outs = g.u.take() {
		for _, o := range outs {
			switch {
			case o.event != nil:
				g.events = append(g.events, *o.event)
			case o.response != nil:
				g.transmit(o.response)
			case o.first != nil:
				o.first.flow = g.line.flow(g.line.other(g))
				g.transmit(o.first.req)
			case o.again != nil:
				g.transmit(o.again.req)
			case o.ack != nil:
				g.transmit(o.ack.req)
			}
		}
	}
}

func (g *agent) transmit(msg sip.Message) {
	text := msg.String()
	g.sent = append(g.sent, strings.SplitN(text, "\r\n", 2)[0])
	if g.line.lose != nil && g.line.lose(g, msg) {
		return
	}
	g.line.flights = append(g.line.flights, flight{g.line.now.Add(g.line.delay), g.line.other(g), text})
}

// run lets time pass, in order, for d.
func (l *line) run(d time.Duration) {
	until := l.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			l.t.Fatal("time does not pass")
		}
		next, who := until.Add(1), -1
		for i, f := range l.flights {
			if f.at.Before(next) {
				next, who = f.at, i
			}
		}
		for i, g := range []*agent{l.a, l.b} {
			if at := g.u.next(); !at.IsZero() && at.Before(next) {
				next, who = at, -2-i
			}
		}
		if next.After(until) {
			l.now = until
			return
		}
		if next.After(l.now) {
			l.now = next
		}
		switch who {
		case -2:
			l.a.do(func(u *usage) { u.tick(l.now) })
		case -3:
			l.b.do(func(u *usage) { u.tick(l.now) })
		default:
			f := l.flights[who]
			l.flights = append(l.flights[:who:who], l.flights[who+1:]...)
			f.to.arrive(f.text)
		}
	}
}

func (g *agent) arrive(text string) {
	msg, err := sip.ParseMessage([]byte(text))
	if err != nil {
		g.line.t.Fatalf("%s got %q: %v", g.name, text, err)
	}
	flow := g.line.flow(g.line.other(g))
	switch m := msg.(type) {
	case *sip.Response:
		key, err := transaction.ClientKey(m)
		if err != nil {
			g.line.t.Fatal(err)
		}
		g.do(func(u *usage) { u.response(g.line.now, key, m, flow) })
	case *sip.Request:
		key, err := transaction.ServerKey(m)
		if err != nil {
			g.line.t.Fatal(err)
		}
		switch {
		case g.keys[key]:
			g.do(func(u *usage) { u.repeated(g.line.now, m, key) })
		case m.Method == sip.CANCEL:
			invite, _ := transaction.CancelKey(m)
			g.do(func(u *usage) { u.receiveCancel(g.line.now, m, invite, key, flow) })
		case m.Method == sip.INVITE && isNew(m):
			m.To().Params.Add("tag", "callee")
			d, err := newServerDialog(m, "callee")
			if err != nil {
				g.line.t.Fatal(err)
			}
			g.u.d = d
			g.do(func(u *usage) { u.receiveInvite(g.line.now, m, m, key, flow) })
		default:
			g.do(func(u *usage) { u.receive(g.line.now, m, key, flow) })
		}
	}
}

// call sends the INVITE of a to b.
func (l *line) call(sdp string, headers ...string) {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "b", Host: "127.0.0.2", Port: 5060})
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "a", Host: "127.0.0.1"}, Params: sip.NewParams()}
	from.Params.Add("tag", "caller")
	callID := sip.CallIDHeader("c1")
	mf := sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{&mf, from, &sip.ToHeader{Address: req.Recipient}, &callID, &sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE}} {
		req.AppendHeader(h)
	}
	req.AppendHeader(sip.NewHeader("Allow", allowValue))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.AppendHeader(sip.NewHeader(name, value))
	}
	var body []byte
	if sdp != "" {
		body = []byte(sdp)
	}
	setSDP(req, body)
	l.a.u.d = newClientDialog(req)
	l.a.do(func(u *usage) { u.call(l.now, req, body) })
	l.run(50 * time.Millisecond)
}

// answered is a call that is up.
func (l *line) answered() {
	l.call("offer")
	l.b.do(func(u *usage) { _ = u.accept([]byte("answer"), nil) })
	l.run(50 * time.Millisecond)
	l.a.want(Answered)
	l.a.do(func(u *usage) { u.ackAnswer(nil) })
	l.run(50 * time.Millisecond)
	l.b.want(Confirmed)
}

// want takes the next event, which has to be of that kind.
func (g *agent) want(kind EventKind) Event {
	g.line.t.Helper()
	if len(g.events) == 0 {
		g.line.t.Fatalf("%s was told nothing, want %s", g.name, kind)
	}
	ev := g.events[0]
	g.events = g.events[1:]
	if ev.Kind != kind {
		g.line.t.Fatalf("%s was told %s (%v), want %s", g.name, ev.Kind, ev.Failure, kind)
	}
	return ev
}

func (g *agent) quiet() {
	g.line.t.Helper()
	if len(g.events) > 0 {
		g.line.t.Fatalf("%s was told %s, want nothing", g.name, g.events[0].Kind)
	}
}

// over ends the line: both usages must come to rest by themselves.
func (l *line) over() {
	l.t.Helper()
	l.run(3 * time.Minute)
	for _, g := range []*agent{l.a, l.b} {
		if !g.u.finished() {
			l.t.Errorf("%s is not finished: %s, %d clients, %d servers", g.name, g.u.state, len(g.u.clients), len(g.u.servers))
		}
		if len(g.keys) > 0 {
			l.t.Errorf("%s left server transactions in the index", g.name)
		}
	}
}

func count(list []string, prefix string) int {
	n := 0
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func onBoth(t *testing.T, f func(t *testing.T, l *line)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) { f(t, newLine(t, network)) })
	}
}

func TestUsageCall(t *testing.T) {
	onBoth(t, func(t *testing.T, l *line) {
		l.answered()
		l.b.do(func(u *usage) { u.bye("Q.850;cause=16", nil) })
		l.run(time.Second)
		if ev := l.a.want(Ended); ev.Reason != "Q.850;cause=16" {
			t.Errorf("reason %q", ev.Reason)
		}
		l.over()
	})
}

func TestUsageAckIsLost(t *testing.T) { // RFC 3261 13.3.1.4
	l := newLine(t, "udp")
	l.lose = func(_ *agent, msg sip.Message) bool {
		req, ok := msg.(*sip.Request)
		return ok && req.Method == sip.ACK
	}
	l.call("offer")
	l.b.do(func(u *usage) { _ = u.accept([]byte("answer"), nil) })
	l.run(time.Second)
	l.a.do(func(u *usage) { u.ackAnswer(nil) })
	l.run(33 * time.Second)
	l.b.want(Unconfirmed)
	// 0, 0.5, 1.5, 3.5, then every 4 s until 32 s.
	if n := count(l.b.sent, "SIP/2.0 200"); n != 11 {
		t.Errorf("200 went out %d times, want 11", n)
	}
	if n := count(l.a.sent, "ACK"); n != 10 {
		t.Errorf("%d ACK, want one for the owner, and one for each 200 after it", n)
	}
	l.b.do(func(u *usage) { u.bye("", nil) })
	l.run(time.Second)
	l.a.want(Answered)
	l.a.want(Ended)
	l.over()
}

func TestUsageLateOffer(t *testing.T) { // RFC 3261 13.2.1
	onBoth(t, func(t *testing.T, l *line) {
		l.call("")
		l.b.do(func(u *usage) { u.provisional(183, "", []byte("no offer in here"), nil) })
		l.run(time.Second)
		if ev := l.a.want(Progress); ev.SDP != nil {
			t.Errorf("an offer went out unreliably: %q", ev.SDP)
		}
		l.b.do(func(u *usage) { _ = u.accept([]byte("offer"), nil) })
		l.run(time.Second)
		if ev := l.a.want(Answered); string(ev.SDP) != "offer" {
			t.Errorf("offer %q", ev.SDP)
		}
		l.a.do(func(u *usage) { u.ackAnswer([]byte("answer")) })
		l.run(time.Second)
		if ev := l.b.want(Confirmed); string(ev.SDP) != "answer" {
			t.Errorf("answer %q", ev.SDP)
		}
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.over()
	})
}

func TestUsageReliable(t *testing.T) { // RFC 3262
	onBoth(t, func(t *testing.T, l *line) {
		l.call("offer", "Supported: 100rel", "Require: 100rel")
		l.b.do(func(u *usage) {
			u.provisional(180, "", nil, nil)
			u.provisional(183, "", []byte("answer"), nil)
			if err := u.accept([]byte("answer"), nil); err != nil {
				t.Error(err)
			}
		})
		if u := l.b.u; u.state != Early {
			t.Error("the 200 overtook an answer that nobody acknowledged")
		}
		l.run(time.Second)
		l.a.want(Progress)
		if ev := l.a.want(Progress); string(ev.SDP) != "answer" {
			t.Errorf("early answer %q", ev.SDP)
		}
		if ev := l.a.want(Answered); ev.SDP != nil {
			t.Errorf("the answer came twice: %q", ev.SDP)
		}
		if n := count(l.a.sent, "PRACK"); n != 2 {
			t.Errorf("%d PRACK, want 2", n)
		}
		l.a.do(func(u *usage) { u.ackAnswer(nil) })
		l.run(time.Second)
		l.b.want(Confirmed)
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.over()
	})
}

// TestUsageByeBeforeThe200: the owner answered and hangs up while the 200 waits
// for a PRACK; the caller gets a failure, and no 200 that nobody stands for.
func TestUsageByeBeforeThe200(t *testing.T) { // RFC 3262 3, RFC 3261 15
	onBoth(t, func(t *testing.T, l *line) {
		l.call("offer", "Supported: 100rel", "Require: 100rel")
		l.b.do(func(u *usage) {
			u.provisional(183, "", []byte("answer"), nil)
			_ = u.accept([]byte("answer"), nil)
			u.bye("Q.850;cause=16", nil)
		})
		l.run(time.Second)
		l.a.want(Progress)
		if ev := l.a.want(Failed); ev.Failure.Code != 480 || ev.Reason != "Q.850;cause=16" {
			t.Errorf("%v with %q", ev.Failure, ev.Reason)
		}
		l.a.quiet()
		l.b.quiet()
		l.over()
	})
}

func TestUsagePrackNeverComes(t *testing.T) { // RFC 3262 3
	l := newLine(t, "udp")
	l.lose = func(_ *agent, msg sip.Message) bool {
		req, ok := msg.(*sip.Request)
		return ok && req.Method == "PRACK"
	}
	l.call("offer", "Require: 100rel")
	l.b.do(func(u *usage) { u.provisional(183, "", []byte("answer"), nil) })
	l.run(40 * time.Second)
	l.b.want(Cancelled)
	l.a.want(Progress)
	if ev := l.a.want(Failed); ev.Failure.Code != 504 {
		t.Errorf("%v", ev.Failure)
	}
	// 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5: doubled without a limit.
	if n := count(l.b.sent, "SIP/2.0 183"); n != 7 {
		t.Errorf("183 went out %d times, want 7", n)
	}
	l.over()
}

func TestUsageReofferBothWays(t *testing.T) { // RFC 3261 14
	onBoth(t, func(t *testing.T, l *line) {
		l.answered()
		for _, pair := range [][2]*agent{{l.a, l.b}, {l.b, l.a}} {
			from, to := pair[0], pair[1]
			from.do(func(u *usage) {
				if err := u.reoffer([]byte("hold")); err != nil {
					t.Error(err)
				}
				if err := u.reoffer([]byte("again")); !errors.Is(err, ErrPending) {
					t.Errorf("second offer: %v", err)
				}
			})
			l.run(100 * time.Millisecond)
			if ev := to.want(Offered); string(ev.SDP) != "hold" {
				t.Errorf("offer %q", ev.SDP)
			}
			to.do(func(u *usage) { _ = u.answerOffer([]byte("held")) })
			l.run(100 * time.Millisecond)
			if ev := from.want(OfferAnswered); string(ev.SDP) != "held" {
				t.Errorf("answer %q", ev.SDP)
			}
			from.want(OfferAgain)
		}
		l.a.quiet()
		l.b.quiet()
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.over()
	})
}

func TestUsageGlare(t *testing.T) { // RFC 3261 14.1: 491 both ways, the Call-ID's owner waits longer
	onBoth(t, func(t *testing.T, l *line) {
		l.answered()
		l.a.random, l.b.random = 100, 100
		l.a.do(func(u *usage) { _ = u.reoffer([]byte("mine")) })
		l.b.do(func(u *usage) { _ = u.reoffer([]byte("no, mine")) })
		l.run(900 * time.Millisecond)
		if count(l.a.sent, "SIP/2.0 491") != 1 || count(l.b.sent, "SIP/2.0 491") != 1 {
			t.Fatalf("a %v\nb %v", l.a.sent, l.b.sent)
		}
		l.a.quiet()
		l.b.quiet()
		l.run(200 * time.Millisecond)
		l.b.want(OfferAgain) // 0-2 s
		l.a.quiet()          // 2.1-4 s
		l.run(2100 * time.Millisecond)
		l.a.want(OfferAgain)
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.over()
	})
}

func TestUsageOfferlessReinvite(t *testing.T) { // RFC 3261 14.2
	l := newLine(t, "tcp")
	l.answered()
	l.a.do(func(u *usage) { u.sendOffer(sip.INVITE, nil, forReoffer) })
	l.run(100 * time.Millisecond)
	if ev := l.b.want(Offered); ev.SDP != nil {
		t.Errorf("offer %q", ev.SDP)
	}
	l.b.do(func(u *usage) { _ = u.answerOffer([]byte("ours")) })
	l.run(100 * time.Millisecond)
	if ev := l.a.want(OfferAnswered); string(ev.SDP) != "ours" {
		t.Errorf("%q", ev.SDP)
	}
	l.b.want(OfferRefused) // our agent's ACK has no answer
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}

func TestUsageSessionTimer(t *testing.T) { // RFC 4028
	onBoth(t, func(t *testing.T, l *line) {
		l.a.u.env.timer = SessionTimer{Expires: 100 * time.Second, Min: 90 * time.Second}
		l.call("offer", "Supported: timer")
		l.b.do(func(u *usage) { _ = u.accept([]byte("answer"), nil) })
		l.run(50 * time.Millisecond)
		l.a.do(func(u *usage) { u.ackAnswer(nil) })
		l.run(10 * time.Minute)
		// 100 s, the caller refreshes at half by UPDATE.
		if n := count(l.a.sent, "UPDATE"); n < 11 || n > 12 {
			t.Errorf("%d refreshes in ten minutes, want 12", n)
		}
		if l.a.u.state != Established || l.b.u.state != Established {
			t.Error("the session did not last")
		}
		l.lose = func(from *agent, _ sip.Message) bool { return from == l.a }
		l.run(2 * time.Minute)
		if l.b.u.state != Terminated {
			t.Error("the session outlived its refresher")
		}
		l.over()
	})
}

func TestUsageHangsUpAtOnce(t *testing.T) { // RFC 3261 15.1.2
	onBoth(t, func(t *testing.T, l *line) {
		l.answered()
		l.a.do(func(u *usage) { u.bye("", nil) })
		l.b.do(func(u *usage) { u.bye("", nil) })
		l.run(time.Second)
		if count(l.a.sent, "SIP/2.0 200") != 1 || count(l.b.sent, "SIP/2.0 200") != 2 {
			t.Errorf("a %v\nb %v", l.a.sent, l.b.sent)
		}
		l.over()
	})
}

func TestUsageCancelCrossesTheAnswer(t *testing.T) { // RFC 3261 9.1
	onBoth(t, func(t *testing.T, l *line) {
		l.call("offer")
		l.a.do(func(u *usage) { u.cancel("", nil) })
		l.b.do(func(u *usage) { _ = u.accept([]byte("answer"), nil) })
		l.run(100 * time.Millisecond)
		l.a.want(Answered)
		l.a.do(func(u *usage) { u.ackAnswer(nil); u.bye("", nil) })
		l.run(time.Second)
		l.b.want(Confirmed)
		l.b.want(Ended)
		l.over()
	})
}
