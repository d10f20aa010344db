package srtp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"causeway/codec/g711"
	"causeway/test/rig"
)

// The media ports of a peer: what it signals, and behind it those between the tap and GStreamer.
const (
	mediaPort  = 7000
	fromSender = 7100
	toReceiver = 7200
)

// tap is a peer's media socket, behind which GStreamer sends and receives: from one address, as a telephone does, and so
// that the test sees and can keep back what passes.
type tap struct {
	t    *testing.T
	addr netip.Addr

	outside, inside [2]*net.UDPConn // RTP and RTCP
	reading         sync.WaitGroup

	mu       sync.Mutex // guards the following
	to       [2]netip.AddrPort
	held     bool
	last     uint16 // sequence number of the sender's last packet
	made     int    // RTP packets of the sender's
	sent     [][]byte
	received int
	ssrc     uint32 // of causeway's RTP
}

func newTap(t *testing.T, addr netip.Addr) *tap {
	t.Helper()
	tp := &tap{t: t, addr: addr}
	open := func(port int) *net.UDPConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port))))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i := range 2 {
		tp.outside[i], tp.inside[i] = open(mediaPort+i), open(fromSender+i)
		tp.reading.Go(func() { tp.outward(i) })
		tp.reading.Go(func() { tp.inward(i) })
	}
	t.Cleanup(func() {
		for i := range 2 {
			tp.outside[i].Close()
			tp.inside[i].Close()
		}
		tp.reading.Wait()
	})
	return tp
}

func (tp *tap) local() netip.AddrPort { return netip.AddrPortFrom(tp.addr, mediaPort) }

// toward says where causeway is.
func (tp *tap) toward(rtp netip.AddrPort) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.to = [2]netip.AddrPort{rtp, netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)}
}

// hold keeps back what the sender sends, as a telephone does that sends nothing on hold while its stream goes on.
func (tp *tap) hold(on bool) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.held = on
}

func (tp *tap) outward(i int) {
	b := make([]byte, 4096)
	for {
		n, err := tp.inside[i].Read(b)
		if err != nil {
			return
		}
		tp.mu.Lock()
		to, held := tp.to[i], tp.held
		if i == 0 && n > 12 {
			tp.made++
			tp.last = binary.BigEndian.Uint16(b[2:])
			if !held {
				tp.sent = append(tp.sent, append([]byte(nil), b[:n]...))
			}
		}
		tp.mu.Unlock()
		if !held && to.IsValid() {
			_, _ = tp.outside[i].WriteToUDPAddrPort(b[:n], to)
		}
	}
}

func (tp *tap) inward(i int) {
	b := make([]byte, 4096)
	receiver := netip.AddrPortFrom(tp.addr, toReceiver+uint16(i))
	for {
		n, err := tp.outside[i].Read(b)
		if err != nil {
			if strings.Contains(err.Error(), "refused") {
				continue
			}
			return
		}
		if i == 0 && n > 12 {
			tp.mu.Lock()
			tp.received++
			tp.ssrc = binary.BigEndian.Uint32(b[8:])
			tp.mu.Unlock()
		}
		_, _ = tp.inside[i].WriteToUDPAddrPort(b[:n], receiver)
	}
}

func (tp *tap) counts() (made, sent, received int, last uint16, ssrc uint32) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.made, len(tp.sent), tp.received, tp.last, tp.ssrc
}

// passes waits until so many packets more were sent to causeway.
func (tp *tap) passes(more int) {
	tp.t.Helper()
	_, before, _, _, _ := tp.counts()
	rig.Eventually(tp.t, patience, "GStreamer sends", func() string {
		if _, now, _, _, _ := tp.counts(); now < before+more {
			return fmt.Sprintf("%d packets of %d", now-before, more)
		}
		return ""
	})
}

// replay sends the last n packets to causeway again.
func (tp *tap) replay(n int) {
	tp.mu.Lock()
	again, to := tp.sent[len(tp.sent)-n:], tp.to[0]
	tp.mu.Unlock()
	for _, b := range again {
		_, _ = tp.outside[0].WriteToUDPAddrPort(b, to)
	}
}

// ciphers are GStreamer's names for what a suite is made of: the cipher, and the authentication of RTP and of RTCP.
var ciphers = map[string][3]string{
	"AES_CM_128_HMAC_SHA1_80": {"aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"},
	"AES_CM_128_HMAC_SHA1_32": {"aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"},
	"AES_256_CM_HMAC_SHA1_80": {"aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"},
	"AEAD_AES_128_GCM":        {"aes-128-gcm", "null", "null"},
	"AEAD_AES_256_GCM":        {"aes-256-gcm", "null", "null"},
}

// keyBytes is how long the key and salt of a suite are.
var keyBytes = map[string]int{
	"AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30, "AES_256_CM_HMAC_SHA1_80": 46,
	"AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44,
}

const gstPackage = "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"

