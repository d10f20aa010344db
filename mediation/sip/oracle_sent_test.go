package sip

// What messages change: ours. And what the owner orders.

// sent takes a message of ours.
func (o *oracle) sent(g signal) {
	switch {
	case g.code != 0:
		o.sentResponse(g)
	case g.method == "ACK":
		o.sentAck(g)
	case o.find(true, g.branch, g.method) != nil: // again (17.1)
	case g.method == "CANCEL":
		o.sentCancel(g)
	case g.fork == "" && (o.invite == nil || o.retries):
		o.sentFirst(g)
	default:
		o.sentRequest(g)
	}
}

func (o *oracle) sentResponse(g signal) {
	x := o.find(false, g.branch, g.method)
	if x == nil {
		o.complain("a response to nothing: %v", g)
		return
	}
	if g.seq != x.seq {
		o.complain("RFC 3261 8.2.6.2: CSeq %d of %v", x.seq, g)
	}
	switch {
	case x.echo && g.code == x.last:
		x.echo = false
	case !x.open():
		o.repeated(x, g)
	case g.code < 200:
		o.sentProvisional(x, g)
	default:
		o.sentFinal(x, g)
	}
}

// repeated takes a response after the final one: the same again, a 2xx to INVITE
// by the clock of 13.3.1.4.
func (o *oracle) repeated(x *oracleRequest, g signal) {
	switch {
	case g.code != x.final:
		o.complain("RFC 3261 17.2: %v after %d", g, x.final)
	case g.method != "INVITE" || g.code > 299: // the transaction's
	case x.lax && !x.acked:
	case x.again.IsZero():
		o.complain("RFC 3261 13.3.1.4: 2xx again after the ACK: %v", g)
	case !o.now.Equal(x.again) || !o.now.Before(x.until):
		o.complain("RFC 3261 13.3.1.4: 2xx again %v after the first, due after %v: %v", o.now.Sub(x.at), x.again.Sub(x.at), g)
	default:
		x.interval = min(2*x.interval, oracleT2)
		x.again = o.now.Add(x.interval)
	}
}

func (o *oracle) sentProvisional(x *oracleRequest, g signal) {
	x.last = g.code
	if g.code == 100 || x != o.invite {
		return
	}
	l := x.leg
	if g.rseq != 0 {
		for _, r := range l.unsaid {
			if r.rseq == g.rseq {
				o.repeatedReliable(r)
				return
			}
		}
	}
	for _, b := range oracleProvisionalBans {
		if b.when(o, l, g) {
			o.complain("%s: %v", b.clause, g)
		}
	}
	o.pay("provisional")
	if g.rseq == 0 {
		return
	}
	l.rseq = g.rseq
	r := &oracleReliable{rseq: g.rseq, seq: x.seq, sdp: g.sdp, offers: g.sdp && x.asks, at: o.now, interval: oracleT1,
		again: o.now.Add(oracleT1), until: o.now.Add(oracle64T1)}
	l.unsaid = append(l.unsaid, r)
	if g.sdp {
		o.settled(l, x)
	}
}

// repeatedReliable: at T1 and then doubling, until 64*T1 are over (RFC 3262 3);
// whether it stops to grow at T2, as in 13.3.1.4, that RFC does not say.
func (o *oracle) repeatedReliable(r *oracleReliable) {
	due := r.again
	if r.interval > oracleT2 {
		due = due.Add(oracleT2 - r.interval)
	}
	if o.now.Before(due) || o.now.After(r.again) {
		o.complain("RFC 3262 3: RSeq %d again after %v, due after %v", r.rseq, o.now.Sub(r.at), due.Sub(r.at))
	}
	r.interval *= 2
	r.again = o.now.Add(r.interval)
}

// settled: SDP went out in a reliable response: the answer, or the offer that was
// asked for.
func (o *oracle) settled(l *oracleLeg, x *oracleRequest) {
	if x.asks {
		l.offer, l.in, x.asks = "ours", x, false
		return
	}
	l.offer, l.in = "", nil
	l.agreed++
	x.answered = true
}

