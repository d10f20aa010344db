package sip

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The oracle is a slow, obvious reading of RFC 3261 12 to 15, RFC 3262, RFC 3264,
// RFC 3311 and RFC 6337 for one INVITE session of ours. It is told what was
// received, what our side sent, what the owner ordered and was told, and the
// time; it says what of that the RFCs do not allow, and what they ask for that
// did not happen. It was written from the RFCs, not from our code, and shares
// nothing with it. oracle_rules_test.go has its tables, oracle_walk_test.go what
// messages change.

// signal is a message as the oracle sees it.
type signal struct {
	method string // of the request, or of the one answered
	code   int    // 0: a request
	seq    uint32
	branch string
	fork   string // the peer's tag
	ours   string // our tag; "" in a request outside a dialog

	sdp     bool       // a body of application/sdp
	dtmf    bool       // a body of application/dtmf-relay or application/dtmf
	foreign bool       // a body of another type
	contact bool       // has one
	rseq    uint32     // of a response with Require: 100rel; 0 without
	rack    oracleRAck // of PRACK

	rel, needRel bool // 100rel in Supported, in Require
	update       bool // UPDATE in Allow
	retryAfter   bool

	timer, needTimer bool // "timer" in Supported or Require, in Require
	expires, minSE   int  // Session-Expires and Min-SE, seconds; 0 without
	refresher        string
}

type oracleRAck struct {
	rseq, seq uint32
	method    string
}

func (g signal) String() string {
	what := g.method
	if g.code != 0 {
		what = fmt.Sprintf("%d to %s", g.code, g.method)
	}
	if g.sdp {
		what += " with SDP"
	}
	if g.rseq != 0 {
		what += fmt.Sprintf(", RSeq %d", g.rseq)
	}
	if g.rack != (oracleRAck{}) {
		what += fmt.Sprintf(", RAck %v", g.rack)
	}
	return fmt.Sprintf("%s, CSeq %d, tag %q, branch %s", what, g.seq, g.fork, g.branch)
}

// oracleRequest is a request and what became of it.
type oracleRequest struct {
	signal
	mine    bool       // we sent it
	refresh bool       // of the session timer, which nobody ordered
	leg     *oracleLeg // of our own first INVITE: of its answer
	rule    oracleRule // theirs: which responses are right
	last    int        // latest response; 0: none
	echo    bool       // it came again: so may the latest response
	final   int
	given   bool // up by us: no response said so
	acked   bool // INVITE with a 2xx
	at      time.Time

	rseq     uint32 // re-INVITE of ours: last reliable response to it
	asks     bool   // INVITE without offer, and none made yet
	answered bool   // INVITE: its offer, or the one it asked for, is settled

	// A 2xx that we sent: when it is to be sent again, and given up. One that we
	// got: until when others may follow.
	again, until time.Time
	interval     time.Duration
	lax          bool // the dialog is over: it may be, and need not
}

func (x *oracleRequest) open() bool { return x.final == 0 }

// busy says that an INVITE is in progress (RFC 3261 14.1): ours until its final
// response, theirs until the ACK.
func (x *oracleRequest) busy() bool {
	return x.method == "INVITE" && (x.open() || (!x.mine && x.final < 300 && !x.acked))
}

// oracleLeg is a dialog, early or not: the session with one fork of the peer.
type oracleLeg struct {
	fork      string
	of        *oracleRequest // the first INVITE that made it, when another has followed that
	confirmed bool           // by a 2xx
	acked     bool           // we sent the ACK to the 2xx that made it
	over      bool
	lost      bool // by 481 or 408: BYE may still go

	theirs int64  // highest CSeq number received; -1: none
	ours   uint32 // last CSeq number sent

	offer  string         // the one that is open: "", "ours" or "theirs"
	in     *oracleRequest // what it was made in
	agreed int            // offers answered

	rseq   uint32            // last reliable provisional response, either direction; 0: none
	prack  bool              // one has been acknowledged
	unsaid []*oracleReliable // ours without PRACK
	heard  []*oracleReliable // theirs without PRACK
}

// oracleReliable is a reliable provisional response that waits for its PRACK.
type oracleReliable struct {
	rseq, seq    uint32
	sdp          bool
	offers       bool // its SDP is an offer: PRACK has to bring the answer
	at           time.Time
	again, until time.Time
	interval     time.Duration
}

