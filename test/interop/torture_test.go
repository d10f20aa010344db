package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// answerTime is how long an answer may take to come; silence where none is due
// is believed after quietTime.
const (
	answerTime = 5 * time.Second
	quietTime  = 400 * time.Millisecond
)

var statusLine = regexp.MustCompile(`(?m)^SIP/2\.0 (\d{3}) `)

// finals are the final status codes in what came back.
func finals(data []byte) []int {
	var codes []int
	for _, m := range statusLine.FindAllSubmatch(data, -1) {
		if code, err := strconv.Atoi(string(m[1])); err == nil && code >= 200 {
			codes = append(codes, code)
		}
	}
	return codes
}

// exchangeUDP sends a datagram and returns the answers that bear its mark, up to
// a final one: nobody here acknowledges, so final answers to earlier INVITEs
// still repeat. RFC 3261 18.2.2 has answers go to the port that Via names, 5060
// as a rule, at the address that the datagram came from; a server may also
// answer to where it came from.
func exchangeUDP(t *testing.T, to string, msg []byte, mark string, wantAnswer bool) []byte {
	t.Helper()
	src, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	got := make(chan []byte, 64)
	readers := []net.PacketConn{src}
	for _, p := range []string{"127.0.0.1:5060", "127.0.0.1:5050", "127.0.0.1:5070"} {
		if c, err := net.ListenPacket("udp", p); err == nil {
			defer c.Close()
			readers = append(readers, c)
		}
	}
	for _, c := range readers {
		go func() {
			buf := make([]byte, 65536)
			for {
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				got <- bytes.Clone(buf[:n])
			}
		}()
	}
	addr, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.WriteTo(msg, addr); err != nil {
		t.Fatal(err)
	}
	wait := quietTime
	if wantAnswer {
		wait = answerTime
	}
	var all []byte
	deadline := time.After(wait)
	for {
		select {
		case data := <-got:
			if !bytes.Contains(data, []byte(mark)) {
				continue
			}
			all = append(all, data...)
			if len(finals(all)) > 0 {
				return all
			}
		case <-deadline:
			return all
		}
	}
}

// markOf is text of a torture message that its answers repeat: as a rule its
// Call-ID, which begins with the message's name.
func markOf(name string) string {
	switch name {
	case "mpart01":
		return "3d9485ad0c49859b"
	case "insuf": // has no Call-ID
		return "insufkdj.insuf"
	}
	return name + "."
}

// exchangeTCP sends a message on a connection of its own and returns what comes
// back until there is a final answer, the connection ends, or time is up.
func exchangeTCP(t *testing.T, to string, msg []byte, wantAnswer bool) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wait := quietTime
	if wantAnswer {
		wait = answerTime
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	if _, err := conn.Write(msg); err != nil {
		t.Fatal(err)
	}
	var all []byte
	buf := make([]byte, 65536)
	for len(finals(all)) == 0 {
		n, err := conn.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Logf("the connection ended: %v", err)
			}
			break
		}
	}
	return all
}

// tortureLab listens on UDP and TCP at one port of the pool side.
func tortureLab(t *testing.T) trunk {
	t.Helper()
	l := sippLab()
	p := rig.Port(t)
	l.PoolListen = []string{fmt.Sprintf("tcp://127.0.0.1:%d", p), fmt.Sprintf("udp://127.0.0.1:%d", p)}
	return startTrunk(t, l)
}

// drops are the pool side's drop counters by reason.
func (tr trunk) drops() map[string]float64 {
	tr.t.Helper()
	out := map[string]float64{}
	for series, v := range tr.Metrics() {
		if rest, ok := strings.CutPrefix(series, "causeway_mediation_sip_dropped_total{"); ok && strings.Contains(rest, `side="pool"`) {
			reason := rest[strings.Index(rest, `reason="`)+len(`reason="`):]
			out[reason[:strings.IndexByte(reason, '"')]] = v
		}
	}
	return out
}

// stillServes makes a whole call, to show that the process is well.
func (tr trunk) stillServes(t *testing.T) {
	t.Helper()
	tr = tr.in(t)
	gateway := startSIPp(t, tr.gatewayWaits(), scenario{File: "gateway_answers"})
	from := tr.poolCalls()
	from.Port = rig.Port(t)
	caller := startSIPp(t, from, scenario{File: "caller_talks", Hold: 100})
	caller.Finished(15 * time.Second)
	gateway.Finished(15 * time.Second)
}

