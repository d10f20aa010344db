package media

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
	"go.uber.org/goleak"

	"causeway/internal/netio"
	"causeway/internal/pkt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is an engine without a network: the test calls the receivers itself and
// finds in the ports what was sent. Everything runs on the test's goroutine.
type wire struct {
	pool *pkt.Pool
	now  func() time.Time
}

func (w *wire) NewWorker() netio.Worker                 { return w }
func (w *wire) Run(context.Context, netio.Timers) error { panic("a wire doesn't run") }
func (w *wire) Do(f func(now time.Time))                { f(w.now()) }
func (w *wire) Buffer() *pkt.Buf                        { return w.pool.Get() }
func (w *wire) Adopt(p netio.Port) error                { p.(*wirePort).wire = w; return nil }
func (w *wire) Listen(local netip.AddrPort, _ netio.Options) (netio.Port, error) {
	return &wirePort{wire: w, local: local}, nil
}

type wirePort struct {
	wire     *wire
	local    netip.AddrPort
	receiver netio.Receiver
	counters netio.PortCounters
	closed   bool
	keep     bool // collect what is sent in sent
	sent     [][]byte
	to       netip.AddrPort // of the last packet
	n        int            // packets sent
	last     int            // length of the last
}

func (p *wirePort) Local() netip.AddrPort         { return p.local }
func (p *wirePort) Counters() netio.PortCounters  { return p.counters }
func (p *wirePort) Attach(r netio.Receiver) error { p.receiver = r; return nil }
func (p *wirePort) Close()                        { p.closed = true }
func (p *wirePort) Send(pk *netio.Packet, to netip.AddrPort) {
	if p.closed {
		panic("sent on a closed port")
	}
	p.to, p.last = to, pk.Buf.Len()
	p.n++
	if p.keep {
		p.sent = append(p.sent, bytes.Clone(pk.Buf.Bytes()))
	}
	p.wire.pool.Put(pk.Buf)
	pk.Buf = nil
}

var (
	poolAddr    = netip.MustParseAddr("192.0.2.1")
	gatewayAddr = netip.MustParseAddr("198.51.100.1")
	poolPeer    = netip.MustParseAddrPort("192.0.2.77:20000")
	gatewayPeer = netip.MustParseAddrPort("198.51.100.77:30000")
	stranger1   = netip.MustParseAddrPort("203.0.113.5:5000")
)

func peerOf(s Side) netip.AddrPort {
	if s == Pool {
		return poolPeer
	}
	return gatewayPeer
}

