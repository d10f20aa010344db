package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"causeway/internal/conf"
	"causeway/internal/netio"
	"causeway/relay/auth"
	"causeway/relay/turn"
)

const testRealm = "example.org" // 11 characters

// answerWait is how long a test waits for what has to come.
const answerWait = 3 * time.Second

// silence is how long a test waits for what must not come.
const silence = 150 * time.Millisecond

// start runs a relay with the configuration of the YAML lines under relay: and stops it with the test. LISTEN in the
// lines becomes a UDP listener on a free port of 127.0.0.1.
func start(t *testing.T, lines string) (*Relay, netip.AddrPort) {
	t.Helper()
	port := freePort(t)
	text := "state_dir: " + t.TempDir() + "\nrelay:\n  realm: " + testRealm + "\n" +
		strings.ReplaceAll(lines, "LISTEN", "udp://"+port.String())
	cfg, _, err := conf.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var log io.Writer = os.Stderr
	if !testing.Verbose() {
		log = io.Discard
	}
	r, err := New(Config{Relay: cfg.Relay, Engine: netio.Sockets(), Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the relay does not stop")
		}
	})
	return r, port
}

// freePort returns an address of loopback whose port was free a moment ago, for UDP and TCP. It is below the ports that
// the kernel gives to others, and no relay port.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(10000+mathrand.IntN(10000)))
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			continue
		}
		c.Close()
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
		if err != nil {
			continue
		}
		l.Close()
		return addr
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

// plain is a configuration in which alice may reach loopback.
const plain = `  listen: [LISTEN]
  users: {alice: secret, bob: hidden}
  peers: {allow: [127.0.0.0/8]}
`

// client is a TURN client over one UDP socket.
type client struct {
	t      *testing.T
	conn   *net.UDPConn
	server netip.AddrPort
	user   string
	key    []byte
	nonce  []byte
	buf    []byte
	data   [][]byte // messages that are no responses, in the order of their arrival
}

func newClient(t *testing.T, server netip.AddrPort, user, password string) *client {
	t.Helper()
	return newClientAt(t, netip.MustParseAddrPort("127.0.0.1:0"), server, user, password)
}

func newClientAt(t *testing.T, local, server netip.AddrPort, user, password string) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{
		t: t, conn: conn, server: server, user: user, buf: make([]byte, 1<<16),
		key: auth.Key(nil, auth.MD5, user, testRealm, password),
	}
}

// attribute is one of a request.
type attribute struct {
	kind  turn.Attr
	value any // []byte, uint32, netip.AddrPort or nil
}

func (c *client) compose(method turn.Method, class turn.Class, attributes ...attribute) []byte {
	var out turn.Composer
	var id turn.TransactionID
	_, _ = rand.Read(id[:])
	out.Begin(method, class, id)
	for _, a := range attributes {
		switch v := a.value.(type) {
		case []byte:
			out.Add(a.kind, v)
		case uint32:
			out.AddUint32(a.kind, v)
		case netip.AddrPort:
			out.AddAddr(a.kind, v)
		case nil:
			out.Add(a.kind, nil)
		default:
			c.t.Fatalf("attribute of %T", v)
		}
	}
	if class == turn.ClassRequest && method != turn.MethodBinding && c.nonce != nil {
		out.AddString(turn.AttrUsername, c.user)
		out.AddString(turn.AttrRealm, testRealm)
		out.Add(turn.AttrNonce, c.nonce)
		return append([]byte(nil), out.Seal(c.key, true, false, false)...)
	}
	return append([]byte(nil), out.Seal(nil, false, false, false)...)
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort(b, c.server); err != nil {
		c.t.Fatal(err)
	}
}

// request sends a request and returns its answer; code is 0 for success. It authenticates when it is asked to.
func (c *client) request(method turn.Method, attributes ...attribute) (m turn.Message, code int) {
	c.t.Helper()
	for range 3 {
		b := c.compose(method, turn.ClassRequest, attributes...)
		c.send(b)
		m, code = c.answer(turn.TransactionID(b[8:20]))
		if nonce, ok := m.Get(turn.AttrNonce); ok && (code == 401 && c.nonce == nil || code == 438) {
			c.nonce = append([]byte(nil), nonce...)
			continue
		}
		break
	}
	return m, code
}

