package transaction

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

// step is the resolution of the model's time; every timer is a multiple of it.
const step = 100 * time.Millisecond

// What may happen to a machine in the model; every client and every server
// takes some of it.
var happenings = []string{
	"100", "183", "200", "200 of a fork", "302", "404", "404", "603", "fail",
	"invalid", "request", "request", "ack", "ack",
	"say 100", "say 183", "say 200", "say 200", "say 486", "say 500",
	"1 step", "3 steps", "5 steps", "20 steps", "40 steps", "49 steps", "50 steps", "120 steps", "320 steps",
}

// machine is one of the four with its oracle.
type machine struct {
	tester
	oracle *oracle
	now    time.Time
	req    *sip.Request
	client *Client
	server *Server
	final  *sip.Response // server: what an ACK acknowledges
}

func newMachine(t tester, kind int) *machine {
	t.Helper()
	reliable := kind&1 != 0
	method, figures := sip.INVITE, []figure{inviteClientFigure, inviteServerFigure}
	if kind&2 != 0 {
		method, figures = sip.BYE, []figure{otherClientFigure, otherServerFigure}
	}
	m := &machine{tester: t, now: began, req: request(t, method)}
	if kind&4 != 0 {
		m.oracle, m.server = newOracle(figures[1], reliable), NewServer(m.req, reliable, began)
	} else {
		m.oracle, m.client = newOracle(figures[0], reliable), NewClient(m.req, reliable, began)
	}
	m.final = response(request(t, sip.INVITE), 486, "ours")
	return m
}

func (m *machine) state() State {
	if m.client != nil {
		return m.client.State()
	}
	return m.server.State()
}

func (m *machine) next() time.Time {
	if m.client != nil {
		return m.client.Next()
	}
	return m.server.Next()
}

func (m *machine) play(what string) {
	m.Helper()
	n := 0
	switch {
	case strings.Contains(what, " step"):
		for _, c := range what[:strings.Index(what, " ")] {
			n = 10*n + int(c-'0')
		}
		for range n {
			m.pass()
		}
	case what == "fail" && m.client != nil:
		m.oracle.input("fail")
		m.client.Fail()
	case what == "fail":
		m.oracle.input("fail")
		m.server.Fail()
	case m.client != nil:
		m.playClient(what)
	default:
		m.playServer(what)
	}
	if got, want := m.state(), m.oracle.state; got != want {
		m.Fatalf("after %s in state %v, the figure is in %v", what, got, want)
	}
	if got := m.next().IsZero(); got != m.oracle.idle() {
		m.Fatalf("after %s in %v: no timer runs: %v, in the figure: %v", what, m.state(), got, m.oracle.idle())
	}
}

// pass lets one step go by; before a timer is due a Tick must do nothing.
func (m *machine) pass() {
	m.Helper()
	if idle := m.tick(m.now.Add(step - 1)); idle != "" {
		m.Fatalf("%q too early, in %v", idle, m.state())
	}
	m.now = m.now.Add(step)
	next := m.next()
	want := strings.Join(m.oracle.pass(int(step/time.Millisecond)), " ")
	if due := !next.IsZero() && !next.After(m.now); want != "" && !due {
		m.Fatalf("%q is due, Next is %v", want, since(next))
	}
	if got := m.tick(m.now); got != want {
		m.Fatalf("Tick at %v in %v: %q, the figure: %q", since(m.now), m.state(), got, want)
	}
}

func (m *machine) tick(now time.Time) string {
	m.Helper()
	var do []string
	var timedOut bool
	if m.client != nil {
		var resend bool
		resend, timedOut = m.client.Tick(now)
		if resend {
			do = append(do, "send")
		}
	} else {
		var resend *sip.Response
		resend, timedOut = m.server.Tick(now)
		if resend != nil {
			do = append(do, "send")
			if resend != m.server.Last() {
				m.Fatalf("another response than the last is sent again")
			}
		}
	}
	if timedOut {
		do = append(do, "timeout")
	}
	return strings.Join(do, " ")
}

