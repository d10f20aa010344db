package turn

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"causeway/relay/auth"
)

// The world of the random sequences: few of everything, so that they meet.
var (
	modelSources = []Source{
		home,
		{Client: netip.MustParseAddrPort("198.51.100.8:40000")},
		stream,
		{Client: netip.MustParseAddrPort("198.51.100.9:40000"), Listener: 1, Transport: TLS},
		{Client: netip.MustParseAddrPort("[2001:db8:1::7]:40000"), Listener: 2},
	}
	modelPeers = []netip.AddrPort{
		peer4, other4, peer6, forbidden,
		netip.AddrPortFrom(peer4.Addr(), 1001),
		netip.MustParseAddrPort("1.1.1.1:1"),
		netip.MustParseAddrPort("[2606:4700::2222]:1"),
	}
	modelNumbers = []uint16{0x3FFF, 0x4000, 0x4001, 0x4FFE, 0x4FFF, 0x5000}
	modelWaits   = []time.Duration{
		tick, time.Second, 29 * time.Second, 30 * time.Second, 100 * time.Second, 300*time.Second - tick,
		300 * time.Second, 300 * time.Second, 599 * time.Second, 600*time.Second - tick, 600 * time.Second, time.Hour,
	}
	modelLifetimes = []int{-1, 0, 1, 600, 700, 3600, 3600, 3600, 5000}
)

// modelRun is a machine and a model that are told the same.
type modelRun struct {
	*rapid.T
	rig     *rig
	model   *model
	clients map[Source]map[string]*client
	tickets []modelTicket
	tokens  [][]byte
}

type modelTicket struct {
	text string
	of   *modelAllocation
}

func newModelRun(t *rapid.T) *modelRun {
	run := &modelRun{T: t, clients: map[Source]map[string]*client{}}
	run.rig = newRig(t, func(s *setup) {
		s.quota = auth.QuotaOptions{AllocationsPerUser: 2, Allocations: 3}
		s.MaxPermissions, s.MaxChannels = 3, 2
		s.rate = 0
	})
	run.model = &model{now: began, cfg: run.rig.cfg, held: map[Token]modelPort{}, perUser: 2, inAll: 3}
	return run
}

// one draws one of a list.
func one[T any](t *rapid.T, list []T, label string) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, label)]
}

// client draws who sends from where: often, who has something there.
func (run *modelRun) client() *client {
	at := one(run.T, modelSources, "source")
	user := one(run.T, []string{"alice", "alice", "bob"}, "user")
	if n := len(run.model.allocations); n > 0 && one(run.T, []bool{true, true, true, false}, "own") {
		a := run.model.allocations[rapid.IntRange(0, n-1).Draw(run.T, "whose")]
		user = a.user
		if a.source.Client.IsValid() {
			at = a.source
		}
		if a.next != (Source{}) && rapid.Bool().Draw(run.T, "next") {
			at = a.next
		}
	}
	if run.clients[at] == nil {
		run.clients[at] = map[string]*client{}
	}
	c := run.clients[at][user]
	if c == nil {
		c = run.rig.client(at, user, map[string]string{"alice": "secret", "bob": "hunter2"}[user])
		c.modern, c.alg, c.last = user == "bob", auth.SHA256, uint64(len(user))<<16
		run.clients[at][user] = c
	}
	return c
}

// ask sends a request, some of them twice, and compares the code with the model's.
func (run *modelRun) ask(c *client, want int, method Method, parts ...with) answer {
	run.Helper()
	a := c.must(want, method, parts...)
	if rapid.Bool().Draw(run.T, "sent again") {
		b := c.build(method, TransactionID(a.id), parts...)
		if again := c.send(b); !bytes.Equal(again.raw, a.raw) {
			run.Fatalf("method %v sent again got %v after %v", method, again, a)
		}
	}
	return a
}

