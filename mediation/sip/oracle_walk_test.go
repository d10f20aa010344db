package sip

import (
	"slices"
	"time"
)

// What messages change: theirs.

// received takes a message that reached us.
func (o *oracle) received(g signal) {
	o.peerUpdate = o.peerUpdate || g.update
	x := o.find(false, g.branch, g.method)
	switch {
	case g.code != 0:
		o.receivedResponse(g)
	case g.method == "ACK":
		o.receivedAck(g)
	case x != nil:
		x.echo = true // 17.2
	case g.method == "CANCEL":
		o.receivedCancel(g)
	case g.ours == "" && o.invite == nil:
		o.receivedFirst(g)
	default:
		o.receivedRequest(g)
	}
}

// receivedFirst is the INVITE that makes the session: we are the callee.
func (o *oracle) receivedFirst(g signal) {
	x := &oracleRequest{signal: g, at: o.now, asks: !g.sdp, rule: oracleRule{asks: true}}
	o.requests = append(o.requests, x)
	o.callee, o.invite = true, x
	o.peerRel, o.peerUpdate = g.rel || g.needRel, g.update
	x.leg = o.newLeg(g.fork)
	x.leg.theirs = int64(g.seq)
	if g.sdp {
		x.leg.offer, x.leg.in = "theirs", x
	}
}

func (o *oracle) receivedRequest(g signal) {
	l := o.leg(g.fork)
	x := &oracleRequest{signal: g, at: o.now, leg: l}
	x.rule = oracleRules[slices.IndexFunc(oracleRules, func(r oracleRule) bool { return r.when(o, l, x) })]
	o.requests = append(o.requests, x)
	o.owe(0, x.key("reply"))
	if l == nil || l.over {
		return
	}
	l.theirs = max(l.theirs, int64(g.seq))
	switch {
	case x.rule.asks:
		o.ask = x
		x.asks = g.method == "INVITE" && !g.sdp
		if g.sdp {
			l.offer, l.in = "theirs", x
		}
		if x.rule.pracks {
			o.pracks(l, x)
		}
	case x.rule.pracks:
		o.pracks(l, x)
	case x.rule.codes[0] != 200:
	case g.method == "BYE" && (o.callee || l.confirmed):
		o.receivedBye(l)
	case g.method == "INFO" && g.dtmf:
		o.tell(Info)
	}
}

// key names something owed for an exchange: "reply", a final response or the
// question to the owner, or "final", the response itself.
func (x *oracleRequest) key(what string) string { return what + " " + x.method + " " + x.branch }

// receivedBye: the peer ended a dialog (15.1.2), and what it still waits for is
// answered.
func (o *oracle) receivedBye(l *oracleLeg) {
	o.over(l)
	if !o.callee && !l.acked {
		o.owe(0, "ACK "+l.fork) // 13.2.2.4
	}
	if l == o.won || o.callee {
		o.tell(Ended)
	}
}

// over ends a dialog; its requests are still answered, INVITE by 487.
func (o *oracle) over(l *oracleLeg) {
	l.over = true
	for _, x := range o.requests {
		if x.leg != l {
			continue
		}
		x.lax = true
		if x.mine || !x.open() || x.method == "BYE" {
			continue
		}
		if x.rule.asks {
			x.rule = oracleRule{clause: "RFC 3261 15.1.2", codes: []int{487}}
			if x.method != "INVITE" {
				x.rule.codes = []int{481, 487, 500}
			}
		}
		o.forgive(x.key("reply"))
		o.owe(0, x.key("final"))
	}
	l.unsaid, l.heard = nil, nil
	o.forgive("BYE " + l.fork)
	o.forgive("PRACK " + l.fork)
	if o.callee || l == o.won {
		o.ask = nil
		for _, prefix := range []string{"INVITE", "UPDATE", "event offer"} {
			o.forgive(prefix)
		}
	}
}