func TestTortureMessages(t *testing.T) {
	tr := tortureLab(t)
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range tortureCases {
			want := c.udp
			if network == "tcp" && c.tcp != nil {
				want = *c.tcp
			}
			t.Run(c.name+" over "+network, func(t *testing.T) {
				tr := tr.in(t)
				// The RFC's messages share branches, and to a server requests of
				// one branch are one transaction: each gets a branch of its own.
				msg := torture(t, c.name)
				// One that has none is told apart by its Call-ID (RFC 3261 17.2.3), and so are
				// requests that reach a server by two ways (8.2.2.2).
				for _, name := range []string{"Call-ID: ", "\ni: "} {
					msg = bytes.Replace(msg, []byte(name), []byte(name+network), 1)
				}
				if c.name == "badbranch" {
					msg = bytes.ReplaceAll(msg, []byte("192.0.2.1;"), []byte("192.0.2."+map[string]string{"udp": "1;", "tcp": "2;"}[network]))
				} else {
					msg = bytes.ReplaceAll(msg, []byte("branch=z9hG4bK"), []byte("branch=z9hG4bK"+network+c.name))
				}
				before := tr.drops()
				var got []byte
				if network == "udp" {
					got = exchangeUDP(t, tr.pool(), msg, markOf(c.name), want.drop == "" && len(want.answers) > 0)
				} else {
					got = exchangeTCP(t, tr.pool(), msg, want.drop == "" && len(want.answers) > 0)
				}
				judge(t, tr, want, got, before, c.why)
			})
		}
	}
	t.Run("a call afterwards", tr.stillServes)
}

func judge(t *testing.T, tr trunk, want verdict, got []byte, before map[string]float64, why string) {
	t.Helper()
	codes := finals(got)
	if len(codes) > 0 {
		if !want.allows(codes[0]) {
			t.Errorf("answered %d, want %+v (%s):\n%s", codes[0], want, why, rig.Tail(string(got), 1500))
		}
		return
	}
	if want.drop == "" {
		if len(want.answers) > 0 {
			t.Errorf("no answer, want %+v (%s); drops %v", want, why, changed(before, tr.drops()))
		}
		return
	}
	rig.Eventually(t, 3*time.Second, "the drop is counted", func() string {
		delta := changed(before, tr.drops())
		if delta[want.drop] > 0 {
			return ""
		}
		return fmt.Sprintf("counted %v, want %+v (%s)", delta, want, why)
	})
}

func changed(before, now map[string]float64) map[string]float64 {
	delta := map[string]float64{}
	for k, v := range now {
		if v != before[k] {
			delta[k] = v - before[k]
		}
	}
	return delta
}

// What is no SIP at all, or too much of it.
func TestGarbageOnTheWire(t *testing.T) {
	tr := tortureLab(t)
	header := "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:19999;branch=z9hG4bKgarbage\r\n"
	random := make([]byte, 4096)
	for i := range random {
		random[i] = byte(i*i>>3 ^ i)
	}
	datagrams := map[string][]byte{
		"one octet":          {0},
		"line feeds":         []byte(strings.Repeat("\n", 3000)),
		"binary":             random,
		"a header for ever":  []byte(header + "X: " + strings.Repeat("a", 60000)),
		"thousands of heads": []byte(header + strings.Repeat("Via: SIP/2.0/UDP a\r\n", 3000) + "\r\n"),
		"HTTP":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a STUN request":     append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
		"an RTP packet":      append([]byte{0x80, 0, 0, 1}, make([]byte, 168)...),
		"a response alone":   []byte("SIP/2.0 200 OK\r\n\r\n"),
		"commas":             []byte(header + "To: " + strings.Repeat("<sip:a@b>,", 5000) + "\r\n\r\n"),
	}
	for name, data := range datagrams {
		t.Run(name+" over udp", func(t *testing.T) {
			if got := exchangeUDP(t, tr.pool(), data, "", false); len(finals(got)) > 0 && finals(got)[0] < 400 {
				t.Errorf("answered %d", finals(got)[0])
			}
		})
		t.Run(name+" over tcp", func(t *testing.T) {
			if got := exchangeTCP(t, tr.pool(), data, false); len(finals(got)) > 0 && finals(got)[0] < 400 {
				t.Errorf("answered %d", finals(got)[0])
			}
		})
	}
	t.Run("a body that never ends over tcp", func(t *testing.T) {
		conn, err := net.Dial("tcp", tr.pool())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write([]byte(header + "Content-Length: 2000000000\r\n\r\n"))
		sent := 0
		for sent < 64<<20 {
			n, err := conn.Write(random)
			sent += n
			if err != nil {
				break
			}
		}
		if sent >= 64<<20 {
			t.Errorf("64 MiB of one body were taken")
		}
	})
	t.Run("a header that never ends over tcp", func(t *testing.T) {
		conn, err := net.Dial("tcp", tr.pool())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write([]byte(header + "X: "))
		chunk := bytes.Repeat([]byte("a"), 65536)
		sent := 0
		for sent < 64<<20 {
			n, err := conn.Write(chunk)
			sent += n
			if err != nil {
				break
			}
		}
		if sent >= 64<<20 {
			t.Errorf("64 MiB of one header were taken")
		}
	})
	t.Run("many silent connections", func(t *testing.T) {
		for range 200 {
			conn, err := net.Dial("tcp", tr.pool())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		tr.stillServes(t)
	})
	if kib := tr.Metric("causeway_process_resident_memory_bytes") / 1024; kib > 1<<20 {
		t.Errorf("garbage left %v KiB resident", kib)
	}
	t.Run("a call afterwards", tr.stillServes)
}

// Senders that the configuration does not name are refused before a word is
// read, and counted.
func TestStrangersAreRefused(t *testing.T) {
	tr := tortureLab(t)
	before := tr.drops()["peer_not_allowed"]
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}, Timeout: 2 * time.Second}
	conn, err := dialer.Dial("tcp", tr.pool())
	if err == nil {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write(torture(t, "lwsdisp"))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("a stranger was answered with %d octets", n)
		}
	}
	rig.Eventually(t, 3*time.Second, "the stranger is counted", func() string {
		if n := tr.drops()["peer_not_allowed"]; n <= before {
			return fmt.Sprintf("peer_not_allowed is %v", n)
		}
		return ""
	})
	udp, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}, addrOf(t, tr.pool()))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_ = udp.SetDeadline(time.Now().Add(quietTime))
	_, _ = udp.Write(torture(t, "lwsdisp"))
	if n, err := udp.Read(make([]byte, 2048)); err == nil {
		t.Errorf("a stranger was answered with %d octets over UDP", n)
	}
}

