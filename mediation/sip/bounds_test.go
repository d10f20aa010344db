package sip

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/transport"
)

// What one peer can have us keep in one call.

// flood has b receive n requests of a in their dialog, one by one, and after
// each does then.
func (l *line) flood(method sip.RequestMethod, sdp []byte, n int, then func(u *usage)) {
	for i := range n {
		req := l.a.u.request(l.a.u.d, method, 0)
		req.PrependHeader(l.a.u.env.via(l.network, transport.Flow{}))
		setSDP(req, sdp)
		flow := l.flow(l.a)
		l.b.do(func(u *usage) { u.receive(l.now, req, fmt.Sprint("flood", i), flow) })
		l.b.do(then)
		l.flights = l.flights[:0]
	}
}

// TestUsageKeepsFewRequests: over udp an answered request stays for 32 s (Timer
// J, RFC 3261 17.2.2); a dialog keeps no more than maxTransactions of them.
func TestUsageKeepsFewRequests(t *testing.T) {
	l := newLine(t, "udp")
	l.answered()
	l.flood("INFO", nil, 500, func(*usage) {})
	if n := count(l.b.sent, "SIP/2.0 200"); n != 501 {
		t.Errorf("%d answered, want every one", n-1)
	}
	if n := len(l.b.u.servers); n > maxTransactions || len(l.b.keys) != n {
		t.Errorf("%d kept, %d in the index, want at most %d", n, len(l.b.keys), maxTransactions)
	}
	l.a.do(func(u *usage) { u.bye("", nil) })
	l.over()
}

// TestUsageSendsFewRequests: digits for a peer that answers nothing wait, each
// for Timer F (RFC 3261 17.1.2.2), up to a bound.
func TestUsageSendsFewRequests(t *testing.T) {
	l := newLine(t, "udp")
	l.answered()
	l.lose = func(*agent, sip.Message) bool { return true }
	for range 500 {
		l.a.do(func(u *usage) { u.info(typeDTMF, []byte("1")) })
	}
	if n := count(l.a.sent, "INFO"); n == 0 || n > maxTransactions || len(l.a.u.clients) > maxTransactions {
		t.Errorf("%d INFO, %d kept, want at most %d", n, len(l.a.u.clients), maxTransactions)
	}
	l.run(time.Minute)
	l.a.want(Ended)
}

// TestUsageSendsFewPracks: nor does a callee with reliable responses without
// end, whose PRACKs it does not answer (RFC 3262 4).
func TestUsageSendsFewPracks(t *testing.T) {
	l := newLine(t, "udp")
	l.call("offer", "Supported: 100rel")
	l.lose = func(*agent, sip.Message) bool { return true }
	for i := range 200 {
		res := sip.NewResponseFromRequest(l.a.u.calling.tx.req, 180, "Ringing", nil)
		res.To().Params.Remove("tag")
		res.To().Params.Add("tag", "endless")
		for _, h := range [][2]string{{"Contact", "<sip:127.0.0.2>"}, {"Require", "100rel"}, {"RSeq", fmt.Sprint(i + 1)}} {
			res.AppendHeader(sip.NewHeader(h[0], h[1]))
		}
		l.a.arrive(res.String())
	}
	if n := count(l.a.sent, "PRACK"); n == 0 || n > maxTransactions || len(l.a.u.clients) > maxTransactions {
		t.Errorf("%d PRACK, %d kept, want at most %d", n, len(l.a.u.clients), maxTransactions)
	}
	if n := l.a.u.env.drops.Count(DropReliableOrder); n < 200-maxTransactions {
		t.Errorf("%d dropped by name", n)
	}
}

// TestUsageRepeatsFew200s: re-INVITEs that are answered and never acknowledged
// (RFC 3261 13.3.1.4, 14.2).
func TestUsageRepeatsFew200s(t *testing.T) {
	l := newLine(t, "udp")
	l.answered()
	l.flood(sip.INVITE, []byte("offer"), 30, func(u *usage) { _ = u.answerOffer([]byte("answer")) })
	if n := len(l.b.u.answering.waiting); n != maxUnacked {
		t.Errorf("%d 2xx wait for their ACK, want %d", n, maxUnacked)
	}
	if n := count(l.b.sent, "SIP/2.0 500"); n != 30-maxUnacked {
		t.Errorf("%d refused, want %d", n, 30-maxUnacked)
	}
	l.run(time.Minute)
}

// TestOthersConnectionsStepNobody: a connection that no session had to do with
// ends, and no session's lock is taken for that.
func TestOthersConnectionsStepNobody(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1", everyone)
	conn := dialFrom(t, "tcp", "127.0.0.3", p.addr)
	writeLines(t, conn, numbered("INVITE", 1)...)
	s := <-p.invites
	s.mu.Lock()
	told := make(chan struct{})
	go func() {
		p.lost(transport.Flow{Network: "tcp", Remote: netip.MustParseAddrPort("127.0.0.4:9"), ID: 1 << 40}, nil)
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(2 * time.Second):
		t.Error("a connection of somebody else waits for a session's lock")
	}
	s.mu.Unlock()
	<-told
	p.quiet(t)
	s.Reject(&Failure{Code: 486})
}