func (o *oracle) sentFinal(x *oracleRequest, g signal) {
	if !x.rule.allows(x, g.code) {
		o.complain("%s: %v", x.rule.clause, g)
	}
	if !x.rule.asks && g.code == 500 && g.retryAfter != x.rule.later {
		o.complain("%s: Retry-After %v in %v", x.rule.clause, g.retryAfter, g)
	}
	x.final, x.last = g.code, g.code
	o.pay(x.key("reply"))
	o.pay(x.key("final"))
	if o.ask == x {
		o.ask = nil
	}
	l := x.leg
	if l == nil {
		return
	}
	success := g.code < 300
	if success && g.method == "INVITE" {
		o.sentAnswer(l, x, g)
	}
	if success && (g.method == "INVITE" || g.method == "UPDATE") && l == o.won && !l.over {
		o.judgeTimer(x, g)
	}
	switch {
	case success && (g.method == "INVITE" || g.method == "UPDATE" || g.method == "PRACK"):
		o.offerInFinal(l, x, g)
	case l.in == x:
		l.offer, l.in = "", nil // as it was before (14.2)
	}
	if x == o.invite && !success {
		o.pay("provisional")
		o.over(l)
	}
}

// sentAnswer is a 2xx to INVITE, sent again until its ACK comes (13.3.1.4).
func (o *oracle) sentAnswer(l *oracleLeg, x *oracleRequest, g signal) {
	if x == o.invite {
		if o.held(l) {
			o.complain("RFC 3262 3: 2xx before the PRACK of a response with SDP")
		}
		// What is unacknowledged is not sent again, but its PRACK is served
		// (RFC 3262 3).
		o.won, l.confirmed, l.acked = l, true, true
		o.pay("provisional")
	}
	if !g.contact {
		o.complain("RFC 3261 12.1.1: no Contact in %v", g)
	}
	x.at, x.interval = o.now, oracleT1
	x.again, x.until = o.now.Add(oracleT1), o.now.Add(oracle64T1)
}

func (o *oracle) offerInFinal(l *oracleLeg, x *oracleRequest, g signal) {
	open := x.asks || (l.in == x && l.offer == "theirs")
	switch {
	case g.sdp && open:
		o.settled(l, x)
	case g.sdp:
		o.complain("RFC 6337 3.1: SDP where none belongs: %v", g)
	case open:
		o.complain("RFC 3264 5, RFC 3261 13.3.1.4: no SDP in %v", g)
	}
}

// sentFirst is our INVITE: we are the caller.
func (o *oracle) sentFirst(g signal) {
	x := &oracleRequest{signal: g, mine: true, at: o.now, asks: !g.sdp}
	o.requests = append(o.requests, x)
	o.judgeAsk(g)
	if o.retries {
		o.happened("INVITE again")
		if g.seq <= o.invite.seq {
			o.complain("RFC 3261 8.1.3.5: CSeq of %v", g)
		}
		o.retries, o.provisional, o.legs = false, false, nil
	}
	o.invite = x
	if !g.contact || g.seq == 0 || g.seq >= 1<<31 {
		o.complain("RFC 3261 8.1.1: %v", g)
	}
}

func (o *oracle) sentCancel(g signal) {
	invite := o.find(true, g.branch, "INVITE")
	switch {
	case invite == nil || g.seq != invite.seq:
		o.complain("RFC 3261 9.1: CANCEL of nothing: %v", g)
		return
	case !invite.open():
		o.complain("RFC 3261 9.1: CANCEL of an INVITE that is answered: %v", g)
	case invite.last == 0:
		o.complain("RFC 3261 9.1: CANCEL before a provisional response: %v", g)
	}
	x := &oracleRequest{signal: g, mine: true, at: o.now, leg: invite.leg}
	o.requests = append(o.requests, x)
	if invite == o.invite {
		o.pay("CANCEL")
		o.cancelled = true
		if !o.gone {
			o.owe(oracle64T1, "event failed", "event answered")
			o.allow(0, oracleEver, "event failed")
		}
	}
}

func (o *oracle) sentRequest(g signal) {
	l := o.leg(g.fork)
	if l == nil {
		o.complain("RFC 3261 12.2.1: a request in no dialog: %v", g)
		return
	}
	for _, b := range oracleBans {
		if b.concerns(g.method) && b.when(o, l, g) {
			o.complain("%s: %v", b.clause, g)
		}
	}
	l.ours = g.seq
	x := &oracleRequest{signal: g, mine: true, leg: l, at: o.now}
	o.requests = append(o.requests, x)
	switch g.method {
	case "BYE":
		o.happened("BYE " + l.fork)
		o.over(l)
		l.lost = false
	case "PRACK":
		o.happened("PRACK " + l.fork)
		o.sentPrack(l, x)
	case "INVITE", "UPDATE":
		o.judgeAsk(g)
		if !o.pay(g.method) {
			if x.refresh = o.refreshes(l); x.refresh {
				o.timer.asked = true
			} else {
				o.happened(g.method)
			}
		}
		x.asks = g.method == "INVITE" && !g.sdp
		if g.sdp {
			l.offer, l.in = "ours", x
		}
	default:
		o.happened(g.method)
	}
}

