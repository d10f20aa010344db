package stream

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// owner is the allocation of most tests.
var owner = Owner{ID: 7, User: "alice"}

// relayPort is a relayed address that peers may connect to.
func relayPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := netio.ListenStream(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return addrPort(l.Addr())
}

// table runs a table of peer connections until the test ends.
func table(t *testing.T, limits DataLimits) *Connections {
	t.Helper()
	peers := NewConnections(limits, nil)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- peers.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := next(t, "end of the table", done); err != nil {
			t.Error(err)
		}
		if c := peers.Counters(); c.Pending != 0 || c.Active != 0 || c.Allocations != 0 {
			t.Errorf("left after Run: %+v", c)
		}
	})
	return peers
}

// open makes a TCP allocation whose peers are all welcome.
func open(t *testing.T, peers *Connections, o Owner) (local netip.AddrPort, offers <-chan uint32) {
	t.Helper()
	local = relayPort(t)
	ids := make(chan uint32, 64)
	if err := peers.Listen(o, local, func(id uint32, _ netip.AddrPort) bool { ids <- id; return true }); err != nil {
		t.Fatal(err)
	}
	return local, ids
}

// peer is a listening peer and the connections that it accepted.
func peer(t *testing.T) (netip.AddrPort, <-chan *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *net.TCPConn, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		close(conns)
		for c := range conns {
			_ = c.Close()
		}
	})
	return addrPort(l.Addr()), conns
}

func accepted(t *testing.T, from <-chan *net.TCPConn) *net.TCPConn {
	t.Helper()
	c := next(t, "connection at the peer", from)
	t.Cleanup(func() { _ = c.Close() })
	patient(t, c)
	return c
}

type dialed struct {
	id  uint32
	err error
}

func dialPeer(peers *Connections, o Owner, local, to netip.AddrPort) <-chan dialed {
	done := make(chan dialed, 1)
	peers.Dial(o, local, to, func(id uint32, err error) { done <- dialed{id, err} })
	return done
}

// binder is a handler that answers a ConnectionBind for the connection that its last four bytes name, and echoes
// everything else.
func binder(t *testing.T, peers *Connections, user string) *keeper {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) {
		if !isConnectionBind(frame) {
			c.Send(frame, Control)
			return
		}
		id := uint32(frame[20])<<24 | uint32(frame[21])<<16 | uint32(frame[22])<<8 | uint32(frame[23])
		if err := peers.Bind(id, user, c); err != nil {
			c.Send(refusal, Control)
			return
		}
		c.Send(success, Control)
	}
	return k
}

var (
	success = message(0x10b, 1, 0) // ConnectionBind success response
	refusal = message(0x11b, 1, 0) // ConnectionBind error response
)

func connectionBindFor(id uint32) []byte {
	b := message(0x0b, 1, 4)
	b[20], b[21], b[22], b[23] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
	return b
}

