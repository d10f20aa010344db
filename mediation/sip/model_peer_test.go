package sip

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transaction"
)

// The peer of the model.

const modelSDP = "v=0\r\n"

// first is the INVITE of either role.
func (run *modelRun) first(from, to string) *sip.Request {
	req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "b", Host: to, Port: 5060})
	fromHeader := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "a", Host: from}, Params: sip.NewParams()}
	callID := sip.CallIDHeader("c1")
	mf := sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{&mf, fromHeader, &sip.ToHeader{Address: req.Recipient}, &callID, &sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE}} {
		req.AppendHeader(h)
	}
	return req
}

// beCalled: the peer calls us.
func (run *modelRun) beCalled() {
	req := run.first("127.0.0.2", "127.0.0.1")
	req.From().Params.Add("tag", run.peer)
	req.CSeq().SeqNo = oneOf(run, "first CSeq", uint32(1), 0, 4711)
	req.AppendHeader(run.peerContact())
	run.sessionExpires(req, false)
	switch oneOf(run, "100rel", "", "Supported", "Require") {
	case "Supported":
		req.AppendHeader(sip.NewHeader("Supported", "100rel"))
	case "Require":
		req.AppendHeader(sip.NewHeader("Require", "100rel"))
	}
	if run.choose(2, "UPDATE") == 1 {
		req.AppendHeader(sip.NewHeader("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, PRACK"))
	}
	if run.choose(3, "late offer") < 2 {
		setSDP(req, []byte(modelSDP))
	} else {
		req.SetBody(nil)
	}
	req.PrependHeader(run.via(run.flow.Network, "127.0.0.2", "p"))
	run.seq[run.peer] = req.CSeq().SeqNo
	run.requests = append(run.requests, req)
	run.in(req)
}

// call: we call the peer.
func (run *modelRun) call() {
	req := run.first("127.0.0.1", "127.0.0.2")
	req.From().Params.Add("tag", "we")
	req.AppendHeader(sip.NewHeader("Allow", allowValue))
	req.AppendHeader(sip.NewHeader("Supported", "timer"))
	var sdp []byte
	if run.choose(3, "late offer") < 2 {
		sdp = []byte(modelSDP)
	}
	setSDP(req, sdp)
	run.u.d = newClientDialog(req)
	run.step(func(u *usage) { u.call(run.now, req, sdp) })
}

// sessionExpires asks for a session timer, or not, or for one that is too short.
func (run *modelRun) sessionExpires(req *sip.Request, brief bool) {
	add := func(name, value string) { req.AppendHeader(sip.NewHeader(name, value)) }
	n := 7
	if brief {
		n = 9
	}
	switch run.choose(n, "session timer") {
	case 2:
		add("Supported", "timer")
	case 3:
		add("Supported", "timer")
		add("Session-Expires", "600")
	case 4:
		add("Supported", "timer")
		add("Session-Expires", "120;refresher=uac")
		add("Min-SE", "110")
	case 5:
		add("Supported", "timer")
		add("Session-Expires", "90;refresher=uas")
	case 6:
		add("Session-Expires", "600") // by a proxy
	case 7:
		add("Supported", "timer")
		add("Session-Expires", "60")
	case 8:
		add("Session-Expires", "60")
	}
}

func (run *modelRun) peerContact() *sip.ContactHeader {
	return &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "p", Host: "127.0.0.2", Port: 5060}}
}

// act is one step of the walk.
func (run *modelRun) act() {
	run.t.Helper()
	switch run.choose(21, "who") / 2 {
	case 0, 1, 2:
		run.order()
	case 3, 4:
		run.respond()
	case 5, 6, 7:
		run.request()
	case 10:
		run.lose()
	default:
		run.pass(oneOf(run, "wait", 10*time.Millisecond, 490*time.Millisecond, time.Second, 4*time.Second, 20*time.Second, 32*time.Second, 50*time.Second, 70*time.Second, 310*time.Second))
	}
}

// request is the peer's: a new one, one once more, ACK or CANCEL.
func (run *modelRun) request() {
	run.t.Helper()
	what := oneOf(run, "request", "ACK", "PRACK", "INVITE", "UPDATE", "BYE", "CANCEL", "again", "INFO", "OPTIONS", "INVITE", "UPDATE")
	switch what {
	case "again":
		run.again()
	case "ACK":
		run.ack()
	case "CANCEL":
		run.cancel()
	default:
		run.newRequest(sip.RequestMethod(what))
	}
}

// again sends a request once more, as long as its transaction has to know it: on
// a stream nothing is, and T1*64 are the longest (17.2).
func (run *modelRun) again() {
	run.t.Helper()
	n := len(run.requests)
	if n == 0 {
		return
	}
	req := run.requests[n-1-run.choose(n, "which")]
	g := signalOf(req, false)
	key, _ := transaction.ServerKey(req)
	x := run.o.find(false, g.branch, g.method)
	if run.servers[key] || run.flow.Network == "udp" && x != nil && (x.method != "INVITE" || x.final < 300) && run.now.Before(x.at.Add(oracle64T1)) {
		run.in(req)
	}
}

