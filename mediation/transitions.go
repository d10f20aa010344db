package mediation

import (
	"causeway/mediation/sip"
)

// phase is where a call stands.
type phase uint32

const (
	inviting   phase = iota // the callee is being called
	answered                // 200 sent to the caller, its ACK outstanding
	talking                 // confirmed on both legs
	cancelling              // the caller's leg is over, the callee's INVITE is not finished
	over
)

var phaseNames = [...]string{"inviting", "answered", "talking", "cancelling", "over"}

func (p phase) String() string { return phaseNames[p] }

// exchange is where the offers and answers of one leg stand (RFC 3264).
type exchange uint8

const (
	stable      exchange = iota
	weOffered            // our offer has no answer yet
	theyOffered          // the peer's has none: only the offer in the caller's INVITE waits
)

var exchangeNames = [...]string{"stable", "we_offered", "they_offered"}

func (e exchange) String() string { return exchangeNames[e] }

// stimulus is what moves a call: an event of a session, or something of our
// own. The events' numbers are theirs.
type stimulus uint8

const (
	ringTimeout  stimulus = stimulus(sip.Info) + 1 + iota // nobody answered in ring_timeout
	stopped                                               // an order to end the call
	mediaTimeout                                          // a peer has sent no RTP for media_timeout
	asked                                                 // Offered, without a session description: for an offer of ours
	differs                                               // the other peer's will is not what this one was told
	stimuli
)

func (s stimulus) String() string {
	switch s {
	case ringTimeout:
		return "ring_timeout"
	case stopped:
		return "stop"
	case mediaTimeout:
		return "media_timeout"
	case asked:
		return "asked_for_offer"
	case differs:
		return "will_differs"
	default:
		return sip.EventKind(s).String()
	}
}

// transition is what a call does in one phase about one stimulus. It is what
// runs, and what docs/call-states.md is written from.
type transition struct {
	in   []phase
	from []party
	on   stimulus
	do   func(*Call, party, sip.Event)
	does string  // for the document
	next []phase // where the call stands afterwards, one of them
}

// either leg.
var either = []party{theCaller, theCallee}

// transitions is the call's state machine. A pair that has no line here is
// ignored and counted.
var transitions = []transition{
	{[]phase{inviting}, []party{theCallee}, stimulus(sip.Progress), (*Call).progress,
		"the provisional response to the caller; with a description the callee's leg is set by it (of several early dialogs the latest counts), and the caller gets its answer, or our offer when its INVITE had none", []phase{inviting}},
	{[]phase{inviting}, []party{theCallee}, stimulus(sip.Answered), (*Call).answer,
		"ACK; both legs set; 200 to the caller. An unusable answer: BYE to the callee, 488 to the caller. The caller gone meanwhile: BYE to the callee", []phase{answered, over}},
	{[]phase{inviting}, []party{theCallee}, stimulus(sip.Failed), (*Call).calleeFailed,
		"the failure to the caller, as it may be shown", []phase{over}},
	{[]phase{inviting}, []party{theCallee}, stimulus(sip.Ended), (*Call).calleeLost,
		"480 to the caller", []phase{over}},
	{[]phase{inviting}, []party{theCaller}, stimulus(sip.Cancelled), (*Call).callerGone,
		"CANCEL to the callee", []phase{cancelling}},
	{[]phase{inviting}, []party{theCaller}, stimulus(sip.Ended), (*Call).callerGone,
		"BYE in the early dialog (RFC 3261 15.1.2): CANCEL to the callee", []phase{cancelling}},
	{[]phase{inviting}, []party{theCaller}, stimulus(sip.OfferAnswered), (*Call).lateAnswer,
		"the answer to our offer came in PRACK: the caller's leg is set. An unusable one: 488 to the caller, CANCEL to the callee", []phase{inviting, cancelling}},
	{[]phase{inviting}, []party{ourselves}, ringTimeout, (*Call).rangOut,
		"408 to the caller, CANCEL to the callee", []phase{cancelling}},
	{[]phase{inviting}, []party{ourselves}, stopped, (*Call).refuseBoth,
		"503 to the caller; CANCEL to the callee when it was invited", []phase{cancelling, over}},

	{[]phase{answered}, []party{theCaller}, stimulus(sip.Confirmed), (*Call).confirmed,
		"when the offer was ours, ACK has the answer and the caller's leg is set; BYE to both without a usable one", []phase{talking, over}},
	{[]phase{answered}, []party{theCaller}, stimulus(sip.Cancelled), (*Call).cancelledLate,
		"200 was still waiting for a PRACK (RFC 3262 3): BYE to the callee", []phase{over}},
	{[]phase{answered}, []party{theCaller}, stimulus(sip.Unconfirmed), (*Call).unconfirmed,
		"BYE to both (RFC 3261 13.3.1.4)", []phase{over}},
	{[]phase{answered}, []party{theCaller}, stimulus(sip.OfferAnswered), (*Call).lateAnswer,
		"the answer to our offer came in PRACK: the caller's leg is set. An unusable one: BYE to both", []phase{answered, over}},

	{[]phase{answered, talking}, either, stimulus(sip.Ended), (*Call).hungUp,
		"BYE to the other; the dialog may also be lost: 481 or 408 to a request in it (RFC 5057), or a session timer that ran out (RFC 4028 10)", []phase{over}},
	{[]phase{answered, talking}, []party{ourselves}, stopped, (*Call).byeBoth,
		"BYE to both", []phase{over}},
	{[]phase{talking}, []party{ourselves}, mediaTimeout, (*Call).mediaLost,
		"BYE to both, with a Reason of cause 408. While either peer holds the call nobody has to send", []phase{over}},

	{[]phase{inviting, answered, talking}, either, stimulus(sip.Offered), (*Call).offered,
		"by the leg's offer state, below", nil},
	{[]phase{talking}, []party{theCaller}, stimulus(sip.OfferAnswered), (*Call).exchanged,
		"by the leg's offer state, below", nil},
	{[]phase{answered, talking}, []party{theCallee}, stimulus(sip.OfferAnswered), (*Call).exchanged,
		"by the leg's offer state, below", nil},
	{[]phase{answered, talking}, either, stimulus(sip.OfferRefused), (*Call).exchanged,
		"by the leg's offer state, below", nil},
	{[]phase{answered, talking}, either, stimulus(sip.OfferAgain), (*Call).exchanged,
		"by the leg's offer state, below", nil},
	{[]phase{inviting, answered, talking}, either, stimulus(sip.Info), (*Call).info,
		"digits are played to the other leg as events (RFC 4733), or go on as INFO", nil},

	{[]phase{cancelling}, []party{theCallee}, stimulus(sip.Answered), (*Call).answeredTooLate,
		"the 200 was faster than CANCEL: ACK and BYE (RFC 3261 9.1, 15)", []phase{over}},
	{[]phase{cancelling}, []party{theCallee}, stimulus(sip.Failed), (*Call).letGo,
		"nothing is left", []phase{over}},
	{[]phase{cancelling}, []party{theCallee}, stimulus(sip.Ended), (*Call).letGo,
		"nothing is left", []phase{over}},
	{[]phase{cancelling}, []party{ourselves}, stopped, (*Call).letGo,
		"the callee's session ends by itself", []phase{over}},
}