func (run *modelRun) allocate(*rapid.T) {
	c := run.client()
	q := modelAllocate{
		protocol:   one(run.T, []byte{17, 17, 17, 6, 6, 99}, "protocol"),
		requested:  one(run.T, []byte{0, 0, 0, 1, 2, 3}, "family"),
		additional: one(run.T, []bool{false, false, true}, "additional"),
		mobile:     rapid.Bool().Draw(run.T, "mobile"),
		even:       one(run.T, []bool{false, false, true}, "even"),
		lifetime:   one(run.T, modelLifetimes, "lifetime"),
		shut:       one(run.T, [][families]bool{{}, {}, {}, {true}, {false, true}, {true, true}}, "shut"),
	}
	parts := []with{transport(q.protocol)}
	if q.requested != 0 {
		parts = append(parts, requestedFamily(q.requested))
	}
	if q.additional {
		parts = append(parts, additionalFamily(2))
	}
	if q.mobile {
		parts = append(parts, ticket(nil))
	}
	if q.even {
		q.reserve = rapid.Bool().Draw(run.T, "reserve")
		parts = append(parts, evenPort(map[bool]byte{false: 0, true: 0x80}[q.reserve]))
	}
	if q.lifetime >= 0 {
		parts = append(parts, lifetime(uint32(q.lifetime)))
	}
	if len(run.tokens) > 0 && one(run.T, []bool{false, false, true}, "reserved") {
		q.token = one(run.T, run.tokens, "token")
		parts = append(parts, reservationToken(q.token))
	}
	run.rig.shut = q.shut
	a := c.must(run.model.allocate(c.user, c.source, q), MethodAllocate, parts...)
	if a.code != 0 {
		run.rig.shut = [families]bool{}
		return
	}
	made := run.model.at(c.source)
	if got, want := a.lifetime(), int(run.model.granted(q.lifetime)/time.Second); got != want {
		run.Fatalf("LIFETIME %d, want %d", got, want)
	}
	if got := a.relayed(); len(got) != len(made.families) {
		run.Fatalf("relayed %v, want %d", got, len(made.families))
	}
	if (a.value(AttrAddressErrorCode) != nil) != (q.additional && len(made.families) == 1) ||
		(a.value(AttrMobilityTicket) != nil) != q.mobile || (a.value(AttrReservationToken) != nil) != q.reserve {
		run.Fatalf("the answer is %x", a.raw)
	}
	if q.mobile {
		made.ticket = string(a.value(AttrMobilityTicket))
		run.tickets = append(run.tickets, modelTicket{made.ticket, made})
	}
	if q.reserve {
		token := a.value(AttrReservationToken)
		run.tokens = append(run.tokens, token)
		family := slices.Collect(maps.Keys(made.families))[0]
		run.model.held[Token(token)] = modelPort{family, c.user, run.model.now.Add(30 * time.Second)}
	}
	if again := c.send(c.build(MethodAllocate, TransactionID(a.id), parts...)); !bytes.Equal(again.raw, a.raw) {
		run.Fatalf("Allocate sent again got %v after %v", again, a)
	}
	run.rig.shut = [families]bool{}
}

func (run *modelRun) refresh(*rapid.T) {
	c := run.client()
	asked := one(run.T, modelLifetimes, "lifetime")
	family := one(run.T, []byte{0, 0, 1, 2}, "family")
	var parts []with
	if asked >= 0 {
		parts = append(parts, lifetime(uint32(asked)))
	}
	if family != 0 {
		parts = append(parts, requestedFamily(family))
	}
	want := run.model.refresh(c.user, c.source, asked, family)
	a := run.ask(c, want, MethodRefresh, parts...)
	told := int(run.model.granted(asked) / time.Second)
	if asked == 0 {
		told = 0
	}
	if want == 0 && a.lifetime() != told {
		run.Fatalf("LIFETIME %d, want %d", a.lifetime(), told)
	}
}

func (run *modelRun) move(*rapid.T) {
	if len(run.tickets) == 0 {
		return
	}
	c := run.client()
	shown := one(run.T, run.tickets, "ticket")
	asked := one(run.T, modelLifetimes, "lifetime")
	parts := []with{ticket([]byte(shown.text))}
	if asked >= 0 {
		parts = append(parts, lifetime(uint32(asked)))
	}
	a := run.ask(c, run.model.move(c.user, c.source, shown.text, shown.of, asked), MethodRefresh, parts...)
	if a.code == 0 {
		shown.of.ticket = string(a.value(AttrMobilityTicket))
		run.tickets = append(run.tickets, modelTicket{shown.of.ticket, shown.of})
	}
}

func (run *modelRun) permit(*rapid.T) {
	c := run.client()
	var peers []netip.AddrPort
	var parts []with
	for range rapid.IntRange(0, 4).Draw(run.T, "count") {
		peer := one(run.T, modelPeers, "peer")
		peers, parts = append(peers, peer), append(parts, to(peer))
	}
	run.ask(c, run.model.permit(c.user, c.source, peers), MethodCreatePermission, parts...)
}

