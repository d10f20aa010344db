package sip

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// SessionTimer is how long a session may go without a refresh (RFC 4028).
type SessionTimer struct {
	Expires time.Duration // what we ask for; 0: nothing, but a peer's wish is followed
	Min     time.Duration // the shortest that a peer may ask for, 90 s at least (RFC 4028 5)
}

const (
	// minSessionExpires is the least that Min-SE may be (RFC 4028 5).
	minSessionExpires = 90 * time.Second
	// expiryMargin is how long before the end of the session whoever does not
	// refresh hangs up, or a third of the session when that is less (RFC 4028 10).
	expiryMargin = 32 * time.Second
	// refreshPause is the wait until a refresh is tried that something else in the
	// dialog was in the way of.
	refreshPause = time.Second
)

// refresh is the session timer of a dialog.
type refresh struct {
	u        *usage
	interval time.Duration // 0: the session has none
	ours     bool          // we refresh
	atLeast  time.Duration // Min-SE that a 422 taught us
	due      time.Time     // of our refresh
	expires  time.Time     // when we hang up
}

func (r *refresh) next() time.Time {
	if !r.due.IsZero() && r.due.Before(r.expires) {
		return r.due
	}
	return r.expires
}

func (r *refresh) stop() { r.due, r.expires = time.Time{}, time.Time{} }

// ask puts our wish into an INVITE or UPDATE (RFC 4028 7.1, 7.4).
func (r *refresh) ask(req *sip.Request) {
	interval, role := max(r.u.env.timer.Expires, r.atLeast), ""
	if r.interval > 0 {
		interval = max(r.interval, r.atLeast)
		role = ";refresher=uas"
		if r.ours {
			role = ";refresher=uac"
		}
	} else if r.u.env.timer.Expires == 0 {
		return
	}
	req.AppendHeader(sip.NewHeader("Session-Expires", secondsText(interval)+role))
	req.AppendHeader(sip.NewHeader("Min-SE", secondsText(max(r.u.env.timer.Min, r.atLeast, minSessionExpires))))
}

// raise takes the Min-SE of a 422; false when there is nothing to try again with.
func (r *refresh) raise(res *sip.Response) bool {
	n := deltaSeconds(headerValue(res, "Min-SE"))
	if n <= r.atLeast || n <= 0 {
		return false
	}
	r.atLeast = n
	return true
}

// accepted takes what the 2xx to our request settled (RFC 4028 7.2). A peer that
// does not answer the question has no session timer.
func (r *refresh) accepted(res *sip.Response) {
	interval, role := sessionExpires(res)
	if interval <= 0 {
		r.interval = 0
		r.stop()
		return
	}
	r.start(interval, role != "uas")
}

// start begins a period: from the 2xx to the first INVITE on, and not before
// (RFC 4028 9). Nobody can make it shorter than the RFC's least (5).
func (r *refresh) start(interval time.Duration, ours bool) {
	interval = max(interval, minSessionExpires)
	r.interval, r.ours = interval, ours
	if r.u.state == Early {
		return
	}
	now := r.u.now
	if ours {
		r.due, r.expires = now.Add(interval/2), now.Add(interval)
		return
	}
	r.due = time.Time{}
	r.expires = now.Add(interval - min(expiryMargin, interval/3))
}

// tooBrief is the refusal of a session that would be too short (RFC 4028 9).
func (r *refresh) tooBrief(req *sip.Request) *Failure {
	least := max(r.u.env.timer.Min, minSessionExpires)
	interval, _ := sessionExpires(req)
	if interval <= 0 || interval >= least || !hasToken(req, "Supported", "timer") {
		return nil
	}
	return &Failure{Code: 422, Local: true, Headers: []Header{{"Min-SE", secondsText(least)}}}
}

// answer decides about the timer in the 2xx to the peer's request (RFC 4028 9,
// table 2) and starts it.
func (r *refresh) answer(req *sip.Request, res *sip.Response) {
	interval, role := sessionExpires(req)
	able := hasToken(req, "Supported", "timer") || hasToken(req, "Require", "timer")
	wish := r.u.env.timer.Expires
	least := max(deltaSeconds(headerValue(req, "Min-SE")), minSessionExpires)
	switch {
	case interval <= 0 && (wish == 0 || !able):
		r.interval = 0
		r.stop()
		return
	case interval <= 0:
		interval = max(wish, least)
		role = "uas"
	case wish > 0 && wish < interval:
		interval = max(wish, least)
	}
	interval = max(interval, minSessionExpires)
	if !able {
		role = "uas"
	}
	if role == "" {
		role = "uac"
	}
	res.AppendHeader(sip.NewHeader("Session-Expires", secondsText(interval)+";refresher="+role))
	if role == "uac" {
		res.AppendHeader(sip.NewHeader("Require", "timer"))
	}
	r.start(interval, role == "uas")
}

// hurry makes our refresh due now.
func (r *refresh) hurry() {
	if !r.due.IsZero() {
		r.due = r.u.now
	}
}

func (u *usage) tickRefresh() {
	r := &u.refresh
	if u.state != Established && u.state != Accepted {
		return
	}
	if !r.expires.IsZero() && !u.now.Before(r.expires) {
		r.stop()
		u.lose(&Failure{Code: 408, Local: true, Warning: "the session was not refreshed in time"})
		return
	}
	if r.due.IsZero() || u.now.Before(r.due) {
		return
	}
	if !u.mayOffer() {
		r.due = u.now.Add(refreshPause)
		return
	}
	// Until something is answered: half of what is left, not less than the pause.
	r.due = u.now.Add(max(r.expires.Sub(u.now)/2, refreshPause))
	u.sendRefresh()
}

// sendRefresh sends the refresh: UPDATE where the peer takes it, else a re-INVITE
// with the description that we sent last.
func (u *usage) sendRefresh() {
	if u.peerAllow["UPDATE"] {
		u.sendOffer("UPDATE", nil, forRefresh)
		return
	}
	u.sendOffer(sip.INVITE, u.offer.local, forRefresh)
}

// sessionExpires is the Session-Expires of a message: interval and refresher;
// 0 when there is none.
func sessionExpires(msg sip.Message) (interval time.Duration, refresher string) {
	value := headerValue(msg, "Session-Expires")
	interval = deltaSeconds(value)
	for _, p := range strings.Split(value, ";")[1:] {
		name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	if refresher != "uac" && refresher != "uas" {
		refresher = ""
	}
	return interval, refresher
}

// maxSessionExpires bounds what a peer can set: a day.
const maxSessionExpires = 24 * time.Hour

// deltaSeconds reads a number of seconds that parameters may follow.
func deltaSeconds(value string) time.Duration {
	text, _, _ := strings.Cut(value, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxSessionExpires)
}

func secondsText(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }
