package relay

import (
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/conf"
	"causeway/internal/netio"
	"causeway/relay/auth"
	"causeway/relay/turn"
)

// somePorts is a setting for n relay ports, an even number, where the kernel gives nobody ports of its choice.
func somePorts(n int) string {
	first := 20000 + 2*mathrand.IntN(5000-n)
	return fmt.Sprintf("  ports: %d-%d\n", first, first+n-1)
}

// TestPortsForOthers: a user who allocates and deletes as fast as possible has no more than that user's share of the
// ports, though each should rest after use.
func TestPortsForOthers(t *testing.T) {
	const ports, cycles = 10, 35
	r, server := start(t, plain+somePorts(ports)+"  limits: {allocations_per_user: 1}\n")
	c := newClient(t, server, "alice", "secret")
	for range cycles {
		c.allocate()
		c.delete()
	}
	newClient(t, server, "bob", "hidden").allocate()
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	if n := metric(t, r, "ports_reused_early_total", "ipv4", "udp"); n == 0 {
		t.Error("no port was used early: the test has more ports than it should")
	}
}

// TestReservationsAreBounded: who deletes the allocation that a port was reserved with has that port still, and no more
// of those than allocations are allowed.
func TestReservationsAreBounded(t *testing.T) {
	const ports, each = 20, 2
	r, server := start(t, plain+somePorts(ports)+"  limits: {allocations_per_user: 2}\n")
	alice, bob := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	pair := attribute{turn.AttrEvenPort, []byte{0x80}}
	for n := range ports {
		want := 0
		if n >= each {
			want = 508
		}
		if _, code := alice.request(turn.MethodAllocate, transportUDP, pair); code != want {
			t.Fatalf("pair %d: %d, want %d", n, code, want)
		}
		if want == 0 {
			alice.delete()
		}
	}
	r.reserved.mu.Lock()
	held := len(r.reserved.held)
	r.reserved.mu.Unlock()
	if held != each {
		t.Errorf("%d ports are held, want %d", held, each)
	}
	bob.allocate(pair)
	alice.allocate() // without a pair, as ever
}

// TestRatesOutliveAllocations: a user's rates are not begun anew with each allocation.
func TestRatesOutliveAllocations(t *testing.T) {
	const rate, cycles = 50, 8
	r, server := start(t, plain+"  workers: 1\n  limits: {packets_per_second: 50}\n")
	p := newPeer(t, "127.0.0.1:0")
	began := time.Now()
	for range cycles {
		c := newClient(t, server, "alice", "secret")
		c.allocate()
		c.bind(0x4000, p.addr)
		for range 2 * rate {
			c.sendChannel(0x4000, []byte("x"))
		}
		c.delete()
	}
	// A bucket holds a second's worth.
	most := rate * (1 + time.Since(began).Seconds())
	if got := metric(t, r, "packets_total", "to_peer"); got < rate/2 || got > most {
		t.Errorf("%g packets were relayed, want no more than %g", got, most)
	}
}

// TestDataConnectionsKeepToTheRate: what goes by the data connections of a TCP allocation (RFC 6062) is within its
// user's bytes a second.
func TestDataConnectionsKeepToTheRate(t *testing.T) {
	const rate = 100_000
	tcp := freePort(t)
	start(t, strings.Replace(plain, "[LISTEN]", "[LISTEN, tcp://"+tcp.String()+"]", 1)+"  limits: {bytes_per_second: 100000}\n")
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dialStream(t, tcp, false)
	c.allocateTCP()
	m := c.must(turn.MethodConnect, attribute{peerAddress, l.Addr().(*net.TCPAddr).AddrPort()})
	id, _ := m.Get(turn.AttrConnectionID)
	data := dialStream(t, tcp, false)
	data.must(turn.MethodConnectionBind, attribute{turn.AttrConnectionID, append([]byte(nil), id...)})
	_ = l.SetDeadline(time.Now().Add(answerWait))
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var sender sync.WaitGroup
	defer sender.Wait()
	defer peer.Close()
	sender.Go(func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := peer.Write(b); err != nil {
				return
			}
		}
	})
	got, b := 0, make([]byte, 64<<10)
	for until := began.Add(time.Second); time.Now().Before(until); {
		_ = data.conn.SetReadDeadline(until)
		n, _ := data.conn.Read(b)
		got += n
	}
	// A bucket holds a second's worth; a unit is moved before it is paid for.
	if most := int(rate*(1+time.Since(began).Seconds())) + 2*paceUnit; got < rate/2 || got > most {
		t.Errorf("%d bytes came, want no more than %d", got, most)
	}
}

