package sip

import (
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// usage is one INVITE session (an "INVITE usage", RFC 5057 3): its dialog, the
// early dialogs of a forked INVITE, and every transaction in them. It does no
// I/O, has no clock and no lock: messages, the owner's orders and the time come
// in, and out holds what is to be sent and told. Everything that happens in one
// dialog happens here, one thing after the other, in the order of arrival.
//
// Its parts by file: calling.go and answering.go, the two roles of the first
// INVITE; offering.go, offers after it; reliable.go, provisional responses that
// are acknowledged (RFC 3262); refresh.go, session timers (RFC 4028).
type usage struct {
	env     *environment
	network string // of the dialog: udp, tcp, tls
	answers bool   // server role of the first INVITE
	state   State
	now     time.Time // of the step under way

	// d is the dialog: the peer's in the server role; in the client role the
	// latest early dialog, and the answered one from then on.
	d      *dialog
	forks  []*fork // client role, until the answer: the early dialogs
	invite *sip.Request
	flow   transport.Flow // the connection that the dialog uses (RFC 5626)

	clients []*client
	servers []*server
	out     []output

	calling   calling
	answering answering
	offer     offering
	reliable  reliable
	refresh   refresh
	auth      *authorizer // nil: challenges are failures

	byeSent   bool
	byeWaits  bool // Bye came before the ACK did; it goes out then (RFC 3261 15)
	byeReason string
	byeExtra  []Header
	peerAllow map[string]bool // methods of the peer's latest Allow; nil before any
}

// environment is what a usage needs to know of the endpoint it lives in.
type environment struct {
	contact   func(network string, at transport.Flow) *sip.ContactHeader
	via       func(network string, at transport.Flow) *sip.ViaHeader // with a fresh branch
	targets   func() []locate.Target                                 // where new INVITEs go, best first
	report    func(locate.Target, *Failure)                          // how a target did
	carry     func(sip.Message) []Header                             // nil: nothing is
	phrase    func(*sip.Response) string                             // nil: as it came
	random    func(below int64) int64
	index     index
	userAgent string
	host      string // ours, as it stands in Warning
	drops     *Drops
	timer     SessionTimer
	reliable  bool // offer and use reliable provisional responses
}

// index finds a usage by the transactions it has.
type index interface {
	addClient(key string)
	dropClient(key string)
	addServer(key string)
	dropServer(key string)
}

// output is one thing to do after a step. Exactly one part is set.
type output struct {
	event    *Event
	response *sip.Response // to be sent on flow
	flow     transport.Flow
	first    *client // to be sent for the first time: by its way
	again    *client // to be sent again, on the flow it has
	ack      *pass   // to be sent without a transaction: ACK to a 2xx
}

// way is where a request goes: on flow while that is open, else to hop, or to
// the target when there is one.
type way struct {
	flow   transport.Flow
	hop    sip.Uri
	target *locate.Target
	// datagrams: the hop asks for TCP and takes no connection.
	datagrams bool
}

// asksForTCP says whether the hop's URI names that transport.
func (w way) asksForTCP() bool {
	transport, _ := w.hop.UriParams.Get("transport")
	return w.target == nil && !w.datagrams && strings.EqualFold(transport, "tcp")
}

// pass is a request without a transaction.
type pass struct {
	req     *sip.Request
	network string
	way     way
}

// purpose is what a client transaction is for.
type purpose uint8

const (
	forInvite purpose = iota // the first INVITE, on whatever target
	forCancel
	forReoffer // re-INVITE or UPDATE with an offer of the owner's
	forRefresh // the same, or UPDATE without an offer, of RFC 4028
	forPrack
	forBye
	forStray // BYE of a fork that answered too late
	forInfo
)

// client is a client transaction of the usage.
type client struct {
	tx      *transaction.Client
	req     *sip.Request
	what    purpose
	d       *dialog
	network string
	way     way
	flow    transport.Flow // on which it went out, set by who sent it; zero before
	tries   int            // how often its like was challenged
	final   bool           // a final response, or failure, was handled
	// late: until then a 2xx may come to an INVITE that was given up and sent to
	// another target; it gets ACK and BYE.
	late time.Time
}

// server is a server transaction of the usage.
type server struct {
	tx   *transaction.Server
	req  *sip.Request
	key  string
	flow transport.Flow // on which responses go
	done bool           // nothing that may still come matters
}

// isReliable says whether a network delivers once and in order.
func isReliable(network string) bool { return network != "udp" }

// begin starts a step.
func (u *usage) begin(now time.Time) { u.now = now }

// take hands the outputs of the step over.
func (u *usage) take() []output {
	out := u.out
	u.out = nil
	return out
}

// tell tells the owner, with what of the message may be shown to the other side.
// One that has said Bye is not there any more, and of a session that is over it
// hears how that came about and nothing else.
func (u *usage) tell(ev Event) {
	if u.byeWaits || u.over() && ev.Kind != Failed && ev.Kind != Cancelled && ev.Kind != Ended {
		return
	}
	if ev.message != nil && u.env.carry != nil {
		ev.Carried = u.env.carry(ev.message)
	}
	u.out = append(u.out, output{event: &ev})
}

// over says whether nothing is left to be done but to absorb stragglers.
func (u *usage) over() bool { return u.state == Terminated }

// finished says whether the usage can be forgotten.
func (u *usage) finished() bool {
	return u.state == Terminated && len(u.clients) == 0 && len(u.servers) == 0
}

// waits says whether a request of ours has no final answer yet.
func (u *usage) waits() bool {
	return slices.ContainsFunc(u.clients, func(c *client) bool { return !c.final })
}

// request builds a request in dialog d and gives it the way that d's requests
// take. Via is added by send.
func (u *usage) request(d *dialog, method sip.RequestMethod, seq uint32) *sip.Request {
	req := d.request(method, seq)
	if method != sip.BYE && method != "PRACK" {
		req.AppendHeader(u.env.contact(u.network, u.flow))
	}
	return req
}

// complete adds what every request of ours ends with, and its Via. A request
// that is too long for a datagram goes over TCP (RFC 3261 18.1.1), and so does
// one whose hop asks for that (RFC 3263 4.1). Otherwise a dialog keeps its
// transport: what a peer writes into Contact must not take it off TLS.
func (u *usage) complete(req *sip.Request, w way) (network string) {
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	req.AppendHeader(sip.NewHeader("User-Agent", u.env.userAgent))
	network = u.network
	if network == "udp" && (w.asksForTCP() || len(req.String())+viaRoom > maxDatagram) {
		network = "tcp"
	}
	req.PrependHeader(u.env.via(network, u.flow))
	return network
}

// viaRoom is what our Via takes, in bytes.
const viaRoom = 120

// wayOf is the way of d's requests.
func (u *usage) wayOf(d *dialog) way { return way{flow: u.flow, hop: *d.nextHop()} }

// send starts a client transaction.
func (u *usage) send(d *dialog, req *sip.Request, what purpose, w way, tries int) *client {
	network := u.complete(req, w)
	c := &client{
		tx:  transaction.NewClient(req, isReliable(network), u.now),
		req: req, what: what, d: d, network: network, way: w, tries: tries,
	}
	u.clients = append(u.clients, c)
	u.env.index.addClient(c.tx.Key())
	u.out = append(u.out, output{first: c})
	return c
}

// serve starts a server transaction for a request.
func (u *usage) serve(req *sip.Request, key string, flow transport.Flow) *server {
	if len(u.servers) >= maxTransactions {
		u.forgetOldest()
	}
	s := &server{tx: transaction.NewServer(req, isReliable(flow.Network), u.now), req: req, key: key, flow: transport.Reply(req, flow)}
	u.servers = append(u.servers, s)
	u.env.index.addServer(key)
	return s
}

// maxTransactions bounds the transactions that a dialog keeps of each kind. Of
// more, the oldest that is answered is forgotten: a copy of its request then
// meets its CSeq number (RFC 3261 12.2.2).
const maxTransactions = 64

func (u *usage) forgetOldest() {
	for _, s := range u.servers {
		if !s.done && s.req.Method != sip.INVITE && s.tx.State() == transaction.Completed {
			s.done = true
			u.sweep()
			return
		}
	}
}

// reply answers a request through its transaction.
func (u *usage) reply(s *server, res *sip.Response) {
	if s.tx.Respond(u.now, res) {
		u.out = append(u.out, output{response: res, flow: s.flow})
	}
}

func (u *usage) refuse(s *server, f *Failure) { u.reply(s, u.failure(s.req, f)) }

func (u *usage) failure(req *sip.Request, f *Failure) *sip.Response {
	return failureResponse(req, f, u.env.host, u.env.userAgent)
}

// ok is a 200 without a body.
func (u *usage) ok(req *sip.Request) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(sip.NewHeader("Server", u.env.userAgent))
	return res
}

