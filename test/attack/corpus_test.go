package attack

import (
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

// corpus are the byte strings of the fuzz corpora of the relay's parsers.
func corpus(t *testing.T) (list [][]byte) {
	t.Helper()
	for _, room := range []string{"turn", "stream"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "relay", room, "testdata", "fuzz", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				quoted, ok := strings.CutPrefix(strings.TrimSpace(line), "[]byte(")
				if !ok {
					continue
				}
				value, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				list = append(list, []byte(value))
			}
		}
	}
	if len(list) < 100 {
		t.Fatalf("the corpora hold %d byte strings", len(list))
	}
	return list
}

// mutant is a corpus entry with a few things done to it. The numbers are the same in every run.
func mutant(r *rand.Rand, list [][]byte) []byte {
	b := clone(list[r.IntN(len(list))])
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			b = append(b, byte(r.Uint32()))
		}
		at := r.IntN(len(b))
		switch r.IntN(7) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = []byte{0, 1, 0x40, 0x7F, 0x80, 0xFF}[r.IntN(6)]
		case 2:
			b = b[:at]
		case 3:
			b = append(b, list[r.IntN(len(list))]...)
		case 4:
			b = append(b[:at], append(clone(list[r.IntN(len(list))]), b[at:]...)...)
		case 5: // a length that is right
			if len(b) >= 20 && len(b) < 1<<16 {
				b = measured(b[:len(b)&^3])
			}
		case 6: // and the cookie
			if len(b) >= 8 {
				copy(b[4:], []byte{0x21, 0x12, 0xA4, 0x42})
			}
		}
	}
	return b[:min(len(b), largest)]
}

// TestCorpora plays what the fuzzers keep, and mutants of it, to a relay with the race detector: over every transport,
// from strangers and from a client with an allocation. The relay stays up, no allocation comes or goes, and of the
// datagrams each one is counted once.
func TestCorpora(t *testing.T) {
	t.Parallel()
	r := start(t, settings{checked: true, limits: unlimited + ", tcp_clients_per_prefix: 4096"})
	list := corpus(t)
	inputs := func(seed uint64, mutants int) [][]byte {
		random := rand.New(rand.NewPCG(seed, 3))
		all := append([][]byte(nil), list...)
		for range mutants {
			all = append(all, mutant(random, list))
		}
		return all
	}
	r.whileServing(t, func(t *testing.T) {
		t.Run("UDP", func(t *testing.T) { r.replayDatagrams(t, inputs(1, 10000)) })
		t.Run("TCP", func(t *testing.T) {
			r.replayStreams(t, inputs(2, 1000), func() net.Conn { return dialTCP(t, elsewhere, r.open) })
		})
		t.Run("TLS", func(t *testing.T) {
			r.replayStreams(t, inputs(3, 500), func() net.Conn {
				return tls.Client(dialTCP(t, elsewhere, r.open), tlsConfig(t))
			})
		})
		t.Run("beneath TLS", func(t *testing.T) {
			r.replayStreams(t, inputs(4, 500), func() net.Conn { return dialTCP(t, elsewhere, r.secure) })
		})
		t.Run("beneath DTLS", func(t *testing.T) {
			c := listenUDP(t, netip.AddrPortFrom(elsewhere, 0))
			for _, b := range inputs(5, 1000) {
				_, _ = c.WriteToUDPAddrPort(b, r.secure)
			}
		})
	})
}

// replayDatagrams sends every input from a stranger's socket and from a client's.
func (r *relay) replayDatagrams(t *testing.T, inputs [][]byte) {
	c, stranger := r.udpClient(t, elsewhere).meet(), r.udpClient(t, netip.MustParseAddr("127.5.0.1"))
	c.allocate()
	sink := listenUDP(t, netip.AddrPortFrom(friend, 0))
	c.must(turn.MethodChannelBind, channel(0x4000), peer(addrOf(sink)))
	before := r.metrics()
	sent, unanswered := 0, 0
	for i, b := range inputs {
		for _, from := range []*client{c, stranger} {
			from.send(b)
			sent++
			var m turn.Message
			if m.Parse(b) == nil && m.Class == turn.ClassIndication && m.Method == turn.MethodBinding {
				unanswered++ // a keep-alive, which is as it should be
			}
		}
		if i%200 == 199 {
			c.barrier()
			stranger.barrier()
			sent += 2
			c.waits, stranger.waits = nil, nil
		}
	}
	c.barrier()
	stranger.barrier()
	sent += 2
	after := r.metrics()
	counted := unanswered + r.allocation(t, c.local()).ToPeer.Packets
	for series, v := range after {
		name := strings.TrimPrefix(series, prefix)
		switch {
		case strings.HasPrefix(name, `packets_dropped_total{listener="`+r.udp()+`"`),
			strings.HasPrefix(name, "messages_dropped_total") && name != ignored("reply_budget"),
			strings.HasPrefix(name, "requests_total"):
			counted += int(v - before[series])
		}
	}
	if counted != sent {
		t.Errorf("of %d datagrams %d are counted", sent, counted)
	}
	t.Logf("%d datagrams, %d of them relayed, %d keep-alives", sent, r.allocation(t, c.local()).ToPeer.Packets, unanswered)
	c.must(turn.MethodRefresh, lifetime(0))
}

// replayStreams writes the inputs to connections, one behind the other on one until the relay closes it.
func (r *relay) replayStreams(t *testing.T, inputs [][]byte, dial func() net.Conn) {
	used := 0
	for len(inputs) > 0 {
		conn := dial()
		used++
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, conn)
		}()
		const most = 50 // on one connection: what the relay waits for more of is not to stop the test
		for range min(most, len(inputs)) {
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			_, err := conn.Write(inputs[0])
			inputs = inputs[1:]
			if err != nil {
				break
			}
			select {
			case <-gone:
			case <-time.After(time.Millisecond):
				continue
			}
			break
		}
		_ = conn.Close()
		<-gone
	}
	t.Logf("%d connections", used)
}
