package sip

import (
	"slices"
	"time"
)

// Session timers, RFC 4028.

const (
	// oracleLeast is the shortest session (RFC 4028 4). Where a peer that does not
	// know session timers is given less by somebody between, we keep to this.
	oracleLeast = 90
	// oraclePause is how long our refresh may look for its turn once nothing is in
	// its way.
	oraclePause = time.Second
)

// oracleTimer is what the latest 2xx settled.
type oracleTimer struct {
	interval time.Duration // 0: the session has none
	ours     bool          // we refresh
	since    time.Time
	asked    bool      // a refresh of ours went out since
	free     time.Time // since when nothing is in its way
}

// half is when whoever refreshes does (RFC 4028 10).
func (t oracleTimer) half() time.Time { return t.since.Add(t.interval / 2) }

// end is when we hang up: at the end of the session, or, when the peer refreshes,
// 32 s or a third before (RFC 4028 10).
func (t oracleTimer) end() time.Time {
	if t.ours {
		return t.since.Add(t.interval)
	}
	return t.since.Add(t.interval - min(32*time.Second, t.interval/3))
}

// settleTimer takes the Session-Expires of a 2xx to INVITE or UPDATE.
func (o *oracle) settleTimer(g signal, oursToRefresh bool) {
	o.timer = oracleTimer{}
	if g.expires > 0 {
		o.timer = oracleTimer{interval: time.Duration(max(g.expires, oracleLeast)) * time.Second, ours: oursToRefresh, since: o.now}
	}
}

// judgeTimer is our 2xx to the peer's request (RFC 4028 9).
func (o *oracle) judgeTimer(x *oracleRequest, g signal) {
	for _, b := range []struct {
		clause string
		wrong  bool
	}{
		{"RFC 4028 9: no Session-Expires where one was asked for", x.expires > 0 && g.expires == 0},
		{"RFC 4028 9: Session-Expires grew", x.expires > 0 && g.expires > max(x.expires, oracleLeast)},
		{"RFC 4028 9: Session-Expires below Min-SE", g.expires > 0 && g.expires < max(x.minSE, oracleLeast) && (x.expires == 0 || g.expires < x.expires)},
		{"RFC 4028 9: no refresher", g.expires > 0 && g.refresher == ""},
		{"RFC 4028 9, table 2: the refresher was chosen", g.expires > 0 && x.timer && x.expires > 0 && x.refresher != "" && g.refresher != x.refresher},
		{"RFC 4028 9, table 2: a peer without timers refreshes", g.expires > 0 && !x.timer && g.refresher != "uas"},
		{"RFC 4028 9: refresher uac without Require", g.expires > 0 && g.refresher == "uac" && !g.needTimer},
	} {
		if b.wrong {
			o.complain("%s: %v after %v", b.clause, g, x.signal)
		}
	}
	o.settleTimer(g, g.refresher == "uas")
}

// judgeAsk is what our INVITE or UPDATE asks for (RFC 4028 7.1, 7.4).
func (o *oracle) judgeAsk(g signal) {
	if slices.ContainsFunc(o.requests, func(x *oracleRequest) bool {
		return x.mine && x.method == g.method && (x.final == 401 || x.final == 407)
	}) {
		return // once more as it was, with credentials
	}
	switch {
	case g.expires > 0 && g.expires < max(oracleLeast, o.least):
		o.complain("RFC 4028 7.1: Session-Expires too short: %v", g)
	case g.minSE > 0 && g.minSE < max(oracleLeast, o.least), g.minSE > g.expires:
		o.complain("RFC 4028 7.1: Min-SE: %v", g)
	case g.expires > 0 && o.timer.interval > 0 && (g.refresher == "uac") != o.timer.ours:
		o.complain("RFC 4028 7.4: a refresh keeps its refresher: %v", g)
	}
}

// brief: the session would be too short, and the peer can be told (RFC 4028 9).
func (x *oracleRequest) brief() bool {
	return (x.method == "INVITE" || x.method == "UPDATE") && x.timer && x.expires > 0 && x.expires < oracleLeast
}

// timerAt does what the end of a session's time means.
func (o *oracle) timerAt() {
	l := o.won
	if l == nil || l.over || o.timer.interval == 0 || o.now.Before(o.timer.end()) {
		return
	}
	o.timer = oracleTimer{}
	if o.byeOrdered {
		return
	}
	l.over, l.lost = true, true
	if !o.callee && !l.acked {
		o.owe(0, "ACK "+l.fork)
	}
	o.owe(0, "BYE "+l.fork)
	o.tell(Ended)
}

// refreshes says whether an INVITE or UPDATE that nobody ordered is a refresh.
func (o *oracle) refreshes(l *oracleLeg) bool {
	return l == o.won && o.timer.ours && o.timer.interval > 0 && !o.now.Before(o.timer.half())
}

// settleRefresh checks that our refresh goes when it can.
func (o *oracle) settleRefresh() {
	t := &o.timer
	if o.won == nil || o.won.over || t.interval == 0 || !t.ours || o.gone {
		return
	}
	switch {
	case o.blocked():
		t.free = time.Time{}
	case t.free.IsZero():
		t.free = o.now
	}
	if !t.asked && !t.free.IsZero() && o.now.After(t.free.Add(oraclePause)) && o.now.After(t.half().Add(oraclePause)) {
		o.complain("RFC 4028 10: no refresh %v after the last", o.now.Sub(t.since))
		t.asked = true
	}
}

// transportError is a request of ours that could not be sent, or whose connection
// was lost: 503 of our own (8.1.3.1), which nobody acknowledges.
func (o *oracle) transportError(x *oracleRequest) {
	if !x.open() {
		return
	}
	g := x.signal
	g.code, g.sdp = 503, false
	o.silent = true
	o.receivedResponse(g)
	o.silent = false
}

// connectionLost: what waits for an answer there will not get one, and a caller
// behind it is gone.
func (o *oracle) connectionLost() {
	for _, x := range slices.Clone(o.requests) {
		if x.mine {
			o.transportError(x)
		}
	}
	if !o.callee || !o.invite.open() {
		return
	}
	o.tell(Cancelled)
	o.over(o.invite.leg)
	o.forgive("final ")
	o.invite.final = 487
}
