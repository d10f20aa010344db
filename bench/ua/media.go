package ua

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/pion/rtp"

	"causeway/bench/tone"
	"causeway/codec/g711"
)

const (
	rtpHeaderLen = 12
	maxPacket    = 1500
	// linger is how long a call that is over still listens, for what was under way and for the RTCP BYE.
	linger = 100 * time.Millisecond
)

// media is the RTP and RTCP of one call: two sockets, two goroutines that read them, and frames that the pacer has
// it send.
type media struct {
	local   netip.AddrPort // of RTP, as the peer is told
	ssrc    uint32
	rtp     socket
	rtcp    socket  // one port higher, but for a relayed one
	delays  *Delays // nil: not measured
	readers sync.WaitGroup

	sendMu sync.Mutex // guards the following
	to     *session   // nil before negotiation and after the end
	source tone.Source
	out    outgoing

	receiveMu sync.Mutex // guards the following
	from      *session   // nil before negotiation and after the end
	in        incoming
}

// outgoing is the state of the stream that is sent.
type outgoing struct {
	stamp        uint32
	seq          uint16
	marker       bool
	frames       int // until the next mark of the delay
	packets      uint64
	octets       uint64
	failed       uint64
	untilReport  int // frames
	reports      uint64
	digits       digits
	pcm          [frameLen]int16
	scratch      [frameLen]byte
	packet, wire [maxPacket]byte
	reportEvery  time.Duration
}

// incoming is what was received.
type incoming struct {
	reception
	delay     Delay
	recording recording
	marks     map[uint8]uint64
	keypad    keypad

	early, strays, rejected, unexpected uint64

	reports       uint64
	bye           bool
	lastSR        uint32 // the middle of its NTP time (RFC 3550 section 6.4.1)
	lastSRAt      time.Time
	lastSRFrom    uint32 // SSRC
	roundTrip     *float64
	farLost       *int64
	farJitter     *float64
	pcm           []int16
	clear, buffer []byte
}

// openMedia binds the ports of a call.
func (u *UA) openMedia(source tone.Source) (*media, error) {
	rtp, rtcp, err := u.openSockets()
	if err != nil {
		return nil, err
	}
	m := &media{
		local: rtp.local(), rtp: rtp, rtcp: rtcp,
		ssrc: rand.Uint32(), delays: u.config.Delays, source: source,
		out: outgoing{
			seq: uint16(rand.Uint32()), stamp: rand.Uint32(), marker: true,
			reportEvery: u.config.ReportEvery,
		},
		in: incoming{recording: newRecording(u.config.Record), marks: map[uint8]uint64{}},
	}
	m.out.untilReport = m.out.nextReport() / 2
	m.readers.Go(func() { m.read(m.rtp, m.receiveRTP) })
	m.readers.Go(func() { m.read(m.rtcp, m.receiveRTCP) })
	return m, nil
}

// openSockets binds the ports of a call, or has a relay do so.
func (u *UA) openSockets() (rtp, rtcp socket, err error) {
	first, second, err := u.ports.bind(u.config.MediaAddr)
	if err != nil {
		return nil, nil, err
	}
	if u.config.Relay == nil {
		return newUDPSocket(first), newUDPSocket(second), nil
	}
	relayed, err := newRelayedSocket(first, u.config.Relay)
	if err != nil {
		return nil, nil, errors.Join(err, second.Close())
	}
	control, err := newRelayedSocket(second, u.config.Relay)
	if err != nil {
		return nil, nil, errors.Join(err, relayed.close())
	}
	return relayed, control, nil
}

// start sends and receives by what was agreed. It may be called again with a later agreement.
func (m *media) start(s *session) {
	if s.protection == nil {
		s.protection = plain{}
	}
	// A relay lets a peer in once it is told of it; what it refuses is heard by its silence.
	_ = errors.Join(m.rtp.permit(s.remote.rtp), m.rtcp.permit(s.remote.rtcp))
	m.receiveMu.Lock()
	m.from = s
	m.receiveMu.Unlock()
	m.sendMu.Lock()
	m.to = s
	m.sendMu.Unlock()
}

// stop says BYE in RTCP, waits for what is under way, closes the sockets and returns when nothing runs any more.
func (m *media) stop() {
	m.sendMu.Lock()
	m.goodbye()
	started := m.to != nil
	m.to = nil
	m.sendMu.Unlock()
	if started {
		time.Sleep(linger)
	}
	_ = errors.Join(m.rtp.close(), m.rtcp.close()) // wakes the readers; nothing is left to lose
	m.readers.Wait()
}

// frame sends the next 20 ms.
func (m *media) frame(now time.Time) {
	m.sendMu.Lock()
	defer m.sendMu.Unlock()
	if m.to == nil {
		return
	}
	o := &m.out
	m.source.Read(o.pcm[:])
	if o.untilReport--; o.untilReport == 0 {
		o.untilReport = o.nextReport()
		m.report(now)
	}
	if !m.to.sends { // time goes on, and sound begins anew behind it
		o.stamp += uint32(frameLen)
		o.marker = true
		return
	}
	payload, pt, stamp := m.audio()
	marker := o.marker
	if o.digits.active() && m.to.event.name != "" {
		marker = o.digits.step == 0
		payload, pt, stamp = o.digits.next(o.packet[:rtpHeaderLen], o.stamp, m.to.event.pt)
	} else {
		o.digits.pause()
	}
	header := rtp.Header{Version: 2, Marker: marker, PayloadType: pt, SequenceNumber: o.seq, Timestamp: stamp, SSRC: m.ssrc}
	if _, err := header.MarshalTo(o.packet[:]); err != nil {
		o.failed++
		return
	}
	o.marker = false
	o.seq++
	o.stamp += uint32(frameLen)
	if m.write(m.rtp, m.to.remote.rtp, m.to.protection.ProtectRTP, o.packet[:rtpHeaderLen+payload]) {
		o.packets++
		o.octets += uint64(payload)
	}
}