// end stops the usage for good; the owner has been told, or will not be.
func (u *usage) end() {
	u.state = Terminated
	u.answering.stop()
	u.reliable.stop()
	u.refresh.stop()
	u.offer.stop()
	if u.inviteUnderWay() {
		// A re-INVITE that the peer gave a provisional response waits for ever
		// (RFC 3261 17.1.1.2).
		u.calling.giveUp = u.now.Add(cancelTimeout)
	}
}

// response serves a response to a request of the usage.
func (u *usage) response(now time.Time, key string, res *sip.Response, flow transport.Flow) {
	u.begin(now)
	for _, c := range u.clients {
		if c.tx.Key() != key {
			continue
		}
		if c.late.After(now) {
			u.reacknowledge(c, res)
			u.sweep()
			return
		}
		up, ack := c.tx.Receive(now, res)
		if ack != nil {
			u.out = append(u.out, output{ack: &pass{req: ack, network: c.network, way: way{flow: c.flow, hop: c.way.hop, target: c.way.target}}})
		}
		if up {
			u.handle(c, res, flow)
		}
		u.sweep()
		return
	}
	u.env.drops.Add(DropStrayResponse)
}

// handle is a response that the transaction passed up.
func (u *usage) handle(c *client, res *sip.Response, flow transport.Flow) {
	if allow := tokens(res, "Allow"); len(allow) > 0 {
		u.peerAllow = set(allow)
	}
	if c.final && c.what != forInvite {
		// Again, or another fork's: only an INVITE's 2xx comes more than once.
		u.reacknowledge(c, res)
		return
	}
	if res.StatusCode >= 200 && c.what != forInvite {
		c.final = true
	}
	if u.challenged(c, res) {
		return
	}
	switch c.what {
	case forInvite:
		u.inviteResponse(c, res, flow)
	case forReoffer, forRefresh:
		u.offerResponse(c, res, flow)
	case forBye:
		if res.StatusCode >= 200 {
			u.closed()
		}
	case forInfo:
		u.dialogResponse(res)
	case forPrack, forCancel, forStray:
		// Nothing hangs on the answer; 481 to PRACK says that the response was not
		// waited for any more, not that the dialog is gone (RFC 3262 3, RFC 5057 5.1).
	}
}

