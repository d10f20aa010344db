package turn

import (
	"errors"
	"slices"
	"testing"
	"time"

	"causeway/relay/auth"
)

// script is arbitrary bytes read as a sequence of things that happen to a machine.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// take reads a length and as many bytes.
func (s *script) take() []byte {
	n := min(int(s.next()), len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return slices.Clone(b)
}

// What happens, by the first byte of each step.
const (
	stepBytes   = iota // arbitrary bytes come from a client
	stepRequest        // a request of arbitrary attributes, sealed with the right key
	stepAgain          // the last of those, again
	stepTamper         // or with a byte changed
	stepWait
	stepDisconnect
	stepHeard
	stepDialed
	stepKill
	steps
)

// Things that an attribute of one byte stands for, where random bytes would hardly be any.
var fuzzAttributes = []Attr{
	AttrRequestedTransport, AttrLifetime, AttrXORPeerAddress, AttrChannelNumber, AttrEvenPort, AttrReservationToken,
	AttrMobilityTicket, AttrRequestedAddressFamily, AttrAdditionalAddressFamily, AttrDontFragment, AttrConnectionID,
	AttrSoftware, AttrUsername, AttrNonce, AttrMessageIntegrity, AttrFingerprint, AttrPasswordAlgorithm, 0x7777, 0x0000,
}

// fuzzRun is a machine that a script happens to.
type fuzzRun struct {
	*testing.T
	rig     *rig
	clients []*client
	ticket  []byte
	token   []byte
	last    []byte
	by      *client
}

func newFuzzRun(t *testing.T) *fuzzRun {
	run := &fuzzRun{T: t}
	run.rig = newRig(t, func(s *setup) {
		s.quota = auth.QuotaOptions{AllocationsPerUser: 3, Allocations: 4}
		s.rate = 0
		s.secrets = []string{"rest"}
	})
	run.rig.attach = func(a Action) bool { return a.Connection%2 == 0 }
	rest := auth.RestCredential("rest", "carol", began.Add(20*time.Minute))
	for i, at := range modelSources {
		run.clients = append(run.clients, run.rig.alice(at), run.rig.client(at, "bob", "hunter2"),
			run.rig.client(at, rest.Username, rest.Password))
		run.clients[len(run.clients)-1].modern = i%2 == 0
		run.clients[len(run.clients)-1].alg = auth.SHA256
		run.clients[len(run.clients)-2].fingerprint = i%2 == 0
	}
	return run
}

// parts reads attributes.
func (run *fuzzRun) parts(s *script) (parts []with) {
	for range s.next() % 8 {
		typ := fuzzAttributes[int(s.next())%len(fuzzAttributes)]
		value := s.take()
		switch {
		case typ == AttrXORPeerAddress && len(value) == 1:
			parts = append(parts, to(modelPeers[int(value[0])%len(modelPeers)]))
			continue
		case typ == AttrMobilityTicket && len(value) == 1:
			value = run.ticket
		case typ == AttrReservationToken && len(value) == 1:
			value = run.token
		case typ == AttrLifetime && len(value) == 1:
			value = []byte{0, 0, value[0], 0}
		case len(value) == 1 && typ != AttrEvenPort:
			value = []byte{value[0], 0, 0, 0}
		}
		parts = append(parts, raw(typ, value...))
	}
	return parts
}

// step lets the next thing happen.
func (run *fuzzRun) step(s *script) {
	r := run.rig
	kind, c := s.next()%steps, run.clients[int(s.next())%len(run.clients)]
	at := c.source
	switch kind {
	case stepBytes:
		run.unsealed(r.handle(at, s.take()))
	case stepRequest:
		if c.nonce == nil {
			c.learn(c.send((&client{rig: r, fingerprint: c.fingerprint}).build(MethodRefresh, c.id())))
		}
		r.shut = [families]bool{s.next()%8 == 0, s.next()%8 == 0}
		run.by, run.last = c, c.build(Method(s.next()%16), c.id(), run.parts(s)...)
		run.answered(c.send(run.last))
		r.shut = [families]bool{}
	case stepAgain:
		if run.by != nil {
			run.answered(run.by.send(run.last))
		}
	case stepTamper:
		if b := slices.Clone(run.last); run.by != nil {
			b[int(s.next())%(len(b)-attrHeaderSize-fingerprintSize)] ^= 1 << (s.next() % 8)
			run.unsealed(r.handle(run.by.source, b))
		}
	case stepWait:
		r.advance(time.Duration(s.next()) * time.Duration(s.next()) * 100 * time.Millisecond)
	case stepDisconnect:
		r.do(r.m.Disconnected(at))
	case stepHeard:
		if x := r.session(at); x != nil {
			r.do(r.m.Heard(x.id, at))
		}
	case stepDialed:
		if len(r.dials) > 0 {
			d := r.dials[0]
			r.dials = r.dials[1:]
			outcome := []error{nil, errors.New("refused"), ErrConnectionExists, ErrCapacity}[s.next()%4]
			r.do(r.m.Dialed(d.ID, d.Peer, uint32(s.next()), outcome))
			r.do(r.m.Accepted(d.ID, d.Peer, uint32(s.next())))
			r.do(r.m.Unreachable(d.ID, d.Peer, s.next(), s.next(), uint32(s.next())))
		}
	case stepKill:
		if x := r.session(at); x != nil {
			actions, ok := r.m.Kill(x.id)
			if !ok {
				run.Fatal("an allocation could not be ended")
			}
			r.do(actions)
		}
	}
}

// answered keeps what an answer gives.
func (run *fuzzRun) answered(a answer) {
	if a.oracle == nil {
		return
	}
	if v := a.value(AttrMobilityTicket); v != nil {
		run.ticket = v
	}
	if v := a.value(AttrReservationToken); v != nil {
		run.token = v
	}
}

// unsealed fails unless replies are such as go to somebody unproven.
func (run *fuzzRun) unsealed(replies []sent) {
	if len(replies) > 1 {
		run.Fatalf("%d replies", len(replies))
	}
	for _, reply := range replies {
		checkRefusal(run.T, reply, nil, 0)
	}
}

// check fails unless machine and worker agree about what there is.
func (run *fuzzRun) check() {
	r := run.rig
	n := len(r.sessions)
	if r.m.Len() != n || r.cfg.Quota.Allocations() != n || len(r.m.sources) != len(r.clients) {
		run.Fatalf("%d sessions, %d allocations, %d counted, %d and %d five-tuples", n, r.m.Len(),
			r.cfg.Quota.Allocations(), len(r.m.sources), len(r.clients))
	}
	if timers := r.m.wheel.Len(); timers < n || timers > n+1 {
		run.Fatalf("%d timers for %d allocations", timers, n)
	}
	for _, s := range r.sessions {
		if len(s.permissions) > r.cfg.MaxPermissions || len(s.channels) > r.cfg.MaxChannels {
			run.Fatalf("%d permissions and %d channels", len(s.permissions), len(s.channels))
		}
		for number := range s.channels {
			if number < MinChannel || number > MaxChannel {
				run.Fatalf("channel %#x is bound", number)
			}
		}
		for addr := range s.permissions {
			if addr == forbidden.Addr() {
				run.Fatal("a forbidden peer is permitted")
			}
		}
	}
}

// FuzzMachine lets arbitrary sequences happen to a machine; whatever they are, it agrees with its worker, answers nobody
// unproven with more than 100 bytes or anything sealed, and is empty when all of it has expired.
func FuzzMachine(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		run, s := newFuzzRun(t), script(b)
		for n := 0; len(s) > 0 && n < 200; n++ {
			run.step(&s)
			run.check()
		}
		run.rig.advance(2 * time.Hour)
		run.check()
		if run.rig.m.Len() != 0 || run.rig.m.wheel.Len() != 0 || len(run.rig.held) != 0 {
			t.Errorf("%d allocations, %d timers and %d ports are left", run.rig.m.Len(), run.rig.m.wheel.Len(), len(run.rig.held))
		}
	})
}