// move is what a leg does in one offer state about one stimulus.
type move struct {
	in   []exchange
	on   stimulus
	do   func(*Call, party, sip.Event)
	does string
	next []exchange
}

// exchanges is the offer machine of one leg. It runs inside transitions; the
// exchange in the INVITE transaction is theirs.
var exchanges = []move{
	{[]exchange{stable, weOffered}, stimulus(sip.Offered), (*Call).answerOffer,
		"answered at once: address, port, codec and keys are ours to absorb, the direction is answered by what the other peer wants; an unusable offer gets 488 with a Warning, and one before the INVITE's exchange is complete 491. While our own re-offer waits after 491 it goes on waiting", nil},
	{[]exchange{stable, weOffered}, asked, (*Call).offerAll,
		"a re-INVITE without an offer: all that we carry, in the direction that the other peer wants; 491 before the INVITE's exchange is complete", []exchange{weOffered, stable}},
	{[]exchange{theyOffered}, stimulus(sip.Offered), (*Call).refuseCrossing,
		"491: the offer in the INVITE is not answered yet", []exchange{theyOffered}},
	{[]exchange{theyOffered}, asked, (*Call).refuseCrossing,
		"491: the offer in the INVITE is not answered yet", []exchange{theyOffered}},
	{[]exchange{stable}, differs, (*Call).reoffer,
		"an offer with the direction that the other peer wants now: hold and resume are carried. Behind another exchange it waits for offer_again", []exchange{weOffered, stable}},
	{[]exchange{weOffered, stable}, stimulus(sip.OfferAnswered), (*Call).takeReoffered,
		"the leg is set by the answer, and the peer's will by those bits of it that the offer asked for; an unusable answer leaves the leg as it was", []exchange{stable}},
	{[]exchange{weOffered}, stimulus(sip.OfferRefused), (*Call).offerRefused,
		"the leg stays as it was; the same is not offered again", []exchange{stable}},
	{[]exchange{weOffered, stable}, stimulus(sip.OfferAgain), (*Call).offerAgain,
		"the way is free, after 491 or behind another exchange: what is wanted now is offered, if it still differs", []exchange{stable}},
}

type transitionKey struct {
	in   phase
	from party
	on   stimulus
}

type moveKey struct {
	in exchange
	on stimulus
}

var (
	transitionsBy = map[transitionKey]*transition{}
	movesBy       = map[moveKey]*move{}
)

func init() {
	for i := range transitions {
		t := &transitions[i]
		for _, in := range t.in {
			for _, from := range t.from {
				transitionsBy[transitionKey{in, from, t.on}] = t
			}
		}
	}
	for i := range exchanges {
		m := &exchanges[i]
		for _, in := range m.in {
			movesBy[moveKey{in, m.on}] = m
		}
	}
}

// react is the call's state machine: one stimulus, in the order of arrival.
func (c *Call) react(from party, on stimulus, ev sip.Event) {
	t := transitionsBy[transitionKey{c.at(), from, on}]
	if t == nil {
		c.ignored(from, on, c.at().String())
		return
	}
	t.do(c, from, ev)
	c.heldNow()
	c.tellWills()
	c.publish()
}

// exchanged passes what is about offers to the leg's own machine.
func (c *Call) exchanged(from party, ev sip.Event) {
	c.trade(from, stimulus(ev.Kind), ev)
}

// offered tells an offer from the wish for one.
func (c *Call) offered(from party, ev sip.Event) {
	on := stimulus(sip.Offered)
	if ev.SDP == nil {
		on = asked
	}
	c.trade(from, on, ev)
}

func (c *Call) trade(from party, on stimulus, ev sip.Event) {
	l := &c.legs[from]
	m := movesBy[moveKey{l.exchange, on}]
	if m == nil {
		c.ignored(from, on, l.exchange.String())
		return
	}
	m.do(c, from, ev)
}

// ignored counts what means nothing where the call stands.
func (c *Call) ignored(from party, on stimulus, at string) {
	c.srv.counters.ignored.add(on.String())
	c.log.Debug("event ignored", "from", from.String(), "event", on.String(), "state", at)
}
