package relay

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"causeway/relay/turn"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

func TestSendAndData(t *testing.T) {
	_, server := start(t, plain)
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()

	c.sendTo(p.addr, []byte("too early"))
	p.send([]byte("too early"), relayed)
	p.nothing()
	c.nothing()

	c.permit(p.addr)
	c.sendTo(p.addr, []byte("hello"))
	if b, from := p.receive(); string(b) != "hello" || from != relayed {
		t.Fatalf("%q from %s, allocated %s", b, from, relayed)
	}
	p.send([]byte("back"), relayed)
	m := c.indication()
	data, _ := m.Get(turn.AttrData)
	if peer, err := m.Addr(peerAddress); string(data) != "back" || err != nil || peer != p.addr {
		t.Fatalf("%q from %s, %v", data, peer, err)
	}
}

func TestChannels(t *testing.T) {
	_, server := start(t, plain)
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()
	c.bind(0x4001, p.addr)
	c.sendChannel(0x4001, []byte("hello"))
	if b, from := p.receive(); string(b) != "hello" || from != relayed {
		t.Fatalf("%q from %s, allocated %s", b, from, relayed)
	}
	p.send([]byte("back"), relayed)
	if b := c.next(); channelOf(b) != 0x4001 || string(b[4:]) != "back" {
		t.Fatalf("%x", b)
	}
	// Another port of the peer has the permission that a channel brings, but not the channel.
	other := newPeer(t, "127.0.0.1:0")
	other.send([]byte("other"), relayed)
	if peer, _ := indicationPeer(c); peer != other.addr {
		t.Fatalf("from %s, want %s", peer, other.addr)
	}
}

func indicationPeer(c *client) (netip.AddrPort, error) {
	m := c.indication()
	return m.Addr(peerAddress)
}

// TestClientToClient has two clients talk through their relayed addresses.
func TestClientToClient(t *testing.T) {
	_, server := start(t, plain)
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	ra, rb := a.allocate(), b.allocate()
	a.bind(0x4000, rb)
	b.bind(0x4FFF, ra)
	a.sendChannel(0x4000, []byte("from a"))
	if m := b.next(); channelOf(m) != 0x4FFF || string(m[4:]) != "from a" {
		t.Fatalf("%x", m)
	}
	b.sendChannel(0x4FFF, []byte("from b"))
	if m := a.next(); channelOf(m) != 0x4000 || string(m[4:]) != "from b" {
		t.Fatalf("%x", m)
	}
}

// TestOneToOneNAT: clients are told the address in front of the NAT, and reach each other by it though no packet goes
// that way. The external address is one that nothing here has.
func TestOneToOneNAT(t *testing.T) {
	_, server := start(t, plain+"  external_address: 203.0.113.7\n")
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "bob", "hidden")
	ra, rb := a.allocate(), b.allocate()
	if ra.Addr() != netip.MustParseAddr("203.0.113.7") {
		t.Fatalf("allocated %s", ra)
	}
	a.permit(rb)
	b.permit(ra)
	a.sendTo(rb, []byte("by way of nowhere"))
	m := b.indication()
	data, _ := m.Get(turn.AttrData)
	if peer, err := m.Addr(peerAddress); err != nil || peer != ra || string(data) != "by way of nowhere" {
		t.Fatalf("%q from %s, %v; want it from %s", data, peer, err, ra)
	}
	b.bind(0x4000, ra)
	b.sendChannel(0x4000, []byte("and back"))
	if peer, err := indicationPeer(a); err != nil || peer != rb {
		t.Fatalf("from %s, %v; want %s", peer, err, rb)
	}
}