// fuzzSeeds are sequences that reach far.
func fuzzSeeds() [][]byte {
	request := func(client byte, method Method, attrs ...[]byte) []byte {
		return slices.Concat([]byte{stepRequest, client, 1, 1, byte(method), byte(len(attrs))}, slices.Concat(attrs...))
	}
	attribute := func(typ Attr, value ...byte) []byte {
		at := slices.Index(fuzzAttributes, typ)
		return append([]byte{byte(at), byte(len(value))}, value...)
	}
	wait := func(d time.Duration) []byte { return []byte{stepWait, 0, 10, byte(d / time.Second)} }
	plain := attribute(AttrRequestedTransport, protocolUDP)
	over := attribute(AttrRequestedTransport, protocolTCP)
	peer := func(n byte) []byte { return attribute(AttrXORPeerAddress, n) }
	return [][]byte{
		slices.Concat(
			request(0, MethodAllocate, plain, attribute(AttrAdditionalAddressFamily, 2)),
			request(0, MethodChannelBind, attribute(AttrChannelNumber, 0x40, 1, 0, 0), peer(0)),
			request(0, MethodCreatePermission, peer(1), peer(2)), []byte{stepAgain, 0}, wait(200*time.Second), wait(200*time.Second),
			request(0, MethodRefresh, attribute(AttrRequestedAddressFamily, 1), attribute(AttrLifetime, 0)),
			request(0, MethodRefresh, attribute(AttrLifetime, 0)), []byte{stepAgain, 0},
		),
		slices.Concat(
			request(1, MethodAllocate, plain, attribute(AttrEvenPort, 0x80), attribute(AttrMobilityTicket)),
			request(4, MethodAllocate, plain, attribute(AttrReservationToken, 1)), wait(31*time.Second),
			request(13, MethodRefresh, attribute(AttrMobilityTicket, 1)), []byte{stepAgain, 0, stepTamper, 0, 40, 3, stepHeard, 13},
			request(1, MethodRefresh),
		),
		slices.Concat(
			request(6, MethodAllocate, over), request(6, MethodCreatePermission, peer(0)),
			request(6, MethodConnect, peer(0)), request(6, MethodConnect, peer(0)), []byte{stepDialed, 6, 0, 5, 6, 3, 3, 0},
			request(9, MethodConnectionBind, attribute(AttrConnectionID, 0, 0, 0, 4)), []byte{stepDisconnect, 6, stepKill, 0},
		),
		slices.Concat([]byte{stepBytes, 0, 20}, message(0x0001), []byte{stepBytes, 3, 20}, message(0x0003)),
		slices.Concat(request(2, MethodAllocate, plain), wait(255*time.Second), request(2, MethodRefresh, attribute(AttrLifetime, 14)), []byte{stepKill, 2}),
	}
}
