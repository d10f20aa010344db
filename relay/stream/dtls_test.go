package stream

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"causeway/relay/turn"
)

// udp is a client's socket.
func udp(t *testing.T, l *Listener) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	patient(t, c)
	return c
}

// dialDTLS handshakes with a listener.
func dialDTLS(t *testing.T, l *Listener, protocols ...string) *dtls.Conn {
	t.Helper()
	c, err := tryDTLS(t, l, protocols...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryDTLS(t *testing.T, l *Listener, protocols ...string) (*dtls.Conn, error) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	options := []dtls.ClientOption{dtls.WithInsecureSkipVerify(true)}
	if len(protocols) > 0 {
		options = append(options, dtls.WithSupportedProtocols(protocols...))
	}
	c, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(l.Addr()), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	patient(t, c)
	return c, nil
}

// expectMessage reads one message.
func expectMessage(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[:n], want) {
		t.Fatalf("read %x, want %x", head(b[:n]), head(want))
	}
}

func TestDTLS(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) { c.Send(frame, Control) }
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, k)
	c := dialDTLS(t, l, "stun.turn")
	state, ok := c.ConnectionState()
	if !ok || state.NegotiatedProtocol != "stun.turn" {
		t.Errorf("negotiated %q", state.NegotiatedProtocol)
	}
	// One message a datagram, without padding, whole and in order.
	for _, want := range [][]byte{bindingRequest(1), channelData(5)[:9], bindingRequest(2), message(1, 1, 1200)} {
		write(t, c, want)
		if got := next(t, "message", k.frames); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", head(got), head(want))
		}
		expectMessage(t, c, want)
	}
	conn := next(t, "connection", k.accepted)
	if conn.Transport() != turn.DTLS || conn.Client().String() != c.LocalAddr().String() || conn.Server() != l.Addr() {
		t.Errorf("%v from %v to %v", conn.Transport(), conn.Client(), conn.Server())
	}
	if n := l.Counters(); n.Handshakes != 0 || n.Open != 1 || n.Accepted != 1 {
		t.Errorf("counted %+v", n)
	}
	// Several messages that are queued at once are as many datagrams.
	conn.Send(channelData(5)[:9], Media)
	conn.Send(channelData(2)[:6], Media)
	expectMessage(t, c, channelData(5)[:9])
	expectMessage(t, c, channelData(2)[:6])
	_ = c.Close()
	next(t, "end", k.closed)
	expectEnded(t, l, ClientClosed, 1)
}

func TestDTLSCloseByTheHandler(t *testing.T) {
	k := newKeeper(t)
	k.on = func(c *Conn, frame []byte) {
		c.Send(frame, Control)
		c.Close(ServerClosed)
	}
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, k)
	c := dialDTLS(t, l)
	write(t, c, bindingRequest(1))
	expectMessage(t, c, bindingRequest(1))
	if _, err := c.Read(make([]byte, 100)); err == nil {
		t.Error("it goes on")
	}
	expectEnded(t, l, ServerClosed, 1)
}

// ConnectionBind is not for DTLS (RFC 6062 section 5.4): it is a message like others.
func TestDTLSReadsOnAfterConnectionBind(t *testing.T) {
	k := newKeeper(t)
	c := dialDTLS(t, serve(t, Options{Network: DTLS, Certificate: certificate(t)}, k))
	write(t, c, connectionBindFor(1))
	write(t, c, bindingRequest(1))
	next(t, "message", k.frames)
	next(t, "message behind it", k.frames)
}

func TestDTLSTimeLimits(t *testing.T) {
	const short = 150 * time.Millisecond
	for _, c := range []struct {
		name   string
		limits Limits
		send   int
		want   Reason
	}{
		{"no first message", Limits{FirstFrame: short}, 0, NoFirstFrame},
		{"idle", Limits{Idle: short}, 1, IdleTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: c.limits}, newKeeper(t))
			client := dialDTLS(t, l)
			for range c.send {
				write(t, client, bindingRequest(1))
			}
			expectEnded(t, l, c.want, 1)
		})
	}
	t.Run("allocated", func(t *testing.T) {
		k := newKeeper(t)
		k.on = func(c *Conn, _ []byte) { c.SetAllocated(true) }
		l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: Limits{Idle: short}}, k)
		c := dialDTLS(t, l)
		write(t, c, bindingRequest(1))
		next(t, "message", k.frames)
		time.Sleep(2 * short)
		write(t, c, message(1, 1, 4000)) // longer than a newcomer's may be
		next(t, "message", k.frames)
		next(t, "connection", k.accepted).SetAllocated(false)
		expectEnded(t, l, IdleTimeout, 1)
	})
	t.Run("too long", func(t *testing.T) {
		l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, newKeeper(t))
		write(t, dialDTLS(t, l), message(1, 1, 2048))
		expectEnded(t, l, FrameTooLong, 1)
	})
}

// cookieFrom reads a HelloVerifyRequest.
func cookieFrom(t *testing.T, c net.Conn) []byte {
	t.Helper()
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	var f recordFilter
	f.sent(b[:n])
	if len(f.cookie) == 0 {
		t.Fatalf("no cookie in %x", b[:n])
	}
	return f.cookie
}

