package mediation

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sdp"
	"causeway/mediation/sip"
)

// rig is one call without wire and without media: its sessions and its bridge
// write down what they are told, and every event is put in by hand.
type rig struct {
	t        tester
	srv      *Server
	call     *Call
	bridge   *fakeBridge
	sessions [2]*fakeSession // by party; the callee's is nil until invited
	sent     incoming
}

// tester is what the rig needs of a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rigOptions: the caller is on the pool's side.
type rigOptions struct {
	offer         []byte // of the caller's INVITE; nil: late offer
	pool, gateway conf.SRTPPolicy
}

func newRig(t tester, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, bridge: &fakeBridge{}}
	clock := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	r.srv = &Server{
		cfg:   Config{Mediation: &conf.Mediation{RingTimeout: time.Minute, MaxCalls: 10, MaxCallRate: 10}},
		log:   slog.New(slog.DiscardHandler),
		spool: &memorySpool{}, calls: map[string]*Call{},
		now: func() time.Time { clock = clock.Add(time.Millisecond); return clock },
	}
	r.srv.sides[media.Pool].policy, r.srv.sides[media.Gateway].policy = o.pool, o.gateway
	r.srv.counters.init()
	r.srv.openBridge = func(string) (bridge, error) { return r.bridge, nil }
	r.srv.inviteCallee = func(in incoming, offer []byte, _ func(sip.Event) bool) invited {
		r.sent = in
		r.sessions[theCallee] = &fakeSession{r: r, who: theCallee, id: "b", local: offer}
		return invited{session: r.sessions[theCallee]}
	}
	r.sessions[theCaller] = &fakeSession{r: r, who: theCaller, id: "a"}
	r.call = newCall(r.srv, "call", incoming{from: media.Pool, offer: o.offer}, r.sessions[theCaller])
	return r
}

// start takes the call as far as the callee's INVITE.
func (r *rig) start() error {
	err := r.call.setUp()
	if err != nil {
		r.call.refuse(err)
	}
	return err
}

// event gives the call one event, unless it is over, after what it means for
// the session that tells it.
func (r *rig) event(from party, ev sip.Event) {
	s := r.sessions[from]
	switch ev.Kind {
	case sip.Answered:
		s.state = sip.Accepted
	case sip.Confirmed, sip.Unconfirmed:
		s.state = sip.Established
	case sip.Failed, sip.Ended, sip.Cancelled:
		s.state, s.ended = sip.Terminated, true
	case sip.OfferAnswered, sip.OfferRefused, sip.OfferAgain:
		s.offering = false
	case sip.Progress, sip.Offered, sip.Info:
	}
	r.stimulate(from, stimulus(ev.Kind), ev)
}

// stimulate holds what happens to the tables' last columns.
func (r *rig) stimulate(from party, on stimulus, ev sip.Event) {
	r.t.Helper()
	at := r.call.at()
	if at == over {
		return
	}
	r.call.react(from, on, ev)
	want := []phase{at}
	if line := transitionsBy[transitionKey{at, from, on}]; line != nil && line.next != nil {
		want = line.next
	}
	if !slices.Contains(want, r.call.at()) {
		r.t.Errorf("%s, %s from %s: %s, and the table says %v", at, on, from, r.call.at(), want)
	}
}

// connect takes the call to talking: the callee answers with answer, the ACK
// brings inAck.
func (r *rig) connect(answer, inAck []byte) {
	r.t.Helper()
	if err := r.start(); err != nil {
		r.t.Fatal(err)
	}
	r.event(theCallee, sip.Event{Kind: sip.Answered, Code: 200, SDP: answer})
	if r.call.at() != answered {
		r.t.Fatalf("%s after the answer", r.call.at())
	}
	r.event(theCaller, sip.Event{Kind: sip.Confirmed, SDP: inAck})
	if r.call.at() != talking {
		r.t.Fatalf("%s after ACK", r.call.at())
	}
}

func (r *rig) records() int { return len(r.srv.records().records) }

func (r *rig) count(t tally, value string) uint64 { return t.n[value].Load() }

// fakeSession keeps what a session was told, and says when it was told what it
// must not be.
type fakeSession struct {
	r     *rig
	who   party
	id    string
	state sip.State
	local []byte // the last description that we sent on it

	orders   []string
	wrong    []string
	failure  *sip.Failure // of Reject or RefuseOffer
	reason   string       // of Bye or Cancel
	carried  []sip.Header
	info     []byte
	ended    bool // by Bye, Reject, Cancel's end or the peer
	canceled bool
	offering bool  // an offer of ours is out
	owed     bool  // the peer's offer waits for AnswerOffer or RefuseOffer
	asks     bool  // it is a wish for ours
	reoffers error // what Reoffer says
	gone     bool  // the peer took its offer back
}

func (s *fakeSession) order(name string, legal bool) {
	s.orders = append(s.orders, name)
	if s.ended || !legal {
		s.wrong = append(s.wrong, fmt.Sprintf("%s in state %d, ended %t", name, s.state, s.ended))
	}
}

func (s *fakeSession) CallID() string { return s.id }

func (s *fakeSession) Provisional(_ int, _ string, text []byte, extra ...sip.Header) {
	s.order("provisional", s.who == theCaller && s.state == sip.Early)
	s.carried = extra
	if text != nil {
		s.local = text
	}
}

func (s *fakeSession) Accept(text []byte, extra ...sip.Header) error {
	s.order("accept", s.who == theCaller && s.state == sip.Early)
	if text == nil {
		s.wrong = append(s.wrong, "200 without a description")
	}
	s.state, s.local, s.carried = sip.Accepted, text, extra
	return nil
}

