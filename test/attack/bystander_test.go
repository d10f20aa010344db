package attack

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"causeway/relay/turn"
)

// bystander is a client that does nothing wrong: it talks to a peer over a channel for as long as an attack lasts.
type bystander struct {
	relay          *relay
	client         *client
	sent, received atomic.Int64
	before         metrics
	stop, done     chan struct{}
}

const (
	calling     = 10 * time.Millisecond // between two messages
	callChannel = 0x4ABC
)

func (r *relay) bystander(t *testing.T) *bystander {
	t.Helper()
	b := &bystander{relay: r, before: r.metrics(), stop: make(chan struct{}), done: make(chan struct{})}
	b.client = r.udpClient(t, home).meet()
	b.client.allocate()
	b.client.must(turn.MethodChannelBind, channel(callChannel), peer(echo(t, friend)))
	go b.listen()
	go b.talk()
	return b
}

func (b *bystander) talk() {
	defer close(b.done)
	every := time.NewTicker(calling)
	defer every.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-every.C:
			message := binary.BigEndian.AppendUint64(nil, uint64(b.sent.Add(1)))
			_, _ = b.client.conn.Write(b.client.channelData(callChannel, message))
		}
	}
}

// listen counts what comes back, until the socket is closed. Each message counts once.
func (b *bystander) listen() {
	_ = b.client.conn.SetReadDeadline(time.Time{})
	seen := map[uint64]bool{}
	buf := make([]byte, 1500)
	for {
		n, err := b.client.conn.Read(buf)
		if err != nil {
			return
		}
		if number, payload, err := turn.ParseChannelData(buf[:n], false); err == nil && number == callChannel && len(payload) == 8 {
			if i := binary.BigEndian.Uint64(payload); !seen[i] {
				seen[i] = true
				b.received.Add(1)
			}
		}
	}
}

// leave ends the call. Every message of it has come back, but for those that the kernel dropped in front of the relay.
func (b *bystander) leave(t *testing.T) {
	t.Helper()
	close(b.stop)
	<-b.done
	deadline := time.Now().Add(patience)
	for b.received.Load() < b.sent.Load() && time.Now().Before(deadline) {
		if b.sent.Load()-b.received.Load() <= b.kernelDropped() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	sent, received, dropped := b.sent.Load(), b.received.Load(), b.kernelDropped()
	if sent == 0 || received == 0 || sent-received > dropped {
		t.Errorf("a client that did nothing wrong sent %d messages and got %d back; the kernel dropped %d datagrams in all",
			sent, received, dropped)
	}
	t.Logf("a client that did nothing wrong sent %d messages, of which %d came back", sent, received)
}

// kernelDropped is how many datagrams have overflown the listeners' queues.
func (b *bystander) kernelDropped() int64 {
	now, series := b.relay.metrics(), prefix+`socket_dropped_total{listener="`+b.relay.udp()+`"}`
	return int64(now[series] - b.before[series])
}

// serves has a client come by UDP.
func (r *relay) serves(t *testing.T) {
	t.Helper()
	c := r.udpClient(t, home)
	c.modern = true
	r.visit(t, c)
}

// visit is one whole visit of a client: allocation, permission, channel, data both ways, and the end.
func (r *relay) visit(t *testing.T, c *client) {
	t.Helper()
	defer c.conn.Close()
	c.meet()
	c.allocate()
	p := echo(t, friend)
	c.must(turn.MethodCreatePermission, peer(p))
	c.must(turn.MethodChannelBind, channel(0x4001), peer(p))
	payload := []byte("is anybody there?")
	c.send(c.channelData(0x4001, payload))
	if _, got, err := turn.ParseChannelData(c.message(), c.in != nil); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("the peer echoed %q, %v", got, err)
	}
	c.must(turn.MethodRefresh, lifetime(0))
}

// echo is a peer that returns what it gets.
func echo(t testing.TB, at netip.Addr) netip.AddrPort {
	t.Helper()
	conn := listenUDP(t, netip.AddrPortFrom(at, 0))
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return addrOf(conn)
}

func listenUDP(t testing.TB, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func addrOf(conn *net.UDPConn) netip.AddrPort {
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}