// oracle is the state of one session.
type oracle struct {
	now    time.Time
	callee bool

	invite   *oracleRequest // the first one
	legs     []*oracleLeg
	won      *oracleLeg // the dialog of the answer
	requests []*oracleRequest

	peerRel, peerUpdate bool // 100rel and UPDATE are understood there
	provisional         bool // the peer gave us one
	wantCancel          bool // ordered
	cancelled           bool // CANCEL sent
	queued              bool // a provisional response may wait for a PRACK, with SDP
	accepted            bool // ordered, and held back (RFC 3262 3)
	byeOrdered          bool // and held back (RFC 3261 15)
	gone                bool // the owner has been told, or has said, that it is over
	ask                 *oracleRequest
	timer               oracleTimer
	least               int       // Min-SE of a 422
	targets             int       // addresses that the first INVITE may yet go to
	retries             bool      // the first INVITE goes again
	credentials         bool      // we have some
	silent              bool      // the failure that is told is our own
	waits               time.Time // after 491: no offer before

	owed  map[string]time.Time    // what has to happen, by when; alternatives stand between bars
	may   map[string]oracleWindow // what may happen besides
	wrong []string
}

// oracleWindow is when something may happen.
type oracleWindow struct{ from, to time.Time }

// Constants of the RFCs, once more.
const (
	oracleT1   = 500 * time.Millisecond
	oracleT2   = 4 * time.Second
	oracle64T1 = 32 * time.Second
	oracleEver = 1000 * time.Hour
)

func newOracle(now time.Time) *oracle {
	return &oracle{now: now, owed: map[string]time.Time{}, may: map[string]oracleWindow{}}
}