// pracks takes the PRACK of a reliable response of ours.
func (o *oracle) pracks(l *oracleLeg, x *oracleRequest) {
	r := o.pracked(l, x)
	l.unsaid = slices.DeleteFunc(l.unsaid, func(u *oracleReliable) bool { return u == r })
	l.prack = true
	if r.offers {
		l.offer, l.in = "", nil
		if x.sdp {
			l.agreed++
			o.invite.answered = true
			o.tell(OfferAnswered)
		}
	}
}

// held: a 2xx waits for the PRACKs of responses with SDP (RFC 3262 3).
func (o *oracle) held(l *oracleLeg) bool {
	return slices.ContainsFunc(l.unsaid, func(r *oracleReliable) bool { return r.sdp })
}

func (o *oracle) receivedAck(g signal) {
	for _, x := range o.requests {
		if x.mine || x.method != "INVITE" || x.seq != g.seq || x.leg == nil || x.leg.fork != g.fork ||
			x.final < 200 || x.final > 299 || x.acked || x.leg.over {
			continue
		}
		l := x.leg
		x.acked, x.again, x.until = true, time.Time{}, time.Time{}
		late := l.offer == "ours" && l.in == x
		if late {
			l.offer, l.in = "", nil
			if g.sdp {
				l.agreed++
			}
		}
		switch {
		case x == o.invite && o.byeOrdered:
			o.owe(0, "BYE "+l.fork)
		case x == o.invite:
			o.tell(Confirmed)
		case late && g.sdp:
			o.tell(OfferAnswered)
		case late:
			o.allow(0, 0, "event ended", "event offer_refused", "BYE "+l.fork)
		}
	}
}

func (o *oracle) receivedCancel(g signal) {
	x := &oracleRequest{signal: g, at: o.now, rule: oracleRule{clause: "RFC 3261 9.2: CANCEL of nothing", codes: []int{481}}}
	o.requests = append(o.requests, x)
	o.owe(0, x.key("final"))
	invite := o.find(false, g.branch, "INVITE")
	if invite == nil {
		return
	}
	x.leg, x.rule = invite.leg, oracleRule{clause: "RFC 3261 9.2", codes: []int{200}}
	if !invite.open() || !invite.rule.asks {
		x.rule.codes = []int{200, 481} // its transaction may have ended
		return
	}
	invite.rule = oracleRule{clause: "RFC 3261 9.2", codes: []int{487}}
	o.forgive(invite.key("reply"))
	o.owe(0, invite.key("final"))
	if o.ask == invite {
		o.ask = nil
	}
	if invite == o.invite {
		o.tell(Cancelled)
	}
}

// receivedResponse takes a response to a request of ours.
func (o *oracle) receivedResponse(g signal) {
	x := o.find(true, g.branch, g.method)
	if x == nil || g.seq != x.seq {
		return // stray
	}
	again := !x.open()
	if x.given && x.leg == nil && x.method == "INVITE" && g.code >= 200 && g.code < 300 {
		o.lateAnswer(x, g)
		return
	}
	if g.code < 200 {
		if again {
			return
		}
		x.last = g.code
		if x == o.invite {
			o.progress(g)
		} else if g.rseq != 0 && x.method == "INVITE" && !x.leg.over {
			o.reliableAgain(x, g)
		}
		return
	}
	if again && (x.method != "INVITE" || g.code > 299 || x.final > 299) {
		return // the transaction's
	}
	if !again {
		x.final, x.last, x.given = g.code, g.code, o.silent
	}
	switch {
	case x == o.invite && g.code < 300:
		o.answer(x, g)
	case x == o.invite:
		o.refused(g.code)
	case x.method == "INVITE" && g.code < 300 && again:
		if o.now.Before(x.until) {
			o.owe(0, "ACK "+x.leg.fork)
		}
	default:
		o.finalInDialog(x, g)
	}
}