// dialogResponse ends the usage when an answer says that the peer has no such
// dialog any more, or gave none (RFC 3261 12.2.1.2, RFC 5057 5.1).
func (u *usage) dialogResponse(res *sip.Response) {
	if res.StatusCode == 481 || res.StatusCode == 408 {
		u.lose(&Failure{Code: res.StatusCode, Phrase: u.phraseIn(res)})
	}
}

// lose ends an answered session whose dialog is gone: the peer gets a BYE, in
// case it lives, and the owner is told.
func (u *usage) lose(f *Failure) {
	if u.state != Accepted && u.state != Established {
		return
	}
	u.bye(reasonSIP(f.Code, f.PhraseText()), nil)
	u.tell(Event{Kind: Ended, Reason: reasonSIP(f.Code, f.PhraseText()), Failure: f})
}

// unreadable is a final response that cannot be read.
func (u *usage) unreadable(key string) {
	for _, c := range u.clients {
		if c.tx.Key() == key {
			u.clientFailed(c, &Failure{Code: 502, Local: true, Warning: "the next hop's answer cannot be read"})
			break
		}
	}
	u.sweep()
}

// failed is a request that could not be sent, whose connection was lost, or
// which nobody answered (408).
func (u *usage) failed(now time.Time, c *client, f *Failure) {
	u.begin(now)
	u.clientFailed(c, f)
	u.sweep()
}

func (u *usage) clientFailed(c *client, f *Failure) {
	if c.tx.State() == transaction.Terminated && c.final {
		return
	}
	c.tx.Fail()
	if c.final {
		return
	}
	c.final = true
	switch c.what {
	case forInvite:
		u.inviteFailed(c, f)
	case forReoffer, forRefresh:
		u.offerFailed(c, f)
	case forBye:
		u.closed()
	case forInfo:
		if f.Code == 408 {
			u.lose(f)
		}
	case forPrack, forCancel, forStray:
	}
}

// lost is the end of a connection: what waits for an answer on it will not get
// one (RFC 3261 17.1.4), and an unanswered caller behind it is gone.
func (u *usage) lost(now time.Time, flow transport.Flow) {
	u.begin(now)
	for _, c := range slices.Clone(u.clients) {
		if c.flow == flow && !c.final {
			u.clientFailed(c, &Failure{Code: 503, Local: true, Warning: "the connection to the next hop was lost"})
		}
	}
	if u.answers && u.state == Early && u.first() != nil && u.first().flow == flow {
		// In case the caller lives, the answer finds it by its Via (18.2.2).
		u.refuse(u.first(), &Failure{Code: 487, Local: true})
		u.callerGone("", nil)
	}
	u.sweep()
}

