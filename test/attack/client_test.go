package attack

import (
	"bufio"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"causeway/relay/turn"
)

// patience is how long a client waits for an answer. Nothing is sent twice, so that counters are exact.
const patience = 15 * time.Second

// client is a TURN client that does what it is told, right or wrong.
type client struct {
	t      testing.TB
	conn   net.Conn
	in     *bufio.Reader // of a stream; nil for datagrams
	buf    []byte        // of datagrams
	out    turn.Composer
	user   string
	pass   string
	modern bool     // SHA-256 instead of MD5 and SHA-1
	nonce  []byte   // the last that was given
	waits  [][]byte // what came while an answer was waited for
}

// udp returns a client with a UDP socket at from; port 0 is any.
func (r *relay) udpFrom(t testing.TB, from netip.AddrPort) *client {
	t.Helper()
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(r.open))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, buf: make([]byte, 1<<16), user: alice, pass: passwords[alice]}
}

// udpClient, tcpClient and tlsClient return clients at an address, who have not said anything yet.
func (r *relay) udpClient(t testing.TB, from netip.Addr) *client {
	t.Helper()
	return r.udpFrom(t, netip.AddrPortFrom(from, 0))
}

func (r *relay) tcpClient(t testing.TB, from netip.Addr) *client {
	t.Helper()
	conn := dialTCP(t, from, r.open)
	return &client{t: t, conn: conn, in: bufio.NewReader(conn), user: alice, pass: passwords[alice]}
}

func (r *relay) tlsClient(t testing.TB, from netip.Addr) *client {
	t.Helper()
	conn := tls.Client(dialTCP(t, from, r.open), tlsConfig(t))
	return &client{t: t, conn: conn, in: bufio.NewReader(conn), user: alice, pass: passwords[alice]}
}