func (c *client) answer(id turn.TransactionID) (m turn.Message, code int) {
	c.t.Helper()
	deadline := time.Now().Add(answerWait)
	for {
		b, err := c.receive(time.Until(deadline))
		if err != nil {
			c.t.Fatalf("no answer: %v", err)
		}
		if turn.Classify(b) == turn.KindSTUN && m.Parse(b) == nil && m.ID == id {
			if value, ok := m.Get(turn.AttrErrorCode); ok {
				code = int(value[2])*100 + int(value[3])
			}
			return m, code
		}
		c.data = append(c.data, b)
	}
}

func (c *client) receive(wait time.Duration) ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	n, _, err := c.conn.ReadFromUDPAddrPort(c.buf)
	return append([]byte(nil), c.buf[:n]...), err
}

// must is request for what has to succeed.
func (c *client) must(method turn.Method, attributes ...attribute) turn.Message {
	c.t.Helper()
	m, code := c.request(method, attributes...)
	if code != 0 {
		c.t.Fatalf("%s: error %d", method, code)
	}
	return m
}

var (
	transportUDP = attribute{turn.AttrRequestedTransport, uint32(17 << 24)}
	peerAddress  = turn.AttrXORPeerAddress
)

// allocate returns the relayed address.
func (c *client) allocate(attributes ...attribute) netip.AddrPort {
	c.t.Helper()
	m := c.must(turn.MethodAllocate, append([]attribute{transportUDP}, attributes...)...)
	relayed, err := m.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	return relayed
}

func (c *client) permit(peer netip.AddrPort) {
	c.t.Helper()
	c.must(turn.MethodCreatePermission, attribute{peerAddress, peer})
}

func (c *client) bind(channel uint16, peer netip.AddrPort) {
	c.t.Helper()
	c.must(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(channel) << 16}, attribute{peerAddress, peer})
}

func (c *client) sendTo(peer netip.AddrPort, data []byte, more ...attribute) {
	c.t.Helper()
	c.send(c.compose(turn.MethodSend, turn.ClassIndication,
		append([]attribute{{peerAddress, peer}, {turn.AttrData, data}}, more...)...))
}

func (c *client) sendChannel(channel uint16, data []byte) {
	c.t.Helper()
	b := make([]byte, turn.ChannelHeaderSize, turn.ChannelHeaderSize+len(data))
	turn.PutChannelHeader(b, channel, len(data))
	c.send(append(b, data...))
}

// next returns the next message that is no response.
func (c *client) next() []byte {
	c.t.Helper()
	if len(c.data) > 0 {
		b := c.data[0]
		c.data = c.data[1:]
		return b
	}
	b, err := c.receive(answerWait)
	if err != nil {
		c.t.Fatalf("nothing came: %v", err)
	}
	return b
}

// indication returns the next message, which has to be a Data indication.
func (c *client) indication() turn.Message {
	c.t.Helper()
	var m turn.Message
	b := c.next()
	if err := m.Parse(b); err != nil || m.Method != turn.MethodData {
		c.t.Fatalf("%x is no Data indication", b)
	}
	return m
}

func (c *client) nothing() {
	c.t.Helper()
	if b, err := c.receive(silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%x came, %v", b, err)
	}
}

// udpPeer is a peer: a plain UDP socket.
type udpPeer struct {
	t    *testing.T
	conn *net.UDPConn
	addr netip.AddrPort
}

func newPeer(t *testing.T, local string) *udpPeer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &udpPeer{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (p *udpPeer) send(b []byte, to netip.AddrPort) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *udpPeer) receive() (b []byte, from netip.AddrPort) {
	p.t.Helper()
	b = make([]byte, 1<<16)
	_ = p.conn.SetReadDeadline(time.Now().Add(answerWait))
	n, from, err := p.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		p.t.Fatalf("nothing came to the peer: %v", err)
	}
	return b[:n], from
}

func (p *udpPeer) nothing() {
	p.t.Helper()
	b := make([]byte, 100)
	_ = p.conn.SetReadDeadline(time.Now().Add(silence))
	if n, from, err := p.conn.ReadFromUDPAddrPort(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("%x came from %s, %v", b[:n], from, err)
	}
}

func channelOf(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