// TestPaceIsPaidInFull: however much the data connections of an allocation move at once, all of it is paid for.
func TestPaceIsPaidInFull(t *testing.T) {
	const rate, moved = 100_000, 1_000_000
	account, err := auth.NewQuota(auth.QuotaOptions{BytesPerSecond: rate}).Acquire("alice")
	if err != nil {
		t.Fatal(err)
	}
	defer account.Release()
	began := time.Unix(1000, 0)
	now := began
	p := pace{now: func() time.Time { return now }}
	p.lease.Init(account)
	defer p.close()
	for wait := p.move(moved); wait > 0; wait = p.move(0) {
		if now = now.Add(wait); now.Sub(began) > time.Minute {
			t.Fatal("it is never paid")
		}
	}
	// A bucket holds a second's worth.
	if took := now.Sub(began); took < (moved/rate-1)*time.Second-paceDelay || took > moved/rate*time.Second {
		t.Errorf("%d bytes at %d a second took %v", moved, rate, took)
	}
}

// TestForwardsAreBounded: what waits for a worker that is busy is bounded in number and in length.
func TestForwardsAreBounded(t *testing.T) {
	const more = 50
	r, server := start(t, plain+"  workers: 2\n")
	_, ticket := clientAt(t, r, server, 0).allocateMobile()
	k := clientAt(t, r, server, 1)
	owner, other := r.workers[0], r.workers[1]
	busy := make(chan struct{})
	free := sync.OnceFunc(func() { close(busy) })
	t.Cleanup(free)
	owner.call(func(time.Time) { <-busy })
	dropped := func() (n uint64) {
		done := make(chan struct{})
		other.call(func(time.Time) {
			n = other.listeners[0].fates[WorkerQueue]
			close(done)
		})
		<-done
		return n
	}
	moving := attribute{turn.AttrMobilityTicket, ticket}
	k.send(k.compose(turn.MethodRefresh, turn.ClassRequest, moving, attribute{turn.AttrSoftware, make([]byte, maxForward)}))
	waitFor(t, "the drop of a long one", func() bool { return dropped() == 1 })
	b := k.compose(turn.MethodRefresh, turn.ClassRequest, moving)
	for range forwards + more {
		k.send(b)
	}
	waitFor(t, "the drops of those too many", func() bool { return dropped() == 1+more })
	if n := owner.forwarded.Load(); n != forwards {
		t.Errorf("%d wait, want %d", n, forwards)
	}
	free()
	if m, code := k.answer(turn.TransactionID(b[8:20])); code != 0 {
		t.Errorf("the move: %d, %v", code, m.Class)
	}
	waitFor(t, "an empty queue", func() bool { return owner.forwarded.Load() == 0 })
	if n := metric(t, r, "packets_dropped_total", "udp://"+server.String(), "worker_queue"); n != 1+more {
		t.Errorf("%g are counted", n)
	}
}

// TestOwnRangeIsNotOwn: what another program has of the relay's range is as foreign as that program, while it is not an
// allocation's; what an allocation has is the relay's own.
func TestOwnRangeIsNotOwn(t *testing.T) {
	_, server := start(t, `  listen: [LISTEN]
  users: {alice: secret, bob: hidden}
  federation: closed
  peers: {deny: [127.0.0.0/8]}
  ports: 20000-29999
  workers: 1
`)
	var stranger *udpPeer
	for stranger == nil {
		local := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 20000 + mathrand.IntN(10000)}
		if conn, err := net.ListenUDP("udp", &local); err == nil {
			t.Cleanup(func() { conn.Close() })
			stranger = &udpPeer{t, conn, local.AddrPort()}
		}
	}
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	ra, rb := a.allocate(), b.allocate()
	a.permit(rb) // an address, whose ports differ
	b.permit(ra)
	a.sendTo(stranger.addr, []byte("to somebody's program"))
	stranger.nothing()
	if _, code := a.request(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4000 << 16)},
		attribute{peerAddress, stranger.addr}); code != 403 {
		t.Errorf("ChannelBind: %d, want 403", code)
	}
	stranger.send([]byte("from somebody's program"), ra)
	a.nothing()
	a.sendTo(rb, []byte("to bob"))
	if from, err := indicationPeer(b); err != nil || from != ra {
		t.Errorf("from %s, %v", from, err)
	}
	b.delete() // and its address is nobody's
	a.sendTo(rb, []byte("to nobody"))
	a.nothing()
}

