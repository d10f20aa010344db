package ua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// wire is a SIP peer made of text: it says and sees exactly what stands on the wire.
type wire struct {
	t    *testing.T
	conn *net.UDPConn
	peer *net.UDPAddr
}

func newWire(t *testing.T, peer *UA) *wire {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t, conn, net.UDPAddrFromAddrPort(peer.Addr())}
}

// send writes a message given by its lines; $US is our address.
func (w *wire) send(body string, lines ...string) {
	w.t.Helper()
	text := strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n") + "\r\n\r\n" + body
	text = strings.ReplaceAll(text, "$US", w.conn.LocalAddr().String())
	if _, err := w.conn.WriteToUDP([]byte(text), w.peer); err != nil {
		w.t.Fatal(err)
	}
}

// expect waits for a message that begins so, skipping others.
func (w *wire) expect(start string) message {
	w.t.Helper()
	buf := make([]byte, 4096)
	if err := w.conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	for {
		n, _, err := w.conn.ReadFromUDP(buf)
		if err != nil {
			w.t.Fatalf("waiting for %q: %v", start, err)
		}
		if m := message(buf[:n]); strings.HasPrefix(string(m), start) {
			return m
		}
	}
}

type message string

// header returns a whole header line, as it must stand in an answer.
func (m message) header(name string) string {
	for line := range strings.SplitSeq(string(m), "\r\n") {
		if strings.HasPrefix(line, name+":") {
			return line
		}
	}
	return ""
}

// request is the header of a request; its tag parameter, if any, goes into To.
func request(method, branch, toTag string, cseq int) []string {
	return []string{
		method + " sip:100@127.0.0.1 SIP/2.0",
		"Via: SIP/2.0/UDP $US;branch=z9hG4bK" + branch,
		"From: <sip:wire@127.0.0.1>;tag=ours", "To: <sip:100@127.0.0.1>" + toTag, "Call-ID: wire-call",
		fmt.Sprintf("CSeq: %d %s", cseq, method), "Contact: <sip:wire@$US>", "Max-Forwards: 70",
	}
}

const plainOffer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20999 RTP/AVP 0\r\n"