func addrOf(t *testing.T, hostport string) *net.UDPAddr {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", hostport)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Session descriptions that no well-behaved peer sends. Each INVITE gets a
// precise refusal, never 200, 5xx of ours other than the missing gateway's 503,
// or silence.
func TestBrokenSessionDescriptions(t *testing.T) {
	tr := tortureLab(t)
	usual := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	for i, c := range []struct {
		name, sdp string
		want      []int
	}{
		{"not SDP", "hello", []int{400}},
		{"octets", "v=0\r\n\x00\x01\x02\xff\xfe\r\n", []int{400, 488}},
		{"no media", usual, []int{488}},
		{"no connection", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", []int{400, 488}},
		{"port out of range", usual + "m=audio 70000 RTP/AVP 0\r\n", []int{400, 488}},
		{"negative port", usual + "m=audio -1 RTP/AVP 0\r\n", []int{400, 488}},
		{"port is a word", usual + "m=audio four RTP/AVP 0\r\n", []int{400, 488}},
		{"payload type out of range", usual + "m=audio 4000 RTP/AVP 300\r\n", []int{400, 488}},
		{"no payload type", usual + "m=audio 4000 RTP/AVP\r\n", []int{400, 488}},
		{"unknown protocol", usual + "m=audio 4000 TCP/MSRP 0\r\n", []int{488}},
		{"a name as address", strings.Replace(usual, "c=IN IP4 127.0.0.1", "c=IN IP4 no.such.name.invalid", 1) + "m=audio 4000 RTP/AVP 0\r\n", []int{400, 488}},
		{"a multicast address", strings.Replace(usual, "c=IN IP4 127.0.0.1", "c=IN IP4 224.2.1.1/127", 1) + "m=audio 4000 RTP/AVP 0\r\n", []int{400, 488}},
		{"the broadcast address", strings.Replace(usual, "c=IN IP4 127.0.0.1", "c=IN IP4 255.255.255.255", 1) + "m=audio 4000 RTP/AVP 0\r\n", []int{400, 488}},
		{"a short key", usual + "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n", []int{400, 488}},
		{"a key that is no base64", usual + "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:!!!!\r\n", []int{400, 488}},
		{"a thousand media lines", usual + strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", 1000), []int{400, 413, 488, 503}},
		{"a thousand attributes", usual + "m=audio 4000 RTP/AVP 0\r\n" + strings.Repeat("a=rtpmap:0 PCMU/8000\r\n", 1000), []int{400, 413, 488, 503}},
		{"a line for ever", usual + "m=audio 4000 RTP/AVP " + strings.Repeat("0 ", 20000) + "\r\n", []int{400, 413, 488, 503}},
		{"a good one", usual + "m=audio 4000 RTP/AVP 0\r\n", []int{503}},
	} {
		t.Run(c.name, func(t *testing.T) {
			contentType := "Content-Type: application/sdp\r\n"
			if c.sdp == "" {
				contentType = ""
			}
			msg := fmt.Sprintf("INVITE sip:+14255550123@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:19998;branch=z9hG4bKsdp%d\r\n"+
				"Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=s%d\r\nTo: <sip:b@example.com>\r\nCall-ID: sdp%d@test\r\nCSeq: 1 INVITE\r\n"+
				"Contact: <sip:a@127.0.0.1:19998;transport=tcp>\r\n%sContent-Length: %d\r\n\r\n%s",
				i, i, i, contentType, len(c.sdp), c.sdp)
			got := exchangeTCP(t, tr.pool(), []byte(msg), true)
			codes := finals(got)
			if len(codes) == 0 || !slices.Contains(c.want, codes[0]) {
				t.Errorf("answered %v, want one of %v:\n%s", codes, c.want, rig.Tail(string(got), 800))
			}
		})
	}
	if n := tr.Metric("causeway_mediation_call_panics_total"); n != 0 {
		t.Errorf("%v calls ended in a panic", n)
	}
	t.Run("a call afterwards", tr.stillServes)
}
