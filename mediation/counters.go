package mediation

import (
	"sync"
	"sync/atomic"

	"causeway/mediation/media"
)

// counters are folded at call rate, never per packet. Their methods are safe
// for concurrent use.
type counters struct {
	portsExhausted atomic.Uint64
	panics         atomic.Uint64
	eventsDropped  atomic.Uint64
	holds          [2]atomic.Uint64
	silences       [2]atomic.Uint64
	offers         [2]tally
	turnedAway     tally
	digits         tally
	ignored        tally

	mu      sync.Mutex // guards the following
	begun   map[string]uint64
	results map[resultKey]uint64
}

type resultKey struct{ direction, result string }

// What becomes of offers that change a session: those of the peer, then ours.
const (
	offerTaken      = "taken"
	offerRefused    = "refused"
	offerMade       = "made"
	offerAnswered   = "answered"
	ourOfferRefused = "refused_by_peer"
	offerCrossed    = "crossed"         // 491, and the wait after it
	answerUnusable  = "answer_unusable" // the leg stays as it was
	offerEndless    = "endless"         // not made: the peers never come to rest
)

var offerResults = []string{
	offerTaken, offerRefused, offerMade, offerAnswered, ourOfferRefused, offerCrossed, answerUnusable, offerEndless,
}

// What becomes of digits that come by INFO.
const (
	digitPlayed  = "played"  // as an event
	digitPassed  = "passed"  // as INFO
	digitLost    = "lost"    // too many wait already
	digitEarly   = "early"   // nobody is there yet to hear it
	digitUnknown = "unknown" // no digit, or a body that we do not read
)

var digitResults = []string{digitPlayed, digitPassed, digitLost, digitEarly, digitUnknown}

// results by class: a code of the hundreds would be open-ended in the hands
// of a peer, so the label is one of these.
var resultClasses = []string{"answered", "cancelled", "busy", "no_answer", "refused", "failed", "redirected"}

func resultOf(code int, answered bool) string {
	switch {
	case answered:
		return "answered"
	case code == 487:
		return "cancelled"
	case code == 486 || code == 600:
		return "busy"
	case code == 408 || code == 480:
		return "no_answer"
	case code >= 300 && code < 400:
		return "redirected"
	case code >= 500 && code < 600:
		return "failed"
	default:
		return "refused"
	}
}

func (c *counters) init() {
	c.begun, c.results = map[string]uint64{}, map[resultKey]uint64{}
	for _, d := range directionNames {
		c.begun[d] = 0
		for _, r := range resultClasses {
			c.results[resultKey{d, r}] = 0
		}
	}
	for side := range c.offers {
		c.offers[side] = newTally(offerResults)
	}
	c.turnedAway, c.digits = newTally(admissionReasons), newTally(digitResults)
	events := make([]string, stimuli)
	for i := range events {
		events[i] = stimulus(i).String()
	}
	c.ignored = newTally(events)
}

func (c *counters) started(direction string) {
	c.mu.Lock()
	c.begun[direction]++
	c.mu.Unlock()
}

func (c *counters) ended(direction string, code int, answered bool) {
	c.mu.Lock()
	c.results[resultKey{direction, resultOf(code, answered)}]++
	c.mu.Unlock()
}

func (c *counters) offer(side media.Side, result string) { c.offers[side].add(result) }

func (c *counters) hold(side media.Side) { c.holds[side].Add(1) }

func (c *counters) silent(side media.Side) { c.silences[side].Add(1) }

func (c *counters) digit(result string) { c.digits.add(result) }

func (c *counters) turnAway(reason string) { c.turnedAway.add(reason) }

// tally counts by one label, whose values are fixed, so that every series is
// there from the start.
type tally struct{ n map[string]*atomic.Uint64 }

func newTally(values []string) tally {
	t := tally{n: make(map[string]*atomic.Uint64, len(values))}
	for _, v := range values {
		t.n[v] = new(atomic.Uint64)
	}
	return t
}

func (t tally) add(value string) { t.n[value].Add(1) }

func (t tally) each(f func(value string, n uint64)) {
	for v, n := range t.n {
		f(v, n.Load())
	}
}