// TestAnswerIsRepeatedUntilItsAck also holds the call as RFC 2543 did, and ends it.
func TestAnswerIsRepeatedUntilItsAck(t *testing.T) {
	calls, onInvite := collect(Reply{})
	w := newWire(t, start(t, Config{Listen: "udp://127.0.0.1:0", OnInvite: onInvite}))
	w.send(plainOffer, append(request("INVITE", "1", "", 1), "Content-Type: application/sdp")...)
	first := w.expect("SIP/2.0 200")
	began := time.Now()
	if second := w.expect("SIP/2.0 200"); second != first || time.Since(began) < 400*time.Millisecond {
		t.Errorf("after %v came\n%s\nbehind\n%s", time.Since(began), second, first)
	}
	_, tag, _ := strings.Cut(first.header("To"), ";tag=")
	tag = ";tag=" + tag
	w.send("", request("ACK", "2", tag, 1)...)
	hold := strings.Replace(plainOffer, "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1)
	w.send(hold, append(request("INVITE", "3", tag, 2), "Content-Type: application/sdp")...)
	held := w.expect("SIP/2.0 200")
	if !strings.Contains(string(held), "\r\na=recvonly\r\n") {
		t.Errorf("the hold was answered with\n%s", held)
	}
	if again := w.expect("SIP/2.0 200"); again != held {
		t.Errorf("the answer to the hold was repeated as\n%s", again)
	}
	w.send("", request("ACK", "6", tag, 2)...)
	c := next(t, calls)
	if offers := c.Offers(); len(offers) != 1 || offers[0].Direction != SendOnly {
		t.Errorf("offers %+v", offers)
	}
	w.send("", append(request("BYE", "4", tag, 3), "Reason: Q.850;cause=16")...)
	w.expect("SIP/2.0 200")
	waitDone(t, c)
	if end, reason := c.EndedBy(); end != Remote || reason != "Q.850;cause=16" || c.Err() != nil {
		t.Errorf("ended by %q because %q, %v", end, reason, c.Err())
	}
	w.send("", request("BYE", "5", tag, 4)...)
	w.expect("SIP/2.0 481")
}

func TestRequestsOutsideCalls(t *testing.T) {
	w := newWire(t, start(t, Config{Listen: "udp://127.0.0.1:0"}))
	w.send("", request("OPTIONS", "1", "", 1)...)
	if m := w.expect("SIP/2.0 200"); m.header("Allow") == "" {
		t.Errorf("no Allow in\n%s", m)
	}
	w.send("", request("REFER", "2", "", 1)...)
	w.expect("SIP/2.0 405")
	w.send("", request("BYE", "3", ";tag=none", 1)...)
	w.expect("SIP/2.0 481")
	w.send("", request("CANCEL", "4", "", 1)...)
	w.expect("SIP/2.0 481")
	w.send("", request("INVITE", "5", ";tag=none", 1)...)
	w.expect("SIP/2.0 481")
	w.send("", request("INVITE", "6", "", 1)...)
	w.expect("SIP/2.0 488") // no SDP
	offer := append(request("INVITE", "7", "", 1), "Content-Type: application/sdp")
	offer = append(offer[:6:6], offer[7:]...)
	w.send(plainOffer, offer...)
	w.expect("SIP/2.0 400") // no Contact
}

// answered has an endpoint call the wire, which answers with an SDP made from the offer, and returns what Call said.
// hangup is called in between, with the INVITE and To of the dialog.
func answered(t *testing.T, config Config, answer func(offer string) string, between func(*wire, message, string)) error {
	t.Helper()
	config.Listen = "udp://127.0.0.1:0"
	u := start(t, config)
	w := newWire(t, u)
	ended := make(chan error, 1)
	ctx := timeout(t, 5*time.Second)
	go func() {
		c, err := u.Call(ctx, "sip:100@"+w.conn.LocalAddr().String(), Options{})
		if err == nil {
			err = c.Hangup(ctx)
		}
		ended <- err
	}()
	invite := w.expect("INVITE ")
	_, offer, _ := strings.Cut(string(invite), "\r\n\r\n")
	to := invite.header("To") + ";tag=theirs"
	ok := []string{
		"SIP/2.0 200 OK", invite.header("Via"), invite.header("From"), to, invite.header("Call-ID"), invite.header("CSeq"),
		"Contact: <sip:wire@$US>", "Content-Type: application/sdp",
	}
	w.send(answer(offer), ok...)
	if ack := w.expect("ACK "); ack.header("To") != to || ack.header("CSeq") != "CSeq: 1 ACK" {
		t.Errorf("acknowledged with\n%s", ack)
	}
	if between != nil {
		w.send(answer(offer), ok...)
		between(w, invite, to)
	}
	bye := w.expect("BYE ")
	if bye.header("CSeq") != "CSeq: 2 BYE" {
		t.Errorf("hung up with\n%s", bye)
	}
	w.send("", "SIP/2.0 200 OK", bye.header("Via"), bye.header("From"), bye.header("To"), bye.header("Call-ID"), bye.header("CSeq"))
	return <-ended
}

func TestRepeatedAnswerIsAcknowledgedAgain(t *testing.T) {
	err := answered(t, Config{Codecs: []string{PCMU}}, func(string) string { return plainOffer }, func(w *wire, _ message, to string) {
		if ack := w.expect("ACK "); ack.header("To") != to {
			t.Errorf("acknowledged with\n%s", ack)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBadAnswersAreHungUp answers an offer of SRTP in every way that is not an answer to it.
func TestBadAnswersAreHungUp(t *testing.T) {
	const good = "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
	secure := strings.Replace(plainOffer, "RTP/AVP", "RTP/SAVP", 1)
	offered := func(offer string) string {
		_, line, _ := strings.Cut(offer, "a=crypto:")
		line, _, _ = strings.Cut(line, "\r\n")
		return "a=crypto:" + line + "\r\n"
	}
	tests := []struct {
		name   string
		answer func(offer string) string
		want   string
	}{
		{"plain", func(string) string { return plainOffer }, "is RTP/AVP to an offer of RTP/SAVP"},
		{"no crypto", func(string) string { return secure }, "has 0 a=crypto lines"},
		{"two crypto", func(string) string { return secure + good + good }, "has 2 a=crypto lines"},
		{"tag 1", func(string) string { return secure + strings.Replace(good, ":3", ":1", 1) }, "takes crypto 1"},
		{"other suite", func(string) string { return secure + strings.Replace(good, "_80", "_32", 1) }, "takes crypto 3 AES_CM_128_HMAC_SHA1_32"},
		{"our own key", func(offer string) string { return secure + offered(offer) }, "repeats our key"},
		{"short key", func(string) string { return secure + strings.Replace(good, "AAAA", "", 1) }, "27 bytes of key"},
		{"not offered", func(string) string {
			return strings.Replace(secure, "SAVP 0", "SAVP 18", 1) + "a=rtpmap:18 G729/8000\r\n" + good
		}, "G729 as payload type 18"},
		{"renumbered", func(string) string {
			return strings.Replace(secure, "SAVP 0", "SAVP 96", 1) + "a=rtpmap:96 PCMU/8000\r\n" + good
		}, "PCMU as payload type 96"},
		{"more media", func(string) string { return secure + good + "m=video 9 RTP/SAVP 34\r\n" }, "has 2 media lines"},
		{"refused audio", func(string) string { return strings.Replace(secure, "20999", "0", 1) + good }, "audio is refused"},
		{"empty", func(string) string { return "" }, "session description"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := answered(t, Config{SRTP: AES80}, tt.answer, nil)
			if !errors.Is(err, ErrSDP) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if err := answered(t, Config{SRTP: AES80}, func(string) string { return secure + good }, nil); err != nil {
		t.Errorf("a good answer was not taken: %v", err)
	}
	if err := answered(t, Config{}, func(string) string { return plainOffer + good }, nil); !errors.Is(err, ErrSDP) {
		t.Errorf("crypto in an answer to plain RTP was taken: %v", err)
	}
}

// TestAnswerCrossesCancel answers after all, with the CANCEL on the wire: the call must be hung up.
func TestAnswerCrossesCancel(t *testing.T) {
	u := start(t, Config{Listen: "udp://127.0.0.1:0"})
	w := newWire(t, u)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := u.Call(ctx, "sip:100@"+w.conn.LocalAddr().String(), Options{})
		ended <- err
	}()
	invite := w.expect("INVITE ")
	reply := func(status, tag, body string, m message) {
		w.send(body, "SIP/2.0 "+status, m.header("Via"), m.header("From"), m.header("To")+tag, m.header("Call-ID"), m.header("CSeq"),
			"Contact: <sip:wire@$US>", "Content-Type: application/sdp")
	}
	reply("180 Ringing", ";tag=theirs", "", invite)
	time.Sleep(50 * time.Millisecond)
	cancel()
	c := w.expect("CANCEL ")
	if c.header("Via") != invite.header("Via") || strings.Contains(c.header("To"), "tag=") {
		t.Errorf("cancelled\n%s\nwith\n%s", invite, c)
	}
	reply("200 OK", ";tag=theirs", "", c)
	reply("200 OK", ";tag=theirs", plainOffer, invite)
	w.expect("ACK ")
	bye := w.expect("BYE ")
	reply("200 OK", "", "", bye)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestBadEarlyMediaIsCancelled sends an early answer that is none: the call must be cancelled, not forgotten.
func TestBadEarlyMediaIsCancelled(t *testing.T) {
	u := start(t, Config{Listen: "udp://127.0.0.1:0", SRTP: AES80})
	w := newWire(t, u)
	ended := make(chan error, 1)
	go func() {
		_, err := u.Call(t.Context(), "sip:100@"+w.conn.LocalAddr().String(), Options{})
		ended <- err
	}()
	invite := w.expect("INVITE ")
	reply := func(status, body string, m message) {
		w.send(body, "SIP/2.0 "+status, m.header("Via"), m.header("From"), m.header("To")+";tag=theirs", m.header("Call-ID"), m.header("CSeq"),
			"Contact: <sip:wire@$US>", "Content-Type: application/sdp")
	}
	reply("183 Session Progress", plainOffer, invite)
	reply("200 OK", "", w.expect("CANCEL "))
	reply("487 Request Terminated", "", invite)
	w.expect("ACK ")
	var refused *ResponseError
	if err := <-ended; !errors.Is(err, ErrSDP) || !errors.As(err, &refused) || refused.Code != 487 {
		t.Errorf("error %v", err)
	}
}