// gst runs a pipeline until the end of the test, or until it is stopped.
func gst(t *testing.T, name string, pipeline ...string) *rig.Process {
	t.Helper()
	program := rig.Need(t, "gst-launch-1.0", gstPackage)
	return rig.Spawn(t, t.TempDir(), name, nil, program, append([]string{"-q"}, strings.Fields(strings.Join(pipeline, " "))...)...)
}

// sender has GStreamer play a tone into a tap: RTP with a sequence from first on, and RTCP.
func (tp *tap) sender(name string, p protection, ssrc uint32, first uint16) *rig.Process {
	tp.t.Helper()
	c := ciphers[p.suite]
	enc := fmt.Sprintf("srtpenc name=e key=%s rtp-cipher=%s rtp-auth=%s rtcp-cipher=%s rtcp-auth=%s", p.key, c[0], c[1], c[0], c[2])
	if p.mki != "" {
		enc += " mki=" + p.mki
	}
	sink := func(port int) string {
		return fmt.Sprintf("udpsink host=%s port=%d bind-address=%s sync=false async=false", tp.addr, port, tp.addr)
	}
	return gst(tp.t, name, "rtpbin name=b", enc,
		fmt.Sprintf("audiotestsrc is-live=true freq=%g volume=0.25 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! mulawenc", poolTone),
		fmt.Sprintf("! rtppcmupay pt=0 ssrc=%d seqnum-offset=%d min-ptime=20000000 max-ptime=20000000", ssrc, first),
		"! b.send_rtp_sink_0 b.send_rtp_src_0 ! e.rtp_sink_0 e.rtp_src_0 !", sink(fromSender),
		"b.send_rtcp_src_0 ! e.rtcp_sink_0 e.rtcp_src_0 !", sink(fromSender+1))
}

// receiver has GStreamer open what causeway sends, once it is known under which SSRC.
type receiver struct {
	*rig.Process
	dir   string
	after int // packets that came before it was started
}

func (tp *tap) receiver(p protection) *receiver {
	tp.t.Helper()
	var ssrc uint32
	r := &receiver{dir: tp.t.TempDir()}
	rig.Eventually(tp.t, patience, "causeway sends", func() string {
		if _, _, r.after, _, ssrc = tp.counts(); r.after == 0 {
			return "nothing"
		}
		return ""
	})
	c := ciphers[p.suite]
	source := func(kind string, port int) string {
		caps := fmt.Sprintf("application/%s,payload=(int)0,ssrc=(uint)%d,srtp-key=(buffer)%s,srtp-cipher=(string)%s,srtp-auth=(string)%s,"+
			"srtcp-cipher=(string)%s,srtcp-auth=(string)%s", kind, ssrc, p.key, c[0], c[1], c[0], c[2])
		if p.mki != "" {
			caps += ",mki=(buffer)" + p.mki
		}
		return fmt.Sprintf("udpsrc address=%s port=%d caps=%s", tp.addr, port, caps)
	}
	r.Process = gst(tp.t, "receiver", "srtpdec name=d",
		source("x-srtp", toReceiver), "! d.rtp_sink d.rtp_src ! rtppcmudepay ! filesink buffer-mode=2 location="+r.path("audio"),
		source("x-srtcp", toReceiver+1), "! d.rtcp_sink d.rtcp_src ! filesink buffer-mode=2 location="+r.path("rtcp"))
	return r
}

func (r *receiver) path(name string) string { return filepath.Join(r.dir, name) }

// heard is the sound of what GStreamer could open.
func (r *receiver) heard(t *testing.T) []int16 {
	t.Helper()
	b, err := os.ReadFile(r.path("audio"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return g711.AppendFromPCMU(nil, b)
}

// hears waits until GStreamer has opened a second of sound, and looks at its end.
func (r *receiver) hears(t *testing.T, hz float64) {
	t.Helper()
	rig.Eventually(t, patience, "GStreamer hears", func() string {
		if n := len(r.heard(t)); n < 8000 {
			return fmt.Sprintf("%d ms", n/8)
		}
		return ""
	})
	isTone(t, "GStreamer", r.heard(t), hz)
}

// reports is the RTCP that GStreamer could open: whole packets, one after the other.
func (r *receiver) reports(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile(r.path("rtcp"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	list, err := rtcp.Unmarshal(b)
	if err != nil && len(b) > 0 {
		t.Errorf("what GStreamer opened is no RTCP: %v\n%x", err, b)
	}
	for _, p := range list {
		switch p.(type) {
		case *rtcp.SenderReport, *rtcp.ReceiverReport:
			n++
		}
	}
	return n
}

// stop ends a pipeline.
func stop(t *testing.T, p *rig.Process) {
	t.Helper()
	if err := p.Stop(syscall.SIGTERM, 5*time.Second); err != nil && p.Running() {
		t.Errorf("%s does not end: %v", p.Name, err)
	}
}