// rig is a bridge on a wire.
type rig struct {
	t     testing.TB
	plane *Plane
	b     *Bridge
	now   time.Time
	buf   []netio.Packet
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Now(), buf: make([]netio.Packet, 1)}
	p, err := NewPlane(Config{
		First: 60000, Last: 64000, PoolAddr: poolAddr, GatewayAddr: gatewayAddr,
		Workers: 1, CNAME: "rig", Engine: &wire{pkt.NewPool(64), func() time.Time { return r.now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Open("call-1")
	if err != nil {
		t.Fatal(err)
	}
	r.plane, r.b = p, b
	for s := range b.halves {
		r.port(Side(s)).keep = true
		r.rtcpPort(Side(s)).keep = true
	}
	return r
}

func (r *rig) port(s Side) *wirePort     { return r.b.halves[s].rtp.(*wirePort) }
func (r *rig) rtcpPort(s Side) *wirePort { return r.b.halves[s].rtcp.(*wirePort) }
func (r *rig) wire() *wire               { return r.port(Pool).wire }

// plainLeg takes and gives PCMU, PCMA, events and comfort noise under the usual
// numbers.
func plainLeg(s Side) Leg {
	all := []Payload{{0, PCMU}, {8, PCMA}, {101, Event}, {13, CN}}
	return Leg{Remote: peerOf(s), Receive: all, Send: all}
}

func (r *rig) set(s Side, leg Leg) {
	r.t.Helper()
	if err := r.b.Set(s, leg); err != nil {
		r.t.Fatal(err)
	}
}

// packet puts bytes into a buffer as if they had been received.
func (r *rig) packet(data []byte, from netip.AddrPort, at time.Time) netio.Packet {
	b := r.wire().pool.Get()
	n := copy(b.Room()[:pkt.MaxDatagram], data)
	b.Use(0, n)
	return netio.Packet{Buf: b, From: from, At: at.UnixNano(), Cut: n < len(data)}
}

func (r *rig) deliver(p *wirePort, data []byte, from netip.AddrPort) {
	r.buf[0] = r.packet(data, from, r.now)
	p.receiver.Receive(r.now, r.buf)
	if r.b.failed {
		r.plane.failing.Lock()
		defer r.plane.failing.Unlock()
		r.t.Fatalf("panicked at %x: %v", data, r.plane.failures)
	}
	if r.buf[0].Buf != nil {
		r.wire().pool.Put(r.buf[0].Buf)
	}
}

// in delivers a datagram to a side's RTP port, from its peer.
func (r *rig) in(s Side, data []byte) { r.deliver(r.port(s), data, peerOf(s)) }

// inRTCP delivers a datagram to a side's RTCP port, from its peer.
func (r *rig) inRTCP(s Side, data []byte) {
	from := peerOf(s)
	r.deliver(r.rtcpPort(s), data, netip.AddrPortFrom(from.Addr(), from.Port()+1))
}

// out takes what was sent on a side's RTP port since the last call.
func (r *rig) out(s Side) [][]byte {
	p := r.port(s)
	sent := p.sent
	p.sent = nil
	return sent
}

func (r *rig) outRTCP(s Side) [][]byte {
	p := r.rtcpPort(s)
	sent := p.sent
	p.sent = nil
	return sent
}

// drops returns both directions' drops of a side, as names with counts.
func (r *rig) drops(s Side) map[string]uint64 {
	st := r.b.Stats()[s]
	all := map[string]uint64{}
	for _, m := range []map[string]uint64{st.Receive.Drops, st.Send.Drops} {
		for name, n := range m {
			all[name] += n
		}
	}
	return all
}

// rtpPacket makes an RTP packet; first overrides the first byte if not 0.
type rtpPacket struct {
	first     byte
	marker    bool
	payload   byte
	sequence  uint16
	timestamp uint32
	ssrc      uint32
	body      []byte
}

func (p rtpPacket) bytes() []byte {
	h := header{marker: p.marker, payload: p.payload, sequence: p.sequence, timestamp: p.timestamp, ssrc: p.ssrc}
	b := make([]byte, fixedHeader, fixedHeader+len(p.body))
	h.put(b)
	if p.first != 0 {
		b[0] = p.first
	}
	return append(b, p.body...)
}

// read parses what a bridge sent, and fails if it is not what it should be.
func read(t testing.TB, b []byte) rtpPacket {
	t.Helper()
	h, drop := parseHeader(b)
	if drop != passed || h.length != fixedHeader || h.padded {
		t.Fatalf("sent a packet that is no plain RTP: %x", b)
	}
	return rtpPacket{marker: h.marker, payload: h.payload, sequence: h.sequence,
		timestamp: h.timestamp, ssrc: h.ssrc, body: b[fixedHeader:]}
}

// speech is a payload of 20 ms, different for each sequence number, with room for
// 60.
func speech(sequence uint16) []byte {
	b := make([]byte, 3*frame)
	for i := range b {
		b[i] = byte(int(sequence)*31 + i)
	}
	return b[:frame]
}

// talk is packet i of a stream of PCMU.
func talk(i int, ssrc uint32) rtpPacket {
	return rtpPacket{sequence: uint16(i), timestamp: uint32(i * frame), ssrc: ssrc, body: speech(uint16(i))}
}

// key is key material of a profile, different for each seed.
func key(p Profile, seed byte) []byte {
	k := make([]byte, p.KeyLen())
	for i := range k {
		k[i] = seed + byte(i)*7
	}
	return k
}

func secureLeg(s Side, p Profile) Leg {
	leg := plainLeg(s)
	leg.SRTP = &SRTP{Profile: p, Local: key(p, 1), Remote: key(p, 2)}
	return leg
}

// phone is the peer of a protected leg, by the library alone.
type phone struct {
	t    testing.TB
	send *srtp.Context
	recv *srtp.Context
}

func newPhone(t testing.TB, keys *SRTP) *phone {
	t.Helper()
	ctx := func(k, mki []byte) *srtp.Context {
		n := suites[keys.Profile].key
		c, err := srtp.CreateContext(k[:n], k[n:], suites[keys.Profile].pion, srtp.MasterKeyIndicator(mki))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return &phone{t: t, send: ctx(keys.Remote, keys.RemoteMKI), recv: ctx(keys.Local, keys.LocalMKI)}
}

func (p *phone) protect(b []byte) []byte {
	p.t.Helper()
	out, err := p.send.EncryptRTP(nil, b, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *phone) protectRTCP(b []byte) []byte {
	p.t.Helper()
	out, err := p.send.EncryptRTCP(nil, b, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *phone) unprotect(b []byte) []byte {
	p.t.Helper()
	out, err := p.recv.DecryptRTP(nil, b, nil)
	if err != nil {
		p.t.Fatalf("the peer can't open what we sent: %v", err)
	}
	return out
}

func (p *phone) unprotectRTCP(b []byte) []byte {
	p.t.Helper()
	out, err := p.recv.DecryptRTCP(nil, b, nil)
	if err != nil {
		p.t.Fatalf("the peer can't open the RTCP that we sent: %v", err)
	}
	return out
}

func sameDrops(got map[string]uint64, want ...string) error {
	m := map[string]uint64{}
	for _, name := range want {
		m[name]++
	}
	if len(got) != len(m) {
		return fmt.Errorf("drops %v, want %v", got, m)
	}
	for name, n := range m {
		if got[name] != n {
			return fmt.Errorf("drops %v, want %v", got, m)
		}
	}
	return nil
}

var profiles = []Profile{AES128_CM_80, AES128_CM_32, AES128_GCM, AES256_GCM, AES256_CM_80}

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// parse reads an address, or nothing from "".
func parse(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}