func (o *oracle) sentPrack(l *oracleLeg, x *oracleRequest) {
	for i, r := range l.heard {
		if r.rseq != x.rack.rseq || r.seq != x.rack.seq {
			continue
		}
		l.heard = append(l.heard[:i:i], l.heard[i+1:]...)
		switch {
		case r.offers && x.sdp:
			l.offer, l.in = "", nil
			l.agreed++
		case x.sdp && l.offer == "" && l.agreed > 0:
			l.offer, l.in = "ours", x
		case x.sdp:
			o.complain("RFC 3262 5: SDP where none belongs: %v", x.signal)
		}
		return
	}
}

// sentAck is the ACK of a 2xx; that of a failure belongs to its transaction.
func (o *oracle) sentAck(g signal) {
	for _, x := range o.requests {
		if x.mine && x.method == "INVITE" && x.branch == g.branch {
			if x.final < 300 {
				o.complain("RFC 3261 13.2.2.4: ACK of a 2xx with the INVITE's branch: %v", g)
			}
			return
		}
	}
	l := o.leg(g.fork)
	if l == nil || !l.confirmed {
		o.complain("RFC 3261 13.2.2.4: ACK of nothing: %v", g)
		return
	}
	for _, x := range o.requests {
		if !x.mine || x.method != "INVITE" || x.seq != g.seq || (x.leg != l && x != o.invite && l.of != x) {
			continue
		}
		o.happened("ACK " + l.fork)
		first := !x.acked
		if x == o.invite || l.of == x {
			first = !l.acked
			l.acked = true
		}
		x.acked = true
		switch {
		case !first:
		case l.offer == "theirs" && l.in == x && g.sdp:
			l.offer, l.in = "", nil
			l.agreed++
		case l.offer == "theirs" && l.in == x && l == o.won && !l.over:
			o.complain("RFC 3261 13.2.2.4: no answer in %v", g)
		case g.sdp && l == o.won:
			o.complain("RFC 6337 3.1: SDP where none belongs: %v", g)
		}
		return
	}
	o.complain("RFC 3261 13.2.2.4: ACK of nothing: %v", g)
}

// What the owner orders.

func (o *oracle) orderProvisional() {
	if o.accepted {
		return
	}
	if o.invite.open() && !o.invite.rel && !o.invite.needRel {
		o.owe(0, "provisional")
	}
	o.queued = o.queued || o.callee && len(o.invite.leg.unsaid) > 0
}

func (o *oracle) orderAccept() { o.accepted = true }

func (o *oracle) orderReject(code int) {
	if !o.invite.open() {
		return
	}
	o.finished()
	o.invite.rule = oracleRule{clause: "the owner's refusal", codes: []int{code}}
	o.owe(0, o.invite.key("final"))
}

func (o *oracle) orderAck() {
	if o.won != nil && !o.won.acked {
		o.owe(0, "ACK "+o.won.fork)
	}
}

func (o *oracle) orderCancel() {
	if o.won != nil || !o.invite.open() || o.wantCancel {
		return
	}
	o.wantCancel = true
	if o.provisional {
		o.owe(0, "CANCEL")
	}
}

func (o *oracle) orderBye() {
	l := o.won
	if l == nil || o.gone {
		return
	}
	o.finished()
	switch {
	case l.over:
	case o.callee && !o.invite.acked:
		o.byeOrdered = true
	default:
		o.owe(0, "BYE "+l.fork)
	}
}

// orderReoffer and the three after it are told of orders that our side took.
func (o *oracle) orderReoffer() { o.owe(0, "INVITE", "UPDATE") }

func (o *oracle) orderAnswer() {
	if o.ask != nil {
		o.owe(0, o.ask.key("final"))
	}
}

func (o *oracle) orderRefuse(code int) {
	if o.ask != nil {
		o.ask.rule = oracleRule{clause: "the owner's refusal", codes: []int{code}}
		o.owe(0, o.ask.key("final"))
	}
}

func (o *oracle) orderInfo() { o.allow(0, 0, "INFO") }
