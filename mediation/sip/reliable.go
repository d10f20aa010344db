package sip

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// prackTimeout is how long a reliable provisional response waits for its PRACK:
// 64*T1 (RFC 3262 3).
const prackTimeout = 64 * transaction.T1

// maxReliable bounds the reliable provisional responses that wait for the PRACK
// of the one before; when it is full those without a session description go.
const maxReliable = 8

// reliable is what the server role has of RFC 3262.
type reliable struct {
	required, supported bool // by the caller
	rseq                uint32
	out                 *provisionalOut // sent, PRACK outstanding; nil when none is
	queue               []provisionalOut
}

// provisionalOut is a reliable provisional response of ours.
type provisionalOut struct {
	code     int
	phrase   string
	sdp      []byte
	extra    []Header
	rseq     uint32
	res      *sip.Response
	interval time.Duration
	again    time.Time
	until    time.Time
}

// asked reads from the INVITE what the caller does.
func (r *reliable) asked(req *sip.Request, offer bool) {
	r.required = hasToken(req, "Require", "100rel")
	r.supported = r.required || offer && hasToken(req, "Supported", "100rel")
}

// use says whether a provisional response goes reliably: when the caller
// requires it, and with a session description when it can.
func (r *reliable) use(sdp bool) bool { return r.required || r.supported && sdp }

// holds says whether the 2xx has to wait: it must not overtake a session
// description that nobody acknowledged (RFC 3262 3).
func (r *reliable) holds() bool {
	if r.out != nil && r.out.sdp != nil {
		return true
	}
	for i := range r.queue {
		if r.queue[i].sdp != nil {
			return true
		}
	}
	return false
}

func (r *reliable) next() time.Time {
	if r.out == nil || r.out.again.IsZero() {
		return time.Time{}
	}
	if r.out.until.Before(r.out.again) {
		return r.out.until
	}
	return r.out.again
}

func (r *reliable) stop() { r.out, r.queue = nil, nil }

// rest ends the repetition with the final response; the PRACK of what is out is
// served all the same (RFC 3262 3).
func (r *reliable) rest() {
	r.queue = nil
	if r.out != nil {
		r.out.again = time.Time{}
	}
}

// sendReliably sends a provisional response reliably, after those before it
// have been acknowledged.
func (u *usage) sendReliably(code int, phrase string, sdp []byte, extra []Header) {
	if u.answering.sentSDP {
		sdp = nil // the answer, or our offer, is out already
	}
	p := provisionalOut{code: code, phrase: phrase, sdp: sdp, extra: extra}
	if sdp != nil {
		u.answering.sentSDP = true
		u.offer.local = sdp
	}
	r := &u.reliable
	if r.out == nil {
		u.sendProvisional(p)
		return
	}
	if len(r.queue) >= maxReliable {
		if sdp == nil {
			return // one ringing more or less
		}
		r.queue = r.queue[1:] // this is the only one with a session description
	}
	r.queue = append(r.queue, p)
}

func (u *usage) sendProvisional(p provisionalOut) {
	r := &u.reliable
	if r.rseq == 0 {
		r.rseq = 1 + uint32(u.env.random(1<<31-2)) // RFC 3262 3: at random, below 2^31
	} else {
		r.rseq++
	}
	p.rseq = r.rseq
	p.res = u.inviteResponseOf(u.first().req, p.code, p.phrase, p.sdp, p.extra)
	p.res.AppendHeader(sip.NewHeader("Require", "100rel"))
	p.res.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(uint64(p.rseq), 10)))
	p.interval = transaction.T1
	p.again, p.until = u.now.Add(p.interval), u.now.Add(prackTimeout)
	r.out = &p
	u.reply(u.first(), p.res)
}