func (run *modelRun) bind(*rapid.T) {
	c := run.client()
	number, peer := one(run.T, modelNumbers, "number"), one(run.T, modelPeers, "peer")
	run.ask(c, run.model.bind(c.user, c.source, number, peer), MethodChannelBind, to(peer), channelNumber(number))
}

func (run *modelRun) wait(*rapid.T) {
	d := one(run.T, modelWaits, "wait")
	run.rig.advance(d)
	run.model.now = run.model.now.Add(d)
	run.model.expire()
}

// leap lets time pass without a timer, as when a worker is late: requests must see what has ended all the same.
func (run *modelRun) leap(*rapid.T) {
	d := one(run.T, modelWaits, "leap")
	run.rig.now = run.rig.now.Add(d)
	run.model.now = run.model.now.Add(d)
	run.model.expire()
	c := run.client()
	run.ask(c, run.model.permit(c.user, c.source, nil), MethodCreatePermission)
	run.rig.advance(0)
}

func (run *modelRun) data(*rapid.T) {
	at := one(run.T, modelSources, "source")
	if s := run.rig.session(at); s != nil {
		run.rig.do(run.rig.m.Heard(s.id, at))
	}
	run.model.heard(at)
}

func (run *modelRun) disconnect(*rapid.T) {
	at := one(run.T, modelSources, "source")
	if !at.Transport.Stream() {
		return
	}
	run.rig.do(run.rig.m.Disconnected(at))
	run.model.disconnect(at)
}

func (run *modelRun) kill(*rapid.T) {
	at := one(run.T, modelSources, "source")
	s, a := run.rig.session(at), run.model.at(at)
	if s != nil && a != nil && one(run.T, []bool{false, false, true}, "kill") {
		actions, _ := run.rig.m.Kill(s.id)
		run.rig.do(actions)
		run.model.remove(a)
	}
}

// check compares the forwarding state that the actions built with the model's.
func (run *modelRun) check(*rapid.T) {
	run.Helper()
	if got, want := len(run.rig.sessions), len(run.model.allocations); got != want || run.rig.m.Len() != want {
		run.Fatalf("%d sessions and %d allocations, want %d", got, run.rig.m.Len(), want)
	}
	if got, want := run.rig.cfg.Quota.Allocations(), len(run.model.allocations); got != want {
		run.Fatalf("the quota has %d, want %d", got, want)
	}
	if got, want := len(run.rig.held), len(run.model.held); got != want {
		run.Fatalf("%d ports are held, want %d", got, want)
	}
	tuples := 0
	for _, a := range run.model.allocations {
		if !a.source.Client.IsValid() && a.next == (Source{}) { // its client is away
			continue
		}
		at := a.source
		if !at.Client.IsValid() {
			at = a.next
		}
		s := run.rig.session(at)
		if s == nil || s.source != a.source || s.next != a.next || s.tcp != a.tcp {
			run.Fatalf("the session of %v is %+v", a.source, s)
			return
		}
		for _, at := range []Source{a.source, a.next} {
			if at.Client.IsValid() {
				tuples++
			}
		}
		for f := range families {
			if _, want := a.families[f]; s.relayed[f].IsValid() != want {
				run.Fatalf("family %d is relayed: %v", f, !want)
			}
		}
		if want := slices.SortedFunc(maps.Keys(a.permissions), netip.Addr.Compare); !slices.Equal(s.permitted(), want) {
			run.Fatalf("permitted %v, want %v", s.permitted(), want)
		}
		if len(s.channels) != len(a.channels) {
			run.Fatalf("channels %v, want %v", s.channels, a.channels)
		}
		for n, c := range a.channels {
			if s.channels[n] != c.peer {
				run.Fatalf("channels %v, want %v", s.channels, a.channels)
			}
		}
	}
	if len(run.rig.m.sources) != tuples || len(run.rig.clients) != tuples {
		run.Fatalf("%d five-tuples here and %d there, want %d", len(run.rig.m.sources), len(run.rig.clients), tuples)
	}
}

// TestMachineIsTheModel: random sequences of requests, times and ends of streams get the codes that the model gives, and
// build the state that it has; and what is sent twice is answered twice the same, and changes nothing.
func TestMachineIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := newModelRun(t)
		t.Repeat(map[string]func(*rapid.T){
			"allocate":   run.allocate,
			"refresh":    run.refresh,
			"move":       run.move,
			"permit":     run.permit,
			"bind":       run.bind,
			"wait":       run.wait,
			"leap":       run.leap,
			"data":       run.data,
			"disconnect": run.disconnect,
			"kill":       run.kill,
			"":           run.check,
		})
	})
}
