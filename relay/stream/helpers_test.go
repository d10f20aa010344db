package stream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/internal/netio"
	"causeway/internal/pkt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 5 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// bindingRequest is a STUN Binding request without attributes.
func bindingRequest(id byte) []byte { return message(1, id, 0) }

// message is a STUN request of a method with size bytes of attributes, which nobody here looks into.
func message(method uint16, id byte, size int) []byte {
	b := make([]byte, 20+size)
	binary.BigEndian.PutUint16(b, method)
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	binary.BigEndian.PutUint32(b[4:], 0x2112A442)
	b[19] = id
	for i := range size {
		b[20+i] = byte(i)
	}
	return b
}

// channelData is a padded ChannelData message.
func channelData(size int) []byte {
	b := make([]byte, 4+(size+3)&^3)
	binary.BigEndian.PutUint16(b, 0x4001)
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	for i := range size {
		b[4+i] = byte(i)
	}
	return b
}

// keeper is a handler that drains on a goroutine of its own and keeps copies of all frames.
type keeper struct {
	t    *testing.T
	work chan *Conn
	held sync.Mutex // while locked, nothing is drained

	// on, if set, is called for each frame on the worker's goroutine.
	on func(c *Conn, frame []byte)

	accepted chan *Conn
	frames   chan []byte
	closed   chan *Conn
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{
		t: t, work: make(chan *Conn, 4096),
		accepted: make(chan *Conn, 4096), frames: make(chan []byte, 4096), closed: make(chan *Conn, 4096),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := range k.work {
			k.held.Lock()
			c.Drain(func(p *netio.Packet) { k.take(c, p) })
			k.held.Unlock()
		}
	})
	t.Cleanup(func() {
		close(k.work)
		wg.Wait()
	})
	return k
}

func (k *keeper) take(c *Conn, p *netio.Packet) {
	if p.From != c.Client() {
		k.t.Errorf("frame from %v on the connection of %v", p.From, c.Client())
	}
	if age := time.Since(time.Unix(0, p.At)); age < 0 || age > time.Minute {
		k.t.Errorf("frame was read %v ago", age)
	}
	frame := bytes.Clone(p.Buf.Bytes())
	p.Buf.Prepend(pkt.Headroom) // panics without headroom
	if k.on != nil {
		k.on(c, frame)
	}
	select {
	case k.frames <- frame:
	default: // far more than the test looks at
	}
}

func (k *keeper) Accepted(c *Conn) { k.accepted <- c }
func (k *keeper) Frames(c *Conn)   { k.work <- c }
func (k *keeper) Closed(c *Conn)   { k.closed <- c }

// next waits for something a handler was told.
func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// serve runs a listener on loopback until the test ends.
func serve(t *testing.T, o Options, h Handler) *Listener {
	t.Helper()
	if !o.Local.IsValid() {
		o.Local = loopback
	}
	l, err := Listen(o, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
		if n := l.Counters().Open; n != 0 {
			t.Errorf("%d connections are left after Run", n)
		}
		if n := l.gate.Open(); n != 0 {
			t.Errorf("the gate counts %d connections after Run", n)
		}
	})
	return l
}

// dial connects to a listener; the connection is closed with the test, and what is read from it has to come in time.
func dial(t *testing.T, l *Listener) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	patient(t, c)
	return c.(*net.TCPConn)
}

func dialTLS(t *testing.T, l *Listener, o *tls.Config) *tls.Conn {
	t.Helper()
	if o == nil {
		o = new(tls.Config)
	}
	o.InsecureSkipVerify = true
	c := tls.Client(dial(t, l), o)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func patient(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, c io.Writer, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// expect reads exactly these bytes.
func expect(t *testing.T, c io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %x, want %x", head(got), head(want))
	}
}

func head(b []byte) []byte { return b[:min(len(b), 48)] }

// expectEnd reads until the connection has ended in whatever way, and returns what came before.
func expectEnd(t *testing.T, c io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection does not end")
	}
	return b
}

// expectRefused connects, and wants to be turned away: by a reset, which may be faster than the connection.
func expectRefused(t *testing.T, l *Listener) {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	patient(t, c)
	if b := expectEnd(t, c); len(b) > 0 {
		t.Errorf("%x for a connection that is refused", b)
	}
}

// expectEnded waits until the listener has counted so many ends for a reason.
func expectEnded(t *testing.T, l *Listener, r Reason, n uint64) {
	t.Helper()
	eventually(t, func() bool { return l.Counters().Ended[r] == n }, func() {
		c := l.Counters()
		c.Each(func(name string, n uint64) {
			if n > 0 {
				t.Logf("ended %s: %d", name, n)
			}
		}, func(name string, n uint64) {
			if n > 0 {
				t.Logf("dropped %s: %d", name, n)
			}
		})
		t.Fatalf("not %d connections ended by %s", n, r)
	})
}

func eventually(t *testing.T, ok func() bool, fail func()) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			fail()
			return
		}
	}
}

// certificateFiles writes a new certificate for a name and returns its two files.
func certificateFiles(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func certificate(t *testing.T) *Certificate {
	t.Helper()
	certFile, keyFile := certificateFiles(t, t.TempDir(), "relay.example.org")
	c, err := LoadCertificate(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLog() (*slog.Logger, *logBuffer) {
	b := new(logBuffer)
	return slog.New(slog.NewTextHandler(b, nil)), b
}
