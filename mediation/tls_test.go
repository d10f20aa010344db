package mediation

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/mediation/media"
)

// labTLS are the certificates that the lab makes: the server's files, and the
// identity of an endpoint.
func labTLS(t *testing.T) (server conf.TLS, endpoint *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if _, err := conf.Lab(dir); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, "lab", name) }
	cert, err := tls.LoadX509KeyPair(file("endpoint.pem"), file("endpoint.key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return conf.TLS{Certificate: file("causeway.pem"), Key: file("causeway.key"), CA: file("ca.pem")},
		&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots}
}

// TestTLSTowardTheGateway is seed-facts G4, G5 and D10: TLS by setting, mutual;
// a gateway without a certificate is not let in, and that is counted.
func TestTLSTowardTheGateway(t *testing.T) {
	files, identity := labTLS(t)
	s := newTestServer(t, func(m *conf.Mediation) {
		m.Pool.SRTP = "rejected"
		m.Gateway.TLS, m.Gateway.Listen.Network, m.Gateway.Peer.Transport = files, "tls", "tls"
	})
	peer := s.cfg.Gateway.Peer
	gw := newUA(t, ua.Config{Listen: fmt.Sprintf("tls://%s:%d", peer.Host, peer.Port), Name: "gateway", TLS: identity})
	next := s.cfg.Pool.NextHop
	client := newUA(t, ua.Config{Listen: fmt.Sprintf("tcp://%s:%d", next.Host, next.Port), Name: "client"})
	for _, call := range []struct {
		from *ua.UA
		side media.Side
	}{{client, media.Pool}, {gw, media.Gateway}} {
		c, err := call.from.Call(within(t), s.uri(call.side, "+14255550100"), ua.Options{})
		if err != nil {
			t.Fatalf("from the %s: %v", sideNames[call.side], err)
		}
		if err := c.Hangup(within(t)); err != nil {
			t.Error(err)
		}
	}

	dialer := &tls.Dialer{NetDialer: dialerFrom("127.0.0.3"), Config: &tls.Config{RootCAs: identity.RootCAs}}
	if conn, err := dialer.DialContext(within(t), "tcp", s.cfg.Gateway.Listen.Addr.String()); err == nil {
		// TLS 1.3: the refusal comes with the first read.
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a gateway without a certificate was let in")
		}
		conn.Close()
	}
	// The server counts when its half of the handshake has ended too.
	refused := func() (n uint64) {
		s.sides[media.Gateway].endpoint.Drops().Each(func(reason string, count uint64) {
			if reason == "certificate_missing" {
				n = count
			}
		})
		return n
	}
	for deadline := time.Now().Add(3 * time.Second); refused() == 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if n := refused(); n != 1 {
		t.Errorf("%d handshakes refused, want 1", n)
	}
}

// TestTLSPeerIsVerified: a next hop whose certificate is of another authority
// gets no call.
func TestTLSPeerIsVerified(t *testing.T) {
	files, _ := labTLS(t)
	_, stranger := labTLS(t)
	s := newTestServer(t, func(m *conf.Mediation) {
		m.Pool.TLS, m.Pool.Listen[0].Network, m.Pool.NextHop.Transport = files, "tls", "tls"
	})
	next, peer := s.cfg.Pool.NextHop, s.cfg.Gateway.Peer
	newUA(t, ua.Config{Listen: fmt.Sprintf("tls://%s:%d", next.Host, next.Port), Name: "client", TLS: stranger})
	gw := newUA(t, ua.Config{Listen: fmt.Sprintf("tcp://%s:%d", peer.Host, peer.Port), Name: "gateway"})
	if _, err := gw.Call(within(t), s.uri(media.Gateway, "+1"), ua.Options{}); err == nil {
		t.Fatal("a call went to a peer of another authority")
	}
	if r := s.records().wait(t, 1)[0]; r.Code != 503 {
		t.Errorf("record %d %s", r.Code, r.Reason)
	}
}