// A sender that cannot show that it gets what is sent to it costs little and not for long, and cannot disturb others.
func TestDTLSCookie(t *testing.T) {
	const short = 150 * time.Millisecond
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: Limits{FirstByte: short}}, newKeeper(t))
	c := udp(t, l)
	first := clientHelloDatagram(0, nil)
	write(t, c, first)
	cookie := cookieFrom(t, c)
	if sent := recordHeader + handshakeHeader + 3 + len(cookie); sent > len(first)+16 {
		t.Errorf("%d bytes are answered with %d", len(first), sent)
	}
	wrong := bytes.Clone(cookie)
	wrong[0] ^= 1
	write(t, c, clientHelloDatagram(1, wrong))
	write(t, c, clientHelloDatagram(1, nil))
	eventually(t, func() bool { return l.Counters().Dropped[BadCookie] == 2 }, func() { t.Error("wrong cookies are not counted") })
	if n := l.Counters(); n.Open != 1 {
		t.Errorf("%d connections after a wrong cookie", n.Open)
	}
	expectEnded(t, l, NoFirstByte, 1)

	// With the cookie, it is answered with a ServerHello, and then has the time of the handshake.
	c = udp(t, l)
	write(t, c, first)
	write(t, c, clientHelloDatagram(1, cookieFrom(t, c)))
	time.Sleep(2 * short)
	if n := l.Counters().Ended[NoFirstByte]; n != 1 {
		t.Errorf("%d connections ended for want of a cookie", n)
	}
}

func TestDTLSDropsWhatIsNotAHello(t *testing.T) {
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, newKeeper(t))
	c := udp(t, l)
	strange := [][]byte{
		bindingRequest(1), {}, {22}, clientHelloDatagram(0, nil)[:30], clientHelloDatagram(1, []byte("cookie")),
		handshakeRecord(clientHello, 0, 20, make([]byte, 10)), handshakeRecord(helloVerifyRequest, 0, 0, make([]byte, 10)),
		bytes.Repeat([]byte{23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, 4),
	}
	for _, b := range strange {
		write(t, c, b)
	}
	write(t, c, make([]byte, maxRecordDatagram+1))
	eventually(t, func() bool {
		n := l.Counters()
		return n.Dropped[NotDTLS] == uint64(len(strange)) && n.Dropped[DatagramTooLong] == 1
	}, func() { t.Errorf("dropped %v", l.Counters().Dropped) })
	if n := l.Counters(); n.Accepted != 0 {
		t.Errorf("%d clients came of it", n.Accepted)
	}
}

func TestDTLSHandshakesAreBounded(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: Limits{Handshakes: 3}}, k)
	// Newcomers take the places of those before them that have not come back with their cookie.
	for n := range uint64(5) {
		c := udp(t, l)
		write(t, c, clientHelloDatagram(0, nil))
		cookieFrom(t, c)
		if n >= 3 {
			expectEnded(t, l, Displaced, n-2)
		}
	}
	dialDTLS(t, l) // a client that answers gets through
	// Those that have come back keep theirs.
	for range 3 {
		c := udp(t, l)
		write(t, c, clientHelloDatagram(0, nil))
		write(t, c, clientHelloDatagram(1, cookieFrom(t, c)))
	}
	eventually(t, func() bool {
		l.datagrams.mu.Lock()
		defer l.datagrams.mu.Unlock()
		return l.datagrams.shaking == 3 && l.datagrams.unproven.Len() == 0
	}, func() { t.Fatalf("counted %+v", l.Counters()) })
	c := udp(t, l)
	write(t, c, clientHelloDatagram(0, nil))
	expectEnded(t, l, TooManyHandshakes, 1)
}

// Those that were displaced count until they are gone, so that a flood makes no more of them than can be cleared away.
func TestDTLSEndingHandshakesAreBounded(t *testing.T) {
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: Limits{Handshakes: 3}}, newKeeper(t))
	d := l.datagrams
	hello := func() { write(t, udp(t, l), clientHelloDatagram(0, nil)) }
	shift := func(by int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.outside += by
	}
	shift(6) // as if six were ending
	hello()
	expectEnded(t, l, TooManyHandshakes, 1)
	shift(-1)
	hello()
	eventually(t, func() bool { return l.Counters().Accepted == 1 }, func() { t.Error("no room although one is gone") })
	shift(-5)
	for range 20 {
		hello()
	}
	dialDTLS(t, l)
	eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.outside == d.unproven.Len() }, func() {
		t.Errorf("%d clients outside, %d without their cookie", d.outside, d.unproven.Len())
	})
}

func TestDTLSClientsAreBounded(t *testing.T) {
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Limits: Limits{PerPrefix: 1}}, newKeeper(t))
	// A hello may come in anybody's name, and takes no place before the cookie has come back.
	stranger := udp(t, l)
	write(t, stranger, clientHelloDatagram(0, nil))
	cookie := cookieFrom(t, stranger)
	first := dialDTLS(t, l)
	write(t, stranger, clientHelloDatagram(1, cookie))
	expectEnded(t, l, TooManyFromPrefix, 1)
	_ = first.Close()
	expectEnded(t, l, ClientClosed, 1)
	dialDTLS(t, l)
}