func (s *fakeSession) Reject(f *sip.Failure) {
	s.order("reject", s.who == theCaller && s.state == sip.Early)
	s.state, s.ended, s.failure = sip.Terminated, true, f
}

func (s *fakeSession) Ack([]byte) {
	s.order("ack", s.who == theCallee && s.state == sip.Accepted)
	s.state = sip.Established
}

func (s *fakeSession) Cancel(reason string, extra ...sip.Header) {
	s.order("cancel", s.who == theCallee && s.state == sip.Early && !s.canceled)
	s.canceled, s.reason, s.carried = true, reason, extra
}

func (s *fakeSession) Bye(reason string, extra ...sip.Header) {
	s.order("bye", s.state == sip.Established || s.who == theCaller && s.state == sip.Accepted)
	s.state, s.ended, s.reason, s.carried = sip.Terminated, true, reason, extra
}

func (s *fakeSession) Reoffer(text []byte) error {
	s.order("reoffer", s.state == sip.Established && !s.offering && !s.owed)
	if s.reoffers == nil {
		s.offering, s.asks, s.local = true, false, text
	}
	return s.reoffers
}

func (s *fakeSession) AnswerOffer(text []byte) error {
	s.order("answer_offer", s.owed)
	s.owed = false
	if s.gone {
		return sip.ErrSessionOver
	}
	s.local, s.offering = text, s.asks
	return nil
}

func (s *fakeSession) RefuseOffer(f *sip.Failure) {
	s.order("refuse_offer", s.owed)
	s.owed, s.failure = false, f
}

func (s *fakeSession) Info(_ string, body []byte) {
	s.order("info", s.state == sip.Accepted || s.state == sip.Established)
	s.info = body
}

// offer is an offer of the session's peer; what the call made of it is in
// local or failure.
func (s *fakeSession) offer(text []byte) {
	s.owed, s.asks, s.failure = true, text == nil, nil
	s.r.event(s.who, sip.Event{Kind: sip.Offered, SDP: text})
}

// fakeBridge keeps what its legs were set to.
type fakeBridge struct {
	legs   [2]media.Leg
	set    [2]int
	closed int
	played [2]string
	heard  [2]time.Time // when RTP came in last; zero: never
	rtcp   [2]bool      // RTCP came in
}

func (b *fakeBridge) Local(s media.Side) netip.AddrPort {
	return netip.MustParseAddrPort([]string{"127.0.0.1:60000", "127.0.0.2:60000"}[s])
}

func (b *fakeBridge) Set(s media.Side, l media.Leg) error {
	for _, list := range [][]media.Payload{l.Receive, l.Send} {
		seen := map[uint8]bool{}
		for _, p := range list {
			if seen[p.Type] {
				return fmt.Errorf("%w: %d stands twice", media.ErrPayload, p.Type)
			}
			seen[p.Type] = true
		}
	}
	if l.Remote.Addr().Is6() {
		return fmt.Errorf("%w: of another family", media.ErrRemote)
	}
	if l.SRTP != nil && slices.Equal(l.SRTP.Local, l.SRTP.Remote) {
		return fmt.Errorf("%w: the same both ways", media.ErrKey)
	}
	b.legs[s] = l
	b.set[s]++
	return nil
}

func (b *fakeBridge) Play(s media.Side, digits string, _ time.Duration) error {
	if !slices.ContainsFunc(b.legs[s].Send, func(p media.Payload) bool { return p.Kind == media.Event }) {
		return media.ErrNoEvents
	}
	if b.played[s] += digits; len(b.played[s]) > 3 {
		return media.ErrDigits
	}
	return nil
}

func (b *fakeBridge) Active(s media.Side) (time.Time, bool) { return b.heard[s], !b.heard[s].IsZero() }

func (b *fakeBridge) Reported(s media.Side) bool { return b.rtcp[s] }

func (b *fakeBridge) Close() [2]media.LegStats {
	b.closed++
	return [2]media.LegStats{}
}

// describe writes a description of a peer's, on its own.
type describe struct {
	version   int
	addr      string // 127.0.0.9
	port      int    // 4000
	proto     string // RTP/AVP
	formats   string // 0
	attrs     []string
	direction string
	more      string // further m= lines
}

func (d describe) text() []byte {
	if d.addr == "" {
		d.addr = "127.0.0.9"
	}
	if d.port == 0 {
		d.port = 4000
	}
	if d.proto == "" {
		d.proto = "RTP/AVP"
	}
	if d.formats == "" {
		d.formats = "0"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=peer 7 %d IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d %s %s\r\n",
		d.version+1, d.addr, d.port, d.proto, d.formats)
	for _, a := range d.attrs {
		b.WriteString("a=" + a + "\r\n")
	}
	if d.direction != "" {
		b.WriteString("a=" + d.direction + "\r\n")
	}
	return []byte(b.String() + d.more)
}

// parsed reads what the call wrote.
func parsed(t tester, text []byte) *sdp.Audio {
	t.Helper()
	d, err := sdp.Parse(text)
	if err != nil || d.Audio == nil {
		t.Fatalf("not a description with audio: %v\n%s", err, text)
	}
	return d.Audio
}

// origin is the o= line of a description.
func origin(t tester, text []byte) (id, version uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(strings.Split(string(text), "\r\n")[1], "o=- %d %d", &id, &version); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return id, version
}