func (u *usage) tickReliable() {
	p := u.reliable.out
	if p == nil || p.again.IsZero() {
		return
	}
	if !u.now.Before(p.until) {
		// RFC 3262 3: the INVITE is refused with a 5xx.
		u.env.drops.Add(DropNoPrack)
		f := &Failure{Code: 504, Local: true, Warning: "no PRACK for a reliable provisional response"}
		u.reject(f)
		u.tell(Event{Kind: Cancelled, Reason: reasonSIP(504, "no PRACK")})
		return
	}
	if u.now.Before(p.again) {
		return
	}
	p.interval *= 2
	p.again = p.again.Add(p.interval)
	u.reply(u.first(), p.res)
}

// receivePrack serves a PRACK (RFC 3262 3).
func (u *usage) receivePrack(s *server) {
	p := u.reliable.out
	if p == nil || strings.Join(strings.Fields(headerValue(s.req, "RAck")), " ") != rackValue(p.rseq, u.first().req.CSeq()) {
		u.refuse(s, &Failure{Code: 481, Local: true})
		return
	}
	u.reliable.out = nil
	sdp := sdpOf(s.req)
	switch {
	case sdp != nil && p.sdp != nil && u.answering.lateSDP:
		u.reply(s, u.ok(s.req))
		u.tell(Event{Kind: OfferAnswered, SDP: sdp, message: s.req})
	case sdp != nil && (u.awaitsAnswer() || u.state == Early && (!u.answering.sentSDP || u.reliable.holds())):
		u.refuse(s, &Failure{Code: 488, Local: true, Warning: "an offer is under way"}) // RFC 3264 4
	case sdp != nil && u.offer.from != nil:
		u.refuse(s, u.tooEarly())
	case sdp != nil:
		u.offered(s, sdp) // a further offer (RFC 3262 5)
	default:
		u.reply(s, u.ok(s.req))
	}
	u.proceed()
}

// proceed sends what waited for a PRACK.
func (u *usage) proceed() {
	r := &u.reliable
	if u.offer.from != nil {
		return
	}
	if held := u.answering.accepted; held != nil && !r.holds() {
		_ = u.acceptNow(held.sdp, held.extra)
		return
	}
	if u.state == Early && r.out != nil {
		return
	}
	if len(r.queue) > 0 {
		p := r.queue[0]
		r.queue = r.queue[1:]
		u.sendProvisional(p)
		return
	}
	u.ready()
}

func rackValue(rseq uint32, cseq *sip.CSeqHeader) string {
	return fmt.Sprintf("%d %d %s", rseq, cseq.SeqNo, cseq.MethodName)
}

// acknowledged says whether a provisional response of fork f is to be served,
// and acknowledges a reliable one. A reliable response counts when it is the
// first of its fork or the next in its order (RFC 3262 4).
func (u *usage) acknowledged(f *fork, res *sip.Response, flow transport.Flow) bool {
	if !hasToken(res, "Require", "100rel") {
		return true
	}
	n, err := strconv.ParseUint(strings.TrimSpace(headerValue(res, "RSeq")), 10, 32)
	if err != nil || n == 0 {
		return true // not reliable after all: there is nothing to acknowledge
	}
	rseq := uint32(n)
	if len(u.clients) >= maxTransactions {
		u.env.drops.Add(DropReliableOrder)
		return false
	}
	if f.rseq != 0 && rseq != f.rseq+1 {
		u.env.drops.Add(DropReliableOrder)
		return false
	}
	f.rseq = rseq
	f.answered = f.answered || sdpOf(res) != nil
	if u.state == Early {
		f.d.establish(res)
	} else { // to a re-INVITE: the route set stays (RFC 3261 12.2)
		f.d.refresh(res.Contact())
	}
	req := u.request(f.d, "PRACK", 0)
	req.AppendHeader(sip.NewHeader("RAck", rackValue(rseq, res.CSeq())))
	u.send(f.d, req, forPrack, way{flow: flow, hop: *f.d.nextHop()}, 0)
	return true
}

func hasToken(msg sip.Message, header, token string) bool {
	for _, t := range tokens(msg, header) {
		if strings.EqualFold(t, token) {
			return true
		}
	}
	return false
}
