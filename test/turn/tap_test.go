package turn

import (
	"net"
	"sync"
	"testing"

	"github.com/pion/stun/v3"
)

// tap stands between UDP clients and the relay and keeps every STUN message that passes. To the relay each client is an
// address of the tap's.
type tap struct {
	front net.PacketConn
	relay *net.UDPAddr

	mu       sync.Mutex // guards what is below
	backs    map[string]*net.UDPConn
	messages []*stun.Message
}

// newTap makes one for a relay's address. It ends with the test.
func newTap(t *testing.T, relay string) *tap {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{front: socket(t, "127.0.0.1"), relay: to, backs: map[string]*net.UDPConn{}}
	var running sync.WaitGroup
	running.Go(func() { p.forward(&running) })
	t.Cleanup(func() {
		p.front.Close()
		p.mu.Lock()
		for _, back := range p.backs {
			back.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// forward passes what clients send, until the tap is closed.
func (p *tap) forward(running *sync.WaitGroup) {
	b := make([]byte, 2000)
	for {
		n, client, err := p.front.ReadFrom(b)
		if err != nil {
			return
		}
		p.keep(b[:n])
		back := p.back(client, running)
		if back == nil {
			return
		}
		_, _ = back.Write(b[:n]) // lost, as on any network, if it fails
	}
}

// back returns the socket by which a client's packets leave, and passes what comes to it back to the client.
func (p *tap) back(client net.Addr, running *sync.WaitGroup) *net.UDPConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.backs[client.String()]; known != nil {
		return known
	}
	back, err := net.DialUDP("udp", nil, p.relay)
	if err != nil {
		return nil
	}
	p.backs[client.String()] = back
	running.Go(func() {
		b := make([]byte, 2000)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			p.keep(b[:n])
			_, _ = p.front.WriteTo(b[:n], client)
		}
	})
	return back
}

func (p *tap) keep(b []byte) {
	if !stun.IsMessage(b) {
		return
	}
	m := &stun.Message{Raw: append([]byte{}, b...)}
	if m.Decode() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages = append(p.messages, m)
}

// passed returns the messages so far of a method and class.
func (p *tap) passed(method stun.Method, class stun.MessageClass) []*stun.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*stun.Message
	for _, m := range p.messages {
		if m.Type == stun.NewType(method, class) {
			all = append(all, m)
		}
	}
	return all
}
