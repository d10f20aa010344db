package turn

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"causeway/relay/auth"
)

// began is when the simulated time of a rig begins.
var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Addresses of the tests' world. The relay's own are documentation addresses, which no peer may have otherwise.
var (
	relay4    = netip.MustParseAddr("203.0.113.1")
	relay6    = netip.MustParseAddr("2001:db8::1")
	peer4     = netip.MustParseAddrPort("8.8.8.8:1000")
	other4    = netip.MustParseAddrPort("9.9.9.9:2000")
	peer6     = netip.MustParseAddrPort("[2606:4700::1111]:1000")
	forbidden = netip.MustParseAddrPort("10.0.0.1:1000")
	home      = Source{Client: netip.MustParseAddrPort("198.51.100.7:40000")}
	stream    = Source{Client: home.Client, Listener: 1, Transport: TCP}
)

// failer is what of *testing.T, *testing.F and *rapid.T a rig needs.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// setup is what a rig is made from.
type setup struct {
	Config
	users         map[string]string
	secrets       []string
	nonceLifetime time.Duration
	quota         auth.QuotaOptions
	rate, burst   int // of replies to the unproven
	federation    auth.Federation
}

// rig drives a machine as a worker does, without sockets, and builds what a worker builds from the actions: who the
// client of a session is, and what is forwarded. Actions that make no sense end the test.
type rig struct {
	t   failer
	m   *Machine
	cfg Config
	now time.Time

	sessions map[ID]*shadow
	clients  map[Source]ID
	held     map[Token]heldPort
	shut     [families]bool // no port of this family can be opened
	port     uint16         // the next even one that is free
	replies  []sent
	dials    []Action
	forwards []Action
	attach   func(Action) bool
	attached []Action
}

// shadow is what a worker has of an allocation.
type shadow struct {
	id           ID
	source, next Source
	relayed      [families]netip.AddrPort
	tcp          bool
	permissions  map[netip.Addr]bool
	channels     map[uint16]netip.AddrPort
}

type heldPort struct {
	addr netip.AddrPort
	user string
}

// sent is a message that a machine sent.
type sent struct {
	to Source
	b  []byte
}

// newRig makes a machine with sane settings, which change may alter.
func newRig(t failer, change ...func(*setup)) *rig {
	t.Helper()
	s := setup{
		Config: Config{
			Realm:           "example.org",
			Families:        [families]bool{true, true},
			DefaultLifetime: 10 * time.Minute,
			MaxLifetime:     time.Hour,
			MaxPermissions:  8,
			MaxChannels:     4,
			Mobility:        true,
			TicketKey:       [32]byte{1, 2, 3},
			Random:          bytes.NewReader(bytes.Repeat([]byte{0xA5}, 1<<16)),
		},
		users:         map[string]string{"alice": "secret", "bob": "hunter2"},
		nonceLifetime: 24 * time.Hour, // so that it is in the way of those tests alone that are about it
		federation:    auth.Legacy,
		rate:          1000,
		burst:         1000,
	}
	for _, f := range change {
		f(&s)
	}
	credentials, err := auth.NewCredentials(auth.Options{Realm: s.Realm, Users: s.users, RestSecrets: s.secrets})
	if err != nil {
		t.Fatalf("credentials: %v", err)
	}
	policy, err := auth.NewPolicy(auth.PolicyOptions{
		Host:       []netip.Addr{relay4, relay6},
		Relay:      []netip.Addr{relay4, relay6},
		Ports:      [2]uint16{50000, 59999},
		Federation: s.federation,
	})
	if err != nil {
		t.Fatalf("policy: %v", err)
	}
	cfg := s.Config
	cfg.Credentials, cfg.Policy = credentials, policy
	cfg.Nonces = auth.NewNonces([]byte("nonces of the tests"), s.nonceLifetime, true, credentials.StaticOnly())
	cfg.Budget = auth.NewBudget(s.rate, s.burst, [16]byte{7})
	cfg.Quota = auth.NewQuota(s.quota)
	return &rig{
		t: t, m: New(cfg, began), cfg: cfg, now: began,
		sessions: map[ID]*shadow{}, clients: map[Source]ID{}, held: map[Token]heldPort{},
		port:   50000,
		attach: func(Action) bool { return true },
	}
}

// handle gives the machine a message and returns what it sent.
func (r *rig) handle(from Source, b []byte) []sent {
	r.replies = nil
	r.do(r.m.Handle(r.now, from, b))
	return r.replies
}

// advance lets time pass, with every timer on its time.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for n := 0; ; n++ {
		at, ok := r.m.Next()
		if !ok || at.After(end) {
			break
		}
		if n > 1<<20 {
			r.t.Fatalf("the machine's timers do not let time pass")
		}
		if at.After(r.now) {
			r.now = at
		}
		r.do(r.m.Expire(r.now))
	}
	r.now = end
}

