package sip

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A script tells the oracle a session, a line for each thing that happens:
//
//	in INVITE 1 sdp            a request received: method, CSeq number, options
//	out 200 INVITE 1 sdp       a response sent
//	order accept               what the owner orders
//	event confirmed            what it is told
//	at 32.5                    seconds since the beginning
//
// Options are sdp, dtmf, foreign, rel, needrel, update, later (Retry-After),
// nocontact, timer and needtimer, expires=S, minse=S, refresher=R, rseq=N, rack=N/CSEQ, tag=T (the peer's; "p" unless said), branch=B
// (made of method and number unless said).

var scriptBegan = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

var eventKinds = func() map[string]EventKind {
	kinds := map[string]EventKind{}
	for i, name := range eventNames {
		kinds[name] = EventKind(i)
	}
	return kinds
}()

// playScript returns what the oracle has against a script. What our side did
// after a stimulus is complete when the next one comes.
func playScript(t *testing.T, script string) (wrong []string) {
	t.Helper()
	o := newOracle(scriptBegan)
	for n, line := range strings.Split(script, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "in" || words[0] == "order" || words[0] == "at" {
			wrong = append(wrong, o.settle()...)
		}
		if err := o.playLine(words); err != nil {
			t.Fatalf("line %d: %q: %v", n+1, line, err)
		}
	}
	return append(wrong, o.settle()...)
}

func (o *oracle) playLine(words []string) error {
	switch words[0] {
	case "in", "out":
		g, err := parseSignal(words[1:])
		if err != nil {
			return err
		}
		if o.invite == nil {
			g.ours, g.contact = "", true
			if words[0] == "out" {
				g.fork = ""
			}
		}
		if words[0] == "in" {
			o.received(g)
		} else {
			o.sent(g)
		}
	case "event":
		kind, known := eventKinds[words[1]]
		if !known {
			return fmt.Errorf("no event %q", words[1])
		}
		o.told(kind)
	case "at":
		s, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			return err
		}
		o.at(scriptBegan.Add(time.Duration(s * float64(time.Second))))
	case "order":
		return o.playOrder(words[1:])
	default:
		return fmt.Errorf("no such line")
	}
	return nil
}

func (o *oracle) playOrder(words []string) error {
	code := 488
	if len(words) > 1 {
		code, _ = strconv.Atoi(words[1])
	}
	orders := map[string]func(){
		"provisional": o.orderProvisional, "accept": o.orderAccept, "reject": func() { o.orderReject(code) },
		"ack": o.orderAck, "cancel": o.orderCancel, "bye": o.orderBye, "reoffer": o.orderReoffer,
		"answer": o.orderAnswer, "refuse": func() { o.orderRefuse(code) }, "info": o.orderInfo,
	}
	order := orders[words[0]]
	if order == nil {
		return fmt.Errorf("no order %q", words[0])
	}
	order()
	return nil
}

func parseSignal(words []string) (g signal, err error) {
	g = signal{fork: "p", ours: "we", contact: true}
	if code, err := strconv.Atoi(words[0]); err == nil {
		g.code, words = code, words[1:]
	}
	g.method = words[0]
	n, err := strconv.Atoi(words[1])
	g.seq = uint32(n)
	g.branch = fmt.Sprint(words[0], n)
	if g.method == "CANCEL" {
		g.branch = fmt.Sprint("INVITE", n)
	}
	flags := map[string]*bool{"sdp": &g.sdp, "dtmf": &g.dtmf, "foreign": &g.foreign, "rel": &g.rel,
		"needrel": &g.needRel, "update": &g.update, "later": &g.retryAfter, "timer": &g.timer, "needtimer": &g.needTimer}
	for _, word := range words[2:] {
		name, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		switch {
		case flags[name] != nil:
			*flags[name] = true
		case name == "nocontact":
			g.contact = false
		case name == "expires":
			g.expires = number
		case name == "minse":
			g.minSE = number
		case name == "refresher":
			g.refresher = value
		case name == "rseq":
			g.rseq = uint32(number)
		case name == "rack":
			var r oracleRAck
			if _, err := fmt.Sscanf(value, "%d/%d", &r.rseq, &r.seq); err != nil {
				return g, err
			}
			r.method = "INVITE"
			g.rack = r
		case name == "tag":
			g.fork = value
		case name == "branch":
			g.branch = value
		default:
			return g, fmt.Errorf("no option %q", word)
		}
	}
	return g, err
}

// TestOracleAccepts plays sessions as the RFCs show them: the oracle has nothing
// against any.
func TestOracleAccepts(t *testing.T) {
	for name, script := range oracleRight {
		if wrong := playScript(t, script); len(wrong) > 0 {
			t.Errorf("%s:\n\t%s", name, strings.Join(wrong, "\n\t"))
		}
	}
}

// TestOracleRefuses plays sessions with one thing wrong: the oracle names it, by
// the words of the script's first line.
func TestOracleRefuses(t *testing.T) {
	for name, script := range oracleWrong {
		want, rest, _ := strings.Cut(strings.TrimSpace(script), "\n")
		want = strings.TrimSpace(strings.TrimPrefix(want, "#"))
		wrong := playScript(t, rest)
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("%s: want %q, got\n\t%s", name, want, strings.Join(wrong, "\n\t"))
		}
	}
}
