package turn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// stream connects to the relay by TCP.
func (s *subject) stream(t *testing.T, host string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", joinHost(host, s.Open))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPionTCPAllocation makes TCP allocations (RFC 6062): the client connects to a peer, and a peer to the client.
func TestPionTCPAllocation(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, m := range majors {
		for _, host := range []string{"127.0.0.1", "::1"} {
			if host == "::1" && m.name == "v3" {
				continue // asks for no family, and gets IPv4
			}
			t.Run(m.name+" "+host, func(t *testing.T) {
				t.Parallel()
				c := s.client(t, m, "tcp", host, credential{user, password})
				a, err := m.tcp(c)
				if err != nil {
					t.Fatalf("AllocateTCP: %v", err)
				}
				t.Cleanup(func() { a.Close() })
				s.isRelayed(t, a.Addr().String())

				peer, err := net.Listen("tcp", joinHost(host, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				active, err := a.connect(s.stream(t, host), peer.Addr().(*net.TCPAddr))
				if err != nil {
					t.Fatalf("Connect: %v", err)
				}
				defer active.Close()
				far, err := peer.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer far.Close()
				if got, want := far.RemoteAddr().String(), a.Addr().String(); got != want {
					t.Errorf("the peer sees %s, want the relayed address %s", got, want)
				}
				converse(t, active, far)

				if err := a.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				near, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatalf("peer to %v: %v", a.Addr(), err)
				}
				defer near.Close()
				passive, err := a.accept(s.stream(t, host))
				if err != nil {
					t.Fatalf("ConnectionAttempt: %v", err)
				}
				defer passive.Close()
				converse(t, passive, near)
			})
		}
	}
}

// converse sends a megabyte each way at once (coturn 4.6.1 stalls at times with more than a few buffers full, and gets
// 64 kB), ends one direction after the other, and looks at every byte.
func converse(t *testing.T, a, b net.Conn) {
	t.Helper()
	sent := make([]byte, 1<<20)
	if coturnUnderTest {
		sent = sent[:64<<10]
	}
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	done := make(chan error, 4)
	for _, way := range []struct{ from, to net.Conn }{{a, b}, {b, a}} {
		deadline := time.Now().Add(20 * time.Second)
		if err := way.from.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := way.from.Write(sent)
			done <- err
		}()
		go func() {
			got := make([]byte, len(sent))
			for n := 0; n < len(got); {
				more, err := way.to.Read(got[n:])
				if n += more; err != nil {
					done <- fmt.Errorf("after %d bytes: %w", n, err)
					return
				}
			}
			if !bytes.Equal(got, sent) {
				done <- errors.New("other bytes came than were sent")
				return
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after the other end closed: %d bytes, %v", n, err)
	}
}