// do carries out actions.
func (r *rig) do(actions []Action) {
	r.t.Helper()
	for i, a := range actions {
		switch a.Kind {
		case Reply:
			r.replies = append(r.replies, sent{a.To, bytes.Clone(a.Message)})
		case Open, Attach:
			if i != len(actions)-1 {
				r.t.Fatalf("action %d is followed by others", a.Kind)
			}
			if a.Kind == Open {
				r.open(a)
			} else {
				r.attached = append(r.attached, a)
				r.do(r.m.Attached(r.attach(a)))
			}
			return
		case Forward:
			r.forwards = append(r.forwards, a)
		case Dial:
			r.dials = append(r.dials, a)
		case Release:
			delete(r.held, a.Token)
		default:
			r.alter(a)
		}
	}
}

// open is what a worker does for Open.
func (r *rig) open(a Action) {
	r.t.Helper()
	if _, taken := r.clients[a.To]; taken {
		r.t.Fatalf("a second allocation for %v", a.To)
	}
	s := &shadow{
		id: a.ID, source: a.To, tcp: a.Ports.TCP,
		permissions: map[netip.Addr]bool{}, channels: map[uint16]netip.AddrPort{},
	}
	r.sessions[a.ID], r.clients[a.To] = s, a.ID
	var o Opened
	if a.Ports.Reserved {
		if h, ok := r.held[a.Ports.Token]; ok && h.user == a.User {
			delete(r.held, a.Ports.Token)
			o.Relayed[FamilyOf(h.addr.Addr())] = h.addr
		}
	} else {
		for f, addr := range []netip.Addr{relay4, relay6} {
			if !a.Ports.Families[f] || r.shut[f] || !r.cfg.Families[f] {
				continue
			}
			o.Relayed[f] = netip.AddrPortFrom(addr, r.port)
			if a.Ports.Reserve {
				binary.BigEndian.PutUint64(o.Token[:], 0xC0FFEE0000+uint64(r.port))
				r.held[o.Token] = heldPort{netip.AddrPortFrom(addr, r.port+1), a.User}
			}
			r.port += 2
		}
	}
	s.relayed = o.Relayed
	r.do(r.m.Opened(r.now, a.ID, o))
}

// alter is what a worker does for the actions that are about a session.
func (r *rig) alter(a Action) {
	r.t.Helper()
	s := r.sessions[a.ID]
	if s == nil {
		r.t.Fatalf("action %d for allocation %d, which does not exist", a.Kind, a.ID)
		return
	}
	has := func(want bool, got bool, what string) {
		if want != got {
			r.t.Fatalf("action %d of allocation %d: %s", a.Kind, a.ID, what)
		}
	}
	peer := a.Peer.Addr()
	switch a.Kind {
	case Close:
		delete(r.clients, s.source)
		delete(r.clients, s.next)
		delete(r.sessions, a.ID)
	case CloseFamily:
		has(true, s.relayed[a.Family].IsValid(), "there is no address of that family")
		s.relayed[a.Family] = netip.AddrPort{}
	case Permit:
		has(false, s.permissions[peer], "permitted already")
		has(true, s.relayed[FamilyOf(peer)].IsValid(), "a permission for a family that is not relayed")
		s.permissions[peer] = true
	case Revoke:
		has(true, s.permissions[peer], "no such permission")
		delete(s.permissions, peer)
	case BindChannel:
		_, bound := s.channels[a.Channel]
		has(false, bound, "the channel is bound already")
		has(true, s.permissions[peer], "a channel to a peer without permission")
		s.channels[a.Channel] = a.Peer
	case UnbindChannel:
		has(true, s.channels[a.Channel] == a.Peer, "the channel is not bound to that peer")
		delete(s.channels, a.Channel)
	case Move:
		delete(r.clients, s.next)
		s.next = a.To
		r.clients[a.To] = a.ID
	case Settle:
		gone := !a.To.Client.IsValid()
		has(true, gone || a.To == s.source || a.To == s.next, "settled where the client never was")
		delete(r.clients, s.source)
		delete(r.clients, s.next)
		s.source, s.next = a.To, Source{}
		if !gone {
			r.clients[a.To] = a.ID
		}
	case Reply, Open, Forward, Dial, Attach, Release:
	default:
		r.t.Fatalf("unknown action %d", a.Kind)
	}
}

// session returns the allocation of a client, as a worker has it; nil if there is none.
func (r *rig) session(at Source) *shadow {
	if id, ok := r.clients[at]; ok {
		return r.sessions[id]
	}
	return nil
}

// forwards reports whether data passes between a client and a peer, and by which channel.
func (s *shadow) relays(peer netip.AddrPort) (channel uint16, permitted bool) {
	if s == nil {
		return 0, false
	}
	for n, p := range s.channels {
		if p == peer {
			channel = n
		}
	}
	return channel, s.permissions[peer.Addr()]
}

// permitted returns the addresses with a permission, in order.
func (s *shadow) permitted() []netip.Addr {
	var list []netip.Addr
	for a := range s.permissions {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

var _ failer = testing.TB(nil)