func (m *machine) playClient(what string) {
	m.Helper()
	classes := map[string]string{
		"100": "1xx", "183": "1xx", "200": "2xx", "200 of a fork": "2xx", "302": "300-699", "404": "300-699", "603": "300-699",
	}
	var want string
	tag := "ours"
	switch {
	case what == "invalid":
		what = "042"
	case classes[what] == "":
		return
	default:
		want = m.oracle.input(classes[what])
	}
	if len(what) > 3 {
		tag = "fork"
	}
	code := 0
	for _, c := range what[:3] {
		code = 10*code + int(c-'0')
	}
	up, ack := m.client.Receive(m.now, response(m.req, code, tag))
	var do []string
	if up {
		do = append(do, "up")
	}
	if ack != nil {
		do = append(do, "ack")
		if key, err := ServerKey(ack); err != nil || key != mustServerKey(m, m.req) || ack.To().Params.GetOr("tag", "") != tag {
			m.Fatalf("ACK\n%v", ack)
		}
	}
	if got := strings.Join(do, " "); got != want {
		m.Fatalf("%s in %v: %q, the figure: %q", what, m.state(), got, want)
	}
}

func mustServerKey(t tester, req *sip.Request) string {
	t.Helper()
	key, err := ServerKey(req)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return key
}

func (m *machine) playServer(what string) {
	m.Helper()
	switch what {
	case "request", "ack":
		req := m.req.Clone()
		if what == "ack" {
			req = ackOf(m, request(m, sip.INVITE), m.final)
		}
		want := m.oracle.input(what)
		last := m.server.Last()
		again, up := m.server.Receive(m.now, req)
		if want == "send" && last == nil {
			want = "" // the user was not as fast as the client's Timer A
		}
		if wantUp := want == "up"; up != wantUp || (again != nil) != (want == "send") || (again != nil && again != last) {
			m.Fatalf("%s in %v: again %v, up %v, the figure: %q", what, m.state(), again, up, want)
		}
	case "invalid":
		if m.server.Respond(m.now, response(m.req, 42, "ours")) {
			m.Fatalf("42 allowed in %v", m.state())
		}
	case "say 100", "say 183", "say 200", "say 486", "say 500":
		class := map[byte]string{'1': "1xx", '2': "2xx", '4': "300-699", '5': "300-699"}[what[4]]
		code := map[string]int{"say 100": 100, "say 183": 183, "say 200": 200, "say 486": 486, "say 500": 500}[what]
		want := m.oracle.input("say " + class)
		before := m.server.Last()
		res := response(m.req, code, "ours")
		if got := m.server.Respond(m.now, res); got != (want == "sent") {
			m.Fatalf("%s in %v: %v, the figure: %q", what, m.state(), got, want)
		}
		if last := m.server.Last(); (want == "sent" && last != res) || (want != "sent" && last != before) {
			m.Fatalf("%s in %v: last is %v", what, m.state(), last)
		}
	}
}

// TestModel walks the machines and the figures side by side.
func TestModel(t *testing.T) {
	for kind := range 8 {
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(t, kind)
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(happenings)-1), 1, 40).Draw(t, "happenings") {
				t.Log(happenings[i])
				m.play(happenings[i])
			}
		})
	}
}

// TestModelReaches shows that the walks of TestModel can come everywhere: every
// arrow of every figure is taken by some short sequence.
func TestModelReaches(t *testing.T) {
	for name, f := range map[string]figure{"invite client": inviteClientFigure, "other client": otherClientFigure,
		"invite server": inviteServerFigure, "other server": otherServerFigure} {
		reached := []State{f.first}
		for range f.arrows {
			for _, a := range f.arrows {
				if slices.Contains(reached, a.from) && !slices.Contains(reached, a.to) {
					reached = append(reached, a.to)
				}
			}
		}
		for _, a := range f.arrows {
			if !slices.Contains(reached, a.from) {
				t.Errorf("%s: %v is not reached", name, a.from)
			}
		}
	}
}