// TestAnySize relays datagrams of every awkward size whole, both ways, by channel and by indication.
func TestAnySize(t *testing.T) {
	r, server := start(t, plain)
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()
	c.permit(p.addr)
	for _, n := range []int{0, 1, 3, 1472, 1919, 1920, 1921, 9000, 65507 - 60} {
		data := bytes.Repeat([]byte{byte(n)}, n)
		if n > 0 { // DATA may be empty, but a datagram of nothing is told apart below
			c.sendTo(p.addr, data)
			if b, _ := p.receive(); !bytes.Equal(b, data) {
				t.Fatalf("%d bytes by Send: %d came", n, len(b))
			}
		}
		p.send(data, relayed)
		m := c.indication()
		if b, _ := m.Get(turn.AttrData); !bytes.Equal(b, data) {
			t.Fatalf("%d bytes by Data: %d came", n, len(b))
		}
	}
	c.bind(0x4000, p.addr)
	for _, n := range []int{0, 1, 1920, 1921, 65507 - 4} {
		data := bytes.Repeat([]byte{byte(n)}, n)
		c.sendChannel(0x4000, data)
		if b, _ := p.receive(); !bytes.Equal(b, data) {
			t.Fatalf("%d bytes by channel: %d came", n, len(b))
		}
		p.send(data, relayed)
		if b := c.next(); len(b) != n+4 {
			t.Fatalf("%d bytes by channel: %d came", n, len(b)-4)
		}
	}
	// What becomes too long by its header has a name.
	p.send(make([]byte, 65507), relayed)
	waitFor(t, "an oversize packet", func() bool { return metric(t, r, "packets_dropped_total", "relay_ports", "oversize") == 1 })
	c.nothing()
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(answerWait); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// metric reads one value; labels are the values of the metric's labels, in the order of their names.
func metric(t *testing.T, r *Relay, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r)
	list, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range list {
		if family.GetName() != "causeway_relay_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			same := len(m.GetLabel()) == len(labels)
			for i, l := range m.GetLabel() {
				same = same && l.GetValue() == labels[i]
			}
			if same {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0
}

// rtpPacket is one of PCMU, 20 ms after the other.
func rtpPacket(sequence uint16) []byte {
	b := make([]byte, 12+160)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], uint32(sequence)*160)
	binary.BigEndian.PutUint32(b[8:], 0xdecade)
	return b
}

func TestAllocationsOverHTTP(t *testing.T) {
	r, server := start(t, plain)
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	relayed := c.allocate()
	c.bind(0x4000, p.addr)
	for i := range uint16(20) {
		if i == 7 || i == 8 {
			continue // lost on the way to the relay
		}
		c.sendChannel(0x4000, rtpPacket(i))
		p.receive()
	}
	var list []Allocation
	get(t, r, "/api/v1/allocations", &list)
	if len(list) != 1 {
		t.Fatalf("%d allocations", len(list))
	}
	a := list[0]
	if a.User != "alice" || a.Client != c.conn.LocalAddr().String() || a.Relayed[0] != relayed.String() ||
		a.Permissions[0] != "127.0.0.1" || a.Channels != 1 || a.Transport != "udp" || a.ToClient.Packets != 0 {
		t.Errorf("%+v", a)
	}
	if got := a.Expires.Sub(a.Began); got != 10*time.Minute {
		t.Errorf("expires %s after it began", got)
	}
	if a.ToPeer.Packets != 18 || a.ToPeer.Bytes != 18*172 || len(a.ToPeer.RTP) != 1 {
		t.Fatalf("%+v", a.ToPeer)
	}
	if rtp := a.ToPeer.RTP[0]; rtp.SSRC != "0xdecade" || rtp.Lost != 2 || rtp.ClockRate == nil || *rtp.ClockRate != 8000 || rtp.JitterMS == nil {
		t.Errorf("%+v", rtp)
	}
	if got := metric(t, r, "rtp_lost_total", "to_peer"); got != 2 {
		t.Errorf("%g lost in metrics", got)
	}

	if code := do(t, r, http.MethodDelete, "/api/v1/allocations/"+a.ID).Code; code != http.StatusNoContent {
		t.Fatalf("killing: %d", code)
	}
	for _, method := range []string{http.MethodDelete, http.MethodGet} {
		if code := do(t, r, method, "/api/v1/allocations/"+a.ID).Code; code != http.StatusNotFound {
			t.Errorf("%s of what was killed: %d", method, code)
		}
	}
	if _, code := c.request(turn.MethodRefresh); code != 437 {
		t.Errorf("refresh of what was killed: %d", code)
	}
	if got := metric(t, r, "packets_total", "to_peer"); got != 18 {
		t.Errorf("%g packets after the allocation's end", got)
	}
	if code := do(t, r, http.MethodPost, "/api/v1/allocations").Code; code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}

func do(t *testing.T, r *Relay, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r.ServeAllocations(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

func get(t *testing.T, r *Relay, path string, v any) {
	t.Helper()
	w := do(t, r, http.MethodGet, path)
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d, %v", path, w.Code, err)
	}
}

// TestReady: no more when every port is taken, and again when one is given back, even if it had to rest.
func TestReady(t *testing.T) {
	r, server := start(t, plain+"  ports: 50000-50001\n  port_quarantine: 300ms\n")
	if err := r.Ready(); err != nil {
		t.Fatal(err)
	}
	a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "alice", "secret")
	a.allocate()
	b.allocate()
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("with every port taken: %v", err)
	}
	c := newClient(t, server, "alice", "secret")
	if _, code := c.request(turn.MethodAllocate, transportUDP); code != 508 {
		t.Fatalf("an allocation without a port: %d", code)
	}
	a.must(turn.MethodRefresh, attribute{turn.AttrLifetime, uint32(0)})
	waitFor(t, "a port", func() bool { return r.Ready() == nil })
	c.allocate()
}

