package media

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/bench/tone"
	"causeway/codec/g711"
)

// attacker is a host that sends what it likes and counts what it gets.
type attacker struct {
	t    *testing.T
	conn *net.UDPConn
	got  atomic.Int64 // packets
}

// newAttacker makes the n-th attacker of a lab.
func (l *lab) newAttacker(n byte) *attacker { return attackerAt(l.t, l.at(attackers+n, 17000)) }

func attackerAt(t *testing.T, at netip.AddrPort) *attacker {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{t: t, conn: conn}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 2048)
		for {
			_, _, err := conn.ReadFromUDPAddrPort(b)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err == nil:
				a.got.Add(1)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	return a
}

func (a *attacker) send(to netip.AddrPort, data []byte) {
	// Ports that nobody listens on answer by ICMP, which shows as an error of the next packet.
	if _, err := a.conn.WriteToUDPAddrPort(data, to); err != nil {
		_, _ = a.conn.WriteToUDPAddrPort(data, to)
	}
}

// deaf holds that nothing ever came to the attacker.
func (a *attacker) deaf() {
	a.t.Helper()
	if n := a.got.Load(); n != 0 {
		a.t.Errorf("%d packets came to the attacker at %v", n, a.conn.LocalAddr())
	}
}

// forger sends from addresses that are not its own.
type forger struct {
	t  *testing.T
	fd int
}

func newForger(t *testing.T) *forger {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if errors.Is(err, unix.EPERM) {
		t.Skip("forging addresses takes CAP_NET_RAW")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &forger{t, fd}
}

// send sends a datagram as if it came from another.
func (f *forger) send(from, to netip.AddrPort, data []byte) {
	f.t.Helper()
	const ip, udp = 20, 8
	b := make([]byte, ip+udp, ip+udp+len(data))
	b[0], b[8], b[9] = 4<<4|ip/4, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(ip+udp+len(data)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[ip:], from.Port())
	binary.BigEndian.PutUint16(b[ip+2:], to.Port())
	binary.BigEndian.PutUint16(b[ip+4:], uint16(udp+len(data))) // without a checksum, as IPv4 lets it be
	if err := unix.Sendto(f.fd, append(b, data...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
		f.t.Errorf("forge a packet from %v to %v: %v", from, to, err)
	}
}

// frames are packets of the attackers' tone.
type frames struct {
	ssrc      uint32
	sequence  uint16
	timestamp uint32
	source    tone.Source
}

func newFrames(ssrc uint32, sequence uint16, timestamp uint32) *frames {
	return &frames{ssrc, sequence, timestamp, tone.Sine(injectedTone, -3)}
}

// next is the next packet of 20 ms: 172 bytes of plain RTP.
func (f *frames) next() []byte {
	var pcm [160]int16
	f.source.Read(pcm[:])
	b := rtpHeader(0, f.sequence, f.timestamp, f.ssrc)
	f.sequence++
	f.timestamp += 160
	return g711.AppendPCMU(b, pcm[:])
}

func rtpHeader(payload byte, sequence uint16, timestamp, ssrc uint32) []byte {
	b := []byte{0x80, payload}
	b = binary.BigEndian.AppendUint16(b, sequence)
	b = binary.BigEndian.AppendUint32(b, timestamp)
	return binary.BigEndian.AppendUint32(b, ssrc)
}

// event is a packet of the digit 9, as long as its end says.
func event(sequence uint16, timestamp, ssrc uint32) []byte {
	return append(rtpHeader(101, sequence, timestamp, ssrc), 9, 0x80|10, 3, 0x20)
}

// every calls f n times, one step of time after the other.
func every(step time.Duration, n int, f func(i int)) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	for i := range n {
		f(i)
		<-tick.C
	}
}
