package sip

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestDialogKeepsItsListener: of several listeners the one that a call came in
// by stands in its Contact, which the peer has to reach (RFC 3261 8.1.1.8,
// 12.1.1), and its requests leave from there (RFC 3581 4).
func TestDialogKeepsItsListener(t *testing.T) {
	for _, c := range []struct{ name, first, second, from string }{
		{"addresses", "127.0.0.1", "127.0.0.5", "127.0.0.3"},
		{"families", "127.0.0.1", "::1", "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if probe, err := net.ListenPacket("udp", net.JoinHostPort(c.second, "0")); err != nil {
				t.Skip("this host has no ", c.second)
			} else {
				probe.Close()
			}
			second := listenerOn(t, "udp", c.second)
			p := openPeer(t, Config{Listen: []Listener{listenerOn(t, "udp", c.first), second}})
			conn := dialFrom(t, "udp", c.from, second.Addr)
			inv := rawInvite("second", "1")
			inv[6] = "Contact: <sip:x@" + conn.LocalAddr().String() + ">"
			exchange(t, conn, inv...)
			s := <-p.invites
			if err := s.Accept([]byte("v=0\r\n")); err != nil {
				t.Fatal(err)
			}
			ok := readSome(t, conn)
			if got := headerLine(ok, "Contact"); !strings.Contains(got, "sip:"+second.Addr.String()) {
				t.Errorf("%s, want %s", got, second.Addr)
			}
			ack := rawInvite("secondack", "1")
			ack[0], ack[3], ack[5] = "ACK sip:"+second.Addr.String()+" SIP/2.0", headerLine(ok, "To"), "CSeq: 1 ACK"
			writeLines(t, conn, ack...)
			p.want(t, Confirmed)
			s.Bye("")
			bye := readSome(t, conn) // a connected socket hears that address alone
			if !strings.HasPrefix(bye, "BYE ") || !strings.Contains(headerLine(bye, "Via"), second.Addr.String()) {
				t.Errorf("got %.80q, want our BYE with a Via of %s", bye, second.Addr)
			}
			agree(t, conn, bye)
		})
	}
}

// TestTLSConnectionsAreNotMistaken: a connection that was accepted without a
// certificate carries no request of ours, wherever it comes from (RFC 5923 5,
// RFC 3261 26.3.2.1): there are keys in an INVITE.
func TestTLSConnectionsAreNotMistaken(t *testing.T) {
	port := freePort(t, "tcp", "127.0.0.2")
	hop := Hop{Host: "127.0.0.2", Port: int(port), Network: "tls"}
	own := Listener{Network: "tls", Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t, "tcp", "127.0.0.1"))}
	p := openPeer(t, Config{
		Listen: []Listener{own}, Hop: hop,
		ServerTLS: &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}, ClientTLS: &tls.Config{RootCAs: x509.NewCertPool()},
	})
	d := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(hop.Host), Port: hop.Port}},
		Config:    &tls.Config{InsecureSkipVerify: true},
	}
	conn, err := d.Dial("tcp", p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if res := exchange(t, conn, optionsLines("tls")...); !strings.HasPrefix(res, "SIP/2.0 200") {
		t.Fatalf("%.40q", res) // it is up, and may ask
	}
	target := sip.Uri{Scheme: "sip", User: "1", Host: hop.Host, Port: hop.Port}
	from := sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "2", Host: "127.0.0.1"}}
	req := p.NewInvite(target, from, sip.ToHeader{Address: target}, 70)
	s := p.Invite(req, []byte("v=0\r\n"), p.post)
	select {
	case ev := <-p.events:
		if ev.Kind != Failed || ev.Failure.Code != 503 {
			t.Errorf("%s %v", ev.Kind, ev.Failure)
		}
	case <-time.After(3 * time.Second):
		t.Error("the INVITE went out")
		s.Cancel("")
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	b := make([]byte, 2048)
	if n, _ := conn.Read(b); n > 0 {
		t.Errorf("a connection without a certificate got %.40q", b[:n])
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
