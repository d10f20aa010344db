package sip

import "slices"

// oracleRule says what a request in a dialog is answered with.
type oracleRule struct {
	clause string
	when   func(*oracle, *oracleLeg, *oracleRequest) bool
	codes  []int // final responses; nil with asks: any but 1xx
	// later: 500 carries Retry-After, and where the rule does not say so no
	// response may.
	later bool
	asks  bool // the owner decides; or it is refused without asking
	// pracks: the reliable response is acknowledged, whatever the answer.
	pracks bool
}

func (r oracleRule) allows(x *oracleRequest, code int) bool {
	if code == 422 && x.brief() {
		return true
	}
	if r.asks {
		return code >= 200 && code < 300 || code >= 400
	}
	return slices.Contains(r.codes, code)
}

func isMethod(names ...string) func(*oracle, *oracleLeg, *oracleRequest) bool {
	return func(_ *oracle, _ *oracleLeg, x *oracleRequest) bool { return slices.Contains(names, x.method) }
}

func both(a, b func(*oracle, *oracleLeg, *oracleRequest) bool) func(*oracle, *oracleLeg, *oracleRequest) bool {
	return func(o *oracle, l *oracleLeg, x *oracleRequest) bool { return a(o, l, x) && b(o, l, x) }
}

// oracleRules judges a request of the peer in a dialog, by the first line that fits.
// ACK and CANCEL are not in it.
var oracleRules = []oracleRule{
	{clause: "RFC 3261 12.2.2: no such dialog", codes: []int{481},
		when: func(_ *oracle, l *oracleLeg, _ *oracleRequest) bool { return l == nil }},
	{clause: "RFC 3261 15.1.2: both hang up at once, each BYE is answered", codes: []int{200, 481, 500},
		when: both(isMethod("BYE"), func(_ *oracle, l *oracleLeg, _ *oracleRequest) bool { return l.over })},
	{clause: "RFC 3261 15.1.1: the session is over with its BYE", codes: []int{481, 500},
		when: func(_ *oracle, l *oracleLeg, _ *oracleRequest) bool { return l.over }},
	{clause: "RFC 3261 13.2.2.4: an early dialog that another fork's answer left behind", codes: []int{481, 200},
		when: func(o *oracle, l *oracleLeg, _ *oracleRequest) bool { return o.won != nil && l != o.won || l.of != nil }},
	{clause: "RFC 3261 12.2.2: a number lower than one received, or a second request of the same", codes: []int{500},
		when: func(_ *oracle, l *oracleLeg, x *oracleRequest) bool { return int64(x.seq) <= l.theirs }},

	{clause: "RFC 3261 15: a callee does not send BYE before it answers", codes: []int{200, 403, 481},
		when: both(isMethod("BYE"), func(o *oracle, l *oracleLeg, _ *oracleRequest) bool { return !o.callee && !l.confirmed })},
	{clause: "RFC 3261 15.1.2", codes: []int{200}, when: isMethod("BYE")},

	{clause: "RFC 3262 3: PRACK of nothing", codes: []int{481},
		when: both(isMethod("PRACK"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool { return o.pracked(l, x) == nil })},
	{clause: "RFC 3262 5: PRACK without the answer", codes: []int{200, 400, 488}, pracks: true,
		when: both(isMethod("PRACK"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool { return o.pracked(l, x).offers && !x.sdp })},
	{clause: "RFC 3264 4: PRACK with an offer while one is open", codes: []int{400, 488, 491, 500}, later: true, pracks: true,
		when: both(isMethod("PRACK"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool {
			return x.sdp && !o.pracked(l, x).offers && l.offer != ""
		})},
	{clause: "RFC 3262 5: PRACK with an offer of its own", asks: true, pracks: true,
		when: both(isMethod("PRACK"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool { return x.sdp && !o.pracked(l, x).offers })},
	{clause: "RFC 3262 3", codes: []int{200}, pracks: true, when: isMethod("PRACK")},

	{clause: "RFC 3261 14.2: a second INVITE before the first is answered", codes: []int{500}, later: true,
		when: both(isMethod("INVITE"), func(o *oracle, l *oracleLeg, _ *oracleRequest) bool {
			return o.some(l, false, func(x *oracleRequest) bool { return x.method == "INVITE" && x.open() }) != nil
		})},
	{clause: "RFC 3261 14.2: an INVITE of ours is in progress", codes: []int{491},
		when: both(isMethod("INVITE"), func(o *oracle, l *oracleLeg, _ *oracleRequest) bool { return o.inviteBusy(l, true) })},
	{clause: "RFC 3264 4: an offer of ours is open", codes: []int{491},
		when: both(isMethod("INVITE"), func(_ *oracle, l *oracleLeg, _ *oracleRequest) bool { return l.offer == "ours" })},
	{clause: "RFC 3261 13.2.2.4: the ACK with our answer has not gone yet", codes: []int{500}, later: true,
		when: both(isMethod("INVITE", "UPDATE"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool {
			return !o.callee && !l.acked && l.confirmed && o.invite.asks && (x.sdp || x.method == "INVITE")
		})},
	{clause: "RFC 6337 4.3: an offer of theirs is open", codes: []int{500}, later: true,
		when: both(isMethod("INVITE"), func(_ *oracle, l *oracleLeg, _ *oracleRequest) bool { return l.offer == "theirs" })},
	{clause: "RFC 4028 9: too short", codes: []int{422},
		when: both(isMethod("INVITE"), func(_ *oracle, _ *oracleLeg, x *oracleRequest) bool { return x.brief() })},
	{clause: "RFC 5407 3.1.4, RFC 3261 14.2: the owner decides", asks: true, when: isMethod("INVITE")},

	{clause: "RFC 3311 5.2: an UPDATE of theirs is not answered yet", codes: []int{500}, later: true,
		when: both(isMethod("UPDATE"), func(o *oracle, l *oracleLeg, _ *oracleRequest) bool { return o.updateOpen(l, false) })},
	{clause: "the owner has another early dialog's offer before it", codes: []int{491, 500}, later: true,
		when: both(isMethod("UPDATE"), func(o *oracle, l *oracleLeg, x *oracleRequest) bool {
			return x.sdp && o.ask != nil && o.ask.leg != l
		})},
	{clause: "RFC 3311 5.2: an offer of ours is open", codes: []int{491},
		when: both(isMethod("UPDATE"), func(_ *oracle, l *oracleLeg, x *oracleRequest) bool { return x.sdp && l.offer == "ours" })},
	{clause: "RFC 3311 5.2: an offer of theirs is open", codes: []int{500}, later: true,
		when: both(isMethod("UPDATE"), func(_ *oracle, l *oracleLeg, x *oracleRequest) bool { return x.sdp && l.offer == "theirs" })},
	{clause: "RFC 4028 9: too short", codes: []int{422},
		when: both(isMethod("UPDATE"), func(_ *oracle, _ *oracleLeg, x *oracleRequest) bool { return x.brief() })},
	{clause: "RFC 3311 5.1: an offer before the first exchange, which the peer may not make", asks: true, later: true,
		when: both(isMethod("UPDATE"), func(_ *oracle, l *oracleLeg, x *oracleRequest) bool { return x.sdp && l.agreed == 0 })},
	{clause: "RFC 3311 5.2: the owner decides", asks: true,
		when: both(isMethod("UPDATE"), func(_ *oracle, _ *oracleLeg, x *oracleRequest) bool { return x.sdp })},
	{clause: "RFC 3311 5.2: target or session timer", codes: []int{200}, when: isMethod("UPDATE")},

	{clause: "RFC 3261 21.4.13: a body that nobody reads", codes: []int{415},
		when: both(isMethod("INFO"), func(_ *oracle, _ *oracleLeg, x *oracleRequest) bool { return x.foreign || x.sdp })},
	{clause: "RFC 6086 4.2.2 and before it RFC 2976 2.2", codes: []int{200}, when: isMethod("INFO")},
	{clause: "RFC 3261 11.2", codes: []int{200}, when: isMethod("OPTIONS")},
	{clause: "RFC 3515 2.4.2: refused", codes: []int{403, 405, 501, 603}, when: isMethod("REFER")},
	{clause: "RFC 3261 8.2.1", codes: []int{405, 501}, when: func(*oracle, *oracleLeg, *oracleRequest) bool { return true }},
}

// pracked is the reliable response that a PRACK acknowledges (RFC 3262 7.2).
func (o *oracle) pracked(l *oracleLeg, x *oracleRequest) *oracleReliable {
	if !o.callee {
		return nil
	}
	for _, r := range l.unsaid {
		if x.rack == (oracleRAck{r.rseq, r.seq, "INVITE"}) {
			return r
		}
	}
	return nil
}

// oracleBan says when a request of ours in a dialog is not allowed.
type oracleBan struct {
	clause  string
	methods []string // nil: all but ACK and CANCEL
	when    func(*oracle, *oracleLeg, signal) bool
}

func (b oracleBan) concerns(method string) bool {
	return b.methods == nil || slices.Contains(b.methods, method)
}

var oracleBans = []oracleBan{
	{"RFC 3261 15.1.1: after BYE", nil,
		func(_ *oracle, l *oracleLeg, g signal) bool { return l.over && !(l.lost && g.method == "BYE") }},
	{"RFC 3261 12.2.1.1: numbers grow by one", nil,
		func(_ *oracle, l *oracleLeg, g signal) bool { return l.ours != 0 && g.seq != l.ours+1 }},
	{"RFC 3261 12.2.1.1: CSeq 0", nil,
		func(_ *oracle, _ *oracleLeg, g signal) bool { return g.seq == 0 || g.seq >= 1<<31 }},
	{"RFC 3261 12.2.1.1, RFC 3311 5.1: target refresh without Contact", []string{"INVITE", "UPDATE"},
		func(_ *oracle, _ *oracleLeg, g signal) bool { return !g.contact }},

	{"RFC 3261 15: callee, before the ACK came or was given up", []string{"BYE"},
		func(o *oracle, _ *oracleLeg, _ signal) bool { return o.callee && (o.invite.open() || !o.invite.acked) }},
	{"RFC 3261 13.2.2.4: caller, 2xx not acknowledged", []string{"BYE", "INVITE"},
		func(o *oracle, l *oracleLeg, _ signal) bool { return !o.callee && l.confirmed && !l.acked }},

	{"RFC 3261 14.1: in an early dialog", []string{"INVITE"},
		func(_ *oracle, l *oracleLeg, _ signal) bool { return !l.confirmed }},
	{"RFC 3261 14.1: another INVITE is in progress, ours", []string{"INVITE"},
		func(o *oracle, l *oracleLeg, _ signal) bool { return o.inviteBusy(l, true) }},
	{"RFC 3261 14.1: another INVITE is in progress, theirs", []string{"INVITE"},
		func(o *oracle, l *oracleLeg, _ signal) bool { return o.inviteBusy(l, false) }},
	{"RFC 3264 4: an offer is open", []string{"INVITE"},
		func(_ *oracle, l *oracleLeg, _ signal) bool { return l.offer != "" }},

	{"RFC 3311 5.1: the peer does not know UPDATE", []string{"UPDATE"},
		func(o *oracle, _ *oracleLeg, _ signal) bool { return !o.peerUpdate }},
	{"RFC 3311 5.1: an UPDATE of ours is not answered yet", []string{"UPDATE"},
		func(o *oracle, l *oracleLeg, _ signal) bool { return o.updateOpen(l, true) }},
	{"RFC 3264 4, RFC 3311 5.1: an offer is open", []string{"UPDATE"},
		func(_ *oracle, l *oracleLeg, g signal) bool { return g.sdp && l.offer != "" }},
	{"RFC 3311 5.1: an offer before the first exchange", []string{"UPDATE"},
		func(_ *oracle, l *oracleLeg, g signal) bool { return g.sdp && l.agreed == 0 }},

	{"RFC 3262 4: PRACK of nothing", []string{"PRACK"},
		func(_ *oracle, l *oracleLeg, g signal) bool {
			return !slices.ContainsFunc(l.heard, func(r *oracleReliable) bool { return g.rack == oracleRAck{r.rseq, r.seq, "INVITE"} })
		}},
	{"RFC 3262 5: PRACK without the answer", []string{"PRACK"},
		func(o *oracle, l *oracleLeg, g signal) bool {
			return !g.sdp && slices.ContainsFunc(l.heard, func(r *oracleReliable) bool { return r.offers && g.rack.rseq == r.rseq })
		}},
}

// oracleProvisionalBans says when a 101 to 199 response of ours to the first INVITE is
// not allowed, as it goes out for the first time.
var oracleProvisionalBans = []struct {
	clause string
	when   func(*oracle, *oracleLeg, signal) bool
}{
	{"RFC 3262 3: the peer does not know 100rel",
		func(o *oracle, _ *oracleLeg, g signal) bool { return g.rseq != 0 && !o.invite.rel && !o.invite.needRel }},
	{"RFC 3262 3: the peer requires 100rel",
		func(o *oracle, _ *oracleLeg, g signal) bool { return g.rseq == 0 && o.invite.needRel }},
	{"RFC 3262 3: numbers grow by one",
		func(_ *oracle, l *oracleLeg, g signal) bool { return g.rseq != 0 && l.rseq != 0 && g.rseq != l.rseq+1 }},
	{"RFC 3262 3: first number",
		func(_ *oracle, _ *oracleLeg, g signal) bool { return g.rseq >= 1<<31 }},
	{"RFC 3262 3: a second one before the first is acknowledged",
		func(_ *oracle, l *oracleLeg, g signal) bool { return g.rseq != 0 && l.rseq != 0 && !l.prack }},
	{"RFC 3261 13.2.1: an offer that may be lost",
		func(o *oracle, _ *oracleLeg, g signal) bool { return g.sdp && g.rseq == 0 && o.invite.asks }},
	{"RFC 6337 3.1.1: SDP after the answer",
		func(o *oracle, _ *oracleLeg, g signal) bool { return g.sdp && o.invite.answered }},
	{"RFC 6337 3.1.1: SDP after our offer",
		func(o *oracle, l *oracleLeg, g signal) bool { return g.sdp && l.offer == "ours" }},
	{"RFC 3261 12.1.1: no Contact",
		func(_ *oracle, _ *oracleLeg, g signal) bool { return !g.contact }},
}
