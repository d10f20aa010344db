package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"causeway/relay/turn"
)

func TestFramesOfAStream(t *testing.T) {
	all := [][]byte{
		bindingRequest(1), channelData(1), channelData(160), channelData(0), message(3, 2, 1000),
		channelData(1999), channelData(2), bindingRequest(3),
	}
	for _, piece := range []int{1, 3, 7, 1000, 1 << 20} {
		t.Run(fmt.Sprintf("pieces of %d", piece), func(t *testing.T) {
			k := newKeeper(t)
			l := serve(t, Options{Network: TCP}, k)
			c := dial(t, l)
			for b := bytes.Join(all, nil); len(b) > 0; b = b[min(piece, len(b)):] {
				write(t, c, b[:min(piece, len(b))])
			}
			for i, want := range all {
				if got := next(t, "frame", k.frames); !bytes.Equal(got, want) {
					t.Fatalf("frame %d is %x, want %x", i, head(got), head(want))
				}
			}
			conn := next(t, "connection", k.accepted)
			if got, want := conn.Client().String(), c.LocalAddr().String(); got != want {
				t.Errorf("client %s, want %s", got, want)
			}
			if conn.Server() != l.Addr() || conn.Transport() != turn.TCP {
				t.Errorf("server %v by %v, want %v by tcp", conn.Server(), conn.Transport(), l.Addr())
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if next(t, "end", k.closed) != conn {
				t.Error("Closed for another connection")
			}
			expectEnded(t, l, ClientClosed, 1)
			if n := l.Counters(); n.Accepted != 1 || n.FramesIn != uint64(len(all)) {
				t.Errorf("counted %d connections and %d frames", n.Accepted, n.FramesIn)
			}
		})
	}
}

func TestLongFrames(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, _ []byte) { c.SetAllocated(true) }
	l := serve(t, Options{Network: TCP}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	next(t, "frame", k.frames)
	for _, want := range [][]byte{
		channelData(2045), channelData(4092), channelData(4093), channelData(9001), channelData(65535), message(6, 1, 65532),
	} {
		write(t, c, append(bytes.Clone(want), bindingRequest(7)...))
		if got := next(t, "long frame", k.frames); !bytes.Equal(got, want) {
			t.Fatalf("long frame of %d bytes: got %d: %x", len(want), len(got), head(got))
		}
		if got := next(t, "frame behind it", k.frames); !bytes.Equal(got, bindingRequest(7)) {
			t.Fatalf("behind a frame of %d bytes: %x", len(want), head(got))
		}
	}
}

func TestIPv6(t *testing.T) {
	local := netip.MustParseAddrPort("[::1]:0")
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) { c.Send(frame, Control) }
	l := serve(t, Options{Network: TCP, Local: local}, k)
	c := dial(t, l)
	write(t, c, bindingRequest(1))
	expect(t, c, bindingRequest(1))
	if got := next(t, "connection", k.accepted); got.Client().String() != c.LocalAddr().String() || got.Server() != l.Addr() {
		t.Errorf("from %v to %v", got.Client(), got.Server())
	}
}

func TestSendFramesAndPads(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) {
		c.Send(frame, Control)
		c.Send(channelData(5)[:9], Media) // as over UDP: no padding
		c.Send(channelData(4), Media)
	}
	c := dial(t, serve(t, Options{Network: TCP}, k))
	for id := range byte(3) {
		write(t, c, bindingRequest(id))
		expect(t, c, bindingRequest(id))
		expect(t, c, channelData(5))
		expect(t, c, channelData(4))
	}
}

func TestTCPAndTLSOnOnePort(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) { c.Send(frame, Control) }
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, k)
	plain, secure := net.Conn(dial(t, l)), dialTLS(t, l, nil)
	for range 2 {
		for _, c := range []net.Conn{plain, secure} {
			write(t, c, bindingRequest(9))
			expect(t, c, bindingRequest(9))
		}
	}
	for _, want := range []turn.Transport{turn.TCP, turn.TLS} {
		if got := next(t, "connection", k.accepted).Transport(); got != want {
			t.Errorf("transport %v, want %v", got, want)
		}
	}
}

func TestTLS(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: TLS, Certificate: certificate(t)}, k)
	t.Run("application protocol", func(t *testing.T) {
		for _, want := range []string{"stun.turn", "stun.nat-discovery", ""} {
			o := new(tls.Config)
			if want != "" {
				o.NextProtos = []string{"h2", want}
			}
			if got := dialTLS(t, l, o).ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("negotiated %q, want %q", got, want)
			}
		}
	})
	t.Run("versions", func(t *testing.T) {
		for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			c := tls.Client(dial(t, l), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version})
			if err := c.Handshake(); (err == nil) != want {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
		}
		expectEnded(t, l, HandshakeFailed, 1)
	})
	t.Run("plain", func(t *testing.T) {
		c := dial(t, l)
		write(t, c, bindingRequest(1))
		expectEnd(t, c)
		expectEnded(t, l, HandshakeFailed, 2)
	})
}

func TestTLSHandshakeBytesAreBounded(t *testing.T) {
	l := serve(t, Options{Network: TCP, Certificate: certificate(t)}, newKeeper(t))
	c := dial(t, l)
	first := []byte{22, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff} // a hello of 64 KiB in records of 4
	_, _ = c.Write(append(first, make([]byte, 4<<10-4)...))
	for range 4 {
		_, _ = c.Write(append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 4<<10)...))
	}
	expectEnd(t, c)
	expectEnded(t, l, HandshakeFailed, 1)
}

func TestWithoutCertificate(t *testing.T) {
	for _, n := range []Network{TLS, DTLS} {
		if _, err := Listen(Options{Network: n, Local: loopback}, newKeeper(t)); !errors.Is(err, errNoCertificate) {
			t.Errorf("%s: %v", n, err)
		}
	}
	if _, err := Listen(Options{Network: "sctp", Local: loopback}, newKeeper(t)); err == nil {
		t.Error("an unknown network was listened on")
	}
	l := serve(t, Options{Network: TCP}, newKeeper(t))
	c := tls.Client(dial(t, l), &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err == nil {
		t.Error("TLS without a certificate")
	}
	expectEnded(t, l, BadFrame, 1)
}