// TestStoppingBeginsNothing: between the word to stop and the end, new clients go elsewhere and running ones go on.
func TestStoppingBeginsNothing(t *testing.T) {
	r, server := start(t, plain+"  alternate_servers: [\"192.0.2.1:3478\"]\n")
	c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
	c.allocate()
	c.bind(0x4000, p.addr)
	r.stopping.Store(true)
	if r.Ready() == nil {
		t.Error("ready while it stops")
	}
	late := newClient(t, server, "bob", "hidden")
	m, code := late.request(turn.MethodAllocate, transportUDP)
	if other, err := m.Addr(turn.AttrAlternateServer); code != 300 || err != nil || other.String() != "192.0.2.1:3478" {
		t.Errorf("an allocation: %d, %s, %v", code, other, err)
	}
	c.must(turn.MethodRefresh)
	c.sendChannel(0x4000, []byte("still here"))
	if b, _ := p.receive(); string(b) != "still here" {
		t.Errorf("%q", b)
	}
}

// TestPairOfPorts holds the odd port for the token, and for nobody else.
func TestPairOfPorts(t *testing.T) {
	r, server := start(t, plain+"  workers: 4\n")
	for range 8 { // the two clients of a pair come to any two workers
		a, b := newClient(t, server, "alice", "secret"), newClient(t, server, "alice", "secret")
		m := a.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrEvenPort, []byte{0x80}})
		first, err := m.Addr(turn.AttrXORRelayedAddress)
		token, ok := m.Get(turn.AttrReservationToken)
		if err != nil || !ok || first.Port()%2 != 0 {
			t.Fatalf("%s, %v, token %x", first, err, token)
		}
		stranger := newClient(t, server, "bob", "hidden")
		if _, code := stranger.request(turn.MethodAllocate, transportUDP, attribute{turn.AttrReservationToken, token}); code != 508 {
			t.Fatalf("another user's token: %d", code)
		}
		second := b.allocate(attribute{turn.AttrReservationToken, token})
		if second.Port() != first.Port()+1 {
			t.Fatalf("%s goes with %s", second, first)
		}
		p := newPeer(t, "127.0.0.1:0")
		b.permit(p.addr)
		b.sendTo(p.addr, []byte("odd"))
		if _, from := p.receive(); from != second {
			t.Fatalf("from %s", from)
		}
		p.send([]byte("even"), second)
		b.indication()
		if _, code := newClient(t, server, "alice", "secret").request(turn.MethodAllocate, transportUDP,
			attribute{turn.AttrReservationToken, token}); code != 508 {
			t.Fatalf("a token used twice: %d", code)
		}
	}
	if got := metric(t, r, "port_failures_total"); got != 0 {
		t.Errorf("%g ports failed", got)
	}
}

// TestMobilityAcrossWorkers moves clients to addresses whose packets the kernel gives to other workers.
func TestMobilityAcrossWorkers(t *testing.T) {
	r, server := start(t, plain+"  workers: 4\n")
	for range 12 {
		c, p := newClient(t, server, "alice", "secret"), newPeer(t, "127.0.0.1:0")
		m := c.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrMobilityTicket, nil})
		relayed, _ := m.Addr(turn.AttrXORRelayedAddress)
		ticket, _ := m.Get(turn.AttrMobilityTicket)
		c.bind(0x4000, p.addr)

		moved := newClient(t, server, "alice", "secret")
		m = moved.must(turn.MethodRefresh, attribute{turn.AttrMobilityTicket, append([]byte(nil), ticket...)})
		if next, ok := m.Get(turn.AttrMobilityTicket); !ok || bytes.Equal(next, ticket) {
			t.Fatalf("the new ticket is %x", next)
		}
		// Until it is heard at its new address, the old one is where it is.
		p.send([]byte("before"), relayed)
		if b := c.next(); string(b[4:]) != "before" {
			t.Fatalf("%x", b)
		}
		moved.sendChannel(0x4000, []byte("here"))
		if b, from := p.receive(); string(b) != "here" || from != relayed {
			t.Fatalf("%q from %s", b, from)
		}
		p.send([]byte("after"), relayed)
		if b := moved.next(); string(b[4:]) != "after" {
			t.Fatalf("%x", b)
		}
		c.sendChannel(0x4000, []byte("a ghost"))
		p.nothing()
		moved.must(turn.MethodRefresh, attribute{turn.AttrLifetime, uint32(0)})
	}
	waitFor(t, "no allocations", func() bool { return metric(t, r, "allocations") == 0 })
}