// cutOff is the end of all connections: nothing more can be sent or heard.
func (u *usage) cutOff() {
	u.calling.targets = nil
	for _, c := range slices.Clone(u.clients) {
		u.clientFailed(c, &Failure{Code: 503, Local: true, Warning: "shutting down"})
	}
	if u.answers {
		u.callerGone("", nil)
	}
	u.end()
	for _, s := range u.servers {
		s.done = true
	}
	u.sweep()
}

// tick does what is due.
func (u *usage) tick(now time.Time) {
	u.begin(now)
	for _, c := range slices.Clone(u.clients) {
		if next := c.tx.Next(); next.IsZero() || now.Before(next) {
			continue
		}
		resend, timedOut := c.tx.Tick(now)
		if resend {
			u.out = append(u.out, output{again: c})
		}
		if timedOut {
			u.clientFailed(c, &Failure{Code: 408, Local: true, Warning: "the next hop did not answer in time"})
		}
	}
	for _, s := range u.servers {
		if next := s.tx.Next(); next.IsZero() || now.Before(next) {
			continue
		}
		if res, _ := s.tx.Tick(now); res != nil {
			u.out = append(u.out, output{response: res, flow: s.flow})
		}
	}
	u.tickCalling()
	u.tickAnswering()
	u.tickOffer()
	u.tickReliable()
	u.tickRefresh()
	u.sweep()
}

// next is when tick is due; zero when nothing is.
func (u *usage) next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, c := range u.clients {
		earlier(c.tx.Next())
		earlier(c.late)
	}
	for _, s := range u.servers {
		earlier(s.tx.Next())
	}
	earlier(u.calling.next())
	earlier(u.answering.next())
	earlier(u.offer.next())
	earlier(u.reliable.next())
	earlier(u.refresh.next())
	return next
}

// sweep forgets transactions that have ended. What the peer asked of a session
// that is over is answered before: nobody else will.
func (u *usage) sweep() {
	if u.state == Terminated {
		u.refusePending()
	}
	kept := u.clients[:0]
	for _, c := range u.clients {
		if c.tx.State() == transaction.Terminated && !c.late.After(u.now) {
			u.env.index.dropClient(c.tx.Key())
			continue
		}
		kept = append(kept, c)
	}
	clear(u.clients[len(kept):])
	u.clients = kept
	left := u.servers[:0]
	for _, s := range u.servers {
		if s.done || s.tx.State() == transaction.Terminated {
			u.env.index.dropServer(s.key)
			continue
		}
		left = append(left, s)
	}
	clear(u.servers[len(left):])
	u.servers = left
}

// closed ends what is left when BYE has been answered. Copies of an INVITE may
// still come over udp, and 2xx of other forks over anything: their transactions
// stay (RFC 6026 7.1, 8.4).
func (u *usage) closed() {
	if !isReliable(u.network) {
		return
	}
	for _, s := range u.servers {
		// On a datagram network the INVITE may come once more, and must not begin
		// another call then.
		s.done = s.done || s.req.Method == sip.INVITE && s.tx.State() == transaction.Accepted && isReliable(s.flow.Network)
	}
}

// bye ends an answered session from our side.
func (u *usage) bye(reason string, extra []Header) {
	if u.state == Early && u.answering.accepted != nil {
		// The owner has answered, and the 200 is waiting for a PRACK: no 200
		// needs to go out any more.
		u.reject(&Failure{Code: 480, Local: true, Reason: reason, Headers: extra})
		return
	}
	if u.state == Early || u.state == Terminated || u.byeSent {
		return
	}
	if u.answers && u.state == Accepted {
		// RFC 3261 15: not before the ACK, or the end of waiting for it.
		u.byeWaits, u.byeReason, u.byeExtra = true, reason, extra
		return
	}
	u.offer.wants = false
	u.ackAnswer(nil) // every 2xx gets its ACK (RFC 3261 13.2.2.4)
	u.ackAnswer(nil) // every 2xx has its ACK (RFC 3261 13.2.2.4)
	u.byeSent = true
	u.end()
	u.refusePending()
	req := u.request(u.d, sip.BYE, 0)
	if reason != "" {
		req.AppendHeader(sip.NewHeader("Reason", reason))
	}
	appendHeaders(req, extra)
	u.send(u.d, req, forBye, u.wayOf(u.d), 0)
}

// refusePending answers what the peer has asked and will not get: 487 (RFC 3261
// 15.1.2).
func (u *usage) refusePending() {
	for _, s := range u.servers {
		if state := s.tx.State(); s.req.Method != sip.BYE && (state == transaction.Proceeding || state == transaction.Trying) {
			u.refuse(s, &Failure{Code: 487, Local: true})
		}
	}
}

func appendHeaders(msg sip.Message, extra []Header) {
	for _, h := range extra {
		msg.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
}

func set(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}
