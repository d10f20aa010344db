package mediation

import (
	"causeway/mediation/sip"
)

// How a call ends, one function for each way.

func (c *Call) calleeFailed(_ party, ev sip.Event) {
	f := shownFailure(ev)
	c.legs[theCaller].session.Reject(f)
	by := c.name(theCallee)
	if ev.Failure.Local {
		by = causeway
	}
	c.finish(over, f.Code, phraseOf(f), ev.Reason, by)
}

// calleeLost: the callee's early dialog is gone without a final response.
func (c *Call) calleeLost(_ party, ev sip.Event) {
	f := &sip.Failure{Code: 480, Local: true, Warning: "the callee is gone"}
	c.legs[theCaller].session.Reject(f)
	c.finish(over, f.Code, phraseOf(f), ev.Reason, c.name(theCallee))
}

// callerGone: the caller went away before an answer.
func (c *Call) callerGone(_ party, ev sip.Event) {
	reason, headers := sip.TakeReason(ev.Carried)
	c.legs[theCallee].session.Cancel(reason, headers...)
	c.finish(cancelling, 487, "Request Terminated", ev.Reason, c.name(theCaller))
}

func (c *Call) rangOut(party, sip.Event) {
	c.legs[theCallee].session.Cancel(reasonSIP(408, "no answer"))
	f := &sip.Failure{Code: 408, Local: true, Warning: "the callee did not answer in time"}
	c.legs[theCaller].session.Reject(f)
	c.finish(cancelling, f.Code, phraseOf(f), "", causeway)
}

// refuseBoth ends a call that is not answered yet, from our side.
func (c *Call) refuseBoth(_ party, ev sip.Event) {
	why := ev.Reason
	f := &sip.Failure{Code: 503, Local: true, Warning: why, Headers: []sip.Header{retryAfter}}
	c.legs[theCaller].session.Reject(f)
	next := over
	if callee := c.legs[theCallee].session; callee != nil {
		callee.Cancel(reasonSIP(503, why))
		next = cancelling
	}
	c.finish(next, f.Code, phraseOf(f), "", causeway)
}

// byeBoth ends an answered call from our side.
func (c *Call) byeBoth(_ party, ev sip.Event) {
	for i := range c.legs {
		c.legs[i].session.Bye(reasonSIP(503, ev.Reason))
	}
	c.finish(over, 200, ev.Reason, "", causeway)
}

// cancelledLate: the caller went away while its 200 had to wait.
func (c *Call) cancelledLate(from party, ev sip.Event) {
	reason, headers := sip.TakeReason(ev.Carried)
	c.legs[from.other()].session.Bye(reason, headers...)
	c.finish(over, 487, "Request Terminated", ev.Reason, c.name(from))
}

func (c *Call) unconfirmed(party, sip.Event) {
	for i := range c.legs {
		c.legs[i].session.Bye(reasonSIP(408, "no ACK"))
	}
	c.finish(over, 408, "no ACK to 200", "", causeway)
}

// hungUp: one peer said BYE, or its dialog is lost.
func (c *Call) hungUp(from party, ev sip.Event) {
	far := c.legs[from.other()].session
	if f := ev.Failure; f != nil {
		far.Bye(reasonSIP(f.Code, (&sip.Failure{Code: f.Code}).PhraseText())) // in our words, not the peer's
		by := c.name(from)
		if f.Local {
			by = causeway
		}
		c.finish(over, f.Code, "session lost: "+phraseOf(f), ev.Reason, by)
		return
	}
	reason, headers := sip.TakeReason(ev.Carried)
	far.Bye(reason, headers...)
	c.finish(over, 200, "OK", ev.Reason, c.name(from))
}

// answeredTooLate: 200 crossed our CANCEL.
func (c *Call) answeredTooLate(party, sip.Event) {
	c.legs[theCallee].session.Ack(nil)
	c.legs[theCallee].session.Bye("")
	c.enter(over)
}

func (c *Call) letGo(party, sip.Event) { c.enter(over) }