// TestSecondInstance: another relay cannot begin at an address that one listens on, where it would get a part of the
// clients without knowing anything of them.
func TestSecondInstance(t *testing.T) {
	_, udp, tcp := startTwice(t, 2)
	for _, at := range []string{"udp://" + udp.String(), "tcp://" + tcp.String()} {
		text := "state_dir: " + t.TempDir() + "\nrelay:\n  realm: " + testRealm + "\n" + strings.ReplaceAll(plain, "LISTEN", at)
		cfg, _, err := conf.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		second, err := New(Config{Relay: cfg.Relay, Engine: netio.Sockets(), Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			second.Close()
			t.Errorf("a second relay listens on %s", at)
		} else if !strings.Contains(err.Error(), "address already in use") {
			t.Error(err)
		}
	}
}

// TestOneFate: a datagram for a client that does not read is relayed or dropped, and never counted as both.
func TestOneFate(t *testing.T) {
	const sent = 400
	tcp := freePort(t)
	r, _ := start(t, strings.Replace(plain, "[LISTEN]", "[LISTEN, tcp://"+tcp.String()+"]", 1)+
		"  limits: {bytes_per_second: 0, packets_per_second: 0}\n")
	c, p := dialStream(t, tcp, false), newPeer(t, "127.0.0.1:0")
	m := c.must(turn.MethodAllocate, transportUDP)
	relayed, _ := m.Addr(turn.AttrXORRelayedAddress)
	c.must(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4001 << 16)}, attribute{peerAddress, p.addr})
	counted := func() (all, full float64) {
		full = metric(t, r, "packets_dropped_total", peerListener, "client_queue")
		return metric(t, r, "packets_total", "to_client") + full + metric(t, r, "socket_dropped_total", peerListener), full
	}
	for range sent {
		p.send(make([]byte, 60000), relayed)
		time.Sleep(50 * time.Microsecond)
	}
	waitFor(t, "every datagram's fate", func() bool {
		all, _ := counted()
		return all >= sent
	})
	time.Sleep(silence) // for what was counted twice, before the last came
	if all, full := counted(); all != sent || full == 0 {
		t.Errorf("%g datagrams are counted of %d, %g of them for a full queue", all, sent, full)
	}
}

// TestChannelsToWhoHasGone: a channel to another client's relayed address is not one to the program that has the port
// after it.
func TestChannelsToWhoHasGone(t *testing.T) {
	r, server := start(t, `  listen: [LISTEN]
  users: {alice: secret, bob: hidden}
  peers: {deny: [127.0.0.0/8]}
  workers: 1
`)
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	ra, rb := a.allocate(), b.allocate()
	a.bind(0x4000, rb)
	b.bind(0x4000, ra)
	a.sendChannel(0x4000, []byte("to bob"))
	if got := b.next(); string(got[4:]) != "to bob" {
		t.Fatalf("%x", got)
	}
	b.delete()
	stranger := newPeer(t, rb.String())
	a.sendChannel(0x4000, []byte("to whoever has bob's port"))
	stranger.nothing()
	stranger.send([]byte("from whoever has bob's port"), ra)
	a.nothing()
	for _, where := range []string{"udp://" + server.String(), "relay_ports"} {
		if got := metric(t, r, "packets_dropped_total", where, "policy"); got != 1 {
			t.Errorf("%g dropped by policy at %s", got, where)
		}
	}
}

// TestReadyTriesWhatFailed: when another program has the relay's ports, the relay is not ready, until one can be had.
func TestReadyTriesWhatFailed(t *testing.T) {
	const ports = 3
	var taken []*net.UDPConn
	first := 0
	for len(taken) < ports { // as many in a row that nobody has
		for _, c := range taken {
			c.Close()
		}
		taken, first = nil, 20000+mathrand.IntN(9000)
		for n := range ports {
			if c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first + n}); err == nil {
				taken = append(taken, c)
			}
		}
	}
	defer func() {
		for _, c := range taken {
			c.Close()
		}
	}()
	r, server := start(t, plain+fmt.Sprintf("  ports: %d-%d\n  port_quarantine: 100ms\n", first, first+ports-1))
	if err := r.Ready(); err != nil {
		t.Fatalf("before anything was tried: %v", err)
	}
	c := newClient(t, server, "alice", "secret")
	if _, code := c.request(turn.MethodAllocate, transportUDP); code != 508 {
		t.Fatalf("an allocation without a port: %d", code)
	}
	for range 3 {
		if r.Ready() == nil {
			t.Fatalf("ready, though no port can be opened")
		}
		time.Sleep(60 * time.Millisecond)
	}
	for _, c := range taken {
		c.Close()
	}
	waitFor(t, "a port that can be opened", func() bool { return r.Ready() == nil })
	c.allocate()
}