// tags are the peer's dialogs.
func (run *modelRun) tags() []string {
	var tags []string
	for _, l := range run.o.legs {
		tags = append(tags, l.fork)
	}
	return tags
}

// inDialog is a request of the peer's in one of its dialogs, nil when it has
// none.
func (run *modelRun) inDialog(method sip.RequestMethod, tag string, seq uint32) *sip.Request {
	req := sip.NewRequest(method, sip.Uri{Scheme: "sip", Host: "127.0.0.1", Port: 5060})
	req.AppendHeader(run.via(run.flow.Network, "127.0.0.2", "p"))
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "p", Host: "127.0.0.2"}, Params: sip.NewParams()}
	from.Params.Add("tag", tag)
	to := &sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: "u", Host: "127.0.0.1"}, Params: sip.NewParams()}
	to.Params.Add("tag", "we")
	callID := sip.CallIDHeader("c1")
	mf := sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{&mf, from, to, &callID, &sip.CSeqHeader{SeqNo: seq, MethodName: method}, run.peerContact()} {
		req.AppendHeader(h)
	}
	return req
}

func (run *modelRun) newRequest(method sip.RequestMethod) {
	run.t.Helper()
	tags := run.tags()
	if len(tags) == 0 {
		return
	}
	tag := oneOf(run, "dialog", tags...)
	last, known := run.seq[tag]
	if !known {
		last = 100
	}
	seq := last + 1
	switch run.choose(12, "number") {
	case 9:
		seq = last + 7
	case 10:
		seq = last
	case 11:
		seq = last - min(last, 1)
	}
	req := run.inDialog(method, tag, seq)
	if run.choose(15, "stranger") == 14 {
		req.From().Params.Add("tag", "stranger")
	} else {
		run.seq[tag] = max(last, seq)
	}
	body := run.choose(2, "body") == 0
	switch method {
	case sip.INVITE, "UPDATE":
		run.sessionExpires(req, true)
		if body {
			setSDP(req, []byte(modelSDP))
		}
	case "PRACK":
		run.fillPrack(req)
	case "INFO":
		kind := oneOf(run, "type", "application/dtmf-relay", "text/plain", "")
		if kind != "" {
			h := sip.ContentTypeHeader(kind)
			req.AppendHeader(&h)
			req.SetBody([]byte("Signal=5\r\n"))
		}
	}
	if req.ContentLength() == nil {
		req.SetBody(nil)
	}
	run.requests = append(run.requests, req)
	run.in(req)
}

// fillPrack acknowledges the latest reliable response, or something else.
func (run *modelRun) fillPrack(req *sip.Request) {
	var rseq, seq uint32 = 1, 1
	for _, res := range run.responses {
		if g := signalOf(res, true); g.rseq != 0 {
			rseq, seq = g.rseq, g.seq
		}
	}
	if run.choose(8, "wrong RSeq") == 7 {
		rseq++
	}
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%d %d INVITE", rseq, seq)))
	late := run.o.invite != nil && run.o.callee && run.o.won == nil && len(run.o.legs) > 0 && run.o.legs[0].offer == "ours"
	if late != (run.choose(8, "SDP in PRACK") == 7) {
		setSDP(req, []byte(modelSDP))
	}
}

// ack acknowledges the latest 2xx, or none.
func (run *modelRun) ack() {
	run.t.Helper()
	for _, res := range slices.Backward(run.responses) {
		if res.CSeq().MethodName != sip.INVITE || res.StatusCode < 200 || res.StatusCode > 299 {
			continue
		}
		req := run.inDialog(sip.ACK, tagOf(res.From().Params), res.CSeq().SeqNo)
		if run.choose(10, "stale") == 9 {
			req.CSeq().SeqNo++
		}
		late := len(res.Body()) > 0 && slices.ContainsFunc(run.requests, func(r *sip.Request) bool {
			return r.Method == sip.INVITE && r.CSeq().SeqNo == res.CSeq().SeqNo && len(r.Body()) == 0
		})
		if late != (run.choose(8, "SDP in ACK") == 7) {
			setSDP(req, []byte(modelSDP))
		} else {
			req.SetBody(nil)
		}
		run.in(req)
		return
	}
	// The ACK of a failure belongs to its transaction.
	for _, res := range slices.Backward(run.responses) {
		if res.CSeq().MethodName != sip.INVITE || res.StatusCode < 300 {
			continue
		}
		for _, r := range run.requests {
			if r.Method == sip.INVITE && r.CSeq().SeqNo == res.CSeq().SeqNo {
				req := run.inDialog(sip.ACK, tagOf(res.From().Params), res.CSeq().SeqNo)
				req.RemoveHeader("Via")
				req.PrependHeader(r.Via().Clone())
				req.SetBody(nil)
				run.in(req)
				return
			}
		}
	}
}