// progress takes a provisional response to our first INVITE.
func (o *oracle) progress(g signal) {
	o.provisional = true
	if o.wantCancel && !o.cancelled {
		o.owe(0, "CANCEL")
	}
	if g.code == 100 {
		return
	}
	l := o.leg(g.fork)
	if l == nil {
		l = o.newLeg(g.fork)
	}
	if g.rseq != 0 {
		if l.rseq != 0 && g.rseq != l.rseq+1 {
			return // RFC 3262 4: again, or out of order
		}
		l.rseq = g.rseq
		r := &oracleReliable{rseq: g.rseq, seq: o.invite.seq, sdp: g.sdp}
		l.heard = append(l.heard, r)
		o.owe(0, "PRACK "+l.fork)
		if g.sdp {
			o.offerFrom(l, r)
		}
	}
	if o.wantCancel {
		o.allow(0, 0, "event progress")
		return
	}
	o.tell(Progress)
}

// reliableAgain takes a reliable response to a re-INVITE of ours.
func (o *oracle) reliableAgain(x *oracleRequest, g signal) {
	if x.rseq != 0 && g.rseq != x.rseq+1 {
		return
	}
	l := x.leg
	x.rseq = g.rseq
	l.heard = append(l.heard, &oracleReliable{rseq: g.rseq, seq: x.seq, sdp: g.sdp})
	o.owe(0, "PRACK "+l.fork)
	if g.sdp && l.in == x {
		l.offer, l.in, x.answered = "", nil, true
		l.agreed++
	}
}

// offerFrom takes SDP of a reliable response to our first INVITE: the answer, or
// the offer that we asked for. Anything after that means nothing (RFC 6337 3.1).
func (o *oracle) offerFrom(l *oracleLeg, r *oracleReliable) {
	switch {
	case l.offer == "ours" && l.in == o.invite:
		l.offer, l.in = "", nil
		l.agreed++
	case o.invite.asks && l.agreed == 0 && l.offer == "":
		l.offer, l.in = "theirs", o.invite
		if r != nil {
			r.offers = true
		}
	}
}

// answer takes a 2xx to our first INVITE, of any fork, however often (13.2.2.4).
func (o *oracle) answer(x *oracleRequest, g signal) {
	l := o.leg(g.fork)
	if l == nil {
		l = o.newLeg(g.fork)
	}
	if o.won != nil && (o.won.over || !o.now.Before(x.until)) {
		// The INVITE is done with 64*T1 after its first 2xx (13.2.2.4); ours is
		// when the session is, which is a choice.
		o.allow(0, 0, "ACK "+l.fork, "BYE "+l.fork)
		l.confirmed = true
		return
	}
	if l.confirmed {
		if l.acked {
			o.owe(0, "ACK "+l.fork)
		}
		return
	}
	l.confirmed = true
	if g.sdp {
		o.offerFrom(l, nil)
	} else if l.offer == "ours" && l.in == x {
		l.offer, l.in = "", nil // never answered
	}
	if o.won == nil {
		o.settleTimer(g, g.refresher != "uas")
		o.won, x.leg, x.until = l, l, o.now.Add(oracle64T1)
		for _, other := range o.legs {
			if other != l {
				other.heard = nil
				o.forgive("PRACK " + other.fork)
				if o.ask != nil && o.ask.leg == other {
					o.ask.rule = oracleRule{clause: "RFC 3261 13.2.2.4: an early dialog left behind", codes: []int{481, 487}}
					o.owe(0, o.ask.key("final"))
					o.ask = nil
				}
			}
		}
		if !o.gone {
			o.forgive("event failed")
			o.tell(Answered)
			return
		}
	}
	o.owe(0, "ACK "+l.fork)
	o.owe(0, "BYE "+l.fork)
}

// lateAnswer takes a 2xx to a first INVITE that was given up and went elsewhere:
// like that of a fork it is acknowledged and ended while its transaction lasts.
func (o *oracle) lateAnswer(x *oracleRequest, g signal) {
	l := o.leg(g.fork)
	if l == nil {
		l = &oracleLeg{fork: g.fork, of: x, confirmed: true, theirs: -1}
		o.legs = append(o.legs, l)
	}
	o.allow(0, 0, "ACK "+l.fork, "BYE "+l.fork)
}

