package attack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/relay/turn"
)

// The ration of replies to strangers by default (relay.limits), and how long one may be.
const (
	repliesASecond = 200
	repliesAtOnce  = 1000
	longestReply   = 100
)

// TestFloodOfStrangers: thirty thousand requests from one /24, whose sender may be anybody's victim, draw no more replies
// than its ration, while clients in other networks get on as if nothing were.
func TestFloodOfStrangers(t *testing.T) {
	t.Parallel()
	r := start(t, settings{})
	r.whileServing(t, func(t *testing.T) {
		f := flood{t: t, relay: r, kinds: strangers(r.udpClient(t, elsewhere))}
		before, began := r.metrics(), time.Now()
		var senders sync.WaitGroup
		for host := range byte(10) {
			senders.Go(func() { f.from(netip.AddrFrom4([4]byte{127, 66, 0, 1 + host}), 3000, 100*time.Millisecond) })
		}
		over := make(chan struct{})
		go func() { senders.Wait(); close(over) }()
		visits := 0
		for running := true; running; visits++ {
			r.newcomer(t, byte(visits))
			select {
			case <-over:
				running = false
			default:
			}
		}
		// As far as the sockets of the flood are concerned, replies end soon after.
		f.settle()
		allowed := int64(repliesAtOnce + repliesASecond*(time.Since(began).Seconds()+1))
		after := r.metrics()
		grown := func(series string) int64 {
			return int64(after.value(t, prefix+series) - before.value(t, prefix+series))
		}
		kernel := grown(`socket_dropped_total{listener="` + r.udp() + `"}`)
		budget := grown(ignored("reply_budget"))
		if got := f.replies.Load(); got > allowed || got == 0 {
			t.Errorf("%d replies to %d requests, allowed are %d", got, f.sent.Load(), allowed)
		}
		if least := f.sent.Load() - kernel - allowed; budget < least || budget > f.sent.Load() {
			t.Errorf("%d replies were withheld by the budget, of %d requests; the kernel dropped %d", budget, f.sent.Load(), kernel)
		}
		if f.longest.Load() > longestReply {
			t.Errorf("a reply had %d bytes", f.longest.Load())
		}
		t.Logf("%d requests of %d KB in %v drew %d replies of %d KB; %d were over the budget, the kernel dropped %d; %d newcomers were served",
			f.sent.Load(), f.sentBytes.Load()>>10, time.Since(began).Round(time.Millisecond), f.replies.Load(),
			f.replyBytes.Load()>>10, budget, kernel, visits)
	})
}

// TestFloodFromEverywhere: a sender who forges a thousand networks leaves nothing behind.
func TestFloodFromEverywhere(t *testing.T) {
	t.Parallel()
	r := start(t, settings{})
	r.whileServing(t, func(t *testing.T) {
		f := flood{t: t, relay: r, kinds: strangers(r.udpClient(t, elsewhere))}
		for i := range 2000 {
			f.from(netip.AddrFrom4([4]byte{127, 100 + byte(i>>8), byte(i), 1}), len(f.kinds), 0)
		}
		t.Logf("%d requests from 2000 networks", f.sent.Load())
	})
}

// flood are datagrams from many sockets, and what comes back.
type flood struct {
	t     *testing.T
	relay *relay
	kinds [][]byte

	sent, sentBytes, replies, replyBytes, longest atomic.Int64
}

// from sends a number of requests from a socket of its own, and closes it a while after.
func (f *flood) from(a netip.Addr, n int, linger time.Duration) {
	c := f.relay.udpClient(f.t, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, err := c.conn.Read(buf)
			if err != nil {
				return
			}
			f.replies.Add(1)
			f.replyBytes.Add(int64(n))
			f.longest.Store(max(f.longest.Load(), int64(n)))
		}
	}()
	for i := range n {
		b := f.kinds[i%len(f.kinds)]
		if _, err := c.conn.Write(b); err == nil {
			f.sent.Add(1)
			f.sentBytes.Add(int64(len(b)))
		}
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(linger))
	<-done
	c.conn.Close()
}

// settle waits for what is still in the relay's queue.
func (f *flood) settle() {
	c := f.relay.udpClient(f.t, home)
	c.barrier()
}

// strangers are the requests that somebody unproven gets a reply to.
func strangers(c *client) [][]byte {
	c.nonce = []byte("obMatJos2AAAAAAAAAAAAAAAAAAAAAAA")
	return [][]byte{
		c.plain(turn.MethodBinding),
		c.plain(turn.MethodAllocate),
		c.plain(turn.MethodRefresh, lifetime(0)),
		c.request(turn.MethodAllocate, relayUDP),              // 438
		c.sealed(turn.MethodCreatePermission),                 // 400
		c.plain(turn.MethodBinding, raw(0x7F00), raw(0x7F01)), // 420
	}
}