// audio encodes the frame behind the header and returns its length, payload type and timestamp.
func (m *media) audio() (n int, pt uint8, stamp uint32) {
	o := &m.out
	codes := o.packet[rtpHeaderLen:rtpHeaderLen]
	if m.to.send.name == PCMA {
		codes = g711.AppendPCMA(codes, o.pcm[:])
	} else {
		codes = g711.AppendPCMU(codes, o.pcm[:])
	}
	if m.delays != nil && !o.digits.active() {
		if o.frames--; o.frames < 0 {
			o.frames = markEvery - 1
			m.delays.mark(codes, o.scratch[:], m.to.send.name, time.Now())
		}
	}
	return len(codes), m.to.send.pt, o.stamp
}

func (m *media) write(conn socket, to netip.AddrPort, protect func(dst, packet []byte) ([]byte, error), packet []byte) bool {
	wire, err := protect(m.out.wire[:0], packet)
	if err == nil {
		err = conn.write(wire, to)
	}
	if err != nil {
		m.out.failed++
	}
	return err == nil
}

// read hands every datagram of a socket to receive, until the socket is closed.
func (m *media) read(conn socket, receive func(packet []byte, mark uint8, from netip.AddrPort, at time.Time)) {
	buf := make([]byte, maxPacket)
	for {
		n, class, from, err := conn.read(buf)
		at := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of something sent before
		}
		receive(buf[:n], class, from, at)
	}
}

func (m *media) receiveRTP(packet []byte, class uint8, from netip.AddrPort, at time.Time) {
	m.receiveMu.Lock()
	defer m.receiveMu.Unlock()
	in := &m.in
	switch {
	case m.from == nil:
		in.early++
		return
	case from != m.from.remote.rtp:
		in.strays++
		return
	}
	clear, err := m.from.protection.UnprotectRTP(in.clear[:0], packet)
	var p rtp.Packet
	if err == nil {
		in.clear = clear
		err = p.Unmarshal(clear)
	}
	if err != nil {
		in.rejected++
		return
	}
	i := slices.IndexFunc(m.from.receive, func(f format) bool { return f.pt == p.PayloadType })
	if i < 0 {
		in.unexpected++
		return
	}
	if !in.packet(p.SequenceNumber, p.Timestamp, p.SSRC, at, m.from.receive[i].name != event) {
		return
	}
	in.marks[class>>2]++ // the DSCP is the upper six bits (RFC 2474)
	in.take(m.from.receive[i].name, &p, m.delays, at)
}

// take keeps the payload of a packet that was accepted.
func (in *incoming) take(name string, p *rtp.Packet, delays *Delays, at time.Time) {
	switch name {
	case event:
		in.keypad.packet(p.Payload, p.Timestamp)
		return
	case PCMA:
		in.pcm = g711.AppendFromPCMA(in.pcm[:0], p.Payload)
	default:
		in.pcm = g711.AppendFromPCMU(in.pcm[:0], p.Payload)
	}
	in.recording.add(p.Timestamp, in.pcm)
	if delays == nil {
		return
	}
	if d, ok := delays.find(p.Payload, at); ok {
		in.delay.add(d)
	}
}

// askForMarks has the kernel tell the DSCP of every packet. Where it cannot, every mark reads as 0.
func askForMarks(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1)
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVTCLASS, 1)
	})
}

func trafficClass(control []byte) uint8 {
	if len(control) == 0 {
		return 0
	}
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		tos := m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_TOS
		class := m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_TCLASS
		if (tos || class) && len(m.Data) > 0 {
			return m.Data[0]
		}
	}
	return 0
}

// portPicker hands out pairs of ports that are free.
type portPicker struct {
	mu          sync.Mutex // guards the following
	first, last uint16     // inclusive
	next        int        // even
}

// bind opens an even port for RTP and the next one for RTCP (RFC 3550 section 11).
func (p *portPicker) bind(addr netip.Addr) (rtp, rtcp *net.UDPConn, err error) {
	for range (int(p.last) - int(p.first) + 1) / 2 {
		port := p.pick()
		rtp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("bind media: %w", err)
		}
		rtcp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port+1)))
		if err == nil {
			return rtp, rtcp, nil
		}
		_ = rtp.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fmt.Errorf("bind media: %w", err)
		}
	}
	return nil, nil, fmt.Errorf("bind media on %s: no two ports are free in %d-%d", addr, p.first, p.last)
}

func (p *portPicker) pick() uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := int(p.first) + int(p.first)%2
	if p.next < first || p.next+1 > int(p.last) {
		p.next = first
	}
	port := p.next
	p.next += 2
	return uint16(port)
}