// A client that never finishes its handshake may not make the library keep what it sends.
func TestDTLSHandshakeBytesAreBounded(t *testing.T) {
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, newKeeper(t))
	c := udp(t, l)
	write(t, c, clientHelloDatagram(0, nil))
	write(t, c, clientHelloDatagram(1, cookieFrom(t, c)))
	for sequence := uint16(5); l.Counters().Ended[HandshakeFailed] == 0; sequence++ {
		if int(sequence)*200 > 4*handshakeBytes {
			t.Fatal("fragments are taken without end")
		}
		write(t, c, handshakeRecord(16, sequence, 20, make([]byte, 200)))
		time.Sleep(100 * time.Microsecond)
	}
}

// What a client sends right behind its handshake waits for the end of it, and no more than a little.
func TestDTLSEarlyData(t *testing.T) {
	l := &Listener{local: loopback, gate: NewGate(0, 0)}
	d := &datagrams{listener: l, clients: map[netip.AddrPort]*association{}}
	a := newAssociation(d, loopback)
	data := []byte{recordApplicationData, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0}
	if drop, ok := a.receive(data); ok || drop != NotDTLS {
		t.Errorf("before the cookie: %v, %v", drop, ok)
	}
	a.filter.proven = true
	for n := range byte(earlyDatagrams + 1) {
		data[len(data)-1] = n
		if drop, ok := a.receive(data); ok != (n < earlyDatagrams) || !ok && drop != InboundFull {
			t.Errorf("datagram %d: %v, %v", n, drop, ok)
		}
	}
	if len(a.queue) != 0 || a.filter.handshake != 0 {
		t.Error("data was let through before the handshake ended")
	}
	a.establish()
	data[len(data)-1] = earlyDatagrams
	a.receive(data)
	for n := range byte(earlyDatagrams + 1) {
		b := make([]byte, 100)
		m, _, err := a.ReadFrom(b)
		if err != nil || m != len(data) || b[m-1] != n {
			t.Fatalf("read %x, %v; want datagram %d", b[:m], err, n)
		}
	}
}

func TestAssociationDeadline(t *testing.T) {
	a := newAssociation(&datagrams{listener: &Listener{}}, loopback)
	read := func() error {
		_, _, err := a.ReadFrom(make([]byte, 10))
		return err
	}
	for _, d := range []time.Duration{-time.Second, 20 * time.Millisecond} {
		if err := a.SetDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it stays passed
			if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("deadline in %v: %v", d, err)
			}
		}
	}
	_ = a.SetReadDeadline(time.Now().Add(time.Hour)) // moves on
	_ = a.SetReadDeadline(time.Time{})
	time.AfterFunc(10*time.Millisecond, func() { _ = a.Close() })
	if err := read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := a.WriteTo(nil, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

func TestDTLSListenerThatIsNotRun(t *testing.T) {
	l, err := Listen(Options{Network: DTLS, Local: loopback, Certificate: certificate(t)}, newKeeper(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := l.Port(); n.Unsent != 0 {
		t.Errorf("counters of a new port: %+v", n)
	}
	l.Close()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr()))
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = c.Close()
}

// The answer to a hello is drawn from the budget; what comes after it from the same address has been paid for.
func TestDTLSHellosAreBudgeted(t *testing.T) {
	var left atomic.Int32
	left.Store(1)
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t), Afford: func(netip.Addr) bool {
		return left.Add(-1) >= 0
	}}, newKeeper(t))
	dialDTLS(t, l)
	c := udp(t, l)
	write(t, c, clientHelloDatagram(0, nil))
	eventually(t, func() bool { return l.Counters().Dropped[ReplyBudget] == 1 }, func() { t.Errorf("dropped %v", l.Counters().Dropped) })
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 100)); err == nil {
		t.Errorf("answered with %d bytes", n)
	}
}

// Whoever sends in the name of a client, without its keys, does not end its connection.
func TestDTLSForgedRecordsEndNothing(t *testing.T) {
	k := newKeeper(t)
	l := serve(t, Options{Network: DTLS, Certificate: certificate(t)}, k)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	c, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(l.Addr()), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := c.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	write(t, c, bindingRequest(1))
	next(t, "connection", k.accepted).SetAllocated(true)
	next(t, "frame", k.frames)
	for _, kind := range []byte{recordChangeCipher, recordAlert, recordHandshake, recordApplicationData} {
		forged := make([]byte, 8000)
		copy(forged, []byte{kind, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 9, byte((len(forged) - recordHeader) >> 8), byte((len(forged) - recordHeader) & 0xff)})
		for range 6 {
			if _, err := socket.WriteToUDPAddrPort(forged, l.Addr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() bool { return l.Counters().Dropped[NotDTLS] > 0 }, func() { t.Errorf("dropped %v", l.Counters().Dropped) })
	write(t, c, bindingRequest(2))
	next(t, "frame behind the forged ones", k.frames)
}