// newcomer is a client that arrives now, and asks again when its request or the answer has been lost.
func (r *relay) newcomer(t *testing.T, host byte) {
	t.Helper()
	c := r.udpClient(t, netip.AddrFrom4([4]byte{127, 3, 0, 2 + host%200}))
	defer c.conn.Close()
	challenge := c.insist(c.plain(turn.MethodAllocate, relayUDP))
	nonce, ok := challenge.msg.Get(turn.AttrNonce)
	if !ok {
		t.Fatalf("a newcomer got %d and no nonce", challenge.code)
	}
	c.nonce = clone(nonce)
	for _, request := range [][]byte{
		c.request(turn.MethodAllocate, relayUDP),
		c.request(turn.MethodChannelBind, channel(0x4000), peer(netip.AddrPortFrom(friend, 9))),
		c.request(turn.MethodRefresh, lifetime(0)),
	} {
		if a := c.insist(request); a.code != 0 {
			t.Fatalf("a newcomer got %d", a.code)
		}
	}
}

// insist sends a request every half second until it is answered (RFC 8489 section 6.2.1).
func (c *client) insist(request []byte) answer {
	c.t.Helper()
	const again = 500 * time.Millisecond
	for range patience / again {
		c.send(request)
		end := time.Now().Add(again)
		for time.Now().Before(end) {
			b, err := c.receive(time.Until(end))
			if err != nil {
				break
			}
			if a, ok := response(b, request); ok {
				return a
			}
		}
	}
	c.t.Fatalf("no answer to a request of type %x", request[:2])
	return answer{}
}

// TestAmplification measures what one datagram of somebody unproven draws, each kind by itself.
func TestAmplification(t *testing.T) {
	t.Parallel()
	r := start(t, settings{})
	c := r.udpClient(t, elsewhere)
	fingerprinted := func(m turn.Method) []byte {
		c.out.Begin(m, turn.ClassRequest, transaction())
		return clone(c.out.Seal(nil, false, false, true))
	}
	var many []attr
	for i := range 500 {
		many = append(many, raw(turn.Attr(0x7000+i)))
	}
	c.nonce = []byte("obMatJos2AAAAAAAAAAAAAAAAAAAAAAA")
	nameless := c.sealed(turn.MethodAllocate)
	large := c.plain(turn.MethodAllocate, relayUDP, raw(turn.AttrSoftware, make([]byte, 65000)...))
	r.whileServing(t, func(t *testing.T) {
		for _, x := range []struct {
			name    string
			message []byte
			most    int // bytes of the one reply; 0: there is none
		}{
			{"Binding", c.plain(turn.MethodBinding), 32},
			{"Binding with FINGERPRINT", fingerprinted(turn.MethodBinding), 40},
			{"Binding with 500 unknown attributes", c.plain(turn.MethodBinding, many...), 48},
			{"Allocate", c.plain(turn.MethodAllocate), 92},
			{"Allocate with FINGERPRINT", fingerprinted(turn.MethodAllocate), longestReply},
			{"Allocate of 65,032 bytes", large, 92},
			{"Refresh", c.plain(turn.MethodRefresh), 92},
			{"CreatePermission", c.plain(turn.MethodCreatePermission), 92},
			{"ChannelBind", c.plain(turn.MethodChannelBind), 92},
			{"Connect", c.plain(turn.MethodConnect), 92},
			{"ConnectionBind", c.plain(turn.MethodConnectionBind), 92},
			{"Allocate with a forged nonce", c.request(turn.MethodAllocate, relayUDP), 92},
			{"Allocate without a name", nameless, 28},
			{"a method that nobody knows", c.plain(0x0FF), 0},
			{"Send", c.indication(peer(netip.AddrPortFrom(friend, 9)), data(make([]byte, 100))), 0},
			{"ChannelData", c.channelData(0x4000, make([]byte, 100)), 0},
		} {
			t.Run(x.name, func(t *testing.T) {
				c := r.udpClient(t, elsewhere)
				c.send(x.message)
				c.barrier()
				replies, n := len(c.waits), 0
				for _, b := range c.waits {
					n += len(b)
				}
				if x.most == 0 && replies > 0 || x.most > 0 && replies != 1 || n > x.most {
					t.Errorf("%d bytes drew %d replies of %d bytes together, want at most %d", len(x.message), replies, n, x.most)
				}
				t.Logf("%5d bytes in, %3d bytes out, %.2f times as much", len(x.message), n, float64(n)/float64(len(x.message)))
			})
		}
		t.Logf("at most %d replies a second to one network, of %d bytes: %d kbit/s, and %d KB at once after a pause",
			repliesASecond, longestReply, repliesASecond*longestReply*8/1000, repliesAtOnce*longestReply/1000)
	})
}