// cancel takes the latest INVITE back, or one that never was.
func (run *modelRun) cancel() {
	run.t.Helper()
	for _, r := range slices.Backward(run.requests) {
		if r.Method != sip.INVITE {
			continue
		}
		req := cancelOf(r)
		if run.choose(8, "another branch") == 7 {
			req.RemoveHeader("Via")
			req.PrependHeader(run.via(run.flow.Network, "127.0.0.2", "p"))
		}
		g := signalOf(req, false)
		if key, _ := transaction.ServerKey(req); run.o.find(false, g.branch, g.method) != nil && !run.servers[key] {
			return // once more, and nothing knows it any more
		}
		run.requests = append(run.requests, req)
		run.in(req)
		return
	}
}

// respond answers one of our requests, maybe for the second time.
func (run *modelRun) respond() {
	run.t.Helper()
	n := len(run.asked)
	if n == 0 {
		return
	}
	req := run.asked[n-1-run.choose(min(n, 4), "which")]
	code := oneOf(run, "code", 200, 180, 491, 481, 488, 100, 183, 500, 408, 486, 487, 404, 422, 401, 407, 503, 405)
	res := sip.NewResponse(code, "Model")
	sip.CopyHeaders("Via", req, res)
	for _, h := range []sip.Header{req.From(), req.To(), req.CallID(), req.CSeq()} {
		res.AppendHeader(sip.HeaderClone(h))
	}
	body := req.Method == "UPDATE" && len(req.Body()) > 0 && code == 200
	if req.Method == sip.INVITE {
		body = run.fillInviteResponse(req, res)
	}
	if run.choose(12, "SDP or not") == 11 {
		body = !body
	}
	run.fillFailure(req, res)
	if body && code > 100 && code < 300 {
		setSDP(res, []byte(modelSDP))
	} else {
		res.SetBody(nil)
	}
	if code > 100 && code < 300 {
		res.AppendHeader(run.peerContact())
		res.AppendHeader(sip.NewHeader("Allow", oneOf(run, "Allow", "INVITE, ACK, CANCEL, BYE", "INVITE, ACK, CANCEL, BYE, UPDATE")))
	}
	run.in(res)
}

// fillFailure adds what a code calls for, and what a 2xx says of session timers.
func (run *modelRun) fillFailure(req *sip.Request, res *sip.Response) {
	add := func(name, value string) { res.AppendHeader(sip.NewHeader(name, value)) }
	switch code := res.StatusCode; {
	case code == 422:
		add("Min-SE", oneOf(run, "Min-SE", "200", "100", "4000"))
	case code == 401:
		add("WWW-Authenticate", `Digest realm="r", nonce="`+oneOf(run, "nonce", "n", "m")+`"`)
	case code == 407:
		add("Proxy-Authenticate", `Digest realm="r", nonce="n", stale=true`)
	case code == 500 && run.choose(2, "Retry-After") == 1:
		add("Retry-After", "5")
	case code == 200 && headerValue(req, "Session-Expires") != "":
		asked, _ := sessionExpires(req)
		switch run.choose(4, "Session-Expires") {
		case 1:
			add("Session-Expires", secondsText(asked)+";refresher=uac")
		case 2:
			add("Session-Expires", secondsText(asked)+";refresher=uas")
		case 3:
			add("Session-Expires", "90;refresher=uac")
		}
	}
}

// lose ends the connection; what follows comes on another.
func (run *modelRun) lose() {
	run.t.Helper()
	if run.flow.Network == "udp" || run.o.invite == nil {
		return
	}
	run.note("lost")
	lost := run.flow
	run.flow.ID++
	run.o.connectionLost()
	run.step(func(u *usage) { u.lost(run.now, lost) })
	run.gone = run.gone || run.o.gone
}

// fillInviteResponse chooses the fork and whether it is reliable; it says whether
// SDP is in its place.
func (run *modelRun) fillInviteResponse(req *sip.Request, res *sip.Response) (body bool) {
	code := res.StatusCode
	tag := tagOf(req.To().Params)
	if tag == "" && code > 100 {
		tag = oneOf(run, "fork", "a", "b", "c")
		if n := req.CSeq().SeqNo; n > 1 {
			tag += fmt.Sprint(n) // another INVITE, other dialogs
		}
		res.To().Params.Add("tag", tag)
	}
	if code <= 100 || code >= 200 || len(req.Body()) == 0 {
		return code < 300 && code >= 200
	}
	of := fmt.Sprint(tag, req.CSeq().SeqNo)
	switch run.choose(4, "reliable") {
	case 0, 1:
		return false
	case 2:
		run.rseq[of]++
	case 3:
		run.rseq[of] += uint32(run.choose(3, "RSeq step"))
	}
	res.AppendHeader(sip.NewHeader("Require", "100rel"))
	res.AppendHeader(sip.NewHeader("RSeq", strconv.Itoa(int(run.rseq[of]))))
	return run.choose(2, "early answer") == 1
}
