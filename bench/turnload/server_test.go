package turnload

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"causeway/relay/auth"
	"causeway/relay/turn"
)

const (
	testRealm    = "example.org"
	testUser     = "alice"
	testPassword = "secret"
)

// faulty is a TURN server for a few clients that does what a test wants it to do wrong.
type faulty struct {
	t    *testing.T
	conn *net.UDPConn
	wait sync.WaitGroup

	mu      sync.Mutex
	clients map[netip.AddrPort]*relayed
	msg     turn.Message
	out     turn.Composer
	key     []byte
	ids     map[turn.TransactionID]int // how often each request came
	nonce   string

	// ignored is how many times each request gets no answer.
	ignored int
	// code is the error that requests of a method get.
	code map[turn.Method]int
	// forged has answers made with another key than the client's.
	forged bool
	// toPeer and toClient may change or, by returning nil, drop the nth packet of their direction, counted from 0.
	toPeer, toClient func(n int, b []byte) []byte
	packets          [2]int
}

// relayed is one client's relayed address.
type relayed struct {
	conn *net.UDPConn
	peer netip.AddrPort
}

func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// startFaulty runs a server with the given faults.
func startFaulty(t *testing.T, faults ...func(*faulty)) *faulty {
	t.Helper()
	f := &faulty{
		t: t, conn: loopback(t), clients: map[netip.AddrPort]*relayed{}, ids: map[turn.TransactionID]int{},
		key: auth.Key(nil, auth.MD5, testUser, testRealm, testPassword), nonce: "first", code: map[turn.Method]int{},
		toPeer:   func(_ int, b []byte) []byte { return b },
		toClient: func(_ int, b []byte) []byte { return b },
	}
	for _, fault := range faults {
		fault(f)
	}
	f.wait.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := f.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			f.mu.Lock()
			f.take(from, b[:n])
			f.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = f.conn.Close()
		f.mu.Lock()
		for _, r := range f.clients {
			_ = r.conn.Close()
		}
		f.mu.Unlock()
		f.wait.Wait()
	})
	return f
}

func (f *faulty) addr() netip.AddrPort { return f.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// take handles what a client sent.
func (f *faulty) take(from netip.AddrPort, b []byte) {
	if turn.Classify(b) == turn.KindChannelData {
		r, out := f.clients[from], f.toPeer(f.packets[0], b[turn.ChannelHeaderSize:])
		if f.packets[0]++; out != nil {
			_, _ = r.conn.WriteToUDPAddrPort(out, r.peer)
		}
		return
	}
	if err := f.msg.Parse(b); err != nil {
		f.t.Errorf("the client sent nonsense: %v", err)
		return
	}
	if f.ids[f.msg.ID]++; f.ids[f.msg.ID] <= f.ignored {
		return
	}
	if _, ok := f.msg.Get(turn.AttrMessageIntegrity); !ok {
		f.refuse(from, turn.CodeUnauthenticated)
		return
	}
	if !f.msg.CheckIntegrity(f.key) {
		f.t.Error("a request's integrity is wrong")
	}
	nonce, _ := f.msg.Get(turn.AttrNonce)
	if code := f.code[f.msg.Method]; code != 0 {
		f.refuse(from, code)
	} else if string(nonce) != f.nonce {
		f.refuse(from, turn.CodeStaleNonce)
	} else {
		f.grant(from)
	}
}

func (f *faulty) refuse(to netip.AddrPort, code int) {
	f.out.Begin(f.msg.Method, turn.ClassError, f.msg.ID)
	f.out.AddError(code)
	f.out.AddString(turn.AttrRealm, testRealm)
	f.out.AddString(turn.AttrNonce, f.nonce)
	_, _ = f.conn.WriteToUDPAddrPort(f.out.Seal(nil, false, false, false), to)
}

func (f *faulty) grant(to netip.AddrPort) {
	f.out.Begin(f.msg.Method, turn.ClassSuccess, f.msg.ID)
	if f.msg.Method == turn.MethodAllocate {
		if f.clients[to] == nil {
			f.relay(to)
		}
		f.out.AddAddr(turn.AttrXORRelayedAddress, f.clients[to].conn.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	if f.msg.Method == turn.MethodChannelBind {
		f.clients[to].peer, _ = f.msg.Addr(turn.AttrXORPeerAddress)
	}
	key := f.key
	if f.forged {
		key = []byte("another")
	}
	_, _ = f.conn.WriteToUDPAddrPort(f.out.Seal(key, true, false, false), to)
}

// relay gives a client its relayed address.
func (f *faulty) relay(client netip.AddrPort) {
	r := &relayed{conn: loopback(f.t)}
	f.clients[client] = r
	f.wait.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := r.conn.Read(b[turn.ChannelHeaderSize:])
			if err != nil {
				return
			}
			f.mu.Lock()
			out := f.toClient(f.packets[1], b[turn.ChannelHeaderSize:][:n])
			f.packets[1]++
			f.mu.Unlock()
			if out != nil {
				turn.PutChannelHeader(b, firstChannel, len(out))
				_, _ = f.conn.WriteToUDPAddrPort(append(b[:turn.ChannelHeaderSize:turn.ChannelHeaderSize], out...), client)
			}
		}
	})
}
