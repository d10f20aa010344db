package transaction

import "slices"

// figure is a state machine as RFC 3261 and RFC 6026 draw it. What is not drawn
// does nothing. Times are in milliseconds.
type figure struct {
	first  State
	arrows []arrow
	timers []timer
}

// arrow: in a state, on an input, do this and go there.
type arrow struct {
	from State
	in   string
	do   string // space-separated: up, ack, send, timeout, sent; "" for nothing
	to   State
}

// timer runs in some states and is started when the first of them is entered.
type timer struct {
	name       string
	in         []State
	unreliable int // first interval; -1: not there
	reliable   int
	most       int // it doubles up to this each time it fires; 0: it fires once
}

const forever = 1 << 30

// The four figures. Inputs are classes of responses, requests ("invite",
// "request", "ack"), what the user wants to send ("say 1xx") and timers.
var (
	// RFC 6026 figure 3, which replaces RFC 3261 figure 5.
	inviteClientFigure = figure{
		first: Calling,
		arrows: []arrow{
			{Calling, "A", "send", Calling},
			{Calling, "B", "timeout", Terminated},
			{Calling, "fail", "", Terminated},
			{Calling, "1xx", "up", Proceeding},
			{Calling, "2xx", "up", Accepted},
			{Calling, "300-699", "up ack", Completed},
			{Proceeding, "1xx", "up", Proceeding},
			{Proceeding, "2xx", "up", Accepted},
			{Proceeding, "300-699", "up ack", Completed},
			{Proceeding, "fail", "", Terminated}, // not drawn: ours
			{Accepted, "2xx", "up", Accepted},
			{Accepted, "M", "", Terminated},
			{Accepted, "fail", "", Terminated}, // not drawn: ours
			{Completed, "300-699", "ack", Completed},
			{Completed, "D", "", Terminated},
			{Completed, "fail", "", Terminated},
		},
		timers: []timer{
			{"B", []State{Calling}, 32000, 32000, 0},
			{"A", []State{Calling}, 500, -1, forever},
			{"D", []State{Completed}, 32000, 0, 0},
			{"M", []State{Accepted}, 32000, 32000, 0},
		},
	}
	// RFC 3261 figure 6.
	otherClientFigure = figure{
		first: Trying,
		arrows: []arrow{
			{Trying, "E", "send", Trying},
			{Trying, "F", "timeout", Terminated},
			{Trying, "fail", "", Terminated},
			{Trying, "1xx", "up", Proceeding},
			{Trying, "2xx", "up", Completed},
			{Trying, "300-699", "up", Completed},
			{Proceeding, "E", "send", Proceeding},
			{Proceeding, "F", "timeout", Terminated},
			{Proceeding, "fail", "", Terminated},
			{Proceeding, "1xx", "up", Proceeding},
			{Proceeding, "2xx", "up", Completed},
			{Proceeding, "300-699", "up", Completed},
			{Completed, "K", "", Terminated},
			{Completed, "fail", "", Terminated}, // not drawn: ours
		},
		timers: []timer{
			{"F", []State{Trying, Proceeding}, 32000, 32000, 0},
			{"E", []State{Trying, Proceeding}, 500, -1, 4000},
			{"K", []State{Completed}, 5000, 0, 0},
		},
	}
	// RFC 6026 figure 5, which replaces RFC 3261 figure 7.
	inviteServerFigure = figure{
		first: Proceeding,
		arrows: []arrow{
			{Proceeding, "request", "send", Proceeding},
			{Proceeding, "say 1xx", "sent", Proceeding},
			{Proceeding, "say 2xx", "sent", Accepted},
			{Proceeding, "say 300-699", "sent", Completed},
			{Proceeding, "fail", "", Terminated},
			{Accepted, "request", "", Accepted},
			{Accepted, "ack", "up", Accepted},
			{Accepted, "say 2xx", "sent", Accepted},
			{Accepted, "L", "", Terminated},
			{Completed, "request", "send", Completed},
			{Completed, "G", "send", Completed},
			{Completed, "H", "timeout", Terminated},
			{Completed, "ack", "", Confirmed},
			{Completed, "fail", "", Terminated},
			{Confirmed, "I", "", Terminated},
			{Confirmed, "fail", "", Terminated}, // not drawn: ours
		},
		timers: []timer{
			{"H", []State{Completed}, 32000, 32000, 0},
			{"G", []State{Completed}, 500, -1, 4000},
			{"I", []State{Confirmed}, 5000, 0, 0},
			{"L", []State{Accepted}, 32000, 32000, 0},
		},
	}
	// RFC 3261 figure 8.
	otherServerFigure = figure{
		first: Trying,
		arrows: []arrow{
			{Trying, "say 1xx", "sent", Proceeding},
			{Trying, "say 2xx", "sent", Completed},
			{Trying, "say 300-699", "sent", Completed},
			{Trying, "fail", "", Terminated},
			{Proceeding, "request", "send", Proceeding},
			{Proceeding, "say 1xx", "sent", Proceeding},
			{Proceeding, "say 2xx", "sent", Completed},
			{Proceeding, "say 300-699", "sent", Completed},
			{Proceeding, "fail", "", Terminated},
			{Completed, "request", "send", Completed},
			{Completed, "J", "", Terminated},
			{Completed, "fail", "", Terminated},
		},
		timers: []timer{
			{"J", []State{Completed}, 32000, 0, 0},
		},
	}
)

// oracle walks a figure, one input or one millisecond step at a time.
type oracle struct {
	figure
	reliable bool
	state    State
	running  map[string]*countdown
}

type countdown struct{ left, interval int }

func newOracle(f figure, reliable bool) *oracle {
	o := &oracle{figure: f, reliable: reliable, running: map[string]*countdown{}}
	o.enter(f.first)
	return o
}

// input gives what is to be done.
func (o *oracle) input(in string) string {
	for _, a := range o.arrows {
		if a.from == o.state && a.in == in {
			o.enter(a.to)
			return a.do
		}
	}
	return ""
}

// enter goes to a state: the timers that have no place there stop, those that
// were not running start, and one of zero fires at once.
func (o *oracle) enter(s State) {
	o.state = s
	for _, t := range o.timers {
		if !slices.Contains(t.in, s) {
			delete(o.running, t.name)
			continue
		}
		first := t.unreliable
		if o.reliable {
			first = t.reliable
		}
		switch {
		case first < 0 || o.running[t.name] != nil:
		case first == 0:
			o.input(t.name)
			return
		default:
			o.running[t.name] = &countdown{first, first}
		}
	}
}

// pass lets ms milliseconds go by and gives what was to be done then. Of two
// timers that fire together the one that ends the state comes first: it stands
// first in the figure.
func (o *oracle) pass(ms int) (do []string) {
	for _, t := range o.timers {
		if c := o.running[t.name]; c != nil {
			c.left -= ms
		}
	}
	for _, t := range o.timers {
		c := o.running[t.name]
		if c == nil || c.left > 0 {
			continue
		}
		if t.most == 0 {
			delete(o.running, t.name)
		} else {
			c.interval = min(2*c.interval, t.most)
			if t.name == "E" && o.state == Proceeding {
				c.interval = 4000
			}
			c.left = c.interval
		}
		if what := o.input(t.name); what != "" {
			do = append(do, what)
		}
	}
	return do
}

// idle says that no timer runs.
func (o *oracle) idle() bool { return len(o.running) == 0 }