func TestAcceptedPeers(t *testing.T) {
	peers := table(t, DataLimits{})
	k := binder(t, peers, "alice")
	l := serve(t, Options{Network: TCP}, k)
	local, offers := open(t, peers, owner)
	p, err := net.DialTimeout("tcp", local.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	patient(t, p)
	write(t, p, []byte("hello"))
	id := next(t, "offer", offers)
	// There is one connection with this peer now.
	if d := next(t, "answer", dialPeer(peers, owner, local, addrPort(p.LocalAddr()))); !errors.Is(d.err, turn.ErrConnectionExists) {
		t.Errorf("a second connection: %v", d.err)
	}
	c := dial(t, l)
	write(t, c, connectionBindFor(id))
	expect(t, c, append(bytes.Clone(success), "hello"...))
	if n := peers.Counters(); n.Accepted != 1 || n.Bound != 1 || n.Refused != 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestForbiddenPeerIsReset(t *testing.T) {
	peers := table(t, DataLimits{})
	local := relayPort(t)
	asked := make(chan netip.AddrPort, 1)
	if err := peers.Listen(owner, local, func(_ uint32, p netip.AddrPort) bool { asked <- p; return false }); err != nil {
		t.Fatal(err)
	}
	p, err := net.DialTimeout("tcp", local.String(), patience)
	question := next(t, "question", asked)
	if err == nil { // else the reset was faster
		defer func() { _ = p.Close() }()
		patient(t, p)
		if question != addrPort(p.LocalAddr()) {
			t.Errorf("asked about %v", question)
		}
		if b := expectEnd(t, p); len(b) > 0 {
			t.Errorf("got %x", b)
		}
	}
	eventually(t, func() bool { c := peers.Counters(); return c.Forbidden == 1 && c.Pending == 0 }, func() {
		t.Errorf("counted %+v", peers.Counters())
	})
}

func TestBindRefusals(t *testing.T) {
	peers := table(t, DataLimits{})
	alice, mallory := binder(t, peers, "alice"), binder(t, peers, "mallory")
	la, lm := serve(t, Options{Network: TCP}, alice), serve(t, Options{Network: TCP}, mallory)
	local, _ := open(t, peers, owner)
	to, _ := peer(t)
	d := next(t, "connection", dialPeer(peers, owner, local, to))

	thief := dial(t, lm)
	write(t, thief, append(connectionBindFor(d.id), bindingRequest(3)...))
	expect(t, thief, append(bytes.Clone(refusal), bindingRequest(3)...)) // it stays a connection like others
	c := dial(t, la)
	write(t, c, append(connectionBindFor(d.id+1), connectionBindFor(d.id)...))
	expect(t, c, append(bytes.Clone(refusal), success...))
	again := dial(t, la)
	write(t, again, connectionBindFor(d.id))
	expect(t, again, refusal) // somebody has it

	// Bind answers requests; it takes no connection that did not ask.
	e := next(t, "connection", dialPeer(peers, owner, local, another(t)))
	write(t, dial(t, lm), bindingRequest(1))
	next(t, "connection", mallory.accepted)
	conn := next(t, "connection", mallory.accepted)
	for want, err := range map[error]error{
		ErrNotBinding:        peers.Bind(e.id, "alice", conn),
		ErrWrongUser:         peers.Bind(e.id, "bob", conn),
		ErrUnknownConnection: peers.Bind(d.id, "alice", conn),
	} {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// another returns the address of one more peer.
func another(t *testing.T) netip.AddrPort {
	t.Helper()
	to, _ := peer(t)
	return to
}

// A connection that has an allocation cannot become a data connection, and one whose answer never comes ends. One whose
// request is dropped goes on.
func TestConnectionsThatCannotBind(t *testing.T) {
	peers := table(t, DataLimits{})
	local, _ := open(t, peers, owner)
	d := next(t, "connection", dialPeer(peers, owner, local, another(t)))
	results := make(chan error, 1)
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) {
		if isConnectionBind(frame) {
			results <- peers.Bind(d.id, "alice", c)
		} else {
			c.SetAllocated(true)
			c.Send(frame, Control)
		}
	}
	l := serve(t, Options{Network: TCP, Limits: Limits{Idle: 100 * time.Millisecond}}, k)
	c := dial(t, l)
	write(t, c, append(bindingRequest(1), connectionBindFor(d.id)...))
	if err := next(t, "result", results); !errors.Is(err, ErrNotBinding) {
		t.Errorf("with an allocation: %v", err)
	}
	write(t, c, bindingRequest(2))
	expect(t, c, append(bindingRequest(1), bindingRequest(2)...))
	c = dial(t, l)
	write(t, c, connectionBindFor(d.id))
	if err := next(t, "result", results); err != nil {
		t.Error(err)
	}
	expectEnd(t, c)
	expectEnded(t, l, IdleTimeout, 1)
	eventually(t, func() bool { return peers.Counters().Active == 0 }, func() { t.Error("the peer's connection is left") })
}

func TestUnclaimedConnectionsEnd(t *testing.T) {
	peers := table(t, DataLimits{Bind: 100 * time.Millisecond})
	local, offers := open(t, peers, owner)
	to, conns := peer(t)
	d := next(t, "connection", dialPeer(peers, owner, local, to))
	if d.err != nil {
		t.Fatal(d.err)
	}
	p := accepted(t, conns)
	in, err := net.DialTimeout("tcp", local.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	patient(t, in)
	next(t, "offer", offers)
	expectEnd(t, p)
	expectEnd(t, in)
	if c := peers.Counters(); c.Unclaimed != 2 || c.Pending != 0 {
		t.Errorf("counted %+v", c)
	}
	if d := next(t, "connection", dialPeer(peers, owner, local, to)); d.err != nil {
		t.Errorf("the peer cannot be connected to again: %v", d.err)
	}
}

func TestPeerConnectionsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits DataLimits
		second Owner
	}{
		{"pending in all", DataLimits{Pending: 2}, Owner{ID: 8, User: "bob"}},
		{"pending of one allocation", DataLimits{PendingEach: 2}, owner},
		{"open of one allocation", DataLimits{Open: 2}, owner},
	} {
		t.Run(c.name, func(t *testing.T) {
			peers := table(t, c.limits)
			local, _ := open(t, peers, owner)
			other := local
			if c.second.ID != owner.ID {
				other, _ = open(t, peers, c.second)
			}
			for range 2 {
				if d := next(t, "connection", dialPeer(peers, owner, local, another(t))); d.err != nil {
					t.Fatal(d.err)
				}
			}
			if d := next(t, "answer", dialPeer(peers, c.second, other, another(t))); !errors.Is(d.err, turn.ErrCapacity) {
				t.Errorf("dial beyond the bound: %v", d.err)
			}
			in, err := net.DialTimeout("tcp", other.String(), patience)
			if err == nil {
				patient(t, in)
				expectEnd(t, in)
				_ = in.Close()
			}
			eventually(t, func() bool { return peers.Counters().Refused == 2 }, func() { t.Errorf("counted %+v", peers.Counters()) })
		})
	}
}

func TestDialFailures(t *testing.T) {
	peers := table(t, DataLimits{Connect: 200 * time.Millisecond})
	local, _ := open(t, peers, owner)
	closed := relayPort(t)
	// A peer that does not answer: its queue of connections that wait to be accepted is full.
	deaf, full := deafPeer(t)
	for name, to := range map[string]netip.AddrPort{"refused": closed, "deaf": deaf} {
		began := time.Now()
		d := next(t, name, dialPeer(peers, owner, local, to))
		if d.err == nil || errors.Is(d.err, turn.ErrCapacity) || errors.Is(d.err, turn.ErrConnectionExists) || errors.Is(d.err, ErrClosed) {
			t.Errorf("%s: %v", name, d.err)
		}
		if name == "deaf" && full && time.Since(began) < 150*time.Millisecond {
			t.Errorf("gave up after %v", time.Since(began))
		}
	}
	if d := next(t, "answer", dialPeer(peers, Owner{ID: 99}, local, closed)); !errors.Is(d.err, ErrClosed) {
		t.Errorf("dial for an allocation that does not listen: %v", d.err)
	}
	if c := peers.Counters(); c.DialFailed != 2 || c.Pending != 0 {
		t.Errorf("counted %+v", c)
	}
}

// deafPeer is a peer whose kernel answers no more connections.
func deafPeer(t *testing.T) (netip.AddrPort, bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(loopback.Addr(), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 4 {
		c, err := net.DialTimeout("tcp", to.String(), 100*time.Millisecond)
		if err != nil {
			return to, true
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return to, false
}

func TestCloseOfAnAllocation(t *testing.T) {
	r := join(t, DataLimits{Connect: time.Minute}, owner, false)
	local, offers := open(t, r.peers, owner) // its second family, say
	in, err := net.DialTimeout("tcp", local.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	patient(t, in)
	id := next(t, "offer", offers)
	deaf, full := deafPeer(t)
	under := dialPeer(r.peers, owner, local, deaf)
	// Another allocation's stay.
	other := Owner{ID: 8, User: "bob"}
	otherLocal, otherOffers := open(t, r.peers, other)

	r.peers.Close(owner.ID)
	expectEnd(t, in)
	expectEnd(t, r.client)
	expectEnd(t, r.peer)
	if d := next(t, "end of the dial", under); full && !errors.Is(d.err, ErrClosed) {
		t.Errorf("what was under way: %v", d.err)
	}
	if c, err := net.DialTimeout("tcp", local.String(), patience); err == nil {
		_ = c.Close()
		t.Error("the relayed address is still open")
	}
	if err := r.peers.Bind(id, "alice", nil); !errors.Is(err, ErrUnknownConnection) {
		t.Errorf("Bind: %v", err)
	}
	if d := next(t, "answer", dialPeer(r.peers, owner, local, another(t))); !errors.Is(d.err, ErrClosed) {
		t.Errorf("dial: %v", d.err)
	}
	r.peers.Close(owner.ID) // again

	c, err := net.DialTimeout("tcp", otherLocal.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	next(t, "offer", otherOffers)
}

func TestListenErrors(t *testing.T) {
	peers := table(t, DataLimits{})
	taken, err := net.Listen("tcp", "127.0.0.1:0") // without SO_REUSEPORT
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if err := peers.Listen(owner, addrPort(taken.Addr()), nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen on a port that is taken: %v", err)
	}
}

func TestTableThatHasEnded(t *testing.T) {
	peers := NewConnections(DataLimits{}, nil)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := peers.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := peers.Listen(owner, relayPort(t), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	if d := next(t, "answer", dialPeer(peers, owner, loopback, another(t))); !errors.Is(d.err, ErrClosed) {
		t.Errorf("Dial: %v", d.err)
	}
}

// Ids cannot be told from what was seen: no two of many agree in their upper half more often than chance has it.
func TestIDsAreSpread(t *testing.T) {
	peers := table(t, DataLimits{PendingEach: 64})
	local, _ := open(t, peers, owner)
	seen := map[uint32]bool{}
	upper := map[uint32]int{}
	for range 60 {
		d := next(t, "connection", dialPeer(peers, owner, local, another(t)))
		if d.err != nil {
			t.Fatal(d.err)
		}
		if d.id == 0 || seen[d.id] {
			t.Fatalf("id %d", d.id)
		}
		seen[d.id] = true
		upper[d.id>>16]++
	}
	for half, n := range upper {
		if n > 3 {
			t.Errorf("%d of 60 ids begin with %04x", n, half)
		}
	}
}