// refused takes a failure of our first INVITE: it may go to the next address
// (RFC 3263 4.3), once more with what it lacked, or fail.
func (o *oracle) refused(code int) {
	switch {
	case o.wantCancel:
	case (o.silent || code == 503) && o.targets > 1 && len(o.legs) == 0:
		o.targets--
		o.retries = true
		o.owe(0, "INVITE again")
		return
	case !o.silent && (code == 422 || o.credentials && (code == 401 || code == 407)):
		o.retries = true
		o.owe(0, "INVITE again", "event failed")
		return
	}
	for _, l := range o.legs {
		o.over(l)
	}
	o.forgive("CANCEL")
	o.tell(Failed)
}

// finalInDialog takes the first final response to a request in a dialog.
func (o *oracle) finalInDialog(x *oracleRequest, g signal) {
	l := x.leg
	if l == nil { // CANCEL of the first INVITE
		return
	}
	if o.credentials && (g.code == 401 || g.code == 407) && o.challenged(x) {
		return
	}
	if g.code < 300 && (x.method == "INVITE" || x.method == "UPDATE") && l == o.won && !l.over {
		o.settleTimer(g, g.refresher != "uas")
	}
	if g.code == 422 && (x.method == "INVITE" || x.method == "UPDATE") {
		o.least = max(o.least, g.minSE)
	}
	offered := x.answered || l.in == x && l.offer == "ours"
	if l.in == x {
		l.offer, l.in = "", nil
		if g.code < 300 && g.sdp {
			l.agreed++
		}
	}
	if x.method == "INVITE" && g.code < 300 {
		x.until = o.now.Add(oracle64T1)
		o.owe(0, "ACK "+l.fork)
	}
	if x.method == "BYE" || l.over {
		return
	}
	switch {
	case g.code == 481 || g.code == 408: // RFC 5057 5.1
		if x.method != "PRACK" {
			l.over, l.lost = true, true
			if !o.callee && !l.acked {
				o.owe(0, "ACK "+l.fork)
			}
			o.allow(0, 0, "BYE "+l.fork)
			o.tell(Ended)
		}
	case x.method != "INVITE" && x.method != "UPDATE":
	case g.code < 300 && (g.sdp || x.answered) && offered:
		o.tell(OfferAnswered)
	case g.code == 491 && x.refresh:
		o.waits = o.now.Add(4 * time.Second)
	case x.refresh: // it is tried again
		o.allow(0, 0, "INVITE", "UPDATE")
		if g.retryAfter {
			o.waits = o.now.Add(10 * time.Second)
		}
	case g.code < 300 && offered: // no answer
		o.allow(0, 0, "BYE "+l.fork)
		o.tell(OfferAnswered, OfferRefused, Ended)
	case g.code < 300: // a refresh
	case g.code == 491 && offered:
		o.glare()
	case offered:
		if g.retryAfter {
			o.waits = o.now.Add(10 * time.Second)
		}
		o.allow(0, oracleEver, "INVITE", "UPDATE", "event offer_again")
		o.owe(10*time.Second, "event offer_refused", "event offer_again", "INVITE", "UPDATE", "event ended")
	}
}

// challenged takes a challenge of a request in a dialog, which may go again.
func (o *oracle) challenged(x *oracleRequest) bool {
	l := x.leg
	switch x.method {
	case "BYE":
		l.lost = true
		o.allow(0, 0, "BYE "+l.fork)
	case "PRACK":
		l.heard = append(l.heard, &oracleReliable{rseq: x.rack.rseq, seq: x.rack.seq})
		o.allow(0, 0, "PRACK "+l.fork)
	case "INFO":
		o.allow(0, 0, "INFO")
	default:
		return false
	}
	return true
}

// glare: 491 to our offer (14.1): the owner of the Call-ID waits 2.1 to 4 s, the
// other side up to 2 s.
func (o *oracle) glare() {
	if o.gone {
		return
	}
	from, to := 2100*time.Millisecond, 4*time.Second
	if o.callee {
		from, to = 0, 2*time.Second
	}
	o.waits = o.now.Add(to)
	o.forgive("event offer_again")
	o.allow(from, to, "event offer_again")
	o.owe(to, "event offer_again")
}
