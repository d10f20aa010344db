package sip

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What belongs to no call, or to none any more.

// TestMergedAfterARefusal: the first copy of a forked request counts as ongoing
// while its transaction lives, refused or not (RFC 3261 8.2.2.2).
func TestMergedAfterARefusal(t *testing.T) {
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	exchange(t, conn, rawInvite("m1", "1")...)
	s := <-p.invites
	s.Reject(&Failure{Code: 486, Local: true})
	if res := readSome(t, conn); !strings.HasPrefix(res, "SIP/2.0 486") {
		t.Fatalf("%.40q", res)
	}
	if res := exchange(t, conn, rawInvite("m2", "1")...); !strings.HasPrefix(res, "SIP/2.0 482") {
		t.Errorf("the copy by another path: %.40q", res)
	}
	if len(p.invites) > 0 {
		t.Error("it began a call of its own")
	}
}

// TestCopyOfARefusedInvite: a UAS that keeps nothing answers each copy alike
// (RFC 3261 8.2.7): when there is room again, the caller is done already.
func TestCopyOfARefusedInvite(t *testing.T) {
	var full atomic.Bool
	var attempts atomic.Int32
	full.Store(true)
	p := openPeer(t, Config{
		Listen:  []Listener{listenerOn(t, "udp", "127.0.0.1")},
		Refused: func(Attempt, *Failure) { attempts.Add(1) },
		Admit: func() *Failure {
			if full.Load() {
				return &Failure{Code: 503, Local: true}
			}
			return nil
		},
	})
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	res := exchange(t, conn, rawInvite("m1", "1")...)
	ack := rawInvite("m1", "1")
	ack[0], ack[3], ack[5] = strings.Replace(ack[0], "INVITE", "ACK", 1), headerLine(res, "To"), "CSeq: 1 ACK"
	writeLines(t, conn, ack...)
	full.Store(false)
	again := exchange(t, conn, rawInvite("m1", "1")...)
	if !strings.HasPrefix(res, "SIP/2.0 503") || again != res {
		t.Errorf("first %.40q, then %.40q, want the same", res, again)
	}
	if len(p.invites) > 0 || attempts.Load() != 1 {
		t.Errorf("%d calls, %d refused attempts, want one attempt", len(p.invites), attempts.Load())
	}
}

// TestRefusalsAreForgotten: after 64*T1 no copy comes any more (RFC 3261
// 17.1.1.2), and the branch may be a new call's.
func TestRefusalsAreForgotten(t *testing.T) {
	var r recent
	start, f := time.Unix(1_000_000, 0), &Failure{Code: 503}
	if r.note("k", f, start) || !r.note("k", f, start.Add(ackTimeout)) {
		t.Error("a copy in time is not known, or the first is")
	}
	later := start.Add(ackTimeout + 1)
	if r.of["k"].failure(later) != nil || r.note("k", f, later) {
		t.Error("a refusal outlives its copies")
	}
	for range 2 * recentSize {
		later = later.Add(1)
		r.note(later.String(), f, later)
	}
	if len(r.of) > recentSize {
		t.Errorf("%d kept, want at most %d", len(r.of), recentSize)
	}
}

// TestCancelOfAnotherCall: branch and sent-by find the INVITE (RFC 3261 9.2),
// but what is not its Call-ID, From tag and CSeq number (9.1) cancels nothing,
// nor does another host.
func TestCancelOfAnotherCall(t *testing.T) {
	for _, c := range []struct {
		name, ip   string
		line       int
		text, want string
	}{
		{"another Call-ID", "127.0.0.3", 4, "Call-ID: other", "SIP/2.0 481"},
		{"another From tag", "127.0.0.3", 2, "From: <sip:x@127.0.0.3>;tag=other", "SIP/2.0 481"},
		{"another CSeq", "127.0.0.3", 5, "CSeq: 7 CANCEL", "SIP/2.0 481"},
		{"another host", "127.0.0.8", 5, "CSeq: 1 CANCEL", "SIP/2.0 481"},
		{"its own", "127.0.0.3", 5, "CSeq: 1 CANCEL", "SIP/2.0 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, "udp", "127.0.0.1", everyone)
			exchange(t, dialFrom(t, "udp", "127.0.0.3", p.addr), rawInvite("1", "1")...)
			s := <-p.invites
			cancel := rawInvite("1", "1")
			cancel[0], cancel[5] = strings.Replace(cancel[0], "INVITE", "CANCEL", 1), "CSeq: 1 CANCEL"
			cancel[c.line] = c.text
			if res := exchange(t, dialFrom(t, "udp", c.ip, p.addr), cancel...); !strings.HasPrefix(res, c.want) {
				t.Errorf("%.40q, want %s", res, c.want)
			}
			if c.want == "SIP/2.0 200" {
				p.want(t, Cancelled)
				return
			}
			p.quiet(t)
			s.Reject(&Failure{Code: 486})
		})
	}
}

// TestOptionsInADeadDialog: a peer that asks whether its call still stands is
// told (RFC 3261 12.2.2).
func TestOptionsInADeadDialog(t *testing.T) {
	p := newPeer(t, "udp", "127.0.0.1", everyone)
	conn := dialFrom(t, "udp", "127.0.0.3", p.addr)
	lines := optionsLines("udp")
	lines[3] = "To: <sip:127.0.0.1>;tag=gone"
	if res := exchange(t, conn, lines...); !strings.HasPrefix(res, "SIP/2.0 481") {
		t.Errorf("%.40q", res)
	}
}