func dialTCP(t testing.TB, from netip.Addr, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// tlsConfig trusts the tests' authority. The certificate names 127.0.0.1.
func tlsConfig(t testing.TB) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(certs.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// as makes the client somebody else; the nonce stays.
func (c *client) as(user string) *client {
	c.user, c.pass = user, passwords[user]
	return c
}

// restUser is a user with a time-limited credential (the TURN REST form).
func (c *client) restUser(name string, expires time.Time) *client {
	c.user = fmt.Sprintf("%d:%s", expires.Unix(), name)
	mac := hmac.New(sha1.New, []byte(restSecret))
	mac.Write([]byte(c.user))
	c.pass = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return c
}

func (c *client) local() netip.AddrPort {
	return netip.MustParseAddrPort(c.conn.LocalAddr().String())
}

// key is made here anew, so that the relay's own derivation has a second opinion.
func (c *client) key() []byte {
	text := c.user + ":" + realm + ":" + c.pass
	if c.modern {
		k := sha256.Sum256([]byte(text)) // RFC 8489 section 18.5.1.2
		return k[:]
	}
	k := md5.Sum([]byte(text)) // RFC 8489 section 18.5.1.1
	return k[:]
}

// attr adds an attribute to a message.
type attr func(c *turn.Composer, id turn.TransactionID)

func raw(a turn.Attr, value ...byte) attr {
	return func(c *turn.Composer, _ turn.TransactionID) { c.Add(a, value) }
}

func number(a turn.Attr, v uint32) attr {
	return func(c *turn.Composer, _ turn.TransactionID) { c.AddUint32(a, v) }
}

// Values of attributes (RFC 8656 section 18, RFC 6062 section 4.1).
var (
	relayUDP = number(turn.AttrRequestedTransport, 17<<24)
	relayTCP = number(turn.AttrRequestedTransport, 6<<24)
	bothIP   = number(turn.AttrAdditionalAddressFamily, 2<<24)
	onlyIPv6 = number(turn.AttrRequestedAddressFamily, 2<<24)
)

func lifetime(seconds uint32) attr { return number(turn.AttrLifetime, seconds) }
func channel(n uint16) attr        { return number(turn.AttrChannelNumber, uint32(n)<<16) }
func data(b []byte) attr           { return raw(turn.AttrData, b...) }

// peer is XOR-PEER-ADDRESS. An IPv6 address is written as one even if it holds an IPv4 address.
func peer(p netip.AddrPort) attr {
	return func(c *turn.Composer, id turn.TransactionID) {
		if !p.Addr().Is4In6() {
			c.AddAddr(turn.AttrXORPeerAddress, p)
			return
		}
		var mask [16]byte
		binary.BigEndian.PutUint32(mask[:], 0x2112A442)
		copy(mask[4:], id[:])
		value := append([]byte{0, 2, byte(p.Port()>>8) ^ mask[0], byte(p.Port()) ^ mask[1]}, mask[:]...)
		for i, b := range p.Addr().As16() {
			value[4+i] ^= b
		}
		c.Add(turn.AttrXORPeerAddress, value)
	}
}

func transaction() (id turn.TransactionID) {
	_, _ = rand.Read(id[:]) // never fails, as its documentation says
	return id
}

// plain is a request without credentials.
func (c *client) plain(m turn.Method, attrs ...attr) []byte {
	id := transaction()
	c.out.Begin(m, turn.ClassRequest, id)
	for _, a := range attrs {
		a(&c.out, id)
	}
	return clone(c.out.Seal(nil, false, false, false))
}

// request is a request with credentials.
func (c *client) request(m turn.Method, attrs ...attr) []byte {
	return c.sealed(m, append(attrs, c.credentials()...)...)
}

// credentials are the attributes that say who the client is.
func (c *client) credentials() []attr {
	who := []attr{
		raw(turn.AttrUsername, []byte(c.user)...), raw(turn.AttrRealm, []byte(realm)...), raw(turn.AttrNonce, c.nonce...),
	}
	if c.modern {
		who = append(who, offered, chosen)
	}
	return who
}

// The password algorithms that the relay offers, and the better of them (RFC 8489 sections 14.11 and 14.12).
var (
	offered = raw(turn.AttrPasswordAlgorithms, 0, 2, 0, 0, 0, 1, 0, 0)
	chosen  = raw(turn.AttrPasswordAlgorithm, 0, 2, 0, 0)
)

// sealed is a request with an integrity attribute.
func (c *client) sealed(m turn.Method, attrs ...attr) []byte {
	id := transaction()
	c.out.Begin(m, turn.ClassRequest, id)
	for _, a := range attrs {
		a(&c.out, id)
	}
	return clone(c.out.Seal(c.key(), !c.modern, c.modern, false))
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// indication is a Send indication.
func (c *client) indication(attrs ...attr) []byte {
	id := transaction()
	c.out.Begin(turn.MethodSend, turn.ClassIndication, id)
	for _, a := range attrs {
		a(&c.out, id)
	}
	return clone(c.out.Seal(nil, false, false, false))
}

// channelData is a ChannelData message, padded where the transport wants it.
func (c *client) channelData(n uint16, payload []byte) []byte {
	b := make([]byte, turn.ChannelHeaderSize, turn.ChannelHeaderSize+len(payload)+3)
	turn.PutChannelHeader(b, n, len(payload))
	b = append(b, payload...)
	for c.in != nil && len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("send %d bytes: %v", len(b), err)
	}
}

// receive returns the next message, or an error when none comes in time.
func (c *client) receive(in time.Duration) ([]byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(in))
	if c.in == nil {
		n, err := c.conn.Read(c.buf)
		return clone(c.buf[:n]), err
	}
	head, err := c.in.Peek(4)
	if err != nil {
		return nil, err
	}
	n, err := turn.FrameSize(head)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(c.in, b)
	return b, err
}

// answer is a response.
type answer struct {
	raw  []byte
	msg  *turn.Message
	code int // 0 if it is a success
}

// exchange sends a request and waits for its answer.
func (c *client) exchange(request []byte) answer {
	c.t.Helper()
	c.send(request)
	deadline := time.Now().Add(patience)
	for {
		b, err := c.receive(time.Until(deadline))
		if err != nil {
			c.t.Fatalf("no answer to a request of type %x: %v", request[:2], err)
		}
		if a, ok := response(b, request); ok {
			return a
		}
		c.waits = append(c.waits, b)
	}
}

// response reads what came; ok is false if it does not answer the request.
func response(b, request []byte) (a answer, ok bool) {
	m := new(turn.Message)
	if m.Parse(b) != nil || m.ID != turn.TransactionID(request[8:20]) {
		return a, false
	}
	a = answer{raw: b, msg: m}
	if m.Class == turn.ClassError {
		value, _ := m.Get(turn.AttrErrorCode)
		a.code = int(value[2])*100 + int(value[3])
	}
	return a, true
}

// message returns what comes next, or came while an answer was waited for.
func (c *client) message() []byte {
	c.t.Helper()
	if len(c.waits) > 0 {
		b := c.waits[0]
		c.waits = c.waits[1:]
		return b
	}
	b, err := c.receive(patience)
	if err != nil {
		c.t.Fatalf("nothing came: %v", err)
	}
	return b
}

// ask makes a request with credentials.
func (c *client) ask(m turn.Method, attrs ...attr) answer {
	c.t.Helper()
	return c.exchange(c.request(m, attrs...))
}

// must is ask for what has to succeed.
func (c *client) must(m turn.Method, attrs ...attr) answer {
	c.t.Helper()
	a := c.ask(m, attrs...)
	if a.code != 0 {
		c.t.Fatalf("%v: error %d", m, a.code)
	}
	return a
}

// meet gets a nonce.
func (c *client) meet() *client {
	c.t.Helper()
	a := c.exchange(c.plain(turn.MethodAllocate, relayUDP))
	nonce, ok := a.msg.Get(turn.AttrNonce)
	if a.code != turn.CodeUnauthenticated || !ok {
		c.t.Fatalf("a request without credentials: %d, nonce %q", a.code, nonce)
	}
	c.nonce = clone(nonce)
	return c
}

// allocate returns the relayed address of a new allocation.
func (c *client) allocate(attrs ...attr) netip.AddrPort {
	c.t.Helper()
	a := c.must(turn.MethodAllocate, append([]attr{relayUDP}, attrs...)...)
	relayed, err := a.msg.Addr(turn.AttrXORRelayedAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	return relayed
}

// barrier returns when the relay has taken everything that the client has sent.
func (c *client) barrier() {
	c.t.Helper()
	if a := c.exchange(c.plain(turn.MethodBinding)); a.code != 0 {
		c.t.Fatalf("Binding: error %d", a.code)
	}
}