func (o *oracle) complain(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// owe: it has to happen within that time.
func (o *oracle) owe(after time.Duration, keys ...string) {
	key := strings.Join(keys, "|")
	if _, has := o.owed[key]; !has {
		o.owed[key] = o.now.Add(after)
	}
}

// forgive takes back what was owed and begins like this.
func (o *oracle) forgive(prefix string) {
	for key := range o.owed {
		if strings.HasPrefix(key, prefix) {
			delete(o.owed, key)
		}
	}
}

// allow: it may happen in that time.
func (o *oracle) allow(from, to time.Duration, keys ...string) {
	for _, key := range keys {
		o.may[key] = oracleWindow{o.now.Add(from), o.now.Add(to)}
	}
}

// pay takes what happened off what is owed; false when nobody asked for it.
func (o *oracle) pay(key string) (paid bool) {
	for owed, by := range o.owed {
		if slices.Contains(strings.Split(owed, "|"), key) {
			if w, has := o.may[key]; has && o.now.Before(w.from) {
				o.complain("%s too early by %v", key, w.from.Sub(o.now))
			}
			if o.now.After(by) && !strings.Contains(owed, "event offer_again") {
				o.complain("%s too late by %v", key, o.now.Sub(by))
			}
			delete(o.owed, owed)
			paid = true
		}
	}
	if paid {
		delete(o.may, key)
	}
	return paid
}

// happened takes what must have been owed or allowed.
func (o *oracle) happened(key string) {
	if o.pay(key) {
		return
	}
	if w, has := o.may[key]; !has || o.now.Before(w.from) || o.now.After(w.to) {
		o.complain("%s is neither asked for nor allowed", key)
	}
}

// at moves the time on, and does what the end of a time means.
func (o *oracle) at(now time.Time) {
	o.now = now
	for _, x := range o.requests {
		switch {
		case x.mine && x.open() && (x.last == 0 || x.method != "INVITE") && !now.Before(x.at.Add(oracle64T1)):
			g := x.signal // 8.1.3.1
			g.code, g.sdp = 408, false
			o.silent = true
			o.receivedResponse(g)
			o.silent = false
		case !x.mine && !x.until.IsZero() && !now.Before(x.until):
			o.unacknowledged(x)
		}
	}
	o.timerAt()
	if o.callee && o.invite.open() {
		for _, r := range o.invite.leg.unsaid {
			if !now.Before(r.until) { // RFC 3262 3
				o.invite.rule = oracleRule{clause: "RFC 3262 3: no PRACK", codes: []int{500, 503, 504}}
				o.owe(0, o.invite.key("final"))
				o.tell(Unconfirmed, Ended, Failed, Cancelled)
			}
		}
	}
}

// unacknowledged: no ACK in 64*T1 (13.3.1.4): the dialog is confirmed all the
// same, and ended by BYE.
func (o *oracle) unacknowledged(x *oracleRequest) {
	x.acked, x.again, x.until = true, time.Time{}, time.Time{}
	l := x.leg
	if l.in == x {
		l.offer, l.in = "", nil
	}
	switch {
	case l.over:
	case x != o.invite:
		if !o.callee && !l.acked {
			o.owe(0, "ACK "+l.fork)
		}
		o.owe(0, "BYE "+l.fork)
		o.tell(Ended)
	case o.byeOrdered:
		o.owe(0, "BYE "+l.fork)
	default:
		o.tell(Unconfirmed)
		o.forgive("event offer_again") // there is only BYE left
		o.allow(0, oracleEver, "event offer_again")
	}
}

// settle is called when our side has done all that it wants to do by now; it
// returns what was wrong since the last time.
func (o *oracle) settle() []string {
	o.settleRepeats()
	o.queued = o.queued && len(o.invite.leg.unsaid) > 0
	o.settleRefresh()
	if o.accepted && o.invite.open() && o.ask == nil && !o.held(o.invite.leg) && !o.queued {
		o.complain("2xx did not happen, and nothing holds it back")
	}
	for _, x := range o.requests {
		x.echo = false
	}
	for key, by := range o.owed {
		if !by.After(o.now) && !(strings.Contains(key, "event offer_again") && o.blocked()) {
			o.complain("%s did not happen", key)
			delete(o.owed, key)
		}
	}
	slices.Sort(o.wrong)
	wrong := o.wrong
	o.wrong = nil
	return wrong
}

// blocked says that an offer of ours has something in its way (14.1, RFC 3264 4).
func (o *oracle) blocked() bool {
	l := o.won
	return l == nil || !l.acked || o.now.Before(o.waits) || l.offer != "" || o.inviteBusy(l, true) || o.inviteBusy(l, false) ||
		o.updateOpen(l, true) || o.updateOpen(l, false) || o.ask != nil || !o.invite.acked && o.callee
}

// settleRepeats checks that what has to be sent again was (RFC 3261 13.3.1.4,
// RFC 3262 3).
func (o *oracle) settleRepeats() {
	for _, x := range o.requests {
		if !x.lax && !x.again.IsZero() && !x.again.After(o.now) && x.again.Before(x.until) {
			o.complain("2xx was to be sent again %v after the first (13.3.1.4): %v", x.again.Sub(x.at), x.signal)
			x.again = time.Time{}
		}
	}
	for _, l := range o.legs {
		for _, r := range l.unsaid {
			if o.callee && o.invite.open() && !r.again.IsZero() && !r.again.After(o.now) && r.again.Before(r.until) {
				o.complain("RSeq %d was to be sent again %v after the first (RFC 3262 3)", r.rseq, r.again.Sub(r.at))
				r.again = time.Time{}
			}
		}
	}
}

// find is the exchange that a message belongs to (17.1.3, 17.2.3).
func (o *oracle) find(mine bool, branch, method string) *oracleRequest {
	for _, x := range o.requests {
		if x.mine == mine && x.branch == branch && x.method == method {
			return x
		}
	}
	return nil
}

func (o *oracle) leg(fork string) *oracleLeg {
	for _, l := range o.legs {
		if l.fork == fork {
			return l
		}
	}
	return nil
}

// newLeg is the dialog that a message with that tag of the peer makes.
func (o *oracle) newLeg(fork string) *oracleLeg {
	l := &oracleLeg{fork: fork, theirs: -1}
	if !o.callee {
		l.ours = o.invite.seq // 12.1.2
		if !o.invite.asks {
			l.offer, l.in = "ours", o.invite
		}
	}
	o.legs = append(o.legs, l)
	return l
}

// some finds an exchange of a dialog; our first INVITE is part of all that it
// makes.
func (o *oracle) some(l *oracleLeg, mine bool, is func(*oracleRequest) bool) *oracleRequest {
	for _, x := range o.requests {
		if x.mine == mine && (x.leg == l || (x == o.invite && x.leg == nil)) && is(x) {
			return x
		}
	}
	return nil
}

func (o *oracle) inviteBusy(l *oracleLeg, mine bool) bool {
	return o.some(l, mine, (*oracleRequest).busy) != nil
}

func (o *oracle) updateOpen(l *oracleLeg, mine bool) bool {
	return o.some(l, mine, func(x *oracleRequest) bool { return x.method == "UPDATE" && x.open() }) != nil
}

// finished: the owner hears nothing any more.
func (o *oracle) finished() {
	o.gone = true
	o.forgive("event ")
	for key := range o.may {
		if strings.HasPrefix(key, "event ") {
			delete(o.may, key)
		}
	}
}

// tell: the owner has to hear of it.
func (o *oracle) tell(kinds ...EventKind) {
	if o.gone {
		return
	}
	var keys []string
	for _, kind := range kinds {
		keys = append(keys, "event "+kind.String())
	}
	o.owe(0, keys...)
}

// told takes an event that the owner was given.
func (o *oracle) told(kind EventKind) {
	if o.gone {
		o.complain("event %v after the owner was done with the session", kind)
		return
	}
	key := "event " + kind.String()
	if kind == Offered && o.ask != nil {
		key = o.ask.key("reply")
	}
	o.happened(key)
	switch kind {
	case Failed:
		// Cancelled, and nothing came of it (9.1): the INVITE is given up.
		if o.invite.open() {
			o.invite.final = 487
		}
		for _, l := range o.legs {
			o.over(l)
		}
		o.forgive("CANCEL")
		o.retries = false
		o.finished()
	case Cancelled, Ended:
		o.finished()
	default: // the session goes on
	}
}
