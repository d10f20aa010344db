package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

// certify writes a certificate of its own making for 127.0.0.1, over what is there.
func certify(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "relay"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"relay.pem": {Type: "CERTIFICATE", Bytes: der}, "relay.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startStreams runs a relay whose one TCP port takes plain STUN and TLS.
func startStreams(t *testing.T) (r *Relay, udp, tcp netip.AddrPort, dir string) {
	t.Helper()
	dir = t.TempDir()
	certify(t, dir, 1)
	tcp = freePort(t)
	r, udp = start(t, strings.Replace(plain, "[LISTEN]", "[LISTEN, tcp://"+tcp.String()+"]", 1)+
		"  tls: {certificate: "+dir+"/relay.pem, key: "+dir+"/relay.key}\n")
	return r, udp, tcp, dir
}

// streamConn is a connection to the relay that sends and receives frames.
type streamConn struct {
	*client
	conn net.Conn
}

func dialStream(t *testing.T, server netip.AddrPort, secure bool) *streamConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", server.String(), answerWait)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // any certificate
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * answerWait))
	return &streamConn{newClient(t, netip.AddrPort{}, "alice", "secret"), conn}
}

func (s *streamConn) frame() []byte {
	s.t.Helper()
	b := make([]byte, 20, 2048)
	if _, err := io.ReadFull(s.conn, b[:4]); err != nil {
		s.t.Fatal(err)
	}
	n, err := turn.FrameSize(b[:4])
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.ReadFull(s.conn, b[4:n:cap(b)]); err != nil {
		s.t.Fatal(err)
	}
	return b[:n]
}

func (s *streamConn) must(method turn.Method, attributes ...attribute) (m turn.Message) {
	s.t.Helper()
	for range 3 {
		if _, err := s.conn.Write(s.compose(method, turn.ClassRequest, attributes...)); err != nil {
			s.t.Fatal(err)
		}
		if err := m.Parse(s.frame()); err != nil {
			s.t.Fatal(err)
		}
		nonce, challenged := m.Get(turn.AttrNonce)
		if m.Class == turn.ClassSuccess {
			return m
		}
		if !challenged {
			break
		}
		s.nonce = append([]byte(nil), nonce...)
	}
	code, _ := m.Get(turn.AttrErrorCode)
	s.t.Fatalf("%s: error %x", method, code)
	return m
}

// TestStreamClients relays for clients over TCP and TLS on one port, padded as streams need it, and gives everything
// back when they hang up.
func TestStreamClients(t *testing.T) {
	r, _, tcp, _ := startStreams(t)
	for _, secure := range []bool{false, true} {
		c, p := dialStream(t, tcp, secure), newPeer(t, "127.0.0.1:0")
		m := c.must(turn.MethodAllocate, transportUDP)
		relayed, err := m.Addr(turn.AttrXORRelayedAddress)
		if err != nil {
			t.Fatal(err)
		}
		c.must(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4001 << 16)}, attribute{peerAddress, p.addr})
		if _, err := c.conn.Write([]byte{0x40, 1, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0x40, 1, 0, 1, '!', 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"hello", "!"} {
			if b, from := p.receive(); string(b) != want || from != relayed {
				t.Fatalf("%q from %s", b, from)
			}
		}
		p.send([]byte("back!"), relayed)
		if b := c.frame(); string(b) != "\x40\x01\x00\x05back!\x00\x00\x00" {
			t.Fatalf("%x", b)
		}
		c.conn.Close()
		waitFor(t, "no allocations", func() bool { return metric(t, r, "allocations") == 0 })
	}
}

// TestCertificateChanges: the next client sees the new certificate, and one that is broken changes nothing.
func TestCertificateChanges(t *testing.T) {
	_, _, tcp, dir := startStreams(t)
	shown := func() int64 {
		c := dialStream(t, tcp, true)
		defer c.conn.Close()
		secure := c.conn.(*tls.Conn)
		if err := secure.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return secure.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := shown(); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	certify(t, dir, 2)
	waitFor(t, "the new certificate", func() bool { return shown() == 2 })
	if err := os.WriteFile(filepath.Join(dir, "relay.pem"), []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // a file is looked at once a second
	if got := shown(); got != 2 {
		t.Fatalf("certificate %d after a broken one", got)
	}
}

// TestMovesFromStreamToDatagrams: a client of TCP goes on by UDP with its ticket (RFC 8016), although it hangs up.
func TestMovesFromStreamToDatagrams(t *testing.T) {
	_, udp, tcp, _ := startStreams(t)
	c, p := dialStream(t, tcp, false), newPeer(t, "127.0.0.1:0")
	m := c.must(turn.MethodAllocate, transportUDP, attribute{turn.AttrMobilityTicket, nil})
	relayed, _ := m.Addr(turn.AttrXORRelayedAddress)
	ticket, _ := m.Get(turn.AttrMobilityTicket)
	c.must(turn.MethodChannelBind, attribute{turn.AttrChannelNumber, uint32(0x4001 << 16)}, attribute{peerAddress, p.addr})
	c.conn.Close()

	moved := newClient(t, udp, "alice", "secret")
	moved.must(turn.MethodRefresh, attribute{turn.AttrMobilityTicket, append([]byte(nil), ticket...)})
	moved.sendChannel(0x4001, []byte("here"))
	if b, from := p.receive(); string(b) != "here" || from != relayed {
		t.Fatalf("%q from %s", b, from)
	}
	p.send([]byte("there"), relayed)
	if b := moved.next(); string(b[4:]) != "there" {
		t.Fatalf("%x", b)
	}
}
